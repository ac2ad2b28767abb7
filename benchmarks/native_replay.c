// SPDX-License-Identifier: LGPL-2.1-or-later
/* Plays columns of allocator calls on the C library that it is linked to: what the twin is measured against.

   native_replay COLUMNS EVENTS SLOTS THREADS

   COLUMNS holds three arrays of EVENTS elements: size (u64), slot (u32), op (u8: 1 malloc, 4 free, 3 realloc,
   2 calloc). A malloc puts its pointer into its slot, a free takes it from there. One byte is written in every page of
   every block that malloc or realloc gives, as the twin touches them. THREADS 0: all in the first thread, so that glibc
   takes the ways of a single-threaded process. Otherwise thread i of n plays the events from EVENTS * i / n on, with
   SLOTS slots of its own. Threads run free, in the order that comes about.

   Prints: seconds of processor time for all calls, page faults. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { MALLOC = 1, CALLOC = 2, REALLOC = 3, FREE = 4, PAGE = 4096 };

static void *map(const char *path, size_t length)
{
    int fd = path ? open(path, O_RDONLY) : -1;
    if (path && fd < 0)
        return NULL;
    int share = (path ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS) | MAP_POPULATE;
    void *base = mmap(NULL, length, path ? PROT_READ : PROT_READ | PROT_WRITE, share, fd, 0);
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

static inline void play(uint8_t op, uint64_t size, char **slot)
{
    char *pointer = *slot;
    switch (op) {
    case MALLOC:
        touch(*slot = malloc(size), size);
        break;
    case CALLOC:
        *slot = calloc(1, size);
        break;
    case REALLOC:
        touch(*slot = realloc(pointer, size), size);
        break;
    default:
        free(pointer);
        *slot = NULL;
    }
}

/* What one thread plays. */
struct part {
    const uint64_t *size;
    const uint32_t *number;
    const uint8_t *op;
    size_t events;
    char **slot;
};

static void *run(void *argument)
{
    struct part part = *(struct part *)argument;
    for (size_t i = 0; i < part.events; i++)
        play(part.op[i], part.size[i], &part.slot[part.number[i]]);
    return NULL;
}

static void run_threads(struct part *all, size_t threads, size_t slots)
{
    pthread_t id[64];
    struct part part[64];
    for (size_t i = 0; i < threads; i++) {
        size_t from = all->events * i / threads, to = all->events * (i + 1) / threads;
        part[i] = (struct part){all->size + from, all->number + from, all->op + from, to - from, all->slot + slots * i};
        pthread_create(&id[i], NULL, run, &part[i]);
    }
    for (size_t i = 0; i < threads; i++)
        pthread_join(id[i], NULL);
}

static double processor_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
    if (argc < 5)
        return 2;
    size_t events = strtoul(argv[2], NULL, 10), slots = strtoul(argv[3], NULL, 10), threads = strtoul(argv[4], NULL, 10);
    uint64_t *size = map(argv[1], events * 13);
    char **slot = map(NULL, slots * (threads ? threads : 1) * sizeof *slot);
    if (!size || !slot || threads > 64)
        return 1;
    const uint32_t *number = (const uint32_t *)(size + events);
    struct part all = {size, number, (const uint8_t *)(number + events), events, slot};
    struct rusage before, after;
    getrusage(RUSAGE_SELF, &before);
    double began = processor_seconds();
    if (threads)
        run_threads(&all, threads, slots);
    else
        run(&all);
    double took = processor_seconds() - began;
    getrusage(RUSAGE_SELF, &after);
    char line[128]; // no stdio: it would allocate
    int length = snprintf(line, sizeof line, "%.6f %ld\n", took, after.ru_minflt - before.ru_minflt);
    return write(1, line, (size_t)length) == length ? 0 : 1;
}
