// SPDX-License-Identifier: LGPL-2.1-or-later
/* Plays columns of allocator calls on the C library that it is linked to: what the twin is measured against.

   native_replay COLUMNS EVENTS SLOTS THREADS [ORDER]

   COLUMNS holds three arrays of EVENTS elements: size (u64), slot (u32), op (u8: 1 malloc, 4 free, 3 realloc,
   2 calloc). A malloc puts its pointer into its slot, a free takes it from there. One byte is written in every page of
   every block that malloc or realloc gives, as the twin touches them. THREADS 0: all in the first thread, so that glibc
   takes the ways of a single-threaded process. Otherwise thread i of n plays the events from EVENTS * i / n on, with
   SLOTS slots of its own. ORDER of the threads' events:

   free     as it comes about (the default)
   turns    TURN events each, in turn: what is recorded has this order
   carried  the same, but the first thread makes all calls, as each thread in turn: it carries that one's thread pointer,
            and so its cache and its arena. No thread waits for another one, so that the calls alone are timed.

   Prints: seconds of processor time for all calls, page faults. */
#define _GNU_SOURCE
#include <asm/prctl.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { MALLOC = 1, CALLOC = 2, REALLOC = 3, FREE = 4, PAGE = 4096, TURN = 100, MOST_THREADS = 64 };

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

static double processor_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* What one thread plays. turn: posted when it may go on; next: whom it lets go on then; pointer: its thread pointer. */
struct part {
    const uint64_t *size;
    const uint32_t *number;
    const uint8_t *op;
    size_t events;
    char **slot;
    sem_t turn, ready;
    struct part *next;
    uintptr_t pointer;
};

static void play_some(const struct part *part, size_t from, size_t to)
{
    for (size_t i = from; i < to && i < part->events; i++)
        play(part->op[i], part->size[i], &part->slot[part->number[i]]);
}

static void *run_free(void *part)
{
    play_some(part, 0, SIZE_MAX);
    return NULL;
}

static void *run_turns(void *argument)
{
    struct part *part = argument;
    for (size_t i = 0; i < part->events; i += TURN) {
        sem_wait(&part->turn);
        play_some(part, i, i + TURN);
        sem_post(&part->next->turn);
    }
    return NULL;
}

/* Lends its thread pointer. */
static void *run_lender(void *argument)
{
    struct part *part = argument;
    __asm__("mov %%fs:0, %0" : "=r"(part->pointer));
    sem_post(&part->ready);
    sem_wait(&part->turn);
    return NULL;
}

static int has_wrfsbase; // HWCAP2_FSGSBASE

static inline void become(uintptr_t pointer)
{
    if (has_wrfsbase) {
        __asm__ volatile("wrfsbase %0" ::"r"(pointer) : "memory");
        return;
    }
    long result = SYS_arch_prctl;
    __asm__ volatile("syscall" : "+a"(result) : "D"((long)ARCH_SET_FS), "S"(pointer) : "rcx", "r11", "memory");
}

static void carry(struct part *part, size_t threads)
{
    uintptr_t own;
    __asm__("mov %%fs:0, %0" : "=r"(own));
    has_wrfsbase = getauxval(AT_HWCAP2) >> 1 & 1;
    for (size_t i = 0; i < part->events; i += TURN)
        for (size_t thread = 0; thread < threads; thread++) {
            become(part[thread].pointer);
            play_some(&part[thread], i, i + TURN);
        }
    become(own);
}

static double run_threads(struct part *all, size_t threads, size_t slots, const char *order)
{
    static pthread_t id[MOST_THREADS];
    static struct part part[MOST_THREADS];
    int carried = !strcmp(order, "carried"), turns = !strcmp(order, "turns");
    for (size_t i = 0; i < threads; i++) {
        size_t from = all->events / threads * i;
        part[i] = (struct part){all->size + from, all->number + from, all->op + from, all->events / threads,
                                all->slot + slots * i, .next = &part[(i + 1) % threads]};
        sem_init(&part[i].turn, 0, turns && !i);
        sem_init(&part[i].ready, 0, 0);
    }
    double began = processor_seconds();
    for (size_t i = 0; i < threads; i++) {
        pthread_create(&id[i], NULL, carried ? run_lender : turns ? run_turns : run_free, &part[i]);
        if (carried)
            sem_wait(&part[i].ready);
    }
    if (carried)
        carry(part, threads);
    for (size_t i = 0; i < threads; i++) {
        if (carried)
            sem_post(&part[i].turn);
        pthread_join(id[i], NULL);
    }
    return processor_seconds() - began;
}

int main(int argc, char **argv)
{
    if (argc < 5)
        return 2;
    size_t events = strtoul(argv[2], NULL, 10), slots = strtoul(argv[3], NULL, 10), threads = strtoul(argv[4], NULL, 10);
    uint64_t *size = map(argv[1], events * 13);
    char **slot = map(NULL, slots * (threads ? threads : 1) * sizeof *slot);
    if (!size || !slot || threads > MOST_THREADS)
        return 1;
    const uint32_t *number = (const uint32_t *)(size + events);
    struct part all = {size, number, (const uint8_t *)(number + events), events, slot, .next = NULL};
    struct rusage before, after;
    getrusage(RUSAGE_SELF, &before);
    double took = processor_seconds();
    if (threads)
        took = run_threads(&all, threads, slots, argc > 5 ? argv[5] : "free");
    else {
        run_free(&all);
        took = processor_seconds() - took;
    }
    getrusage(RUSAGE_SELF, &after);
    char line[128]; // no stdio: it would allocate
    int length = snprintf(line, sizeof line, "%.6f %ld\n", took, after.ru_minflt - before.ru_minflt);
    return write(1, line, (size_t)length) == length ? 0 : 1;
}
