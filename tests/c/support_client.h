/* Clients and calls for tests of what goes over a connection. */
#ifndef SUPPORT_CLIENT_H
#define SUPPORT_CLIENT_H

#include "promptlathe.h"

#define TEST_KEY "sk-ant-test-0123456789"

/* A client for `url`; NULL after a failed check. */
lathe_client *client_for(const char *url);

/* A generate request; it owns its task until request_clear. */
void request_init(lathe_request *request);
void request_clear(lathe_request *request);

/* A generate call, started; NULL after a failed check. `options` may be NULL. */
lathe_call *call_started(lathe_client *client, const lathe_options *options);
/* Runs a generate call to its end. The response is freed; *attempts is what it says, or the
 * error. */
lathe_code call_whole(lathe_client *client, const lathe_options *options, lathe_error *error,
                      int *attempts);
/* Takes the result of a call that has ended, and frees the call. */
lathe_code call_take(lathe_call *call, lathe_error *error);
/* The same once it has ended. */
lathe_code call_finish(lathe_call *call, lathe_error *error);

#endif
