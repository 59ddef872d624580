/* What cannot stand as it is in a string of JSON: a quote, a backslash, and what is below 0x20. */
#ifndef LATHE_JSON_SCAN_H
#define LATHE_JSON_SCAN_H

#include <stdbool.h>

#include "words.h"

#if defined __SSE2__ && !defined LATHE_NO_VECTORS
#define LATHE_VECTORS
#include <emmintrin.h>
#endif

static inline bool lathe_json_special(char c)
{
    return (unsigned char)c < 0x20 || c == '"' || c == '\\';
}

/* Whether none of 8 bytes is special. */
static inline bool lathe_json_plain(const char *at)
{
    const uint64_t word = lathe_word(at);
    const uint64_t low = (word - LATHE_EACH_BYTE(0x20)) & ~word & LATHE_EACH_BYTE(0x80);
    return !(low | lathe_zero_bytes(word ^ LATHE_EACH_BYTE('"')) |
             lathe_zero_bytes(word ^ LATHE_EACH_BYTE('\\')));
}

#ifdef LATHE_VECTORS
/* Bit i tells whether byte i of 16 is special. Turning 0x02 puts the quote, 0x22, right behind the
 * bytes below 0x20; turning the sign makes a comparison of signed bytes one of unsigned ones. */
static inline unsigned lathe_json_specials(__m128i bytes)
{
    const __m128i turned = _mm_xor_si128(bytes, _mm_set1_epi8((char)(0x80 | 0x02)));
    const __m128i low = _mm_cmplt_epi8(turned, _mm_set1_epi8((char)(0x80 | 0x21)));
    const __m128i backslash = _mm_cmpeq_epi8(bytes, _mm_set1_epi8('\\'));
    return (unsigned)_mm_movemask_epi8(_mm_or_si128(low, backslash));
}
#endif

#endif
