/* Short names for what the rules ask of a host's values. */
#ifndef LATHE_VALUE_H
#define LATHE_VALUE_H

#include "promptlathe.h"

static inline lathe_kind lathe_kind_of(const lathe_source *source, const void *value)
{
    return source->table->kind(source->self, value);
}

static inline lathe_code lathe_text_of(const lathe_source *source, const void *value,
                                       lathe_text *text)
{
    return source->table->text(source->self, value, text);
}

/* Whether the sink takes the source's values as they are. */
static inline bool lathe_same_host(const lathe_source *source, const lathe_sink *sink)
{
    return sink->table->host == source->table;
}

/* Valid UTF-8 as Unicode defines it: no surrogates, no overlong forms, nothing above U+10FFFF. */
bool lathe_utf8_valid(const char *data, size_t size);
/* How many bytes at the beginning are valid UTF-8. */
size_t lathe_utf8_prefix(const char *data, size_t size);
/* Code points in valid UTF-8. */
size_t lathe_utf8_length(const char *data, size_t size);

/* "key": "value" into an object. */
lathe_code lathe_sink_member(const lathe_sink *sink, const char *key, const char *data,
                             size_t size);
/* A key given as a C string. */
lathe_code lathe_sink_key(const lathe_sink *sink, const char *key);
/* The two short cuts of the sink's table, or the steps that they stand for. */
lathe_code lathe_sink_begin_message(const lathe_sink *sink, bool assistant, const void *given);
lathe_code lathe_sink_text_block(const lathe_sink *sink, lathe_text text, const void *given);

#endif
