/* Clients, as the engine and the calls see them. */
#ifndef LATHE_CLIENT_H
#define LATHE_CLIENT_H

#include "engine.h"
#include "gate.h"
#include "instructions.h"
#include "promptlathe.h"
#include "settings.h"

lathe_client *lathe_client_retain(lathe_client *client);
void lathe_client_release(lathe_client *client);

const lathe_settings *lathe_client_settings(const lathe_client *client);
/* The header lines of a call without betas or headers of its own. */
const lathe_lines *lathe_client_lines(const lathe_client *client);
/* What its model is told; NULL without one. */
lathe_instructions *lathe_client_instructions(const lathe_client *client);
/* Whether structured output is asked for: until the server has shown that it knows none. */
bool lathe_client_asks_schema(lathe_client *client);
void lathe_client_learn_no_schema(lathe_client *client);
/* Pacing: as lathe_gate_ask, of the gate that all engines of a family of clients share. */
double lathe_client_ask(lathe_client *client, double now, double random, lathe_ticket *ticket);
/* Once for each call that the gate let go: it was answered, and the rate limits that the headers
 * tell of are remembered, */
void lathe_client_tell(lathe_client *client, double now, double random, const lathe_ticket *ticket,
                       const lathe_headers *headers, int status, double hint);
/* or it ended without an answer, as lathe_gate_lost. */
void lathe_client_lose(lathe_client *client, const lathe_ticket *ticket, bool sent);
/* How many of those calls there are; for tests. */
uint64_t lathe_client_in_flight(lathe_client *client);
/* The engine that synchronous calls share, made when needed, retained; NULL with an error without
 * memory or descriptors, or when the client is closed. In a fork's child the inherited one is given
 * up here. */
lathe_engine *lathe_client_engine(lathe_client *client, lathe_error *error);
/* An engine for one loop, retained: one that another loop has left, or a new one. NULL as
 * above. */
lathe_engine *lathe_client_take_engine(lathe_client *client, lathe_error *error);
/* Gives it back, empty, or else for good. */
void lathe_client_give_engine(lathe_client *client, lathe_engine *engine, bool empty);

/* Checks what is given; `where` names the option that headers came by. */
lathe_code lathe_options_check(const lathe_options *options, const char *where, lathe_error *error);

#endif
