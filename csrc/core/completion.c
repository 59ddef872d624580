/* Legacy Text Completions prompts: sanitizing, checking, conversion. Near misses of a marker are
 * near_miss.c's. */
#include <stdint.h>
#include <string.h>

#include "buf.h"
#include "error.h"
#include "near_miss.h"
#include "promptlathe.h"
#include "value.h"
#include "walk.h"
#include "words.h"

/* A prompt must have fewer tokens than this, and a token is at least one byte. */
enum { TOKEN_LIMIT = 100000 - 1 };

/* A turn's marker, "\n\nHuman:" or "\n\nAssistant:", and where its text begins. */
typedef struct turn_marker {
    bool human;
    size_t start, end;
} turn_marker;

/* The markers of a prompt. */
typedef struct summary {
    size_t humans, assistants;
    turn_marker first, last;
} summary;

/* The prompt being checked. */
typedef struct checked {
    const char *prompt;
    lathe_sanitized sanitized;
    lathe_faults *faults;
    lathe_buf *markers; /* takes each turn_marker; NULL: they are not needed */
} checked;

/* isspace in the C locale, whatever the locale in force. */
static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool begins_with(const char *data, size_t size, const char *word)
{
    size_t length = strlen(word);
    return size >= length && memcmp(data, word, length) == 0;
}

static lathe_text strip(const char *data, size_t size)
{
    while (size && is_space(data[size - 1]))
        size--;
    while (size && is_space(*data)) {
        data++;
        size--;
    }
    return (lathe_text){data, size};
}

lathe_sanitized lathe_completion_sanitize(const char *prompt, size_t size)
{
    if (!prompt)
        prompt = "";
    size_t start = 0, end = size;
    while (start < size && is_space(prompt[start]))
        start++;
    while (end && is_space(prompt[end - 1]))
        end--;
    bool human = begins_with(prompt + start, size - start, "Human:");
    bool clean = !human || (start == 2 && memcmp(prompt, "\n\n", 2) == 0);
    if (clean)
        start = 0;
    return (lathe_sanitized){
        .normalized = !clean, .stripped = end < size, .text = {prompt + start, end - start}};
}

/* Reads the marker that begins at `start`. */
static bool read_marker(lathe_text text, size_t start, turn_marker *found)
{
    const char *at = text.data + start;
    size_t size = text.size - start;
    if (!begins_with(at, size, "\n\n"))
        return false;
    bool human = begins_with(at + 2, size - 2, "Human:");
    if (!human && !begins_with(at + 2, size - 2, "Assistant:"))
        return false;
    *found = (turn_marker){human, start, start + 2 + strlen(human ? "Human:" : "Assistant:")};
    return true;
}

/* How many bytes are looked at together, and how many behind them. */
enum { STRIDE = 4 * LATHE_WORD, AHEAD = 2 };

/* Has a zero byte where two newlines and one of "@AHI" (both initials, in one comparison) begin. */
static uint64_t unlike_marker(const char *at)
{
    uint64_t initials = lathe_word(at + 2) & LATHE_EACH_BYTE(0xF6);
    return (lathe_word(at) ^ LATHE_EACH_BYTE('\n')) | (lathe_word(at + 1) ^ LATHE_EACH_BYTE('\n')) |
           (initials ^ LATHE_EACH_BYTE('A' & 0xF6));
}

/* Whether a marker may begin in the next STRIDE bytes. */
static bool may_hold_marker(const char *at)
{
    uint64_t found = 0;
    for (size_t i = 0; i < STRIDE; i += LATHE_WORD)
        found |= lathe_zero_bytes(unlike_marker(at + i));
    return found;
}

/* The first marker at or behind `from`. Most of a text is passed over by words. */
static bool next_marker(lathe_text text, size_t from, turn_marker *found)
{
    while (from < text.size) {
        size_t stop = text.size;
        if (text.size - from >= STRIDE + AHEAD) {
            stop = from + STRIDE;
            if (!may_hold_marker(text.data + from))
                from = stop;
        }
        for (; from < stop; from++)
            if (read_marker(text, from, found))
                return true;
    }
    return false;
}

