/* The body of a success: jansson judges whether it is JSON and what it holds, a plain walk over its
 * tree whether it has the documented shape. */
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "support.h"
#include "support_alloc.h"
#include "support_host.h"

#define KEY "sk-fuzz-0123456789"

static lathe_client *client;

static lathe_client *the_client(void)
{
    lathe_client_options options;
    lathe_error error;
    lathe_error_init(&error);
    lathe_client_options_init(&options);
    options.api_key = KEY;
    options.base_url = "http://127.0.0.1:1";
    if (!client)
        MUST(lathe_client_new(&options, &client, &error) == LATHE_OK);
    return client;
}

/* ---- The shape, by the contract's words ---- */

static bool is_block(const json_t *block)
{
    const json_t *type = json_object_get(block, "type");
    if (!json_is_string(type))
        return false;
    bool text = json_string_length(type) == 4 && !memcmp(json_string_value(type), "text", 4);
    return !text || json_is_string(json_object_get(block, "text"));
}

static bool is_message(const json_t *message)
{
    const json_t *content = json_object_get(message, "content");
    if (!json_is_string(json_object_get(message, "role")))
        return false;
    for (size_t i = 0; i < json_array_size(content); i++)
        if (!is_block(json_array_get(content, i)))
            return false;
    return json_is_string(content) || json_is_array(content);
}

static bool is_strings(json_t *object)
{
    const char *key;
    json_t *value;
    json_object_foreach(object, key, value)
    {
        if (!json_is_string(value))
            return false;
    }
    return json_is_object(object);
}

static bool is_answer(const json_t *body, bool templatize)
{
    const json_t *messages = json_object_get(body, "messages");
    const json_t *usage = json_object_get(body, "usage");
    if (!json_is_array(messages) || !json_is_string(json_object_get(body, "system")))
        return false;
    for (size_t i = 0; i < json_array_size(messages); i++)
        if (!is_message(json_array_get(messages, i)))
            return false;
    if (!json_is_object(usage) && !json_is_array(usage))
        return false;
    return !templatize || is_strings(json_object_get(body, "variable_values"));
}

/* ---- Reading ---- */

/* JSON has no NUL; jansson lets one pass right behind a number or a word. */
static json_t *expected_of(lathe_text text)
{
    if (text.size && memchr(text.data, '\0', text.size))
        return NULL;
    return json_loadb(text.data, text.size, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
}

static void check_read(lathe_text text, const json_t *expected)
{
    host_builder builder;
    lathe_error error;
    lathe_error_init(&error);
    host_builder_init(&builder, false);
    lathe_code code = lathe_json_read(text.data, text.size, &builder.sink, &error);
    json_t *built = code ? NULL : lathe_jansson_builder_take(&builder.inner);
    MUST(code == (expected ? LATHE_OK : LATHE_RESPONSE_VALIDATION));
    MUST(!expected || json_equal(built, expected));
    fuzz_check_error(&error, code);
    json_decref(built);
    host_builder_clear(&builder);
    lathe_error_clear(&error);
}

/* What is read can be written, and read again. */
static void check_written(lathe_text text, const json_t *expected)
{
    lathe_buf buf;
    lathe_json_writer writer;
    lathe_error error;
    lathe_error_init(&error);
    lathe_buf_init(&buf, SIZE_MAX / 2);
    lathe_json_writer_init(&writer, &buf);
    lathe_sink sink = lathe_json_sink(&writer);
    lathe_code code = lathe_json_read(text.data, text.size, &sink, &error);
    MUST(code == LATHE_OK || code == LATHE_TOO_LARGE);
    /* One of two members of a name is lost in a tree, and nothing else is. */
    json_t *again =
        code ? NULL : json_loadb(buf.data, buf.size, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    MUST(code || json_equal(again, expected));
    json_decref(again);
    lathe_buf_clear(&buf);
    lathe_error_clear(&error);
}

static void check_refused(const lathe_error *error)
{
    lathe_text body = {error->body, error->body_size};
    MUST(error->status == 200 && error->attempts == 3 && error->body);
    MUST(!fuzz_has(body, KEY, strlen(KEY)));
    json_t *value = expected_of(body);
    MUST(error->body_is_json == (value != NULL) || error->body_size > 60000);
    json_decref(value);
}

static bool has_repeats(lathe_text text)
{
    size_t flags = JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES;
    json_t *value = json_loadb(text.data, text.size, flags, NULL);
    json_decref(value);
    return !value;
}

static void check_answer(lathe_text text, const json_t *expected, lathe_verb verb, unsigned order)
{
    lathe_response response = {.verb = verb,
                               .status = 200,
                               .attempts = 3,
                               .body = fuzz_copy(text),
                               .body_size = text.size,
                               .client = the_client()};
    bool fits = expected && is_answer(expected, verb == LATHE_TEMPLATIZE);
    host_builder builder;
    lathe_error error;
    lathe_error_init(&error);
    size_t before = alloc_blocks();
    fuzz_arm(order);
    host_builder_init(&builder, false);
    lathe_code code = lathe_response_read(&response, &builder.sink, &error);
    json_t *built = code ? NULL : lathe_jansson_builder_take(&builder.inner);
    bool failed = fuzz_disarm();
    fuzz_check_error(&error, code);
    if (failed)
        MUST(code == LATHE_MEMORY);
    else if (code)
        check_refused(&error);
    /* The first of two members of a name may be wrong, and the tree not show it. */
    if (!failed && (fits || !code) && !(fits && code && has_repeats(text)))
        MUST(fits && !code && json_equal(built, expected));
    json_decref(built);
    host_builder_clear(&builder);
    lathe_error_clear(&error);
    MUST(alloc_blocks() == before);
    free(response.body);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input input = {data, size};
    unsigned order = fuzz_byte(&input), verb = fuzz_byte(&input) % 3;
    lathe_text text = fuzz_rest(&input);
    json_t *expected = expected_of(text);
    check_read(text, expected);
    if (expected)
        check_written(text, expected);
    check_answer(text, expected, (lathe_verb)verb, order);
    json_decref(expected);
    return 0;
}
