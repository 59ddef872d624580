/* Reading JSON text. */
#include <jansson.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "reader.h"
#include "support_alloc.h"
#include "support_cases.h"
#include "support_host.h"
#include "test.h"

static lathe_code read(const char *text, size_t size, host_builder *builder, lathe_error *error)
{
    lathe_error_init(error);
    host_builder_init(builder, false);
    return lathe_json_read(text, size, &builder->sink, error);
}

static void expect_same(const char *text, size_t size)
{
    json_t *expected = json_loadb(text, size, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    host_builder builder;
    lathe_error error;
    test_context("%.*s", (int)(size < 60 ? size : 60), text);
    CHECK_CODE(read(text, size, &builder, &error), LATHE_OK);
    cases_check_built(&builder.inner, expected);
    host_builder_clear(&builder);
    lathe_error_clear(&error);
    json_decref(expected);
    test_context(NULL);
}

TEST(what_is_json_is_read)
{
    static const char *const texts[] = {
        "null",
        " \"a\" ",
        "0",
        "-0",
        "9223372036854775807",
        "-9223372036854775808",
        "1.5e300",
        "[[],{},[{}],\"\\u0000\",\"\\ud83d\\udc4b\",\"\xF0\x9F\x91\x8B\"]",
        "{\"b\":1,\"a\":[true,false,null,-1.25],\"\":{\"c\":\"\"}}",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        expect_same(texts[i], strlen(texts[i]));
}

/* `message` must be part of the error's, and nothing of the text. */
static void expect_refused(const char *text, size_t size, const char *message)
{
    host_builder builder;
    lathe_error error;
    test_context("%.*s", (int)(size < 60 ? size : 60), text);
    CHECK_CODE(read(text, size, &builder, &error), LATHE_RESPONSE_VALIDATION);
    if (!strstr(error.message, message))
        FAIL("\"%s\" does not say \"%s\"", error.message, message);
    CHECK(!strstr(error.message, "SECRET"));
    host_builder_clear(&builder);
    lathe_error_clear(&error);
    test_context(NULL);
}

TEST(what_is_no_json_is_refused)
{
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"", "empty (line 1, byte 0)"},
        {" ", "no valid JSON"},
        {"<html>SECRET</html>", "syntax error (line 1, byte 0)"},
        {"{\"a\":\n SECRET}", "syntax error (line 2, byte 7)"},
        {"{\"a\": \"SECRET", "ends too early"},
        {"[1, 2", "ends too early"},
        {"{} SECRET", "goes on after its end"},
        {"{}{}", "goes on after its end"},
        {"NaN", "syntax error"},
        {"[NaN]", "syntax error"},
        {"[Infinity]", "syntax error"},
        {"1e999", "out of range"},
        {"-1e999", "out of range"},
        {"9223372036854775808", "beyond 64 bits"},
        {"-9223372036854775809", "beyond 64 bits"},
        {"\"\\ud800\"", "lone surrogate (line 1, byte 1)"},
        {"\"\\udc00\\ud800\"", "lone surrogate"},
        {"\"\\ud800SECRET\"", "lone surrogate"},
        {"\"\xED\xA0\x80\"", "no UTF-8"},
        {"\"\xFF\"", "no UTF-8"},
        {"\"SECRET\xC3\"", "no UTF-8"},
        {"\xEF\xBB\xBF{}", "byte order mark"},
        {"{\"\\u0000\": 1}", "NUL character in a key"},
        {"{\"a\\u0000SECRET\": 1}", "NUL character in a key"},
        {"[01]", "no valid JSON"},
        {"[1.]", "no valid JSON"},
        {"[+1]", "no valid JSON"},
        {"[\"a\tb\"]", "no valid JSON"},
        {"['a']", "no valid JSON"},
        {"[1,]", "no valid JSON"},
        {"{\"a\":1,}", "no valid JSON"},
        {"{a:1}", "no valid JSON"},
        {"[1] // SECRET", "goes on after its end"},
        {"tru", "no valid JSON"},
        {"TRUE", "no valid JSON"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect_refused(cases[i].text, strlen(cases[i].text), cases[i].message);
    expect_refused("{}\0", 3, "no valid JSON");
    expect_refused("\0{}", 3, "no valid JSON");
    expect_refused("[\"a\0\"]", 6, "no valid JSON");
    expect_refused("{\0}", 3, "no valid JSON");
}

static char *nested(size_t depth)
{
    char *text = malloc(depth * 2);
    if (!text)
        abort();
    memset(text, '[', depth);
    memset(text + depth, ']', depth);
    return text;
}

TEST(depth_is_limited_to_2048)
{
    char *text = nested(2048);
    expect_same(text, 4096);
    text[2047] = '1'; /* a scalar is a level too */
    text[2048] = ' ';
    expect_same(text, 4096);
    free(text);
    text = nested(2049);
    text[2048] = '1';
    expect_refused(text, 4097, "2,048 levels");
    free(text);
    text = nested(2049);
    expect_refused(text, 4098, "2,048 levels");
    free(text);
    text = nested(1000000);
    expect_refused(text, 2000000, "2,048 levels");
    free(text);
}

TEST(nul_passes_in_strings)
{
    host_builder builder;
    lathe_error error;
    CHECK_CODE(read("\"a\\u0000b\"", 10, &builder, &error), LATHE_OK);
    json_t *built = lathe_jansson_builder_take(&builder.inner);
    CHECK_BYTES(json_string_value(built), json_string_length(built), "a\0b", 3);
    json_decref(built);
    host_builder_clear(&builder);
    lathe_error_clear(&error);
}

static lathe_code read_once(void *self)
{
    host_builder builder;
    lathe_error error;
    lathe_code code = read(self, strlen(self), &builder, &error);
    CHECK_CODE(error.code, code);
    host_builder_clear(&builder);
    lathe_error_clear(&error);
    return code;
}

TEST(every_allocation_and_every_callback_fails_once)
{
    static char good[] = "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\","
                         "\"text\":\"a long text \\u00e9 that jansson puts into a buffer\"}]}],"
                         "\"usage\":[1,2.5,null,true,{}],\"12345678901\":12345678901}";
    static char bad[] = "{\"messages\":[{\"role\":\"user\",\"content\":[}";
    alloc_try_each(read_once, good, LATHE_OK);
    host_try_each(read_once, good, LATHE_OK);
    alloc_try_each(read_once, bad, LATHE_RESPONSE_VALIDATION);
}

/* Texts that are JSON or nearly so: jansson, which reads the same language, is the judge. */
TEST(jansson_agrees_on_random_texts)
{
    static const char *const pieces[] = {
        "{",    "}",  "[",       "]",       ",",       ":",       "\"a\"",       "\"b\"",
        "\"",   "1",  "-0",      "0.5",     "1e3",     "-",       "true",        "null",
        "fals", " ",  "\n",      "\\u00e9", "\\",      "\\ud83d", "\\udc4b",     "\xC3\xA9",
        "\xC3", "e",  ".",       "0",       "{\"a\":", "\"\\n\"", "\"\\u0000\"", "99999999999",
        "[[",   "]]", ",\"c\":", "\x01"};
    unsigned state = 3;
    size_t accepted = 0;
    for (int round = 0; round < 200000; round++) {
        char text[200];
        size_t size = 0, count = 1 + (state >> 16) % 9;
        for (size_t i = 0; i < count; i++) {
            state = state * 1103515245 + 12345;
            const char *piece = pieces[(state >> 16) % (sizeof pieces / sizeof *pieces)];
            memcpy(text + size, piece, strlen(piece));
            size += strlen(piece);
        }
        json_t *expected = json_loadb(text, size, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
        host_builder builder;
        lathe_error error;
        lathe_code code = read(text, size, &builder, &error);
        json_t *built = code ? NULL : lathe_jansson_builder_take(&builder.inner);
        bool same = expected ? json_equal(built, expected) : code == LATHE_RESPONSE_VALIDATION;
        accepted += expected != NULL;
        json_decref(built);
        json_decref(expected);
        host_builder_clear(&builder);
        lathe_error_clear(&error);
        if (!same) {
            FAIL("%.*s", (int)size, text);
            return;
        }
    }
    CHECK(accepted > 1000);
}

/* What reading has given is what jansson gives; then it is cleared. */
static void check_against_jansson(const char *text, size_t size, lathe_code code,
                                  host_builder *builder, lathe_error *error)
{
    json_t *expected = json_loadb(text, size, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    json_t *built = code ? NULL : lathe_jansson_builder_take(&builder->inner);
    CHECK(expected ? json_equal(built, expected) : code == LATHE_RESPONSE_VALIDATION);
    json_decref(built);
    json_decref(expected);
    host_builder_clear(builder);
    lathe_error_clear(error);
}

/* Every place where a text can end too early, and every byte that can be wrong. */
TEST(jansson_agrees_on_damaged_texts)
{
    static const char text[] = "{\"a\":[1,-2.5e+3,\"\\u00e9\\ud83d\\udc4b\xC3\xA9\",true,null,{}],"
                               "\"b\":{\"c\":false}}";
    static const char bytes[] = "\"\\{}[],:0-9.eEu \n\x01\xC3\xA9\xED\xFF";
    enum { SIZE = sizeof text - 1 };
    for (size_t at = 0; at < SIZE; at++)
        for (size_t i = 0; i <= sizeof bytes; i++) {
            char damaged[SIZE];
            memcpy(damaged, text, SIZE);
            size_t size = i < sizeof bytes ? SIZE : at;
            if (i < sizeof bytes)
                damaged[at] = bytes[i];
            host_builder builder;
            lathe_error error;
            lathe_code code = read(damaged, size, &builder, &error);
            check_against_jansson(damaged, size, code, &builder, &error);
        }
}

static void expect_agreement(const char *text, size_t size)
{
    host_builder builder;
    lathe_error error;
    size_t room = size % 3 * size / 2; /* none, too little or enough */
    char *space = malloc(room ? room : 1);
    test_context("%.*s", (int)size, text);
    lathe_error_init(&error);
    host_builder_init(&builder, false);
    lathe_code code = lathe_json_read_in(text, size, space, room, &builder.sink, &error);
    check_against_jansson(text, size, code, &builder, &error);
    free(space);
    test_context(NULL);
}

/* Strings are read by blocks: each thing that ends a run, at each place of one, alone and after an
 * escape, with the end of the text near and far. */
TEST(jansson_agrees_wherever_a_block_ends)
{
    static const char *const pieces[] = {"",
                                         "\\n",
                                         "\\\"",
                                         "\\u00e9",
                                         "\\ud83d\\udc4b",
                                         "\\ud83d",
                                         "\\u12",
                                         "\\x",
                                         "\xC3\xA9",
                                         "\xC3",
                                         "\xE2\x82\xAC",
                                         "\xE2\x82",
                                         "\xF0\x9F\x91\x8B",
                                         "\xF0\x9F\x91",
                                         "\xED\xA0\x80",
                                         "\x80",
                                         "\xFF",
                                         "\n",
                                         "\x1F",
                                         "\x7F",
                                         "\"",
                                         "\\"};
    static const char *const begins[] = {"\"", "\"\\t", "\"\xD0\x96"};
    for (size_t begin = 0; begin < sizeof begins / sizeof *begins; begin++)
        for (size_t piece = 0; piece < sizeof pieces / sizeof *pieces; piece++)
            for (int before = 0; before < 40; before++)
                for (int after = 0; after < 40; after += after < 20 ? 1 : 19) {
                    char text[120];
                    int size = snprintf(text, sizeof text, "%s%.*s%s%.*s\"", begins[begin], before,
                                        "0123456789012345678901234567890123456789", pieces[piece],
                                        after, "abcdefghijabcdefghijabcdefghijabcdefghij");
                    expect_agreement(text, (size_t)size);
                }
}

TEST(a_locale_with_a_comma_changes_nothing)
{
    static const char *const names[] = {"de_DE.UTF-8", "fr_FR.UTF-8", "de_DE", "ru_RU.UTF-8"};
    const char *found = NULL;
    for (size_t i = 0; i < sizeof names / sizeof *names && !found; i++)
        found = setlocale(LC_NUMERIC, names[i]);
    if (!found)
        printf("  no locale with a decimal comma is installed: read in the one in force\n");
    host_builder builder;
    lathe_error error;
    CHECK_CODE(read("[1.5,-2.25e2]", 13, &builder, &error), LATHE_OK);
    setlocale(LC_NUMERIC, "C");
    json_t *built = lathe_jansson_builder_take(&builder.inner);
    CHECK(json_real_value(json_array_get(built, 0)) == 1.5);
    CHECK(json_real_value(json_array_get(built, 1)) == -225);
    json_decref(built);
    host_builder_clear(&builder);
    lathe_error_clear(&error);
}

TESTS(ENTRY(what_is_json_is_read), ENTRY(what_is_no_json_is_refused),
      ENTRY(depth_is_limited_to_2048), ENTRY(nul_passes_in_strings),
      ENTRY(every_allocation_and_every_callback_fails_once), ENTRY(jansson_agrees_on_random_texts),
      ENTRY(jansson_agrees_on_damaged_texts), ENTRY(jansson_agrees_wherever_a_block_ends),
      ENTRY(a_locale_with_a_comma_changes_nothing))
