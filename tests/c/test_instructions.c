/* The texts that a model is told: our own, and those of a folder. */
#include "instructions.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support_alloc.h"
#include "test.h"

static lathe_error error;

/* ---- Folders --------------------------------------------------------------------------------- */

typedef struct folder {
    char path[64];
} folder;

static bool folder_init(folder *f)
{
    lathe_error_init(&error);
    snprintf(f->path, sizeof f->path, "/tmp/instructions-XXXXXX");
    return CHECK(mkdtemp(f->path));
}

static const char *inside(const folder *f, const char *name)
{
    static char path[512];
    snprintf(path, sizeof path, "%s/%s", f->path, name);
    return path;
}

static void put(const folder *f, const char *name, const char *text, size_t size)
{
    FILE *file = fopen(inside(f, name), "wb");
    if (!CHECK(file))
        return;
    CHECK_INT(fwrite(text, 1, size, file), size);
    fclose(file);
}

static void put_text(const folder *f, const char *name, const char *text)
{
    put(f, name, text, strlen(text));
}

/* `names` end with NULL. */
static void folder_clear(const folder *f, const char *const *names)
{
    for (; *names; names++)
        CHECK(!remove(inside(f, *names)));
    CHECK(!rmdir(f->path));
    lathe_error_clear(&error);
}

/* Loading is refused, and the message names the folder and holds `words`. */
static void check_refused(const char *path, const char *words)
{
    lathe_instructions *set = NULL;
    lathe_error_clear(&error);
    CHECK_CODE(lathe_instructions_load(path, &set, &error), LATHE_CONFIGURATION);
    CHECK(!set);
    CHECK(strstr(error.message, "instructions: ") == error.message);
    if (!strstr(error.message, words))
        FAIL("\"%s\" does not say \"%s\"", error.message, words);
}

static lathe_instructions *load(const char *path)
{
    lathe_instructions *set = NULL;
    if (lathe_instructions_load(path, &set, &error))
        FAIL("%s", error.message);
    return set;
}

static void check_version(const char *path, const char *expected)
{
    lathe_instructions *set = load(path);
    if (set)
        CHECK_STRING(lathe_instructions_text(set, LATHE_INSTRUCTION_VERSION), expected);
    lathe_instructions_release(set);
}

/* ---- Our own --------------------------------------------------------------------------------- */

/* Each tells of the sections that are looked for in the answer to it. */
TEST(ours_tell_of_their_sections)
{
    static const char *const sections[LATHE_INSTRUCTION_COUNT][3] = {
        [LATHE_INSTRUCTION_GENERATE] = {"<result_prompt>", "<result_prefill>"},
        [LATHE_INSTRUCTION_IMPROVE] = {"<result_prompt>", "<result_prefill>"},
        [LATHE_INSTRUCTION_EXAMPLES] = {"<result_examples>"},
        [LATHE_INSTRUCTION_DRAFT] = {"<result_prompt>"},
        [LATHE_INSTRUCTION_REASONING] = {"<result_prompt>"},
        [LATHE_INSTRUCTION_REWORK] = {"<result_prompt>", "<result_prefill>"},
        [LATHE_INSTRUCTION_TEMPLATIZE] = {"<result_variables>"},
        [LATHE_INSTRUCTION_AGAIN] = {"Answer again"},
    };
    lathe_error_init(&error);
    lathe_instructions *set = load(NULL);
    REQUIRE(set);
    for (int kind = 0; kind < LATHE_INSTRUCTION_COUNT; kind++) {
        const char *text = lathe_instructions_text(set, (lathe_instruction_kind)kind);
        test_context("%s", lathe_builtin_instructions[kind].name);
        CHECK(*text);
        for (const char *const *section = sections[kind]; *section; section++)
            CHECK(strstr(text, *section));
    }
    lathe_instructions_release(set);
}

TEST(ours_have_a_version)
{
    lathe_error_init(&error);
    const char *text = lathe_builtin_instructions[LATHE_INSTRUCTION_VERSION].text;
    char line[32];
    snprintf(line, sizeof line, "%.*s", (int)strcspn(text, "\n"), text);
    CHECK(*line && !line[strspn(line, "0123456789.")]);
    check_version(NULL, line);
    check_version("", line);
}

