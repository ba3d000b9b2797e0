/* utf8.h - one check of one UTF-8 character, for the JSON reader and writer of this folder only. The tokenizer has a
 * decoder of its own, which must follow its reference. */
#ifndef FM_BASE_UTF8_H
#define FM_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The length of the well-formed character at `at`, of which `left` > 0 bytes may be read. Where there is none, *valid
 * becomes false and the result is the number of bytes that one U+FFFD stands for (the maximal subpart of Unicode 3.9).
 */
size_t fm_utf8_step(const uint8_t *at, size_t left, bool *valid);

#endif
