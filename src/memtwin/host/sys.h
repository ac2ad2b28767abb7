/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* System calls straight to the kernel: they return the result or -errno and leave the program's errno alone. */
#ifndef MEMTWIN_SYS_H
#define MEMTWIN_SYS_H

#include <stdint.h>
#include <sys/syscall.h>

static inline long sys(long number, long a, long b, long c, long d, long e, long f)
{
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

#define SYS_0(n) sys(n, 0, 0, 0, 0, 0, 0)
#define SYS_1(n, a) sys(n, (long)(a), 0, 0, 0, 0, 0)
#define SYS_2(n, a, b) sys(n, (long)(a), (long)(b), 0, 0, 0, 0)
#define SYS_3(n, a, b, c) sys(n, (long)(a), (long)(b), (long)(c), 0, 0, 0)
#define SYS_4(n, a, b, c, d) sys(n, (long)(a), (long)(b), (long)(c), (long)(d), 0, 0)
#define SYS_5(n, a, b, c, d, e) sys(n, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), 0)
#define SYS_6(n, a, b, c, d, e, f) sys(n, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))

static inline int failed(long result)
{
    return (unsigned long)result > -4096ul;
}

#endif