/* The first marker of all; that of a prompt whose line breaks were normalised has none in `text`.
 */
static bool first_marker(const lathe_sanitized *sanitized, turn_marker *found)
{
    if (!sanitized->normalized)
        return next_marker(sanitized->text, 0, found);
    *found = (turn_marker){true, 0, strlen("Human:")};
    return true;
}

static lathe_code find_turns(const checked *check, summary *turns)
{
    turn_marker marker;
    lathe_code code = LATHE_OK;
    bool found = first_marker(&check->sanitized, &marker);
    for (; found && !code; found = next_marker(check->sanitized.text, marker.end, &marker)) {
        if (!turns->humans && !turns->assistants)
            turns->first = marker;
        turns->last = marker;
        turns->humans += marker.human;
        turns->assistants += !marker.human;
        if (check->markers)
            code = lathe_buf_append(check->markers, &marker, sizeof marker);
    }
    return code;
}

/* A place in the sanitized text as code points into the prompt as given. */
static int64_t offset_of(const checked *check, size_t place)
{
    size_t before = (size_t)(check->sanitized.text.data - check->prompt);
    return (int64_t)lathe_utf8_length(check->prompt, before + place);
}

static lathe_code add(const checked *check, const char *code, int64_t offset, const char *message)
{
    return lathe_faults_add(check->faults, "", 0, code, offset, "%s", message);
}

static lathe_code add_missing(const checked *check, bool human)
{
    const char *code = human ? "missing_human_turn" : "missing_assistant_turn";
    const char *word = human ? "Human" : "Assistant";
    lathe_near_miss miss;
    if (!lathe_near_miss_find(check->sanitized.text, human, &miss))
        return lathe_faults_add(check->faults, "", 0, code, -1,
                                "the prompt has no %s turn: begin one with \"\\n\\n%s:\"", word,
                                word);
    int64_t offset = offset_of(check, miss.start);
    return lathe_faults_add(
        check->faults, "", 0, code, offset,
        "the prompt has no %s turn: at code point %lld something comes close, but it %s; write it "
        "as \"\\n\\n%s:\"",
        word, (long long)offset, miss.flaws, word);
}

static lathe_code check_human(const checked *check, const summary *turns)
{
    if (!turns->humans)
        return add_missing(check, true);
    if (turns->first.human)
        return LATHE_OK;
    return add(check, "human_turn_not_first", offset_of(check, turns->first.start),
               "the first turn is an Assistant's: begin the prompt with a \"\\n\\nHuman:\" turn");
}

static lathe_code check_assistant(const checked *check, const summary *turns)
{
    if (!turns->assistants)
        return add_missing(check, false);
    if (!turns->last.human)
        return LATHE_OK;
    return add(check, "assistant_turn_not_last", offset_of(check, turns->last.start),
               "the last turn is a Human's: end the prompt with \"\\n\\nAssistant:\"");
}

/* Asks for the tokens of the sanitized prompt, which is copied only when it got a new beginning. */
static lathe_code ask(const lathe_sanitized *sanitized, lathe_count_tokens count, void *self,
                      int64_t *tokens)
{
    if (!sanitized->normalized)
        return count(self, sanitized->text.data, sanitized->text.size, tokens);
    lathe_buf buf;
    lathe_buf_init(&buf, SIZE_MAX / 2);
    lathe_code code = lathe_buf_append(&buf, "\n\n", 2);
    if (!code)
        code = lathe_buf_append(&buf, sanitized->text.data, sanitized->text.size);
    if (!code)
        code = count(self, buf.data, buf.size, tokens);
    lathe_buf_clear(&buf);
    return code;
}

static lathe_code check_tokens(const checked *check, lathe_count_tokens count, void *self)
{
    if (check->sanitized.text.size + (check->sanitized.normalized ? 2 : 0) < TOKEN_LIMIT)
        return LATHE_OK;
    if (!count)
        return add(check, "token_count_unknown", -1,
                   "the prompt may have 99,999 tokens or more: pass count_tokens, or shorten it to "
                   "less than 99,999 bytes");
    int64_t tokens = 0;
    lathe_code code = ask(&check->sanitized, count, self, &tokens);
    if (code || tokens < TOKEN_LIMIT)
        return code;
    return add(check, "too_many_tokens", -1,
               "the prompt must have fewer than 99,999 tokens: shorten it");
}

