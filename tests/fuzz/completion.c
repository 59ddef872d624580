/* Legacy prompts: a second implementation, made from the contract's section 3 alone. */
#include <stdlib.h>
#include <string.h>

#include "promptlathe.h"
#include "support.h"
#include "support_alloc.h"

enum { LIMIT = 99999, MOST = 8 };

static const char human[] = "\n\nHuman:", assistant[] = "\n\nAssistant:";

/* ---- The second implementation ---- */

typedef struct plain {
    char *text;       /* sanitized */
    size_t size, cut; /* `cut` bytes of the prompt were replaced by two newlines, if normalized */
    bool normalized, stripped;
} plain;

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\v' || c == '\f';
}

static bool stands(const char *text, size_t size, size_t at, const char *word)
{
    size_t length = strlen(word);
    return at <= size && size - at >= length && !memcmp(text + at, word, length);
}

static plain sanitize(lathe_text prompt)
{
    plain out = {.text = malloc(prompt.size + 3), .size = prompt.size};
    MUST(out.text != NULL);
    size_t start = 0;
    while (start < prompt.size && is_space(prompt.data[start]))
        start++;
    bool two = start == 2 && stands(prompt.data, prompt.size, 0, "\n\n");
    if (stands(prompt.data, prompt.size, start, "Human:") && !two) {
        out.normalized = true;
        out.cut = start;
        memcpy(out.text, "\n\n", 2);
        out.size = prompt.size - start + 2;
    }
    if (prompt.size > out.cut)
        memcpy(out.text + (out.normalized ? 2 : 0), prompt.data + out.cut, prompt.size - out.cut);
    while (out.size && is_space(out.text[out.size - 1])) {
        out.size--;
        out.stripped = true;
    }
    return out;
}

/* The marker at a place: its length, 0 for none. */
static size_t marker(const plain *out, size_t at, bool *is_human)
{
    *is_human = false;
    if (at >= out->size || out->text[at] != '\n')
        return 0;
    *is_human = stands(out->text, out->size, at, human);
    if (*is_human)
        return strlen(human);
    return stands(out->text, out->size, at, assistant) ? strlen(assistant) : 0;
}

/* A place in the sanitized prompt as code points into the prompt as given. */
static int64_t offset_of(const plain *out, lathe_text prompt, size_t place)
{
    size_t at = !out->normalized ? place : place < 2 ? out->cut : place - 2 + out->cut;
    return (int64_t)fuzz_length(prompt.data, at);
}

typedef struct verdict {
    const char *codes[MOST];
    int64_t offsets[MOST]; /* -2: of a near miss, or none */
    size_t count;
} verdict;

static void add(verdict *all, const char *code, int64_t offset)
{
    all->codes[all->count] = code;
    all->offsets[all->count++] = offset;
}

static void judge_turns(const plain *out, lathe_text prompt, verdict *all)
{
    size_t humans = 0, assistants = 0, first = 0, last = 0;
    bool first_human = false, last_human = false, is_human;
    for (size_t at = 0; at < out->size; at++) {
        size_t length = marker(out, at, &is_human);
        if (!length)
            continue;
        if (!humans && !assistants) {
            first = at;
            first_human = is_human;
        }
        last = at;
        last_human = is_human;
        humans += is_human;
        assistants += !is_human;
        at += length - 1;
    }
    if (!humans)
        add(all, "missing_human_turn", -2);
    else if (!first_human)
        add(all, "human_turn_not_first", offset_of(out, prompt, first));
    if (!assistants)
        add(all, "missing_assistant_turn", -2);
    else if (last_human)
        add(all, "assistant_turn_not_last", offset_of(out, prompt, last));
}

/* `tokens` below 0: there is nobody who counts. */
static verdict judge(const plain *out, lathe_text prompt, int64_t tokens)
{
    verdict all = {.count = 0};
    size_t valid = fuzz_text_prefix(prompt);
    if (valid < prompt.size) {
        add(&all, "not_unicode", (int64_t)fuzz_length(prompt.data, valid));
        return all;
    }
    judge_turns(out, prompt, &all);
    if (out->size >= LIMIT && tokens < 0)
        add(&all, "token_count_unknown", -1);
    else if (out->size >= LIMIT && tokens >= LIMIT)
        add(&all, "too_many_tokens", -1);
    return all;
}

static lathe_text strip(const char *data, size_t size)
{
    for (; size && is_space(*data); data++)
        size--;
    while (size && is_space(data[size - 1]))
        size--;
    return (lathe_text){data, size};
}

static void add_turn(json_t *list, bool is_human, lathe_text text)
{
    if (text.size)
        json_array_append_new(list, json_pack("{s:s, s:[{s:s, s:o}]}", "role",
                                              is_human ? "user" : "assistant", "content", "type",
                                              "text", "text", fuzz_json_string(text)));
}

/* Of a valid prompt. */
static json_t *convert(const plain *out)
{
    json_t *list = json_array(), *system = NULL;
    size_t begin = 0;
    bool speaker = false, next = false;
    for (size_t at = 0; at <= out->size; at++) {
        size_t length = marker(out, at, &next);
        if (!length && at < out->size)
            continue;
        lathe_text text = strip(out->text + begin, at - begin);
        if (system)
            add_turn(list, speaker, text);
        else
            system = fuzz_json_string(text);
        speaker = next;
        begin = at + length;
        at += length ? length - 1 : 0;
    }
    return json_pack("{s:o, s:o}", "system", system, "messages", list);
}

