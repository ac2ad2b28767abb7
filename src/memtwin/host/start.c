/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The beginning of an image: the state, the header, and whether libc provides malloc at all. */
#include "recorder.h"

#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <gnu/libc-version.h>
#include <link.h>
#include <malloc.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#define STATE_BASE 0x200000000000ul /* 32 TiB: far from the break and from where the kernel puts mappings */

struct state *state;
uint64_t sequence, fork_sequence;
long tid_offset;
uint32_t was_quiet;
const char *loader_start, *loader_end;
struct next next;
long (*next_syscall)(long, ...);

static int impossible;             /* the state's place is taken, or the kernel cannot wipe it on fork */
static uint64_t parent_start;      /* start_ns of the image in this memory, for its fork children */
static char other_malloc[512];     /* path of what provides malloc instead of libc; "" when libc does */
static char libc_path[512], libc_build_id[64], recorder_path[512];

extern void watch_ends(void);

const char *variable(const char *name)
{
    size_t length = strlen(name);
    for (char **entry = environ; entry && *entry; entry++)
        if (!strncmp(*entry, name, length) && (*entry)[length] == '=')
            return *entry + length + 1;
    return NULL;
}

void stop(uint32_t status, long error)
{
    if (__atomic_exchange_n(&state->phase, STOPPED, __ATOMIC_ACQ_REL) == STOPPED || !state->header)
        return;
    state->header->status = status;
    state->header->error = (uint32_t)error;
    state->header->stopped_at = sequence;
}

/* ---- What libc offers ----------------------------------------------------------------------------------------- */

#define FIND(name) next.name = (__typeof__(next.name))dlsym(RTLD_NEXT, #name)

void resolve(void)
{
    if (likely(next.fork))
        return;
    int error = errno;
    FIND(malloc), FIND(calloc), FIND(realloc), FIND(reallocarray), FIND(free), FIND(memalign), FIND(posix_memalign);
    FIND(aligned_alloc), FIND(valloc), FIND(pvalloc), FIND(malloc_trim), FIND(mallopt), FIND(sbrk), FIND(brk);
    next_syscall = (__typeof__(next_syscall))dlsym(RTLD_NEXT, "syscall");
    FIND(pthread_create), FIND(execve), FIND(execvpe), FIND(fexecve), FIND(fork);
    errno = error;
}

static void copy_text(char *to, size_t size, const char *from)
{
    size_t i = 0;
    for (; from && from[i] && i + 1 < size; i++)
        to[i] = from[i];
    to[i] = 0;
}

/* The build id that stands in the notes of the object loaded at `base`, in hex. */
static void read_build_id(const char *base)
{
    const ElfW(Ehdr) *elf = (const void *)base;
    const ElfW(Phdr) *header = (const void *)(base + elf->e_phoff);
    for (int i = 0; i < elf->e_phnum; i++) {
        if (header[i].p_type != PT_NOTE)
            continue;
        const char *p = base + header[i].p_vaddr, *end = p + header[i].p_memsz;
        while (p + sizeof(ElfW(Nhdr)) <= end) {
            const ElfW(Nhdr) *note = (const void *)p;
            const char *name = p + sizeof *note, *text = name + ((note->n_namesz + 3) & ~3u);
            if (note->n_type == NT_GNU_BUILD_ID && note->n_namesz == 4 && note->n_descsz < 32) {
                for (unsigned j = 0; j < note->n_descsz; j++) {
                    libc_build_id[2 * j] = "0123456789abcdef"[(uint8_t)text[j] >> 4];
                    libc_build_id[2 * j + 1] = "0123456789abcdef"[text[j] & 15];
                }
                return;
            }
            p = text + ((note->n_descsz + 3) & ~3u);
        }
    }
}

/* Where the object that a function is of is loaded; NULL when it is of none. */
static const char *home(const void *function)
{
    Dl_info info;
    return dladdr(function, &info) ? info.dli_fbase : NULL;
}

