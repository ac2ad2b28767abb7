/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Filters of system calls (seccomp(2)). One that the program installs may kill it for any call that it does not make
 * itself. So right before, a part of the file is mapped in advance, and from then on the recorder makes no call at all
 * but those without which a program with threads cannot wait (futex): no samples, no snapshots, and when that part is
 * full, recording stops. A filter that stands since before the program began (systemd, containers) is none of these: it
 * has let the loader open files.
 */
#include "recorder.h"

#include <linux/seccomp.h>
#include <stdarg.h>
#include <sys/prctl.h>

#define RESERVE (16 * MIB)

static void be_quiet(void)
{
    was_quiet = 1;
    struct stream *stream = state && state->phase == RUNNING ? enter() : NULL;
    if (!stream)
        return;
    int held = lock(stream);
    for (uint64_t length = RESERVE; !state->reserve && length >= RAW_GRAIN; length /= 2)
        reserve_chunks(length);
    if (stream->cursor && (stream->cursor < stream->end || next_chunk(stream)))
        commit(stream, RAW_NOTE, put(put(stream->cursor + 1, RAW_NOTE_QUIET), sequence));
    stream->looked = now();
    state->quiet = 1;
    unlock(stream, held);
    leave(stream);
}

static void be_loud(void)
{
    was_quiet = 0;
    if (state)
        state->quiet = 0;
}

/* Calls the kernel, quietly if it takes the filter. */
static long install(long number, const long *a)
{
    int before = (int)was_quiet;
    if (!before)
        be_quiet();
    long result = sys(number, a[0], a[1], a[2], a[3], a[4], a[5]);
    if (failed(result) && !before)
        be_loud();
    return answer(result);
}

/* libseccomp finds out what the kernel can do with calls that must fail: no filter, or flags in strict mode. */
static int installs(long number, const long *a)
{
    if (number == SYS_prctl)
        return a[0] == PR_SET_SECCOMP;
    return (a[0] == SECCOMP_SET_MODE_FILTER && a[2]) || (a[0] == SECCOMP_SET_MODE_STRICT && !a[1]);
}

static long call(long number, const long *a)
{
    return installs(number, a) ? install(number, a) : answer(sys(number, a[0], a[1], a[2], a[3], a[4], a[5]));
}

EXPORT int prctl(int option, ...)
{
    long a[6] = {option};
    va_list list;
    va_start(list, option);
    for (int i = 1; i < 5; i++)
        a[i] = va_arg(list, long);
    va_end(list);
    return (int)call(SYS_prctl, a);
}

static __attribute__((used)) long special(long number, long a, long b, long c, long d, long e)
{
    return call(number, (long[6]){a, b, c, d, e});
}

/*
 * libc's own does the call, since what a call does to the stack (clone) is its business; only the numbers of prctl (157)
 * and seccomp (317) turn off. Their sixth argument, on the stack, is not used.
 */
EXPORT __attribute__((naked)) long syscall(__attribute__((unused)) long number, ...)
{
    __asm__("cmpq $157, %rdi\n\t"
            "je special\n\t"
            "cmpq $317, %rdi\n\t"
            "je special\n\t"
            "movq next_syscall(%rip), %rax\n\t"
            "testq %rax, %rax\n\t"
            "je 1f\n\t"
            "jmp *%rax\n"
            "1:\tpushq %rdi\n\tpushq %rsi\n\tpushq %rdx\n\tpushq %rcx\n\tpushq %r8\n\tpushq %r9\n\tpushq %rax\n\t"
            "call resolve\n\t"
            "popq %rax\n\tpopq %r9\n\tpopq %r8\n\tpopq %rcx\n\tpopq %rdx\n\tpopq %rsi\n\tpopq %rdi\n\t"
            "jmp *next_syscall(%rip)");
}
