/* memory.c - zeroed, aligned memory with checked sizes. It is not an arena: every piece is freed on its own. */
#if defined(__linux__) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE /* madvise */
#endif
#include "base/base.h"

#include <stdlib.h>
#include <string.h>
#ifdef __linux__
#include <sys/mman.h>
#endif

#define ALIGNMENT ((size_t)64) /* one cache line, and one AVX-512 register */
#define HUGE ((size_t)2 << 20) /* a large page of most 64-bit machines */

bool fm_size_mul(size_t a, size_t b, size_t *product)
{
    *product = SIZE_MAX; /* for the error that tells of it */
    if (b != 0 && a > SIZE_MAX / b) return false;
    *product = a * b;
    return true;
}

void *fm_alloc(size_t count, size_t size)
{
    size_t bytes;
    if (!fm_size_mul(count, size, &bytes) || bytes > SIZE_MAX - HUGE) return NULL;
    size_t alignment = ALIGNMENT;
#ifdef __linux__
    /* Matrices are read in strides of many pages: large pages, which are had only when asked for, spare the processor
     * most of its looking up. */
    if (bytes >= 4 * HUGE) alignment = HUGE;
#endif
    /* aligned_alloc wants a multiple of the alignment; an empty piece still gets an address of its own. */
    size_t rounded = bytes == 0 ? alignment : (bytes + alignment - 1) & ~(alignment - 1);
    void *memory = aligned_alloc(alignment, rounded);
#ifdef __linux__
    if (memory && alignment == HUGE) madvise(memory, rounded, MADV_HUGEPAGE); /* a wish; the memory is there anyway */
#endif
    if (memory) memset(memory, 0, rounded);
    return memory;
}

void fm_free(void *memory)
{
    free(memory);
}
