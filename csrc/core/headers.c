#include "headers.h"

#include <string.h>

#include "alloc.h"
#include "error.h"

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

bool lathe_same_word(const char *a, const char *b)
{
    while (*a && lower(*a) == lower(*b))
        a++, b++;
    return lower(*a) == lower(*b);
}

/* ---- What is sent ---------------------------------------------------------------------------- */

/* Most names differ in their first letter. */
static inline bool is_name(const char *a, const char *b)
{
    return lower(*a) == lower(*b) && lathe_same_word(a, b);
}

/* The header that stands for lists[list][index] after all replacements; NULL when an earlier list
 * has the same name, so that it was written there. */
static const lathe_header *effective(const lathe_header *const lists[], const size_t counts[],
                                     size_t list_count, size_t list, size_t index)
{
    const lathe_header *header = &lists[list][index];
    const char *name = header->name;
    for (size_t l = 0; l <= list; l++)
        for (size_t i = 0; i < (l == list ? index : counts[l]); i++)
            if (is_name(lists[l][i].name, name))
                return NULL;
    for (size_t l = list; l < list_count; l++)
        for (size_t i = 0; i < counts[l]; i++)
            if (is_name(lists[l][i].name, name))
                header = &lists[l][i];
    return header;
}

static size_t line_size(const lathe_header *header)
{
    return strlen(header->name) + strlen(header->value) + sizeof ": ";
}

static char *write_line(char *at, const lathe_header *header)
{
    size_t name = strlen(header->name), value = strlen(header->value);
    memcpy(at, header->name, name);
    at += name;
    if (!value) {
        memcpy(at, ";", 2);
        return at + 2;
    }
    memcpy(at, ": ", 2);
    memcpy(at + 2, header->value, value + 1);
    return at + 2 + value + 1;
}

lathe_code lathe_lines_init(lathe_lines *lines, const lathe_header *const lists[],
                            const size_t counts[], size_t list_count)
{
    *lines = (lathe_lines){0};
    size_t most = 0;
    for (size_t l = 0; l < list_count; l++) {
        most += counts[l];
        for (size_t i = 0; i < counts[l]; i++)
            lines->block_size += line_size(&lists[l][i]);
    }
    lines->items = lathe_calloc(most + 1, sizeof *lines->items);
    lines->block = lathe_malloc(lines->block_size);
    if (!lines->items || !lines->block)
        return LATHE_MEMORY;
    char *at = lines->block;
    for (size_t l = 0; l < list_count; l++)
        for (size_t i = 0; i < counts[l]; i++) {
            const lathe_header *header = effective(lists, counts, list_count, l, i);
            if (!header)
                continue;
            lines->items[lines->count++] = at;
            at = write_line(at, header);
        }
    return LATHE_OK;
}

void lathe_lines_clear(lathe_lines *lines)
{
    if (lines->block)
        lathe_wipe(lines->block, lines->block_size);
    lathe_free(lines->block);
    lathe_free(lines->items);
    lathe_free(lines->list);
    *lines = (lathe_lines){0};
}

/* ---- What users give ------------------------------------------------------------------------- */