/* Binding and C programs alike may hand in bytes that are no text; a lone surrogate comes as three
 * bytes, and all before it is valid. */
static lathe_code check_unicode(const checked *check, size_t size, bool *valid)
{
    size_t prefix = lathe_utf8_prefix(check->prompt, size);
    *valid = prefix == size;
    if (*valid)
        return LATHE_OK;
    return add(check, "not_unicode", (int64_t)lathe_utf8_length(check->prompt, prefix),
               "the prompt holds a lone surrogate or bytes that are no UTF-8: remove or replace "
               "them");
}

static lathe_code check_turns(const checked *check, lathe_count_tokens count, void *self)
{
    summary turns = {0};
    lathe_code code = find_turns(check, &turns);
    if (!code)
        code = check_human(check, &turns);
    if (!code)
        code = check_assistant(check, &turns);
    return code ? code : check_tokens(check, count, self);
}

static lathe_code check_prompt(checked *check, lathe_prompt prompt, lathe_count_tokens count,
                               void *self, lathe_error *error)
{
    check->prompt = prompt.data ? prompt.data : "";
    check->sanitized = lathe_completion_sanitize(check->prompt, prompt.size);
    check->faults = &error->faults;
    bool valid = prompt.is_utf8;
    lathe_code code = valid ? LATHE_OK : check_unicode(check, prompt.size, &valid);
    if (!code && valid)
        code = check_turns(check, count, self);
    return lathe_end_rule(error, code, LATHE_INVALID_PROMPT);
}

lathe_code lathe_completion_check(lathe_prompt prompt, lathe_count_tokens count, void *self,
                                  lathe_sanitized *sanitized, lathe_error *error)
{
    checked check = {0};
    lathe_code code = check_prompt(&check, prompt, count, self, error);
    if (sanitized)
        *sanitized = check.sanitized;
    return code;
}

static lathe_code feed_turn(const lathe_sink *sink, bool human, lathe_text text)
{
    if (!text.size)
        return LATHE_OK;
    lathe_code code = lathe_sink_begin_message(sink, !human, NULL);
    if (!code)
        code = lathe_sink_text_block(sink, text, NULL);
    if (!code)
        code = sink->table->end(sink->self);
    return code ? code : sink->table->end(sink->self);
}

static lathe_code feed_turns(const lathe_sink *sink, lathe_text text, const turn_marker *turns,
                             size_t count)
{
    lathe_code code = sink->table->begin_list(sink->self);
    for (size_t i = 0; i < count && !code; i++) {
        size_t end = i + 1 < count ? turns[i + 1].start : text.size;
        code = feed_turn(sink, turns[i].human, strip(text.data + turns[i].end, end - turns[i].end));
    }
    return code ? code : sink->table->end(sink->self);
}

/* Of a valid prompt, which has a turn. */
static lathe_code feed_prompt(const lathe_sink *sink, const checked *check)
{
    lathe_text text = check->sanitized.text;
    const turn_marker *turns = (const void *)check->markers->data;
    lathe_text system = strip(text.data, turns->start);
    lathe_code code = sink->table->begin_object(sink->self);
    if (!code)
        code = lathe_sink_member(sink, "system", system.data, system.size);
    if (!code)
        code = lathe_sink_key(sink, "messages");
    if (!code)
        code = feed_turns(sink, text, turns, check->markers->size / sizeof *turns);
    return code ? code : sink->table->end(sink->self);
}

lathe_code lathe_completion_convert(lathe_prompt prompt, lathe_count_tokens count, void *self,
                                    const lathe_sink *sink, lathe_error *error)
{
    lathe_buf markers;
    lathe_buf_init(&markers, SIZE_MAX / 2);
    checked check = {.markers = &markers};
    lathe_code code = check_prompt(&check, prompt, count, self, error);
    if (!code) {
        code = feed_prompt(sink, &check);
        if (code)
            lathe_fail(error, code, NULL);
    }
    lathe_buf_clear(&markers);
    return code;
}
