/* Writing a request: what is written is JSON that jansson reads as the arguments in their normal
 * form; what is refused has the faults of each argument, in order. */
#include "request.h"

#include <stdint.h>
#include <string.h>

#include "support.h"
#include "support_alloc.h"
#include "support_host.h"

enum { ARGUMENTS = 4, LONGEST = 256 };

static const char *const names[][ARGUMENTS] = {
    [LATHE_GENERATE] = {"task", "target_model"},
    [LATHE_IMPROVE] = {"messages", "feedback", "system", "target_model"},
    [LATHE_TEMPLATIZE] = {"messages", "system"},
};

static lathe_source host;

/* What is expected of a request. */
typedef struct expectation {
    json_t *body;
    size_t count;
    struct {
        const char *path, *code;
    } rest[ARGUMENTS]; /* behind the faults of the messages */
} expectation;

static void expect_fault(expectation *expected, const char *path, const char *code)
{
    expected->rest[expected->count].path = path;
    expected->rest[expected->count++].code = code;
}

/* The rules of messages are another target's. */
static void expect_messages(expectation *expected, const json_t *messages, lathe_error *error)
{
    lathe_jansson_builder builder;
    lathe_jansson_builder_init(&builder);
    lathe_sink sink = lathe_jansson_sink(&builder);
    lathe_error_init(error);
    if (!messages)
        expect_fault(expected, "messages", "missing");
    else if (!lathe_messages_check(&host, messages, &sink, error))
        json_object_set_new(expected->body, "messages", lathe_jansson_builder_take(&builder));
    lathe_jansson_builder_clear(&builder);
}

static void expect_string(expectation *expected, const char *name, json_t *value)
{
    lathe_text text;
    bool model = !strcmp(name, "target_model");
    if (!value && !strcmp(name, "task"))
        expect_fault(expected, name, "missing");
    if (!value)
        return;
    if (host.table->kind(host.self, value) != LATHE_KIND_STRING)
        expect_fault(expected, name, "wrong_type");
    else if (host.table->text(host.self, value, &text))
        expect_fault(expected, name, "not_unicode");
    else if (model && (!text.size || fuzz_length(text.data, text.size) > LONGEST))
        expect_fault(expected, name, "bad_length");
    else
        json_object_set(expected->body, name, value);
}

static void compare_faults(const lathe_faults *got, const lathe_faults *first,
                           const expectation *expected)
{
    MUST(got->total == first->total + expected->count);
    MUST(got->count == (got->total < LATHE_FAULTS_KEPT ? got->total : LATHE_FAULTS_KEPT));
    for (size_t i = 0; i < got->count; i++) {
        bool ours = i >= first->count;
        const char *path = ours ? expected->rest[i - first->count].path : first->items[i].path;
        const char *code = ours ? expected->rest[i - first->count].code : first->items[i].code;
        MUST(!strcmp(got->items[i].path, path) && !strcmp(got->items[i].code, code));
    }
}

static void write(const lathe_request *request, const expectation *expected,
                  const lathe_faults *first, unsigned order)
{
    lathe_buf body;
    lathe_error error;
    lathe_error_init(&error);
    lathe_buf_init(&body, SIZE_MAX / 2);
    fuzz_arm(order);
    lathe_code code = lathe_request_write(request, &body, &error);
    bool failed = fuzz_disarm();
    bool faulty = first->total + expected->count > 0;
    MUST(code == (failed ? LATHE_MEMORY : faulty ? LATHE_INVALID_REQUEST : LATHE_OK));
    fuzz_check_error(&error, code);
    if (!failed)
        compare_faults(&error.faults, first, expected);
    if (!code) {
        json_t *read = json_loadb(body.data, body.size, JSON_ALLOW_NUL, NULL);
        MUST(read && json_equal(read, expected->body));
        json_decref(read);
    }
    lathe_buf_clear(&body);
    lathe_error_clear(&error);
}

static void give(lathe_request *request, const char *name, const json_t *value)
{
    if (!strcmp(name, "task"))
        request->task = value;
    else if (!strcmp(name, "messages"))
        request->messages = value;
    else if (!strcmp(name, "feedback"))
        request->feedback = value;
    else if (!strcmp(name, "system"))
        request->system = value;
    else
        request->target_model = value;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input input = {data, size};
    unsigned order = fuzz_byte(&input), flags = fuzz_byte(&input);
    size_t before = alloc_blocks();
    host = host_source();
    lathe_request request = {.verb = (lathe_verb)(flags % 3), .source = host};
    expectation expected = {.body = json_object()};
    lathe_error first;
    lathe_error_init(&first);
    json_t *values[ARGUMENTS] = {NULL};
    for (int i = 0; i < ARGUMENTS && names[request.verb][i]; i++) {
        const char *name = names[request.verb][i];
        values[i] = flags & (8U << i) ? NULL : fuzz_value(&input);
        give(&request, name, values[i]);
        if (!strcmp(name, "messages"))
            expect_messages(&expected, values[i], &first);
        else
            expect_string(&expected, name, values[i]);
    }
    write(&request, &expected, &first.faults, order);
    for (int i = 0; i < ARGUMENTS; i++)
        json_decref(values[i]);
    json_decref(expected.body);
    lathe_error_clear(&first);
    MUST(alloc_blocks() == before);
    return 0;
}
