/* UTF-8, and the small helpers over sinks. */
#include "value.h"

#include <stdint.h>
#include <string.h>

#include "support_cases.h"
#include "support_host.h"
#include "test.h"

static size_t encode(uint32_t point, char *bytes)
{
    if (point < 0x80) {
        bytes[0] = (char)point;
        return 1;
    }
    size_t size = point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
    for (size_t i = size; i-- > 1; point >>= 6)
        bytes[i] = (char)(0x80 | (point & 0x3F));
    bytes[0] = (char)((size == 2 ? 0xC0 : size == 3 ? 0xE0 : 0xF0) | point);
    return size;
}

TEST(every_code_point)
{
    for (uint32_t point = 0; point < 0x120000; point++) {
        char bytes[4];
        size_t size = encode(point, bytes);
        bool valid = point < 0x110000 && (point < 0xD800 || point > 0xDFFF);
        if (!CHECK(lathe_utf8_valid(bytes, size) == valid))
            return;
        if (valid)
            CHECK_INT(lathe_utf8_length(bytes, size), 1);
        for (size_t part = 1; part < size; part++)
            if (!CHECK(!lathe_utf8_valid(bytes, part)))
                return;
    }
}

/* Exactly one code point has each valid sequence of two or three bytes, so counting them is a check
 * against overlong forms. */
TEST(no_other_sequence_is_valid)
{
    size_t valid = 0;
    for (unsigned i = 0; i < 1U << 24; i++) {
        char bytes[3] = {(char)(i >> 16), (char)(i >> 8), (char)i};
        if ((unsigned char)bytes[0] >= 0xE0)
            valid += lathe_utf8_valid(bytes, 3);
    }
    CHECK_INT(valid, 0x10000 - 0x800 - 0x800);
    valid = 0;
    for (unsigned i = 0; i < 1U << 16; i++) {
        char bytes[2] = {(char)(i >> 8), (char)i};
        if ((unsigned char)bytes[0] >= 0x80)
            valid += lathe_utf8_valid(bytes, 2);
    }
    CHECK_INT(valid, 0x800 - 0x80);
    CHECK(!lathe_utf8_valid("\xF0\x8F\xBF\xBF", 4));
    CHECK(!lathe_utf8_valid("\xF4\x90\x80\x80", 4));
    CHECK(!lathe_utf8_valid("\xF8\x88\x80\x80\x80", 5));
}

TEST(the_prefix_ends_where_the_fault_begins)
{
    char text[64];
    for (size_t size = 0; size < sizeof text; size++)
        for (size_t at = 0; at < size; at++) {
            memset(text, 'a', sizeof text);
            text[at] = (char)0xC3;
            if (!CHECK_INT(lathe_utf8_prefix(text, size), at))
                return;
        }
    memset(text, 'a', sizeof text);
    memcpy(text + 6, "\xC3\xA9", 2);
    memcpy(text + 20, "\xF0\x9F\x91\x8B", 4);
    CHECK_INT(lathe_utf8_prefix(text, sizeof text), sizeof text);
    CHECK_INT(lathe_utf8_length(text, sizeof text), sizeof text - 4);
    CHECK_INT(lathe_utf8_prefix(text, 22), 20);
    CHECK(lathe_utf8_valid(NULL, 0));
}

TEST(the_length_counts_each_byte_that_begins_a_character)
{
    char text[300];
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (char)(unsigned char)(i * 37); /* every byte, in no order */
    for (size_t start = 0; start < 16; start++)
        for (size_t size = 0; size < sizeof text - start; size++) {
            size_t length = 0;
            for (size_t i = start; i < start + size; i++)
                length += ((unsigned char)text[i] & 0xC0) != 0x80;
            if (!CHECK_INT(lathe_utf8_length(text + start, size), (long long)length))
                return;
        }
}

TEST(sink_helpers)
{
    host_builder builder;
    host_builder_init(&builder, false);
    const lathe_sink *sink = &builder.sink;
    CHECK_CODE(sink->table->begin_object(sink->self), LATHE_OK);
    CHECK_CODE(lathe_sink_member(sink, "a", "b\0c", 3), LATHE_OK);
    CHECK_CODE(lathe_sink_key(sink, "d"), LATHE_OK);
    CHECK_CODE(lathe_sink_text_block(sink, (lathe_text){"e", 1}, NULL), LATHE_OK);
    CHECK_CODE(sink->table->end(sink->self), LATHE_OK);
    json_t *expected = host_value("{\"a\":\"b\\u0000c\",\"d\":{\"type\":\"text\",\"text\":\"e\"}}");
    cases_check_built(&builder.inner, expected);
    json_decref(expected);
    host_builder_clear(&builder);
}

TESTS(ENTRY(every_code_point), ENTRY(no_other_sequence_is_valid),
      ENTRY(the_prefix_ends_where_the_fault_begins),
      ENTRY(the_length_counts_each_byte_that_begins_a_character), ENTRY(sink_helpers))
