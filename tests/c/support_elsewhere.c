#include "support_elsewhere.h"

#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support_server.h"

/* A new server for each order, until there are no more. Ends not by exit: what the parent owns is
 * no leak of this process. */
static void obey(int order, int reply)
{
    const server_step steps[] = {{server_good(), 0, SERVER_KEEP}};
    const server_step model = {server_model(), 0, SERVER_KEEP};
    server *made = NULL;
    for (char byte; read(order, &byte, 1) == 1;) {
        char url[64] = "";
        if (made)
            server_free(made);
        made = server_new(steps, 1);
        server_answer(made, "POST /v1/messages ", &model);
        snprintf(url, sizeof url, "%s", server_url(made));
        if (write(reply, url, sizeof url) != sizeof url)
            break;
    }
    if (made)
        server_free(made);
    _exit(0);
}

bool elsewhere_init(elsewhere *e)
{
    int order[2], reply[2];
    if (pipe(order) || pipe(reply))
        return false;
    e->pid = fork();
    if (!e->pid) {
        close(order[1]);
        obey(order[0], reply[1]);
    }
    close(order[0]);
    close(reply[1]);
    e->order = order[1];
    e->reply = reply[0];
    return e->pid > 0 && elsewhere_renew(e);
}

bool elsewhere_renew(elsewhere *e)
{
    return write(e->order, "", 1) == 1 && read(e->reply, e->url, sizeof e->url) == sizeof e->url;
}

void elsewhere_clear(const elsewhere *e)
{
    close(e->order);
    close(e->reply);
    waitpid(e->pid, NULL, 0);
}
