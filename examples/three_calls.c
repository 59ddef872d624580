/* Generates a prompt, improves it and turns it into a template, from C.
 *
 *     make -C csrc
 *     ANTHROPIC_API_KEY=... ANTHROPIC_BASE_URL=... build/plain/examples/three_calls
 *
 * `promptlathe mock` starts a simulated service to try it with. */
#include <promptlathe.h>

#include <jansson.h>
#include <stdio.h>

/* Runs one verb; the answer as a json_t that the caller owns, or NULL after saying why. */
static json_t *run(lathe_client *client, const lathe_request *request)
{
    lathe_error error;
    lathe_response *response = NULL;
    lathe_jansson_builder builder;
    lathe_error_init(&error);
    lathe_jansson_builder_init(&builder);
    lathe_sink sink = lathe_jansson_sink(&builder);
    if (!lathe_call_run(client, request, NULL, &response, &error))
        lathe_response_read(response, &sink, &error);
    if (error.code)
        fprintf(stderr, "%s: %s\n", lathe_verb_name(request->verb), error.message);
    json_t *answer = error.code ? NULL : lathe_jansson_builder_take(&builder);
    lathe_jansson_builder_clear(&builder);
    lathe_response_free(response);
    lathe_error_clear(&error);
    return answer;
}

static void show(const char *title, const json_t *answer)
{
    printf("--- %s\n", title);
    json_dumpf(answer, stdout, JSON_INDENT(2));
    printf("\n");
}

/* Fails (1) at the first verb that does. */
static int run_all(lathe_client *client)
{
    lathe_request request = {.verb = LATHE_GENERATE, .source = lathe_jansson_source()};
    json_t *task = json_string("a chef for a meal prep planning service"), *improved = NULL;
    json_t *text = json_string("Translate hello to German"), *templated = NULL;
    request.task = task;
    json_t *generated = run(client, &request);
    if (generated) {
        show("generate", generated);
        request = (lathe_request){.verb = LATHE_IMPROVE,
                                  .source = request.source,
                                  .messages = json_object_get(generated, "messages")};
        improved = run(client, &request);
    }
    if (improved) {
        show("improve", improved);
        request =
            (lathe_request){.verb = LATHE_TEMPLATIZE, .source = request.source, .messages = text};
        templated = run(client, &request);
    }
    if (templated)
        show("templatize", templated);
    int status = templated ? 0 : 1;
    json_decref(task);
    json_decref(text);
    json_decref(generated);
    json_decref(improved);
    json_decref(templated);
    return status;
}

int main(void)
{
    lathe_error error;
    lathe_client *client;
    lathe_client_options options;
    lathe_error_init(&error);
    lathe_client_options_init(&options); /* key and address come from the environment */
    if (lathe_client_new(&options, &client, &error)) {
        fprintf(stderr, "%s\n", error.message);
        lathe_error_clear(&error);
        return 2;
    }
    int status = run_all(client);
    lathe_client_free(client);
    lathe_error_clear(&error);
    return status;
}
