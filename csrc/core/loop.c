/* Loops: an engine for one driver. */
#include <math.h>

#include "alloc.h"
#include "client.h"
#include "error.h"

struct lathe_loop {
    lathe_client *client;
    lathe_engine *engine;
};

lathe_code lathe_loop_new(lathe_client *client, lathe_loop **loop, lathe_error *error)
{
    *loop = NULL;
    lathe_loop *made = lathe_calloc(1, sizeof *made);
    if (!made)
        return lathe_fail(error, LATHE_MEMORY, NULL);
    made->engine = lathe_client_take_engine(client, error);
    if (!made->engine) {
        lathe_free(made);
        return error->code;
    }
    made->client = lathe_client_retain(client);
    *loop = made;
    return LATHE_OK;
}

void lathe_loop_free(lathe_loop *loop)
{
    if (!loop)
        return;
    bool empty = lathe_loop_is_ours(loop) && lathe_engine_empty(loop->engine);
    lathe_client_give_engine(loop->client, loop->engine, empty);
    lathe_client_release(loop->client);
    lathe_free(loop);
}

bool lathe_loop_is_ours(const lathe_loop *loop)
{
    return lathe_engine_is_ours(loop->engine);
}

void lathe_loop_start(lathe_loop *loop, lathe_call *call, void *tag)
{
    call->engine = lathe_engine_retain(loop->engine);
    call->reaped = true;
    call->tag = tag;
    if (lathe_loop_is_ours(loop))
        lathe_engine_submit(loop->engine, call);
}

int lathe_loop_descriptor(const lathe_loop *loop)
{
    return lathe_loop_is_ours(loop) ? lathe_engine_descriptor(loop->engine) : -1;
}

double lathe_loop_next(lathe_loop *loop)
{
    return lathe_loop_is_ours(loop) ? lathe_engine_next(loop->engine) : INFINITY;
}

bool lathe_loop_step(lathe_loop *loop, double seconds, double budget)
{
    return !lathe_loop_is_ours(loop) || lathe_engine_step(loop->engine, seconds, budget);
}

lathe_call *lathe_loop_reap(lathe_loop *loop, lathe_wait *what)
{
    lathe_call *call = NULL;
    while (lathe_loop_is_ours(loop) && (call = lathe_engine_reap(loop->engine, what)) &&
           *what == LATHE_WAIT_DONE && lathe_call_goes_on(call))
        continue;
    return call;
}

void lathe_loop_leave(lathe_loop *loop)
{
    lathe_engine_leave(loop->engine);
}
