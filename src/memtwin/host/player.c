// SPDX-License-Identifier: LGPL-2.1-or-later
/* The player: performs a column of operations on the C library that it runs with, and logs what each call gave.

   It has no C library of its own: no headers, no start files, no undefined symbols. The driver (player.py) preloads the
   library to be played on, finds its functions in its ELF file and hands their addresses over on the board. So one
   binary serves every release, and nothing happens in the heap but what the column says and what the library does of
   itself. The latter (pthread_create's table of TLS blocks) is seen because ld.so and libc take malloc, calloc, realloc
   and free from the executable where it has them: the four at the end of this file log the call as hidden and pass it on.

   The board is the file at descriptor 3, mapped shared:

       header     one page: struct header
       operations struct operation [header.operations]
       log        struct entry [header.operations]       what operation i gave
       hidden     struct hidden [header.hidden_room]      the library's own calls, POKEs: what it wrote itself, and MCHECKs:
                                                          what it told the function that mcheck was given
       values     u64 [header.values_room]                mallinfo's fields, ten a call

   The slots, the pointers that operations name, are the player's own, so that a forked child has its own too.
   At a stop the player writes its pid to descriptor 1 and waits for a byte on descriptor 0; meanwhile the driver reads
   /proc/PID/maps and /proc/PID/mem. Threads run one at a time: the operation's thread number says whose turn it is, and
   the baton is a futex. The numbers below are those of host/player.py; a test compares them. */

#include "bare.h"

enum {
    MALLOC = 1, CALLOC = 2, REALLOC = 3, FREE = 4, MEMALIGN = 5, POSIX_MEMALIGN = 6, ALIGNED_ALLOC = 7, VALLOC = 8,
    PVALLOC = 9, REALLOCARRAY = 10, MALLOC_TRIM = 11, MALLOPT = 12, MMAP = 16, MUNMAP = 17, MADVISE = 19, MPROTECT = 20,
    BRK = 21, SBRK = 22, THREAD_START = 33, THREAD_EXIT = 34, FORK = 35,
    USABLE_SIZE = 64, MALLINFO = 65, MALLINFO2 = 66, MALLOC_STATS = 67, MALLOC_INFO = 68, WRITE = 69, POKE = 70,
    POKE_POINTER = 71, POKE_LINK = 72, PEEK = 73, SET = 74, LIMIT = 75, STOP = 76, MCHECK = 77, MPROBE = 78, CHECK_ALL = 79
};

/* Places in header.function: 0 to 12 are the entry points with the operations' numbers. */
enum {
    F_ERRNO = 32, F_USABLE_SIZE, F_MALLINFO, F_MALLINFO2, F_MALLOC_STATS, F_MALLOC_INFO, F_STDERR, F_MMAP, F_MUNMAP,
    F_MADVISE, F_MPROTECT, F_BRK, F_SBRK, F_FORK, F_PRLIMIT, F_ATTR_INIT, F_ATTR_SETSTACK, F_PTHREAD_CREATE,
    F_PTHREAD_JOIN, F_MCHECK, F_MCHECK_PEDANTIC, F_MPROBE, F_CHECK_ALL, FUNCTIONS = 64
};

struct operation {
    u8 op;
    u8 byte;       /* WRITE: the byte; FREE: 1 leaves the pointer in its slot; the rest: see perform */
    u16 thread;
    u32 slot;
    u64 size;
    u64 argument;
};

struct entry {
    u64 result;
    u32 error;     /* errno after the call; it was 0 before */
    u32 written;   /* how many bytes of text descriptor 2 has had, after malloc_stats and malloc_info */
};

struct hidden {
    u32 at;        /* number of the operation during which it happened */
    u16 op;
    u16 thread;
    u64 size;
    u64 argument;
    u64 pointer;
    u64 result;
};

