#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support_alloc.h"
#include "support_host.h"

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    alloc_install();
    return 0;
}

void fuzz_must(bool holds, const char *file, int line, const char *condition)
{
    if (holds)
        return;
    fprintf(stderr, "FINDING %s:%d: %s does not hold\n", file, line, condition);
    abort();
}

/* ---- Input ----------------------------------------------------------------------------------- */

unsigned fuzz_byte(fuzz_input *input)
{
    if (!input->size)
        return 0;
    input->size--;
    return *input->data++;
}

static lathe_text take(fuzz_input *input, size_t size)
{
    lathe_text text = {(const char *)input->data, size};
    input->data += size;
    input->size -= size;
    return text;
}

lathe_text fuzz_piece(fuzz_input *input)
{
    const uint8_t *end = input->size ? memchr(input->data, 0xFE, input->size) : NULL;
    if (!end)
        return fuzz_rest(input);
    lathe_text piece = take(input, (size_t)(end - input->data));
    take(input, 1);
    return piece;
}

lathe_text fuzz_rest(fuzz_input *input)
{
    return take(input, input->size);
}

char *fuzz_copy(lathe_text text)
{
    char *copy = malloc(text.size ? text.size : 1);
    if (!copy)
        abort();
    if (text.size)
        memcpy(copy, text.data, text.size);
    return copy;
}

char *fuzz_string(lathe_text text)
{
    char *copy = malloc(text.size + 1);
    if (!copy)
        abort();
    if (text.size)
        memcpy(copy, text.data, text.size);
    copy[text.size] = '\0';
    return copy;
}

/* ---- Values ---------------------------------------------------------------------------------- */

enum { DEEPEST = 8 };

typedef struct maker {
    fuzz_input *input;
    unsigned repeats; /* so far; one long list is enough */
} maker;

static const char *const words[] = {
    "user",     "assistant", "text",         "image",   "system", "developer", "{{A}}", "{{ B }}",
    "a {{A}} ", "#other",    "\xED\xA0\x80", "",        "hello",  "tool_use",  "null",  "#1",
    "A",        "B",         "\n\nHuman:",   "thinking"};
static const char *const keys[] = {
    "role",      "content",         "type",  "text",  "cache_control", "#1",
    "#other",    "system",          "usage", "extra", "\xED\xA0\x80x", "",
    "messages",  "variable_values", "A",     "B",     "a.b",           "#2",
    "citations", "\xED\xA0\x80y"};

#define PICK(list, byte) (list)[(byte) % (sizeof(list) / sizeof *(list))]

static json_t *make(maker *m, int depth);

static json_t *make_bytes(maker *m)
{
    size_t size = fuzz_byte(m->input) % 40;
    lathe_text bytes = take(m->input, size < m->input->size ? size : m->input->size);
    return fuzz_json_string(bytes);
}

static json_t *make_list(maker *m, int depth)
{
    json_t *list = json_array();
    for (unsigned count = fuzz_byte(m->input) % 6; count; count--)
        json_array_append_new(list, make(m, depth + 1));
    return list;
}

static json_t *make_repeated(maker *m, int depth)
{
    if (m->repeats == 4) /* each within the other, they grow like powers */
        return make_list(m, depth);
    json_t *list = json_array();
    unsigned count = fuzz_byte(m->input);
    count = count < 240 || m->repeats ? count % 8 : count * 5; /* more faults than are kept */
    m->repeats++;
    json_t *item = make(m, depth + 1);
    for (; count; count--)
        json_array_append(list, item);
    json_decref(item);
    return list;
}

static json_t *make_object(maker *m, int depth)
{
    json_t *object = json_object();
    for (unsigned count = fuzz_byte(m->input) % 6; count; count--) {
        const char *key = PICK(keys, fuzz_byte(m->input));
        json_object_set_new_nocheck(object, key, make(m, depth + 1));
    }
    return object;
}

/* An object with two members and perhaps a third. */
static json_t *make_known(maker *m, int depth, const char *first, const char *word,
                          const char *second)
{
    json_t *object = json_object();
    unsigned more = fuzz_byte(m->input);
    json_object_set_new_nocheck(object, first, json_string(word));
    json_object_set_new_nocheck(object, second, make(m, depth + 1));
    if (more & 1)
        json_object_set_new_nocheck(object, PICK(keys, more >> 1), make(m, depth + 1));
    return object;
}

