/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Streams, the lock, and how threads come and go. */
#include "recorder.h"

#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <time.h>

enum { FIRST_CHUNK = 64 * 1024, LATER_CHUNK = 1024 * 1024 };
#define PATIENCE 2000000000ul /* ns that a lock may be waited for before order is given up */

uint64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000ul + (uint64_t)t.tv_nsec;
}

/* Sleeps about 100 us. A futex nobody wakes: the one way to wait that every threaded program's filters allow. */
static void nap(void)
{
    static const uint32_t word;
    struct timespec time = {0, 100000};
    SYS_4(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, &time);
}

/* A short lock around the buckets; 0 when a handler has interrupted its holder, or that one is held up for seconds. */
static int registry_lock(void)
{
    uint32_t tid = self_tid();
    for (int i = 0; i < 20000; i++) {
        uint32_t holder = 0;
        if (__atomic_compare_exchange_n(&state->registering, &holder, tid, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
            return 1;
        if (holder == tid)
            return 0;
        if (i < 1000)
            __builtin_ia32_pause();
        else
            nap();
    }
    return 0;
}

static void registry_unlock(void)
{
    __atomic_store_n(&state->registering, 0, __ATOMIC_RELEASE);
}

static struct stream *find(uint32_t tid)
{
    struct stream *stream = state->buckets[tid % BUCKETS];
    while (stream && stream->tid != tid)
        stream = stream->next;
    return stream;
}

static void insert(struct stream *stream)
{
    struct stream **bucket = &state->buckets[stream->tid % BUCKETS];
    stream->next = *bucket;
    __atomic_store_n(bucket, stream, __ATOMIC_RELEASE);
}

static void forget(struct stream *stream)
{
    struct stream **link = &state->buckets[stream->tid % BUCKETS];
    while (*link && *link != stream)
        link = &(*link)->next;
    if (*link)
        *link = stream->next;
}

/* Gives the stream of a thread that is gone, chunk and all, to the next thread that starts. Registry lock held. */
static void retire(struct stream *stream)
{
    forget(stream);
    if (stream->inner) { /* a handler's chunk bears the tid, so it is not handed on */
        stream->inner->end = stream->inner->cursor;
        stream->inner->busy = 0;
    }
    stream->next = state->retired;
    state->retired = stream;
}

/* The thread's cache has been emptied, its arena given up. */
static void write_exit(struct stream *stream)
{
    uint8_t *p = stream->gone ? NULL : begin(stream, next_number());
    if (p)
        commit(stream, RAW_THREAD_EXIT, p);
    stream->gone = 1;
}

/*
 * A detached thread gives its stack back itself, after its cache has been emptied, and the dynamic linker then frees what
 * it had for the threads of stacks that are too many: only then does it free anything in a thread that ends.
 */
void note_flushed(struct stream *stream, const void *caller)
{
    if (state->owner == stream->tid && (const char *)caller >= loader_start && (const char *)caller < loader_end)
        write_exit(stream);
}

/* The thread of this stream kept the lock when it left, and its tid has been given to the caller meanwhile. */
static void bury(struct stream *stale)
{
    if (!state->leaving || state->owner != stale->tid)
        return;
    write_exit(stale);
    state->leaving = 0;
    __atomic_store_n(&state->owner, 0, __ATOMIC_RELEASE);
}

static struct stream *new_stream(uint32_t tid, uint32_t level)
{
    uint32_t index = __atomic_fetch_add(&state->stream_count, 1, __ATOMIC_RELAXED);
    if (index >= STREAMS) {
        stop(RAW_TOO_MANY_THREADS, 0);
        return NULL;
    }
    struct stream *stream = &state->streams[index];
    stream->index = index;
    stream->tid = tid;
    stream->level = level;
    stream->countdown = stream->period = 64;
    stream->fresh = level == 0;
    return next_chunk(stream) ? stream : NULL;
}

/* Moves a stream on to a new chunk. 0: recording has been stopped. */
int next_chunk(struct stream *stream)
{
    uint64_t length = stream->window || stream->level ? LATER_CHUNK : FIRST_CHUNK;
    if (stream->level)
        length = FIRST_CHUNK;
    uint8_t *old = stream->window;
    stream->cursor = stream->end = NULL;
    stream->window = NULL;
    if (old)
        unmap_chunk(old, stream->length);
    uint8_t *window = state->phase == RUNNING ? map_chunk(length) : NULL;
    if (!window)
        return 0;
    struct raw_chunk *chunk = (struct raw_chunk *)window;
    chunk->length = (uint32_t)length;
    chunk->sequence = stream->sequence;
    chunk->thread = stream->tid;
    chunk->level = stream->level;
    chunk->stream = stream->index;
    __asm__ volatile("" ::: "memory");
    chunk->magic = RAW_CHUNK_MAGIC;
    stream->pointer = 0;
    stream->window = window;
    stream->length = length;
    stream->cursor = window + sizeof *chunk;
    stream->end = window + length - RECORD_MAX;
    return 1;
}

/* A stream that a thread has left, for thread `tid`; what an earlier thread of this tid had is left by then. Or NULL. */
static struct stream *retired_stream(uint32_t tid)
{
    if (!registry_lock())
        return NULL;
    struct stream *stale = find(tid);
    if (stale) {
        bury(stale);
        retire(stale);
    }
    struct stream *stream = state->retired;
    if (stream) {
        state->retired = stream->next;
        stream->tid = tid;
        stream->rounds = stream->gone = 0;
        stream->fresh = 1;
        stream->heap = 0;
        if (stream->inner)
            stream->inner->tid = tid;
    }
    registry_unlock();
    return stream;
}

/*
 * The stream of a thread that is not known yet, busy; NULL: it cannot be recorded. Its tid may have been another's.
 * A new thread's start is an event; the one in which an image begins is not new.
 */
struct stream *begin_thread(uint32_t tid, int is_new)
{
    struct stream *stream = retired_stream(tid);
    if (!stream)
        stream = new_stream(tid, 0);
    if (!stream || !registry_lock())
        return NULL;
    stream->busy = 1;
    insert(stream);
    registry_unlock();
    watch_thread(stream);
    if (is_new) {
        int held = lock(stream);
        uint8_t *p = begin(stream, next_number());
        if (p)
            commit(stream, RAW_THREAD_START, put(p, tid));
        unlock(stream, held);
    }
    return stream;
}

/* A signal handler has come while its thread was in the recorder: its events go to a stream of their own. */
static struct stream *enter_inner(struct stream *stream)
{
    while (stream->busy) {
        if (!stream->inner && stream->level < 4)
            stream->inner = new_stream(stream->tid, stream->level + 1);
        if (!stream->inner)
            return NULL;
        stream = stream->inner;
    }
    stream->busy = 1;
    return stream;
}

/* All that is rare in enter(). */
struct stream *enter_slowly(uint32_t tid)
{
    int error = errno;
    struct stream *stream = NULL;
    if ((!state || state->phase == FRESH) && !start()) {
        errno = error;
        return NULL;
    }
    tid = self_tid();
    stream = find(tid);
    if (!stream)
        stream = begin_thread(tid, 1);
    else
        stream = enter_inner(stream);
    if (!stream && state->header && state->phase == RUNNING)
        __atomic_fetch_add(&state->header->lost, 1, __ATOMIC_RELAXED);
    errno = error;
    return stream;
}

/* The kernel has done with a thread. The first one is a zombie from then on, until all others have ended as well. */
static int is_gone(uint32_t tid)
{
    char stat[256];
    if (tid != state->pid)
        return SYS_3(SYS_tgkill, state->pid, tid, 0) == -ESRCH;
    const char *end = slurp("/proc/self/stat", stat, sizeof stat) > 0 ? strrchr(stat, ')') : NULL;
    return end && end[1] == ' ' && end[2] == 'Z';
}

/* The lock's owner was a thread on its way out, and it is gone: the caller owns the lock now and says so in its name. */
static int inherit(struct stream *stream, uint32_t owner)
{
    if (!state->leaving || !owner || !is_gone(owner))
        return 0;
    if (!__atomic_compare_exchange_n(&state->owner, &owner, stream->tid, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
        return 0;
    state->leaving = 0;
    struct stream *gone = find(owner);
    if (gone && gone != stream) {
        write_exit(gone);
        if (registry_lock()) {
            retire(gone);
            registry_unlock();
        }
    }
    return 1;
}

/* Nobody may wait for ever, whatever became of the owner: from here on numbers are atomic and order is not certain. */
static void break_lock(struct stream *stream)
{
    __atomic_store_n(&state->exact, 0, __ATOMIC_RELEASE);
    state->owner = 0;
    if (stream->cursor && stream->cursor < stream->end) {
        uint8_t *p = put(stream->cursor + 1, RAW_NOTE_ORDER);
        commit(stream, RAW_NOTE, put(p, sequence));
    }
}

int lock_slowly(struct stream *stream)
{
    uint64_t deadline = 0;
    for (unsigned spins = 0;; spins++) {
        uint32_t owner = 0;
        if (!state->exact || state->phase != RUNNING)
            return 0;
        if (__atomic_compare_exchange_n(&state->owner, &owner, stream->tid, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
            return 1;
        if (owner == stream->tid)
            return 0; /* a handler, or libc calling back */
        if (spins < 200) {
            __builtin_ia32_pause();
            continue;
        }
        if (!state->quiet && inherit(stream, owner))
            return 1;
        if (spins % 64 && !state->quiet)
            SYS_0(SYS_sched_yield);
        else
            nap();
        if (!deadline)
            deadline = now() + PATIENCE;
        else if (now() > deadline)
            break_lock(stream);
    }
}

/* ---- Threads' ends -------------------------------------------------------------------------------------------- */

static pthread_key_t key;
static int have_key;

/*
 * Runs in each round of the thread's destructors and acts in the last one. What follows is libc's own: it frees a few
 * things and gives the tcache's chunks back, unseen. So the thread keeps the lock until the kernel has reaped it, and
 * the next one that wants it writes the exit (inherit). With a seccomp filter or without the lock: here and now.
 */
static void destructor(void *value)
{
    struct stream *stream = value;
    if (!state || state->phase != RUNNING || stream->busy || find(self_tid()) != stream)
        return;
    if (++stream->rounds < PTHREAD_DESTRUCTOR_ITERATIONS) {
        pthread_setspecific(key, stream);
        return;
    }
    stream->busy = 1;
    if (state->exact && !state->quiet) {
        if (!(&__libc_single_threaded && __libc_single_threaded) && lock_only(stream))
            state->leaving = 1;
    } else {
        uint8_t *p = begin(stream, next_number());
        if (p)
            commit(stream, RAW_THREAD_EXIT, p);
    }
    stream->busy = 0;
}

/*
 * A key of libc's first 32: those have their place in the thread itself, all others are allocated. Number 31, so that
 * the program's own keys keep their numbers.
 */
void make_key(void)
{
    pthread_key_t keys[32];
    int count = 0;
    while (count < 32 && !pthread_key_create(&keys[count], destructor) && keys[count] < 32)
        if (keys[count++] == 31)
            break;
    have_key = count > 0 && keys[count - 1] < 32;
    for (int i = 0; i < count - have_key; i++)
        pthread_key_delete(keys[i]);
    if (have_key)
        key = keys[count - 1];
}

/* Arranges that the end of the calling thread is seen. */
void watch_thread(struct stream *stream)
{
    if (have_key)
        pthread_setspecific(key, stream);
}
