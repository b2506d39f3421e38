/* SPDX-License-Identifier: MIT */
/*
 * One registration with usherd, in an event loop: connections come in through it. It tells standard
 * error what an administrator should know, in one line when it changes; nothing of that ends the
 * program, because whatever is wrong may be put right.
 *
 * What becomes of a connection is the caller's. Who wants to write a provider around a loop of his
 * own may begin at enrolment.c: it is the whole conversation with usherd.
 *
 * Invariant: an enrolment outlives its connections, so that each of them can be released.
 */
#pragma once

#include "loop.h"
#include "say.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <usher.h>

/* New connections of one registration before everybody else has a turn. */
#define ENROLMENT_BUDGET 64

struct enrolment;

/*
 * A connection has come, its socket is non-blocking: take it, also on failure. Returns 0 or a
 * negative errno, which is told.
 */
typedef int enrolment_on_connection(struct enrolment *e, struct usher_connection *accepted);

/* The sockets that are lent have changed: usher_lent() of e->usher tells which there are. */
typedef void enrolment_on_lent(struct enrolment *e);

struct enrolment {
	struct watch watch;
	TAILQ_ENTRY(enrolment) link; /* the program's */
	struct loop *loop;
	enrolment_on_connection *on_connection;
	enrolment_on_lent *on_lent;
	const char *name;
	struct usher *usher;
	bool is_registered; /* as it was last seen */
	bool is_stopping;   /* enrolment_drain() was called */
	bool is_over;	    /* no more connections will come */
	struct said said;
};

/*
 * Register for the service `name` (borrowed, for as long as the enrolment lives), to hold `credit`
 * connections of it at once. Without `on_lent`, NULL, no sockets are lent to it. Neither waits nor
 * needs usherd.
 *
 * Returns 0, or the error of usher_new() or epoll_ctl(2); then there is nothing to undo.
 */
int enrolment_init(struct enrolment *e, struct loop *loop, const char *name, uint32_t credit,
	enrolment_on_connection *on_connection, enrolment_on_lent *on_lent);

/* Take no more connections. */
void enrolment_drain(struct enrolment *e);

/* Was it drained, here or by usherd for good, and are its connections closed? */
bool enrolment_is_finished(const struct enrolment *e);

/* Tell once that something is wrong with this service: "PROGRAM: SERVICE: WHAT: REASON". */
void enrolment_say(struct enrolment *e, const char *what, const char *reason);

/* Tell once that usher_forward() to `service` has failed with this error, and what to do. */
void enrolment_say_forward(struct enrolment *e, const char *service, int error);

/* Leave. The connections must be closed. */
void enrolment_done(struct enrolment *e);
