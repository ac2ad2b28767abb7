/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the recorder's files share. The recorder is preloaded into the program that is watched:
 *
 *   heap_calls.c     malloc and its family: call libc, write the record
 *   map_calls.c      mmap, munmap, mremap, madvise, mprotect, brk, sbrk
 *   process_calls.c  threads, fork, exec, exit, prctl
 *   stream.c         streams and their chunks, the lock, how threads come and go
 *   raw_file.c       the file and its windows (raw_format.h)
 *   seccomp.c        filters of system calls
 *   observe.c        samples and snapshots of the VMAs
 *   start.c          beginning an image: state, header, who provides malloc
 *
 * Rules. No TLS: a thread-local variable would change the size of what pthread_create allocates. No malloc, no stdio, no
 * descriptor that stays open, errno untouched, nothing that waits for the program. All state lies in one mapping that
 * a fork child finds zeroed (MADV_WIPEONFORK), so that it begins a file of its own. When anything fails, recording
 * stops and the program goes on.
 */
#ifndef MEMTWIN_RECORDER_H
#define MEMTWIN_RECORDER_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/types.h>

#include "raw_format.h"
#include "sys.h"

#define EXPORT __attribute__((visibility("default")))
#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define PAGE 4096ul
#define KIB 1024ul
#define MIB (1024ul * KIB)

/* glibc's own entries: exported, so no look-up is needed before the first allocation. */
extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t), *__libc_valloc(size_t), *__libc_pvalloc(size_t);
extern void __libc_free(void *);
extern void *__curbrk;                                          /* libc's copy of the program break */
extern char __libc_single_threaded __attribute__((weak));      /* since 2.32 */

enum phase { FRESH, STARTING, RUNNING, STOPPED };

enum {
    BUCKETS = 1 << 16,       /* of the table tid -> stream */
    STREAMS = 1 << 14,       /* at one time */
    BLOCKS = 1 << 17,        /* mmapped chunks that residency is watched of */
    HEAPS = 1 << 10,         /* thread arenas' heaps, likewise */
    TEXT = 4 << 20,          /* bytes of a snapshot */
    SCRATCH = 64 << 10,
    RECORD_MAX = 256,        /* bytes: more than any record with those that may have to precede it */
};

/* One thread's (or interrupting handler's) place in the file. */
struct stream {
    uint8_t *cursor, *end;   /* next record; where the chunk has no room for one more */
    uint64_t sequence;       /* number of the last event */
    uint64_t pointer;        /* last pointer >> 4 */
    uint32_t tid;
    uint32_t busy;           /* the thread is inside the recorder */
    uint32_t countdown;      /* events until the clock is looked at */
    uint32_t period;         /* what countdown starts from */
    uint64_t looked;         /* ns: when it was last looked at */
    uint64_t heap;           /* thread arena's heap seen last */
    uint8_t *window;         /* the chunk */
    uint64_t length;         /* of the window, bytes */
    struct stream *next;     /* in the bucket, or among the retired */
    struct stream *inner;    /* for a signal handler that comes while busy */
    uint32_t index, level;
    uint32_t rounds;         /* of thread-specific data's destructors */
    uint32_t fresh;          /* the thread has not allocated yet */
    uint32_t gone;           /* its exit is written already */
};

struct block {
    uint64_t start, length;
    uint64_t event;          /* number of its allocation */
    uint64_t resident;       /* bytes of it in RAM, as the last RAW_BLOCK says */
};

struct state {
    uint32_t phase;
    uint32_t exact;
    uint32_t owner;          /* tid that holds the lock, 0: none */
    uint32_t leaving;        /* the owner is a thread on its way out */
    uint32_t unsampled;      /* no samples are wanted */
    uint32_t quiet;          /* seccomp: no system calls */
    uint32_t observing;      /* somebody reads /proc */
    uint32_t registering;    /* somebody changes buckets */
    uint32_t pid;
    uint32_t ended;
    uint32_t stream_count;
    uint32_t fork_held;
    uint32_t directory_length;
    struct raw_header *header;
    struct stream *retired;
    uint64_t growths;        /* windows mapped so far */
    uint8_t *reserve, *reserve_end; /* chunks mapped in advance (seccomp.c) */

    /* observe.c */
    int64_t expected;        /* pages of address space, but for the break's */
    uint64_t check_cost, checks_skipped, next_sample, next_look, smaps_rss, look_rss;
    uint64_t text_length;
    uint64_t mmap_threshold;
    uint32_t threshold_fixed, rationed;
    uint64_t block_count, heap_count, block_cost;

