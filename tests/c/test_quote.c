#include "quote.h"

#include <string.h>

#include "test.h"

static bool quotes(const char *message, const char *sent)
{
    const lathe_text body = {sent, strlen(sent)};
    return lathe_quotes(message, &body);
}

TEST(runs)
{
    const char *sent = "{\"task\":\"the letter of Ms Zeppelin\",\"target_model\":\"m\"}";
    CHECK(quotes("cannot: the letter of Ms Zeppelin", sent));
    CHECK(quotes("of Ms Zeppel", sent));
    CHECK(quotes("xof Ms Zeppelx", sent));
    CHECK(!quotes("of Ms Zeppe", sent)); /* 11 bytes */
    CHECK(!quotes("of ms zeppelin", sent));
    CHECK(!quotes("target_model: there is no model of this name", sent));
    CHECK(!quotes("", sent));
    CHECK(!quotes("anything at all", ""));
}

TEST(short_texts)
{
    CHECK(quotes("no opal7 here", "{\"task\":\"opal7\"}"));
    CHECK(quotes("opal7", "{\"task\":\"opal7\"}"));
    CHECK(quotes("'opal7'", "{\"task\":\"opal7\"}"));
    CHECK(quotes("(#4711)", "{\"task\":\"#4711\"}"));
    CHECK(!quotes("opal77", "{\"task\":\"opal7\"}"));
    CHECK(!quotes("no opal", "{\"task\":\"opal7\"}"));
    CHECK(!quotes("a b c the", "{\"task\":\"the\",\"system\":\"\"}"));
}

TEST(what_is_looked_at)
{
    const char *sent = "{\"messages\":[{\"role\":\"assistant\",\"content\":[{\"type\":\"text\","
                       "\"text\":\"a \\\"b\\\" c\\nd \\u00e9\\u0000 end of it\"}]}]}";
    CHECK(quotes("bad: a \"b\" c\nd \xC3\xA9", sent)); /* as text, not as JSON spells it */
    CHECK(quotes("so: end of it, all", "{\"feedback\":\"a\\u0000 end of it, all\"}"));
    CHECK(!quotes("role: assistant is not the last text", sent));
    CHECK(quotes("no JSON was sent", "{"));
}

TEST(what_is_shown)
{
    char message[LATHE_WORDS_SHOWN + 40];
    memset(message, '-', sizeof message);
    memcpy(message + LATHE_WORDS_SHOWN, "the secret letter", sizeof "the secret letter");
    CHECK(!quotes(message, "{\"task\":\"the secret letter\"}"));
    memcpy(message + LATHE_WORDS_SHOWN - 12, "the secret letter", sizeof "the secret letter");
    CHECK(quotes(message, "{\"task\":\"the secret letter\"}"));
}

TESTS(ENTRY(runs), ENTRY(short_texts), ENTRY(what_is_looked_at), ENTRY(what_is_shown))
