#include "value.h"

#include <string.h>

#include "words.h"

/* ---- UTF-8 ----
 *
 * An automaton whose states are the places of bits in one number per byte: shifted by the old
 * state, that number has the new one in its last 6 bits. Its time does not depend on the text. */
enum {
    WRONG = 0, /* so that what is not told leads there */
    WHOLE = 6, /* between characters */
    TAIL_1 = 12,
    TAIL_2 = 18,
    TAIL_3 = 24,
    AFTER_E0 = 30, /* 80 to 9F would be overlong */
    AFTER_ED = 36, /* A0 to BF would be surrogates */
    AFTER_F0 = 42, /* 80 to 8F would be overlong */
    AFTER_F4 = 48, /* 90 to BF would be too large */
};

#define GO(from, to) ((uint64_t)(to) << (from))
#define TAIL         (GO(TAIL_1, WHOLE) | GO(TAIL_2, TAIL_1) | GO(TAIL_3, TAIL_2))

#define TWICE(row)    row, row
#define FOURFOLD(row) TWICE(row), TWICE(row)
#define BY_16(row)    FOURFOLD(row), FOURFOLD(row), FOURFOLD(row), FOURFOLD(row)

static const uint64_t moves[256] = {
    /* 00 */ BY_16(GO(WHOLE, WHOLE)),
    BY_16(GO(WHOLE, WHOLE)),
    BY_16(GO(WHOLE, WHOLE)),
    /* 30 */ BY_16(GO(WHOLE, WHOLE)),
    BY_16(GO(WHOLE, WHOLE)),
    BY_16(GO(WHOLE, WHOLE)),
    /* 60 */ BY_16(GO(WHOLE, WHOLE)),
    BY_16(GO(WHOLE, WHOLE)),
    /* 80 */ BY_16(TAIL | GO(AFTER_ED, TAIL_1) | GO(AFTER_F4, TAIL_2)),
    /* 90 */ BY_16(TAIL | GO(AFTER_ED, TAIL_1) | GO(AFTER_F0, TAIL_2)),
    /* A0 */ BY_16(TAIL | GO(AFTER_E0, TAIL_1) | GO(AFTER_F0, TAIL_2)),
    /* B0 */ BY_16(TAIL | GO(AFTER_E0, TAIL_1) | GO(AFTER_F0, TAIL_2)),
    /* C0 */ TWICE(WRONG),
    TWICE(GO(WHOLE, TAIL_1)),
    FOURFOLD(GO(WHOLE, TAIL_1)),
    /* C8 */ FOURFOLD(GO(WHOLE, TAIL_1)),
    FOURFOLD(GO(WHOLE, TAIL_1)),
    BY_16(GO(WHOLE, TAIL_1)),
    /* E0 */ GO(WHOLE, AFTER_E0),
    TWICE(GO(WHOLE, TAIL_2)),
    GO(WHOLE, TAIL_2),
    /* E4 */ FOURFOLD(GO(WHOLE, TAIL_2)),
    FOURFOLD(GO(WHOLE, TAIL_2)),
    GO(WHOLE, TAIL_2),
    /* ED */ GO(WHOLE, AFTER_ED),
    TWICE(GO(WHOLE, TAIL_2)),
    GO(WHOLE, AFTER_F0),
    /* F1 */ TWICE(GO(WHOLE, TAIL_3)),
    GO(WHOLE, TAIL_3),
    GO(WHOLE, AFTER_F4),
};

static unsigned state_of(uint64_t state)
{
    return state & 63;
}

static uint64_t move(uint64_t state, char byte)
{
    return moves[(unsigned char)byte] >> state_of(state);
}

static uint64_t move_by_4(uint64_t state, const char *bytes)
{
    return move(move(move(move(state, bytes[0]), bytes[1]), bytes[2]), bytes[3]);
}

/* Where the last whole character ends, when the one before `from` does there. */
static size_t last_whole(const char *data, size_t from, size_t size)
{
    uint64_t state = WHOLE;
    for (size_t i = from; i < size && state_of(state) != WRONG; i++) {
        state = move(state, data[i]);
        if (state_of(state) == WHOLE)
            from = i + 1;
    }
    return from;
}

/* Eight ASCII bytes at once: most text is little else. */
static bool is_ascii_word(const char *text)
{
    return !(lathe_word(text) & LATHE_EACH_BYTE(0x80));
}

size_t lathe_utf8_prefix(const char *data, size_t size)
{
    size_t i = 0, whole = 0;
    uint64_t state = WHOLE;
    for (; size - i >= 8 && state_of(state) != WRONG; i += 8) {
        if (state_of(state) == WHOLE) {
            whole = i;
            if (is_ascii_word(data + i))
                continue;
        }
        state = move_by_4(move_by_4(state, data + i), data + i + 4);
    }
    for (; i < size; i++)
        state = move(state, data[i]);
    return state_of(state) == WHOLE ? size : last_whole(data, whole, size);
}

bool lathe_utf8_valid(const char *data, size_t size)
{
    return lathe_utf8_prefix(data, size) == size;
}

/* Bytes of a word that go on with a character: 10 and six bits. The product's top byte is
 * their sum. */
static size_t count_tails(uint64_t word)
{
    uint64_t ones = word >> 7 & ~(word >> 6) & LATHE_EACH_BYTE(1);
    return (size_t)(ones * LATHE_EACH_BYTE(1) >> 56);
}

size_t lathe_utf8_length(const char *data, size_t size)
{
    size_t tails = 0, i = 0;
    for (; size - i >= LATHE_WORD; i += LATHE_WORD)
        tails += count_tails(lathe_word(data + i));
    for (; i < size; i++)
        tails += ((unsigned char)data[i] & 0xC0) == 0x80;
    return size - tails;
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

static lathe_code feed_string(const lathe_sink *sink, lathe_text text, const void *given)
{
    return given ? sink->table->pass(sink->self, given)
                 : sink->table->string(sink->self, text.data, text.size);
}

lathe_code lathe_sink_begin_message(const lathe_sink *sink, bool assistant, const void *given)
{
    if (sink->table->begin_message)
        return sink->table->begin_message(sink->self, assistant, given);
    const lathe_text role = assistant ? (lathe_text){"assistant", 9} : (lathe_text){"user", 4};
    lathe_code code = sink->table->begin_object(sink->self);
    if (!code)
        code = lathe_sink_key(sink, "role");
    if (!code)
        code = feed_string(sink, role, given);
    if (!code)
        code = lathe_sink_key(sink, "content");
    return code ? code : sink->table->begin_list(sink->self);
}

lathe_code lathe_sink_text_block(const lathe_sink *sink, lathe_text text, const void *given)
{
    if (sink->table->text_block)
        return sink->table->text_block(sink->self, text.data, text.size, given);
    lathe_code code = sink->table->begin_object(sink->self);
    if (!code)
        code = lathe_sink_member(sink, "type", "text", 4);
    if (!code)
        code = lathe_sink_key(sink, "text");
    if (!code)
        code = feed_string(sink, text, given);
    return code ? code : sink->table->end(sink->self);
}
