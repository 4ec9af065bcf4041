/* SPDX-License-Identifier: MIT
 * What limit.c and bodies.c have in common: connections. Two *sides* are partners while an exchange
 * is under way; an upstream without a partner stands in its origin's stack of idle ones.
 */
#ifndef LIMIT_SIDES_H
#define LIMIT_SIDES_H

#include "wire.h"

#define FIELD "X-Forwarded-For: "

typedef enum Kind { NOBODY, CLIENT, UPSTREAM, LISTENER, SIGNALS } Kind;

typedef struct Side {
    int fd;
    Kind kind;
    int readable;               /* bytes may wait that were not read */
    int ended;                  /* it will send no more, what was not read yet excepted */
    int close;                  /* its message said so: it ends behind the answer */
    uint32_t have;              /* bytes in `kept` */
    uint32_t origin;            /* upstream: whose */
    char *kept;                 /* the beginning of a message that did not come whole, or NULL */
    struct Side *partner;       /* the other side of the exchange under way, or NULL */
    struct Side *next, *last;   /* upstream without partner: in the stack of idle ones */
    uint32_t field_length;
    char field[40];             /* client: its line of X-Forwarded-For */
    /* bodies.c only: */
    int answered;               /* client: it was given its answer (refused bytes may be left) */
    uint64_t left;              /* bytes of the body still to come from this side */
    struct Buffer *refused;     /* what it did not take yet; meanwhile nothing is read for it */
} Side;

static Side sides[FDS_MAX];             /* by fd */
static Side idle[ORIGINS_MAX];          /* .next: the newest idle one of each origin */
static Options options;
static int epfd;

static Side *side_open(int fd, Kind kind) {
    Side *side = &sides[fd];
    *side = (Side){.fd = fd, .kind = kind};
    watch(epfd, fd, EDGES, side);
    return side;
}

static void idle_push(Side *u) {
    u->partner = NULL;
    u->last = &idle[u->origin];
    u->next = u->last->next;
    if (u->next) u->next->last = u;
    u->last->next = u;
}

static void idle_remove(Side *u) {
    u->last->next = u->next;
    if (u->next) u->next->last = u->last;
    u->last = NULL;
}

/* This side and the exchange it is in. */
static void side_close(Side *side) {
    Side *partner = side->partner;
    if (side->kind == NOBODY) return;
    if (side->kind == UPSTREAM && side->last) idle_remove(side);
    close(side->fd);
    free(side->kept);
    free(side->refused);
    *side = (Side){.kind = NOBODY};
    if (partner) {
        partner->partner = NULL;
        side_close(partner);
    }
}

static inline void accept_all(int listener) {
    for (;;) {
        struct sockaddr_in who;
        socklen_t size = sizeof who;
        char name[INET_ADDRSTRLEN];
        int fd = accept4(listener, (struct sockaddr *)&who, &size, SOCK_CLOEXEC);
        if (fd < 0) return;
        if (fd >= FDS_MAX) {
            close(fd);
            continue;
        }
        Side *c = side_open(fd, CLIENT);
        inet_ntop(AF_INET, &who.sin_addr, name, sizeof name);
        c->field_length = (uint32_t)snprintf(c->field, sizeof c->field, FIELD "%s\r\n", name);
    }
}

#endif
