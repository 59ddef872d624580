/* A server on loopback that answers each request with the next step of a script, in threads of its
 * own. It uses the C library's memory, not the counted one. */
#ifndef SUPPORT_SERVER_H
#define SUPPORT_SERVER_H

#include <stdbool.h>
#include <stddef.h>

typedef enum server_end {
    SERVER_KEEP,  /* the connection stays open after the response */
    SERVER_CLOSE, /* it is closed after the response */
    SERVER_RESET, /* it is reset after the response, which may be empty */
    SERVER_HOLD,  /* nothing more is sent until server_release, then it is closed */
} server_end;

typedef struct server_step {
    const char *response; /* bytes; NULL: none */
    size_t size;          /* 0: the string's length */
    server_end end;
} server_step;

typedef struct server server;

/* The steps are borrowed; requests beyond them get the last one again. Ends the test program when
 * the server cannot be made. */
server *server_new(const server_step *steps, size_t count);
void server_free(server *server);
/* From now on requests that hold `word` get this step, whatever is next. Both are borrowed. */
void server_answer(server *server, const char *word, const server_step *step);
/* From now on the script begins again at its end. */
void server_repeat(server *server);

/* "http://127.0.0.1:PORT". */
const char *server_url(const server *server);
/* Waits until that many requests have arrived in all. */
void server_wait(server *server, size_t requests);
/* Ends what SERVER_HOLD holds. */
void server_release(server *server);
size_t server_requests(server *server);
size_t server_connections(server *server);
/* The head and the body of request `index`, NUL behind; valid until server_free. */
const char *server_request(server *server, size_t index);

/* A listener whose queue is full answers no SYN. */
typedef struct full_listener {
    int listener, fillers[8];
    char url[64];
} full_listener;

bool full_listener_init(full_listener *full);
void full_listener_clear(const full_listener *full);

/* The documented answer of generate, and a response that carries `body`. The string is static. */
extern const char server_good_body[];
const char *server_good(void);
/* An answer of a model that serves each step of generate and improve. */
const char *server_model(void);

#endif
