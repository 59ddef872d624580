/* A gzip body in pieces of odd sizes: zlib, given all of it at once, is the judge. */
#include "gunzip.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "support.h"
#include "support_alloc.h"

enum { ROOM = 1 << 18 };

/* What becomes of the bytes. */
typedef struct outcome {
    lathe_code code;
    bool complete;
    size_t size;
    unsigned char data[ROOM];
} outcome;

static outcome expected, got;

/* One member after the other, into all the room there is. */
static void inflate_whole(lathe_text packed)
{
    z_stream stream = {0};
    int status = Z_OK;
    MUST(inflateInit2(&stream, 16 + MAX_WBITS) == Z_OK);
    stream.next_in = (unsigned char *)(uintptr_t)packed.data;
    stream.avail_in = (unsigned)packed.size;
    stream.next_out = expected.data;
    stream.avail_out = ROOM;
    while (status == Z_OK && stream.avail_in) {
        status = inflate(&stream, Z_SYNC_FLUSH);
        if (status == Z_STREAM_END && stream.avail_in)
            status = inflateReset(&stream);
    }
    expected.complete = status == Z_STREAM_END;
    expected.size = ROOM - stream.avail_out;
    expected.code = status == Z_OK || status == Z_STREAM_END || status == Z_BUF_ERROR
                        ? LATHE_OK
                        : LATHE_CONNECTION;
    inflateEnd(&stream);
}

/* Feeds pieces of sizes that `seed` decides. Returns whether memory ran out. */
static bool feed(lathe_text packed, size_t ceiling, uint32_t seed, unsigned order)
{
    lathe_buf out;
    size_t before = alloc_blocks();
    fuzz_arm(order);
    lathe_gunzip *gunzip = lathe_gunzip_new();
    lathe_code code = gunzip ? LATHE_OK : LATHE_MEMORY;
    lathe_buf_init(&out, ceiling);
    for (size_t at = 0; at < packed.size && !code;) {
        seed = seed * 1103515245 + 12345;
        size_t step = 1 + (seed >> 16) % (1U << (seed >> 28));
        if (step > packed.size - at)
            step = packed.size - at;
        char *piece = fuzz_copy((lathe_text){packed.data + at, step});
        code = lathe_gunzip_feed(gunzip, piece, step, &out);
        free(piece);
        at += step;
    }
    bool failed = fuzz_disarm();
    got.code = code;
    got.complete = gunzip && lathe_gunzip_complete(gunzip);
    got.size = out.size;
    MUST(out.size <= ceiling && out.size <= ROOM);
    if (out.size)
        memcpy(got.data, out.data, out.size);
    lathe_gunzip_free(gunzip);
    lathe_buf_clear(&out);
    MUST(alloc_blocks() == before);
    return failed;
}

static void compare(size_t ceiling)
{
    if (expected.size > ceiling) {
        /* Of a body that is cut off, what could not be written any more may not be missed. */
        bool missed = !expected.complete && got.code == LATHE_OK && !got.complete;
        MUST((got.code == LATHE_TOO_LARGE || missed) && got.size == ceiling);
        return;
    }
    /* At the very ceiling damage may show as want of room, or as a body that is not complete. */
    bool unfinished = got.code == LATHE_OK && !got.complete;
    bool edge =
        expected.code && expected.size == ceiling && (got.code == LATHE_TOO_LARGE || unfinished);
    MUST(got.code == expected.code || edge);
    MUST(got.size <= expected.size && !memcmp(got.data, expected.data, got.size));
    MUST(expected.code || (got.size == expected.size && got.complete == expected.complete));
}

/* Packs the bytes, and damages one when `damage` says so. */
static lathe_text pack(lathe_text text, unsigned level, unsigned damage)
{
    z_stream stream = {0};
    size_t room = text.size + text.size / 8 + 128;
    unsigned char *packed = malloc(room);
    MUST(packed &&
         deflateInit2(&stream, (int)(level % 10), Z_DEFLATED, 31, 8, (int)(level % 5)) == Z_OK);
    stream.next_in = (unsigned char *)(uintptr_t)text.data;
    stream.avail_in = (unsigned)text.size;
    stream.next_out = packed;
    stream.avail_out = (unsigned)room;
    MUST(deflate(&stream, Z_FINISH) == Z_STREAM_END);
    size_t size = (size_t)stream.total_out;
    deflateEnd(&stream);
    if (damage)
        packed[damage * 31 % size] ^= (unsigned char)damage;
    return (lathe_text){(char *)packed, size};
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input input = {data, size};
    unsigned order = fuzz_byte(&input), seed = fuzz_byte(&input), limit = fuzz_byte(&input);
    unsigned level = fuzz_byte(&input), damage = fuzz_byte(&input);
    lathe_text text = fuzz_rest(&input);
    char *owned = NULL;
    size_t ceiling = limit ? (size_t)limit * 7 : ROOM;
    if (level & 128) {
        text = pack(text, level & 127, damage);
        owned = (char *)(uintptr_t)text.data;
    }
    inflate_whole(text);
    if (expected.size < ROOM) { /* else the judge had no room */
        if (feed(text, ceiling, seed, order))
            MUST(got.code == LATHE_MEMORY);
        else
            compare(ceiling);
    }
    free(owned);
    return 0;
}
