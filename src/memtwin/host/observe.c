/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is measured from outside the allocator: samples over time, and snapshots of the VMAs. Driven by the events.
 *
 * Snapshots. Where the kernel puts a mapping depends on mappings that libc and ld.so make without passing through an
 * interposed call (thread stacks, dlopen, locale files). So before a call that may make the kernel choose an address,
 * the size of the address space (statm, about 9 us) is compared with what it must be after everything seen so far, and a
 * snapshot is taken when they differ. The break is read from libc's copy of it. Not noticed: changes that leave the
 * size as it was (an unmapped library replaced by one as large; mprotect by ld.so). Taken for a change, harmlessly: the
 * main stack's growth, and munmap of a range that was not wholly mapped.
 * The checks may take a tenth of the program's time; beyond that they are left out and a note says how many.
 */
#include "recorder.h"

#include <fcntl.h>
#include <sys/mman.h>

#define SELF "/proc/thread-self/" /* /proc/self is empty when the first thread has ended before the others */
#define SAMPLE_EVERY 10000000ul   /* ns between readings of statm */
#define LOOK_EVERY 1000000000ul   /* ns between measurements of residency */
#define BLOCK_SHARE 20            /* measuring blocks that go takes at most this part of the time, */
#define BLOCK_START 2000000ul     /* ns: and so much at first */
#define HEAP_SPAN (64 * MIB)      /* of a thread arena's heap; it is aligned to it */
#define FREE_CHECKS 20000000ul    /* ns that checks may take before they are rationed */

static uint64_t since_start(void)
{
    return now() - state->header->start_ns;
}

/* libc's copy is 0 until somebody has asked for memory. */
static uint64_t program_break(void)
{
    return __curbrk ? (uint64_t)__curbrk : state->header->brk;
}

static int64_t break_pages(void)
{
    return (int64_t)((program_break() + PAGE - 1) / PAGE);
}

/* Somebody else (fast mode), or the code that a handler interrupted, may be at it. */
static int observing(void)
{
    return state->quiet || __atomic_exchange_n(&state->observing, 1, __ATOMIC_ACQUIRE);
}

static void observed(void)
{
    __atomic_store_n(&state->observing, 0, __ATOMIC_RELEASE);
}

static const char *number(const char *p, uint64_t *value)
{
    while (*p == ' ')
        p++;
    for (*value = 0; *p >= '0' && *p <= '9'; p++)
        *value = *value * 10 + (uint64_t)(*p - '0');
    return p;
}

/* Pages of address space and of RSS; 0 when /proc cannot be read. */
static int statm(uint64_t *size, uint64_t *resident)
{
    char text[128];
    if (slurp(SELF "statm", text, sizeof text) <= 0)
        return 0;
    number(number(text, size), resident);
    return 1;
}

/* ---- The size of the address space ---------------------------------------------------------------------------- */

void mapped(int64_t bytes)
{
    __atomic_fetch_add(&state->expected, bytes / (int64_t)PAGE, __ATOMIC_RELAXED);
}

static void expect(uint64_t size)
{
    state->expected = (int64_t)size - break_pages();
}

void resynchronise(void)
{
    uint64_t size, resident;
    if (!state->quiet && statm(&size, &resident))
        expect(size);
}

void before_placement(struct stream *stream, int sure)
{
    if (state->quiet)
        return;
    uint64_t began = now();
    if (!sure && state->check_cost > FREE_CHECKS && state->check_cost > (began - state->header->start_ns) / 10) {
        state->checks_skipped++;
        state->rationed = 1;
        return;
    }
    uint64_t size, resident;
    if (observing())
        return;
    int readable = statm(&size, &resident);
    observed();
    if (readable && (int64_t)size - break_pages() != state->expected)
        snapshot(stream, 0);
    state->check_cost += now() - began;
}

/* ---- Snapshots ------------------------------------------------------------------------------------------------ */

/* Reads maps into `text`; its length. */
static uint64_t read_maps(char *text)
{
    long length = slurp(SELF "maps", text, TEXT);
    return failed(length) ? 0 : (uint64_t)length;
}

