#include "headers.h"

#include <string.h>

#include "support_alloc.h"
#include "test.h"

static void check_get(const lathe_headers *headers, const char *name, const char *value)
{
    const char *found = lathe_headers_get(headers, name);
    CHECK_STRING(found ? found : "(none)", value);
}

TEST(received)
{
    static const char raw[] = "Content-Type:  text/html \r\nX-A: 1\r\nset-cookie: a\r\nx-a:2\n"
                              "no colon here\r\n: no name\r\nX-Long: one\r\n two\r\n\tthree\r\n"
                              "Empty:\r\nX-A: 3\r\n";
    lathe_headers headers;
    CHECK_CODE(lathe_headers_parse(&headers, raw, sizeof raw - 1), LATHE_OK);
    CHECK_INT(headers.count, 5);
    check_get(&headers, "content-type", "text/html");
    check_get(&headers, "x-a", "1, 2, 3");
    check_get(&headers, "set-cookie", "a");
    check_get(&headers, "x-long", "one   two  \tthree");
    check_get(&headers, "empty", "");
    check_get(&headers, "missing", "(none)");
    lathe_headers copy;
    CHECK_CODE(lathe_headers_copy(&copy, &headers), LATHE_OK);
    CHECK_INT(copy.count, headers.count);
    check_get(&copy, "x-a", "1, 2, 3");
    lathe_headers_clear(&copy);
    lathe_headers_clear(&headers);
    CHECK_CODE(lathe_headers_parse(&headers, "", 0), LATHE_OK);
    CHECK_INT(headers.count, 0);
    lathe_headers_clear(&headers);
}

TEST(a_copy_is_the_same)
{
    static const char raw[] = " : no name\r\nX-A: 1\r\nx-a:\r\n";
    lathe_headers headers, copy;
    CHECK_CODE(lathe_headers_parse(&headers, raw, sizeof raw - 1), LATHE_OK);
    CHECK_CODE(lathe_headers_copy(&copy, &headers), LATHE_OK);
    CHECK_INT(copy.count, headers.count);
    for (size_t i = 0; i < copy.count && i < headers.count; i++) {
        CHECK_STRING(copy.items[i].name, headers.items[i].name);
        CHECK_STRING(copy.items[i].value, headers.items[i].value);
    }
    check_get(&copy, "x-a", "1, ");
    lathe_headers_clear(&copy);
    lathe_headers_clear(&headers);
}

TEST(sent_in_order_of_precedence)
{
    static const lathe_header ours[] = {{"accept", "a"}, {"user-agent", "u"}, {"x-key", "secret"}};
    static const lathe_header theirs[] = {{"X-One", "1"}, {"Accept", "b"}, {"x-one", "2"}};
    static const lathe_header last[] = {{"ACCEPT", ""}, {"x-two", "3"}};
    static const char *const expected[] = {"ACCEPT;", "user-agent: u", "x-key: secret", "x-one: 2",
                                           "x-two: 3"};
    const lathe_header *const lists[] = {ours, theirs, last};
    const size_t counts[] = {3, 3, 2};
    lathe_lines lines;
    CHECK_CODE(lathe_lines_init(&lines, lists, counts, 3), LATHE_OK);
    CHECK_INT(lines.count, 5);
    for (size_t i = 0; i < lines.count && i < 5; i++)
        CHECK_STRING(lines.items[i], expected[i]);
    lathe_lines_clear(&lines);
}

static void check_header(const char *name, const char *value, bool good, const char *needle)
{
    lathe_error error;
    lathe_error_init(&error);
    const lathe_header header = {name, value};
    test_context("%s", name);
    CHECK_CODE(lathe_header_check(&header, "extra_headers", &error),
               good ? LATHE_OK : LATHE_CONFIGURATION);
    CHECK(good || strstr(error.message, needle));
    CHECK(good || !strstr(error.message, "hunter2"));
    lathe_error_clear(&error);
}

TEST(given_headers)
{
    static const char *const refused[] = {"x-api-key",      "Authorization",     "HOST",
                                          "Content-Length", "transfer-encoding", "Connection",
                                          "expect",         "Accept-Encoding",   "content-type",
                                          "anthropic-beta"};
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        check_header(refused[i], "hunter2", false, "cannot be given");
    check_header("x-fine", "value, with; things \t\"in\" it", true, NULL);
    check_header("x-empty", "", true, NULL);
    check_header("", "a", false, "name");
    check_header("a b", "a", false, "name");
    check_header("x:y", "a", false, "name");
    check_header("x\r\ny", "a", false, "name");
    check_header("x-nl", "hunter2\n", false, "x-nl");
    check_header("x-cr", "hunter2\rz", false, "x-cr");
    check_header("x-space", " hunter2", false, "x-space");
    check_header("x-utf8", "hunter2 \xC3\xA9", false, "ASCII");
}

TEST(secrets_and_betas)
{
    static const char *const bad[] = {"", "a b", "key\n", "k\xC3\xA9y", "a\tb"};
    lathe_error error;
    lathe_error_init(&error);
    CHECK_CODE(lathe_secret_check("sk-ant-123", "api_key", &error), LATHE_OK);
    CHECK_CODE(lathe_beta_check("prompt-tools-2025-04-02", "betas", &error), LATHE_OK);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        test_context("row %zu", i);
        CHECK_CODE(lathe_secret_check(bad[i], "api_key", &error), LATHE_CONFIGURATION);
        CHECK(strstr(error.message, "api_key") && !strstr(error.message, "key\n"));
        lathe_error_clear(&error);
        CHECK_CODE(lathe_beta_check(bad[i], "betas", &error), LATHE_CONFIGURATION);
        lathe_error_clear(&error);
    }
    CHECK_CODE(lathe_beta_check("a,b", "betas", &error), LATHE_CONFIGURATION);
    lathe_error_clear(&error);
}

TEST(words)
{
    CHECK(lathe_same_word("Retry-After", "retry-aFTER"));
    CHECK(!lathe_same_word("a", "ab") && !lathe_same_word("ab", "a"));
}

static lathe_code everything(void *self)
{
    static const lathe_header ours[] = {{"a", "1"}, {"b", "2"}};
    const lathe_header *const lists[] = {ours};
    const size_t counts[] = {2};
    lathe_lines lines;
    lathe_headers headers = {0}, copy = {0};
    (void)self;
    lathe_code code = lathe_lines_init(&lines, lists, counts, 1);
    if (!code)
        code = lathe_headers_parse(&headers, "a: b\nc: d\n", 10);
    if (!code)
        code = lathe_headers_copy(&copy, &headers);
    lathe_headers_clear(&headers);
    lathe_headers_clear(&copy);
    lathe_lines_clear(&lines);
    return code;
}

TEST(memory)
{
    alloc_try_each(everything, NULL, LATHE_OK);
}

TESTS(ENTRY(received), ENTRY(a_copy_is_the_same), ENTRY(sent_in_order_of_precedence),
      ENTRY(given_headers), ENTRY(secrets_and_betas), ENTRY(words), ENTRY(memory))