struct header {
    u64 operations, hidden_room, values_room, slots;    /* by the driver: the areas' lengths */
    u64 base_vm;                                        /* by the driver: VmSize at the start, for LIMIT */
    u64 position;                                       /* number of the operation that is being performed */
    u64 hidden, values;                                 /* how many there are */
    u64 function[FUNCTIONS];                            /* by the driver: addresses in this process */
};

#define THREADS 256
#define STACK 0x10000
#define EXPORTED __attribute__((visibility("default")))
#define KEPT (~(word) 0)

static struct header *board;
static struct operation *operations;
static struct entry *entries;
static struct hidden *hiddens;
static u64 *values, *slots;
static word stacks;                     /* THREADS stacks of STACK bytes, thread 0's unused */
static volatile u32 baton[THREADS];     /* 1: it is this thread's turn */
static word thread_handle[THREADS];
static u64 next_operation;              /* shared by the threads; only the baton's holder looks at it */
static u32 ending;                      /* thread that is to be joined by thread 0, 0 for none */
static u64 last_operation;              /* where this process stops: in a forked child, before the end */
static word own_block, own_size;        /* what pthread_create got last: the new thread's table of TLS blocks */
static u32 forked;                      /* 1 in a forked child, which has one thread and ends where it stops */

static void die(const char *why)
{
    word length = 0;
    while (why[length])
        length++;
    call(SYS_write, 2, (word) "player: ", 8, 0);
    call(SYS_write, 2, (word) why, length, 0);
    call(SYS_write, 2, (word) "\n", 1, 0);
    call(SYS_exit_group, 3, 0, 0, 0);
}

static void stop(void)
{
    u64 pid = (u64) call(SYS_getpid, 0, 0, 0, 0);
    u8 go;
    if (call(SYS_write, 1, (word) &pid, sizeof pid, 0) != sizeof pid || call(SYS_read, 0, (word) &go, 1, 0) != 1)
        call(SYS_exit_group, 4, 0, 0, 0);
}

/* ---- the baton ---- */

static void wait_for_baton(u32 thread)
{
    while (!baton[thread])
        call(SYS_futex, (word) &baton[thread], 128 /* FUTEX_WAIT_PRIVATE */, 0, 0);
    __sync_synchronize();
    baton[thread] = 0;
}

static void give_baton(u32 thread)
{
    __sync_synchronize();
    baton[thread] = 1;
    call(SYS_futex, (word) &baton[thread], 129 /* FUTEX_WAKE_PRIVATE */, 1, 0);
}

static u32 thread_of_stack(void)
{
    word here = (word) __builtin_frame_address(0);
    return here - stacks < (word) THREADS * STACK ? (u32) ((here - stacks) / STACK) : 0;
}

/* ---- one operation ---- */

#define F(place, type) ((type) (word) board->function[place])
typedef word (*one)(word);
typedef word (*two)(word, word);
typedef word (*three)(word, word, word);

static int *error_place(void)
{
    return F(F_ERRNO, int *(*)(void))();
}

static void play(u32 thread);
static void note(u32 op, word size, word argument, word pointer, word result);

static word thread_main(word thread)
{
    wait_for_baton((u32) thread);
    play((u32) thread);
    return 0;
}

static word start_thread(u32 thread)
{
    word attributes[32];
    if (thread == 0 || thread >= THREADS)
        die("thread number out of range");
    F(F_ATTR_INIT, one)((word) attributes);
    F(F_ATTR_SETSTACK, three)((word) attributes, stacks + thread * STACK, STACK);
    if (F(F_PTHREAD_CREATE, word (*)(word, word, word, word))((word) &thread_handle[thread], (word) attributes,
                                                              (word) thread_main, thread))
        die("pthread_create failed");
    for (word at = 0; at < own_size; at += sizeof(word))    /* what the library has written into the block */
        if (*(word *) (own_block + at))
            note(POKE, at, *(word *) (own_block + at), own_block, 0);
    own_size = 0;
    return 0;
}

