/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The file and its windows. No descriptor stays open: the header stays mapped, and a new window is made from that
 * mapping by mremap, which needs neither a path nor a right (after chroot, setuid, or with no descriptor left it works
 * as before). Offset o of the file lies at FILE_BASE + o.
 */
#include "recorder.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif

#define FILE_BASE 0x210000000000ul
#define WORK_BASE 0x300000000000ul /* where a window is shaped, FILE_MAX for each attempt */
#define FILE_MAX (1ul << 40)

/* Appends `text` to a zero-ended `buffer` of `size` bytes; what does not fit is cut. */
static void append(char *buffer, size_t size, const char *text)
{
    size_t at = strlen(buffer);
    while (*text && at + 1 < size)
        buffer[at++] = *text++;
    buffer[at] = 0;
}

static void append_number(char *buffer, size_t size, uint64_t value)
{
    char digits[24], *p = digits + sizeof digits - 1;
    *p = 0;
    do
        *--p = (char)('0' + value % 10);
    while (value /= 10);
    append(buffer, size, p);
}

long slurp(const char *path, char *buffer, size_t size)
{
    buffer[0] = 0;
    long fd = SYS_4(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
    if (failed(fd))
        return fd;
    size_t length = 0;
    long n;
    while (length < size - 1 && (n = SYS_3(SYS_read, fd, buffer + length, size - 1 - length)) != 0) {
        if (n == -EINTR)
            continue;
        if (failed(n))
            break;
        length += (size_t)n;
    }
    SYS_1(SYS_close, fd);
    buffer[length] = 0;
    return (long)length;
}

/* Makes the file long, without blocks, so that it never has to be opened again; its length, 0 when not even a chunk. */
static uint64_t extend(long fd)
{
    struct rlimit limit = {RLIM_INFINITY, RLIM_INFINITY};
    SYS_4(SYS_prlimit64, 0, RLIMIT_FSIZE, NULL, &limit);
    uint64_t length = FILE_MAX;
    while (length > limit.rlim_cur) /* beyond the limit, ftruncate would raise SIGXFSZ */
        length /= 2;
    while (length >= 2 * RAW_GRAIN && failed(SYS_2(SYS_ftruncate, fd, length)))
        length /= 2;
    return length >= 2 * RAW_GRAIN ? length : 0;
}

/* Sees to it that the window's blocks exist: on a full disk a store into it would be a SIGBUS. 0 or -errno. */
static long populate(uint8_t *window, uint64_t length)
{
    /* Else a kernel with large folios reads ahead into them, and passes over the whole folio at each of its pages. */
    long result = SYS_3(SYS_madvise, window, length, MADV_RANDOM);
    for (int attempt = 0; attempt < 10; attempt++) {
        result = SYS_3(SYS_madvise, window, length, MADV_POPULATE_WRITE);
        if (result != -EINTR && result != -EAGAIN)
            break;
    }
    if (result != -EINVAL)
        return result == -EFAULT ? -ENOSPC : result;
    /* a kernel before 5.14: the file has to be opened */
    long fd = SYS_4(SYS_openat, AT_FDCWD, state->path, O_RDWR | O_CLOEXEC, 0);
    if (failed(fd))
        return fd;
    result = SYS_4(SYS_fallocate, fd, 0, (uint64_t)window - FILE_BASE, length);
    SYS_1(SYS_close, fd);
    return result;
}

static int at(long result, uint64_t address)
{
    return (uint64_t)result == address;
}

/* Takes the place, so that a mapping moved there replaces nothing of the program's. 0 or -errno. */
static long take_place(uint64_t address, uint64_t length)
{
    long result = SYS_6(SYS_mmap, address, length, PROT_NONE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
    if (at(result, address))
        return 0;
    if (failed(result))
        return result;
    SYS_2(SYS_munmap, result, length); /* a kernel before 4.17 takes the address for a hint */
    return -EEXIST;
}

/* Maps part of the file from the header's mapping: copy that, let the copy grow over the part, keep only the part. */
static long window_from_header(uint64_t offset, uint64_t length)
{
    uint64_t work = WORK_BASE + __atomic_fetch_add(&state->growths, 1, __ATOMIC_RELAXED) % 16 * 2 * FILE_MAX;
    uint64_t target = FILE_BASE + offset;
    int flags = MREMAP_MAYMOVE | MREMAP_FIXED;
    long result = take_place(work, RAW_GRAIN);
    if (failed(result))
        return result;
    result = SYS_5(SYS_mremap, state->header, 0, RAW_GRAIN, flags, work);
    if (!at(result, work)) {
        SYS_2(SYS_munmap, work, RAW_GRAIN);
        return result;
    }
    result = SYS_5(SYS_mremap, work, RAW_GRAIN, offset + length, 0, 0);
    if (!at(result, work)) {
        SYS_2(SYS_munmap, work, RAW_GRAIN);
        return result;
    }
    result = take_place(target, length);
    if (!failed(result)) {
        result = SYS_5(SYS_mremap, work + offset, length, length, flags, target);
        if (!at(result, target))
            SYS_2(SYS_munmap, target, length);
    }
    SYS_2(SYS_munmap, work, at(result, target) ? offset : offset + length);
    return result;
}

/* The same by opening the file: where RLIMIT_AS leaves no room for the copy. */
static long window_from_path(uint64_t offset, uint64_t length)
{
    long fd = SYS_4(SYS_openat, AT_FDCWD, state->path, O_RDWR | O_CLOEXEC, 0);
    if (failed(fd))
        return fd;
    long result = SYS_6(SYS_mmap, FILE_BASE + offset, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED_NOREPLACE,
                        fd, offset);
    SYS_1(SYS_close, fd);
    if (!failed(result))
        SYS_3(SYS_madvise, result, length, MADV_DONTFORK);
    return result;
}

/* A chunk of those that were mapped in advance. */
static uint8_t *reserved_chunk(uint64_t length)
{
    uint8_t *chunk = __atomic_fetch_add(&state->reserve, length, __ATOMIC_RELAXED);
    if (chunk && chunk + length <= state->reserve_end)
        return chunk;
    stop(RAW_FILTER, 0);
    return NULL;
}

/* A new window at the end of the file; NULL with the reason in `status` and `error`. */
static uint8_t *new_window(uint64_t length, uint32_t *status, long *error)
{
    struct raw_header *header = state->header;
    *status = RAW_LIMIT;
    *error = 0;
    uint64_t offset = __atomic_fetch_add(&header->used, length, __ATOMIC_RELAXED);
    if (offset + length > header->file_length) {
        __atomic_fetch_sub(&header->used, length, __ATOMIC_RELAXED);
        return NULL;
    }
    uint64_t target = FILE_BASE + offset;
    long result = window_from_header(offset, length);
    if (!at(result, target))
        result = window_from_path(offset, length);
    if (!at(result, target)) {
        *error = failed(result) ? -result : EEXIST;
        return NULL;
    }
    result = populate((uint8_t *)target, length);
    if (failed(result)) {
        SYS_2(SYS_munmap, target, length);
        *status = RAW_NO_SPACE;
        *error = -result;
        return NULL;
    }
    mapped((int64_t)length);
    return (uint8_t *)target;
}

uint8_t *map_chunk(uint64_t length)
{
    uint32_t status;
    long error;
    if (state->quiet)
        return reserved_chunk(length);
    uint8_t *window = new_window(length, &status, &error);
    if (!window)
        stop(status, error);
    return window;
}

void reserve_chunks(uint64_t length)
{
    uint32_t status;
    long error;
    state->reserve = new_window(length, &status, &error);
    state->reserve_end = state->reserve ? state->reserve + length : NULL;
}

void unmap_chunk(uint8_t *window, uint64_t length)
{
    if (state->quiet)
        return;
    SYS_2(SYS_munmap, window, length);
    mapped(-(int64_t)length);
}

void place_wanted(uint64_t start, uint64_t length)
{
    if (start < FILE_BASE + FILE_MAX && start + length > FILE_BASE)
        stop(RAW_LIMIT, EEXIST);
}

/* Creates DIRECTORY/PID.START.raw and maps its header. 0: it cannot be done, and nothing is left behind. */
int create_file(uint64_t start_ns)
{
    const char *directory = variable("MEMTWIN_TRACE");
    if (!directory || directory[0] != '/')
        return 0;
    state->path[0] = 0;
    append(state->path, sizeof state->path, directory);
    append(state->path, sizeof state->path, "/");
    append_number(state->path, sizeof state->path, state->pid);
    append(state->path, sizeof state->path, ".");
    append_number(state->path, sizeof state->path, start_ns);
    append(state->path, sizeof state->path, ".raw");
    long fd = SYS_4(SYS_openat, AT_FDCWD, state->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (failed(fd))
        return 0;
    uint64_t length = extend(fd);
    long base = length ? SYS_6(SYS_mmap, FILE_BASE, RAW_GRAIN, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED_NOREPLACE,
                               fd, 0) : -ENOSPC;
    SYS_1(SYS_close, fd);
    if (at(base, FILE_BASE)) {
        SYS_3(SYS_madvise, base, RAW_GRAIN, MADV_DONTFORK);
        if (!failed(populate((uint8_t *)base, RAW_GRAIN))) {
            state->header = (struct raw_header *)base;
            state->header->used = RAW_GRAIN;
            state->header->file_length = length;
            return 1;
        }
    }
    if (!failed(base))
        SYS_2(SYS_munmap, base, RAW_GRAIN);
    SYS_3(SYS_unlinkat, AT_FDCWD, state->path, 0);
    return 0;
}
