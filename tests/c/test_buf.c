/* The growable buffer. */
#include "buf.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "alloc.h"
#include "support_alloc.h"
#include "test.h"

TEST(grows_and_ends_with_nul)
{
    lathe_buf buf;
    lathe_buf_init(&buf, SIZE_MAX);
    CHECK(!buf.data);
    for (int i = 0; i < 1000; i++)
        REQUIRE(lathe_buf_append(&buf, "abc", 3) == LATHE_OK);
    CHECK_INT(buf.size, 3000);
    CHECK_INT(strlen(buf.data), 3000);
    CHECK_BYTES(buf.data + 2997, 4, "abc", 4);
    CHECK_CODE(lathe_buf_append(&buf, NULL, 0), LATHE_OK);
    CHECK_CODE(lathe_buf_append(&buf, "\0", 1), LATHE_OK);
    CHECK_INT(buf.size, 3001);
    lathe_buf_clear(&buf);
    CHECK(!buf.data && !buf.size);
    lathe_buf_clear(&buf);
}

TEST(the_ceiling_holds_to_the_byte)
{
    lathe_buf buf;
    lathe_buf_init(&buf, 5);
    CHECK_CODE(lathe_buf_append(&buf, "abc", 3), LATHE_OK);
    CHECK_CODE(lathe_buf_append(&buf, "def", 3), LATHE_TOO_LARGE);
    CHECK_BYTES(buf.data, buf.size, "abc", 3);
    CHECK_CODE(lathe_buf_printf(&buf, "%d", 678), LATHE_TOO_LARGE);
    CHECK_CODE(lathe_buf_reserve(&buf, SIZE_MAX), LATHE_TOO_LARGE);
    CHECK_CODE(lathe_buf_string(&buf, "de"), LATHE_OK);
    CHECK_STRING(buf.data, "abcde");
    CHECK_CODE(lathe_buf_append(&buf, "f", 1), LATHE_TOO_LARGE);
    lathe_buf_clear(&buf);
    CHECK_INT(buf.ceiling, 5);
}

TEST(printf_appends)
{
    lathe_buf buf;
    lathe_buf_init(&buf, SIZE_MAX / 2);
    CHECK_CODE(lathe_buf_printf(&buf, "%s-%03d", "a", 7), LATHE_OK);
    CHECK_CODE(lathe_buf_printf(&buf, "%200s", "x"), LATHE_OK);
    CHECK_INT(buf.size, 205);
    CHECK(strncmp(buf.data, "a-007  ", 7) == 0);
    CHECK_STRING(buf.data + 204, "x");
    lathe_buf_clear(&buf);
}

TEST(steal_gives_the_bytes_away)
{
    lathe_buf buf;
    size_t size = 9;
    lathe_buf_init(&buf, 100);
    char *bytes = lathe_buf_steal(&buf, &size);
    CHECK_STRING(bytes, "");
    CHECK_INT(size, 0);
    lathe_free(bytes);
    CHECK_CODE(lathe_buf_string(&buf, "abc"), LATHE_OK);
    bytes = lathe_buf_steal(&buf, NULL);
    CHECK_STRING(bytes, "abc");
    CHECK(!buf.data && !buf.size);
    lathe_free(bytes);
    lathe_buf_clear(&buf);
}

static lathe_code fill(void *self)
{
    (void)self;
    lathe_buf buf;
    lathe_buf_init(&buf, SIZE_MAX / 2);
    lathe_code code = LATHE_OK;
    for (int i = 0; i < 300 && !code; i++) {
        size_t before = buf.size;
        code = i % 2 ? lathe_buf_printf(&buf, "%d", i) : lathe_buf_string(&buf, "text");
        CHECK(!code || buf.size == before);
    }
    char *bytes = code ? NULL : lathe_buf_steal(&buf, NULL);
    lathe_free(bytes);
    lathe_buf_clear(&buf);
    return code;
}

TEST(every_allocation_fails_once)
{
    alloc_try_each(fill, NULL, LATHE_OK);
}

TESTS(ENTRY(grows_and_ends_with_nul), ENTRY(the_ceiling_holds_to_the_byte), ENTRY(printf_appends),
      ENTRY(steal_gives_the_bytes_away), ENTRY(every_allocation_fails_once))