TEST(a_set_is_shared)
{
    lathe_error_init(&error);
    lathe_instructions *set = load(NULL);
    REQUIRE(set);
    CHECK(lathe_instructions_retain(set) == set);
    lathe_instructions_release(set);
    CHECK(*lathe_instructions_text(set, LATHE_INSTRUCTION_AGAIN));
    lathe_instructions_release(set);
    lathe_instructions_release(NULL);
}

/* ---- A folder's ------------------------------------------------------------------------------ */

TEST(a_folder_replaces_what_it_has)
{
    folder f;
    REQUIRE(folder_init(&f));
    put_text(&f, "improve-2-draft.txt", " Draft \xC3\xBC\n");
    put_text(&f, "again.txt", "Again: ");
    put_text(&f, "README.md", "of no concern"); /* also what is no .txt at all */
    put_text(&f, "generate.txt~", "");
    put_text(&f, ".txt", "");
    lathe_instructions *set = load(f.path);
    REQUIRE(set);
    CHECK_STRING(lathe_instructions_text(set, LATHE_INSTRUCTION_DRAFT), " Draft \xC3\xBC\n");
    CHECK_STRING(lathe_instructions_text(set, LATHE_INSTRUCTION_AGAIN), "Again: ");
    CHECK_STRING(lathe_instructions_text(set, LATHE_INSTRUCTION_GENERATE),
                 lathe_builtin_instructions[LATHE_INSTRUCTION_GENERATE].text);
    lathe_instructions_release(set);
    folder_clear(&f, (const char *const[]){"improve-2-draft.txt", "again.txt", "README.md",
                                           "generate.txt~", ".txt", NULL});
}

TEST(all_can_be_replaced)
{
    folder f;
    char name[64];
    REQUIRE(folder_init(&f));
    for (int kind = 0; kind < LATHE_INSTRUCTION_COUNT; kind++) {
        snprintf(name, sizeof name, "%s.txt", lathe_builtin_instructions[kind].name);
        put_text(&f, name, name);
    }
    lathe_instructions *set = load(f.path);
    for (int kind = 0; kind < LATHE_INSTRUCTION_COUNT; kind++) {
        snprintf(name, sizeof name, "%s.txt", lathe_builtin_instructions[kind].name);
        if (set)
            CHECK_STRING(lathe_instructions_text(set, (lathe_instruction_kind)kind), name);
        CHECK(!remove(inside(&f, name)));
    }
    lathe_instructions_release(set);
    folder_clear(&f, (const char *const[]){NULL});
}

TEST(versions)
{
    folder f;
    char ours[64];
    REQUIRE(folder_init(&f));
    snprintf(ours, sizeof ours, "%.*s+custom",
             (int)strcspn(lathe_builtin_instructions[LATHE_INSTRUCTION_VERSION].text, "\n"),
             lathe_builtin_instructions[LATHE_INSTRUCTION_VERSION].text);
    put_text(&f, "generate.txt", "x");
    check_version(f.path, ours);
    put_text(&f, "version.txt", "\n  mine 7\r\nand what is new in it\n");
    check_version(f.path, "mine 7");
    CHECK(!remove(inside(&f, "generate.txt")));
    check_version(f.path, "mine 7"); /* a version alone is a folder of ours, too */
    folder_clear(&f, (const char *const[]){"version.txt", NULL});
}

/* ---- Refusals -------------------------------------------------------------------------------- */

TEST(folders_that_are_none)
{
    folder f;
    REQUIRE(folder_init(&f));
    check_refused("/nowhere/at/all", "/nowhere/at/all: No such file");
    put_text(&f, "notes.md", "");
    check_refused(f.path, "holds none of the texts, such as generate.txt");
    check_refused(inside(&f, "notes.md"), "notes.md: Not a directory");
    char longest[4000];
    memset(longest, 'x', sizeof longest);
    longest[sizeof longest - 1] = '\0';
    check_refused(longest, ": ");
    folder_clear(&f, (const char *const[]){"notes.md", NULL});
}

