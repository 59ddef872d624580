#include "quote.h"

#include <jansson.h>
#include <stdint.h>
#include <string.h>

enum { RUN = 12, SHORTEST = 4, BITS = 1 << 15 };

_Static_assert(RUN == sizeof(uint64_t) + sizeof(uint32_t), "a run is hashed as two numbers");

/* The runs of the message, as a set that a text of megabytes can be held against byte by byte. */
typedef struct runs {
    const char *message;
    size_t size;
    unsigned char set[BITS / 8];
} runs;

/* Of all twelve bytes, taken as two numbers: this runs for every byte of a request. */
static unsigned hash(const char *run)
{
    uint64_t head;
    uint32_t tail;
    memcpy(&head, run, sizeof head);
    memcpy(&tail, run + sizeof head, sizeof tail);
    head ^= tail * UINT64_C(0x9E3779B97F4A7C15);
    return (unsigned)(head * UINT64_C(0xBF58476D1CE4E5B9) >> 32) % BITS;
}

static void runs_init(runs *self, const char *message)
{
    *self = (runs){.message = message, .size = strlen(message)};
    if (self->size > LATHE_WORDS_SHOWN)
        self->size = LATHE_WORDS_SHOWN;
    for (size_t i = 0; i + RUN <= self->size; i++) {
        unsigned bit = hash(message + i);
        self->set[bit / 8] = (unsigned char)(self->set[bit / 8] | 1U << bit % 8);
    }
}

static bool holds_run(const runs *self, const char *run)
{
    unsigned bit = hash(run);
    if (!(self->set[bit / 8] & 1U << bit % 8))
        return false;
    for (size_t i = 0; i + RUN <= self->size; i++)
        if (!memcmp(self->message + i, run, RUN))
            return true;
    return false;
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/* Whether a short text stands in the message as a word of its own. */
static bool holds_word(const runs *self, const char *text, size_t size)
{
    for (size_t i = 0; i + size <= self->size; i++) {
        const char *at = self->message + i;
        bool begins = i == 0 || !is_letter(at[-1]) || !is_letter(at[0]);
        bool ends = i + size == self->size || !is_letter(at[size]) || !is_letter(at[size - 1]);
        if (begins && ends && !memcmp(at, text, size))
            return true;
    }
    return false;
}

static bool is_quoted(const runs *self, const char *text, size_t size)
{
    if (size < RUN)
        return size >= SHORTEST && holds_word(self, text, size);
    for (size_t i = 0; i + RUN <= size; i++)
        if (holds_run(self, text + i))
            return true;
    return false;
}

/* Recurses no deeper than a request body, which the library itself wrote. */
static bool any_quoted(const runs *self, json_t *value)
{
    const char *key;
    json_t *member;
    if (json_is_string(value))
        return is_quoted(self, json_string_value(value), json_string_length(value));
    for (size_t i = 0; i < json_array_size(value); i++)
        if (any_quoted(self, json_array_get(value, i)))
            return true;
    json_object_foreach(value, key, member)
    {
        bool ours = !strcmp(key, "role") || !strcmp(key, "type");
        if (!ours && any_quoted(self, member))
            return true;
    }
    return false;
}

bool lathe_quotes(const char *message, const lathe_text *sent)
{
    runs words;
    if (!sent->size)
        return false;
    json_t *body = json_loadb(sent->data, sent->size, JSON_ALLOW_NUL, NULL);
    runs_init(&words, message);
    bool quotes = !body || any_quoted(&words, body);
    json_decref(body);
    return quotes;
}