/* One line of smaps: a VMA's own line is kept aside in `vma`, its Rss lets it out, led by the figure. */
static char *smaps_line(char *out, char *limit, const char *line, uint64_t length, char *vma, uint64_t *vma_length)
{
    if (length > 4 && !memcmp(line, "Rss:", 4)) {
        const char *p = line + 4;
        while (*p == ' ')
            p++;
        if (out + 32 + *vma_length > limit)
            return out;
        while (*p >= '0' && *p <= '9')
            *out++ = *p++;
        *out++ = ' ';
        memcpy(out, vma, *vma_length);
        return out + *vma_length;
    }
    if ((*line >= '0' && *line <= '9') || (*line >= 'a' && *line <= 'f')) {
        *vma_length = length < 4400 ? length : 4400;
        memcpy(vma, line, *vma_length);
    }
    return out;
}

/* Reads smaps into `text` as "RSS_KB line-of-maps"; its length. */
static uint64_t read_smaps(char *text)
{
    char *vma = state->scratch, *buffer = state->scratch + 8192, *out = text;
    const uint64_t room = SCRATCH - 8192;
    uint64_t kept = 0, vma_length = 0;
    long fd = SYS_4(SYS_openat, AT_FDCWD, SELF "smaps", O_RDONLY | O_CLOEXEC, 0);
    if (failed(fd))
        return 0;
    for (;;) {
        long n = SYS_3(SYS_read, fd, buffer + kept, room - kept);
        if (n == -EINTR)
            continue;
        if (n <= 0)
            break;
        uint64_t filled = kept + (uint64_t)n, from = 0;
        for (char *end; (end = memchr(buffer + from, '\n', filled - from));) {
            uint64_t length = (uint64_t)(end - (buffer + from)) + 1;
            out = smaps_line(out, text + TEXT, buffer + from, length, vma, &vma_length);
            from += length;
        }
        kept = filled - from;
        if (kept >= room)
            break;
        memmove(buffer, buffer + from, kept);
    }
    SYS_1(SYS_close, fd);
    return (uint64_t)(out - text);
}

/* Writes bytes as pieces of RAW_TEXT, over as many chunks as they take. 0: recording has stopped. */
static int put_text(struct stream *stream, const char *text, uint64_t length)
{
    while (length) {
        if (stream->cursor >= stream->end && !next_chunk(stream))
            return 0;
        uint64_t room = (uint64_t)(stream->end - stream->cursor), piece = length < room ? length : room;
        uint8_t *p = put(stream->cursor + 1, piece);
        memcpy(p, text, piece);
        commit(stream, RAW_TEXT, p + piece);
        text += piece;
        length -= piece;
    }
    return 1;
}

static uint64_t common_prefix(const char *a, const char *b, uint64_t length)
{
    uint64_t n = 0;
    while (n < length && a[n] == b[n])
        n++;
    return n;
}

static uint64_t common_suffix(const char *a_end, const char *b_end, uint64_t length)
{
    uint64_t n = 0;
    while (n < length && a_end[-1 - (long)n] == b_end[-1 - (long)n])
        n++;
    return n;
}

/* Records the VMAs as they are now; kind 1 with the resident size of each. */
void snapshot(struct stream *stream, int kind)
{
    if (observing())
        return;
    char *last = state->text[0], *text = state->text[1];
    uint64_t last_length = state->text_length, size, resident;
    uint64_t length = kind ? read_smaps(text) : read_maps(text);
    if (length && statm(&size, &resident)) {
        expect(size);
        uint64_t shorter = length < last_length ? length : last_length;
        uint64_t prefix = common_prefix(text, last, shorter);
        uint64_t suffix = common_suffix(text + length, last + last_length, shorter - prefix);
        uint8_t *p = NULL;
        if (put_text(stream, text + prefix, length - prefix - suffix))
            p = begin(stream, next_number());
        if (p) {
            p = put(put(p, since_start()), (uint64_t)kind);
            commit(stream, RAW_MAPS, put(put(p, prefix), suffix));
            memcpy(last, text, length);
            state->text_length = length;
        }
    }
    observed();
}

/* ---- Residency ------------------------------------------------------------------------------------------------ */

