#include "request.h"

#include <string.h>

#include "error.h"
#include "json.h"
#include "messages.h"
#include "value.h"

enum { MODEL_LENGTH = 256 };

static const struct {
    const char *name, *path;
} verbs[] = {
    [LATHE_GENERATE] = {"generate", "/v1/experimental/generate_prompt"},
    [LATHE_IMPROVE] = {"improve", "/v1/experimental/improve_prompt"},
    [LATHE_TEMPLATIZE] = {"templatize", "/v1/experimental/templatize_prompt"},
};

const char *lathe_verb_name(lathe_verb verb)
{
    return verbs[verb].name;
}

const char *lathe_verb_path(lathe_verb verb)
{
    return verbs[verb].path;
}

typedef struct writing {
    const lathe_source *source;
    const lathe_sink *sink;
    lathe_faults *faults;
} writing;

/* Once a fault is known nothing is written any more. */
static lathe_code write_key(const writing *w, const char *name)
{
    return w->faults->total ? LATHE_OK : lathe_sink_key(w->sink, name);
}

/* Left out when not given. */
static lathe_code write_string(const writing *w, const char *name, const void *value,
                               lathe_text *text)
{
    if (!value)
        return LATHE_OK;
    lathe_code code = write_key(w, name);
    return code ? code : lathe_string_walk(w->source, value, name, w->sink, text, w->faults);
}

static lathe_code missing(const writing *w, const char *name, const char *what)
{
    return lathe_faults_add(w->faults, name, strlen(name), "missing", -1,
                            "%s is required and was not given: give %s", name, what);
}

static lathe_code write_task(const writing *w, const void *task)
{
    lathe_text text;
    return task ? write_string(w, "task", task, &text)
                : missing(w, "task", "a string that says what the prompt is for");
}

static lathe_code write_messages(const writing *w, const void *messages)
{
    if (!messages)
        return missing(w, "messages", "a list of messages, or a string");
    lathe_code code = write_key(w, "messages");
    return code ? code : lathe_messages_walk(w->source, messages, "messages", w->sink, w->faults);
}

static lathe_code write_model(const writing *w, const void *model)
{
    lathe_text text = {NULL, 0};
    lathe_code code = write_string(w, "target_model", model, &text);
    if (code || !text.data)
        return code;
    size_t length = lathe_utf8_length(text.data, text.size);
    if (length >= 1 && length <= MODEL_LENGTH)
        return LATHE_OK;
    return lathe_faults_add(w->faults, "target_model", strlen("target_model"), "bad_length", -1,
                            "a model's name has 1 to %d characters, this one has %zu: leave the "
                            "argument out when no model is meant",
                            MODEL_LENGTH, length);
}

static lathe_code write_members(const writing *w, const lathe_request *request)
{
    lathe_text text;
    lathe_code code = request->verb == LATHE_GENERATE ? write_task(w, request->task)
                                                      : write_messages(w, request->messages);
    if (!code)
        code = write_string(w, "feedback", request->feedback, &text);
    if (!code)
        code = write_string(w, "system", request->system, &text);
    return code ? code : write_model(w, request->target_model);
}

lathe_code lathe_request_write(const lathe_request *request, lathe_buf *body, lathe_error *error)
{
    lathe_json_writer writer;
    lathe_json_writer_init(&writer, body);
    lathe_sink sink = lathe_json_sink(&writer);
    const writing w = {&request->source, &sink, &error->faults};
    lathe_code code = sink.table->begin_object(sink.self);
    if (!code)
        code = write_members(&w, request);
    if (!code && !error->faults.total)
        code = sink.table->end(sink.self);
    if (code)
        return lathe_fail(error, code, NULL);
    return lathe_fail_faults(error, LATHE_INVALID_REQUEST);
}
