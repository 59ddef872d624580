/* What is known of models, by their names. */
#include <string.h>

#include "test.h"

static bool takes(const char *name)
{
    return lathe_model_takes_prefill(name, strlen(name));
}

/* Names as they are written by the vendor, by clouds (Bedrock, Vertex, Databricks) and by gateways
 * (LiteLLM, OpenRouter). */
TEST(models_that_go_on_from_a_prefill)
{
    static const char *const names[] = {
        "claude-3-haiku-20240307",
        "claude-3-opus-latest",
        "claude-3-5-sonnet-20241022",
        "claude-3-5-sonnet-v2@20241022",
        "claude-3-7-sonnet-latest",
        "claude-opus-4-20250514",
        "claude-sonnet-4-0",
        "claude-sonnet-4@20250514",
        "claude-opus-4-1-20250805",
        "claude-opus-4-5",
        "claude-haiku-4-5",
        "claude-haiku-4-5@20251001",
        "Claude-Sonnet-4-5-20250929",
        "claude-sonnet-4-5-20250929[1m]",
        "anthropic.claude-3-haiku-20240307-v1:0:48k",
        "anthropic.claude-sonnet-4-20250514-v1:0",
        "us.anthropic.claude-haiku-4-5-20251001-v1:0",
        "arn:aws:bedrock:::inference-profile/eu.anthropic.claude-sonnet-4-5-v1:0",
        "bedrock/converse/apac.anthropic.claude-3-5-sonnet-20241022-v2:0",
        "vertex_ai/claude-opus-4-5@20251101",
        "databricks-claude-3-7-sonnet",
        "anthropic/claude-sonnet-4.5",
        "anthropic/claude-3.5-haiku:beta",
        "claude-4-opus",
        "my-claude-proxy/claude-4.5-haiku",
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        test_context("%s", names[i]);
        CHECK(takes(names[i]));
    }
}

TEST(models_that_refuse_it)
{
    static const char *const names[] = {
        "claude-opus-4-6",
        "claude-sonnet-4-6-20260217",
        "claude-opus-4-7",
        "claude-opus-4-10",
        "claude-opus-4.8",
        "claude-sonnet-5",
        "claude-opus-5-5",
        "claude-haiku-5-5-20261001",
        "claude-fable-5",
        "claude-mythos-5-1",
        "claude-mythos-preview",
        "claude-saga-4-1",
        "us.anthropic.claude-opus-4-6-v1",
        "anthropic.claude-sonnet-4-6-v1:0",
        "global.anthropic.claude-mythos-preview-v1:4",
        "claude-opus-4-6@default",
        "anthropic/claude-4.7-opus",
        "anthropic/claude-opus-4.6:thinking",
        "claude-sonnet-4-5-20250929-thinking",
        "anthropic/claude-3.7-sonnet:thinking",
        "claude-3-opus/claude-opus-4-6",
        "claude-opus-12",
        "claude-opus-45",
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        test_context("%s", names[i]);
        CHECK(!takes(names[i]));
    }
}

TEST(names_that_tell_nothing)
{
    static const char *const names[] = {
        "",
        "-",
        "claude",
        "claude-opus-latest",
        "claude-sonnet-20300101-v1:0",
        "claude-3-5-20241022",
        "claude-2.1",
        "claude3-opus",
        "claudette-3-opus",
        "sonnet-4-5",
        "opus",
        "anthropic",
        "arn:aws:bedrock:eu-west-1:123456789012:application-inference-profile/a1b2c3",
        "gpt-4o",
        "gpt-4-5-opus",
        "gemini-3-pro",
        "llama3.1:8b-instruct-q8_0",
        "Qwen3-Coder-480B-A35B-Instruct",
        "mistral-large-2411",
        "3-5-sonnet-claude",
        "claude-99999999999999999999-opus",
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        test_context("%s", names[i]);
        CHECK(!takes(names[i]));
    }
}

TEST(bytes_count_not_strings)
{
    CHECK(!lathe_model_takes_prefill(NULL, 0));
    CHECK(lathe_model_takes_prefill("claude-opus-4-6", 13)); /* "claude-opus-4" */
    CHECK(!lathe_model_takes_prefill("claude-opus-4-5", 11));
    CHECK(!lathe_model_takes_prefill("claude\xFF\0opus-4-6", 16));
    CHECK(lathe_model_takes_prefill("claude\0opus-4-5", 15));
}

TESTS(ENTRY(models_that_go_on_from_a_prefill), ENTRY(models_that_refuse_it),
      ENTRY(names_that_tell_nothing), ENTRY(bytes_count_not_strings))
