/* One attempt over HTTP: what an easy handle is set to, and what comes back. The engine drives. */
#ifndef LATHE_TRANSPORT_H
#define LATHE_TRANSPORT_H

#include <curl/curl.h>
#include <sys/socket.h>

#include "buf.h"
#include "gunzip.h"
#include "headers.h"
#include "promptlathe.h"
#include "settings.h"

/* TLS sessions, shared by all engines of a family of clients. */
typedef struct lathe_share lathe_share;

lathe_share *lathe_share_new(void);
void lathe_share_free(lathe_share *share);

/* Why a callback ended a transfer. */
typedef enum lathe_stop {
    LATHE_STOP_NONE,
    LATHE_STOP_MEMORY,
    LATHE_STOP_STALE,     /* the connection to be used again is of no use: nothing was sent */
    LATHE_STOP_HANDLE,    /* it is not the one connection for the used handle: likewise */
    LATHE_STOP_RESEND,    /* libcurl was about to send again on its own */
    LATHE_STOP_MALFORMED, /* HTTP that cannot be trusted */
    LATHE_STOP_GZIP,
    LATHE_STOP_ENCODING,
    LATHE_STOP_HEADERS, /* over a cap, from here on */
    LATHE_STOP_INTERIM,
    LATHE_STOP_BODY,
} lathe_stop;

/* What the connections of an engine have shown of the server. */
typedef enum lathe_carries {
    LATHE_CARRIES_UNKNOWN,
    LATHE_CARRIES_ONE,  /* a connection carries one request at a time: HTTP/1.1 */
    LATHE_CARRIES_MANY, /* HTTP/2 */
} lathe_carries;

typedef struct lathe_server {
    lathe_carries carries;
    bool reached;                       /* some attempt has connected */
    bool unreachable;                   /* the last one that ended had not */
    const struct lathe_exchange *first; /* an attempt under way that is connected, or NULL */
    int first_port;                     /* the local end of its connection */
    unsigned long heard;                /* pieces of answers that have come */
    bool long_answers;                  /* the last one was */
    int http2_socket;                   /* that the last answer came by; -1 if it was not HTTP/2 */
} lathe_server;

/* What an attempt sends. Borrowed until the attempt ends. */
typedef struct lathe_outgoing {
    const lathe_settings *settings;
    lathe_share *share;
    const lathe_target *target;
    const char *body;
    size_t body_size;
    const lathe_lines *lines;
    int attempt;            /* from 1 */
    double started;         /* on lathe_clock */
    double connect_timeout; /* seconds; INFINITY for none */
    bool fresh;             /* on a new connection */
    bool new_handle;        /* with one that has made no transfer */
} lathe_outgoing;

typedef struct lathe_exchange {
    CURL *easy;                /* NULL between attempts */
    struct lathe_multi *multi; /* whose sockets it uses */
    lathe_server *server;
    const lathe_settings *settings;
    size_t body_sent_size;
    double started;
    /* what is sent */
    struct curl_slist first; /* before the list of the outgoing lines */
    char attempt_line[40];
    /* what comes back */
    char curl_text[CURL_ERROR_SIZE];
    int socket;       /* the last one opened, -1 before; it may be closed again */
    char address[64]; /* where it is to go */
    lathe_stop stop;
    const char *reason; /* for MALFORMED, or why there is no socket */
    bool connected;     /* a connection is there, the request goes out */
    int carrier;        /* its descriptor, or -1 */
    int port;           /* its local end */
    int only;           /* the one of HTTP/2 that its handle may use, -1 for any connection */
    bool shared;        /* it was another's already, and nobody knew what it speaks */
    bool in_head;       /* after a status line, before the blank line */
    bool headers_done;
    bool body_seen, skip_body;
    bool sized, chunked, gzipped, odd_encoding, old_http;
    int status;
    unsigned interim, lines;
    size_t head_bytes;
    size_t announced; /* bytes of the body by its Content-Length; 0 when there is none */
    lathe_buf head;   /* the final answer's header lines */
    lathe_buf body;   /* decoded */
    lathe_gunzip *gunzip;
} lathe_exchange;

/* A complete HTTP answer, whatever its status. */
typedef struct lathe_answer {
    int status;
    lathe_headers headers;
    char *body;
    size_t body_size, body_room; /* of the block, behind the body and its NUL */
} lathe_answer;

void lathe_answer_clear(lathe_answer *answer);

/* Makes the list of the lines, once for all the attempts that send them. */
lathe_code lathe_lines_list(lathe_lines *lines);

/* Sets a new handle to what all its attempts have in common. LATHE_OK or LATHE_MEMORY. */
lathe_code lathe_exchange_prepare(CURL *easy, const lathe_settings *settings,
                                  const lathe_share *share);

/* Sets it to what this attempt needs; the engine adds it to its multi. LATHE_OK or LATHE_MEMORY;
 * end it in any case. What its connection shows goes into `server`. */
lathe_code lathe_exchange_begin(lathe_exchange *exchange, CURL *easy,
                                const lathe_outgoing *outgoing, lathe_server *server);

/* Notes the socket that was opened for the attempt. */
void lathe_exchange_opened(lathe_exchange *exchange, int fd, const struct sockaddr *address,
                           socklen_t size);

/* Judges how the transfer ended, and frees all but the easy handle, which the caller has taken out
 * of its multi. LATHE_OK: *answer is filled. Else `error`: CONNECTION, RESPONSE_VALIDATION or
 * MEMORY; *final: no use to try again. */
lathe_code lathe_exchange_end(lathe_exchange *exchange, CURLcode result, lathe_answer *answer,
                              bool *final, lathe_error *error);

/* Fills `error` for an attempt that was cut off at a limit of `seconds`, before
 * lathe_exchange_drop. `what` names the limit ("timeout", "connect timeout"). */
void lathe_exchange_timeout(lathe_exchange *exchange, double seconds, const char *what,
                            lathe_error *error);

/* Frees what an attempt holds without judging it. */
void lathe_exchange_drop(lathe_exchange *exchange);

/* Takes from a handle whose attempt has ended what was the call's; nothing is called back until the
 * next one. False when the handle cannot be used again: older versions of libcurl leave the end of
 * an attempt half done while others use its connection. */
bool lathe_exchange_detach(CURL *easy);

/* The phase that an attempt under way is in. */
lathe_phase lathe_exchange_phase(const lathe_exchange *exchange);

/* Grants an attempt that still connects `seconds` more in all. */
void lathe_exchange_extend(lathe_exchange *exchange, double seconds);

/* Seconds since 1970 of a date in a header (RFC 9110, 5.6.7); NAN when it is none, or for NULL. */
double lathe_http_time(const char *text);

/* Seconds from now until the date in a header (RFC 9110, 5.6.7), by the clock of the answer's own
 * `date` where there is one; NAN when it is no date. */
double lathe_http_date(const char *text, const char *date);

#endif
