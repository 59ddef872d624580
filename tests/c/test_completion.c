/* Legacy prompts: sanitizing, checking, conversion, near misses. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "near_miss.h"
#include "support_alloc.h"
#include "support_cases.h"
#include "support_host.h"
#include "test.h"
#include "value.h"

static lathe_text text_of(const json_t *item, const char *name)
{
    const json_t *value = json_object_get(item, name);
    return (lathe_text){json_string_value(value), json_string_length(value)};
}

static void check_sanitized(const lathe_sanitized *sanitized, const json_t *item)
{
    lathe_text expected = text_of(item, "sanitized");
    const json_t *changes = json_object_get(item, "changes");
    json_t *got = json_array();
    if (sanitized->normalized)
        json_array_append_new(got, json_string("normalized_leading_newlines"));
    if (sanitized->stripped)
        json_array_append_new(got, json_string("stripped_trailing_whitespace"));
    CHECK(json_equal(got, changes));
    json_decref(got);
    size_t prefix = sanitized->normalized ? 2 : 0;
    REQUIRE(expected.size >= prefix);
    CHECK(!prefix || memcmp(expected.data, "\n\n", 2) == 0);
    CHECK_BYTES(sanitized->text.data, sanitized->text.size, expected.data + prefix,
                expected.size - prefix);
}

static lathe_prompt bytes(const char *data, size_t size)
{
    return (lathe_prompt){.data = data, .size = size};
}

static void check_converted(lathe_text prompt, const json_t *item)
{
    lathe_error error;
    host_builder builder;
    lathe_error_init(&error);
    host_builder_init(&builder, false);
    CHECK_CODE(lathe_completion_convert(bytes(prompt.data, prompt.size), NULL, NULL, &builder.sink,
                                        &error),
               LATHE_OK);
    json_t *expected = json_pack("{s:O, s:O}", "system", json_object_get(item, "system"),
                                 "messages", json_object_get(item, "messages"));
    cases_check_built(&builder.inner, expected);
    json_decref(expected);
    host_builder_clear(&builder);
    lathe_error_clear(&error);
}

static void check_published(json_t *item)
{
    lathe_text prompt = text_of(item, "prompt");
    const json_t *errors = json_object_get(item, "errors");
    lathe_sanitized sanitized;
    lathe_error error;
    lathe_error_init(&error);
    lathe_code code =
        lathe_completion_check(bytes(prompt.data, prompt.size), NULL, NULL, &sanitized, &error);
    CHECK_CODE(code, json_array_size(errors) ? LATHE_INVALID_PROMPT : LATHE_OK);
    CHECK_INT(error.faults.total, json_array_size(errors));
    for (size_t i = 0; i < error.faults.count; i++) {
        CHECK_STRING(error.faults.items[i].code, json_string_value(json_array_get(errors, i)));
        CHECK_STRING(error.faults.items[i].path, "");
    }
    lathe_error_clear(&error);
    if (code)
        return;
    check_sanitized(&sanitized, item);
    check_converted(prompt, item);
}

TEST(published_cases_hold)
{
    cases_each("completion_prompts", check_published);
}

static void check_fault(const lathe_fault *fault, const json_t *expected)
{
    const json_t *offset = json_object_get(expected, "offset");
    const json_t *says = json_object_get(expected, "says");
    CHECK_STRING(fault->code, json_string_value(json_object_get(expected, "code")));
    CHECK_INT(fault->offset, json_is_null(offset) ? -1 : json_integer_value(offset));
    for (size_t i = 0; i < json_array_size(says); i++)
        if (!strstr(fault->message, json_string_value(json_array_get(says, i))))
            FAIL("\"%s\" does not say \"%s\"", fault->message,
                 json_string_value(json_array_get(says, i)));
}

static void check_faults(json_t *item)
{
    lathe_text prompt = text_of(item, "prompt");
    const json_t *expected = json_object_get(item, "faults");
    lathe_error error;
    lathe_error_init(&error);
    lathe_code code =
        lathe_completion_check(bytes(prompt.data, prompt.size), NULL, NULL, NULL, &error);
    CHECK_CODE(code, json_array_size(expected) ? LATHE_INVALID_PROMPT : LATHE_OK);
    CHECK_INT(error.faults.total, json_array_size(expected));
    for (size_t i = 0; i < error.faults.count; i++)
        check_fault(&error.faults.items[i], json_array_get(expected, i));
    lathe_error_clear(&error);
}

TEST(faults_name_their_place_and_the_near_miss)
{
    cases_each("faults_completion", check_faults);
}

/* The next of many prompts made of the pieces that the rules look at; the same in every run. */
static size_t make_prompt(unsigned *state, char *prompt, size_t room)
{
    static const char *const pieces[] = {"\n",   "\n",         "\n\n",           " ",
                                         "\r\n", "Human:",     "Human",          ":",
                                         "a",    "Assistant:", "human:",         "\xC3\xA9",
                                         "\t",   "\n\nHuman:", "\n\nAssistant:", "Human :"};
    size_t used = 0;
    for (*state = *state * 1103515245 + 12345; used + 20 < room && (*state >> 16) % 9;) {
        const char *piece = pieces[(*state >> 20) % (sizeof pieces / sizeof *pieces)];
        memcpy(prompt + used, piece, strlen(piece));
        used += strlen(piece);
        *state = *state * 1103515245 + 12345;
    }
    return used;
}

