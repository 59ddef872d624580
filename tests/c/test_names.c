/* The set of names. */
#include "names.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support_alloc.h"
#include "test.h"

enum { COUNT = 50000, NAME = 12 };

static lathe_text name_of(char *block, int i)
{
    char *name = block + i * NAME;
    return (lathe_text){name, (size_t)snprintf(name, NAME, "name%d", i)};
}

TEST(names_are_kept_once_and_in_order)
{
    lathe_names names = {0};
    lathe_name *item;
    char *block = malloc(COUNT * NAME);
    REQUIRE(block);
    for (int round = 0; round < 2; round++)
        for (int i = 0; i < COUNT; i++) {
            REQUIRE(lathe_names_add(&names, name_of(block, i), &item) == LATHE_OK);
            REQUIRE(item == &names.items[i]);
        }
    CHECK_INT(names.count, COUNT);
    for (int i = 0; i < COUNT; i++)
        REQUIRE(lathe_names_find(&names, names.items[i].name) == &names.items[i]);
    CHECK(!lathe_names_find(&names, (lathe_text){"other", 5}));
    CHECK(!lathe_names_find(&names, (lathe_text){"name1", 4}));
    lathe_names_clear(&names);
    CHECK(!lathe_names_find(&names, (lathe_text){"name1", 5}));
    free(block);
}

TEST(bytes_count_not_strings)
{
    lathe_names names = {0};
    lathe_name *item;
    CHECK_CODE(lathe_names_add(&names, (lathe_text){"a\0b", 3}, &item), LATHE_OK);
    CHECK_CODE(lathe_names_add(&names, (lathe_text){"a\0c", 3}, &item), LATHE_OK);
    CHECK_CODE(lathe_names_add(&names, (lathe_text){"", 0}, &item), LATHE_OK);
    CHECK_INT(names.count, 3);
    lathe_names_clear(&names);
}

static lathe_code add_some(void *self)
{
    char *block = self;
    lathe_names names = {0};
    lathe_code code = LATHE_OK;
    for (int i = 0; i < 40 && !code; i++) {
        lathe_name *item;
        code = lathe_names_add(&names, name_of(block, i), &item);
        /* A failure leaves the set as it was. */
        if (code) {
            CHECK_INT(names.count, i);
            CHECK(!lathe_names_find(&names, name_of(block, i)));
            CHECK(!i || lathe_names_find(&names, name_of(block, i - 1)));
        }
    }
    lathe_names_clear(&names);
    return code;
}

TEST(every_allocation_fails_once)
{
    char block[40 * NAME];
    alloc_try_each(add_some, block, LATHE_OK);
}

TESTS(ENTRY(names_are_kept_once_and_in_order), ENTRY(bytes_count_not_strings),
      ENTRY(every_allocation_fails_once))
