// SPDX-License-Identifier: LGPL-2.1-or-later
/* subject: a process with the host's C library that makes memory calls on command (host/process.py drives it).
 *
 * Each process of the tree, and each thread, answers on a SOCK_SEQPACKET socket of its own, one packet in, one packet
 * out; of one process only one is at work at a time, so that the buffers are shared. Nothing in here allocates, and
 * everything it needs is resident before the first command and again after each fork (`warm`), so that addresses and
 * fault counts are those of the commanded call alone. Sockets have high numbers: a call that opens a file gets 3.
 *
 * A call that ends in a signal is answered too, from the handler, with the signal, its code and address; then the
 * process is gone, as the real one would be.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <ucontext.h>
#include <unistd.h>

enum { ROOM = 64 * 1024, PAGE = 4096, RANGES = 64, WORDS = 6, THREADS = 16, SOCKETS = 1000 };

/* What a command asks for; a[] are its arguments.
 *   CALL    function a[0]... of `calls`, by number; the result as C gives it
 *   LOAD    a[1] bytes at a[0], sent behind the answer
 *   STORE   the packet's bytes at a[0]
 *   FILL    a[2] bytes of value a[1] at a[0]
 *   COPY    a[2] bytes from a[1] to a[0]
 *   TOUCH   a write access to each page of a[1] bytes at a[0]; the byte stays what it was
 *   FORK    the packet carries a socket: the child answers on it. The result is the child's pid
 *   WARM    the packet's bytes are (start, length | written) pairs: ranges of its own, in whole pages, to keep
 *           resident, now and after each fork, which does not copy the page tables of program text
 *   LEAVE   _exit(a[0])
 *   THREAD  the packet carries a socket: a new thread answers on it. The result is its number
 *   RETURN  the thread ends, after its answer
 *   JOIN    wait for the end of thread a[0]
 */
enum { CALL, LOAD, STORE, FILL, COPY, TOUCH, FORK, WARM, LEAVE, THREAD, RETURN, JOIN };

struct command {
    uint32_t kind, number;
    uint64_t a[WORDS];
    uint8_t room[];          // STORE, WARM: bytes
};

struct answer {
    int64_t result;
    int32_t error;           // errno after the call, 0 when the call left it alone; of a signal: 1 for a write
    int32_t signal, code;    // what ended the process; 0 when nothing did
    uint32_t length;         // bytes in `room`
    uint64_t address;        // si_addr
    uint64_t minflt, majflt; // faults of the call
    uint8_t room[];
};

typedef long (*function)(long, long, long, long, long, long);

static long get_mallinfo(struct mallinfo *to) { *to = mallinfo(); return sizeof *to; }
static long get_mallinfo2(struct mallinfo2 *to) { *to = mallinfo2(); return sizeof *to; }
static long print_malloc_info(void) { return malloc_info(0, stderr); }
static long open_zero(void) { return open("/dev/zero", O_RDWR); }

/* The order is host/process.py's. */
static const function calls[] = {
    (function)malloc, (function)calloc, (function)realloc, (function)reallocarray, (function)free, (function)memalign,
    (function)posix_memalign, (function)aligned_alloc, (function)valloc, (function)pvalloc,
    (function)malloc_usable_size, (function)malloc_trim, (function)mallopt, (function)malloc_stats,
    (function)print_malloc_info, (function)brk, (function)sbrk, (function)mmap, (function)munmap, (function)mremap,
    (function)mprotect, (function)madvise, (function)mlock, (function)mlock2, (function)munlock, (function)mincore,
    (function)msync, (function)memfd_create, (function)ftruncate, (function)get_mallinfo, (function)get_mallinfo2,
    (function)open_zero,
};

static uint64_t packet[ROOM / 8 + 64];       // what came in
static uint64_t reply[ROOM / 8 + 64];        // what goes out
static uint64_t vector[ROOM / 8];            // where calls that fill a buffer put their result
static uint64_t ranges[2 * RANGES];
static uint8_t stacks[1 + THREADS][32 * 1024]; // of the signal handlers
static unsigned pairs;
static int line;                             // the socket of the thread that is at work
static struct rusage before;
static pthread_t threads[1 + THREADS];       // [0] is main()'s
static int lines[1 + THREADS];
static unsigned started;                     // threads

static void faults(struct answer *out) {
    struct rusage now;
    getrusage(RUSAGE_THREAD, &now);
    out->minflt = now.ru_minflt - before.ru_minflt;
    out->majflt = now.ru_majflt - before.ru_majflt;
}

static void touch(uint64_t start, uint64_t length) {
    for (uint64_t at = start & -PAGE; at < start + length; at += PAGE) {
        uint8_t *byte = (uint8_t *)(at < start ? start : at);
        __atomic_fetch_or(byte, 0, __ATOMIC_RELAXED);  // one access: a load first would fault for itself
    }
}

/* Make everything of this program's own resident and writable, the given ranges and the stack's next pages included. */
static __attribute__((noinline)) void warm(void) {
    volatile uint8_t deep[4 * PAGE];
    for (unsigned i = 0; i < sizeof deep; i += PAGE) deep[i] = 0;
    touch((uint64_t)packet, sizeof packet);
    touch((uint64_t)reply, sizeof reply);
    touch((uint64_t)vector, sizeof vector);
    touch((uint64_t)stacks[0], sizeof stacks[0]);
    touch((uint64_t)lines, sizeof lines);
    for (unsigned i = 0; i < pairs; i++) {
        uint64_t start = ranges[2 * i], length = ranges[2 * i + 1] & -PAGE;
        if (ranges[2 * i + 1] & 1) touch(start, length);
        else madvise((void *)start, length, MADV_POPULATE_READ);
    }
    errno = 0;
}

