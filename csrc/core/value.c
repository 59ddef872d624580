#include "value.h"

#include <string.h>

/* Bytes of the sequence at `text`, 0 when it is not valid. */
static size_t sequence(const unsigned char *text, size_t size)
{
    unsigned char lead = text[0];
    if (lead < 0x80)
        return 1;
    if (lead < 0xC2 || lead > 0xF4)
        return 0;
    size_t length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    if (size < length)
        return 0;
    for (size_t i = 1; i < length; i++)
        if ((text[i] & 0xC0) != 0x80)
            return 0;
    if ((lead == 0xE0 && text[1] < 0xA0) || (lead == 0xED && text[1] > 0x9F) ||
        (lead == 0xF0 && text[1] < 0x90) || (lead == 0xF4 && text[1] > 0x8F))
        return 0;
    return length;
}

/* Eight ASCII bytes at once: most text is little else. */
static bool is_ascii_word(const unsigned char *text)
{
    uint64_t word;
    memcpy(&word, text, sizeof word);
    return !(word & UINT64_C(0x8080808080808080));
}

size_t lathe_utf8_prefix(const char *data, size_t size)
{
    const unsigned char *text = (const unsigned char *)data;
    size_t i = 0;
    while (i < size) {
        size_t step = size - i >= 8 && is_ascii_word(text + i) ? 8 : sequence(text + i, size - i);
        if (!step)
            break;
        i += step;
    }
    return i;
}

bool lathe_utf8_valid(const char *data, size_t size)
{
    return lathe_utf8_prefix(data, size) == size;
}

size_t lathe_utf8_length(const char *data, size_t size)
{
    size_t length = 0;
    for (size_t i = 0; i < size; i++)
        length += ((unsigned char)data[i] & 0xC0) != 0x80;
    return length;
}

lathe_code lathe_sink_key(const lathe_sink *sink, const char *key)
{
    return sink->table->key(sink->self, key, strlen(key));
}

lathe_code lathe_sink_member(const lathe_sink *sink, const char *key, const char *data, size_t size)
{
    lathe_code code = lathe_sink_key(sink, key);
    return code ? code : sink->table->string(sink->self, data, size);
}

lathe_code lathe_sink_text_block(const lathe_sink *sink, const char *data, size_t size)
{
    lathe_code code = sink->table->begin_object(sink->self);
    if (!code)
        code = lathe_sink_member(sink, "type", "text", 4);
    if (!code)
        code = lathe_sink_member(sink, "text", data, size);
    return code ? code : sink->table->end(sink->self);
}
