/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The file that the recorder leaves behind: one a process image, named PID.START.raw (START: raw_header.start_ns).
 * All numbers are little-endian. The recorder writes through shared mappings, so the file is right after kill -9 or
 * exec at every instant, and what was never written reads as zero. The file is sparse and longer than what is used.
 *
 *   0                  RAW_GRAIN                                              used
 *   +------------------+--------------------+--------------------+-----------+ - - - - - - -
 *   | header, texts    | chunk              | chunk              | chunk ... | never written
 *   +------------------+--------------------+--------------------+-----------+ - - - - - - -
 *
 * A chunk belongs to one stream. A stream is one thread (or a signal handler that interrupted the recorder in that
 * thread); when a thread has ended, a later thread may go on in its chunk. Streams run beside each other.
 *
 *   chunk    +-------------+--------+--------+- - -+--------+---+
 *            | raw_chunk   | record | record |     | record | 0 |     a zero op byte, or `length`, ends the chunk
 *            +-------------+--------+--------+- - -+--------+---+
 *
 *   record   +---------------+---------------------------------------+      op byte     7 6 5       0
 *            | op byte       | fields, each a varint                 |                 +-+-+---------+
 *            +---------------+---------------------------------------+                 |A|M|   op    |
 *                                                                                      +-+-+---------+
 *   A: NON_MAIN_ARENA, M: IS_MMAPPED of the returned chunk's size word (FREE: of the freed one's; 0 when there is none).
 *   The op byte is written last: a record is there as a whole or not at all. A file cut short may end in a torn record.
 *
 *   V  unsigned varint: 7 bits a byte, low bits first, bit 7 says that more follow; at most 10 bytes
 *   Z  signed number as a varint: (n << 1) ^ (n >> 63)
 *   P  pointer: Z of (pointer >> 4) minus the previous P of this chunk (0 at the chunk's start). Every P counts, also
 *      both of REALLOC, in the order below. The low four bits are 0 unless a RAW_LOW_BITS record came before.
 *
 * Order. Events carry a number, counted from 1 in each image over all streams. The first record of a chunk has number
 * raw_chunk.sequence + 1; each further one is the previous number + 1 unless RAW_SKIP came before. Numbers rise within a
 * stream, so merging the streams by number gives the order. A number that no record has is a lost event.
 * Ops below RAW_SKIP, and RAW_REALLOC_NULL, are events and take a number each; the others do not.
 */
#ifndef MEMTWIN_RAW_FORMAT_H
#define MEMTWIN_RAW_FORMAT_H

#include <stdint.h>

#define RAW_MAGIC 0x314e4957544d454dull /* "MEMTWIN1" */
#define RAW_VERSION 1
#define RAW_GRAIN 65536 /* bytes: the header's size; chunks begin and are long a multiple of it */
#define RAW_CHUNK_MAGIC 0x4b4e4843u /* "CHNK" */

#define RAW_OP_BITS 0x3f
#define RAW_IS_MMAPPED 0x40
#define RAW_NON_MAIN_ARENA 0x80

enum raw_op {
    /* Events: the numbers are trace/schema.py's.   fields */
    RAW_MALLOC = 1,          /* V size, P result */
    RAW_CALLOC = 2,          /* V count, V size, P result */
    RAW_REALLOC = 3,         /* V new size, P old, P result */
    RAW_FREE = 4,            /* P pointer (free(NULL) is not recorded: it does nothing) */
    RAW_MEMALIGN = 5,        /* V alignment, V size, P result */
    RAW_POSIX_MEMALIGN = 6,  /* V alignment, V size, P result */
    RAW_ALIGNED_ALLOC = 7,   /* V alignment, V size, P result */
    RAW_VALLOC = 8,          /* V size, P result */
    RAW_PVALLOC = 9,         /* V size, P result */
    RAW_REALLOCARRAY = 10,   /* V count, V size, P old, P result */
    RAW_MALLOC_TRIM = 11,    /* V pad, V result */
    RAW_MALLOPT = 12,        /* Z parameter, Z value, V result */
    RAW_MMAP = 16,           /* V hint, V length, V prot, V flags, V offset, V result (-1: all ones) */
    RAW_MUNMAP = 17,         /* V address, V length, Z result */
    RAW_MREMAP = 18,         /* V old address, V old length, V new length, V flags, V new address, V result */
    RAW_MADVISE = 19,        /* V address, V length, Z advice, Z result */
    RAW_MPROTECT = 20,       /* V address, V length, V prot, Z result */
    RAW_BRK = 21,            /* V address, Z result */
    RAW_SBRK = 22,           /* Z increment, V result (-1: all ones) */
    RAW_THREAD_CREATE = 32,  /* V tid of the new thread, 0 when it failed */
    RAW_THREAD_START = 33,   /* V tid: this stream's thread from here on; may be numbered before its THREAD_CREATE */
    RAW_THREAD_EXIT = 34,    /* nothing: the thread's tcache has been flushed when the next event happens */
    RAW_FORK = 35,           /* nothing: the child is what the process was here; its pid: RAW_OUTCOME, or the child's header */
    RAW_EXEC = 36,           /* nothing: about to replace the image; a RAW_OUTCOME after it says that it failed */
    RAW_MAPS = 40,           /* V time, V kind, V prefix, V suffix; see below */
    RAW_END = 42,            /* V time: exit has begun; later events are of destructors that ran after this one */

    /* Not events. */
    RAW_SKIP = 48,           /* V n: n numbers are passed over before the next event of this stream */
    RAW_ERROR = 49,          /* V errno that the next event of this stream left (or returned); it failed */
    RAW_LOW_BITS = 50,       /* V bits: the low four bits of the next FREE's or REALLOC's (old) pointer */
    RAW_TEXT = 51,           /* V n, then n raw bytes: a piece of the text of this stream's next RAW_MAPS */
    RAW_OUTCOME = 52,        /* Z result of this stream's last FORK or EXEC: pid of the child, or -errno */
    RAW_SAMPLE = 53,         /* V ahead, V time, V mask, then V a figure for each set bit; see below */
    RAW_NOTE = 54,           /* V enum raw_note, V value: something the reader of the trace should know */
    RAW_BLOCK = 55,          /* V number, V bytes: how much of the block that this event mapped is in RAM now */
    RAW_REALLOC_NULL = 60,   /* an event, number and all: REALLOC with old = NULL. V new size, P result */
};

/*
 * Times are nanoseconds of CLOCK_MONOTONIC since raw_header.start_ns.
 *
 * RAW_MAPS: a snapshot of the VMAs. Its text is the first `prefix` bytes of the text of the image's previous MAPS (in the
 * order of numbers), then the pieces of RAW_TEXT, then the last `suffix` bytes of that previous text. Kind 0: the text
 * is /proc/self/maps. Kind 1: each line of it is led by the VMA's Rss in kB and a space (from smaps).
 *
 * RAW_SAMPLE: precedes the event with the number (this stream's last event's number) + `ahead`. Bits of the mask, in the
 * order of the figures:
 */
enum raw_sample {
    RAW_RSS = 1,               /* bytes: statm */
    RAW_HEAP = 2,              /* bytes: size of the brk heap */
    RAW_HEAP_RESIDENT = 4,     /* bytes of it in RAM */
    RAW_ARENA_RESIDENT = 8,    /* bytes: thread arenas' heaps */
    RAW_MMAPPED_RESIDENT = 16, /* bytes: chunks that malloc got by mmap */
    RAW_ANONYMOUS = 32,        /* bytes: Anonymous of smaps */
    RAW_TOTAL_VM = 64,         /* bytes: statm's size */
    RAW_COST = 128,            /* ns that taking the sample took */
};

enum raw_note {
    RAW_NOTE_MAPS_RATE = 1,  /* MAPS snapshots are rationed from here on; value: how many were wanted and not taken */
    RAW_NOTE_ORDER = 2,      /* the lock was held for too long and was broken: order is not certain from here on */
    RAW_NOTE_QUIET = 3,      /* the program installed a seccomp filter: no samples and MAPS from here on */
};

enum raw_status {
    RAW_RECORDING = 0,       /* also of an image that was killed or has called exec */
    RAW_NO_SPACE = 1,        /* disk full or quota: recording stopped; raw_header.error is the errno */
    RAW_LIMIT = 2,           /* the file may not grow further (RLIMIT_FSIZE, address space) */
    RAW_OTHER_MALLOC = 3,    /* the program brings its own malloc: nothing was recorded */
    RAW_TOO_MANY_THREADS = 4,
    RAW_FILTER = 5,          /* a seccomp filter leaves no way to let the file grow */
};

struct raw_header {
    uint64_t magic;           /* written last: without it, the header is not complete */
    uint32_t version;
    uint32_t pid;
    uint64_t used;            /* bytes of the file that are handed out to chunks, header included */
    uint64_t start_ns;        /* CLOCK_MONOTONIC at the image's first event; pid and start_ns name an image */
    uint64_t start_realtime_ns;
    uint32_t parent_pid;      /* getppid() */
    uint32_t exact;           /* 1: order by lock; 0: by atomic counter alone */
    uint64_t parent_start_ns; /* of a fork child: start_ns of the image that it continues; otherwise 0 */
    uint64_t parent_sequence; /* of a fork child: number of the parent's FORK event (or of its last event before) */
    uint64_t start_brk;       /* where the kernel placed the heap */
    uint64_t brk;             /* program break at the image's first event */
    uint32_t page_size;
    uint32_t status;          /* enum raw_status */
    uint32_t error;
    uint32_t text_length;     /* bytes of text behind this header */
    uint64_t lost;            /* events that are missing without having had a number */
    uint64_t stopped_at;      /* number of the last event when recording stopped by itself; otherwise 0 */
    uint64_t process_start;   /* /proc/self/stat field 22: the same for all images of a process */
    uint64_t file_length;     /* bytes the file may be used up to */
    uint64_t reserved[8];
};

/*
 * Behind the header, RAW_TEXT_AT: lines "name=value\n", bytes outside 0x20..0x7e and % in values as %XX. Names:
 *   libc_release libc_build_id libc_path malloc_path executable command_line (arguments joined by %00) directory
 *   kernel machine personality cpus_allowed (a number) cpus_online (0-3,5) thp_enabled thp_defrag thp_shmem
 *   thp_disabled (prctl's PR_GET_THP_DISABLE) free_2m free_1g (reserved huge pages) overcommit max_map_count recorder_path GLIBC_TUNABLES and each MALLOC_* variable of the environment
 */
#define RAW_TEXT_AT 256

struct raw_chunk {
    uint32_t magic;
    uint32_t length;   /* bytes, this header included; a multiple of RAW_GRAIN */
    uint64_t sequence; /* number of the stream's last event before this chunk (or any lower bound) */
    uint32_t thread;   /* tid */
    uint32_t level;    /* 0: the thread itself; n: a signal handler that interrupted the recorder n times */
    uint64_t stream;   /* the same in all chunks of a stream */
};

_Static_assert(sizeof(struct raw_header) <= RAW_TEXT_AT, "the texts begin behind the header");
_Static_assert(sizeof(struct raw_chunk) == 32, "no padding");

#endif
