/* utf8.c - the check that utf8.h describes; it converts nothing. */
#include "base/utf8.h"

size_t fm_utf8_step(const uint8_t *at, size_t left, bool *valid)
{
    uint8_t first = at[0];
    *valid = true;
    if (first < 0x80) return 1;
    size_t length = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    /* The second byte is where overlong forms, surrogates and values above U+10FFFF show. */
    uint8_t low = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
    uint8_t high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
    if (first < 0xc2 || first > 0xf4) {
        *valid = false;
        return 1;
    }
    for (size_t i = 1; i < length; i++) {
        if (i >= left || at[i] < low || at[i] > high) {
            *valid = false;
            return i;
        }
        low = 0x80;
        high = 0xbf;
    }
    return length;
}
