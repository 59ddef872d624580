/* Clients, as the engine and the calls see them. */
#ifndef LATHE_CLIENT_H
#define LATHE_CLIENT_H

#include "engine.h"
#include "gate.h"
#include "promptlathe.h"
#include "settings.h"

lathe_client *lathe_client_retain(lathe_client *client);
void lathe_client_release(lathe_client *client);

const lathe_settings *lathe_client_settings(const lathe_client *client);
/* Pacing: as lathe_gate_ask, of the gate that all engines of a family of clients share. */
double lathe_client_ask(lathe_client *client, double random, lathe_ticket *ticket);
/* Tells the gate how a call that it let go has ended, and remembers the rate limits that the
 * answer's headers tell of; NULL when there was no answer. */
void lathe_client_tell(lathe_client *client, double random, const lathe_ticket *ticket,
                       const lathe_headers *headers, int status, double hint);
/* The engine that synchronous calls share, made when needed, retained; NULL without memory or
 * descriptors. In a fork's child the inherited one is given up here. */
lathe_engine *lathe_client_engine(lathe_client *client);
/* An engine for one loop, retained: one that another loop has left, or a new one. NULL without
 * memory or descriptors, or when the client is closed. */
lathe_engine *lathe_client_take_engine(lathe_client *client);
/* Gives it back, empty, or else for good. */
void lathe_client_give_engine(lathe_client *client, lathe_engine *engine, bool empty);

/* Checks what is given; `where` names the option that headers came by. */
lathe_code lathe_options_check(const lathe_options *options, const char *where, lathe_error *error);

#endif
