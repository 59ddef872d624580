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

/* The first marker at or behind `from`. */
static bool next_marker(lathe_text text, size_t from, turn_marker *found)
{
    const char *end = text.data + text.size;
    for (const char *at = text.data + from; at < end; at++) {
        at = memchr(at, '\n', (size_t)(end - at));
        if (!at || end - at < 2)
            return false;
        if (at[1] != '\n')
            continue;
        size_t rest = (size_t)(end - at) - 2, start = (size_t)(at - text.data);
        bool human = begins_with(at + 2, rest, "Human:");
        if (!human && !begins_with(at + 2, rest, "Assistant:"))
            continue;
        *found = (turn_marker){human, start, start + 2 + strlen(human ? "Human:" : "Assistant:")};
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

static summary find_turns(const lathe_sanitized *sanitized)
{
    summary turns = {0};
    turn_marker marker;
    bool found = first_marker(sanitized, &marker);
    for (; found; found = next_marker(sanitized->text, marker.end, &marker)) {
        if (!turns.humans && !turns.assistants)
            turns.first = marker;
        turns.last = marker;
        turns.humans += marker.human;
        turns.assistants += !marker.human;
    }
    return turns;
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
    return lathe_faults_add(
        check->faults, "", 0, code, offset_of(check, miss.start),
        "the prompt has no %s turn: at code point %lld something comes close, but it %s; write it "
        "as \"\\n\\n%s:\"",
        word, (long long)offset_of(check, miss.start), miss.flaws, word);
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
    summary turns = find_turns(&check->sanitized);
    lathe_code code = check_human(check, &turns);
    if (!code)
        code = check_assistant(check, &turns);
    return code ? code : check_tokens(check, count, self);
}

lathe_code lathe_completion_check(const char *prompt, size_t size, lathe_count_tokens count,
                                  void *self, lathe_sanitized *sanitized, lathe_error *error)
{
    if (!prompt)
        prompt = "";
    checked check = {prompt, lathe_completion_sanitize(prompt, size), &error->faults};
    if (sanitized)
        *sanitized = check.sanitized;
    bool valid;
    lathe_code code = check_unicode(&check, size, &valid);
    if (!code && valid)
        code = check_turns(&check, count, self);
    return lathe_end_rule(error, code, LATHE_INVALID_PROMPT);
}

static lathe_code feed_turn(const lathe_sink *sink, bool human, lathe_text text)
{
    if (!text.size)
        return LATHE_OK;
    lathe_code code = sink->table->begin_object(sink->self);
    if (!code)
        code = human ? lathe_sink_member(sink, "role", "user", 4)
                     : lathe_sink_member(sink, "role", "assistant", 9);
    if (!code)
        code = lathe_sink_key(sink, "content");
    if (!code)
        code = sink->table->begin_list(sink->self);
    if (!code)
        code = lathe_sink_text_block(sink, text.data, text.size);
    if (!code)
        code = sink->table->end(sink->self);
    return code ? code : sink->table->end(sink->self);
}

static lathe_code feed_turns(const lathe_sink *sink, const lathe_sanitized *sanitized,
                             turn_marker turn)
{
    lathe_text text = sanitized->text;
    lathe_code code = sink->table->begin_list(sink->self);
    for (bool more = true; more && !code;) {
        turn_marker next = {.start = text.size};
        more = next_marker(text, turn.end, &next);
        code = feed_turn(sink, turn.human, strip(text.data + turn.end, next.start - turn.end));
        turn = next;
    }
    return code ? code : sink->table->end(sink->self);
}

static lathe_code feed_prompt(const lathe_sink *sink, const lathe_sanitized *sanitized)
{
    turn_marker first = {.start = 0};
    first_marker(sanitized, &first);
    lathe_text system = strip(sanitized->text.data, first.start);
    lathe_code code = sink->table->begin_object(sink->self);
    if (!code)
        code = lathe_sink_member(sink, "system", system.data, system.size);
    if (!code)
        code = lathe_sink_key(sink, "messages");
    if (!code)
        code = feed_turns(sink, sanitized, first);
    return code ? code : sink->table->end(sink->self);
}

lathe_code lathe_completion_convert(const char *prompt, size_t size, lathe_count_tokens count,
                                    void *self, const lathe_sink *sink, lathe_error *error)
{
    lathe_sanitized sanitized;
    lathe_code code = lathe_completion_check(prompt, size, count, self, &sanitized, error);
    if (code)
        return code;
    code = feed_prompt(sink, &sanitized);
    return code ? lathe_fail(error, code, NULL) : LATHE_OK;
}
