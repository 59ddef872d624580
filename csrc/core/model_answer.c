#include "model_answer.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "error.h"
#include "value_jansson.h"
#include "walk.h"

enum { MARK = 64 }; /* bytes; the names of sections are ours */

/* ---- The body -------------------------------------------------------------------------------- */

static lathe_ending ending_of(const json_t *root)
{
    static const char *const cut_off[] = {
        "max_tokens", "length", "model_context_window_exceeded", "pause_turn", "MAX_TOKENS",
        "error",      "abort"};
    static const char *const refused[] = {"refusal", "content_filter", "sensitive"};
    const char *reason = json_string_value(json_object_get(root, "stop_reason"));
    for (size_t i = 0; reason && i < sizeof cut_off / sizeof *cut_off; i++)
        if (!strcmp(reason, cut_off[i]))
            return LATHE_ENDING_CUT_OFF;
    for (size_t i = 0; reason && i < sizeof refused / sizeof *refused; i++)
        if (!strcmp(reason, refused[i]))
            return LATHE_ENDING_REFUSAL;
    return LATHE_ENDING_WHOLE;
}

static lathe_code wrong_shape(lathe_error *error, const char *what)
{
    return lathe_fail(error, LATHE_RESPONSE_VALIDATION,
                      "an answer that cannot be used: it is no answer of a Messages API: %s", what);
}

static lathe_code add_text(lathe_model_answer *answer, const json_t *text, lathe_error *error)
{
    if (!json_is_string(text))
        return wrong_shape(error, "the text of one of its blocks is no string");
    lathe_code code =
        lathe_buf_append(&answer->text, json_string_value(text), json_string_length(text));
    return code ? lathe_fail(error, code, NULL) : LATHE_OK;
}

static lathe_code take_content(lathe_model_answer *answer, lathe_error *error)
{
    const json_t *content = json_object_get(answer->root, "content");
    if (json_is_string(content))
        return add_text(answer, content, error);
    if (json_is_null(content)) /* Ollama, when nothing was said */
        return LATHE_OK;
    if (!json_is_array(content))
        return wrong_shape(error, "its content is neither a list nor a string");
    for (size_t i = 0; i < json_array_size(content); i++) {
        const json_t *block = json_array_get(content, i);
        const char *type = json_string_value(json_object_get(block, "type"));
        if (!json_is_object(block))
            return wrong_shape(error, "one of its blocks is no object");
        if (type && !strcmp(type, "text") &&
            add_text(answer, json_object_get(block, "text"), error))
            return error->code;
    }
    return LATHE_OK;
}

/* ---- Sections -------------------------------------------------------------------------------- */

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static lathe_text strip(lathe_text text)
{
    while (text.size && is_space(text.data[text.size - 1]))
        text.size--;
    while (text.size && is_space(*text.data)) {
        text.data++;
        text.size--;
    }
    return text;
}

/* What stands in a fence of Markdown, when that is all there is. */
static lathe_text unfence(lathe_text text)
{
    static const char fence[] = "```";
    const size_t size = sizeof fence - 1;
    const char *line = text.size ? memchr(text.data, '\n', text.size) : NULL;
    if (!line || text.size < 2 * size || memcmp(text.data, fence, size) ||
        memcmp(text.data + text.size - size, fence, size))
        return text;
    const char *end = text.data + text.size - size;
    return line < end ? strip((lathe_text){line, (size_t)(end - line)}) : text;
}

static const char *find(const char *from, const char *end, const char *mark, size_t size)
{
    for (; from && (size_t)(end - from) >= size; from++) {
        from = memchr(from, *mark, (size_t)(end - from) - size + 1);
        if (!from || !memcmp(from, mark, size))
            return from;
    }
    return NULL;
}

/* The first mark at the beginning of a line, else the first of all: a model may speak of its marks
 * before it uses them. */
static const char *find_begin(const char *from, const char *end, const char *mark, size_t size)
{
    const char *at = from;
    for (; (at = find(at, end, mark, size)); at++)
        if (at == from || at[-1] == '\n')
            return at;
    return find(from, end, mark, size);
}

/* Whether a mark stands at the beginning of a line. */
static bool begins_line(const char *from, const char *end, const char *mark, size_t size)
{
    for (; (from = find(from, end, mark, size)); from++)
        if (from[-1] == '\n')
            return true;
    return false;
}

