#include "support_client.h"

#include <jansson.h>
#include <math.h>

#include "test.h"

lathe_client *client_for(const char *url)
{
    lathe_client *client = NULL;
    lathe_client_options options;
    lathe_error error;
    lathe_error_init(&error);
    lathe_client_options_init(&options);
    options.api_key = TEST_KEY;
    options.base_url = url;
    if (lathe_client_new(&options, &client, &error))
        FAIL("no client: %s", error.message);
    lathe_error_clear(&error);
    return client;
}

void request_init(lathe_request *request)
{
    *request = (lathe_request){
        .verb = LATHE_GENERATE, .source = lathe_jansson_source(), .task = json_string("a chef")};
}

void request_clear(lathe_request *request)
{
    json_decref((json_t *)(uintptr_t)request->task);
}

lathe_call *call_started(lathe_client *client, const lathe_options *options)
{
    lathe_request request;
    lathe_call *call = NULL;
    lathe_error error;
    lathe_error_init(&error);
    request_init(&request);
    if (lathe_call_new(client, &request, options, &call, &error))
        FAIL("no call: %s", error.message);
    else
        lathe_call_start(call);
    request_clear(&request);
    lathe_error_clear(&error);
    return call;
}

lathe_code call_take(lathe_call *call, lathe_error *error)
{
    lathe_response *response;
    lathe_code code = lathe_call_result(call, &response, error);
    lathe_response_free(response);
    lathe_call_free(call);
    return code;
}

lathe_code call_finish(lathe_call *call, lathe_error *error)
{
    while (lathe_call_wait(call, INFINITY, false) != LATHE_WAIT_DONE)
        continue;
    return call_take(call, error);
}

lathe_code call_whole(lathe_client *client, const lathe_options *options, lathe_error *error,
                      int *attempts)
{
    lathe_request request;
    lathe_response *response = NULL;
    request_init(&request);
    lathe_error_clear(error);
    lathe_code code = lathe_call_run(client, &request, options, &response, error);
    *attempts = response ? response->attempts : error->attempts;
    lathe_response_free(response);
    request_clear(&request);
    return code;
}
