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

uint32_t service_byte(place *p, uint32_t unit)
{
    if (!p->utf16) return unit;
    if (unit < p->unit) p->byte = p->unit = 0;
    while (p->unit < unit && p->text[p->byte]) {
        uint32_t byte = p->byte + 1;
        while (((uint8_t)p->text[byte] & 0xc0) == 0x80) byte++;
        service_place(p, byte);
    }
    return p->byte;
}
