#include "support_server.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MOST_CONNECTIONS = 4096, MOST_REQUESTS = 16384 };

struct server {
    int listener;
    char url[64];
    const server_step *steps;
    size_t step_count;
    const char *word; /* requests that hold it get `answer`; NULL: none */
    const server_step *answer;
    pthread_t acceptor;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool released, closing, repeats;
    size_t request_count, connection_count;
    char *requests[MOST_REQUESTS];
    int sockets[MOST_CONNECTIONS]; /* -1 once closed */
    pthread_t threads[MOST_CONNECTIONS];
};

typedef struct connection {
    server *server;
    int fd;
    size_t index;
    char *data; /* what has arrived and is not yet a request */
    size_t size, capacity;
} connection;

const char server_good_body[] =
    "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"Hi "
    "{{NAME}}\"}]}],"
    "\"system\":\"\",\"usage\":{\"input_tokens\":1,\"output_tokens\":2}}";

static const char model_body[] =
    "{\"content\":[{\"type\":\"text\",\"text\":\"<result_examples></result_examples>\\n"
    "<result_prompt>Hi</result_prompt>\"}],\"usage\":{\"input_tokens\":1}}";

static void respond(char response[512], const char *body)
{
    snprintf(response, 512,
             "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nrequest-id: req_1\r\n"
             "Content-Length: %zu\r\n\r\n%s",
             strlen(body), body);
}

const char *server_good(void)
{
    static char response[512];
    respond(response, server_good_body);
    return response;
}

const char *server_model(void)
{
    static char response[512];
    respond(response, model_body);
    return response;
}

static void *need(void *block)
{
    if (!block)
        abort();
    return block;
}

/* The size of the first whole request in `data`, or 0. */
static size_t whole_request(const char *data, size_t size)
{
    const char *end = size ? strstr(data, "\r\n\r\n") : NULL;
    if (!end)
        return 0;
    const char *length = strstr(data, "content-length: ");
    const char *other = strstr(data, "Content-Length: ");
    if (!length || length > end)
        length = other;
    size_t head = (size_t)(end - data) + 4;
    size_t body = length && length < end ? (size_t)strtoul(length + 16, NULL, 10) : 0;
    return size >= head + body ? head + body : 0;
}

/* False at the end of the connection. */
static bool read_more(connection *c)
{
    if (c->capacity - c->size < 65536) {
        c->capacity = c->capacity * 2 + 131072;
        c->data = need(realloc(c->data, c->capacity + 1));
    }
    ssize_t got = recv(c->fd, c->data + c->size, c->capacity - c->size, 0);
    if (got <= 0)
        return false;
    c->size += (size_t)got;
    c->data[c->size] = '\0';
    return true;
}

/* Notes the request and says which step answers it; NULL at the end of the connection. */
static const server_step *next_step(connection *c)
{
    size_t size;
    while (!(size = whole_request(c->data, c->size)))
        if (!read_more(c))
            return NULL;
    server *s = c->server;
    char *text = need(malloc(size + 1));
    memcpy(text, c->data, size);
    text[size] = '\0';
    memmove(c->data, c->data + size, c->size - size + 1);
    c->size -= size;
    pthread_mutex_lock(&s->lock);
    size_t index = s->request_count++;
    if (index >= MOST_REQUESTS)
        abort();
    s->requests[index] = text;
    pthread_cond_broadcast(&s->changed);
    size_t last = s->step_count - 1;
    size_t number = s->repeats ? index % s->step_count : index < last ? index : last;
    const server_step *step = s->word && strstr(text, s->word) ? s->answer : &s->steps[number];
    pthread_mutex_unlock(&s->lock);
    return step;
}

static void hold(server *s)
{
    pthread_mutex_lock(&s->lock);
    while (!s->released && !s->closing)
        pthread_cond_wait(&s->changed, &s->lock);
    pthread_mutex_unlock(&s->lock);
}

static bool send_all(int fd, const char *data, size_t size)
{
    while (size) {
        ssize_t sent = send(fd, data, size, MSG_NOSIGNAL);
        if (sent <= 0)
            return false;
        data += sent;
        size -= (size_t)sent;
    }
    return true;
}

/* Whether the connection goes on. */
static bool answer(connection *c, const server_step *step)
{
    size_t size = step->size || !step->response ? step->size : strlen(step->response);
    bool sent = !size || send_all(c->fd, step->response, size);
    if (step->end == SERVER_HOLD)
        hold(c->server);
    if (step->end == SERVER_RESET) {
        const struct linger now = {.l_onoff = 1, .l_linger = 0};
        setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    }
    return sent && step->end == SERVER_KEEP;
}

