#include "instructions.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "alloc.h"
#include "buf.h"
#include "error.h"
#include "value.h"

enum { LARGEST = 1 << 20 };

static const char suffix[] = ".txt";

struct lathe_instructions {
    atomic_int references;
    char *texts[LATHE_INSTRUCTION_COUNT]; /* NULL: our own */
};

lathe_instructions *lathe_instructions_retain(lathe_instructions *set)
{
    atomic_fetch_add(&set->references, 1);
    return set;
}

void lathe_instructions_release(lathe_instructions *set)
{
    if (!set || atomic_fetch_sub(&set->references, 1) > 1)
        return;
    for (int i = 0; i < LATHE_INSTRUCTION_COUNT; i++)
        lathe_free(set->texts[i]);
    lathe_free(set);
}

const char *lathe_instructions_text(const lathe_instructions *set, lathe_instruction_kind kind)
{
    return set->texts[kind] ? set->texts[kind] : lathe_builtin_instructions[kind].text;
}

/* ---- A folder -------------------------------------------------------------------------------- */

static lathe_code refuse(const char *folder, const char *name, const char *why, lathe_error *error)
{
    return lathe_fail(error, LATHE_CONFIGURATION, "instructions: %.300s/%.60s: %s", folder, name,
                      why);
}

static bool ends_with_suffix(const char *name)
{
    size_t size = strlen(name), end = sizeof suffix - 1;
    return size > end && !strcmp(name + size - end, suffix);
}

/* The kind that a file is, or LATHE_INSTRUCTION_COUNT. */
static int kind_of(const char *name)
{
    int kind = 0;
    for (; kind < LATHE_INSTRUCTION_COUNT; kind++) {
        const char *known = lathe_builtin_instructions[kind].name;
        if (!strncmp(name, known, strlen(known)) && !strcmp(name + strlen(known), suffix))
            break;
    }
    return kind;
}

static lathe_code read_all(FILE *file, lathe_buf *text)
{
    char piece[4096];
    lathe_code code = LATHE_OK;
    for (size_t size; !code && (size = fread(piece, 1, sizeof piece, file)) > 0;)
        code = lathe_buf_append(text, piece, size);
    return code;
}

static const char *objection(const lathe_buf *text)
{
    if (!text->size || strspn(text->data, " \t\r\n") == text->size)
        return "it is empty";
    if (memchr(text->data, '\0', text->size) || !lathe_utf8_valid(text->data, text->size))
        return "it is no text in UTF-8";
    return NULL;
}

static lathe_code read_text(FILE *file, const char *folder, const char *name, char **slot,
                            lathe_error *error)
{
    lathe_buf text;
    lathe_buf_init(&text, LARGEST);
    lathe_code code = read_all(file, &text);
    const char *why = code == LATHE_TOO_LARGE ? "it is larger than 1 MiB"
                      : ferror(file)          ? strerror(errno)
                                              : NULL;
    if (!code && !why)
        why = objection(&text);
    if (why)
        refuse(folder, name, why, error);
    else if (code || !(*slot = lathe_buf_steal(&text, NULL)))
        lathe_fail(error, LATHE_MEMORY, NULL);
    lathe_buf_clear(&text);
    return error->code;
}

/* NULL with errno set. A pipe, which could be waited for without end, is no file to be read. */
static FILE *open_regular(const char *path)
{
    struct stat found = {0};
    const int descriptor = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (descriptor < 0)
        return NULL;
    if (fstat(descriptor, &found) || !S_ISREG(found.st_mode)) {
        close(descriptor);
        errno = S_ISDIR(found.st_mode) ? EISDIR : ENOTSUP;
        return NULL;
    }
    FILE *file = fdopen(descriptor, "rb");
    if (!file)
        close(descriptor);
    return file;
}

static lathe_code read_file(const char *folder, const char *name, char **slot, lathe_error *error)
{
    lathe_buf path;
    lathe_buf_init(&path, SIZE_MAX / 2);
    FILE *file = NULL;
    if (lathe_buf_printf(&path, "%s/%s", folder, name))
        lathe_fail(error, LATHE_MEMORY, NULL);
    else if (!(file = open_regular(path.data)))
        refuse(folder, name, errno == ENOTSUP ? "it is no regular file" : strerror(errno), error);
    else
        read_text(file, folder, name, slot, error);
    if (file)
        fclose(file);
    lathe_buf_clear(&path);
    return error->code;
}

static lathe_code read_folder(lathe_instructions *set, DIR *listing, const char *folder,
                              lathe_error *error)
{
    bool any = false;
    for (const struct dirent *entry; (entry = readdir(listing));) {
        int kind = kind_of(entry->d_name);
        if (kind == LATHE_INSTRUCTION_COUNT && ends_with_suffix(entry->d_name))
            return refuse(folder, entry->d_name,
                          "no such text: they are generate.txt, improve.txt, "
                          "improve-1-examples.txt, improve-2-draft.txt, improve-3-reasoning.txt, "
                          "improve-4-rework.txt, templatize.txt, again.txt and version.txt",
                          error);
        if (kind == LATHE_INSTRUCTION_COUNT)
            continue;
        any = true;
        if (read_file(folder, entry->d_name, &set->texts[kind], error))
            return error->code;
    }
    return any ? LATHE_OK
               : lathe_fail(error, LATHE_CONFIGURATION,
                            "instructions: %.300s holds none of the texts, such as generate.txt",
                            folder);
}

/* ---- Versions -------------------------------------------------------------------------------- */

/* The first line, and "+custom" where texts are not ours and nobody has named them. */
static lathe_code set_version(lathe_instructions *set, bool custom)
{
    const char *text = lathe_instructions_text(set, LATHE_INSTRUCTION_VERSION);
    bool named = set->texts[LATHE_INSTRUCTION_VERSION];
    text += strspn(text, " \t\r\n");
    lathe_buf version;
    lathe_buf_init(&version, SIZE_MAX / 2);
    lathe_code code = lathe_buf_printf(&version, "%.*s%s", (int)strcspn(text, "\r\n"), text,
                                       custom && !named ? "+custom" : "");
    char *made = code ? NULL : lathe_buf_steal(&version, NULL);
    lathe_buf_clear(&version);
    if (!made)
        return LATHE_MEMORY;
    lathe_free(set->texts[LATHE_INSTRUCTION_VERSION]);
    set->texts[LATHE_INSTRUCTION_VERSION] = made;
    return LATHE_OK;
}

static lathe_code load_folder(lathe_instructions *set, const char *folder, lathe_error *error)
{
    DIR *listing = opendir(folder);
    if (!listing)
        return lathe_fail(error, LATHE_CONFIGURATION, "instructions: %.300s: %s", folder,
                          strerror(errno));
    read_folder(set, listing, folder, error);
    closedir(listing);
    return error->code;
}

lathe_code lathe_instructions_load(const char *folder, lathe_instructions **set, lathe_error *error)
{
    *set = NULL;
    bool custom = folder && *folder;
    lathe_instructions *made = lathe_calloc(1, sizeof *made);
    if (!made)
        return lathe_fail(error, LATHE_MEMORY, NULL);
    atomic_init(&made->references, 1);
    if (custom)
        load_folder(made, folder, error);
    if (!error->code && set_version(made, custom))
        lathe_fail(error, LATHE_MEMORY, NULL);
    if (error->code)
        lathe_instructions_release(made);
    else
        *set = made;
    return error->code;
}
