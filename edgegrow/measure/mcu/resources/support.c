/* What compilers call without being asked: moving and filling memory.
 * The barriers keep each loop from being recognised as the function that it implements. */
#include <stddef.h>
#include <stdint.h>

#define BARRIER() __asm__ volatile("" ::: "memory")

typedef uint32_t __attribute__((may_alias)) word_t;

void *memcpy(void *restrict to, const void *restrict from, size_t n)
{
    uint8_t *out = to;
    const uint8_t *in = from;
    if ((((uintptr_t)out | (uintptr_t)in) & 3) == 0) {
        for (; n >= 16; n -= 16, out += 16, in += 16) {
            const uint32_t a = ((const word_t *)in)[0], b = ((const word_t *)in)[1];
            const uint32_t c = ((const word_t *)in)[2], d = ((const word_t *)in)[3];
            ((word_t *)out)[0] = a, ((word_t *)out)[1] = b;
            ((word_t *)out)[2] = c, ((word_t *)out)[3] = d;
            BARRIER();
        }
        for (; n >= 4; n -= 4, out += 4, in += 4) {
            *(word_t *)out = *(const word_t *)in;
            BARRIER();
        }
    }
    while (n--) {
        *out++ = *in++;
        BARRIER();
    }
    return to;
}

void *memmove(void *to, const void *from, size_t n)
{
    uint8_t *out = to;
    const uint8_t *in = from;
    if ((uintptr_t)out - (uintptr_t)in >= n)
        return memcpy(to, from, n);
    while (n--) {
        out[n] = in[n];
        BARRIER();
    }
    return to;
}

void *memset(void *to, int value, size_t n)
{
    uint8_t *out = to;
    const uint32_t word = (uint8_t)value * 0x01010101u;
    for (; n && ((uintptr_t)out & 3); n--) {
        *out++ = (uint8_t)value;
        BARRIER();
    }
    for (; n >= 16; n -= 16, out += 16) {
        ((word_t *)out)[0] = word, ((word_t *)out)[1] = word;
        ((word_t *)out)[2] = word, ((word_t *)out)[3] = word;
        BARRIER();
    }
    while (n--) {
        *out++ = (uint8_t)value;
        BARRIER();
    }
    return to;
}

int memcmp(const void *left, const void *right, size_t n)
{
    const uint8_t *a = left, *b = right;
    for (; n--; a++, b++) {
        if (*a != *b)
            return *a - *b;
        BARRIER();
    }
    return 0;
}

#ifdef __arm__
/* The names of the Arm run-time ABI (RTABI32, 4.3.4); its memset has value and size in the other order. */
#define COPY(name, function)                                  \
    void name(void *to, const void *from, size_t n)           \
    {                                                         \
        function(to, from, n);                                \
    }
COPY(__aeabi_memcpy, memcpy)
COPY(__aeabi_memcpy4, memcpy)
COPY(__aeabi_memcpy8, memcpy)
COPY(__aeabi_memmove, memmove)
COPY(__aeabi_memmove4, memmove)
COPY(__aeabi_memmove8, memmove)
#define FILL(name)                                            \
    void name(void *to, size_t n, int value)                  \
    {                                                         \
        memset(to, value, n);                                 \
    }
FILL(__aeabi_memset)
FILL(__aeabi_memset4)
FILL(__aeabi_memset8)
#define CLEAR(name)                                           \
    void name(void *to, size_t n)                             \
    {                                                         \
        memset(to, 0, n);                                     \
    }
CLEAR(__aeabi_memclr)
CLEAR(__aeabi_memclr4)
CLEAR(__aeabi_memclr8)
#endif