static bool is_token(const char *name)
{
    for (const char *c = name; *c; c++) {
        bool word =
            (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9');
        if (!word && !strchr("!#$%&'*+-.^_`|~", *c))
            return false;
    }
    return *name != '\0';
}

static bool is_value(const char *value)
{
    for (const char *c = value; *c; c++)
        if ((*c < ' ' && *c != '\t') || *c > '~')
            return false;
    size_t size = strlen(value);
    return !size || (!strchr(" \t", value[0]) && !strchr(" \t", value[size - 1]));
}

static bool is_visible(const char *text)
{
    for (const char *c = text; *c; c++)
        if (*c <= ' ' || *c > '~')
            return false;
    return *text != '\0';
}

/* Why a header may not be given, or NULL. */
static const char *refusal(const char *name)
{
    static const char *const own[] = {"host",        "content-length", "transfer-encoding",
                                      "connection",  "expect",         "accept-encoding",
                                      "content-type"};
    if (lathe_same_word(name, "x-api-key"))
        return "give the key as api_key";
    if (lathe_same_word(name, "authorization"))
        return "give the token as auth_token";
    if (lathe_same_word(name, "anthropic-beta"))
        return "give beta names as betas";
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (lathe_same_word(name, own[i]))
            return "it is set by the library";
    return NULL;
}

lathe_code lathe_header_check(const lathe_header *header, const char *option, lathe_error *error)
{
    if (!is_token(header->name))
        return lathe_fail(error, LATHE_CONFIGURATION,
                          "%s: a header's name must be one or more ASCII letters, digits or "
                          "!#$%%&'*+-.^_`|~, and one is not",
                          option);
    const char *why = refusal(header->name);
    if (why)
        return lathe_fail(error, LATHE_CONFIGURATION, "%s: the header %.100s cannot be given: %s",
                          option, header->name, why);
    if (!is_value(header->value))
        return lathe_fail(error, LATHE_CONFIGURATION,
                          "%s: the value of the header %.100s must be printable ASCII without line "
                          "ends, and without white space at its ends",
                          option, header->name);
    return LATHE_OK;
}

lathe_code lathe_beta_check(const char *beta, const char *option, lathe_error *error)
{
    if (is_visible(beta) && !strchr(beta, ','))
        return LATHE_OK;
    return lathe_fail(error, LATHE_CONFIGURATION,
                      "%s: each must be one beta's name, printable ASCII without spaces or commas",
                      option);
}

lathe_code lathe_secret_check(const char *secret, const char *option, lathe_error *error)
{
    if (is_visible(secret))
        return LATHE_OK;
    return lathe_fail(error, LATHE_CONFIGURATION,
                      "%s is %s: it must be printable ASCII without spaces or line ends (its value "
                      "is not shown)",
                      option, *secret ? "malformed" : "empty");
}

/* ---- What is received ------------------------------------------------------------------------ */

typedef struct line {
    const char *name, *value;
    size_t name_size, value_size;
    bool done; /* written already */
} line;

/* So many need no memory of their own while they are parsed. */
enum { FEW_LINES = 24 };

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static void trim(const char **text, size_t *size)
{
    while (*size && is_blank(**text))
        ++*text, --*size;
    while (*size && is_blank((*text)[*size - 1]))
        --*size;
}

/* The next line with a colon, folded continuations included; false at the end. */
static bool next_line(const char **at, const char *end, line *out)
{
    while (*at < end) {
        const char *start = *at, *stop = start;
        do {
            const char *eol = memchr(stop, '\n', (size_t)(end - stop));
            stop = eol ? eol + 1 : end;
        } while (stop < end && (*stop == ' ' || *stop == '\t'));
        *at = stop;
        const char *colon = memchr(start, ':', (size_t)(stop - start));
        if (!colon || colon == start)
            continue;
        *out = (line){start, colon + 1, (size_t)(colon - start), (size_t)(stop - colon - 1), false};
        trim(&out->name, &out->name_size);
        trim(&out->value, &out->value_size);
        return true;
    }
    return false;
}

static bool same_name(const line *a, const line *b)
{
    if (a->name_size != b->name_size)
        return false;
    for (size_t i = 0; i < a->name_size; i++)
        if (lower(a->name[i]) != lower(b->name[i]))
            return false;
    return true;
}

/* Line ends inside a folded value become spaces. */
static char *write_value(char *at, const line *from)
{
    for (size_t i = 0; i < from->value_size; i++) {
        char c = from->value[i];
        *at++ = c == '\r' || c == '\n' ? ' ' : c;
    }
    return at;
}

static char *write_header(char *at, lathe_header *header, line *lines, size_t count, size_t index)
{
    header->name = at;
    for (size_t i = 0; i < lines[index].name_size; i++)
        *at++ = lower(lines[index].name[i]);
    *at++ = '\0';
    header->value = at;
    for (size_t i = index; i < count; i++) {
        if (lines[i].done || !same_name(&lines[index], &lines[i]))
            continue;
        lines[i].done = true;
        if (i != index) {
            *at++ = ',';
            *at++ = ' ';
        }
        at = write_value(at, &lines[i]);
    }
    *at++ = '\0';
    return at;
}

static size_t count_line_ends(const char *raw, size_t size)
{
    size_t count = 0;
    for (const char *at = raw, *end = raw + size; (at = memchr(at, '\n', (size_t)(end - at))); at++)
        count++;
    return count;
}

/* The lines are at most `most`. */
static lathe_code parse(lathe_headers *headers, const char *raw, size_t size, line *lines,
                        size_t most)
{
    size_t count = 0;
    headers->items = lathe_malloc(most * sizeof *headers->items);
    headers->block = lathe_malloc(size + 3 * most);
    if (!headers->items || !headers->block) {
        lathe_headers_clear(headers);
        return LATHE_MEMORY;
    }
    for (const char *at = raw; next_line(&at, raw + size, &lines[count]);)
        count++;
    char *at = headers->block;
    for (size_t i = 0; i < count; i++)
        if (!lines[i].done)
            at = write_header(at, &headers->items[headers->count++], lines, count, i);
    return LATHE_OK;
}

lathe_code lathe_headers_parse(lathe_headers *headers, const char *raw, size_t size)
{
    line few[FEW_LINES];
    const size_t most = count_line_ends(raw, size) + 1; /* the last may have none */
    line *lines = most <= FEW_LINES ? few : lathe_malloc(most * sizeof *lines);
    *headers = (lathe_headers){0};
    lathe_code code = lines ? parse(headers, raw, size, lines, most) : LATHE_MEMORY;
    if (lines != few)
        lathe_free(lines);
    return code;
}

static char *copy_word(char *at, const char *word, const char **place)
{
    size_t size = strlen(word) + 1;
    *place = memcpy(at, word, size);
    return at + size;
}

lathe_code lathe_headers_copy(lathe_headers *to, const lathe_headers *from)
{
    size_t size = 0;
    for (size_t i = 0; i < from->count; i++)
        size += strlen(from->items[i].name) + strlen(from->items[i].value) + 2;
    *to = (lathe_headers){.items = lathe_calloc(from->count + 1, sizeof *to->items),
                          .block = lathe_malloc(size)};
    if (!to->items || !to->block) {
        lathe_headers_clear(to);
        return LATHE_MEMORY;
    }
    char *at = to->block;
    for (; to->count < from->count; to->count++) {
        at = copy_word(at, from->items[to->count].name, &to->items[to->count].name);
        at = copy_word(at, from->items[to->count].value, &to->items[to->count].value);
    }
    return LATHE_OK;
}

void lathe_headers_clear(lathe_headers *headers)
{
    lathe_free(headers->items);
    lathe_free(headers->block);
    *headers = (lathe_headers){0};
}

const char *lathe_headers_get(const lathe_headers *headers, const char *name)
{
    for (size_t i = 0; i < headers->count; i++)
        if (!strcmp(headers->items[i].name, name))
            return headers->items[i].value;
    return NULL;
}