TEST(sanitizing_twice_changes_nothing_more)
{
    unsigned state = 1;
    for (int i = 0; i < 20000; i++) {
        char prompt[400], again[404];
        size_t size = make_prompt(&state, prompt, sizeof prompt);
        lathe_sanitized once = lathe_completion_sanitize(prompt, size);
        size_t prefix = once.normalized ? 2 : 0;
        memcpy(again, "\n\n", 2);
        memcpy(again + prefix, once.text.data, once.text.size);
        lathe_sanitized twice = lathe_completion_sanitize(again, prefix + once.text.size);
        if (!CHECK(!twice.normalized && !twice.stripped && twice.text.data == again &&
                   twice.text.size == prefix + once.text.size))
            return;
    }
}

TEST(a_clean_prompt_is_the_prompt_itself)
{
    static const char prompt[] = "\n\nHuman: hi\n\nAssistant:";
    lathe_sanitized sanitized = lathe_completion_sanitize(prompt, sizeof prompt - 1);
    CHECK(!sanitized.normalized && !sanitized.stripped);
    CHECK(sanitized.text.data == prompt);
    CHECK_INT(sanitized.text.size, sizeof prompt - 1);
    sanitized = lathe_completion_sanitize(NULL, 0);
    CHECK(!sanitized.normalized && !sanitized.stripped && !sanitized.text.size);
}

TEST(a_lone_surrogate_is_told_alone_and_by_code_points)
{
    static const struct {
        const char *prompt;
        int offset;
    } cases[] = {
        {"\xED\xA0\x80", 0},
        {"\n\nHuman: \xF0\x9F\x91\x8B\xC3\xA9\xED\xB0\x80 \xED\xA0\x80", 11},
        {"a\xFF", 1},
        {"ab\xC3", 2},
        {"abcdefghijklmnop\xED\xA0\x80", 16},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        lathe_error error;
        lathe_error_init(&error);
        CHECK_CODE(lathe_completion_check(bytes(cases[i].prompt, strlen(cases[i].prompt)), NULL,
                                          NULL, NULL, &error),
                   LATHE_INVALID_PROMPT);
        CHECK_INT(error.faults.total, 1);
        CHECK_STRING(error.faults.items[0].code, "not_unicode");
        CHECK_INT(error.faults.items[0].offset, cases[i].offset);
        lathe_error_clear(&error);
    }
}

/* A tokenizer that notes what it was asked. */
typedef struct fake_tokenizer {
    int64_t answer;
    lathe_code code;
    int asked;
    size_t size;
    char beginning[8];
} fake_tokenizer;

static lathe_code count_tokens(void *self, const char *text, size_t size, int64_t *count)
{
    fake_tokenizer *asked = self;
    asked->asked++;
    asked->size = size;
    memcpy(asked->beginning, text, sizeof asked->beginning);
    *count = asked->answer;
    return asked->code;
}

enum { LIMIT = 99999 };

/* A prompt of `size` bytes, filled with x; freed by free. */
static char *long_prompt(size_t size, const char *beginning, const char *end)
{
    char *prompt = malloc(size);
    if (!prompt)
        abort();
    memset(prompt, 'x', size);
    memcpy(prompt, beginning, strlen(beginning));
    memcpy(prompt + size - strlen(end), end, strlen(end));
    return prompt;
}

static void expect_tokens(size_t size, const char *beginning, const char *end,
                          fake_tokenizer *tokenizer, const char *code, int asked)
{
    char *prompt = long_prompt(size, beginning, end);
    lathe_error error;
    lathe_error_init(&error);
    lathe_completion_check(bytes(prompt, size), tokenizer ? count_tokens : NULL, tokenizer, NULL,
                           &error);
    const lathe_faults *faults = &error.faults;
    CHECK_STRING(faults->count ? faults->items[faults->count - 1].code : NULL, code);
    if (faults->count)
        CHECK_INT(faults->items[faults->count - 1].offset, -1);
    if (tokenizer)
        CHECK_INT(tokenizer->asked, asked);
    lathe_error_clear(&error);
    free(prompt);
}

