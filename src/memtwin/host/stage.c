// SPDX-License-Identifier: LGPL-2.1-or-later
/* stage: a bare process that performs memory operations on command and tells what they cost.
 *
 * No C library, no heap, no libc start-up: nothing in here faults, maps or allocates on its own, so that the fault
 * counts it reports are those of the commanded operation alone. All of its own data lie in .bss, which `warm` makes
 * resident before the first command and again after each fork.
 *
 * The driver writes `struct command`s to descriptor 0, as many as it likes, and reads one `struct answer` for each
 * from descriptor 1, followed by what the command asked for. The root process (0) passes commands for its
 * descendants on to them and waits, so that the operations of all processes happen one after the other, in order.
 */
#if !defined(__x86_64__) || !defined(__linux__)
#error "stage speaks x86-64 Linux system calls"
#endif

typedef unsigned char u8;
typedef unsigned int u32;
typedef int i32;
typedef unsigned long u64;
typedef long i64;

enum { READ = 0, WRITE = 1, OPEN = 2, CLOSE = 3, MMAP = 9, MUNMAP = 11, SIGACTION = 13, SIGRETURN = 15, PREAD = 17,
       GETPID = 39, FORK = 57, EXECVE = 59, WAIT4 = 61, GETRUSAGE = 98, PRCTL = 157, CLOCK = 228, EXIT_GROUP = 231,
       PIPE2 = 293 };
enum { SIGBUS = 7, SIGSEGV = 11, CLOEXEC = 02000000, SET_CHILD_SUBREAPER = 36, CLOCK_MONOTONIC = 1,
       RUSAGE_SELF = 0, EINVAL = 22, EINTR = 4, PAGE = 4096, PROCESSES = 8, BROKEN = 70 };

/* What a command does; `a` are its arguments.
 *   NOTHING
 *   CALL        raw system call `number` with a[0..5]; the result as the kernel gives it, -errno included
 *   TOUCH_READ  load one byte at a[0], a[0]+a[2], ... a[1] times; `value` chains the bytes; the result counts them
 *   TOUCH_WRITE store the byte a[3] in the same way
 *   TOUCH_DIRTY a store that leaves the byte as it is, in the same way
 *   SPLIT       fork; the child becomes process a[0]; the result is its pid. Both are warm again when this answers
 *   REAP        end process a[0] and wait for it; the result is its pid
 *   FRESH       execve of this very program; the new image answers
 *   MAP_LOOP    a[0] times mmap of a[1] anonymous bytes and munmap of them
 *   FORK_LOOP   a[0] times fork, exit of the child, wait
 */
enum { NOTHING, CALL, TOUCH_READ, TOUCH_WRITE, TOUCH_DIRTY, SPLIT, REAP, FRESH, MAP_LOOP, FORK_LOOP };
enum { WANT_MAPS = 1, WANT_TIME = 2 };

struct command {
    u32 process;   // who shall do it
    u32 kind;      // NOTHING ... FORK_LOOP
    u32 number;    // CALL: which system call
    u32 want;      // WANT_ bits
    u32 room;      // bytes of `scratch` to send after the answer
    u32 spare;
    i64 a[6];
};

struct answer {
    i64 result;
    u32 minflt, majflt;      // faults since this process's last answer
    i32 signal, code;        // the signal that stopped a touch and its si_code; 0 when none did
    u64 address;             // si_addr
    u64 value;               // TOUCH_READ: the bytes, chained: value = value * 31 + byte
    u64 nanoseconds;         // WANT_TIME: of the operation
    u32 room;                // bytes of `scratch` that follow the answer
    u32 maps;                // 1: then chunks of /proc/self/maps follow, each a u32 length and its bytes; 0 ends them
};

static struct {
    u8 stack[16384];
    u8 input[8192];
    u8 output[32768];
    u8 scratch[8192];        // what pointers in system calls point to; its address is in the first answer
} own __attribute__((aligned(PAGE)));
static u64 input_at, input_end, output_end;
static u32 me;               // which process this is; 0 is the root
static int maps_file;
static struct { i32 order[2], done[2]; } pipes[PROCESSES];
static i64 usage[18];        // struct rusage; [8] minor, [9] major faults
static struct answer now;
static u32 minflt, majflt;   // at the last answer

extern u8 __executable_start[], __bss_start[], _end[];
extern u8 access_begin[], access_end[], access_failed[];