static word fork_and_wait(u64 at, u64 count)
{
    int status = 0;
    word pid = F(F_FORK, word (*)(void))();
    if ((int) pid == 0) {
        last_operation = at + 1 + count;
        forked = 1;
        return 0;
    }
    if ((int) pid > 0) {
        while (call(SYS_wait4, pid, (word) &status, 0, 0) == -4 /* EINTR */)
            ;
        next_operation = at + 1 + count;
    }
    return (int) pid < 0 ? (word) -1 : (word) status;
}

static word information(u32 place, u32 fields, u32 wide)
{
    word room[10];          /* the structure comes back through a hidden first argument */
    u64 at = board->values;
    if (at + fields > board->values_room)
        die("no room for values");
#ifdef __x86_64__
    F(place, one)((word) room);
#else
    __asm__ volatile("sub $12, %%esp\n push %1\n call *%0\n add $12, %%esp\n" : : "r"((word) board->function[place]),
                     "r"(room) : "eax", "ecx", "edx", "memory");
#endif
    for (u32 i = 0; i < fields; i++)
        values[at + i] = wide ? room[i] : ((u32 *) room)[i];
    board->values = at + fields;
    return at;
}

static void write_bytes(word at, u8 byte, word length)
{
    volatile u8 *to = (volatile u8 *) at;
    while (length && ((word) to & 7))
        *to++ = byte, length--;
    u64 eight = byte * 0x0101010101010101ULL;
    for (; length >= 8; length -= 8, to += 8)
        *(volatile u64 *) to = eight;
    while (length--)
        *to++ = byte;
}

static word set_limit(u32 resource, u64 headroom)
{
    u64 limit[2] = {headroom == ~0ULL ? ~0ULL : board->base_vm + headroom, ~0ULL};
    return F(F_PRLIMIT, word (*)(word, word, word, word))(0, resource, (word) limit, 0);
}

/* What mcheck is given in place of abort. */
static void mcheck_handler(int status)
{
    note(MCHECK, 0, 0, 0, (word) status);
}

