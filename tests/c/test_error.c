/* The error value. */
#include "error.h"

#include <stdio.h>
#include <string.h>

#include "alloc.h"
#include "support_alloc.h"
#include "test.h"
#include "value.h"

TEST(every_code_has_name_exception_and_text)
{
    for (lathe_code code = LATHE_OK; code <= LATHE_OVERLOADED; code++) {
        CHECK(strncmp(lathe_code_name(code), "LATHE_", 6) == 0);
        CHECK(*lathe_code_exception(code));
        CHECK(strlen(lathe_code_text(code)) > 5);
    }
    CHECK_STRING(lathe_code_name(LATHE_RATE_LIMIT), "LATHE_RATE_LIMIT");
    CHECK_STRING(lathe_code_exception(LATHE_RATE_LIMIT), "RateLimitError");
    CHECK_STRING(lathe_code_exception((lathe_code)999), "");
}

TEST(every_phase_has_a_name)
{
    CHECK_STRING(lathe_phase_name(LATHE_PHASE_NONE), "");
    CHECK_STRING(lathe_phase_name(LATHE_PHASE_QUEUE), "queue");
    CHECK_STRING(lathe_phase_name(LATHE_PHASE_READ), "read");
}

TEST(the_first_failure_stays)
{
    lathe_error error;
    lathe_error_init(&error);
    CHECK(error.retry_after == -1);
    CHECK_CODE(lathe_fail(&error, LATHE_TIMEOUT, "after %d s", 5), LATHE_TIMEOUT);
    CHECK_CODE(lathe_fail(&error, LATHE_MEMORY, NULL), LATHE_TIMEOUT);
    CHECK_STRING(error.message, "after 5 s");
    lathe_error_clear(&error);
    CHECK_CODE(error.code, LATHE_OK);
    CHECK_CODE(lathe_fail(&error, LATHE_MEMORY, NULL), LATHE_MEMORY);
    CHECK_STRING(error.message, "out of memory");
    lathe_error_clear(&error);
    lathe_error_clear(&error);
}

TEST(a_long_message_is_cut_between_characters)
{
    static const char *const characters[] = {"x", "\xC3\xA9", "\xE2\x82\xAC", "\xF0\x9F\x91\x8B"};
    for (size_t i = 0; i < 4; i++)
        for (size_t shift = 0; shift < 4; shift++) {
            char text[2000] = "";
            memset(text, 'a', shift);
            for (size_t at = shift; at < 1500; at += strlen(characters[i]))
                strcat(text, characters[i]);
            lathe_error error;
            lathe_error_init(&error);
            lathe_fail(&error, LATHE_STATUS, "%s", text);
            size_t size = strlen(error.message);
            CHECK(size < sizeof error.message && size > sizeof error.message - 6);
            CHECK(lathe_utf8_valid(error.message, size));
            lathe_error_clear(&error);
        }
}

TEST(what_is_no_text_is_shown_as_question_marks)
{
    lathe_error error;
    lathe_error_init(&error);
    lathe_fail(&error, LATHE_NO_CA, "%s", "a\xFF\xC3\xA9\xED\xA0\x80/\xC3");
    CHECK_STRING(error.message, "a?\xC3\xA9??\?/");
    lathe_error_append(&error, "%.2s", "\x80\x80\x80");
    CHECK_STRING(error.message, "a?\xC3\xA9??\?/??");
    lathe_error_clear(&error);
}

TEST(faults_beyond_the_limit_are_counted)
{
    lathe_faults faults = {0};
    for (int i = 0; i < LATHE_FAULTS_KEPT + 7; i++)
        REQUIRE(lathe_faults_add(&faults, "a\0b", 3, "code", i, "number %d", i) == LATHE_OK);
    CHECK_INT(faults.count, LATHE_FAULTS_KEPT);
    CHECK_INT(faults.total, LATHE_FAULTS_KEPT + 7);
    const lathe_fault *fault = &faults.items[LATHE_FAULTS_KEPT - 1];
    CHECK_BYTES(fault->path, fault->path_size + 1, "a\0b", 4);
    CHECK_STRING(fault->message, "number 999");
    CHECK_INT(fault->offset, 999);
    lathe_faults_clear(&faults);
    CHECK_INT(faults.total, 0);
    lathe_faults_clear(&faults);
}

static void add(lathe_error *error, const char *path, const char *message)
{
    CHECK_CODE(lathe_faults_add(&error->faults, path, strlen(path), "code", -1, "%s", message),
               LATHE_OK);
}

TEST(the_message_names_the_first_faults)
{
    lathe_error error;
    lathe_error_init(&error);
    CHECK_CODE(lathe_fail_faults(&error, LATHE_INVALID_REQUEST), LATHE_OK);
    add(&error, "messages.0.role", "is wrong");
    CHECK_CODE(lathe_fail_faults(&error, LATHE_INVALID_REQUEST), LATHE_INVALID_REQUEST);
    CHECK_STRING(error.message, "messages.0.role: is wrong");
    error.code = LATHE_OK;
    add(&error, "", "has no path");
    add(&error, "messages.0.some words of a prompt", "is not known");
    add(&error, "messages.1", "is fourth");
    add(&error, "messages.2", "is fifth");
    lathe_fail_faults(&error, LATHE_INVALID_REQUEST);
    CHECK_STRING(error.message, "5 faults: messages.0.role: is wrong; has no path; "
                                "messages.0.(a member): is not known; and 2 more in .errors");
    lathe_error_clear(&error);
}

static lathe_code fail_once(void *self)
{
    (void)self;
    lathe_error error;
    lathe_error_init(&error);
    lathe_code code = LATHE_OK;
    for (int i = 0; i < 9 && !code; i++)
        code = lathe_faults_add(&error.faults, "path", 4, "code", -1, "message %d", i);
    if (!code)
        code = lathe_fail_faults(&error, LATHE_INVALID_PROMPT);
    lathe_error_clear(&error);
    return code;
}

TEST(every_allocation_fails_once)
{
    alloc_try_each(fail_once, NULL, LATHE_INVALID_PROMPT);
}

TESTS(ENTRY(every_code_has_name_exception_and_text), ENTRY(every_phase_has_a_name),
      ENTRY(the_first_failure_stays), ENTRY(a_long_message_is_cut_between_characters),
      ENTRY(what_is_no_text_is_shown_as_question_marks), ENTRY(faults_beyond_the_limit_are_counted),
      ENTRY(the_message_names_the_first_faults), ENTRY(every_allocation_fails_once))