static void *serve(void *self)
{
    connection *c = self;
    server *s = c->server;
    const server_step *step;
    while ((step = next_step(c)) && answer(c, step))
        continue;
    pthread_mutex_lock(&s->lock);
    s->sockets[c->index] = -1;
    close(c->fd);
    pthread_mutex_unlock(&s->lock);
    free(c->data);
    free(c);
    return NULL;
}

static void *accept_all(void *self)
{
    server *s = self;
    for (;;) {
        int fd = accept(s->listener, NULL, NULL);
        pthread_mutex_lock(&s->lock);
        bool closing = s->closing;
        if (fd < 0 || closing || s->connection_count == MOST_CONNECTIONS) {
            pthread_mutex_unlock(&s->lock);
            if (fd >= 0)
                close(fd);
            if (closing)
                return NULL;
            continue;
        }
        connection *c = need(calloc(1, sizeof *c));
        *c = (connection){.server = s, .fd = fd, .index = s->connection_count++};
        s->sockets[c->index] = fd;
        if (pthread_create(&s->threads[c->index], NULL, serve, c))
            abort();
        pthread_mutex_unlock(&s->lock);
    }
}

server *server_new(const server_step *steps, size_t count)
{
    server *s = need(calloc(1, sizeof *s));
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    s->steps = steps;
    s->step_count = count;
    s->listener = socket(AF_INET, SOCK_STREAM, 0);
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->changed, NULL);
    if (s->listener < 0 || bind(s->listener, (struct sockaddr *)&address, size) ||
        listen(s->listener, 256) || getsockname(s->listener, (struct sockaddr *)&address, &size))
        abort();
    snprintf(s->url, sizeof s->url, "http://127.0.0.1:%d", ntohs(address.sin_port));
    if (pthread_create(&s->acceptor, NULL, accept_all, s))
        abort();
    return s;
}

void server_free(server *s)
{
    pthread_mutex_lock(&s->lock);
    s->closing = true;
    for (size_t i = 0; i < s->connection_count; i++)
        if (s->sockets[i] >= 0)
            shutdown(s->sockets[i], SHUT_RDWR);
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
    shutdown(s->listener, SHUT_RDWR);
    pthread_join(s->acceptor, NULL);
    for (size_t i = 0; i < s->connection_count; i++)
        pthread_join(s->threads[i], NULL);
    close(s->listener);
    for (size_t i = 0; i < s->request_count; i++)
        free(s->requests[i]);
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

void server_answer(server *s, const char *word, const server_step *step)
{
    pthread_mutex_lock(&s->lock);
    s->word = word;
    s->answer = step;
    pthread_mutex_unlock(&s->lock);
}

void server_repeat(server *s)
{
    pthread_mutex_lock(&s->lock);
    s->repeats = true;
    pthread_mutex_unlock(&s->lock);
}

const char *server_url(const server *s)
{
    return s->url;
}

void server_wait(server *s, size_t requests)
{
    pthread_mutex_lock(&s->lock);
    while (s->request_count < requests)
        pthread_cond_wait(&s->changed, &s->lock);
    pthread_mutex_unlock(&s->lock);
}

void server_release(server *s)
{
    pthread_mutex_lock(&s->lock);
    s->released = true;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

size_t server_requests(server *s)
{
    pthread_mutex_lock(&s->lock);
    size_t count = s->request_count;
    pthread_mutex_unlock(&s->lock);
    return count;
}

size_t server_connections(server *s)
{
    pthread_mutex_lock(&s->lock);
    size_t count = s->connection_count;
    pthread_mutex_unlock(&s->lock);
    return count;
}

const char *server_request(server *s, size_t index)
{
    pthread_mutex_lock(&s->lock);
    const char *text = index < s->request_count ? s->requests[index] : "";
    pthread_mutex_unlock(&s->lock);
    return text;
}

bool full_listener_init(full_listener *full)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    full->listener = socket(AF_INET, SOCK_STREAM, 0);
    bool listens = !bind(full->listener, (struct sockaddr *)&address, size) &&
                   !listen(full->listener, 0) &&
                   !getsockname(full->listener, (struct sockaddr *)&address, &size);
    for (int i = 0; i < 8; i++) {
        full->fillers[i] = socket(AF_INET, SOCK_STREAM, 0);
        fcntl(full->fillers[i], F_SETFL, O_NONBLOCK);
        (void)!connect(full->fillers[i], (struct sockaddr *)&address, size);
    }
    snprintf(full->url, sizeof full->url, "http://127.0.0.1:%d", ntohs(address.sin_port));
    return listens;
}

void full_listener_clear(const full_listener *full)
{
    for (int i = 0; i < 8; i++)
        close(full->fillers[i]);
    close(full->listener);
}
