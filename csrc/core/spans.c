#include "spans.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alloc.h"
#include "buf.h"
#include "template.h"

/* A proposal of the model. */
typedef struct span {
    lathe_text name, text; /* as given */
    size_t order;
    size_t count;     /* of places where it is replaced */
    bool inside_word; /* it stands within words */
    bool taken;       /* it stands where something else has been replaced, or a variable is */
    char given[80];   /* the name that it gets */
} span;

/* Who has a byte of a text: nobody, a variable that was there, or a span. */
enum { FREE = 0, VARIABLE = 1, FIRST_SPAN = 2, START = 1 << 30 };

/* One text of the prompt. */
typedef struct place {
    json_t *holder; /* the object whose member `key` it is */
    const char *key;
    lathe_text text;
    uint32_t *owners; /* by byte; START at the first one of a span */
} place;

typedef struct work {
    span *spans; /* by falling length */
    size_t span_count;
    place *places;
    size_t place_count;
    json_t *notes;
} work;

static lathe_text text_of(const json_t *string)
{
    return (lathe_text){json_string_value(string), json_string_length(string)};
}

static bool same(lathe_text a, lathe_text b)
{
    return a.size == b.size && !memcmp(a.data, b.data, a.size);
}

bool lathe_spans_valid(const json_t *spans)
{
    for (size_t i = 0; i < json_array_size(spans); i++) {
        const json_t *each = json_array_get(spans, i);
        if (!json_is_string(json_object_get(each, "name")) ||
            !json_is_string(json_object_get(each, "text")))
            return false;
    }
    return json_is_array(spans);
}

static lathe_code note(const work *w, const char *code, const char *message, const span *s)
{
    json_t *made = json_pack("{s:s,s:s,s:s%,s:s%}", "code", code, "message", message, "name",
                             s->name.data, s->name.size, "text", s->text.data, s->text.size);
    return made && !json_array_append_new(w->notes, made) ? LATHE_OK : LATHE_MEMORY;
}

/* ---- What is proposed ------------------------------------------------------------------------ */

/* True: it is one of ours now, or of no use and noted. */
static lathe_code take_span(work *w, const json_t *given)
{
    span new = {.name = text_of(json_object_get(given, "name")),
                .text = text_of(json_object_get(given, "text")),
                .order = w->span_count};
    if (!new.text.size)
        return note(w, "empty", "its text is empty", &new);
    for (size_t i = 0; i < w->span_count; i++) {
        if (!same(w->spans[i].text, new.text))
            continue;
        return same(w->spans[i].name, new.name)
                   ? LATHE_OK
                   : note(w, "clash", "its text has another name already", &new);
    }
    if (w->span_count == LATHE_SPANS_MOST)
        return note(w, "too_many", "there are more than 256 of them", &new);
    w->spans[w->span_count++] = new;
    return LATHE_OK;
}

static int by_length(const void *left, const void *right)
{
    const span *a = left, *b = right;
    if (a->text.size != b->text.size)
        return a->text.size < b->text.size ? 1 : -1;
    return a->order < b->order ? -1 : 1;
}

static int by_order(const void *left, const void *right)
{
    const span *a = left, *b = right;
    return a->order < b->order ? -1 : 1;
}

/* ---- Where it stands ------------------------------------------------------------------------- */

static lathe_code add_place(work *w, json_t *holder, const char *key)
{
    lathe_text text = text_of(json_object_get(holder, key));
    uint32_t *owners = lathe_calloc(text.size + 1, sizeof *owners);
    if (!owners)
        return LATHE_MEMORY;
    lathe_variable variable;
    for (size_t from = 0; lathe_next_variable(text, from, &variable); from = variable.end)
        for (size_t i = variable.start; i < variable.end; i++)
            owners[i] = VARIABLE;
    w->places[w->place_count++] = (place){holder, key, text, owners};
    return LATHE_OK;
}

static size_t count_places(const json_t *messages)
{
    size_t count = 1;
    for (size_t i = 0; i < json_array_size(messages); i++)
        count += json_array_size(json_object_get(json_array_get(messages, i), "content"));
    return count;
}

static lathe_code find_places(work *w, json_t *prompt)
{
    json_t *messages = json_object_get(prompt, "messages");
    w->places = lathe_calloc(count_places(messages), sizeof *w->places);
    lathe_code code = w->places ? add_place(w, prompt, "system") : LATHE_MEMORY;
    for (size_t i = 0; i < json_array_size(messages); i++) {
        json_t *content = json_object_get(json_array_get(messages, i), "content");
        for (size_t b = 0; b < json_array_size(content) && !code; b++)
            code = add_place(w, json_array_get(content, b), "text");
    }
    return code;
}

static bool in_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

