#include "support_cases.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "test.h"

static size_t check_file(const char *name, void (*check)(json_t *item))
{
    char path[4096];
    json_error_t reason;
    snprintf(path, sizeof path, "%s/%s", test_cases(), name);
    json_t *cases = json_load_file(path, JSON_ALLOW_NUL, &reason);
    if (!cases) {
        FAIL("%s: %s", path, reason.text);
        return 0;
    }
    for (size_t i = 0; i < json_array_size(cases); i++) {
        json_t *item = json_array_get(cases, i);
        test_context("%s: %s", name, json_string_value(json_object_get(item, "name")));
        check(item);
    }
    test_context(NULL);
    size_t count = json_array_size(cases);
    json_decref(cases);
    return count;
}

void cases_each(const char *prefix, void (*check)(json_t *item))
{
    size_t count = 0;
    struct dirent **entries;
    int found = scandir(test_cases(), &entries, NULL, alphasort);
    for (int i = 0; i < found; i++) {
        if (strncmp(entries[i]->d_name, prefix, strlen(prefix)) == 0)
            count += check_file(entries[i]->d_name, check);
        free(entries[i]);
    }
    if (found >= 0)
        free(entries);
    if (!count)
        FAIL("no cases of %s in %s", prefix, test_cases());
}

void cases_check_built(lathe_jansson_builder *builder, const json_t *expected)
{
    json_t *built = lathe_jansson_builder_take(builder);
    size_t flags = JSON_ENCODE_ANY | JSON_COMPACT;
    char *got = built ? json_dumps(built, flags) : NULL;
    char *want = expected ? json_dumps(expected, flags) : NULL;
    CHECK_STRING(got, want);
    CHECK(want);
    json_free_t free_text;
    json_get_alloc_funcs(NULL, &free_text);
    free_text(got);
    free_text(want);
    json_decref(built);
}

static const char *member(const json_t *fault, const char *name)
{
    return json_string_value(json_object_get(fault, name));
}

void cases_check_faults(const lathe_faults *faults, const json_t *expected)
{
    CHECK_INT(faults->total, json_array_size(expected));
    for (size_t i = 0; i < faults->count && i < json_array_size(expected); i++) {
        const lathe_fault *fault = &faults->items[i];
        const json_t *want = json_array_get(expected, i);
        const json_t *path = json_object_get(want, "path");
        CHECK_STRING(fault->code, member(want, "code"));
        CHECK_BYTES(fault->path, fault->path_size, json_string_value(path),
                    json_string_length(path));
        CHECK(strchr(fault->message, ' '));
    }
}