static void gone(int number, siginfo_t *info, void *context) {
    struct answer *out = (struct answer *)reply;
    memset(out, 0, sizeof *out);
    faults(out);
    out->signal = number;
    out->code = info->si_code;
    out->address = (uint64_t)info->si_addr;
    out->error = ((ucontext_t *)context)->uc_mcontext.gregs[REG_ERR] >> 1 & 1;
    send(line, out, sizeof *out, 0);
    _exit(128 + number);
}

static int socket_of(struct msghdr *message) {
    struct cmsghdr *head = CMSG_FIRSTHDR(message);
    return head ? *(int *)CMSG_DATA(head) : -1;
}

/* A number out of the way of the files that calls open. */
static int put_away(int socket) {
    int high = fcntl(socket, F_DUPFD_CLOEXEC, SOCKETS);
    close(socket);
    return high;
}

static int64_t split(int other) {
    int64_t pid = fork();
    if (pid == 0) {
        close(line);
        line = put_away(other);
        warm();
        getrusage(RUSAGE_THREAD, &before);
        struct answer out = { .result = 0 };
        send(line, &out, sizeof out, 0);  // the driver waits for both before it goes on
    } else {
        close(other);
    }
    return pid;
}

static void serve(unsigned number);

static void *begin(void *number) {
    line = lines[(intptr_t)number];
    warm();
    struct answer out = { .result = 0 };
    send(line, &out, sizeof out, 0);
    serve((intptr_t)number);
    return NULL;
}

static int64_t start_thread(int other) {
    if (started == THREADS) return -1;
    started++;
    lines[started] = put_away(other);
    errno = pthread_create(&threads[started], NULL, begin, (void *)(intptr_t)started);
    return errno ? -1 : (int64_t)started;
}

static int64_t perform(const struct command *in, size_t length, int other, struct answer *out) {
    const uint64_t *a = in->a;
    switch (in->kind) {
    case CALL:
        return calls[in->number](a[0], a[1], a[2], a[3], a[4], a[5]);
    case LOAD:
        for (uint64_t i = 0; i < a[1]; i++) out->room[i] = ((volatile uint8_t *)a[0])[i];
        out->length = a[1];
        return 0;
    case STORE:
        for (uint64_t i = 0; i < length - sizeof *in; i++) ((volatile uint8_t *)a[0])[i] = in->room[i];
        return 0;
    case FILL:
        for (uint64_t i = 0; i < a[2]; i++) ((volatile uint8_t *)a[0])[i] = a[1];
        return 0;
    case COPY:
        for (uint64_t i = 0; i < a[2]; i++) ((volatile uint8_t *)a[0])[i] = ((volatile uint8_t *)a[1])[i];
        return 0;
    case TOUCH:
        touch(a[0], a[1]);
        return 0;
    case FORK:
        return split(other);
    case WARM:
        pairs = (length - sizeof *in) / 16;
        memcpy(ranges, in->room, 16 * pairs);
        warm();
        return (int64_t)vector;
    case THREAD:
        return start_thread(other);
    case RETURN:
        return 0;
    case JOIN:
        return pthread_join(threads[a[0]], NULL);
    }
    _exit(a[0]);
}

/* Answer commands on the socket of thread `number` until it ends. */
static void serve(unsigned number) {
    sigaltstack(&(stack_t){ .ss_sp = stacks[number], .ss_size = sizeof stacks[number] }, NULL);
    for (;;) {
        char control[CMSG_SPACE(sizeof(int))];
        struct iovec part = { packet, sizeof packet };
        struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = control,
                                  .msg_controllen = sizeof control };
        ssize_t length = recvmsg(lines[number], &message, 0);
        struct command *in = (struct command *)packet;
        if (length < (ssize_t)sizeof *in) _exit(0);  // the driver is gone
        struct answer *out = (struct answer *)reply;
        memset(out, 0, sizeof *out);
        errno = 0;
        int mine = line = lines[number];
        uint32_t kind = in->kind;
        getrusage(RUSAGE_THREAD, &before);
        int64_t result = perform(in, length, socket_of(&message), out);
        if (kind == FORK && result == 0) {           // the child, which has answered already
            lines[number] = line;
            continue;
        }
        out->result = result;
        out->error = errno;
        faults(out);
        if (kind == FORK) {
            out->minflt = out->majflt = 0;           // libc's own stack and data, which are kept resident
            warm();
        }
        send(mine, out, sizeof *out + out->length, 0);
        if (kind == RETURN) {
            close(mine);
            return;
        }
    }
}

int main(int argc, char **argv) {
    if (argc != 2) return 2;
    lines[0] = put_away(atoi(argv[1]));
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    struct sigaction action = { .sa_sigaction = gone, .sa_flags = SA_SIGINFO | SA_ONSTACK };
    sigaction(SIGSEGV, &action, NULL);
    sigaction(SIGBUS, &action, NULL);
    sigaction(SIGABRT, &action, NULL);
    signal(SIGCHLD, SIG_IGN);
    serve(0);
}