TEST(a_short_prompt_asks_no_tokenizer)
{
    fake_tokenizer tokenizer = {.answer = INT64_MAX};
    expect_tokens(LIMIT - 1, "\n\nHuman: ", "\n\nAssistant:", &tokenizer, NULL, 0);
    expect_tokens(LIMIT - 1, "\n\nHuman: ", "\n\nAssistant:", NULL, NULL, 0);
    /* It is the sanitized prompt that counts. */
    expect_tokens(LIMIT + 2, "\n\nHuman: ", "\n\nAssistant:   ", &tokenizer, NULL, 0);
    expect_tokens(LIMIT + 3, "      Human: ", "\n\nAssistant:", &tokenizer, NULL, 0);
    expect_tokens(LIMIT - 3, "Human: ", "\n\nAssistant:", &tokenizer, NULL, 0);
}

TEST(a_long_prompt_asks_it_once)
{
    fake_tokenizer fits = {.answer = LIMIT - 1}, full = {.answer = LIMIT};
    expect_tokens(LIMIT, "\n\nHuman: ", "\n\nAssistant:", &fits, NULL, 1);
    CHECK_INT(fits.size, LIMIT);
    expect_tokens(LIMIT, "\n\nHuman: ", "\n\nAssistant:", &full, "too_many_tokens", 1);
    expect_tokens(LIMIT, "\n\nHuman: ", "\n\nAssistant:", NULL, "token_count_unknown", 0);
    /* The text it gets is the sanitized one. */
    expect_tokens(LIMIT - 2, "Human: ", "\n\nAssistant:", &fits, NULL, 2);
    CHECK_INT(fits.size, LIMIT);
    CHECK_BYTES(fits.beginning, 8, "\n\nHuman:", 8);
    expect_tokens(LIMIT + 9, "       Human: ", "\n\nAssistant:  ", &fits, NULL, 3);
    CHECK_INT(fits.size, LIMIT + 9 - 7 + 2 - 2);
    /* Other faults do not save the question. */
    expect_tokens(LIMIT, "x", "x", &full, "too_many_tokens", 2);
}

TEST(a_tokenizer_that_fails_ends_the_check)
{
    fake_tokenizer tokenizer = {.code = LATHE_HOST};
    char *prompt = long_prompt(LIMIT, "x", "x");
    lathe_error error;
    lathe_error_init(&error);
    CHECK_CODE(lathe_completion_check(bytes(prompt, LIMIT), count_tokens, &tokenizer, NULL, &error),
               LATHE_HOST);
    CHECK_CODE(error.code, LATHE_HOST);
    CHECK_INT(error.faults.total, 0);
    lathe_error_clear(&error);
    free(prompt);
}

/* Quadratic work on this much would take hours, so a generous limit is enough. */
TEST(hostile_prompts_take_linear_time)
{
    enum { SECONDS = 20 };
    static const char *const pieces[] = {"\n",  "\n\nHuman", "\nHuman ", " ",
                                         "\n ", "\r\n",      "Human:"};
    enum { SIZE = 2 << 20 };
    char *prompt = malloc(SIZE);
    REQUIRE(prompt);
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        size_t step = strlen(pieces[i]);
        for (size_t at = 0; at < SIZE; at++)
            prompt[at] = pieces[i][at % step];
        lathe_error error;
        lathe_error_init(&error);
        clock_t start = clock();
        CHECK_CODE(lathe_completion_check(bytes(prompt, SIZE), NULL, NULL, NULL, &error),
                   LATHE_INVALID_PROMPT);
        CHECK((clock() - start) / CLOCKS_PER_SEC < SECONDS);
        lathe_error_clear(&error);
    }
    free(prompt);
}

/* A text of its exact size, so that a look behind its end is seen: `noise` again and again, and
 * `word` once, from `place` on. */
static char *noisy(size_t size, const char *noise, const char *word, size_t place)
{
    char *text = malloc(size);
    if (!text)
        abort();
    for (size_t i = 0; i < size; i++)
        text[i] = noise[i % strlen(noise)];
    memcpy(text + place, word, strlen(word));
    return text;
}