    char path[4096];
    struct stream *buckets[BUCKETS];
    struct stream streams[STREAMS];
    struct block blocks[BLOCKS];
    uint64_t heaps[HEAPS];
    char scratch[SCRATCH];
    char text[2][TEXT];
};

extern struct state *state; /* NULL before the first call; its content is zero again in a fork child */
extern uint64_t sequence;   /* number of the last event; a fork child finds its parent's */
extern long tid_offset;     /* of struct pthread's tid from %fs, 0: ask the kernel */
extern uint64_t fork_sequence;
extern uint32_t was_quiet;
extern const char *loader_start, *loader_end; /* the dynamic linker's code and data */

/* What the program would have called without the recorder. */
struct next {
    void *(*malloc)(size_t);
    void *(*calloc)(size_t, size_t);
    void *(*realloc)(void *, size_t);
    void *(*reallocarray)(void *, size_t, size_t);
    void (*free)(void *);
    void *(*memalign)(size_t, size_t);
    int (*posix_memalign)(void **, size_t, size_t);
    void *(*aligned_alloc)(size_t, size_t);
    void *(*valloc)(size_t);
    void *(*pvalloc)(size_t);
    int (*malloc_trim)(size_t);
    int (*mallopt)(int, int);
    void *(*sbrk)(intptr_t);
    int (*brk)(void *);
    pid_t (*fork)(void);
    int (*pthread_create)(void *, const void *, void *(*)(void *), void *);
    int (*execve)(const char *, char *const *, char *const *);
    int (*execvpe)(const char *, char *const *, char *const *);
    int (*fexecve)(int, char *const *, char *const *);
};
extern struct next next;
extern long (*next_syscall)(long, ...);

/* start.c */
int start(void);                              /* begin this image's file; 1: recording; errno kept */
void resolve(void);                           /* fill `next` */
void stop(uint32_t status, long error);       /* end recording for good; the program goes on */
const char *variable(const char *name);       /* of the environment, or NULL */

/* raw_file.c */
int create_file(uint64_t start_ns);           /* maps state->header */
uint8_t *map_chunk(uint64_t length);          /* NULL: recording has been stopped */
void unmap_chunk(uint8_t *window, uint64_t length);
void place_wanted(uint64_t start, uint64_t length); /* the program maps there, whatever stands there: the recorder leaves */
void reserve_chunks(uint64_t length);         /* map them in advance; nothing when that is not possible */
long slurp(const char *path, char *buffer, size_t size); /* whole small file, zero-ended; length, or -errno and "" */

/* stream.c */
struct stream *enter_slowly(uint32_t tid);
struct stream *begin_thread(uint32_t tid, int is_new);
int next_chunk(struct stream *);
int lock_slowly(struct stream *);
void watch_thread(struct stream *);           /* arranges that the end of the calling thread is seen */
void make_key(void);
void note_flushed(struct stream *, const void *caller); /* the thread is on its way out, and something is freed */
uint64_t now(void);                           /* ns, CLOCK_MONOTONIC */

/* observe.c; all are called with the stream entered and the lock held */
void look(struct stream *);                   /* the countdown ran out: take the samples that are due */
void before_placement(struct stream *, int sure); /* an mmap may be about to choose an address */
void snapshot(struct stream *, int kind);
void observe_all(struct stream *);            /* sample, residency and smaps, now */
void start_observing(struct stream *);
void mapped(int64_t bytes);                   /* the address space has grown by this much in our sight */
void resynchronise(void);                     /* take the size of the address space as it is now */
void block_added(const void *pointer, uint64_t event); /* an mmapped chunk, of the allocation with this number */
void block_stays(const void *pointer);        /* it was not moved after all */
void measure_block(struct stream *, const void *pointer); /* about to be removed: how much of it is in RAM */
void block_removed(const void *pointer);      /* about to be moved or unmapped */
void block_freed(const void *pointer);        /* about to be freed: unmapped, and the threshold follows */
void heap_seen(struct stream *, uint64_t heap);

static inline uint32_t self_tid(void)
{
    uint32_t tid;
    if (unlikely(!tid_offset))
        return (uint32_t)SYS_0(SYS_gettid);
    __asm__ volatile("movl %%fs:(%1), %0" : "=r"(tid) : "r"(tid_offset));
    return tid;
}

