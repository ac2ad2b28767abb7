/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The calls that change the address space by the program's own wish. What libc and ld.so do inside is not seen here. */
#undef _FILE_OFFSET_BITS /* it would make mmap another name of mmap64, and both are needed here */
#include "recorder.h"

#include <stdarg.h>
#include <sys/mman.h>

#define EXACTLY (MAP_FIXED | MAP_FIXED_NOREPLACE)

static uint64_t pages(uint64_t length)
{
    return (length + PAGE - 1) & ~(PAGE - 1);
}

static void *map(void *hint, size_t length, int prot, int flags, int fd, off_t offset)
{
    struct stream *stream = enter();
    if (!stream)
        return (void *)answer(SYS_6(SYS_mmap, hint, length, prot, flags, fd, offset));
    int held = lock(stream), fixed = (flags & EXACTLY) == MAP_FIXED;
    if (fixed)
        place_wanted((uint64_t)hint, length);
    before_placement(stream, 0);
    long result = SYS_6(SYS_mmap, hint, length, prot, flags, fd, offset);
    if (fixed)
        resynchronise(); /* it may have replaced other mappings */
    else if (!failed(result))
        mapped((int64_t)pages(length));
    uint8_t *p = begin(stream, next_number());
    if (p) {
        if (failed(result)) {
            put_error(stream, (int)-result);
            p = stream->cursor + 1;
        }
        p = put(put(put(put(p, (uint64_t)hint), length), (unsigned)prot), (unsigned)flags);
        commit(stream, RAW_MMAP, put(put(p, (uint64_t)offset), failed(result) ? UINT64_MAX : (uint64_t)result));
    }
    unlock(stream, held);
    leave(stream);
    return (void *)answer(result);
}

EXPORT void *mmap(void *hint, size_t length, int prot, int flags, int fd, off_t offset)
{
    return map(hint, length, prot, flags, fd, offset);
}

EXPORT void *mmap64(void *hint, size_t length, int prot, int flags, int fd, off64_t offset)
{
    return map(hint, length, prot, flags, fd, offset);
}

/* Ends the record of a call that returns 0 or -errno. */
static void status(struct stream *stream, enum raw_op op, uint8_t *p, long result)
{
    commit(stream, op, put(p, zigzag(failed(result) ? -1 : 0)));
}

/* Begins it: the error, when there is one, goes before. */
static uint8_t *begin_status(struct stream *stream, long result)
{
    uint8_t *p = begin(stream, next_number());
    if (p && failed(result)) {
        put_error(stream, (int)-result);
        p = stream->cursor + 1;
    }
    return p;
}

EXPORT int munmap(void *address, size_t length)
{
    struct stream *stream = enter();
    if (!stream)
        return (int)answer(SYS_2(SYS_munmap, address, length));
    int held = lock(stream);
    long result = SYS_2(SYS_munmap, address, length);
    if (!failed(result))
        mapped(-(int64_t)pages(length));
    uint8_t *p = begin_status(stream, result);
    if (p)
        status(stream, RAW_MUNMAP, put(put(p, (uint64_t)address), length), result);
    unlock(stream, held);
    leave(stream);
    return (int)answer(result);
}

EXPORT void *mremap(void *address, size_t old_length, size_t new_length, int flags, ...)
{
    va_list arguments;
    va_start(arguments, flags);
    void *target = va_arg(arguments, void *);
    va_end(arguments);
    struct stream *stream = enter();
    if (!stream)
        return (void *)answer(SYS_5(SYS_mremap, address, old_length, new_length, flags, target));
    int held = lock(stream);
    before_placement(stream, 0);
    long result = SYS_5(SYS_mremap, address, old_length, new_length, flags, target);
    if (!failed(result) && flags & MREMAP_FIXED)
        resynchronise();
    else if (!failed(result))
        mapped((int64_t)pages(new_length) - (int64_t)(flags & MREMAP_DONTUNMAP ? 0 : pages(old_length)));
    uint8_t *p = begin_status(stream, result);
    if (p) {
        p = put(put(put(put(p, (uint64_t)address), old_length), new_length), (unsigned)flags);
        p = put(p, flags & (MREMAP_FIXED | MREMAP_DONTUNMAP) ? (uint64_t)target : 0);
        commit(stream, RAW_MREMAP, put(p, failed(result) ? UINT64_MAX : (uint64_t)result));
    }
    unlock(stream, held);
    leave(stream);
    return (void *)answer(result);
}

EXPORT int madvise(void *address, size_t length, int advice)
{
    struct stream *stream = enter();
    if (!stream)
        return (int)answer(SYS_3(SYS_madvise, address, length, advice));
    int held = lock(stream);
    long result = SYS_3(SYS_madvise, address, length, advice);
    uint8_t *p = begin_status(stream, result);
    if (p)
        status(stream, RAW_MADVISE, put(put(put(p, (uint64_t)address), length), zigzag(advice)), result);
    unlock(stream, held);
    leave(stream);
    return (int)answer(result);
}

EXPORT int mprotect(void *address, size_t length, int prot)
{
    struct stream *stream = enter();
    if (!stream)
        return (int)answer(SYS_3(SYS_mprotect, address, length, prot));
    int held = lock(stream);
    long result = SYS_3(SYS_mprotect, address, length, prot);
    uint8_t *p = begin_status(stream, result);
    if (p)
        status(stream, RAW_MPROTECT, put(put(put(p, (uint64_t)address), length), (unsigned)prot), result);
    unlock(stream, held);
    leave(stream);
    return (int)answer(result);
}

EXPORT int brk(void *address)
{
    struct stream *stream = enter();
    resolve();
    if (!stream)
        return next.brk(address);
    int held = lock(stream), result = next.brk(address), error = errno;
    uint8_t *p = begin_status(stream, result ? -error : 0);
    if (p)
        status(stream, RAW_BRK, put(p, (uint64_t)address), result ? -error : 0);
    unlock(stream, held);
    leave(stream);
    return result;
}

EXPORT void *sbrk(intptr_t increment)
{
    struct stream *stream = enter();
    resolve();
    if (!stream)
        return next.sbrk(increment);
    int held = lock(stream);
    void *result = next.sbrk(increment);
    int error = errno;
    uint8_t *p = begin_status(stream, result == (void *)-1 ? -error : 0);
    if (p)
        commit(stream, RAW_SBRK, put(put(p, zigzag(increment)), (uint64_t)result));
    unlock(stream, held);
    leave(stream);
    return result;
}
