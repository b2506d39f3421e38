/* SPDX-License-Identifier: MIT */
/*
 * A service of usher-basic: one registration with usherd, through which connections of one protocol
 * come in. It tells standard error what an administrator should know, in one line when it changes;
 * nothing of that ends the program, because whatever is wrong may be put right.
 *
 * Invariant: a service outlives its connections, so that each of them can be released.
 */
#pragma once

#include "connection.h"
#include "protocol.h"

#include <stdbool.h>
#include <stdint.h>

#define SERVICE_WORDS_SIZE 320

struct service {
	struct watch watch;
	struct connections *connections; /* of all services */
	const struct protocol *protocol;
	const char *name;
	struct usher *usher;
	bool is_registered; /* as it was last seen */
	bool is_stopping;   /* service_drain() was called */
	bool is_over;	    /* no more connections will come */
	char said[SERVICE_WORDS_SIZE];
	int64_t said_at_ms;
};

/*
 * Register for the service `name` (borrowed, for as long as the service lives), whose connections
 * speak `protocol`, to hold `credit` of them at once. Neither waits nor needs usherd.
 *
 * Returns 0, or the error of usher_new() or epoll_ctl(2).
 */
int service_init(struct service *s, struct connections *connections,
	const struct protocol *protocol, const char *name, uint32_t credit);

/* Take no more connections. */
void service_drain(struct service *s);

/* Was it drained, here or by usherd for good, and are its connections closed? */
bool service_is_finished(const struct service *s);

/* Leave. The connections must be closed. A service that is all zero is allowed. */
void service_done(struct service *s);
