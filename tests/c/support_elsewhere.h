/* The server of support_server.h in a process of its own, for tests in which this one has no memory
 * or no descriptors, or is not to share their numbers with it. It answers all with server_good(),
 * and what is for a model with server_model(). */
#ifndef SUPPORT_ELSEWHERE_H
#define SUPPORT_ELSEWHERE_H

#include <stdbool.h>
#include <sys/types.h>

typedef struct elsewhere {
    pid_t pid;
    int order, reply;
    char url[64];
} elsewhere;

/* While this process has no threads. False when it cannot be made. */
bool elsewhere_init(elsewhere *e);
/* Another server in its place, at another URL. */
bool elsewhere_renew(elsewhere *e);
void elsewhere_clear(const elsewhere *e);

#endif