/* Bytes of [start, start + length) in RAM, by mincore, which maps and touches nothing; UINT64_MAX when unmapped. */
static uint64_t resident_bytes(uint64_t start, uint64_t length)
{
    uint8_t *seen = (uint8_t *)state->scratch;
    uint64_t count = 0;
    for (uint64_t done = 0; done < length; done += SCRATCH * PAGE) {
        uint64_t part = length - done < SCRATCH * PAGE ? length - done : SCRATCH * PAGE;
        if (failed(SYS_3(SYS_mincore, start + done, part, seen)))
            return UINT64_MAX;
        for (uint64_t i = 0; i < (part + PAGE - 1) / PAGE; i++)
            count += seen[i] & 1;
    }
    return count * PAGE;
}

static uint64_t heap_start(void)
{
    return state->header->start_brk & ~(PAGE - 1);
}

static uint64_t arenas_resident(void)
{
    uint64_t total = 0;
    for (uint64_t i = 0; i < state->heap_count;) {
        uint64_t bytes = resident_bytes(state->heaps[i], HEAP_SPAN);
        if (bytes == UINT64_MAX) { /* its last chunk has gone, and the heap with it */
            state->heaps[i] = state->heaps[--state->heap_count];
            continue;
        }
        total += bytes;
        i++;
    }
    return total;
}

/* How much of a block is in RAM: a record, unless it says what the last one did. */
static void measure(struct stream *stream, struct block *block)
{
    if ((stream->cursor >= stream->end && !next_chunk(stream)) || observing())
        return;
    uint64_t bytes = resident_bytes(block->start, block->length);
    observed();
    if (bytes == UINT64_MAX || bytes == block->resident)
        return;
    block->resident = bytes;
    commit(stream, RAW_BLOCK, put(put(stream->cursor + 1, block->event), bytes));
}

/* All blocks; the bytes of them in RAM. */
static uint64_t measure_blocks(struct stream *stream)
{
    uint64_t total = 0;
    for (uint64_t i = 0; state->block_count && i < BLOCKS; i++) {
        struct block *block = &state->blocks[i];
        if (block->length < PAGE)
            continue;
        measure(stream, block);
        total += block->resident;
    }
    return total;
}

/* One RAW_SAMPLE; `thorough` with residency. */
static void sample(struct stream *stream, int thorough)
{
    uint64_t began = now(), size, resident = 0, figures[8], mask = RAW_RSS | RAW_HEAP | RAW_TOTAL_VM;
    uint64_t blocks = thorough ? measure_blocks(stream) : 0;
    int n = 0;
    if (stream->cursor >= stream->end && !next_chunk(stream))
        return;
    if (observing())
        return;
    if (statm(&size, &resident)) {
        uint64_t heap = program_break() > heap_start() ? program_break() - heap_start() : 0;
        figures[n++] = resident * PAGE;
        figures[n++] = heap;
        if (thorough) {
            mask |= RAW_HEAP_RESIDENT | RAW_ARENA_RESIDENT | RAW_MMAPPED_RESIDENT | RAW_COST;
            figures[n] = heap ? resident_bytes(heap_start(), heap) : 0;
            n++;
            figures[n++] = arenas_resident();
            figures[n++] = blocks;
            state->look_rss = resident;
        }
        figures[n++] = size * PAGE;
        if (thorough)
            figures[n++] = now() - began;
        uint8_t *p = put(stream->cursor + 1, sequence + 1 - stream->sequence);
        p = put(put(p, began - state->header->start_ns), mask);
        for (int i = 0; i < n; i++)
            p = put(p, figures[i]);
        commit(stream, RAW_SAMPLE, p);
    }
    observed();
    if (resident > state->smaps_rss + state->smaps_rss / 4 + 256) {
        state->smaps_rss = resident;
        snapshot(stream, 1);
    }
}

/* So many events until the clock is read again that this happens every few ms, but at least every 1024 events. */
static void adapt(struct stream *stream, uint64_t time)
{
    uint64_t passed = time - stream->looked;
    if (passed > SAMPLE_EVERY / 2 && stream->period > 1)
        stream->period /= 2;
    else if (passed < SAMPLE_EVERY / 8 && stream->period < 1024)
        stream->period *= 2;
    stream->looked = time;
    stream->countdown = stream->period;
}

