/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* malloc and its family: each call goes to libc and becomes one record (raw_format.h). */
#include "recorder.h"

#include <malloc.h>

#define HEAP_OF(pointer) ((uint64_t)(pointer) & ~(64 * MIB - 1))

/* An allocation of about `size` bytes is next: may it make the kernel choose an address? */
static inline void ahead(struct stream *stream, size_t size)
{
    if (unlikely(size + 64 >= state->mmap_threshold || stream->fresh)) {
        before_placement(stream, stream->fresh);
        stream->fresh = 0;
    }
}

/* What the chunk says about where it came from, as bits of the op byte; keeps the books of observe.c. */
static inline unsigned got(struct stream *stream, void *result)
{
    unsigned bits = chunk_bits(result);
    if (unlikely(bits & RAW_IS_MMAPPED))
        block_added(result, stream->sequence);
    else if (bits & RAW_NON_MAIN_ARENA && unlikely(HEAP_OF(result) != stream->heap))
        heap_seen(stream, HEAP_OF(result));
    return bits;
}

enum shape { SIZE, TWO, SIZE_OLD, TWO_OLD }; /* the fields before the result */

/* The record of an event that returns a block. `error`: the errno of one that failed, else 0. */
static inline __attribute__((always_inline)) void allocated(struct stream *stream, unsigned op, enum shape shape,
                                                            uint64_t first, uint64_t second, void *old, void *result,
                                                            int error)
{
    uint8_t *p = begin(stream, next_number());
    if (unlikely(!p))
        return;
    if (unlikely(!result)) {
        if (error)
            put_error(stream, error);
        p = stream->cursor + 1;
    } else {
        op |= got(stream, result);
    }
    if (unlikely((uint64_t)old & 15)) {
        commit(stream, RAW_LOW_BITS, put(p, (uint64_t)old & 15));
        p = stream->cursor + 1;
    }
    p = put(p, first);
    if (shape == TWO || shape == TWO_OLD)
        p = put(p, second);
    if (shape >= SIZE_OLD)
        p = put_pointer(stream, p, old);
    p = put_pointer(stream, p, result);
    commit(stream, op, p);
}

static int error_of(void *result)
{
    return result ? 0 : errno;
}

EXPORT void *malloc(size_t size)
{
    struct stream *stream = enter();
    if (unlikely(!stream))
        return next.malloc ? next.malloc(size) : __libc_malloc(size);
    int held = lock(stream);
    ahead(stream, size);
    void *result = __libc_malloc(size);
    allocated(stream, RAW_MALLOC, SIZE, size, 0, NULL, result, error_of(result));
    unlock(stream, held);
    leave(stream);
    return result;
}

EXPORT void free(void *pointer)
{
    if (!pointer)
        return;
    struct stream *stream = enter();
    if (unlikely(!stream)) {
        if (next.free)
            next.free(pointer);
        else
            __libc_free(pointer);
        return;
    }
    int held = lock(stream);
    if (unlikely(state->leaving))
        note_flushed(stream, __builtin_return_address(0));
    ahead(stream, 0); /* a thread's first call gives it a cache and an arena, also when it is this one */
    unsigned bits = likely(!((uint64_t)pointer & 15)) ? chunk_bits(pointer) : 0;
    if (unlikely(bits & RAW_IS_MMAPPED))
        measure_block(stream, pointer);
    uint8_t *p = begin(stream, next_number());
    if (likely(p)) {
        if (likely(!((uint64_t)pointer & 15))) {
            if (unlikely(bits & RAW_IS_MMAPPED))
                block_freed(pointer);
            commit(stream, RAW_FREE | bits, put_pointer(stream, p, pointer));
        } else {
            commit(stream, RAW_LOW_BITS, put(p, (uint64_t)pointer & 15));
            commit(stream, RAW_FREE, put_pointer(stream, stream->cursor + 1, pointer));
        }
    }
    __libc_free(pointer);
    unlock(stream, held);
    leave(stream);
}

EXPORT void *calloc(size_t count, size_t size)
{
    struct stream *stream = enter();
    if (unlikely(!stream))
        return next.calloc ? next.calloc(count, size) : __libc_calloc(count, size);
    int held = lock(stream);
    size_t bytes;
    if (!__builtin_mul_overflow(count, size, &bytes))
        ahead(stream, bytes);
    void *result = __libc_calloc(count, size);
    allocated(stream, RAW_CALLOC, TWO, count, size, NULL, result, error_of(result));
    unlock(stream, held);
    leave(stream);
    return result;
}

/* Not libc's reallocarray: that calls realloc by its public name, which is ours. */
static void *plain_reallocarray(void *old, size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes)) {
        errno = ENOMEM;
        return NULL;
    }
    return __libc_realloc(old, bytes);
}