/* A letter of two or three bytes of Latin, Greek or Cyrillic, whose words have spaces between. Of
 * other scripts it is not known where a word ends. */
static bool is_letter(const unsigned char *at)
{
    unsigned code = 0;
    if (at[0] >= 0xC0 && at[0] < 0xE0)
        code = (at[0] & 0x1FU) << 6 | (at[1] & 0x3FU);
    else if (at[0] >= 0xE0 && at[0] < 0xF0)
        code = (at[0] & 0x0FU) << 12 | (at[1] & 0x3FU) << 6 | (at[2] & 0x3FU);
    if (code == 0xD7 || code == 0xF7 || code == 0x37E || code == 0x387)
        return false; /* signs among them */
    return (code >= 0xC0 && code < 0x250) || (code >= 0x370 && code < 0x530) ||
           (code >= 0x1E00 && code < 0x2000);
}

/* Whether the character that begins at `at` belongs to a word. */
static bool word_at(lathe_text text, size_t at)
{
    return in_word(text.data[at]) || is_letter((const unsigned char *)text.data + at);
}

static bool word_before(lathe_text text, size_t at)
{
    do
        at--;
    while (at && ((unsigned char)text.data[at] & 0xC0) == 0x80);
    return word_at(text, at);
}

/* Whether one word goes on across a place between two characters. */
static bool within_word(lathe_text text, size_t at)
{
    return at && at < text.size && word_before(text, at) && word_at(text, at);
}

static bool splits_word(lathe_text text, size_t start, size_t end)
{
    return within_word(text, start) || within_word(text, end);
}

/* Marks what a span that ends before `end` has replaced. */
static void claim(const place *p, span *s, size_t end, uint32_t owner)
{
    for (size_t i = end - s->text.size; i < end; i++)
        p->owners[i] = owner;
    p->owners[end - s->text.size] |= START;
    s->count++;
}

/* For each beginning of a text, how much of it stands at its own end once more (Knuth, Morris,
 * Pratt): where to go on after a mismatch. */
static void measure_borders(lathe_text text, size_t *borders)
{
    borders[0] = 0;
    for (size_t i = 1, same = 0; i < text.size; i++) {
        while (same && text.data[i] != text.data[same])
            same = borders[same - 1];
        same += text.data[i] == text.data[same];
        borders[i] = same;
    }
}

/* Looks at each place where the text stands, also at those that overlap, in one pass. */
static void claim_all(const place *p, span *s, const size_t *borders, uint32_t owner)
{
    const lathe_text text = p->text, wanted = s->text;
    size_t same = 0, free_from = 0; /* behind the last byte that somebody has */
    for (size_t i = 0; i < text.size; i++) {
        const char *first = same ? NULL : memchr(text.data + i, *wanted.data, text.size - i);
        if (!same && !first)
            return;
        if (first) /* who has what comes before it is of no concern */
            i = (size_t)(first - text.data);
        if (p->owners[i] != FREE)
            free_from = i + 1;
        while (same && text.data[i] != wanted.data[same])
            same = borders[same - 1];
        same += text.data[i] == wanted.data[same];
        if (same < wanted.size)
            continue;
        const size_t end = i + 1, start = end - same;
        const bool splits = splits_word(text, start, end), taken = start < free_from;
        s->inside_word |= splits;
        s->taken |= !splits && taken;
        same = borders[same - 1];
        if (splits || taken)
            continue;
        claim(p, s, end, owner);
        free_from = end;
    }
}

/* Owners are numbered by the order in which the spans were named. */
static lathe_code claim_places(const work *w)
{
    size_t *borders = lathe_calloc(w->span_count ? w->spans[0].text.size : 1, sizeof *borders);
    for (size_t n = 0; borders && n < w->span_count; n++) {
        span *s = &w->spans[n];
        measure_borders(s->text, borders);
        for (size_t p = 0; p < w->place_count; p++)
            claim_all(&w->places[p], s, borders, (uint32_t)(FIRST_SPAN + s->order));
    }
    lathe_free(borders);
    return borders ? LATHE_OK : LATHE_MEMORY;
}

/* ---- Names ----------------------------------------------------------------------------------- */

/* What of a name fits into our form; "" when nothing does. */
static void shape_name(lathe_text name, char *shaped, size_t room)
{
    size_t size = 0;
    for (size_t i = 0; i < name.size && size + 1 < room; i++) {
        char c = name.data[i];
        if (c >= 'a' && c <= 'z')
            c = (char)(c - 'a' + 'A');
        if (in_word(c) && (size || c < '0' || c > '9'))
            shaped[size++] = c;
        else if (size && shaped[size - 1] != '_')
            shaped[size++] = '_';
    }
    while (size && shaped[size - 1] == '_')
        size--;
    shaped[size] = '\0';
}

