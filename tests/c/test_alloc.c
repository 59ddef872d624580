/* The library's own memory. */
#include "alloc.h"

#include <stdint.h>
#include <string.h>

#include "support_alloc.h"
#include "test.h"

TEST(zeroed_and_never_too_small)
{
    unsigned char *block = lathe_calloc(3, 5);
    REQUIRE(block);
    for (int i = 0; i < 15; i++)
        CHECK_INT(block[i], 0);
    lathe_free(block);
    CHECK(!lathe_calloc(SIZE_MAX / 2, 3));
    CHECK(!lathe_calloc(SIZE_MAX, SIZE_MAX));
}

TEST(no_bytes_are_still_a_block)
{
    void *block = lathe_malloc(0);
    CHECK(block);
    block = lathe_realloc(block, 0);
    CHECK(block);
    lathe_free(block);
    block = lathe_calloc(0, 8);
    CHECK(block);
    lathe_free(block);
    lathe_free(NULL);
}

TEST(copies_end_with_nul)
{
    char *copy = lathe_copy("a\0bc", 3);
    REQUIRE(copy);
    CHECK_BYTES(copy, 4, "a\0b", 4);
    lathe_free(copy);
    copy = lathe_copy(NULL, 0);
    REQUIRE(copy);
    CHECK_STRING(copy, "");
    lathe_free(copy);
    CHECK(!lathe_copy("a", SIZE_MAX));
    CHECK(!lathe_copy_string(NULL));
    copy = lathe_copy_string("text");
    CHECK_STRING(copy, "text");
    lathe_free(copy);
}

TEST(wiping_overwrites)
{
    char secret[8] = "secret!", zeros[8] = {0};
    lathe_wipe(secret, sizeof secret);
    CHECK_BYTES(secret, sizeof secret, zeros, sizeof zeros);
}

TEST(the_hook_sees_every_block)
{
    size_t before = alloc_blocks();
    char *block = lathe_copy_string("text");
    CHECK_INT(alloc_blocks(), before + 1);
    lathe_free(block);
    CHECK_INT(alloc_blocks(), before);
    lathe_set_allocator(NULL);
    block = lathe_copy_string("text");
    CHECK_INT(alloc_blocks(), before);
    lathe_free(block);
    alloc_install();
}

TESTS(ENTRY(zeroed_and_never_too_small), ENTRY(no_bytes_are_still_a_block),
      ENTRY(copies_end_with_nul), ENTRY(wiping_overwrites), ENTRY(the_hook_sees_every_block))
