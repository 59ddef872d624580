/* The rules for input messages: a second implementation, made from the contract's section 2, tells
 * which faults there are and in which order, and what the normal form is. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support.h"
#include "support_alloc.h"
#include "support_host.h"

enum { NESTED = 512 };

/* What the second implementation has found. */
typedef struct finding {
    char *path;
    size_t path_size;
    const char *code;
} finding;

static finding findings[LATHE_FAULTS_KEPT];
static size_t total, cut;
static lathe_source host;

/* ---- The second implementation ---- */

static void found(lathe_text path, const char *code)
{
    if (total < LATHE_FAULTS_KEPT)
        findings[total] = (finding){fuzz_string(path), path.size, code};
    total++;
}

/* PATH.NAME in `room`. */
static lathe_text below(lathe_text path, lathe_text name, char room[NESTED])
{
    memcpy(room, path.data, path.size);
    room[path.size] = '.';
    if (name.size)
        memcpy(room + path.size + 1, name.data, name.size);
    return (lathe_text){room, path.size + 1 + name.size};
}

static lathe_text text_of(const char *string)
{
    return (lathe_text){string, strlen(string)};
}

static void found_below(lathe_text path, const char *name, const char *code)
{
    char room[NESTED];
    found(below(path, text_of(name), room), code);
}

static lathe_text numbered(lathe_text path, size_t index, char room[NESTED])
{
    char digits[24];
    snprintf(digits, sizeof digits, "%zu", index);
    return below(path, text_of(digits), room);
}

static bool is_string(const void *value)
{
    return host.table->kind(host.self, value) == LATHE_KIND_STRING;
}

static bool has_text(const void *string, lathe_text *text)
{
    *text = (lathe_text){0};
    bool valid = !host.table->text(host.self, string, text);
    MUST(valid == fuzz_is_text(*text) || !text->data);
    return valid;
}

static bool is_word(const void *value, const char *word)
{
    lathe_text text;
    return is_string(value) && has_text(value, &text) && fuzz_same(text, text_of(word));
}

static size_t length_of(const json_t *list)
{
    size_t length = json_array_size(list);
    return length < cut ? length : cut;
}

static void judge_string(const json_t *value, lathe_text path)
{
    lathe_text text;
    if (!is_string(value))
        found(path, "wrong_type");
    else if (!has_text(value, &text))
        found(path, "not_unicode");
}

static void judge_others(const json_t *object, lathe_text path, const char *first,
                         const char *second, bool caching)
{
    lathe_cursor cursor = {0};
    const void *key, *value;
    bool odd = false, surrogate = false;
    while (!host.table->member(host.self, object, &cursor, &key, &value) && key) {
        char room[NESTED];
        lathe_text name;
        if (!is_string(key)) {
            if (!odd)
                found(path, "wrong_type");
            odd = true;
        } else if (!has_text(key, &name)) {
            if (!surrogate)
                found(path, "not_unicode");
            surrogate = true;
        } else if (!is_word(key, first) && !is_word(key, second) &&
                   !json_is_null((json_t *)(uintptr_t)value)) {
            bool cached = caching && is_word(key, "cache_control");
            if (name.size > 300) /* only in long inputs; the room is small */
                name.size = 300;
            found(below(path, name, room), cached ? "prompt_caching" : "unexpected_key");
        }
    }
}

/* The value of a member whose key is what it says. */
static const json_t *member(const json_t *object, const char *name)
{
    return json_object_get(object, name);
}

static void judge_block(const json_t *block, lathe_text path)
{
    char room[NESTED];
    if (!json_is_object(block)) {
        found(path, "wrong_type");
        return;
    }
    const json_t *type = member(block, "type"), *text = member(block, "text");
    if (!type || !is_string(type) || !is_word(type, "text")) {
        found_below(path, "type", !type ? "missing" : !is_string(type) ? "wrong_type" : "not_text");
        return;
    }
    if (text)
        judge_string(text, below(path, text_of("text"), room));
    else
        found_below(path, "text", "missing");
    judge_others(block, path, "type", "text", true);
}

static void judge_content(const json_t *content, lathe_text path)
{
    if (!content)
        found(path, "missing");
    else if (json_is_array(content) && !length_of(content))
        found(path, "empty");
    else if (!json_is_array(content))
        judge_string(content, path);
    for (size_t i = 0; i < length_of(content); i++) {
        char room[NESTED];
        judge_block(json_array_get(content, i), numbered(path, i, room));
    }
}

/* 'u', 'a', or '?' for any other. */
static char judge_role(const json_t *role, lathe_text message)
{
    if (!role || !is_string(role))
        found_below(message, "role", role ? "wrong_type" : "missing");
    else if (is_word(role, "user"))
        return 'u';
    else if (is_word(role, "assistant"))
        return 'a';
    else
        found_below(message, "role", "bad_role");
    return '?';
}

