/* Random prompts with random proposals for their spans: each template renders back to exactly the
 * prompt. A prompt comes from its seed alone, which stands in the report of a failure. */
#include <string.h>

#include "spans.h"
#include "support_prompt.h"
#include "test.h"

enum { PROMPTS = 100000, MOST_SPANS = 8 };

static uint64_t state;

/* splitmix64 */
static unsigned draw(unsigned below)
{
    uint64_t z = state += 0x9E3779B97F4A7C15U;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9U;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBU;
    return (unsigned)((z ^ (z >> 31)) % below);
}

static const lathe_text pieces[] = {{"{", 1},
                                    {"}", 1},
                                    {"{{", 2},
                                    {"}}", 2},
                                    {"a", 1},
                                    {"b", 1},
                                    {"A", 1},
                                    {"_", 1},
                                    {"1", 1},
                                    {" ", 1},
                                    {"\t", 1},
                                    {"\n", 1},
                                    {"\0", 1},
                                    {"-", 1},
                                    {".", 1},
                                    {"{{A}}", 5},
                                    {"{{ A_1 }}", 9},
                                    {"\xC3\xA9", 2},
                                    {"\xF0\x9F\x91\x8B", 4},
                                    {"ab", 2}};

static json_t *random_text(unsigned most)
{
    char text[256];
    size_t size = 0;
    for (unsigned count = draw(most + 1); count; count--) {
        const lathe_text *piece = &pieces[draw(sizeof pieces / sizeof *pieces)];
        memcpy(text + size, piece->data, piece->size);
        size += piece->size;
    }
    return json_stringn(text, size);
}

static json_t *random_prompt(void)
{
    json_t *messages = json_array();
    for (unsigned count = 1 + draw(2); count; count--) {
        json_t *content = json_array();
        for (unsigned blocks = 1 + draw(2); blocks; blocks--)
            json_array_append_new(content,
                                  json_pack("{s:s,s:o}", "type", "text", "text", random_text(24)));
        json_array_append_new(messages, json_pack("{s:s,s:o}", "role", "user", "content", content));
    }
    json_object_set_new(
        json_array_get(messages, json_array_size(messages) - 1), "role",
        json_string(json_array_size(messages) > 1 && draw(2) ? "assistant" : "user"));
    return json_pack("{s:o,s:o}", "messages", messages, "system", random_text(draw(2) * 12));
}

/* A part of one of its texts, of whole characters. */
static json_t *random_part(const json_t *prompt)
{
    const json_t *messages = json_object_get(prompt, "messages");
    const json_t *message = json_array_get(messages, draw((unsigned)json_array_size(messages)));
    const json_t *content = json_object_get(message, "content");
    const json_t *block = json_array_get(content, draw((unsigned)json_array_size(content)));
    const json_t *text =
        draw(5) ? json_object_get(block, "text") : json_object_get(prompt, "system");
    const char *data = json_string_value(text);
    unsigned size = (unsigned)json_string_length(text);
    unsigned start = draw(size + 1), end = start + draw(size - start + 1);
    end = draw(2) && end > start + 4 ? start + 4 : end;
    while (start && (data[start] & 0xC0) == 0x80)
        start--;
    while (end < size && (data[end] & 0xC0) == 0x80)
        end++;
    return json_stringn(data + start, end - start);
}

static json_t *random_name(void)
{
    static const char *const names[] = {"A",   "A", "B", "a",   "A_1",
                                        "A_2", "",  "1", "x y", "\xC3\xA9"};
    return json_string(names[draw(sizeof names / sizeof *names)]);
}

static json_t *random_spans(const json_t *prompt)
{
    json_t *spans = json_array();
    for (unsigned count = draw(MOST_SPANS + 1); count; count--)
        json_array_append_new(spans, json_pack("{s:o,s:o}", "name", random_name(), "text",
                                               draw(4) ? random_part(prompt) : random_text(4)));
    return spans;
}

/* Whether a proposal's text has become a value, or stands in a note. */
static bool is_told(const json_t *span, json_t *values, const json_t *notes)
{
    const json_t *text = json_object_get(span, "text");
    const char *name;
    json_t *value;
    for (size_t i = 0; i < json_array_size(notes); i++)
        if (json_equal(json_object_get(json_array_get(notes, i), "text"), text))
            return true;
    json_object_foreach(values, name, value)
    {
        if (json_equal(value, text))
            return true;
    }
    return false;
}

static bool all_told(const json_t *spans, const json_t *made, const json_t *notes)
{
    for (size_t i = 0; i < json_array_size(spans); i++)
        if (!is_told(json_array_get(spans, i), json_object_get(made, "variable_values"), notes))
            return false;
    return true;
}

/* Whether it went well; *replaced counts those whose text has changed. */
static bool one_prompt(size_t *replaced)
{
    json_t *prompt = random_prompt(), *spans = random_spans(prompt), *notes = json_array();
    json_t *variables = prompt_variables(prompt), *made = json_deep_copy(prompt);
    bool well = !lathe_spans_replace(made, spans, variables, notes) &&
                all_told(spans, made, notes) && prompt_renders_back(prompt, made);
    *replaced += json_object_size(json_object_get(made, "variable_values")) > 0;
    json_t *const all[] = {prompt, spans, notes, variables, made};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        json_decref(all[i]);
    return well;
}

TEST(random_prompts_render_back)
{
    size_t replaced = 0;
    for (uint64_t seed = 1; seed <= PROMPTS; seed++) {
        state = seed;
        test_context("seed %llu", (unsigned long long)seed);
        REQUIRE(one_prompt(&replaced));
    }
    test_context(NULL);
    CHECK(replaced > PROMPTS / 2); /* it is not by doing nothing */
}

TESTS(ENTRY(random_prompts_render_back))
