/* The reader of JSON against jansson's: both take a text or both refuse it, and yield the same
 * tree, to the bit. One difference is meant: JSON has no NUL, and jansson overlooks one right
 * behind a number or a word. */
#include <stdlib.h>
#include <string.h>

#include "reader.h"
#include "support.h"
#include "support_alloc.h"

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t most);

/* ---- The same tree --------------------------------------------------------------------------- */

static void must_be_same(json_t *built, json_t *expected);

static void must_be_same_lists(const json_t *built, const json_t *expected)
{
    MUST(json_array_size(built) == json_array_size(expected));
    for (size_t i = 0; i < json_array_size(expected); i++)
        must_be_same(json_array_get(built, i), json_array_get(expected, i));
}

/* Member by member: also their order, and which of two of a name is there. */
static void must_be_same_objects(json_t *built, json_t *expected)
{
    void *a = json_object_iter(built), *b = json_object_iter(expected);
    for (; a && b; a = json_object_iter_next(built, a), b = json_object_iter_next(expected, b)) {
        lathe_text ours = {json_object_iter_key(a), json_object_iter_key_len(a)};
        lathe_text theirs = {json_object_iter_key(b), json_object_iter_key_len(b)};
        MUST(fuzz_same(ours, theirs));
        must_be_same(json_object_iter_value(a), json_object_iter_value(b));
    }
    MUST(!a && !b);
}

static void must_be_same(json_t *built, json_t *expected)
{
    MUST(built && json_typeof(built) == json_typeof(expected));
    double a = json_real_value(built), b = json_real_value(expected);
    lathe_text ours = {json_string_value(built), json_string_length(built)};
    lathe_text theirs = {json_string_value(expected), json_string_length(expected)};
    MUST(json_integer_value(built) == json_integer_value(expected));
    MUST(memcmp(&a, &b, sizeof a) == 0);
    MUST(fuzz_same(ours, theirs));
    must_be_same_lists(built, expected);
    must_be_same_objects(built, expected);
}

