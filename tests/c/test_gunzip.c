#include "gunzip.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "support_alloc.h"
#include "test.h"

/* gzips into `out`; returns the size. */
static size_t gzip(const void *data, size_t size, unsigned char *out, size_t room)
{
    z_stream stream = {0};
    CHECK_INT(deflateInit2(&stream, 9, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY), Z_OK);
    stream.next_in = (unsigned char *)(uintptr_t)data;
    stream.avail_in = (unsigned)size;
    stream.next_out = out;
    stream.avail_out = (unsigned)room;
    CHECK_INT(deflate(&stream, Z_FINISH), Z_STREAM_END);
    deflateEnd(&stream);
    return (size_t)stream.total_out;
}

/* Feeds `size` bytes in steps; the code of the first that fails. */
static lathe_code feed(const unsigned char *data, size_t size, size_t step, size_t ceiling,
                       lathe_buf *out, bool *complete)
{
    lathe_gunzip *gunzip = lathe_gunzip_new();
    lathe_code code = gunzip ? LATHE_OK : LATHE_MEMORY;
    lathe_buf_init(out, ceiling);
    for (size_t at = 0; at < size && !code; at += step)
        code = lathe_gunzip_feed(gunzip, data + at, size - at < step ? size - at : step, out);
    *complete = gunzip && lathe_gunzip_complete(gunzip);
    lathe_gunzip_free(gunzip);
    return code;
}

TEST(whole_in_any_steps)
{
    unsigned char packed[4096];
    char text[20000];
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (char)('a' + i * i % 23);
    size_t size = gzip(text, sizeof text, packed, sizeof packed);
    for (size_t step = 1; step <= size; step += step < 40 ? 1 : 97) {
        lathe_buf out;
        bool complete;
        test_context("steps of %zu", step);
        CHECK_CODE(feed(packed, size, step, 1 << 20, &out, &complete), LATHE_OK);
        CHECK(complete);
        CHECK_BYTES(out.data, out.size, text, sizeof text);
        lathe_buf_clear(&out);
    }
}

TEST(cut_off_anywhere_is_incomplete)
{
    unsigned char packed[256];
    size_t size = gzip("hello hello hello", 17, packed, sizeof packed);
    for (size_t cut = 0; cut < size; cut++) {
        lathe_buf out;
        bool complete;
        test_context("cut at %zu of %zu", cut, size);
        CHECK_CODE(feed(packed, cut, 7, 1 << 20, &out, &complete), LATHE_OK);
        CHECK(!complete);
        lathe_buf_clear(&out);
    }
}

TEST(damage_is_found)
{
    unsigned char packed[256];
    size_t size = gzip("hello hello hello", 17, packed, sizeof packed);
    for (size_t i = 0; i < size; i++) {
        if (i >= 3 && i < 10)
            continue; /* flags that gzip lets be, time, system */
        unsigned char damaged[256];
        lathe_buf out;
        bool complete;
        memcpy(damaged, packed, size);
        damaged[i] ^= 0x55;
        test_context("byte %zu", i);
        lathe_code code = feed(damaged, size, size, 1 << 20, &out, &complete);
        CHECK(code == LATHE_CONNECTION || !complete);
        lathe_buf_clear(&out);
    }
}

TEST(several_members)
{
    unsigned char packed[256];
    size_t size = gzip("one ", 4, packed, 128);
    size += gzip("two", 3, packed + size, 128);
    for (size_t step = 1; step <= size; step++) {
        lathe_buf out;
        bool complete;
        test_context("steps of %zu", step);
        CHECK_CODE(feed(packed, size, step, 1 << 20, &out, &complete), LATHE_OK);
        CHECK(complete);
        CHECK_BYTES(out.data, out.size, "one two", 7);
        lathe_buf_clear(&out);
    }
}

TEST(ceiling_is_exact)
{
    enum { SIZE = 1 << 20 };
    unsigned char *packed = malloc(SIZE);
    char *zeros = calloc(1, SIZE);
    REQUIRE(packed && zeros);
    size_t size = gzip(zeros, SIZE, packed, SIZE);
    lathe_buf out;
    bool complete;
    CHECK_CODE(feed(packed, size, size, SIZE, &out, &complete), LATHE_OK);
    CHECK(complete);
    CHECK_INT(out.size, SIZE);
    lathe_buf_clear(&out);
    CHECK_CODE(feed(packed, size, size, SIZE - 1, &out, &complete), LATHE_TOO_LARGE);
    CHECK_INT(out.size, SIZE - 1);
    lathe_buf_clear(&out);
    CHECK_CODE(feed(packed, size, 64, 1000, &out, &complete), LATHE_TOO_LARGE);
    lathe_buf_clear(&out);
    free(packed);
    free(zeros);
}

/* A piece may end just where the last byte of the text is known and the ceiling is reached. */
TEST(ceiling_is_exact_in_any_steps)
{
    unsigned char packed[256];
    size_t size = gzip("hello hello hello", 17, packed, sizeof packed);
    for (size_t step = 1; step <= size; step++) {
        lathe_buf out;
        bool complete;
        test_context("steps of %zu", step);
        CHECK_CODE(feed(packed, size, step, 17, &out, &complete), LATHE_OK);
        CHECK(complete);
        lathe_buf_clear(&out);
        CHECK_CODE(feed(packed, size, step, 16, &out, &complete), LATHE_TOO_LARGE);
        lathe_buf_clear(&out);
    }
}

static lathe_code unpack(void *self)
{
    unsigned char packed[4096];
    char text[5000];
    lathe_buf out;
    bool complete;
    (void)self;
    memset(text, 'x', sizeof text);
    size_t size = gzip(text, sizeof text, packed, sizeof packed);
    lathe_code code = feed(packed, size, 10, 1 << 20, &out, &complete);
    lathe_buf_clear(&out);
    return code;
}

TEST(memory)
{
    alloc_try_each(unpack, NULL, LATHE_OK);
}

TESTS(ENTRY(whole_in_any_steps), ENTRY(cut_off_anywhere_is_incomplete), ENTRY(damage_is_found),
      ENTRY(several_members), ENTRY(ceiling_is_exact), ENTRY(ceiling_is_exact_in_any_steps),
      ENTRY(memory))