static char judge_message(const json_t *message, lathe_text path, bool last)
{
    char room[NESTED];
    if (!json_is_object(message)) {
        found(path, "wrong_type");
        return '?';
    }
    char role = judge_role(member(message, "role"), path);
    judge_content(member(message, "content"), below(path, text_of("content"), room));
    judge_others(message, path, "role", "content", false);
    if (role == 'a' && !last)
        found_below(path, "role", "assistant_not_last");
    return role;
}

static void judge(const json_t *messages)
{
    lathe_text path = text_of("messages");
    size_t count = length_of(messages), users = 0, unknown = 0;
    if (!json_is_array(messages))
        judge_string(messages, path);
    else if (!count)
        found(path, "empty");
    for (size_t i = 0; i < count; i++) {
        char room[NESTED];
        char role =
            judge_message(json_array_get(messages, i), numbered(path, i, room), i + 1 == count);
        users += role == 'u';
        unknown += role == '?';
    }
    if (count && !users && !unknown)
        found(path, "no_user_message");
}

static json_t *normal_block(json_t *text)
{
    return json_pack("{s:s, s:O}", "type", "text", "text", text);
}

static json_t *normal_content(json_t *content)
{
    json_t *blocks = json_array();
    if (json_is_string(content))
        json_array_append_new(blocks, normal_block(content));
    for (size_t i = 0; i < length_of(content); i++)
        json_array_append_new(blocks,
                              normal_block(json_object_get(json_array_get(content, i), "text")));
    return blocks;
}

static json_t *normal_form(json_t *messages)
{
    json_t *list = json_array();
    if (json_is_string(messages))
        json_array_append_new(
            list, json_pack("{s:s, s:o}", "role", "user", "content", normal_content(messages)));
    for (size_t i = 0; i < length_of(messages); i++) {
        json_t *message = json_array_get(messages, i);
        json_array_append_new(list, json_pack("{s:O, s:o}", "role",
                                              json_object_get(message, "role"), "content",
                                              normal_content(json_object_get(message, "content"))));
    }
    return list;
}

/* ---- Comparing ---- */

static void compare_faults(const lathe_error *error)
{
    const lathe_faults *faults = &error->faults;
    size_t kept = total < LATHE_FAULTS_KEPT ? total : LATHE_FAULTS_KEPT;
    MUST(faults->total == total);
    MUST(faults->count == kept);
    for (size_t i = 0; i < kept; i++) {
        const lathe_fault *fault = &faults->items[i];
        MUST(!strcmp(fault->code, findings[i].code));
        MUST(fault->path_size >= findings[i].path_size);
        MUST(fault->path_size < 300 ? fault->path_size == findings[i].path_size : true);
        MUST(!memcmp(fault->path, findings[i].path, findings[i].path_size));
        MUST(fault->offset == -1 && strchr(fault->message, ' '));
        MUST(fuzz_is_text(text_of(fault->message)));
    }
}

static void forget(void)
{
    for (size_t i = 0; i < total && i < LATHE_FAULTS_KEPT; i++)
        free(findings[i].path);
    total = 0;
}

/* *normal is the caller's, NULL after a failure. */
static lathe_code check(const json_t *messages, bool feed, unsigned order, json_t **normal)
{
    host_builder builder;
    lathe_error error;
    lathe_error_init(&error);
    host_builder_init(&builder, false);
    fuzz_arm(order);
    lathe_code code = lathe_messages_check(&host, messages, feed ? &builder.sink : NULL, &error);
    bool failed = fuzz_disarm();
    *normal = code ? NULL : lathe_jansson_builder_take(&builder.inner);
    fuzz_check_error(&error, code);
    if (failed)
        MUST(code == LATHE_MEMORY);
    else
        compare_faults(&error);
    MUST(failed || code == (total ? LATHE_INVALID_REQUEST : LATHE_OK));
    host_builder_clear(&builder);
    lathe_error_clear(&error);
    return failed ? LATHE_MEMORY : code;
}

static void check_all(json_t *messages, unsigned order)
{
    json_t *normal, *again;
    lathe_code code = check(messages, true, order, &normal);
    MUST(check(messages, false, 0, &again) == code || code == LATHE_MEMORY);
    if (!code) {
        json_t *expected = normal_form(messages);
        MUST(json_equal(normal, expected));
        json_decref(expected);
        host_cut_lists(SIZE_MAX);
        MUST(check(normal, true, 0, &again) == LATHE_OK);
        MUST(json_equal(normal, again));
        json_decref(again);
    }
    json_decref(normal);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input input = {data, size};
    unsigned order = fuzz_byte(&input), shrink = fuzz_byte(&input);
    size_t before = alloc_blocks();
    json_t *messages = fuzz_value(&input);
    host = host_source();
    if (messages) {
        cut = shrink & 1 ? shrink >> 1 : SIZE_MAX;
        host_cut_lists(cut);
        judge(messages);
        check_all(messages, order);
        forget();
        json_decref(messages);
    }
    MUST(alloc_blocks() == before);
    return 0;
}
