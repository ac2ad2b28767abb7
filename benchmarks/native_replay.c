// SPDX-License-Identifier: LGPL-2.1-or-later
/* Plays columns of allocator calls on the C library that it is linked to: what the twin is measured against.

   native_replay COLUMNS EVENTS SLOTS [LOG]

   COLUMNS holds three arrays of EVENTS elements: size (u64), slot (u32), op (u8: 1 malloc, 4 free, 3 realloc,
   2 calloc). A malloc puts its pointer into its slot, a free takes it from there. One byte is written in every page of
   every block that malloc or realloc gives, as the twin touches them. With LOG, the pointer of every call is written to
   that file, for the trace that the twin replays; nothing is timed then.

   Prints: seconds of processor time for all calls, page faults, the start of the heap, the pid. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { MALLOC = 1, CALLOC = 2, REALLOC = 3, FREE = 4, PAGE = 4096 };

static void *map(const char *path, size_t length, int flags)
{
    int fd = path ? open(path, flags == O_RDWR ? O_RDWR | O_CREAT | O_TRUNC : O_RDONLY, 0666) : -1;
    if (path && (fd < 0 || (flags == O_RDWR && ftruncate(fd, (off_t)length) != 0)))
        return NULL;
    int share = path ? MAP_SHARED | MAP_POPULATE : MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE;
    void *base = mmap(NULL, length, flags == O_RDONLY ? PROT_READ : PROT_READ | PROT_WRITE, share, fd, 0);
    if (fd >= 0)
        close(fd);
    return base == MAP_FAILED ? NULL : base;
}

static inline void touch(char *block, uint64_t size)
{
    for (uint64_t at = 0; at < size; at += PAGE)
        ((volatile char *)block)[at] = 1;
    if (size)
        ((volatile char *)block)[size - 1] = 1;
}

static inline char *play(uint8_t op, uint64_t size, char **slot)
{
    char *pointer = *slot;
    switch (op) {
    case MALLOC:
        touch(*slot = malloc(size), size);
        return *slot;
    case CALLOC:
        return *slot = calloc(1, size);
    case REALLOC:
        touch(*slot = realloc(pointer, size), size);
        return *slot;
    default:
        free(pointer);
        *slot = NULL;
        return pointer;
    }
}

static double processor_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
    if (argc < 4)
        return 2;
    size_t events = strtoul(argv[2], NULL, 10), slots = strtoul(argv[3], NULL, 10);
    uint64_t *size = map(argv[1], events * 13, O_RDONLY);
    char **slot = map(NULL, slots * sizeof *slot, O_RDWR);
    uint64_t *log = argc > 4 ? map(argv[4], events * 8, O_RDWR) : NULL;
    if (!size || !slot || (argc > 4 && !log))
        return 1;
    const uint32_t *number = (const uint32_t *)(size + events);
    const uint8_t *op = (const uint8_t *)(number + events);
    uint64_t start = (uint64_t)sbrk(0);
    struct rusage before, after;
    getrusage(RUSAGE_SELF, &before);
    double began = processor_seconds();
    if (log)
        for (size_t i = 0; i < events; i++)
            log[i] = (uint64_t)play(op[i], size[i], &slot[number[i]]);
    else
        for (size_t i = 0; i < events; i++)
            play(op[i], size[i], &slot[number[i]]);
    double took = processor_seconds() - began;
    getrusage(RUSAGE_SELF, &after);
    char line[128]; // no stdio: it would allocate
    int length = snprintf(line, sizeof line, "%.6f %ld %llu %d\n", took, after.ru_minflt - before.ru_minflt,
                          (unsigned long long)start, (int)getpid());
    return write(1, line, (size_t)length) == length ? 0 : 1;
}