/* Effect on the operation's slot: `*keep` is what it holds afterwards, KEPT for what it held before. */
static u64 perform(const struct operation *o, u64 at, word *keep)
{
    word p = (word) slots[o->slot], size = (word) o->size, argument = (word) o->argument;
    word made;
    switch (o->op) {
    case MALLOC: case VALLOC: case PVALLOC:
        return *keep = F(o->op, one)(size);
    case CALLOC: case MEMALIGN: case ALIGNED_ALLOC:    /* size: the count; the block's size. argument: size; alignment */
        return *keep = o->op == CALLOC ? F(CALLOC, two)(size, argument) : F(o->op, two)(argument, size);
    case POSIX_MEMALIGN:
        made = 0;
        argument = F(POSIX_MEMALIGN, three)((word) &made, argument, size);
        *error_place() = (int) argument;
        return *keep = made;
    case REALLOC: case REALLOCARRAY:
        made = o->op == REALLOC ? F(REALLOC, two)(p, size) : F(REALLOCARRAY, three)(p, size, argument);
        if (made || size == 0 || (o->op == REALLOCARRAY && argument == 0))
            *keep = made;
        return made;
    case FREE:
        if (!o->byte)
            *keep = 0;
        F(FREE, one)(p);
        return 0;
    case MALLOC_TRIM:
        return (u32) F(MALLOC_TRIM, one)(size);
    case MALLOPT:
        return (u32) F(MALLOPT, two)((word) (int) (o->argument >> 32), (word) (int) o->argument);
    case USABLE_SIZE:
        return F(F_USABLE_SIZE, one)(p);
    case MALLINFO:
        return information(F_MALLINFO, 10, 0);
    case MALLINFO2:
        return information(F_MALLINFO2, 10, 1);
    case MALLOC_STATS:
        F(F_MALLOC_STATS, void (*)(void))();
        return 0;
    case MALLOC_INFO:
        return (u32) F(F_MALLOC_INFO, two)(argument, (word) board->function[F_STDERR]);
    case MMAP:      /* size: length; argument: prot << 32 | flags */
        made = F(F_MMAP, word (*)(word, word, word, word, word, word))(0, size, (word) (o->argument >> 32),
                                                                       (word) (u32) o->argument, (word) -1, 0);
        if (made != (word) -1)
            *keep = made;
        return made;
    case MUNMAP:    /* argument: offset into the mapping that the slot names */
        return F(F_MUNMAP, two)(p + argument, size);
    case MADVISE:   /* argument: advice << 48 | offset */
        return F(F_MADVISE, three)(p + (word) (o->argument & 0xffffffffffffULL), size, (word) (o->argument >> 48));
    case MPROTECT:  /* argument: prot << 48 | offset */
        return F(F_MPROTECT, three)(p + (word) (o->argument & 0xffffffffffffULL), size, (word) (o->argument >> 48));
    case SBRK:      /* size: the increment, signed */
        made = F(F_SBRK, one)(size);
        if (made != (word) -1)
            *keep = made;
        return made;
    case BRK:       /* to the slot's address + size */
        return F(F_BRK, one)(p + size);
    case THREAD_START:  /* byte unused; argument: the new thread's number */
        return start_thread((u32) o->argument);
    case FORK:      /* size: how many of the following operations the child performs before it exits */
        return fork_and_wait(at, o->size);
    case WRITE:     /* size bytes at slot + argument, as far as the block goes */
        made = p ? F(F_USABLE_SIZE, one)(p) : 0;
        if (argument < made)
            write_bytes(p + argument, o->byte, size < made - argument ? size : made - argument);
        return 0;
    case POKE:      /* the word at slot + size := argument */
        *(word *) (p + size) = argument;
        return 0;
    case POKE_POINTER:  /* the word at slot + size := other slot (argument >> 32) + (i32) argument */
        *(word *) (p + size) = (word) slots[o->argument >> 32] + (word) (int) o->argument;
        return 0;
    case POKE_LINK:     /* the same, mangled as safe-linking does */
        *(word *) (p + size) = ((p + size) >> 12) ^ ((word) slots[o->argument >> 32] + (word) (int) o->argument);
        return 0;
    case PEEK:
        return *(word *) (p + size);
    case SET:       /* slot := other slot (argument >> 32) + (i32) argument */
        return *keep = (word) slots[o->argument >> 32] + (word) (int) o->argument;
    case LIMIT:     /* slot: RLIMIT_ number; argument: bytes above the VmSize at the start, ~0 for none */
        return set_limit((u32) o->size, o->argument);
    case MCHECK:    /* byte: 1 pedantic, 2 with a function of ours in place of abort */
        return (u32) F(o->byte & 1 ? F_MCHECK_PEDANTIC : F_MCHECK, one)(o->byte & 2 ? (word) mcheck_handler : 0);
    case MPROBE:
        return (u32) F(F_MPROBE, one)(p);
    case CHECK_ALL:
        F(F_CHECK_ALL, void (*)(void))();
        return 0;
    case STOP:
        stop();
        return 0;
    }
    die("unknown operation");
    return 0;
}

/* Play until the column or this thread ends; called with the baton held, which has gone to another thread at the end. */
static void play(u32 thread)
{
    for (;;) {
        if (thread == 0 && ending) {
            F(F_PTHREAD_JOIN, two)(thread_handle[ending], 0);
            thread_handle[ending] = 0;
            ending = 0;
        }
        u64 at = next_operation;
        const struct operation *o = operations + at;
        if (forked && at >= last_operation)
            call(SYS_exit_group, 0, 0, 0, 0);
        u32 whose = at < last_operation ? o->thread : 0;
        if (whose != thread) {
            if (whose && (whose >= THREADS || !thread_handle[whose]))
                die("an operation of a thread that does not run");
            give_baton(whose);
            wait_for_baton(thread);
            continue;
        }
        if (at >= last_operation)
            return;
        board->position = at;
        next_operation = at + 1;
        struct entry *entry = entries + at;
        if (o->op == THREAD_EXIT) {
            ending = thread;
            give_baton(0);
            return;
        }
        int *error = error_place();
        word keep = KEPT;
        *error = 0;
        u64 result = perform(o, at, &keep);
        entry->error = (u32) *error;
        entry->result = result;
        if (keep != KEPT)
            slots[o->slot] = keep;
        if (o->op == MALLOC_STATS || o->op == MALLOC_INFO)
            entry->written = (u32) call(SYS_lseek, 2, 0, 1, 0);
    }
}

