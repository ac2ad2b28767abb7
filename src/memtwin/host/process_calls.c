/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Threads that start, processes that fork, images that end. */
#include "recorder.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

/* A child of vfork runs in its parent's memory: what it does must not pass for the parent's doing. */
static int borrowed(void)
{
    if (!state || state->phase != RUNNING)
        return 1;
    return !state->quiet && (uint32_t)SYS_0(SYS_getpid) != state->pid; /* getpid may be what a filter kills for */
}

static void put_event(struct stream *stream, enum raw_op op)
{
    uint8_t *p = begin(stream, next_number());
    if (p)
        commit(stream, op, p);
}

static void put_outcome(struct stream *stream, int64_t result)
{
    if (stream->cursor && (stream->cursor < stream->end || next_chunk(stream)))
        commit(stream, RAW_OUTCOME, put(stream->cursor + 1, zigzag(result)));
}

/* ---- Threads -------------------------------------------------------------------------------------------------- */

enum { EMPTY, TAKEN, CREATED, READING, STARTED };

/* Hands the start routine to the new thread, and its tid to the one that creates it. */
struct launch {
    void *(*routine)(void *);
    void *argument;
    uint32_t stage;
    uint32_t tid;
};
static struct launch launches[256];

static struct launch *free_launch(void)
{
    for (unsigned i = 0; i < sizeof launches / sizeof *launches; i++) {
        uint32_t empty = EMPTY;
        if (__atomic_compare_exchange_n(&launches[i].stage, &empty, TAKEN, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
            return &launches[i];
    }
    return NULL;
}

/*
 * The tid stands in struct pthread, which is gone once a detached thread has ended. Whoever moves the stage on from
 * CREATED first wins: the creator, and then the thread waits until it has been read, or the thread, which leaves its tid.
 */
static uint32_t tid_of(struct launch *launch, const pthread_t *thread)
{
    uint32_t stage = TAKEN, tid = 0;
    if (__atomic_compare_exchange_n(&launch->stage, &stage, READING, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
        tid = tid_offset ? *(uint32_t *)((char *)*thread + tid_offset) : 0;
        __atomic_store_n(&launch->stage, CREATED, __ATOMIC_RELEASE);
    } else {
        tid = launch->tid;
        __atomic_store_n(&launch->stage, EMPTY, __ATOMIC_RELEASE);
    }
    return tid;
}

static void *first_steps(void *value)
{
    struct launch *launch = value;
    void *(*routine)(void *) = launch->routine;
    void *argument = launch->argument;
    uint32_t tid = self_tid(), stage = TAKEN;
    launch->tid = tid;
    if (!__atomic_compare_exchange_n(&launch->stage, &stage, STARTED, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
        while (__atomic_load_n(&launch->stage, __ATOMIC_ACQUIRE) != CREATED)
            SYS_0(SYS_sched_yield);
        __atomic_store_n(&launch->stage, EMPTY, __ATOMIC_RELEASE);
    }
    if (state && state->phase == RUNNING) {
        struct stream *stream = begin_thread(tid, 1);
        if (stream)
            leave(stream);
    }
    return routine(argument);
}

EXPORT int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*routine)(void *), void *argument)
{
    resolve();
    struct stream *stream = enter();
    struct launch *launch = stream ? free_launch() : NULL;
    if (stream)
        leave(stream);
    if (!launch)
        return next.pthread_create(thread, attributes, routine, argument);
    launch->routine = routine;
    launch->argument = argument;
    launch->tid = 0;
    int error = next.pthread_create(thread, attributes, first_steps, launch);
    uint32_t tid = error ? 0 : tid_of(launch, thread);
    if (error)
        __atomic_store_n(&launch->stage, EMPTY, __ATOMIC_RELEASE);
    stream = enter();
    if (!stream)
        return error;
    int held = lock(stream);
    uint8_t *p = begin(stream, next_number());
    if (p) {
        if (error) {
            put_error(stream, error);
            p = stream->cursor + 1;
        }
        commit(stream, RAW_THREAD_CREATE, put(p, tid));
    }
    unlock(stream, held);
    leave(stream);
    return error;
}

/* ---- Fork ----------------------------------------------------------------------------------------------------- */

/* Registered before all others, so that it runs right before the clone, after them: the child is what is here. */
static void before_fork(void)
{
    struct stream *stream = enter();
    if (!stream)
        return;
    state->fork_held = (uint32_t)lock(stream);
    put_event(stream, RAW_FORK);
    fork_sequence = stream->sequence;
    leave(stream);
}

static void after_fork(void)
{
    fork_sequence = 0;
    if (!state || state->phase != RUNNING || !state->fork_held)
        return;
    state->fork_held = 0;
    if (state->owner == self_tid())
        __atomic_store_n(&state->owner, 0, __ATOMIC_RELEASE);
}

static void finish(void);

void watch_ends(void)
{
    pthread_atfork(before_fork, after_fork, NULL);
    at_quick_exit(finish); /* it calls no destructors */
}

EXPORT pid_t fork(void)
{
    resolve();
    pid_t pid = next.fork();
    if (!pid)
        return 0;
    struct stream *stream = enter();
    if (stream) {
        int held = lock(stream);
        put_outcome(stream, pid > 0 ? pid : -errno);
        unlock(stream, held);
        leave(stream);
    }
    return pid;
}

/* ---- Exec and exit -------------------------------------------------------------------------------------------- */

/* The image may end here: the last look at it, and the event. 0: not ours to record. */
static int before_exec(void)
{
    resolve();
    if (borrowed())
        return 0;
    struct stream *stream = enter();
    if (!stream)
        return 0;
    int held = lock(stream);
    observe_all(stream);
    put_event(stream, RAW_EXEC);
    unlock(stream, held);
    leave(stream);
    return 1;
}

static int after_exec(int recorded, int result)
{
    struct stream *stream = recorded ? enter() : NULL;
    if (stream) {
        put_outcome(stream, -errno);
        leave(stream);
    }
    return result;
}

EXPORT int execve(const char *path, char *const arguments[], char *const environment[])
{
    int recorded = before_exec();
    return after_exec(recorded, next.execve(path, arguments, environment));
}

EXPORT int execv(const char *path, char *const arguments[])
{
    int recorded = before_exec();
    return after_exec(recorded, next.execve(path, arguments, environ));
}

EXPORT int execvpe(const char *file, char *const arguments[], char *const environment[])
{
    int recorded = before_exec();
    return after_exec(recorded, next.execvpe(file, arguments, environment));
}

EXPORT int execvp(const char *file, char *const arguments[])
{
    int recorded = before_exec();
    return after_exec(recorded, next.execvpe(file, arguments, environ));
}

EXPORT int fexecve(int fd, char *const arguments[], char *const environment[])
{
    int recorded = before_exec();
    return after_exec(recorded, next.fexecve(fd, arguments, environment));
}

EXPORT int execveat(int fd, const char *path, char *const arguments[], char *const environment[], int flags)
{
    int recorded = before_exec();
    return after_exec(recorded, answer(SYS_5(SYS_execveat, fd, path, arguments, environment, flags)));
}

/* Arguments of the execl family, counted and then laid out on the stack: there may be any number of them. */
#define COUNT_ARGUMENTS(first, list)                   \
    size_t count = 1;                                  \
    va_start(list, first);                             \
    while (va_arg(list, char *))                       \
        count++;                                       \
    va_end(list);                                      \
    char *arguments[count + 1];                        \
    arguments[0] = (char *)first;                      \
    va_start(list, first);                             \
    for (size_t i = 1; i <= count; i++)                \
        arguments[i] = va_arg(list, char *)

EXPORT int execl(const char *path, const char *first, ...)
{
    va_list list;
    COUNT_ARGUMENTS(first, list);
    va_end(list);
    return execv(path, arguments);
}

EXPORT int execlp(const char *file, const char *first, ...)
{
    va_list list;
    COUNT_ARGUMENTS(first, list);
    va_end(list);
    return execvp(file, arguments);
}

EXPORT int execle(const char *path, const char *first, ...)
{
    va_list list;
    COUNT_ARGUMENTS(first, list);
    char *const *environment = va_arg(list, char *const *);
    va_end(list);
    return execve(path, arguments, environment);
}

/* The program is ending of its own will: the last samples and the mark. */
__attribute__((destructor)) static void finish(void)
{
    int error = errno;
    if (!borrowed() && !state->ended) {
        struct stream *stream = enter();
        if (stream) {
            int held = lock(stream);
            state->ended = 1;
            observe_all(stream);
            uint8_t *p = begin(stream, next_number());
            if (p)
                commit(stream, RAW_END, put(p, (state->quiet ? stream->looked : now()) - state->header->start_ns));
            unlock(stream, held);
            leave(stream);
        }
    }
    errno = error;
}

EXPORT void _exit(int status)
{
    finish();
    for (;;)
        SYS_1(SYS_exit_group, status);
}

EXPORT void _Exit(int status)
{
    _exit(status);
}
