/* Writing JSON. */
#include "json.h"

#include <jansson.h>
#include <math.h>
#include <stdint.h>
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

static lathe_code write_once(void *self)
{
    (void)self;
    lathe_buf buf;
    lathe_json_writer writer;
    lathe_buf_init(&buf, SIZE_MAX / 2);
    lathe_json_writer_init(&writer, &buf);
    lathe_sink sink = lathe_json_sink(&writer);
    lathe_code code = write_all(&sink);
    if (!code)
        CHECK_STRING(buf.data,
                     "{\"a\":[null,true,-9223372036854775808,{}],\"b\\\"\":\"x\",\"c\":false}");
    lathe_buf_clear(&buf);
    return code;
}

TEST(commas_and_colons)
{
    CHECK_CODE(write_once(NULL), LATHE_OK);
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
}

TESTS(ENTRY(strings_are_escaped_no_more_than_needed), ENTRY(jansson_reads_back_every_byte),
      ENTRY(commas_and_colons), ENTRY(reals_stay_reals), ENTRY(depth_has_a_limit),
      ENTRY(the_buffers_ceiling_is_the_sinks), ENTRY(every_allocation_fails_once))
