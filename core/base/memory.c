/* memory.c - zeroed, aligned memory with checked sizes. It is not an arena: every piece is freed on its own. */
#include "base/base.h"

#include <stdlib.h>
#include <string.h>

#define ALIGNMENT ((size_t)64) /* one cache line, and one AVX-512 register */

bool fm_size_mul(size_t a, size_t b, size_t *product)
{
    if (b != 0 && a > SIZE_MAX / b) return false;
    *product = a * b;
    return true;
}

void *fm_alloc(size_t count, size_t size)
{
    size_t bytes;
    if (!fm_size_mul(count, size, &bytes) || bytes > SIZE_MAX - ALIGNMENT) return NULL;
    /* aligned_alloc wants a multiple of the alignment; an empty piece still gets an address of its own. */
    size_t rounded = bytes == 0 ? ALIGNMENT : (bytes + ALIGNMENT - 1) & ~(ALIGNMENT - 1);
    void *memory = aligned_alloc(ALIGNMENT, rounded);
    if (memory) memset(memory, 0, rounded);
    return memory;
}

void fm_free(void *memory)
{
    free(memory);
}
