/* The library's own copies of the key are wiped before their memory goes back: an allocator that
 * looks into every block that is freed or moved. */
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "promptlathe.h"
#include "support_alloc.h"
#include "support_client.h"
#include "support_server.h"
#include "test.h"

typedef struct block {
    size_t size;
    max_align_t data[];
} block;

static atomic_size_t leaks;

static block *block_of(void *data)
{
    return (block *)((char *)data - offsetof(block, data));
}

static bool holds_key(const block *b)
{
    const char *data = (const char *)b->data;
    size_t length = strlen(TEST_KEY);
    for (size_t i = 0; b->size >= length && i <= b->size - length; i++)
        if (!memcmp(data + i, TEST_KEY, length))
            return true;
    return false;
}

static void *watched_malloc(size_t size)
{
    block *b = malloc(sizeof *b + size);
    if (!b)
        return NULL;
    b->size = size;
    memset(b->data, 0, size); /* what malloc finds there may be an old block of somebody else */
    return b->data;
}

static void watched_free(void *data)
{
    leaks += holds_key(block_of(data));
    free(block_of(data));
}

/* Always moves, so that what is left behind is seen. */
static void *watched_realloc(void *data, size_t size)
{
    void *moved = watched_malloc(size);
    if (!moved || !data)
        return moved;
    size_t before = block_of(data)->size;
    memcpy(moved, data, before < size ? before : size);
    watched_free(data);
    return moved;
}

static void watch(void)
{
    static const lathe_allocator watched = {watched_malloc, watched_realloc, watched_free};
    lathe_set_allocator(&watched);
    leaks = 0;
}

TEST(the_watch_sees_a_key)
{
    watch();
    char *copy = watched_malloc(100);
    REQUIRE(copy != NULL);
    strcpy(copy + 7, TEST_KEY);
    watched_free(copy);
    CHECK_INT(leaks, 1);
    alloc_install();
}

static void use(bool token)
{
    static const server_step steps[] = {
        {"HTTP/1.1 500 X\r\nretry-after-ms: 1\r\nContent-Length: 0\r\n\r\n", 0, SERVER_KEEP},
        {"HTTP/1.1 400 X\r\nContent-Length: 26\r\n\r\necho: " TEST_KEY, 0, SERVER_KEEP}};
    server *s = server_new(steps, 2);
    lathe_client_options options;
    lathe_client *client, *copy;
    lathe_options none;
    lathe_error error;
    lathe_response *response;
    lathe_request request;
    lathe_error_init(&error);
    request_init(&request);
    watch();
    lathe_client_options_init(&options);
    lathe_options_init(&none);
    options.api_key = token ? NULL : TEST_KEY;
    options.auth_token = token ? TEST_KEY : NULL;
    options.base_url = server_url(s);
    CHECK_CODE(lathe_client_new(&options, &client, &error), LATHE_OK);
    CHECK_CODE(lathe_client_copy(client, &none, &copy, &error), LATHE_OK);
    CHECK_CODE(lathe_call_run(copy, &request, NULL, &response, &error), LATHE_BAD_REQUEST);
    CHECK(!strstr(error.message, TEST_KEY) && !strstr(error.body, TEST_KEY));
    CHECK(strstr(server_request(s, 0), TEST_KEY)); /* it was sent */
    lathe_error_clear(&error);
    lathe_client_free(copy);
    lathe_client_free(client);
    CHECK_INT(leaks, 0);
    options.base_url = "nonsense";
    CHECK_CODE(lathe_client_new(&options, &client, &error), LATHE_CONFIGURATION);
    lathe_error_clear(&error);
    CHECK_INT(leaks, 0);
    alloc_install();
    request_clear(&request);
    server_free(s);
}

TEST(key_is_wiped)
{
    use(false);
}

TEST(token_is_wiped)
{
    use(true);
}

TESTS(ENTRY(the_watch_sees_a_key), ENTRY(key_is_wiped), ENTRY(token_is_wiped))
