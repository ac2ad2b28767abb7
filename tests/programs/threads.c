// SPDX-License-Identifier: LGPL-2.1-or-later
// Threads that allocate, for recording: what is hard about them is who frees what, and when they come and go.
//
//   threads churn THREADS ROUNDS      THREADS threads one after the other, up to eight at a time, each with ROUNDS calls
//   threads handover THREADS ROUNDS   all at once; each block may be freed by the next thread
//   threads crowd THREADS ROUNDS      all at once, each with blocks of its own until all have begun: more than arenas;
//                                     with 0 of them the first thread does it
//   threads detached THREADS ROUNDS   all at once and never joined; each begins with a free, and at its end its stack is
//                                     one too many to be kept, for which the dynamic linker frees something
//   threads fork THREADS ROUNDS       crowd, and then a child forked from a thread goes on allocating
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SLOTS = 300, MAILBOXES = 64, AT_ONCE = 8, MAX_THREADS = 512 };

static int threads, rounds;
static pthread_barrier_t all_here;
static struct {
    pthread_mutex_t lock;
    void *blocks[MAILBOXES];
} mail[MAX_THREADS];

static uint32_t dice(uint64_t *seed, uint32_t sides)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*seed >> 33) % sides;
}

static size_t some_size(uint64_t *seed)
{
    uint32_t kind = dice(seed, 100);
    if (kind < 70)
        return 1 + dice(seed, 256);
    if (kind < 95)
        return 1 + dice(seed, 4096);
    return 1 + dice(seed, kind < 99 ? 65536 : 400000);
}

static void step(void **slot, uint64_t *seed)
{
    size_t size = some_size(seed);
    if (!*slot) {
        *slot = dice(seed, 10) ? malloc(size) : calloc(1, size);
    } else if (dice(seed, 4)) {
        free(*slot);
        *slot = NULL;
        return;
    } else {
        *slot = realloc(*slot, size);
    }
    if (!*slot)
        exit(1);
    memset(*slot, 7, size);
}

static void work(uint64_t seed, int number, int hand_over)
{
    void *slots[SLOTS] = {0};
    for (int i = 0; i < rounds; i++) {
        void **slot = &slots[dice(&seed, SLOTS)];
        step(slot, &seed);
        if (!hand_over || dice(&seed, 16))
            continue;
        int next = (number + 1) % threads, place = (int)dice(&seed, MAILBOXES);
        pthread_mutex_lock(&mail[next].lock);
        void *old = mail[next].blocks[place];
        mail[next].blocks[place] = *slot;
        pthread_mutex_unlock(&mail[next].lock);
        *slot = NULL;
        free(old);
        pthread_mutex_lock(&mail[number].lock);
        void *mine = mail[number].blocks[place];
        mail[number].blocks[place] = NULL;
        pthread_mutex_unlock(&mail[number].lock);
        free(mine);
    }
    for (int i = 0; i < SLOTS; i++)
        free(slots[i]);
}

static void *churn(void *number)
{
    work(1000 + (uintptr_t)number, (int)(uintptr_t)number, 0);
    return NULL;
}

static void *handover(void *number)
{
    work(2000 + (uintptr_t)number, (int)(uintptr_t)number, 1);
    return NULL;
}

static void *crowd(void *number)
{
    void *first = malloc(100);
    pthread_barrier_wait(&all_here);
    work(3000 + (uintptr_t)number, (int)(uintptr_t)number, 0);
    free(first);
    return NULL;
}

static void *detached(void *number)
{
    free(mail[(uintptr_t)number].blocks[0]);
    mail[(uintptr_t)number].blocks[0] = NULL;
    pthread_barrier_wait(&all_here);
    work(7000 + (uintptr_t)number, (int)(uintptr_t)number, 0);
    return NULL;
}

static void *forker(void *number)
{
    crowd(number);
    if (number)
        return NULL;
    pid_t child = fork();
    if (!child) {
        work(4000, 0, 0);
        exit(0);
    }
    waitpid(child, NULL, 0);
    work(5000, 0, 0);
    return NULL;
}

int main(int argc, char **argv)
{
    static pthread_t ids[MAX_THREADS];
    if (argc != 4)
        return 2;
    threads = atoi(argv[2]);
    rounds = atoi(argv[3]);
    if (threads < 0 || threads > MAX_THREADS)
        return 2;
    if (!threads)
        work(6000, 0, 0);
    int one_by_one = !strcmp(argv[1], "churn");
    void *(*routine)(void *) = one_by_one                      ? churn
                               : !strcmp(argv[1], "handover") ? handover
                               : !strcmp(argv[1], "detached") ? detached
                               : !strcmp(argv[1], "fork")     ? forker
                                                              : crowd;
    pthread_barrier_init(&all_here, NULL, threads ? (unsigned)threads : 1);
    for (int i = 0; i < threads; i++)
        pthread_mutex_init(&mail[i].lock, NULL);
    for (int i = 0; i < threads; i++) {
        if (one_by_one && i >= AT_ONCE)
            pthread_join(ids[i - AT_ONCE], NULL);
        if (routine == detached)
            mail[i].blocks[0] = malloc(100);
        if (pthread_create(&ids[i], NULL, routine, (void *)(uintptr_t)i))
            return 1;
    }
    if (routine == detached) {
        for (int i = 0; i < threads; i++)
            pthread_detach(ids[i]);
        usleep(300000); // nobody can wait for them
        puts("done");
        return 0;
    }
    for (int i = one_by_one && threads > AT_ONCE ? threads - AT_ONCE : 0; i < threads; i++)
        pthread_join(ids[i], NULL);
    for (int i = 0; i < threads; i++)
        for (int j = 0; j < MAILBOXES; j++)
            free(mail[i].blocks[j]);
    puts("done");
    return 0;
}