static json_t *expected_of(const char *text, size_t size)
{
    if (size && memchr(text, '\0', size))
        return NULL;
    return json_loadb(text, size, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t before = alloc_blocks();
    char *text = fuzz_copy((lathe_text){(const char *)data, size});
    json_t *expected = expected_of(text, size);
    lathe_jansson_builder builder;
    lathe_error error;
    lathe_error_init(&error);
    lathe_jansson_builder_init(&builder);
    lathe_sink sink = lathe_jansson_sink(&builder);
    /* Escapes are undone in space that the caller has, when it is enough. */
    size_t room = size % 3 * size / 2;
    char *space = malloc(room ? room : 1);
    lathe_code code = lathe_json_read_in(text, size, space, room, &sink, &error);
    json_t *built = code ? NULL : lathe_jansson_builder_take(&builder);
    MUST(code == (expected ? LATHE_OK : LATHE_RESPONSE_VALIDATION));
    fuzz_check_error(&error, code);
    if (expected)
        must_be_same(built, expected);
    json_decref(built);
    json_decref(expected);
    lathe_jansson_builder_clear(&builder);
    lathe_error_clear(&error);
    free(space);
    free(text);
    MUST(alloc_blocks() == before);
    return 0;
}

/* ---- Texts to try ---------------------------------------------------------------------------- */

enum { DEEPEST = 4 };

typedef struct maker {
    char *data;
    size_t size, most;
    uint64_t state;
} maker;

/* A number below `count`, by xorshift. */
static unsigned below(maker *m, unsigned count)
{
    m->state ^= m->state << 13;
    m->state ^= m->state >> 7;
    m->state ^= m->state << 17;
    return (unsigned)((m->state >> 16) % count);
}

/* What does not fit is left out. */
static void put(maker *m, const char *text, size_t size)
{
    if (size > m->most - m->size)
        return;
    memcpy(m->data + m->size, text, size);
    m->size += size;
}

static void put_byte(maker *m, unsigned byte)
{
    put(m, &(char){(char)byte}, 1);
}

#define PICK(m, list) (list)[below((m), sizeof(list) / sizeof *(list))]

static void put_word(maker *m, const char *word)
{
    put(m, word, strlen(word));
}

static void put_space(maker *m)
{
    static const char *const spaces[] = {"", "", "", "", " ", "\n", "\t", "\r\n  "};
    put_word(m, PICK(m, spaces));
}

static void put_digits(maker *m, unsigned most)
{
    for (unsigned count = 1 + below(m, most); count; count--)
        put_byte(m, '0' + below(m, 10));
}

static void put_number(maker *m)
{
    static const char *const known[] = {
        "0",        "9223372036854775807", "9223372036854775808",
        "1e308",    "1.7976931348623157",  "2.2250738585072011e-308",
        "4.9e-324", "922337203685477580"};
    put_word(m, below(m, 3) ? "" : "-");
    if (below(m, 3))
        put_word(m, PICK(m, known));
    if (below(m, 2)) {
        put_byte(m, '1' + below(m, 9));
        put_digits(m, below(m, 4) ? 3 : 24);
    }
    if (below(m, 3) == 0) {
        put_byte(m, '.');
        put_digits(m, below(m, 4) ? 3 : 24);
    }
    if (below(m, 3) == 0) {
        static const char *const exponents[] = {"e", "E", "e+", "E-", "e-"};
        put_word(m, PICK(m, exponents));
        put_digits(m, 3);
    }
}

static void put_hex(maker *m, unsigned unit)
{
    const char *digits = below(m, 2) ? "0123456789abcdef" : "0123456789ABCDEF";
    put_word(m, "\\u");
    for (int shift = 12; shift >= 0; shift -= 4)
        put_byte(m, (unsigned char)digits[unit >> shift & 15]);
}

/* Any code point, some of them surrogates; the ends of UTF-8's lengths more often. */
static unsigned any_point(maker *m)
{
    static const unsigned ends[] = {0x7F,   0x80,   0x7FF,   0x800,    0xD7FF,
                                    0xE000, 0xFFFF, 0x10000, 0x10FFFF, 0xD800};
    static const unsigned ranges[] = {0x80, 0x800, 0x10000, 0x110000};
    return below(m, 4) ? below(m, PICK(m, ranges)) : PICK(m, ends);
}

static void put_raw(maker *m, unsigned point)
{
    if (point < 0x80) {
        put_byte(m, point < 0x20 || point == '"' || point == '\\' ? ' ' : point);
        return;
    }
    unsigned tails = point < 0x800 ? 1 : point < 0x10000 ? 2 : 3;
    put_byte(m, (0xF00U >> tails & 0xFF) | point >> 6 * tails);
    while (tails--)
        put_byte(m, 0x80 | (point >> 6 * tails & 0x3F));
}

static void put_escaped(maker *m, unsigned point)
{
    if (point >= 0x10000) {
        put_hex(m, 0xD800 + ((point - 0x10000) >> 10));
        point = 0xDC00 + (point & 0x3FF);
    }
    put_hex(m, point);
}

static void put_string(maker *m)
{
    static const char *const escapes[] = {"\\n", "\\\"", "\\\\", "\\/", "\\b", "\\f", "\\r", "\\t"};
    put_byte(m, '"');
    for (unsigned count = below(m, 6); count; count--) {
        unsigned way = below(m, 4), same = 1 + below(m, below(m, 4) ? 3 : 40);
        while (same--)
            if (way == 0)
                put_byte(m, 'a' + below(m, 26));
            else if (way == 1)
                put_word(m, PICK(m, escapes));
            else if (way == 2)
                put_raw(m, any_point(m));
            else
                put_escaped(m, any_point(m));
    }
    put_byte(m, '"');
}

static void put_value(maker *m, unsigned depth);

static void put_items(maker *m, unsigned depth, bool object)
{
    static const char *const names[] = {"\"a\"", "\"\\u0061\"", "\"b\"", "\"\"", "\"a\\u0000\""};
    unsigned count = below(m, 4);
    put_space(m);
    for (unsigned i = 0; i < count; i++) {
        put_word(m, i ? "," : "");
        put_space(m);
        if (object && below(m, 3))
            put_word(m, PICK(m, names));
        else if (object)
            put_string(m);
        put_space(m);
        put_word(m, object ? ":" : "");
        put_value(m, depth + 1);
    }
}

static void put_value(maker *m, unsigned depth)
{
    static const char *const words[] = {"true", "false", "null"};
    unsigned kind = below(m, depth < DEEPEST ? 8 : 5);
    put_space(m);
    if (kind < 2)
        put_string(m);
    else if (kind < 4)
        put_number(m);
    else if (kind < 5)
        put_word(m, PICK(m, words));
    else {
        put_byte(m, kind == 5 ? '[' : '{');
        put_items(m, depth, kind != 5);
        put_byte(m, kind == 5 ? ']' : '}');
    }
    put_space(m);
}

/* Levels around all there is: about as many as are allowed, or a few. */
static void put_levels(maker *m, const char *text, size_t size)
{
    unsigned count = below(m, 16) ? below(m, 8) : 2040 + below(m, 12);
    bool object = below(m, 2);
    for (unsigned i = 0; i < count; i++)
        put_word(m, object ? "{\"\":" : "[");
    put(m, text, size);
    for (unsigned i = 0; i < count; i++)
        put_byte(m, object ? '}' : ']');
}

/* What is put in the place of a part of the text. */
static void put_piece(maker *m, const char *text, size_t size)
{
    unsigned way = below(m, 7);
    size_t from = size ? below(m, (unsigned)size) : 0;
    if (way == 0)
        put(m, text + from, below(m, (unsigned)(size - from) + 1));
    else if (way == 1)
        put_number(m);
    else if (way == 2)
        put_string(m);
    else if (way == 3)
        put_raw(m, any_point(m));
    else if (way == 4)
        put_escaped(m, any_point(m));
    else if (way == 5)
        put_byte(m, below(m, 256));
    else
        put_value(m, DEEPEST - 1);
}

static void put_changed(maker *m, const char *text, size_t size)
{
    size_t at = below(m, (unsigned)size + 1), left = size - at;
    size_t gone = below(m, 2) ? 0 : below(m, (unsigned)(left < 12 ? left : 12) + 1);
    put(m, text, at);
    put_piece(m, text, size);
    put(m, text + at + gone, left - gone);
}

/* libFuzzer's own changes, what they seldom hit upon, and texts made anew. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed)
{
    maker m = {.most = most, .state = seed * UINT64_C(0x9E3779B97F4A7C15) + 1};
    unsigned way = below(&m, 8);
    if (way < 3)
        return LLVMFuzzerMutate(data, size, most);
    m.data = malloc(most ? most : 1);
    MUST(m.data != NULL);
    if (way == 3)
        put_value(&m, 0);
    else if (way == 4)
        put_levels(&m, (const char *)data, size);
    else
        put_changed(&m, (const char *)data, size);
    memcpy(data, m.data, m.size);
    free(m.data);
    return m.size;
}
