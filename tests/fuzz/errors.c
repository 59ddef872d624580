/* An answer that is no success: its class, what the service said, and a message that does not quote
 * the request. */
#include "response.h"

#include <stdlib.h>
#include <string.h>

#include "headers.h"
#include "quote.h"
#include "support.h"
#include "support_alloc.h"

enum { RUN = 12, SHORTEST = 4 };

/* ---- What the contract says of it ---- */

static lathe_code class_of(int status)
{
    static const struct {
        int status;
        lathe_code code;
    } rows[] = {
        {400, LATHE_BAD_REQUEST},   {401, LATHE_AUTHENTICATION}, {403, LATHE_PERMISSION_DENIED},
        {404, LATHE_NOT_FOUND},     {409, LATHE_CONFLICT},       {413, LATHE_REQUEST_TOO_LARGE},
        {422, LATHE_UNPROCESSABLE}, {429, LATHE_RATE_LIMIT},     {529, LATHE_OVERLOADED}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].status == status)
            return rows[i].code;
    return status >= 500 ? LATHE_INTERNAL_SERVER : LATHE_STATUS;
}

static lathe_code expected_code(int status, bool vendor, const char *type)
{
    bool gone = status == 404 || status == 410 || (type && !strcmp(type, "not_found_error"));
    return vendor && gone ? LATHE_ENDPOINT_RETIRED : class_of(status);
}

/* What of `said` is repeated of a text: 'y', 'n', or '?' where it is a matter of words. */
static char repeats(lathe_text said, lathe_text text)
{
    for (size_t i = 0; i + RUN <= text.size; i++)
        if (fuzz_has(said, text.data + i, RUN))
            return 'y';
    bool word = text.size >= SHORTEST && text.size < RUN;
    return word && fuzz_has(said, text.data, text.size) ? '?' : 'n';
}

/* The strongest answer of all texts of the request. */
static char any_repeats(lathe_text said, json_t *value)
{
    char strongest = 'n';
    const char *key;
    json_t *member;
    if (json_is_string(value))
        return repeats(said, (lathe_text){json_string_value(value), json_string_length(value)});
    for (size_t i = 0; i < json_array_size(value) && strongest != 'y'; i++) {
        char one = any_repeats(said, json_array_get(value, i));
        strongest = one == 'n' ? strongest : one;
    }
    json_object_foreach(value, key, member)
    {
        bool ours = !strcmp(key, "role") || !strcmp(key, "type");
        char one = ours || strongest == 'y' ? 'n' : any_repeats(said, member);
        strongest = one == 'n' ? strongest : one;
    }
    return strongest;
}

static void check_quotes(const char *said, lathe_text sent)
{
    json_t *body = json_loadb(sent.data, sent.size, JSON_ALLOW_NUL, NULL);
    lathe_text words = {said, strlen(said)};
    if (words.size > LATHE_WORDS_SHOWN)
        words.size = LATHE_WORDS_SHOWN;
    bool got = lathe_quotes(said, &sent);
    char expected = !sent.size ? 'n' : !body ? 'y' : any_repeats(words, body);
    MUST(expected == '?' || got == (expected == 'y'));
    json_decref(body);
}

/* ---- Comparing ---- */

static bool same_string(const char *got, const char *expected)
{
    return !got == !expected && (!got || !strcmp(got, expected));
}

static void check_kept(const lathe_error *error, lathe_text body, const json_t *root)
{
    lathe_text kept = {error->body, error->body_size};
    MUST(error->body && error->body_size <= body.size);
    MUST(fuzz_same(kept, (lathe_text){body.data, kept.size}));
    MUST(error->body_size == body.size || body.size > LATHE_BODY_KEPT);
    MUST(error->body_is_json == (root && error->body_size == body.size));
}

static void check_refused(const lathe_error *error, int status, const lathe_headers *headers,
                          lathe_text body, const lathe_refusal *refusal)
{
    /* JSON has no NUL; jansson lets one pass right behind a number or a word. */
    bool nul = body.size && memchr(body.data, '\0', body.size);
    json_t *root =
        nul ? NULL : json_loadb(body.data, body.size, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    const json_t *fault = json_object_get(root, "error");
    const char *type = json_string_value(json_object_get(fault, "type"));
    const char *id = lathe_headers_get(headers, "request-id");
    const char *place = lathe_headers_get(headers, "location");
    if (!id)
        id = json_string_value(json_object_get(root, "request_id"));
    MUST(error->code == expected_code(status, refusal->vendor_host, type));
    MUST(error->status == status && (!refusal->spend_limit || status == 429));
    MUST(same_string(error->type, type) && same_string(error->request_id, id));
    MUST(same_string(error->said, json_string_value(json_object_get(fault, "message"))));
    MUST(same_string(error->location, status >= 300 && status < 400 ? place : NULL));
    MUST(error->headers.count == headers->count);
    check_kept(error, body, root);
    json_decref(root);
}

static void check(int status, const lathe_headers *headers, lathe_text body, lathe_text sent,
                  bool vendor, unsigned order)
{
    lathe_refusal refusal = {.vendor_host = vendor};
    lathe_error error;
    lathe_error_init(&error);
    fuzz_arm(order);
    lathe_code code =
        lathe_response_refuse(&error, status, headers, body.data, body.size, &refusal);
    bool failed = fuzz_disarm();
    MUST(code == error.code && (!failed || code == LATHE_MEMORY));
    if (!failed) {
        check_refused(&error, status, headers, body, &refusal);
        lathe_response_describe(&error, &sent);
        fuzz_check_error(&error, code);
        if (error.said)
            check_quotes(error.said, sent);
    }
    lathe_error_clear(&error);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input input = {data, size};
    unsigned order = fuzz_byte(&input), high = fuzz_byte(&input), low = fuzz_byte(&input);
    unsigned flags = fuzz_byte(&input);
    size_t before = alloc_blocks();
    int status = 300 + (int)((high * 256 + low + 65536 - 300) % 300);
    lathe_text raw = fuzz_piece(&input), body = fuzz_piece(&input), sent = fuzz_rest(&input);
    char *block = fuzz_copy(body);
    lathe_headers headers;
    MUST(lathe_headers_parse(&headers, raw.data, raw.size) == LATHE_OK);
    check(status, &headers, (lathe_text){block, body.size}, sent, flags & 1, order);
    lathe_headers_clear(&headers);
    free(block);
    MUST(alloc_blocks() == before);
    return 0;
}
