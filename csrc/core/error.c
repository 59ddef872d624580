#include "error.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "alloc.h"
#include "buf.h"
#include "value.h"

const char *lathe_code_name(lathe_code code)
{
    switch (code) {
#define NAME(code, exception, text)                                                                \
    case code:                                                                                     \
        return #code;
        LATHE_CODES(NAME)
#undef NAME
    }
    return "";
}

const char *lathe_code_exception(lathe_code code)
{
    switch (code) {
#define EXCEPTION(code, exception, text)                                                           \
    case code:                                                                                     \
        return #exception;
        LATHE_CODES(EXCEPTION)
#undef EXCEPTION
    }
    return "";
}

const char *lathe_code_text(lathe_code code)
{
    switch (code) {
#define TEXT(code, exception, text)                                                                \
    case code:                                                                                     \
        return text;
        LATHE_CODES(TEXT)
#undef TEXT
    }
    return "";
}

const char *lathe_phase_name(lathe_phase phase)
{
    static const char *const names[] = {"",    "queue", "resolve", "connect",
                                        "tls", "send",  "wait",    "read"};
    return names[phase];
}

void lathe_error_init(lathe_error *error)
{
    /* Of the texts, over a KiB, the first bytes are enough. */
    memset(error, 0, offsetof(lathe_error, message));
    error->message[0] = error->curl_message[0] = error->host[0] = error->address[0] = '\0';
    error->retry_after = -1;
}

static void free_names(char **names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        lathe_free(names[i]);
    lathe_free(names);
}

void lathe_error_clear(lathe_error *error)
{
    lathe_faults_clear(&error->faults);
    free_names(error->names, error->name_count);
    free_names(error->won, error->won_count);
    lathe_free(error->answer);
    lathe_free(error->usage);
    lathe_free(error->type);
    lathe_free(error->said);
    lathe_free(error->request_id);
    lathe_free(error->location);
    lathe_free(error->body);
    lathe_free(error->headers.items);
    lathe_free(error->headers.block);
    lathe_error_init(error);
}

/* Cuts a half character off the end of a message that was too long. */
static void trim_utf8(char *text)
{
    size_t size = strlen(text), start = size;
    while (start && ((unsigned char)text[start - 1] & 0xC0) == 0x80)
        start--;
    if (!start)
        return;
    unsigned char lead = (unsigned char)text[start - 1];
    size_t need = lead >= 0xF0 ? 3 : lead >= 0xE0 ? 2 : lead >= 0xC0 ? 1 : 0;
    if (size - start < need)
        text[start - 1] = '\0';
}

/* A path or a header may hold any byte: what is no text is shown as question marks. */
static void make_text(char *message)
{
    trim_utf8(message);
    for (char *at = message; *(at += lathe_utf8_prefix(at, strlen(at)));)
        *at = '?';
}

lathe_code lathe_fail(lathe_error *error, lathe_code code, const char *format, ...)
{
    if (error->code)
        return error->code;
    error->code = code;
    if (!format) {
        snprintf(error->message, sizeof error->message, "%s", lathe_code_text(code));
        return code;
    }
    va_list args;
    va_start(args, format);
    vsnprintf(error->message, sizeof error->message, format, args);
    va_end(args);
    make_text(error->message);
    return code;
}

lathe_code lathe_fail_lacking(lathe_error *error)
{
    return lathe_fail(error, LATHE_MEMORY, "out of memory, or of file descriptors");
}

void lathe_error_append(lathe_error *error, const char *format, ...)
{
    size_t used = strlen(error->message);
    va_list args;
    va_start(args, format);
    vsnprintf(error->message + used, sizeof error->message - used, format, args);
    va_end(args);
    make_text(error->message);
}

void lathe_faults_clear(lathe_faults *faults)
{
    for (size_t i = 0; i < faults->count; i++) {
        lathe_free(faults->items[i].path);
        lathe_free(faults->items[i].message);
    }
    lathe_free(faults->items);
    *faults = (lathe_faults){0};
}

static lathe_code faults_grow(lathe_faults *faults)
{
    if (faults->count < faults->capacity)
        return LATHE_OK;
    size_t capacity = faults->capacity ? faults->capacity * 2 : 4;
    lathe_fault *items = lathe_realloc(faults->items, capacity * sizeof *items);
    if (!items)
        return LATHE_MEMORY;
    faults->items = items;
    faults->capacity = capacity;
    return LATHE_OK;
}

lathe_code lathe_faults_add(lathe_faults *faults, const char *path, size_t path_size,
                            const char *code, int64_t offset, const char *format, ...)
{
    faults->total++;
    if (faults->count == LATHE_FAULTS_KEPT)
        return LATHE_OK;
    if (faults_grow(faults))
        return LATHE_MEMORY;
    char message[512];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    trim_utf8(message);
    lathe_fault fault = {.path = lathe_copy(path, path_size),
                         .path_size = path_size,
                         .code = code,
                         .message = lathe_copy_string(message),
                         .offset = offset};
    if (!fault.path || !fault.message) {
        lathe_free(fault.path);
        lathe_free(fault.message);
        return LATHE_MEMORY;
    }
    faults->items[faults->count++] = fault;
    return LATHE_OK;
}

/* Shows a path, but no name in it that could carry text of the input. */
static lathe_code append_path(lathe_buf *buf, const lathe_fault *fault)
{
    size_t start = 0;
    lathe_code code = LATHE_OK;
    for (size_t i = 0; i <= fault->path_size && !code; i++) {
        if (i < fault->path_size && fault->path[i] != '.')
            continue;
        bool plain = i - start <= 40;
        for (size_t j = start; j < i && plain; j++)
            plain = isalnum((unsigned char)fault->path[j]) || fault->path[j] == '_';
        code = plain ? lathe_buf_append(buf, fault->path + start, i - start)
                     : lathe_buf_string(buf, "(a member)");
        if (!code && i < fault->path_size)
            code = lathe_buf_append(buf, ".", 1);
        start = i + 1;
    }
    return code;
}

static lathe_code append_fault(lathe_buf *buf, const lathe_fault *fault)
{
    lathe_code code = append_path(buf, fault);
    if (!code && fault->path_size)
        code = lathe_buf_string(buf, ": ");
    return code ? code : lathe_buf_string(buf, fault->message);
}

lathe_code lathe_fail_faults(lathe_error *error, lathe_code code)
{
    const lathe_faults *faults = &error->faults;
    if (!faults->total)
        return LATHE_OK;
    lathe_buf buf;
    lathe_buf_init(&buf, sizeof error->message - 1);
    lathe_code status = LATHE_OK;
    size_t shown = 0;
    if (faults->total > 1)
        status = lathe_buf_printf(&buf, "%zu faults: ", faults->total);
    for (; shown < faults->count && shown < 3 && !status; shown++) {
        if (shown)
            status = lathe_buf_string(&buf, "; ");
        if (!status)
            status = append_fault(&buf, &faults->items[shown]);
    }
    if (!status && shown < faults->total)
        status = lathe_buf_printf(&buf, "; and %zu more in .errors", faults->total - shown);
    if (status == LATHE_MEMORY) {
        lathe_faults_clear(&error->faults);
        code = lathe_fail(error, LATHE_MEMORY, NULL);
    } else {
        code = lathe_fail(error, code, "%s", buf.data ? buf.data : "");
    }
    lathe_buf_clear(&buf);
    return code;
}
