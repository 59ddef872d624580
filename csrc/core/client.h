/* Clients, as the engine and the calls see them. */
#ifndef LATHE_CLIENT_H
#define LATHE_CLIENT_H

#include "engine.h"
#include "promptlathe.h"
#include "settings.h"

lathe_client *lathe_client_retain(lathe_client *client);
void lathe_client_release(lathe_client *client);

const lathe_settings *lathe_client_settings(const lathe_client *client);
/* Remembers the rate limits that an answer told of. */
void lathe_client_take_limits(lathe_client *client, const lathe_headers *headers);
/* The engine that synchronous calls share, made when needed, retained; NULL without memory or
 * descriptors. In a fork's child the inherited one is given up here. */
lathe_engine *lathe_client_engine(lathe_client *client);

/* Checks what is given; `where` names the option that headers came by. */
lathe_code lathe_options_check(const lathe_options *options, const char *where, lathe_error *error);

#endif
