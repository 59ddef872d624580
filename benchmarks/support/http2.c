/* HTTP/2 of the benchmarks' server, by nghttp2. */
#include "server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { AT_ONCE = 16384, MOST_FRAME = 16384 + 9, STREAMS = 100, WINDOW = 1 << 24 };

static const char *body;
static size_t body_size;

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *self)
{
    (void)session;
    bool of_request = frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA;
    if (of_request && frame->hd.flags & NGHTTP2_FLAG_END_STREAM)
        server_hold(self, frame->hd.stream_id);
    return 0;
}

/* How much of the body a stream has sent is kept in the stream's own pointer. */
static ssize_t read_body(nghttp2_session *session, int32_t stream, uint8_t *to, size_t room,
                         uint32_t *flags, nghttp2_data_source *source, void *self)
{
    (void)source, (void)self;
    uintptr_t sent = (uintptr_t)nghttp2_session_get_stream_user_data(session, stream);
    size_t size = body_size - sent < room ? body_size - sent : room;
    memcpy(to, body + sent, size);
    sent += size;
    nghttp2_session_set_stream_user_data(session, stream, (void *)sent);
    if (sent == body_size)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)size;
}

void http2_begin(peer *p)
{
    nghttp2_session_callbacks *callbacks;
    const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, STREAMS},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, WINDOW},
    };
    if (nghttp2_session_callbacks_new(&callbacks))
        server_die("nghttp2");
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    if (nghttp2_session_server_new(&p->session, callbacks, p) ||
        nghttp2_submit_settings(p->session, NGHTTP2_FLAG_NONE, settings, 2) ||
        nghttp2_session_set_local_window_size(p->session, NGHTTP2_FLAG_NONE, 0, WINDOW))
        server_die("nghttp2");
    nghttp2_session_callbacks_del(callbacks);
}

bool http2_take(peer *p, const char *data, size_t size)
{
    return nghttp2_session_mem_recv(p->session, (const uint8_t *)data, size) >= 0 &&
           (nghttp2_session_want_read(p->session) || nghttp2_session_want_write(p->session));
}

#define HEADER(name, value)                                                                        \
    {                                                                                              \
        (uint8_t *)(name), (uint8_t *)(value), strlen(name), strlen(value), NGHTTP2_NV_FLAG_NONE   \
    }

void http2_answer(peer *p, int32_t stream, const char *text, size_t size)
{
    char length[24];
    snprintf(length, sizeof length, "%zu", size);
    const nghttp2_nv headers[] = {
        HEADER(":status", "200"),
        HEADER("content-type", "application/json"),
        HEADER("request-id", "req_benchmark"),
        HEADER("content-length", length),
    };
    nghttp2_data_provider provider = {.read_callback = read_body};
    body = text;
    body_size = size;
    /* A stream that the client has given up is none of ours. */
    nghttp2_submit_response(p->session, stream, headers, sizeof headers / sizeof *headers,
                            &provider);
}

bool http2_fill(peer *p)
{
    const uint8_t *frame;
    ssize_t got = 0;
    size_t size = 0;
    if (!p->pending && !(p->pending = malloc(AT_ONCE + MOST_FRAME)))
        server_die("malloc");
    while (size < AT_ONCE && (got = nghttp2_session_mem_send(p->session, &frame)) > 0) {
        memcpy(p->pending + size, frame, (size_t)got);
        size += (size_t)got;
    }
    if (got < 0)
        server_die("nghttp2");
    p->out = p->pending;
    p->out_size = size;
    return size > 0;
}