/* False also when there is more than one: nobody can tell which of them is meant. */
static bool marked(lathe_text text, const char *name, lathe_text *section)
{
    char open[MARK], close[MARK];
    const size_t size = (size_t)snprintf(open, sizeof open, "<%s>", name);
    snprintf(close, sizeof close, "</%s>", name);
    const char *end = text.data + text.size;
    const char *begin = text.size ? find_begin(text.data, end, open, size) : NULL;
    const char *stop = begin ? find(begin, end, close, size + 1) : NULL;
    if (!stop || find(stop + 1, end, close, size + 1) || begins_line(begin + 1, stop, open, size))
        return false;
    begin += size;
    *section = strip((lathe_text){begin, (size_t)(stop - begin)});
    return true;
}

static bool member_of(const json_t *object, const char *name, lathe_text *section)
{
    const json_t *member = json_object_get(object, name);
    if (!json_is_string(member))
        return false;
    *section = strip((lathe_text){json_string_value(member), json_string_length(member)});
    return true;
}

bool lathe_model_answer_section(const lathe_model_answer *answer, const char *name,
                                lathe_text *section)
{
    if (answer->members)
        return member_of(answer->members, name, section);
    return marked(answer->spoken, name, section) || member_of(answer->amid, name, section);
}

lathe_code lathe_model_answer_json(const lathe_model_answer *answer, const char *name,
                                   json_t **value)
{
    lathe_text section;
    *value = NULL;
    if (lathe_model_answer_section(answer, name, &section)) {
        section = unfence(section);
        return lathe_jansson_try(section.data, section.size, value);
    }
    json_t *member = json_object_get(answer->members ? answer->members : answer->amid, name);
    if (!json_is_string(member))
        *value = json_incref(member);
    return LATHE_OK;
}

/* ---- Both ------------------------------------------------------------------------------------ */

/* Without what a model thought aloud at the beginning. */
static lathe_text spoken(const lathe_buf *text)
{
    static const char open[] = "<think>", close[] = "</think>";
    const lathe_text whole = strip((lathe_text){text->size ? text->data : "", text->size});
    const char *end = whole.data + whole.size;
    const char *after = whole.size >= sizeof open && !memcmp(whole.data, open, sizeof open - 1)
                            ? find(whole.data, end, close, sizeof close - 1)
                            : NULL;
    if (!after)
        return whole;
    after += sizeof close - 1;
    return strip((lathe_text){after, (size_t)(end - after)});
}

/* From the first brace to the last one: a model may talk around its JSON. */
static lathe_text braced(lathe_text text)
{
    const char *begin = text.size ? memchr(text.data, '{', text.size) : NULL;
    size_t end = text.size;
    while (begin && end && text.data[end - 1] != '}')
        end--;
    const char *stop = text.data + end;
    return begin && begin < stop ? (lathe_text){begin, (size_t)(stop - begin)}
                                 : (lathe_text){text.data, 0};
}

/* What begins with a brace and is JSON is an object. */
static lathe_code take_members(lathe_model_answer *answer)
{
    const lathe_text whole = unfence(answer->spoken), within = braced(answer->spoken);
    lathe_code code = LATHE_OK;
    if (whole.size && *whole.data == '{')
        code = lathe_jansson_try(whole.data, whole.size, &answer->members);
    return code || answer->members || !within.size
               ? code
               : lathe_jansson_try(within.data, within.size, &answer->amid);
}

lathe_code lathe_model_answer_read(lathe_model_answer *answer, const char *body, size_t size,
                                   lathe_error *error)
{
    *answer = (lathe_model_answer){.root = lathe_jansson_read(body, size, error)};
    lathe_buf_init(&answer->text, SIZE_MAX / 2);
    if (!answer->root)
        return error->code;
    if (!json_is_object(answer->root))
        return wrong_shape(error, "it is no object");
    if (take_content(answer, error))
        return error->code;
    answer->ending = ending_of(answer->root);
    answer->spoken = spoken(&answer->text);
    return take_members(answer) ? lathe_fail(error, LATHE_MEMORY, NULL) : LATHE_OK;
}

void lathe_model_answer_clear(lathe_model_answer *answer)
{
    json_decref(answer->root);
    json_decref(answer->members);
    json_decref(answer->amid);
    lathe_buf_clear(&answer->text);
}