/* realloc and reallocarray. Only an old block that was mmapped needs more than the record: it may move, or be unmapped. */
static inline __attribute__((always_inline)) void *resize(struct stream *stream, enum raw_op op, void *old, size_t count,
                                                          size_t size)
{
    size_t bytes;
    int held = lock(stream), overflow = __builtin_mul_overflow(count, size, &bytes), freed = old && !bytes;
    int mmapped = old && !overflow && !((uint64_t)old & 15) && chunk_bits(old) & RAW_IS_MMAPPED;
    if (unlikely(mmapped)) {
        before_placement(stream, 0);
        measure_block(stream, old);
    } else if (!overflow) {
        ahead(stream, bytes);
    }
    if (unlikely(mmapped && freed))
        block_freed(old);
    else if (unlikely(mmapped))
        block_removed(old);
    void *result = op == RAW_REALLOCARRAY ? plain_reallocarray(old, count, size) : __libc_realloc(old, size);
    int error = result || freed ? 0 : errno;
    if (unlikely(mmapped && error))
        block_stays(old);
    if (op == RAW_REALLOCARRAY)
        allocated(stream, op, TWO_OLD, count, size, old, result, error);
    else if (old)
        allocated(stream, RAW_REALLOC, SIZE_OLD, size, 0, old, result, error);
    else
        allocated(stream, RAW_REALLOC_NULL, SIZE, size, 0, NULL, result, error);
    unlock(stream, held);
    leave(stream);
    return result;
}

EXPORT void *realloc(void *old, size_t size)
{
    struct stream *stream = enter();
    if (unlikely(!stream))
        return next.realloc ? next.realloc(old, size) : __libc_realloc(old, size);
    return resize(stream, RAW_REALLOC, old, 1, size);
}

EXPORT void *reallocarray(void *old, size_t count, size_t size)
{
    struct stream *stream = enter();
    if (unlikely(!stream))
        return next.reallocarray ? next.reallocarray(old, count, size) : plain_reallocarray(old, count, size);
    return resize(stream, RAW_REALLOCARRAY, old, count, size);
}

static void *aligned(enum raw_op op, void *(*call)(size_t, size_t), size_t alignment, size_t size)
{
    struct stream *stream = enter();
    if (unlikely(!stream))
        return call ? call(alignment, size) : __libc_memalign(alignment, size);
    int held = lock(stream);
    ahead(stream, size + alignment < size ? size : size + alignment);
    void *result = call ? call(alignment, size) : __libc_memalign(alignment, size);
    allocated(stream, op, TWO, alignment, size, NULL, result, error_of(result));
    unlock(stream, held);
    leave(stream);
    return result;
}

EXPORT void *memalign(size_t alignment, size_t size)
{
    return aligned(RAW_MEMALIGN, next.memalign, alignment, size);
}

EXPORT void *aligned_alloc(size_t alignment, size_t size)
{
    return aligned(RAW_ALIGNED_ALLOC, next.aligned_alloc, alignment, size);
}

EXPORT int posix_memalign(void **block, size_t alignment, size_t size)
{
    struct stream *stream = enter();
    resolve();
    if (unlikely(!stream))
        return next.posix_memalign(block, alignment, size);
    int held = lock(stream);
    ahead(stream, size + alignment < size ? size : size + alignment);
    int error = next.posix_memalign(block, alignment, size);
    allocated(stream, RAW_POSIX_MEMALIGN, TWO, alignment, size, NULL, error ? NULL : *block, error);
    unlock(stream, held);
    leave(stream);
    return error;
}

static void *page_aligned(enum raw_op op, void *(*call)(size_t), void *(*libc)(size_t), size_t size)
{
    struct stream *stream = enter();
    if (unlikely(!stream))
        return call ? call(size) : libc(size);
    int held = lock(stream);
    ahead(stream, size + 2 * PAGE < size ? size : size + 2 * PAGE);
    void *result = libc(size);
    allocated(stream, op, SIZE, size, 0, NULL, result, error_of(result));
    unlock(stream, held);
    leave(stream);
    return result;
}

EXPORT void *valloc(size_t size)
{
    return page_aligned(RAW_VALLOC, next.valloc, __libc_valloc, size);
}

EXPORT void *pvalloc(size_t size)
{
    return page_aligned(RAW_PVALLOC, next.pvalloc, __libc_pvalloc, size);
}

EXPORT int malloc_trim(size_t pad)
{
    struct stream *stream = enter();
    resolve();
    if (!stream)
        return next.malloc_trim(pad);
    int held = lock(stream), result = next.malloc_trim(pad);
    uint8_t *p = begin(stream, next_number());
    if (p)
        commit(stream, RAW_MALLOC_TRIM, put(put(p, pad), (unsigned)result));
    unlock(stream, held);
    leave(stream);
    return result;
}

/* As glibc's do_set_*: each of these four ends the dynamic rule of the mmap threshold. */
static void follow_mallopt(int parameter, int value)
{
    if (parameter == M_MMAP_THRESHOLD)
        state->mmap_threshold = (size_t)value;
    if (parameter == M_MMAP_THRESHOLD || parameter == M_TRIM_THRESHOLD || parameter == M_TOP_PAD ||
        parameter == M_MMAP_MAX)
        state->threshold_fixed = 1;
}

EXPORT int mallopt(int parameter, int value)
{
    struct stream *stream = enter();
    resolve();
    if (!stream)
        return next.mallopt(parameter, value);
    int held = lock(stream), result = next.mallopt(parameter, value);
    uint8_t *p = begin(stream, next_number());
    if (p) {
        p = put(put(p, zigzag(parameter)), zigzag(value));
        commit(stream, RAW_MALLOPT, put(p, (unsigned)result));
    }
    if (result)
        follow_mallopt(parameter, value);
    unlock(stream, held);
    leave(stream);
    return result;
}
