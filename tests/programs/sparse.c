/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Large blocks that are filled in part, or not at all, and requests that no machine grants. */
#include <malloc.h>
#include <stdlib.h>

#define MIB ((size_t)1 << 20)

/* Such that no compiler leaves it out. */
static void fill(volatile char *block, size_t bytes)
{
    for (size_t i = 0; i < bytes; i += 512)
        block[i] = 1;
}

int main(void)
{
    char *part = malloc(64 * MIB), *none = malloc(200 * MIB), *zeroed = calloc(32, MIB), *gone = malloc(40 * MIB);
    char *aligned = memalign(8192, 20 * MIB), *grown = malloc(10 * MIB), *whole = malloc(3 * MIB);
    fill(part, 5 * MIB);
    fill(zeroed, 7 * MIB);
    fill(gone, 30 * MIB);
    free(gone);
    fill(aligned, MIB);
    fill(grown, 2 * MIB);
    grown = realloc(grown, 50 * MIB);
    fill(grown, 11 * MIB);
    fill(whole, 3 * MIB);
    for (int shift = 46; shift < 63; shift += 4)
        if (malloc((size_t)1 << shift) || realloc(part, (size_t)1 << shift) || calloc(2, (size_t)1 << shift))
            return 1;
    return none ? 0 : 2;
}
