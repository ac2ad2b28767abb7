// SPDX-License-Identifier: LGPL-2.1-or-later
/* A program without any C library, for x86-64 and i386 alike: its integer types, its entry point, and system calls that
   go straight to the kernel and give its result or -errno. The entry point calls `begin` on an aligned stack. */
#ifndef MEMTWIN_BARE_H
#define MEMTWIN_BARE_H

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;
typedef unsigned long word;  /* as wide as a pointer and as size_t */

#ifdef __x86_64__
enum { SYS_read = 0, SYS_write = 1, SYS_lseek = 8, SYS_mmap = 9, SYS_getpid = 39, SYS_wait4 = 61, SYS_futex = 202,
       SYS_exit_group = 231 };

static long call(long number, word a, word b, word c, word d)
{
    register word r10 __asm__("r10") = d;
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "0"(number), "D"(a), "S"(b), "d"(c), "r"(r10)
                     : "rcx", "r11", "memory");
    return result;
}

static word map(word length, int flags, int fd)
{
    register word r10 __asm__("r10") = flags;
    register word r8 __asm__("r8") = fd;
    register word r9 __asm__("r9") = 0;
    word result;
    __asm__ volatile("syscall" : "=a"(result) : "0"((word) SYS_mmap), "D"(0L), "S"(length), "d"(3L), "r"(r10), "r"(r8),
                     "r"(r9) : "rcx", "r11", "memory");
    return result;
}

__asm__(".globl _start\n_start:\n xor %ebp, %ebp\n and $-16, %rsp\n call begin\n");
#else
enum { SYS_read = 3, SYS_write = 4, SYS_lseek = 19, SYS_getpid = 20, SYS_mmap = 90, SYS_wait4 = 114, SYS_futex = 240,
       SYS_exit_group = 252 };

static long call(long number, word a, word b, word c, word d)
{
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "0"(number), "b"(a), "c"(b), "d"(c), "S"(d) : "memory");
    return result;
}

static word map(word length, int flags, int fd)
{
    word arguments[6] = {0, length, 3, (word) flags, (word) fd, 0};
    return (word) call(SYS_mmap, (word) arguments, 0, 0, 0);
}

__asm__(".globl _start\n_start:\n xor %ebp, %ebp\n and $-16, %esp\n call begin\n");
#endif

#endif
