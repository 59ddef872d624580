#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "support_alloc.h"
#include "test.h"

enum { SHOWN = 20 }; /* failures of one test that are printed */

static const char *cases;
static char context[512];
static size_t failures; /* of the test that runs */

const char *test_cases(void)
{
    return cases;
}

void test_context(const char *format, ...)
{
    context[0] = '\0';
    if (!format)
        return;
    va_list args;
    va_start(args, format);
    vsnprintf(context, sizeof context, format, args);
    va_end(args);
}

/* Begins the report of a failure; false when there were too many to show. */
static bool begin_report(const char *file, int line)
{
    if (++failures > SHOWN)
        return false;
    const char *name = strrchr(file, '/');
    printf("  %s:%d: ", name ? name + 1 : file, line);
    if (context[0])
        printf("[%s] ", context);
    return true;
}

bool test_check(bool holds, const char *file, int line, const char *format, ...)
{
    if (holds || !begin_report(file, line))
        return holds;
    va_list args;
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    printf("\n");
    return false;
}

bool test_check_int(long long actual, long long expected, const char *file, int line,
                    const char *what)
{
    if (actual == expected)
        return true;
    if (begin_report(file, line))
        printf("%s is %lld, not %lld\n", what, actual, expected);
    return false;
}

bool test_check_string(const char *actual, const char *expected, const char *file, int line,
                       const char *what)
{
    return test_check_bytes(actual, actual ? strlen(actual) : 0, expected,
                            expected ? strlen(expected) : 0, file, line, what);
}

static void print_bytes(const char *bytes, size_t size)
{
    enum { PART = 200 };
    printf(bytes ? "\"" : "NULL");
    for (size_t i = 0; i < size && i < PART; i++) {
        unsigned char byte = (unsigned char)bytes[i];
        printf(byte < 0x20 || byte == 0x7F ? "\\x%02x" : "%c", byte);
    }
    printf("%s", !bytes ? "" : size > PART ? "\"..." : "\"");
}

bool test_check_bytes(const void *actual, size_t size, const void *expected, size_t expected_size,
                      const char *file, int line, const char *what)
{
    if (!actual == !expected && size == expected_size &&
        (!size || memcmp(actual, expected, size) == 0))
        return true;
    if (!begin_report(file, line))
        return false;
    printf("%s is ", what);
    print_bytes(actual, size);
    printf(", not ");
    print_bytes(expected, expected_size);
    printf("\n");
    return false;
}

static bool run(const test_entry *entry)
{
    failures = 0;
    test_context(NULL);
    size_t before = alloc_blocks();
    entry->run();
    alloc_fail_at(0, false);
    test_context(NULL);
    size_t left = alloc_blocks() - before;
    if (left)
        FAIL("%zu blocks were not freed", left);
    if (failures > SHOWN)
        printf("  and %zu more\n", failures - SHOWN);
    if (failures)
        printf("FAILED %s\n", entry->name);
    return !failures;
}

enum { LONGEST = 600 }; /* seconds, also under valgrind */

int test_main(int argc, char **argv, const test_entry *entries, size_t count)
{
    alarm(LONGEST); /* a test that hangs ends the program, not the patience of who runs it */
    if (argc < 2) {
        fprintf(stderr, "usage: %s DIRECTORY_OF_CASES [TEST]\n", argv[0]);
        return 2;
    }
    cases = argv[1];
    setvbuf(stdout, NULL, _IOLBF, 0);
    alloc_install();
    size_t passed = 0, failed = 0;
    for (size_t i = 0; i < count; i++) {
        if (argc > 2 && strcmp(argv[2], entries[i].name) != 0)
            continue;
        if (run(&entries[i]))
            passed++;
        else
            failed++;
    }
    printf("%zu passed, %zu failed\n", passed, failed);
    return failed || !passed;
}