static json_t *make(maker *m, int depth)
{
    unsigned order = m->input->size && depth < DEEPEST ? fuzz_byte(m->input) % 14 : 0;
    switch (order) {
    case 1:
        return json_boolean(fuzz_byte(m->input) & 1);
    case 2:
        return json_integer(fuzz_byte(m->input));
    case 3:
        return json_real(fuzz_byte(m->input) / 4.0);
    case 4:
    case 5:
        return json_string_nocheck(PICK(words, fuzz_byte(m->input)));
    case 6:
        return make_bytes(m);
    case 7:
        return make_list(m, depth);
    case 8:
        return make_repeated(m, depth);
    case 9:
        return make_object(m, depth);
    case 10:
        return make_known(m, depth, "role", "user", "content");
    case 11:
        return make_known(m, depth, "role", "assistant", "content");
    case 12:
        return make_known(m, depth, "type", "text", "text");
    case 13:
        return make_known(m, depth, "system", "{{A}}", "messages");
    default:
        return json_null();
    }
}

static json_t *read_value(fuzz_input *input)
{
    char *text = fuzz_string(fuzz_piece(input));
    json_t *tried = json_loads(text, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    json_t *value = tried ? host_value(text) : NULL;
    json_decref(tried);
    free(text);
    return value;
}

json_t *fuzz_value(fuzz_input *input)
{
    if (input->size && memchr("{[\"", input->data[0], 3))
        return read_value(input);
    maker m = {.input = input};
    return make(&m, 0);
}

json_t *fuzz_json_string(lathe_text text)
{
    json_t *string = json_stringn_nocheck(text.data ? text.data : "", text.size);
    MUST(string != NULL);
    return string;
}

/* ---- Allocations ----------------------------------------------------------------------------- */

void fuzz_arm(unsigned order)
{
    alloc_fail_at(order & 127, (order & 128) != 0);
}

bool fuzz_disarm(void)
{
    bool failed = alloc_failed();
    alloc_fail_at(0, false);
    return failed;
}

/* ---- Text ------------------------------------------------------------------------------------ */

/* The code point at `at`, and how many bytes it takes; 0 when there is none. */
static size_t code_point(const unsigned char *at, size_t size, uint32_t *point)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t length = at[0] < 0x80             ? 1
                    : (at[0] & 0xE0) == 0xC0 ? 2
                    : (at[0] & 0xF0) == 0xE0 ? 3
                    : (at[0] & 0xF8) == 0xF0 ? 4
                                             : 0;
    if (!length || size < length)
        return 0;
    *point = length == 1 ? at[0] : at[0] & (0x7FU >> length);
    for (size_t i = 1; i < length; i++) {
        if ((at[i] & 0xC0) != 0x80)
            return 0;
        *point = *point << 6 | (at[i] & 0x3F);
    }
    bool surrogate = *point >= 0xD800 && *point <= 0xDFFF;
    return *point < least[length] || *point > 0x10FFFF || surrogate ? 0 : length;
}

size_t fuzz_text_prefix(lathe_text text)
{
    uint32_t point;
    for (size_t at = 0; at < text.size;) {
        size_t step = code_point((const unsigned char *)text.data + at, text.size - at, &point);
        if (!step)
            return at;
        at += step;
    }
    return text.size;
}

bool fuzz_is_text(lathe_text text)
{
    return fuzz_text_prefix(text) == text.size;
}

size_t fuzz_length(const char *text, size_t size)
{
    size_t length = 0;
    for (size_t i = 0; i < size; i++)
        length += ((unsigned char)text[i] >> 6) != 2;
    return length;
}

bool fuzz_same(lathe_text a, lathe_text b)
{
    return a.size == b.size && (!a.size || memcmp(a.data, b.data, a.size) == 0);
}

bool fuzz_has(lathe_text text, const char *part, size_t size)
{
    for (size_t i = 0; i + size <= text.size; i++)
        if (memcmp(text.data + i, part, size) == 0)
            return true;
    return false;
}

void fuzz_check_error(const lathe_error *error, lathe_code code)
{
    lathe_text message = {error->message, strlen(error->message)};
    MUST(error->code == code);
    MUST(!code || message.size > 0);
    MUST(fuzz_is_text(message));
}