/* A file of a name that is not known would be left out in silence. */
TEST(names_that_are_none)
{
    static const char *const names[] = {"generated.txt", "Generate.txt", "improve-1.txt",
                                        "generate.txt.txt", "x.txt"};
    folder f;
    REQUIRE(folder_init(&f));
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        put_text(&f, names[i], "text");
        check_refused(f.path, names[i]);
        CHECK(strstr(error.message, "no such text: they are generate.txt, improve.txt, "));
        CHECK(!remove(inside(&f, names[i])));
    }
    put_text(&f, "\xFF.txt", "text");
    check_refused(f.path, "?.txt: no such text");
    folder_clear(&f, (const char *const[]){"\xFF.txt", NULL});
}

TEST(texts_that_are_none)
{
    static const struct {
        const char *text;
        size_t size;
        const char *words;
    } cases[] = {
        {"", 0, "improve.txt: it is empty"},
        {" \t\r\n", 4, "improve.txt: it is empty"},
        {"a\0b", 3, "improve.txt: it is no text in UTF-8"},
        {"\0", 1, "improve.txt: it is no text in UTF-8"},
        {"caf\xE9", 4, "improve.txt: it is no text in UTF-8"},
        {"\xED\xA0\x80", 3, "improve.txt: it is no text in UTF-8"},
    };
    folder f;
    REQUIRE(folder_init(&f));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        put(&f, "improve.txt", cases[i].text, cases[i].size);
        check_refused(f.path, cases[i].words);
    }
    folder_clear(&f, (const char *const[]){"improve.txt", NULL});
}

TEST(the_largest_text)
{
    enum { LARGEST = 1 << 20 };
    folder f;
    char *text = malloc(LARGEST + 1);
    REQUIRE(text && folder_init(&f));
    memset(text, 'x', LARGEST + 1);
    put(&f, "generate.txt", text, LARGEST);
    lathe_instructions *set = load(f.path);
    if (set)
        CHECK_INT(strlen(lathe_instructions_text(set, LATHE_INSTRUCTION_GENERATE)), LARGEST);
    lathe_instructions_release(set);
    put(&f, "generate.txt", text, LARGEST + 1);
    check_refused(f.path, "generate.txt: it is larger than 1 MiB");
    free(text);
    folder_clear(&f, (const char *const[]){"generate.txt", NULL});
}

TEST(texts_that_cannot_be_read)
{
    folder f;
    REQUIRE(folder_init(&f));
    CHECK(!symlink("nowhere", inside(&f, "again.txt")));
    check_refused(f.path, "again.txt: No such file");
    CHECK(!remove(inside(&f, "again.txt")));
    CHECK(!mkdir(inside(&f, "again.txt"), 0700));
    check_refused(f.path, "again.txt: Is a directory");
    folder_clear(&f, (const char *const[]){"again.txt", NULL});
}

/* ---- Memory ---------------------------------------------------------------------------------- */

static lathe_code load_and_release(void *path)
{
    lathe_instructions *set;
    lathe_error mine;
    lathe_error_init(&mine);
    lathe_code code = lathe_instructions_load(path, &set, &mine);
    CHECK(!set == (code != LATHE_OK));
    lathe_instructions_release(set);
    lathe_error_clear(&mine);
    return code;
}

TEST(memory)
{
    folder f;
    REQUIRE(folder_init(&f));
    alloc_try_each(load_and_release, NULL, LATHE_OK);
    put_text(&f, "generate.txt", "one");
    put_text(&f, "improve.txt", "two");
    alloc_try_each(load_and_release, f.path, LATHE_OK);
    put_text(&f, "x.txt", "three");
    CHECK(!remove(inside(&f, "generate.txt")));
    CHECK(!remove(inside(&f, "improve.txt")));
    alloc_try_each(load_and_release, f.path, LATHE_CONFIGURATION);
    folder_clear(&f, (const char *const[]){"x.txt", NULL});
}

TESTS(ENTRY(ours_tell_of_their_sections), ENTRY(ours_have_a_version), ENTRY(a_set_is_shared),
      ENTRY(a_folder_replaces_what_it_has), ENTRY(all_can_be_replaced), ENTRY(versions),
      ENTRY(folders_that_are_none), ENTRY(names_that_are_none), ENTRY(texts_that_are_none),
      ENTRY(the_largest_text), ENTRY(texts_that_cannot_be_read), ENTRY(memory))
