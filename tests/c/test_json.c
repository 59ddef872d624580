/* Writing JSON. */
#include "json.h"

#include <jansson.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "support_alloc.h"
#include "test.h"

static void expect_string(const char *data, size_t size, const char *written)
{
    lathe_buf buf;
    lathe_buf_init(&buf, SIZE_MAX / 2);
    CHECK_CODE(lathe_json_string(&buf, data, size), LATHE_OK);
    CHECK_STRING(buf.data, written);
    lathe_buf_clear(&buf);
}

TEST(strings_are_escaped_no_more_than_needed)
{
    expect_string("", 0, "\"\"");
    expect_string("a\"b\\c/", 6, "\"a\\\"b\\\\c/\"");
    expect_string("\n\r\t", 3, "\"\\n\\r\\t\"");
    expect_string("\0\x01\x1f\x7f", 4, "\"\\u0000\\u0001\\u001f\x7f\"");
    expect_string("caf\xC3\xA9 \xF0\x9F\x91\x8B", 10, "\"caf\xC3\xA9 \xF0\x9F\x91\x8B\"");
}

TEST(jansson_reads_back_every_byte)
{
    char text[128];
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (char)i;
    lathe_buf buf;
    lathe_buf_init(&buf, SIZE_MAX / 2);
    CHECK_CODE(lathe_json_string(&buf, text, sizeof text), LATHE_OK);
    json_t *read = json_loadb(buf.data, buf.size, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    CHECK_BYTES(json_string_value(read), json_string_length(read), text, sizeof text);
    json_decref(read);
    lathe_buf_clear(&buf);
}

/* The same, byte by byte. */
static void write_slowly(lathe_buf *out, const char *data, size_t size)
{
    lathe_buf_string(out, "\"");
    for (const char *at = data; at < data + size; at++) {
        const char *name =
            *at && strchr("\"\\\n\r\t", *at) ? strchr("\"\"\\\\\nn\rr\tt", *at) : NULL;
        if (name)
            lathe_buf_printf(out, "\\%c", name[1]);
        else if ((unsigned char)*at < 0x20)
            lathe_buf_printf(out, "\\u%04x", *at);
        else
            lathe_buf_append(out, at, 1);
    }
    lathe_buf_string(out, "\"");
}

/* With no byte to spare in the buffer, and with one too few. */
static void expect_ceiling(const char *data, size_t size, const lathe_buf *written)
{
    lathe_buf exact, tight;
    lathe_buf_init(&exact, written->size);
    lathe_buf_init(&tight, written->size - 1);
    CHECK_CODE(lathe_json_string(&exact, data, size), LATHE_OK);
    CHECK_BYTES(exact.data, exact.size, written->data, written->size);
    CHECK_CODE(lathe_json_string(&tight, data, size), LATHE_TOO_LARGE);
    lathe_buf_clear(&exact);
    lathe_buf_clear(&tight);
}

/* The string stands in memory of just its size, so that a sanitizer sees what is read beyond. */
static void expect_same(const char *text, size_t size)
{
    char *data = malloc(size + !size);
    lathe_buf slow, fast;
    lathe_buf_init(&slow, SIZE_MAX / 2);
    lathe_buf_init(&fast, SIZE_MAX / 2);
    memcpy(data, text, size);
    write_slowly(&slow, data, size);
    CHECK_CODE(lathe_json_string(&fast, data, size), LATHE_OK);
    CHECK_BYTES(fast.data, fast.size, slow.data, slow.size);
    CHECK_INT(fast.data[fast.size], 0);
    expect_ceiling(data, size, &slow);
    lathe_buf_clear(&slow);
    lathe_buf_clear(&fast);
    free(data);
}

TEST(a_byte_to_escape_may_stand_anywhere)
{
    static const char specials[] = "\"\\\n\r\t\x00\x01\x1f\x20\x7f\x80\xff";
    char text[300];
    for (size_t size = 1; size <= sizeof text; size += size < 140 ? 1 : 37)
        for (size_t at = 0; at < size; at++) {
            memset(text, '/', size);
            text[at] = specials[(size + at) % (sizeof specials - 1)];
            text[size - 1 - at / 2] = specials[at % (sizeof specials - 1)];
            expect_same(text, size);
        }
}

TEST(any_share_of_a_string_may_be_escaped)
{
    char text[1500];
    uint32_t random = 1;
    for (unsigned share = 0; share <= 256; share += 8) {
        for (size_t i = 0; i < sizeof text; i++) {
            random = random * 1664525 + 1013904223;
            unsigned kind = random >> 24, byte = random >> 16 & 0xff;
            text[i] = (char)(kind < share ? byte % 0x23 : byte);
        }
        expect_same(text, sizeof text - share);
    }
}

static lathe_code write_long(void *self)
{
    lathe_buf buf;
    char text[2000];
    (void)self;
    memset(text, '\n', sizeof text);
    lathe_buf_init(&buf, SIZE_MAX / 2);
    lathe_code code = lathe_json_string(&buf, text, sizeof text);
    lathe_buf_clear(&buf);
    return code;
}

static lathe_code write_all(const lathe_sink *sink)
{
    const lathe_sink_table *to = sink->table;
    lathe_code code = to->begin_object(sink->self);
    if (!code)
        code = to->key(sink->self, "a", 1);
    if (!code)
        code = to->begin_list(sink->self);
    if (!code)
        code = to->null(sink->self);
    if (!code)
        code = to->boolean(sink->self, true);
    if (!code)
        code = to->integer(sink->self, INT64_MIN);
    if (!code)
        code = to->begin_object(sink->self);
    if (!code)
        code = to->end(sink->self);
    if (!code)
        code = to->end(sink->self);
    if (!code)
        code = to->key(sink->self, "b\"", 2);
    if (!code)
        code = to->string(sink->self, "x", 1);
    if (!code)
        code = to->key(sink->self, "c", 1);
    if (!code)
        code = to->boolean(sink->self, false);
    return code ? code : to->end(sink->self);
}

static lathe_code expect_json(lathe_code (*write)(const lathe_sink *sink), const char *expected)
{
    lathe_buf buf;
    lathe_json_writer writer;
    lathe_buf_init(&buf, SIZE_MAX / 2);
    lathe_json_writer_init(&writer, &buf);
    lathe_sink sink = lathe_json_sink(&writer);
    lathe_code code = write(&sink);
    if (!code)
        CHECK_STRING(buf.data, expected);
    lathe_buf_clear(&buf);
    return code;
}

static lathe_code write_once(void *unused)
{
    (void)unused;
    return expect_json(write_all,
                       "{\"a\":[null,true,-9223372036854775808,{}],\"b\\\"\":\"x\",\"c\":false}");
}

TEST(commas_and_colons)
{
    CHECK_CODE(write_once(NULL), LATHE_OK);
}

static lathe_code write_message(const lathe_sink *sink, bool assistant)
{
    lathe_code code = sink->table->begin_message(sink->self, assistant, NULL);
    for (int i = 0; i < 2 && !code; i++)
        code = sink->table->text_block(sink->self, "\"\xC3\xA4", 3, NULL);
    if (!code)
        code = sink->table->end(sink->self);
    return code ? code : sink->table->end(sink->self);
}

static lathe_code write_list(const lathe_sink *sink)
{
    lathe_code code = sink->table->begin_list(sink->self);
    for (int i = 0; i < 2 && !code; i++)
        code = write_message(sink, i);
    return code ? code : sink->table->end(sink->self);
}

static lathe_code write_messages(void *unused)
{
#define BLOCK "{\"type\":\"text\",\"text\":\"\\\"\xC3\xA4\"}"
    (void)unused;
    return expect_json(write_list, "[{\"role\":\"user\",\"content\":[" BLOCK "," BLOCK "]},"
                                   "{\"role\":\"assistant\",\"content\":[" BLOCK "," BLOCK "]}]");
}

TEST(messages_are_written_in_one_step_each)
{
    CHECK_CODE(write_messages(NULL), LATHE_OK);
}

TEST(a_message_needs_room_for_its_two_levels)
{
    lathe_buf buf;
    lathe_json_writer writer;
    lathe_buf_init(&buf, SIZE_MAX / 2);
    lathe_json_writer_init(&writer, &buf);
    lathe_sink sink = lathe_json_sink(&writer);
    writer.depth = sizeof writer.closers - 1;
    CHECK_CODE(sink.table->begin_message(sink.self, false, NULL), LATHE_TOO_LARGE);
    writer.depth--;
    CHECK_CODE(sink.table->begin_message(sink.self, false, NULL), LATHE_OK);
    CHECK_INT(writer.depth, sizeof writer.closers);
    lathe_buf_clear(&buf);
}

static void expect_real(double value, const char *written)
{
    lathe_buf buf;
    lathe_json_writer writer;
    lathe_buf_init(&buf, SIZE_MAX / 2);
    lathe_json_writer_init(&writer, &buf);
    lathe_sink sink = lathe_json_sink(&writer);
    CHECK_CODE(sink.table->real(sink.self, value), written ? LATHE_OK : LATHE_TOO_LARGE);
    CHECK_STRING(buf.data, written);
    lathe_buf_clear(&buf);
}

TEST(reals_stay_reals)
{
    expect_real(0.5, "0.5");
    expect_real(1, "1.0");
    expect_real(-3, "-3.0");
    expect_real(1e300, "1.0000000000000001e+300");
    expect_real(0.1, "0.10000000000000001");
    expect_real((double)NAN, NULL);
    expect_real((double)INFINITY, NULL);
    expect_real((double)-INFINITY, NULL);
}

TEST(depth_has_a_limit)
{
    lathe_buf buf;
    lathe_json_writer writer;
    lathe_buf_init(&buf, SIZE_MAX / 2);
    lathe_json_writer_init(&writer, &buf);
    lathe_sink sink = lathe_json_sink(&writer);
    unsigned depth = 0;
    while (!sink.table->begin_list(sink.self) && depth < 1000)
        depth++;
    CHECK_INT(depth, sizeof writer.closers);
    CHECK(depth >= LATHE_INPUT_DEPTH);
    CHECK_CODE(sink.table->begin_object(sink.self), LATHE_TOO_LARGE);
    while (depth--)
        CHECK_CODE(sink.table->end(sink.self), LATHE_OK);
    CHECK_INT(buf.size, 2 * sizeof writer.closers);
    lathe_buf_clear(&buf);
}

TEST(the_buffers_ceiling_is_the_sinks)
{
    lathe_buf buf;
    lathe_json_writer writer;
    lathe_buf_init(&buf, 8);
    lathe_json_writer_init(&writer, &buf);
    lathe_sink sink = lathe_json_sink(&writer);
    CHECK_CODE(sink.table->string(sink.self, "123456", 6), LATHE_OK);
    CHECK_CODE(sink.table->string(sink.self, "", 0), LATHE_TOO_LARGE);
    lathe_buf_clear(&buf);
}

TEST(every_allocation_fails_once)
{
    alloc_try_each(write_once, NULL, LATHE_OK);
    alloc_try_each(write_long, NULL, LATHE_OK);
    alloc_try_each(write_messages, NULL, LATHE_OK);
}

TESTS(ENTRY(strings_are_escaped_no_more_than_needed), ENTRY(jansson_reads_back_every_byte),
      ENTRY(a_byte_to_escape_may_stand_anywhere), ENTRY(any_share_of_a_string_may_be_escaped),
      ENTRY(commas_and_colons), ENTRY(messages_are_written_in_one_step_each),
      ENTRY(a_message_needs_room_for_its_two_levels), ENTRY(reals_stay_reals),
      ENTRY(depth_has_a_limit), ENTRY(the_buffers_ceiling_is_the_sinks),
      ENTRY(every_allocation_fails_once))
