/* Bytes compared eight at a time, in any compiler and byte order. */
#ifndef LATHE_WORDS_H
#define LATHE_WORDS_H

#include <stdint.h>
#include <string.h>

enum { LATHE_WORD = sizeof(uint64_t) };

/* A word whose bytes are all `byte`. */
#define LATHE_EACH_BYTE(byte) (UINT64_C(0x0101010101010101) * (unsigned char)(byte))

/* Eight bytes from any address. */
static inline uint64_t lathe_word(const char *at)
{
    uint64_t word;
    memcpy(&word, at, sizeof word);
    return word;
}

/* Not 0 when, and only when, a byte of the word is 0. */
static inline uint64_t lathe_zero_bytes(uint64_t word)
{
    return (word - LATHE_EACH_BYTE(1)) & ~word & LATHE_EACH_BYTE(0x80);
}

#endif
