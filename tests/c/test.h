/* The harness of the C tests. A test file has functions made by TEST and one list of them:
 *
 *     TEST(adds) { CHECK_INT(1 + 1, 2); }
 *     TESTS(adds)
 *
 * A check that fails is printed with its place and the context in force, and the test goes on;
 * REQUIRE leaves it. Each test runs under an allocator that counts (support_alloc.h), and one that
 * leaves blocks behind has failed. */
#ifndef TEST_H
#define TEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "promptlathe.h"

typedef struct test_entry {
    const char *name;
    void (*run)(void);
} test_entry;

#define TEST(name) static void test_##name(void)

/* The list of the tests and the program's entry. Each entry is ENTRY(name). */
#define ENTRY(name)                                                                                \
    {                                                                                              \
#name, test_##name                                                                         \
    }
#define TESTS(...)                                                                                 \
    int main(int argc, char **argv)                                                                \
    {                                                                                              \
        static const test_entry entries[] = {__VA_ARGS__};                                         \
        return test_main(argc, argv, entries, sizeof entries / sizeof *entries);                   \
    }

int test_main(int argc, char **argv, const test_entry *entries, size_t count);

/* The directory of the case files. */
const char *test_cases(void);

/* What the checks that follow are about, such as a case's name; NULL: nothing in particular. It is
 * kept by copy. */
void test_context(const char *format, ...) __attribute__((format(printf, 1, 2)));

#define CHECK(condition) test_check((condition), __FILE__, __LINE__, "%s", #condition)
#define CHECK_INT(actual, expected)                                                                \
    test_check_int((long long)(actual), (long long)(expected), __FILE__, __LINE__, #actual)
#define CHECK_STRING(actual, expected)                                                             \
    test_check_string((actual), (expected), __FILE__, __LINE__, #actual)
#define CHECK_BYTES(actual, size, expected, expected_size)                                         \
    test_check_bytes((actual), (size), (expected), (expected_size), __FILE__, __LINE__, #actual)
/* By the names of the codes. */
#define CHECK_CODE(actual, expected)                                                               \
    test_check_string(lathe_code_name(actual), lathe_code_name(expected), __FILE__, __LINE__,      \
                      #actual)
#define FAIL(...) test_check(false, __FILE__, __LINE__, __VA_ARGS__)
#define REQUIRE(condition)                                                                         \
    do {                                                                                           \
        if (!CHECK(condition))                                                                     \
            return;                                                                                \
    } while (0)

/* Each returns whether it holds. */
bool test_check(bool holds, const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
bool test_check_int(long long actual, long long expected, const char *file, int line,
                    const char *what);
bool test_check_string(const char *actual, const char *expected, const char *file, int line,
                       const char *what);
bool test_check_bytes(const void *actual, size_t size, const void *expected, size_t expected_size,
                      const char *file, int line, const char *what);

#endif