/* ---- start ---- */

static void grow_stack(void)
{
    volatile u8 room[0x18000];
    for (u32 i = 0; i < sizeof room; i += 0x1000)
        room[i] = 0;
}

__attribute__((used)) static void begin(void)
{
    grow_stack();       /* now, so that the stack's VMA stays as the first stop sees it */
    word length = (word) call(SYS_lseek, 3, 0, 2, 0);
    word at = map(length, 1 /* MAP_SHARED */, 3);
    if (at > (word) -4096)
        die("cannot map the board");
    board = (struct header *) at;
    stacks = map((word) THREADS * STACK + board->slots * sizeof *slots, 0x22 /* MAP_PRIVATE | MAP_ANONYMOUS */, -1);
    if (stacks > (word) -4096)
        die("cannot map the stacks");
    slots = (u64 *) (stacks + (word) THREADS * STACK);
    operations = (struct operation *) (at + 4096);
    entries = (struct entry *) (operations + board->operations);
    hiddens = (struct hidden *) (entries + board->operations);
    values = (u64 *) (hiddens + board->hidden_room);
    last_operation = board->operations;
    stop();
    play(0);
    board->position = next_operation;
    call(SYS_exit_group, 0, 0, 0, 0);
}

/* ---- what the library calls of itself ---- */

static void note(u32 op, word size, word argument, word pointer, word result)
{
    u64 at = board->hidden;
    if (operations[board->position].op <= MALLOPT && op != MCHECK)      /* reallocarray calls realloc */
        return;
    if (at >= board->hidden_room)
        die("no room for hidden calls");
    struct hidden *h = hiddens + at;
    h->at = (u32) board->position;
    h->op = (u16) op;
    h->thread = (u16) thread_of_stack();
    h->size = size;
    h->argument = argument;
    h->pointer = pointer;
    h->result = result;
    board->hidden = at + 1;
}

static void must_have_begun(void)
{
    if (!board || !board->function[MALLOC])
        die("the C library allocates before the program starts");
}

/* Up to 2.33 mcheck's hooks call malloc and free again, for the allocator's own block: `inside` counts that. */
static u32 inside;

static void note_outermost(u32 op, word size, word argument, word pointer, word result)
{
    if (--inside == 0)
        note(op, size, argument, pointer, result);
}

EXPORTED word malloc(word size)
{
    must_have_begun();
    inside++;
    word result = F(MALLOC, one)(size);
    note_outermost(MALLOC, size, 0, 0, result);
    return result;
}

EXPORTED word calloc(word count, word size)
{
    must_have_begun();
    inside++;
    word result = F(CALLOC, two)(count, size);
    note_outermost(CALLOC, count, size, 0, result);
    own_block = result;
    own_size = result ? count * size : 0;
    return result;
}

EXPORTED word realloc(word pointer, word size)
{
    must_have_begun();
    inside++;
    word result = F(REALLOC, two)(pointer, size);
    note_outermost(REALLOC, size, 0, pointer, result);
    return result;
}

EXPORTED void free(word pointer)
{
    if (!pointer)
        return;
    must_have_begun();
    inside++;
    F(FREE, one)(pointer);
    note_outermost(FREE, 0, 0, pointer, 0);
}
