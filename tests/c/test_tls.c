/* Calls over TLS to a server that speaks it: the command `openssl s_server`, a process of its own.
 * Without that command nothing is tested here, and the program says so. */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support_alloc.h"
#include "support_client.h"
#include "support_server.h"
#include "test.h"

static lathe_error error;

/* ---- The command ----------------------------------------------------------------------------- */

/* Starts `openssl` with its input and output at these descriptors. */
static pid_t start(char *const arguments[], int input, int output)
{
    pid_t pid = fork();
    if (pid)
        return pid;
    int nowhere = open("/dev/null", O_RDWR);
    dup2(input >= 0 ? input : nowhere, STDIN_FILENO);
    dup2(output >= 0 ? output : nowhere, STDOUT_FILENO);
    dup2(nowhere, STDERR_FILENO);
    execvp(arguments[0], arguments);
    _exit(127);
}

static int run(char *const arguments[])
{
    int status = -1;
    waitpid(start(arguments, -1, -1), &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static char openssl[] = "openssl";

static bool is_missing(void)
{
    static char version[] = "version";
    char *const arguments[] = {openssl, version, NULL};
    bool missing = run(arguments) == 127;
    if (missing)
        printf("  not tested: there is no command 'openssl' (Debian's package openssl)\n");
    return missing;
}

/* A certificate for 127.0.0.1 that signs itself. */
static bool make_certificate(const char *key, const char *certificate)
{
    char command[512];
    static char shell[] = "/bin/sh", flag[] = "-c";
    char *const arguments[] = {shell, flag, command, NULL};
    snprintf(command, sizeof command,
             "exec openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=test "
             "-addext subjectAltName=IP:127.0.0.1 -keyout %s -out %s",
             key, certificate);
    return !run(arguments);
}

/* ---- The server ------------------------------------------------------------------------------ */

typedef struct tls {
    char directory[32], key[64], certificate[64], other_key[64], other[64];
    char url[64], by_name[64];
    pid_t pid;
    int input, output; /* what it is to send; what it says and has received */
    size_t answers;    /* to be given */
} tls;

/* Reads what the server says until `end` has come; false when it says no more. */
static bool read_until(const tls *t, const char *end, char *text, size_t size)
{
    size_t at = 0;
    text[0] = '\0';
    while (at + 1 < size && !strstr(text, end)) {
        ssize_t got = read(t->output, text + at, 1);
        if (got <= 0)
            return false;
        text[++at] = '\0';
    }
    return strstr(text, end) != NULL;
}

static bool launch(tls *t)
{
    static char command[] = "s_server", accept[] = "-accept", address[] = "127.0.0.1:0";
    static char cert[] = "-cert", key[] = "-key";
    char *const arguments[] = {openssl,        command, accept, address, cert,
                               t->certificate, key,     t->key, NULL};
    char text[4096];
    int input[2], output[2], port;
    if (pipe(input) || pipe(output))
        return false;
    for (int i = 0; i < 2; i++) {
        fcntl(input[i], F_SETFD, FD_CLOEXEC);
        fcntl(output[i], F_SETFD, FD_CLOEXEC);
    }
    t->pid = start(arguments, input[0], output[1]);
    t->input = input[1];
    t->output = output[0];
    close(input[0]);
    close(output[1]);
    static const char begin[] = "ACCEPT 127.0.0.1:";
    if (t->pid < 0 || !read_until(t, begin, text, sizeof text) ||
        !read_until(t, "\n", text, sizeof text) || (port = atoi(text)) <= 0)
        return false;
    snprintf(t->url, sizeof t->url, "https://127.0.0.1:%d", port);
    snprintf(t->by_name, sizeof t->by_name, "https://localhost:%d", port);
    return true;
}

static bool tls_init(tls *t)
{
    *t = (tls){.directory = "/tmp/lathe-tls-XXXXXX", .pid = -1};
    signal(SIGPIPE, SIG_IGN);
    if (!mkdtemp(t->directory))
        return false;
    snprintf(t->key, sizeof t->key, "%s/key", t->directory);
    snprintf(t->certificate, sizeof t->certificate, "%s/certificate", t->directory);
    snprintf(t->other_key, sizeof t->other_key, "%s/other_key", t->directory);
    snprintf(t->other, sizeof t->other, "%s/other", t->directory);
    return make_certificate(t->key, t->certificate) && make_certificate(t->other_key, t->other) &&
           launch(t);
}

static void tls_clear(const tls *t)
{
    kill(t->pid, SIGKILL);
    waitpid(t->pid, NULL, 0);
    close(t->input);
    close(t->output);
    const char *const files[] = {t->key, t->certificate, t->other_key, t->other};
    for (int i = 0; i < 4; i++)
        unlink(files[i]);
    rmdir(t->directory);
}

/* Answers request by request, as long as it is to. */
static void *serve(void *self)
{
    tls *t = self;
    char text[65536];
    const char *good = server_good();
    for (; t->answers && read_until(t, "\"a chef\"}", text, sizeof text); t->answers--)
        if (write(t->input, good, strlen(good)) < 0)
            break;
    return NULL;
}

/* ---- Calls ----------------------------------------------------------------------------------- */

static lathe_client *client_of(const char *url, const char *ca_file)
{
    lathe_client *client = NULL;
    lathe_client_options options;
    lathe_client_options_init(&options);
    options.api_key = TEST_KEY;
    options.base_url = url;
    options.ca_file = ca_file;
    options.proxy = "";
    if (lathe_client_new(&options, &client, &error))
        FAIL("no client: %s", error.message);
    return client;
}

TEST(calls_share_a_connection)
{
    tls t;
    pthread_t thread;
    int attempts;
    lathe_error_init(&error);
    if (is_missing())
        return;
    REQUIRE(tls_init(&t));
    t.answers = 3;
    REQUIRE(!pthread_create(&thread, NULL, serve, &t));
    lathe_client *client = client_of(t.url, t.certificate);
    for (int i = 0; i < 3; i++)
        if (call_whole(client, NULL, &error, &attempts))
            FAIL("call %d: %s", i, error.message);
    pthread_join(thread, NULL);
    CHECK_INT(t.answers, 0);
    lathe_error_clear(&error);
    lathe_client_free(client);
    tls_clear(&t);
}

/* No answer: the request itself arrived, so that it waits for it. */
TEST(a_server_that_says_nothing)
{
    tls t;
    int attempts;
    lathe_options soon;
    lathe_error_init(&error);
    if (is_missing())
        return;
    REQUIRE(tls_init(&t));
    lathe_client *client = client_of(t.url, t.certificate);
    lathe_options_init(&soon);
    soon.timeout = 3;
    CHECK_CODE(call_whole(client, &soon, &error, &attempts), LATHE_TIMEOUT);
    CHECK_STRING(lathe_phase_name(error.phase), "wait");
    CHECK(error.times.tls > 0);
    lathe_error_clear(&error);
    lathe_client_free(client);
    tls_clear(&t);
}

/* What is not verified gets no request, and is not tried again. */
static void check_unverified(const char *url, const char *ca_file)
{
    int attempts;
    test_context("%s, %s", url, ca_file ? "a file" : "a directory");
    lathe_client *client = client_of(url, ca_file);
    CHECK_CODE(call_whole(client, NULL, &error, &attempts), LATHE_CONNECTION);
    CHECK_STRING(lathe_phase_name(error.phase), "tls");
    CHECK_INT(attempts, 1);
    CHECK_STRING(error.address, "127.0.0.1");
    lathe_error_clear(&error);
    lathe_client_free(client);
}

TEST(certificates_are_verified)
{
    tls t;
    lathe_error_init(&error);
    if (is_missing())
        return;
    REQUIRE(tls_init(&t));
    check_unverified(t.url, t.other);
    check_unverified(t.by_name, t.certificate);
    unsetenv("SSL_CERT_FILE");
    setenv("SSL_CERT_DIR", t.directory, 1);
    check_unverified(t.url, NULL);
    unsetenv("SSL_CERT_DIR");
    tls_clear(&t);
}

TESTS(ENTRY(calls_share_a_connection), ENTRY(a_server_that_says_nothing),
      ENTRY(certificates_are_verified))