json_t *lathe_name_table(const json_t *names)
{
    json_t *set = json_object();
    for (size_t i = 0; set && i < json_array_size(names); i++)
        if (json_object_set_new(set, json_string_value(json_array_get(names, i)), json_true())) {
            json_decref(set);
            return NULL;
        }
    return set;
}

/* Its name, which is one of the `used` ones from now on. */
static lathe_code name_span(const work *w, json_t *used, span *s)
{
    char shaped[64];
    shape_name(s->name, shaped, sizeof shaped);
    snprintf(s->given, sizeof s->given, "%s", *shaped ? shaped : "VALUE");
    for (unsigned n = 2; json_object_get(used, s->given); n++)
        snprintf(s->given, sizeof s->given, "%s_%u", *shaped ? shaped : "VALUE", n);
    if (json_object_set_new(used, s->given, json_true()))
        return LATHE_MEMORY;
    if (same(s->name, (lathe_text){s->given, strlen(s->given)}))
        return LATHE_OK;
    char message[128];
    snprintf(message, sizeof message, "it is called %s", s->given);
    return note(w, "renamed", message, s);
}

static lathe_code name_spans(const work *w, const json_t *variables)
{
    json_t *used = lathe_name_table(variables);
    lathe_code code = used ? LATHE_OK : LATHE_MEMORY;
    for (size_t i = 0; i < w->span_count && !code; i++) {
        span *s = &w->spans[i];
        if (s->count)
            code = name_span(w, used, s);
        else if (s->taken)
            code = note(w, "overlaps", "it stands only where something else is a variable", s);
        else if (s->inside_word)
            code = note(w, "inside_word", "it stands only within words", s);
        else
            code = note(w, "not_found", "it does not stand in the prompt", s);
    }
    json_decref(used);
    return code;
}

/* ---- The template ---------------------------------------------------------------------------- */

static lathe_code write_place(const work *w, const place *p, lathe_buf *out)
{
    lathe_code code = LATHE_OK;
    for (size_t at = 0; at < p->text.size && !code;) {
        uint32_t owner = p->owners[at] & ~(uint32_t)START;
        if (p->owners[at] & START) {
            const span *s = &w->spans[owner - FIRST_SPAN];
            code = lathe_buf_printf(out, "{{%s}}", s->given);
            at += s->text.size;
            continue;
        }
        size_t end = at;
        while (end < p->text.size && !(p->owners[end] & START))
            end++;
        code = lathe_buf_append(out, p->text.data + at, end - at);
        at = end;
    }
    return code;
}

static lathe_code rewrite(const work *w, const place *p)
{
    lathe_buf out;
    lathe_buf_init(&out, SIZE_MAX / 2);
    lathe_code code = write_place(w, p, &out);
    json_t *text = code ? NULL : json_stringn(out.data ? out.data : "", out.size);
    lathe_buf_clear(&out);
    return text && !json_object_set_new(p->holder, p->key, text) ? LATHE_OK : LATHE_MEMORY;
}

/* The spans' own texts are the answer's, not the prompt's. */
static lathe_code build(const work *w, json_t *prompt)
{
    json_t *values = json_object();
    lathe_code code =
        values && !json_object_set_new(prompt, "variable_values", values) ? LATHE_OK : LATHE_MEMORY;
    for (size_t i = 0; i < w->span_count && !code; i++) {
        const span *s = &w->spans[i];
        json_t *text = s->count ? json_stringn(s->text.data, s->text.size) : NULL;
        if (s->count && (!text || json_object_set_new(values, s->given, text)))
            code = LATHE_MEMORY;
    }
    for (size_t i = 0; i < w->place_count && !code; i++)
        code = rewrite(w, &w->places[i]);
    return code;
}

static void sort(const work *w, int (*order)(const void *, const void *))
{
    if (w->span_count)
        qsort(w->spans, w->span_count, sizeof *w->spans, order);
}

lathe_code lathe_spans_replace(json_t *prompt, const json_t *spans, const json_t *variables,
                               json_t *notes)
{
    work w = {.notes = notes};
    w.spans = lathe_calloc(LATHE_SPANS_MOST, sizeof *w.spans);
    lathe_code code = w.spans ? LATHE_OK : LATHE_MEMORY;
    for (size_t i = 0; i < json_array_size(spans) && !code; i++)
        code = take_span(&w, json_array_get(spans, i));
    if (!code)
        code = find_places(&w, prompt);
    if (!code) {
        sort(&w, by_length);
        code = claim_places(&w);
        sort(&w, by_order);
    }
    if (!code)
        code = name_spans(&w, variables);
    if (!code)
        code = build(&w, prompt);
    for (size_t i = 0; i < w.place_count; i++)
        lathe_free(w.places[i].owners);
    lathe_free(w.places);
    lathe_free(w.spans);
    return code;
}
