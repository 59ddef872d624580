/* What the parts of the benchmarks' server know of each other: connections in server.c, which hands
 * them what it reads of HTTP/2 to http2.c. */
#ifndef BENCHMARKS_SERVER_H
#define BENCHMARKS_SERVER_H

#include <nghttp2/nghttp2.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MOST_HEAD = 8192 };

typedef struct peer {
    int fd;                   /* -1 when the client has gone while requests of it are held */
    SSL *tls;                 /* NULL without TLS */
    nghttp2_session *session; /* NULL with HTTP/1.1 */
    size_t held;              /* requests */
    bool blocked;             /* waits until more can be sent */
    size_t head_size, left;   /* of a request of HTTP/1.1: what is here of the head; of the body */
    char head[MOST_HEAD + 1];
    const char *out; /* what is to be sent; of HTTP/2: borrowed from `pending` */
    size_t out_size;
    char *pending;
} peer;

/* Ends the program. */
_Noreturn void server_die(const char *what);

/* A request has come in whole; `stream` is 0 with HTTP/1.1. */
void server_hold(peer *p, int32_t stream);

/* Begins a session of HTTP/2 on a new connection. */
void http2_begin(peer *p);

/* Takes what has come; false when the connection is to end. */
bool http2_take(peer *p, const char *data, size_t size);

/* Answers a request with the body, which lives as long as the program. */
void http2_answer(peer *p, int32_t stream, const char *body, size_t size);

/* Fills `pending` with what the session has to send, as much as goes at once; false: nothing. */
bool http2_fill(peer *p);

#endif