void look(struct stream *stream)
{
    if (state->quiet) {
        stream->countdown = UINT32_MAX;
        return;
    }
    uint64_t time = now();
    adapt(stream, time);
    if (state->unsampled || time < state->next_sample || stream->level)
        return;
    state->next_sample = time + SAMPLE_EVERY;
    int thorough = time >= state->next_look;
    sample(stream, thorough);
    if (thorough) {
        uint64_t cost = now() - time; /* at most a twentieth of the time, however large the program */
        state->next_look = time + (cost * 20 > LOOK_EVERY ? cost * 20 : LOOK_EVERY);
    }
}

void observe_all(struct stream *stream)
{
    if (state->quiet)
        return;
    state->smaps_rss = UINT64_MAX / 2; /* the snapshot below is enough */
    if (!state->unsampled)
        sample(stream, 1);
    snapshot(stream, 1);
    state->smaps_rss = state->look_rss;
    if (state->checks_skipped && stream->cursor && stream->cursor < stream->end)
        commit(stream, RAW_NOTE, put(put(stream->cursor + 1, RAW_NOTE_MAPS_RATE), state->checks_skipped));
}

void start_observing(struct stream *stream)
{
    uint64_t time = now(), size, resident;
    state->next_sample = time + SAMPLE_EVERY;
    state->next_look = time + LOOK_EVERY / 10;
    if (statm(&size, &resident))
        state->smaps_rss = resident;
    snapshot(stream, 0);
}

/* ---- Blocks and heaps that malloc got by mmap ----------------------------------------------------------------- */

/* The mapping of an mmapped chunk: glibc keeps the chunk's size, and how far into the mapping it lies. */
static struct block block_of(const void *pointer)
{
    const uint64_t *header = (const uint64_t *)pointer - 2;
    struct block block;
    block.start = ((uint64_t)header - header[0]) & ~(PAGE - 1);
    block.length = (header[0] + (header[1] & ~7ul) + PAGE - 1) & ~(PAGE - 1);
    return block;
}

static struct block *slot_of(uint64_t start)
{
    uint64_t i = (start / PAGE * 0x9e3779b97f4a7c15ul) >> 47;
    for (unsigned probes = 0; probes < 64; probes++, i++) {
        struct block *slot = &state->blocks[i % BLOCKS];
        if (slot->start == start || !slot->start)
            return slot;
    }
    return NULL;
}

void block_added(const void *pointer, uint64_t event)
{
    struct block block = block_of(pointer), *slot = slot_of(block.start);
    mapped((int64_t)block.length);
    if (!slot)
        return;
    block.event = event;
    block.resident = 0;
    *slot = block;
    state->block_count++;
}

void block_stays(const void *pointer)
{
    struct block block = block_of(pointer), *slot = slot_of(block.start);
    mapped((int64_t)block.length);
    if (!slot || !slot->start)
        return;
    slot->length = block.length;
    state->block_count++;
}

void measure_block(struct stream *stream, const void *pointer)
{
    if (state->quiet || state->unsampled)
        return;
    struct block *slot = slot_of(block_of(pointer).start);
    uint64_t began = now(), passed = began - state->header->start_ns;
    if (!slot || slot->length < PAGE || state->block_cost > passed / BLOCK_SHARE + BLOCK_START)
        return;
    measure(stream, slot);
    state->block_cost += now() - began;
}

/* The slot stays taken, with no length: a later block may lie behind it. */
void block_removed(const void *pointer)
{
    struct block block = block_of(pointer), *slot = slot_of(block.start);
    mapped(-(int64_t)block.length);
    if (!slot || !slot->start)
        return;
    slot->length = 0;
    state->block_count--;
}

/* About to be freed: glibc's __libc_free raises its threshold to the size of an mmapped chunk that it frees. */
void block_freed(const void *pointer)
{
    block_removed(pointer);
    uint64_t size = ((const uint64_t *)pointer)[-1] & ~7ul;
    if (!state->threshold_fixed && size > state->mmap_threshold && size <= 32 * MIB)
        state->mmap_threshold = size;
}

void heap_seen(struct stream *stream, uint64_t heap)
{
    stream->heap = heap;
    for (uint64_t i = 0; i < state->heap_count; i++)
        if (state->heaps[i] == heap)
            return;
    if (state->heap_count < HEAPS)
        state->heaps[state->heap_count++] = heap;
}
