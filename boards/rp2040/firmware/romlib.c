// Routines of the stand-in boot ROM: what the RP2040 datasheet (2.8.3) says that the ROM's memory and bit
// functions do, written anew.

#include <stdint.h>

uint8_t *rom_memset4(uint32_t *to, uint8_t value, uint32_t size) {
    uint8_t *start = (uint8_t *)to;
    uint32_t word = value * 0x01010101u;
    for (; size >= 16; size -= 16) {
        to[0] = word;
        to[1] = word;
        to[2] = word;
        to[3] = word;
        to += 4;
    }
    for (; size >= 4; size -= 4) {
        *to++ = word;
    }
    for (uint8_t *tail = (uint8_t *)to; size; size--) {
        *tail++ = value;
    }
    return start;
}

uint8_t *rom_memcpy44(uint32_t *to, const uint32_t *from, uint32_t size) {
    uint8_t *start = (uint8_t *)to;
    for (; size >= 16; size -= 16) {
        uint32_t a = from[0], b = from[1], c = from[2], d = from[3];
        to[0] = a;
        to[1] = b;
        to[2] = c;
        to[3] = d;
        to += 4;
        from += 4;
    }
    for (; size >= 4; size -= 4) {
        *to++ = *from++;
    }
    uint8_t *tail = (uint8_t *)to;
    for (const uint8_t *rest = (const uint8_t *)from; size; size--) {
        *tail++ = *rest++;
    }
    return start;
}

uint8_t *rom_memset(uint8_t *to, uint8_t value, uint32_t size) {
    uint8_t *start = to;
    while (size && ((uint32_t)to & 3)) {
        *to++ = value;
        size--;
    }
    rom_memset4((uint32_t *)to, value, size);
    return start;
}

uint8_t *rom_memcpy(uint8_t *to, const uint8_t *from, uint32_t size) {
    uint8_t *start = to;
    if ((((uint32_t)to ^ (uint32_t)from) & 3) == 0) {
        while (size && ((uint32_t)to & 3)) {
            *to++ = *from++;
            size--;
        }
        rom_memcpy44((uint32_t *)to, (const uint32_t *)from, size);
        return start;
    }
    while (size--) {
        *to++ = *from++;
    }
    return start;
}

uint32_t rom_popcount32(uint32_t value) {
    value -= (value >> 1) & 0x55555555;
    value = (value & 0x33333333) + ((value >> 2) & 0x33333333);
    value = (value + (value >> 4)) & 0x0f0f0f0f;
    return (value * 0x01010101u) >> 24;
}

uint32_t rom_clz32(uint32_t value) {
    uint32_t bits = 32;
    for (; value; value >>= 1) {
        bits--;
    }
    return bits;
}

uint32_t rom_ctz32(uint32_t value) {
    if (!value) {
        return 32;
    }
    uint32_t bits = 0;
    for (; !(value & 1); value >>= 1) {
        bits++;
    }
    return bits;
}

uint32_t rom_reverse32(uint32_t value) {
    uint32_t result = 0;
    for (int i = 0; i < 32; i++) {
        result = (result << 1) | (value & 1);
        value >>= 1;
    }
    return result;
}
