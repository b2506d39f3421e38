/* SPDX-License-Identifier: MIT */
/*
 * From a host's name to its addresses, without keeping the loop waiting: getaddrinfo(3) runs in a
 * thread of its own, one for each resolver at a time.
 *
 * Invariant: the thread knows nothing of the resolver; what both know is a question, freed by who
 * leaves last. So a name server that does not answer keeps nobody from ending.
 */
#pragma once

#include "loop.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

/* Most addresses of one name that are used. */
#define RESOLVER_MAX 8

/* Not more often than this is asked, however often it is wanted. */
#define RESOLVER_PAUSE_MS 1000

struct resolver_address {
	struct sockaddr_storage address;
	socklen_t length;
};

struct question;

struct resolver {
	struct watch watch;
	struct loop *loop;
	const char *host, *port; /* borrowed */
	void (*on_answer)(struct resolver *r);
	struct question *question; /* that is on, or NULL */
	int event_fd;
	int64_t asked_at_ms; /* the last time; before any: far in the past */

	/* The last answer: */
	struct resolver_address addresses[RESOLVER_MAX];
	size_t n;
	char error[128]; /* a sentence; "": none */
};

/*
 * For `host`, a name or an address, and `port`, a number or a name of services(5). on_answer() is
 * called for each answer, in the loop. resolver_done() in any case. Returns 0, or the error of
 * eventfd(2) or epoll_ctl(2).
 */
int resolver_init(struct resolver *r, struct loop *loop, const char *host, const char *port,
	void (*on_answer)(struct resolver *r));

/*
 * Ask, unless it is being asked. Returns whether there will be an answer: no, if the last one was
 * asked for less than RESOLVER_PAUSE_MS ago, or no thread could be made.
 */
bool resolver_ask(struct resolver *r);

void resolver_done(struct resolver *r);