/* Where the dynamic linker lies: it defines this one for everybody. */
static void find_loader(void)
{
    const char *base = home(dlsym(RTLD_DEFAULT, "__tls_get_addr"));
    if (!base)
        return;
    const ElfW(Ehdr) *elf = (const void *)base;
    const ElfW(Phdr) *header = (const void *)(base + elf->e_phoff);
    loader_start = base;
    for (int i = 0; i < elf->e_phnum; i++)
        if (header[i].p_type == PT_LOAD)
            loader_end = base + header[i].p_vaddr + header[i].p_memsz;
}

/*
 * Does this function have its body there? A program that is not position-independent and takes malloc's address has an
 * entry of its procedure linkage table for it, which is malloc's address everywhere then: a symbol that is not defined.
 */
static int is_defined(const void *function)
{
    Dl_info info;
    const ElfW(Sym) *symbol = NULL;
    return dladdr1(function, &info, (void **)&symbol, RTLD_DL_SYMENT) && symbol && symbol->st_shndx != SHN_UNDEF;
}

/*
 * Whom does the program's malloc belong to: the one in front of all, and the one behind us? tcmalloc and mimalloc also
 * bring a __libc_malloc of their own, so libc is known by a function that no allocator replaces.
 */
static void find_malloc(void)
{
    Dl_info info;
    const void *front = dlsym(RTLD_DEFAULT, "malloc"), *ours = (const void *)malloc, *other = NULL;
    const void *behind[] = {(const void *)next.malloc, (const void *)next.free, (const void *)__libc_malloc};
    const char *libc = home((const void *)gnu_get_libc_version);
    if (dladdr(ours, &info))
        copy_text(recorder_path, sizeof recorder_path, info.dli_fname);
    if (dladdr((const void *)gnu_get_libc_version, &info)) {
        copy_text(libc_path, sizeof libc_path, info.dli_fname);
        read_build_id(libc);
    }
    if (front != ours && is_defined(front))
        other = front;
    for (int i = 0; i < 3 && !other; i++)
        if (home(behind[i]) != libc)
            other = behind[i];
    if (other)
        copy_text(other_malloc, sizeof other_malloc, dladdr(other, &info) ? info.dli_fname : "?");
}

/* ---- State ---------------------------------------------------------------------------------------------------- */

/* Where struct pthread keeps its tid: glibc has no name for it that one may use. */
static void find_tid(void)
{
    char *thread;
    uint32_t tid = (uint32_t)SYS_0(SYS_gettid);
    __asm__("movq %%fs:0, %0" : "=r"(thread));
    for (long offset = 0x200; offset < 0x400; offset += 4)
        if (*(uint32_t *)(thread + offset) == tid) {
            tid_offset = offset;
            return;
        }
}

