#include "response.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "alloc.h"
#include "client.h"
#include "error.h"
#include "headers.h"
#include "quote.h"
#include "reader.h"
#include "shape.h"
#include "value.h"
#include "value_jansson.h"

/* The prefix of a text that keeps whole characters, `most` bytes at the most. */
static size_t whole_characters(const char *body, size_t size, size_t most)
{
    if (size <= most)
        return size;
    while (most && ((unsigned char)body[most] & 0xC0) == 0x80)
        most--;
    return most;
}

static const char *string_of(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

static lathe_code keep(char **slot, const char *value)
{
    if (!value || *slot)
        return LATHE_OK;
    return (*slot = lathe_copy_string(value)) ? LATHE_OK : LATHE_MEMORY;
}

/* `root` is the parsed body, or NULL. */
static lathe_code attach(lathe_error *error, int status, const lathe_headers *headers,
                         const char *body, size_t size, const json_t *root)
{
    size_t kept = whole_characters(body, size, LATHE_BODY_KEPT);
    error->status = status;
    if (keep(&error->request_id, lathe_headers_get(headers, "request-id")) ||
        keep(&error->request_id, string_of(root, "request_id")))
        return LATHE_MEMORY;
    if (!error->body && !(error->body = lathe_copy(body, kept)))
        return LATHE_MEMORY;
    error->body_size = kept;
    error->body_is_json = root && kept == size;
    return error->headers.items ? LATHE_OK : lathe_headers_copy(&error->headers, headers);
}

lathe_code lathe_response_attach(lathe_error *error, int status, const lathe_headers *headers,
                                 const char *body, size_t size)
{
    json_t *root;
    lathe_code code = lathe_jansson_try(body, size, &root);
    if (!code)
        code = attach(error, status, headers, body, size, root);
    json_decref(root);
    return code;
}

static lathe_code class_of(int status)
{
    switch (status) {
    case 400:
        return LATHE_BAD_REQUEST;
    case 401:
        return LATHE_AUTHENTICATION;
    case 403:
        return LATHE_PERMISSION_DENIED;
    case 404:
        return LATHE_NOT_FOUND;
    case 409:
        return LATHE_CONFLICT;
    case 413:
        return LATHE_REQUEST_TOO_LARGE;
    case 422:
        return LATHE_UNPROCESSABLE;
    case 429:
        return LATHE_RATE_LIMIT;
    case 529:
        return LATHE_OVERLOADED;
    default:
        return status >= 500 ? LATHE_INTERNAL_SERVER : LATHE_STATUS;
    }
}

static bool is_spend_limit(const json_t *fault)
{
    const char *code = string_of(json_object_get(fault, "details"), "error_code");
    return code && (!strcmp(code, "enforced_spend_limit_reached") ||
                    !strcmp(code, "contract_spend_limit_reached"));
}

/* A type is one word of lower case; what is more could be anything, also a part of the request. */
static bool is_type_name(const char *type)
{
    return type && *type && type[strspn(type, "abcdefghijklmnopqrstuvwxyz0123456789_")] == '\0';
}

/* The message for people: what the class means, then the service's own words. */
void lathe_response_describe(lathe_error *error, const lathe_text *sent)
{
    char what[200];
    const char *said = error->said;
    bool named = is_type_name(error->type);
    snprintf(what, sizeof what, "%s (status %d%s%.60s)", lathe_code_text(error->code),
             error->status, named ? ", " : "", named ? error->type : "");
    if (error->code == LATHE_ENDPOINT_RETIRED)
        lathe_error_append(error,
                           "the vendor retired its prompt tools endpoints on 2026-08-17 (status "
                           "%d): Client(model=...) has a model do the same, or set base_url to a "
                           "service that still serves them",
                           error->status);
    else if (error->location)
        lathe_error_append(error, "%s: it redirects to %.200s, and redirects are never followed",
                           what, error->location);
    else if (said && lathe_quotes(said, sent))
        lathe_error_append(error, "%s: its message quotes the request, see .message", what);
    else if (said)
        lathe_error_append(error, "%s: %.*s", what,
                           (int)whole_characters(said, strlen(said), LATHE_WORDS_SHOWN), said);
    else
        lathe_error_append(error, "%s", what);
}

lathe_code lathe_response_refuse(lathe_error *error, int status, const lathe_headers *headers,
                                 const char *body, size_t size, lathe_refusal *refusal)
{
    json_t *root;
    if (lathe_jansson_try(body, size, &root))
        return lathe_fail(error, LATHE_MEMORY, NULL);
    const json_t *fault = json_object_get(root, "error");
    const char *type = string_of(fault, "type"), *message = string_of(fault, "message");
    lathe_code code = class_of(status);
    if (refusal->vendor_host &&
        (status == 404 || status == 410 || (type && !strcmp(type, "not_found_error"))))
        code = LATHE_ENDPOINT_RETIRED;
    refusal->spend_limit = status == 429 && is_spend_limit(fault);
    lathe_code kept = attach(error, status, headers, body, size, root);
    if (!kept)
        kept = keep(&error->type, type);
    if (!kept)
        kept = keep(&error->said, message);
    if (!kept && status >= 300 && status < 400)
        kept = keep(&error->location, lathe_headers_get(headers, "location"));
    if (kept)
        lathe_fail(error, kept, NULL);
    else
        error->code = code;
    json_decref(root);
    return error->code;
}

lathe_code lathe_response_read(const lathe_response *response, const lathe_sink *sink,
                               lathe_error *error)
{
    lathe_shape shape;
    lathe_sink checked = lathe_shape_sink(&shape, response->verb == LATHE_TEMPLATIZE, sink, error);
    char *space = response->body_room ? response->body + response->body_size + 1 : NULL;
    lathe_code code = lathe_json_read_in(response->body, response->body_size, space,
                                         response->body_room, &checked, error);
    if (!code)
        code = lathe_shape_finish(&shape);
    if (code == LATHE_OK || code == LATHE_HOST || code == LATHE_MEMORY)
        return code ? lathe_fail(error, code, NULL) : code;
    error->attempts = response->attempts;
    /* An answer that echoes the key must not carry it into an exception. */
    lathe_settings_redact(lathe_client_settings(response->client), response->body,
                          response->body_size);
    lathe_code kept = lathe_response_attach(error, response->status, &response->headers,
                                            response->body, response->body_size);
    if (kept)
        error->code = kept;
    return error->code;
}

void lathe_response_free(lathe_response *response)
{
    if (!response)
        return;
    lathe_headers_clear(&response->headers);
    lathe_free(response->request_id);
    lathe_free(response->body);
    lathe_free(response->answers);
    lathe_free(response->notes);
    lathe_free(response->instructions);
    lathe_free(response->warning);
    lathe_client_release(response->client);
    lathe_free(response);
}