/* ---- Comparing ---- */

/* The tokenizer, and what it must be given. */
typedef struct counter {
    const plain *expected;
    int64_t answer;
    int calls;
} counter;

static lathe_code count(void *self, const char *text, size_t size, int64_t *tokens)
{
    counter *counting = self;
    MUST(size == counting->expected->size && !memcmp(text, counting->expected->text, size));
    MUST(size >= LIMIT && ++counting->calls == 1);
    *tokens = counting->answer;
    return LATHE_OK;
}

static void compare_sanitized(lathe_sanitized got, const plain *out)
{
    size_t more = out->normalized ? 2 : 0;
    MUST(got.normalized == out->normalized && got.stripped == out->stripped);
    MUST(got.text.size + more == out->size);
    MUST(!got.text.size || !memcmp(got.text.data, out->text + more, got.text.size));
}

static void compare_faults(const lathe_faults *faults, const verdict *all, lathe_text prompt)
{
    MUST(faults->total == all->count && faults->count == all->count);
    for (size_t i = 0; i < faults->count; i++) {
        const lathe_fault *fault = &faults->items[i];
        lathe_text message = {fault->message, strlen(fault->message)};
        MUST(!strcmp(fault->code, all->codes[i]) && !fault->path_size);
        MUST(message.size && fuzz_is_text(message));
        if (all->offsets[i] == -2)
            MUST(fault->offset >= -1 &&
                 fault->offset < (int64_t)fuzz_length(prompt.data, prompt.size) + !prompt.size);
        else
            MUST(fault->offset == all->offsets[i]);
    }
}

/* Now and then with the word of the host that it is UTF-8, when it is. */
static lathe_prompt given(lathe_text prompt, bool vouch)
{
    return (lathe_prompt){prompt.data, prompt.size, .is_utf8 = vouch && fuzz_is_text(prompt)};
}

static void check(lathe_prompt prompt, const plain *out, const verdict *all, counter *counting)
{
    lathe_error error;
    lathe_sanitized got;
    lathe_error_init(&error);
    lathe_code code =
        lathe_completion_check(prompt, counting->answer < 0 ? NULL : count, counting, &got, &error);
    compare_sanitized(got, out);
    compare_faults(&error.faults, all, (lathe_text){prompt.data, prompt.size});
    fuzz_check_error(&error, code);
    MUST(code == (all->count ? LATHE_INVALID_PROMPT : LATHE_OK));
    lathe_error_clear(&error);
}

static void check_converted(lathe_prompt prompt, const plain *out, const verdict *all,
                            counter *counting, unsigned order)
{
    lathe_jansson_builder builder;
    lathe_error error;
    lathe_error_init(&error);
    fuzz_arm(order);
    lathe_jansson_builder_init(&builder);
    lathe_sink sink = lathe_jansson_sink(&builder);
    lathe_code code = lathe_completion_convert(prompt, counting->answer < 0 ? NULL : count,
                                               counting, &sink, &error);
    bool failed = fuzz_disarm();
    json_t *built = code ? NULL : lathe_jansson_builder_take(&builder);
    MUST(code == (failed ? LATHE_MEMORY : all->count ? LATHE_INVALID_PROMPT : LATHE_OK));
    fuzz_check_error(&error, code);
    if (!code) {
        json_t *expected = convert(out);
        MUST(json_equal(built, expected));
        json_decref(expected);
    }
    json_decref(built);
    lathe_jansson_builder_clear(&builder);
    lathe_error_clear(&error);
}

/* Now and then a prompt of about the size from which a tokenizer is asked: a's are put behind its
 * first `place` bytes. */
static lathe_text grow(lathe_text prompt, unsigned place, unsigned more)
{
    if (!more || prompt.size > 1000)
        return (lathe_text){fuzz_copy(prompt), prompt.size};
    size_t size = LIMIT - 8 + more % 16, at = place < prompt.size ? place : prompt.size;
    char *text = malloc(size);
    MUST(text != NULL);
    memset(text, 'a', size);
    if (prompt.size) {
        memcpy(text, prompt.data, at);
        memcpy(text + size - (prompt.size - at), prompt.data + at, prompt.size - at);
    }
    return (lathe_text){text, size};
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input input = {data, size};
    unsigned order = fuzz_byte(&input), place = fuzz_byte(&input), more = fuzz_byte(&input);
    size_t before = alloc_blocks();
    lathe_text prompt = grow(fuzz_rest(&input), place, more >> 4 == 10 ? more : 0);
    plain out = sanitize(prompt);
    int64_t tokens = order & 64 ? -1 : LIMIT - 2 + (int64_t)(place % 4);
    counter counting = {&out, tokens, 0};
    verdict all = judge(&out, prompt, tokens);
    compare_sanitized(lathe_completion_sanitize(prompt.data, prompt.size), &out);
    lathe_prompt vouched = given(prompt, order & 128);
    check(vouched, &out, &all, &counting);
    counting.calls = 0;
    check_converted(vouched, &out, &all, &counting, order);
    free(out.text);
    free((char *)(uintptr_t)prompt.data);
    MUST(alloc_blocks() == before);
    return 0;
}