static inline i64 call(i64 number, i64 a, i64 b, i64 c, i64 d, i64 e, i64 f) {
    register i64 r10 __asm__("r10") = d;
    register i64 r8 __asm__("r8") = e;
    register i64 r9 __asm__("r9") = f;
    i64 result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

static _Noreturn void end(int status) {
    for (;;) call(EXIT_GROUP, status, 0, 0, 0, 0, 0);
}

/* The only three instructions that touch commanded addresses. They leave the stack alone, so that the signal handler
 * can send a failed one to `access_failed`, which returns -1 in its stead. */
i64 load_byte(u64 address);
i64 store_byte(u64 address, u64 value);
i64 dirty_byte(u64 address);
void return_from_signal(void);
__asm__(".text\n"
        "access_begin:\n"
        "load_byte: movzbl (%rdi), %eax\n ret\n"
        "store_byte: movb %sil, (%rdi)\n xorl %eax, %eax\n ret\n"
        "dirty_byte: lock orb $0, (%rdi)\n xorl %eax, %eax\n ret\n"
        "access_end:\n"
        "access_failed: movq $-1, %rax\n ret\n"
        "return_from_signal: movl $15, %eax\n syscall\n"
        // What execve wrote onto the stack is cleared: no sequence shall read paths and random bytes of this machine.
        ".globl _start\n"
        "_start: movq %rsp, %rdi\n movabsq $0x7ffffffff000, %rcx\n subq %rdi, %rcx\n xorl %eax, %eax\n cld\n rep stosb\n"
        " xorl %ebp, %ebp\n leaq own+16384(%rip), %rsp\n call perform\n");

static void on_signal(int signal, u8 *info, u8 *context) {
    u64 *rip = (u64 *)(context + 168);    // ucontext: 40 bytes, then gregs; REG_RIP is the 17th
    if (*rip < (u64)access_begin || *rip >= (u64)access_end) end(BROKEN);
    now.signal = signal;
    now.code = *(i32 *)(info + 8);
    now.address = *(u64 *)(info + 16);
    *rip = (u64)access_failed;
}

/* Touch every page of our own, so that no later access of ours faults. */
static void warm(void) {
    for (u8 *page = __executable_start; page < __bss_start; page += PAGE) (void)*(volatile u8 *)page;
    for (u8 *page = __bss_start; page < _end; page += PAGE)
        __asm__ volatile("lock orb $0, %0" : "+m"(*page));
}

static void write_all(i32 file, const void *from, u64 length) {
    for (u64 done = 0; done < length;) {
        i64 step = call(WRITE, file, (i64)from + done, length - done, 0, 0, 0);
        if (step == -EINTR) continue;
        if (step <= 0) end(BROKEN);
        done += step;
    }
}

static void flush(void) {
    write_all(1, own.output, output_end);
    output_end = 0;
}

static void put(const void *from, u64 length) {
    if (output_end + length > sizeof own.output) flush();
    for (u64 i = 0; i < length; i++) own.output[output_end + i] = ((const u8 *)from)[i];
    output_end += length;
}

/* The next command; flushes the answers before it waits. The end of the driver is our end. */
static struct command *next(void) {
    if (input_end - input_at < sizeof(struct command)) {
        flush();
        for (u64 i = 0; i < input_end - input_at; i++) own.input[i] = own.input[input_at + i];
        input_end -= input_at;
        input_at = 0;
        while (input_end < sizeof(struct command)) {
            i32 file = me ? pipes[me].order[0] : 0;
            i64 step = call(READ, file, (i64)own.input + input_end, sizeof own.input - input_end, 0, 0, 0);
            if (step == -EINTR) continue;
            if (step <= 0) end(step < 0 ? BROKEN : 0);
            input_end += step;
        }
    }
    struct command *command = (struct command *)(own.input + input_at);
    input_at += sizeof *command;
    return command;
}

static void tell_done(void) {
    flush();
    write_all(pipes[me].done[1], &me, 1);
}

static void wait_done(u32 process) {
    u8 byte;
    while (call(READ, pipes[process].done[0], (i64)&byte, 1, 0, 0, 0) == -EINTR) {}
}

static void pass_on(struct command *command) {
    flush();
    write_all(pipes[command->process].order[1], command, sizeof *command);
    wait_done(command->process);
}

static void open_maps(void) {
    maps_file = call(OPEN, (i64) "/proc/self/maps", CLOEXEC, 0, 0, 0, 0);
    if (maps_file < 0) end(BROKEN);
}

static void put_maps(void) {
    for (u64 at = 0;;) {
        if (output_end + PAGE + sizeof(u32) > sizeof own.output) flush();
        u8 *chunk = own.output + output_end;
        i64 length = call(PREAD, maps_file, (i64)chunk + sizeof(u32), PAGE, at, 0, 0);
        if (length < 0) end(BROKEN);
        *(u32 *)chunk = length;
        output_end += sizeof(u32) + length;
        if (length == 0) return;
        at += length;
    }
}

static void count_faults(void) {
    call(GETRUSAGE, RUSAGE_SELF, (i64)usage, 0, 0, 0, 0);
    now.minflt = (u32)usage[8] - minflt;
    now.majflt = (u32)usage[9] - majflt;
    minflt = usage[8];
    majflt = usage[9];
}

static u64 clock(void) {
    u64 time[2];
    call(CLOCK, CLOCK_MONOTONIC, (i64)time, 0, 0, 0, 0);
    return time[0] * 1000000000 + time[1];
}

static i64 touch(struct command *command) {
    u64 address = command->a[0];
    i64 done;
    for (done = 0; done < command->a[1]; done++, address += command->a[2]) {
        i64 byte = command->kind == TOUCH_READ    ? load_byte(address)
                   : command->kind == TOUCH_WRITE ? store_byte(address, command->a[3])
                                                  : dirty_byte(address);
        if (byte < 0) break;
        now.value = now.value * 31 + byte;
    }
    return done;
}

static i64 split(u32 process) {
    if (process == 0 || process >= PROCESSES) return -EINVAL;
    flush();
    i64 pid = call(FORK, 0, 0, 0, 0, 0, 0);
    if (pid < 0) return pid;
    if (pid == 0) {
        me = process;
        input_at = input_end = 0;
        call(CLOSE, maps_file, 0, 0, 0, 0, 0);
        open_maps();
        warm();
        minflt = majflt = 0;
        count_faults();
        tell_done();
        return 0;
    }
    wait_done(process);
    warm();
    count_faults();
    return pid;
}

/* No other process of ours can end meanwhile, so that any child that ends is the one. An orphan's parent is the root. */
static i64 reap(u32 process) {
    if (process == 0 || process >= PROCESSES) return -EINVAL;
    struct command last = {.process = process, .kind = REAP};
    write_all(pipes[process].order[1], &last, sizeof last);
    return call(WAIT4, -1, 0, 0, 0, 0, 0);
}

static i64 map_loop(i64 times, u64 length) {
    for (i64 i = 0; i < times; i++) {
        i64 at = call(MMAP, 0, length, 3, 0x22, -1, 0);
        if (at < 0) return at;
        call(MUNMAP, at, length, 0, 0, 0, 0);
    }
    return times;
}

static i64 fork_loop(i64 times) {
    for (i64 i = 0; i < times; i++) {
        i64 pid = call(FORK, 0, 0, 0, 0, 0, 0);
        if (pid == 0) end(0);
        if (pid < 0) return pid;
        call(WAIT4, pid, 0, 0, 0, 0, 0);
    }
    return times;
}

static void fresh(void) {
    static const char *no_strings[] = {0};
    flush();
    call(EXECVE, (i64) "/proc/self/exe", (i64)no_strings, (i64)no_strings, 0, 0, 0);
    end(BROKEN);
}

static i64 operate(struct command *command) {
    i64 *a = command->a;
    switch (command->kind) {
    case NOTHING: return 0;
    case CALL: return call(command->number, a[0], a[1], a[2], a[3], a[4], a[5]);
    case TOUCH_READ:
    case TOUCH_WRITE:
    case TOUCH_DIRTY: return touch(command);
    case MAP_LOOP: return map_loop(a[0], a[1]);
    case FORK_LOOP: return fork_loop(a[0]);
    }
    return -EINVAL;
}

static void answer(struct command *command) {
    now.room = command->room < sizeof own.scratch ? command->room : sizeof own.scratch;
    now.maps = command->want & WANT_MAPS;
    put(&now, sizeof now);
    put(own.scratch, now.room);
    if (now.maps) put_maps();
    if (me) tell_done();
}

static void obey(struct command *command) {
    now = (struct answer){0};
    if (command->kind == SPLIT) {
        now.result = split(command->a[0]);
        if (now.result == 0) return;    // the child has told its parent, which answers
        now.minflt = now.majflt = 0;    // what both processes spent on their own pages
    } else if (command->kind == REAP) {
        if (me && command->a[0] == 0) end(0);
        now.result = reap(command->a[0]);
        count_faults();
    } else {
        u64 begin = command->want & WANT_TIME ? clock() : 0;
        now.result = operate(command);
        if (command->want & WANT_TIME) now.nanoseconds = clock() - begin;
        count_faults();
    }
    answer(command);
}

/* The first answer of an image: result = pid, scratch = the addresses that the driver must know. */
static void greet(void) {
    u64 *facts = (u64 *)own.scratch;
    facts[0] = (u64)own.scratch;
    facts[1] = sizeof own.scratch;
    facts[2] = (u64)__executable_start;
    facts[3] = (u64)__bss_start;
    facts[4] = (u64)_end;
    struct command hello = {.room = 5 * sizeof(u64), .want = WANT_MAPS};
    count_faults();
    now = (struct answer){.result = call(GETPID, 0, 0, 0, 0, 0, 0)};
    answer(&hello);
}

__attribute__((used)) _Noreturn void perform(void) {
    struct { void *handler; u64 flags; void *restorer; u64 mask; } action =
        {on_signal, 4 | 0x04000000 | 0x40000000, return_from_signal, 0};    // SA_SIGINFO, SA_RESTORER, SA_NODEFER
    warm();
    call(SIGACTION, SIGSEGV, (i64)&action, 0, 8, 0, 0);
    call(SIGACTION, SIGBUS, (i64)&action, 0, 8, 0, 0);
    call(PRCTL, SET_CHILD_SUBREAPER, 1, 0, 0, 0, 0);
    for (u32 i = 1; i < PROCESSES; i++) {
        call(PIPE2, (i64)pipes[i].order, CLOEXEC, 0, 0, 0, 0);
        call(PIPE2, (i64)pipes[i].done, CLOEXEC, 0, 0, 0, 0);
    }
    open_maps();
    greet();
    for (;;) {
        struct command *command = next();
        if (command->kind == FRESH) fresh();
        if (command->process != me && me == 0 && command->process < PROCESSES) pass_on(command);
        else obey(command);
    }
}