/* Once in a program, before any thread. 0: no recording in this program. */
static int make_state(void)
{
    long base = SYS_6(SYS_mmap, STATE_BASE, sizeof *state, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
    if ((uint64_t)base != STATE_BASE)
        return 0;
    SYS_3(SYS_madvise, base, sizeof *state, MADV_NOHUGEPAGE);
    if (failed(SYS_3(SYS_madvise, base, sizeof *state, MADV_WIPEONFORK))) {
        SYS_2(SYS_munmap, base, sizeof *state);
        return 0;
    }
    struct state *made = (struct state *)base;
    made->phase = STARTING;
    state = made;
    find_tid();
    resolve();
    find_malloc();
    find_loader();
    if (!other_malloc[0]) {
        make_key();
        watch_ends();
    }
    return 1;
}

/* ---- Header --------------------------------------------------------------------------------------------------- */

/* Appends "name=value\n"; bytes that could be mistaken, and all beyond ASCII, as %XX. */
static void put_line(const char *name, const char *value, size_t length)
{
    struct raw_header *header = state->header;
    char *text = (char *)header + RAW_TEXT_AT, *p = text + header->text_length;
    char *limit = (char *)header + RAW_GRAIN - 8;
    if (p + strlen(name) + 8 > limit)
        return;
    while (*name)
        *p++ = *name++;
    *p++ = '=';
    for (size_t i = 0; i < length && p + 4 < limit; i++) {
        uint8_t c = (uint8_t)value[i];
        if (c >= 0x20 && c < 0x7f && c != '%') {
            *p++ = (char)c;
            continue;
        }
        *p++ = '%';
        *p++ = "0123456789ABCDEF"[c >> 4];
        *p++ = "0123456789ABCDEF"[c & 15];
    }
    *p++ = '\n';
    header->text_length = (uint32_t)(p - text);
}

static void put_string(const char *name, const char *value)
{
    if (value && *value)
        put_line(name, value, strlen(value));
}

static void put_number(const char *name, uint64_t value)
{
    char digits[24], *p = digits + 23;
    *p = 0;
    do
        *--p = (char)('0' + value % 10);
    while (value /= 10);
    put_string(name, p);
}

/* A small file of /proc or /sys, without its line's end. */
static void put_file(const char *name, const char *path)
{
    char *text = state->scratch;
    long length = slurp(path, text, 32 * KIB);
    while (length > 0 && (text[length - 1] == '\n' || !text[length - 1]))
        length--;
    if (length > 0)
        put_line(name, text, (size_t)length);
}

static void put_link(const char *name, const char *path)
{
    long length = SYS_4(SYS_readlinkat, AT_FDCWD, path, state->scratch, 4096);
    if (!failed(length))
        put_line(name, state->scratch, (size_t)length);
}

static void put_environment(void)
{
    put_string("GLIBC_TUNABLES", variable("GLIBC_TUNABLES"));
    for (char **entry = environ; entry && *entry; entry++) {
        char name[64];
        size_t n = 0;
        if (strncmp(*entry, "MALLOC_", 7))
            continue;
        while ((*entry)[n] && (*entry)[n] != '=' && n < sizeof name - 1) {
            name[n] = (*entry)[n];
            n++;
        }
        name[n] = 0;
        if ((*entry)[n] == '=')
            put_string(name, *entry + n + 1);
    }
}

static void put_texts(void)
{
    struct utsname system;
    cpu_set_t cpus = {0};
    SYS_1(SYS_uname, &system);
    SYS_3(SYS_sched_getaffinity, 0, sizeof cpus, &cpus);
    put_string("libc_release", gnu_get_libc_version());
    put_string("libc_build_id", libc_build_id);
    put_string("libc_path", libc_path);
    put_string("malloc_path", other_malloc[0] ? other_malloc : libc_path);
    put_string("recorder_path", recorder_path);
    put_link("executable", "/proc/self/exe");
    put_link("directory", "/proc/self/cwd");
    put_file("command_line", "/proc/self/cmdline");
    put_string("kernel", system.release);
    put_string("machine", system.machine);
    put_number("personality", (uint64_t)SYS_1(SYS_personality, 0xffffffff));
    put_number("cpus_allowed", (uint64_t)CPU_COUNT(&cpus));
    put_file("cpus_online", "/sys/devices/system/cpu/online");
    put_file("thp_enabled", "/sys/kernel/mm/transparent_hugepage/enabled");
    put_number("thp_disabled", (uint64_t)SYS_5(SYS_prctl, PR_GET_THP_DISABLE, 0, 0, 0, 0));
    put_file("thp_defrag", "/sys/kernel/mm/transparent_hugepage/defrag");
    put_file("thp_shmem", "/sys/kernel/mm/transparent_hugepage/shmem_enabled");
    put_file("free_2m", "/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages");
    put_file("free_1g", "/sys/kernel/mm/hugepages/hugepages-1048576kB/free_hugepages");
    put_file("overcommit", "/proc/sys/vm/overcommit_memory");
    put_file("max_map_count", "/proc/sys/vm/max_map_count");
    put_environment();
}

/* Field `n` (from 1) of /proc/self/stat, a number; the second field may contain anything but ends at the last ')'. */
static uint64_t stat_field(const char *stat, int n)
{
    const char *p = strrchr(stat, ')');
    uint64_t value = 0;
    for (int field = 2; p && *p && field < n; p++)
        field += *p == ' ';
    while (p && *p >= '0' && *p <= '9')
        value = value * 10 + (uint64_t)(*p++ - '0');
    return value;
}

static void fill_header(uint64_t start_ns)
{
    struct raw_header *header = state->header;
    struct timespec real;
    const char *fast = variable("MEMTWIN_FAST"), *sample = variable("MEMTWIN_SAMPLE");
    clock_gettime(CLOCK_REALTIME, &real);
    slurp("/proc/self/stat", state->scratch, 4096);
    header->version = RAW_VERSION;
    header->pid = state->pid;
    header->start_ns = start_ns;
    header->start_realtime_ns = (uint64_t)real.tv_sec * 1000000000ul + (uint64_t)real.tv_nsec;
    header->parent_pid = (uint32_t)SYS_0(SYS_getppid);
    header->exact = state->exact = !(fast && fast[0] && fast[0] != '0');
    state->unsampled = sample && sample[0] == '0';
    header->parent_start_ns = parent_start;
    header->parent_sequence = parent_start ? (fork_sequence ? fork_sequence : sequence) : 0;
    header->start_brk = stat_field(state->scratch, 47);
    header->process_start = stat_field(state->scratch, 22);
    header->brk = (uint64_t)SYS_1(SYS_brk, 0);
    header->page_size = PAGE;
    if (!header->start_brk)
        header->start_brk = header->brk;
    put_texts();
    __asm__ volatile("" ::: "memory");
    header->magic = RAW_MAGIC;
}

/* ---- Start ---------------------------------------------------------------------------------------------------- */

static size_t decimal(const char *p)
{
    size_t value = 0;
    while (*p >= '0' && *p <= '9')
        value = value * 10 + (size_t)(*p++ - '0');
    return value;
}

/* The mmap threshold as tunables and environment set it; each of these variables ends the dynamic rule. */
static void read_tunables(void)
{
    static const char *const fixing[] = {"mmap_threshold", "trim_threshold", "top_pad", "mmap_max"};
    static const char *const old[] = {"MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_",
                                      "MALLOC_MMAP_MAX_"};
    const char *tunables = variable("GLIBC_TUNABLES");
    state->mmap_threshold = 128 * KIB;
    for (int i = 0; i < 4; i++) {
        const char *value = variable(old[i]), *found = tunables ? strstr(tunables, fixing[i]) : NULL;
        if (found && found[strlen(fixing[i])] == '=')
            value = found + strlen(fixing[i]) + 1;
        if (!value)
            continue;
        state->threshold_fixed = 1;
        if (i == 0)
            state->mmap_threshold = decimal(value);
    }
}

static int begin_image(void)
{
    state->pid = (uint32_t)SYS_0(SYS_getpid);
    if (was_quiet || !environ) /* a filter stands from the parent's time: opening a file could be the end */
        return 0;
    uint64_t start_ns = now();
    if (!create_file(start_ns))
        return 0;
    fill_header(start_ns);
    parent_start = start_ns;
    fork_sequence = 0;
    sequence = 0;
    read_tunables();
    if (!other_malloc[0])
        return 1;
    state->header->status = RAW_OTHER_MALLOC;
    return 0;
}

/* A sanitizer's runtime brings its own malloc, and keeps places for itself in the address space: nothing may be mapped. */
extern void __asan_init(void) __attribute__((weak));
extern void __hwasan_init(void) __attribute__((weak));
extern void __lsan_init(void) __attribute__((weak));
extern void __msan_init(void) __attribute__((weak));
extern void __tsan_init(void) __attribute__((weak));

static int sanitized(void)
{
    return __asan_init || __hwasan_init || __lsan_init || __msan_init || __tsan_init;
}

int start(void)
{
    int error = errno, recording = 0;
    if (sanitized()) {
        if (!__atomic_exchange_n(&impossible, 1, __ATOMIC_ACQ_REL))
            resolve(); /* all calls are the runtime's */
        return 0;
    }
    if (state) {
        uint32_t fresh = FRESH;
        if (!__atomic_compare_exchange_n(&state->phase, &fresh, STARTING, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
            return state->phase == RUNNING;
    } else if (impossible || !make_state()) {
        impossible = 1;
        return 0;
    }
    if (begin_image()) {
        struct stream *stream;
        state->phase = RUNNING;
        stream = begin_thread(self_tid(), 0);
        recording = stream != NULL;
        if (stream) {
            start_observing(stream);
            leave(stream);
        }
    } else {
        state->phase = STOPPED;
    }
    errno = error;
    return recording;
}

/* A program that never allocates has a trace too, and one with another malloc says so. */
__attribute__((constructor)) static void load(void)
{
    if (!state || state->phase == FRESH)
        start();
}