/* The caller's stream, now busy; NULL when nothing is to be recorded. */
static inline struct stream *enter(void)
{
    struct state *s = state;
    uint32_t tid = self_tid();
    if (likely(s && s->phase == RUNNING)) {
        struct stream *stream = s->buckets[tid % BUCKETS];
        if (likely(stream && stream->tid == tid && !stream->busy)) {
            stream->busy = 1;
            __asm__ volatile("" ::: "memory");
            return stream;
        }
    } else if (likely(s && s->phase != FRESH)) {
        return NULL;
    }
    return enter_slowly(tid);
}

static inline void leave(struct stream *stream)
{
    __asm__ volatile("" ::: "memory");
    stream->busy = 0;
}

/* Serialises call and number. 0: nothing to undo (no need, or the caller holds it already). */
static inline int lock_only(struct stream *stream)
{
    if (!state->exact)
        return 0;
    if (likely(&__libc_single_threaded && __libc_single_threaded && !state->owner))
        return 0;
    uint32_t nobody = 0;
    if (likely(__atomic_compare_exchange_n(&state->owner, &nobody, stream->tid, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)))
        return 1;
    return lock_slowly(stream);
}

/* The same, and time for the samples that are due: between events, so that their numbers stay in order. */
static inline int lock(struct stream *stream)
{
    int held = lock_only(stream);
    if (unlikely(!--stream->countdown))
        look(stream);
    return held;
}

static inline void unlock(struct stream *stream, int held)
{
    if (held && state->owner == stream->tid)
        __atomic_store_n(&state->owner, 0, __ATOMIC_RELEASE);
}

/* The next event's number. One instruction, so that a signal handler cannot come between; locked where threads can. */
static inline uint64_t next_number(void)
{
    uint64_t number = 1;
    if (likely(state->exact))
        __asm__ volatile("xaddq %0, %1" : "+r"(number), "+m"(sequence)::"memory", "cc");
    else
        number = __atomic_fetch_add(&sequence, 1, __ATOMIC_RELAXED);
    return number + 1;
}

/* A varint. Up to 28 bits without a branch for its length, which nobody can foretell; up to 3 bytes behind become 0. */
static inline uint8_t *put(uint8_t *p, uint64_t value)
{
    if (likely(value < 1u << 28)) {
        uint32_t v = (uint32_t)value, more = (v >= 1u << 7) + (v >= 1u << 14) + (v >= 1u << 21);
        uint32_t bytes = (v & 0x7f) | (v << 1 & 0x7f00) | (v << 2 & 0x7f0000) | (v << 3 & 0x7f000000);
        bytes |= 0x80808080u & ((1u << 8 * more) - 1);
        memcpy(p, &bytes, sizeof bytes);
        return p + more + 1;
    }
    while (value >= 128) {
        *p++ = (uint8_t)(value | 128);
        value >>= 7;
    }
    *p++ = (uint8_t)value;
    return p;
}

static inline uint64_t zigzag(int64_t value)
{
    return ((uint64_t)value << 1) ^ (uint64_t)(value >> 63);
}

static inline uint8_t *put_pointer(struct stream *stream, uint8_t *p, const void *pointer)
{
    uint64_t value = (uint64_t)pointer >> 4;
    p = put(p, zigzag((int64_t)(value - stream->pointer)));
    stream->pointer = value;
    return p;
}

/* A system call's result as libc's wrappers report it. */
static inline long answer(long result)
{
    if (!failed(result))
        return result;
    errno = (int)-result;
    return -1;
}

/* Makes the record from the cursor up to `end` visible: its op byte comes last. */
static inline void commit(struct stream *stream, unsigned op, uint8_t *end)
{
    uint8_t *record = stream->cursor;
    __asm__ volatile("" ::: "memory");
    *record = (uint8_t)op;
    stream->cursor = end;
}

/* Room for the record of event `number`: returns where its fields go, NULL when recording has stopped. */
static inline uint8_t *begin(struct stream *stream, uint64_t number)
{
    if (unlikely(stream->cursor >= stream->end) && !next_chunk(stream))
        return NULL;
    if (unlikely(number != stream->sequence + 1))
        commit(stream, RAW_SKIP, put(stream->cursor + 1, number - stream->sequence - 1));
    stream->sequence = number;
    return stream->cursor + 1;
}

/* The next event failed with this errno. */
static inline void put_error(struct stream *stream, int error)
{
    commit(stream, RAW_ERROR, put(stream->cursor + 1, (unsigned)error));
}

/* Record bits of the chunk at `pointer`: its size word's IS_MMAPPED (2) and NON_MAIN_ARENA (4) as bits 6 and 7. */
static inline unsigned chunk_bits(const void *pointer)
{
    return (unsigned)((((const uint64_t *)pointer)[-1] & 6) << 5);
}

#endif