static void expect_human_last(const char *text, size_t size, size_t place)
{
    lathe_error error;
    lathe_error_init(&error);
    lathe_prompt prompt = {text, size, .is_utf8 = true}; /* no noise is a fault */
    CHECK_CODE(lathe_completion_check(prompt, NULL, NULL, NULL, &error), LATHE_INVALID_PROMPT);
    if (CHECK_INT(error.faults.count, 2)) {
        CHECK_STRING(error.faults.items[0].code, "human_turn_not_first");
        CHECK_STRING(error.faults.items[1].code, "assistant_turn_not_last");
        CHECK_INT(error.faults.items[1].offset, lathe_utf8_length(text, place));
    }
    lathe_error_clear(&error);
}

/* Each noise but the first is what a careless search by words takes for the beginning of a turn. */
TEST(a_turn_is_found_at_every_place)
{
    static const char *const noises[] = {"x",     "\n",     "\n\n\v",  "\n\nH",
                                         "\n\nI", "\x8A\n", "\n\n\xC8"};
    static const char first[] = "\n\nAssistant:", last[] = "\n\nHuman:";
    enum { FIRST = sizeof first - 1, LAST = sizeof last - 1, MOST = 90 };
    for (size_t n = 0; n < sizeof noises / sizeof *noises; n++)
        for (size_t size = FIRST + LAST; size < MOST; size++)
            for (size_t place = FIRST; place + LAST <= size; place++) {
                test_context("noise %zu, size %zu, place %zu", n, size, place);
                char *text = noisy(size, noises[n], last, place);
                memcpy(text, first, FIRST);
                expect_human_last(text, size, place);
                free(text);
            }
    test_context(NULL);
}

/* The line break before it is where it would begin. */
TEST(a_near_miss_is_found_at_every_place)
{
    static const char *const words[] = {"\nhuman:", "\rhuman:"};
    enum { WORD = 7, MOST = 60 };
    for (size_t size = WORD + 1; size < MOST; size++)
        for (size_t place = 1; place + WORD <= size; place++) {
            test_context("size %zu, place %zu", size, place);
            char *text = noisy(size, "x", words[size % 2], place);
            lathe_near_miss miss = {0};
            CHECK(lathe_near_miss_find((lathe_text){text, size}, true, &miss));
            CHECK_INT(miss.start, place);
            text[place] = '\v';
            CHECK(!lathe_near_miss_find((lathe_text){text, size}, true, &miss));
            free(text);
        }
    test_context(NULL);
}

typedef struct prompt_args {
    const char *prompt;
    size_t size;
    lathe_count_tokens count;
    fake_tokenizer tokenizer;
} prompt_args;

static lathe_code convert_once(void *self)
{
    prompt_args *args = self;
    host_builder builder;
    lathe_error error;
    host_builder_init(&builder, true);
    lathe_error_init(&error);
    lathe_code code = lathe_completion_convert(bytes(args->prompt, args->size), args->count,
                                               &args->tokenizer, &builder.sink, &error);
    CHECK_CODE(error.code, code);
    host_builder_clear(&builder);
    lathe_error_clear(&error);
    return code;
}

static void try_each(const char *prompt, size_t size, lathe_count_tokens count, lathe_code expected)
{
    prompt_args args = {prompt, size, count, {.answer = 5}};
    alloc_try_each(convert_once, &args, expected);
    host_try_each(convert_once, &args, expected);
}

TEST(every_allocation_and_every_callback_fails_once)
{
    static const char good[] = "Be kind.\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant:";
    try_each(good, sizeof good - 1, NULL, LATHE_OK);
    try_each("a", 1, NULL, LATHE_INVALID_PROMPT);
    try_each("\xFF", 1, NULL, LATHE_INVALID_PROMPT);
    char *prompt = long_prompt(LIMIT, "Human: ", "\n\nAssistant:");
    try_each(prompt, LIMIT, count_tokens, LATHE_OK);
    free(prompt);
}

TESTS(ENTRY(published_cases_hold), ENTRY(faults_name_their_place_and_the_near_miss),
      ENTRY(sanitizing_twice_changes_nothing_more), ENTRY(a_clean_prompt_is_the_prompt_itself),
      ENTRY(a_lone_surrogate_is_told_alone_and_by_code_points),
      ENTRY(a_short_prompt_asks_no_tokenizer), ENTRY(a_long_prompt_asks_it_once),
      ENTRY(a_tokenizer_that_fails_ends_the_check), ENTRY(hostile_prompts_take_linear_time),
      ENTRY(a_turn_is_found_at_every_place), ENTRY(a_near_miss_is_found_at_every_place),
      ENTRY(every_allocation_and_every_callback_fails_once))
