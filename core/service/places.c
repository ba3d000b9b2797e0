/* places.c - places in a text, as the service counts them. */
#include "service/internal.h"

uint32_t service_place(place *p, uint32_t byte)
{
    if (!p->utf16) return byte;
    if (byte < p->byte) p->byte = p->unit = 0;
    for (; p->byte < byte; p->byte++) {
        uint8_t c = (uint8_t)p->text[p->byte];
        p->unit += (c & 0xc0) == 0x80 ? 0 : c >= 0xf0 ? 2 : 1;
    }
    return p->unit;
}
