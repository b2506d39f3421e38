/* SPDX-License-Identifier: MIT */
/*
 * Names of hosts and networks, and the addresses that they have: all names of a configuration at
 * once, each asked for once.
 *
 * Asking takes as long as it takes, and cannot be ended: getaddrinfo(3) waits for name servers. So
 * threads of their own ask, and who has waited long enough goes on without the rest. A thread that
 * still waits then holds no lock, keeps its memory until it ends, and its answer is dropped.
 *
 * Invariant: after names_close() no answer changes.
 */
#pragma once

#include "network.h"

/* Most names, and most addresses of one. */
#define NAMES_MAX	    256
#define NAMES_MAX_ADDRESSES 16

/* How long all names together may take: at the start, and at a reload. */
#define NAMES_TIMEOUT_USEC (5 * UINT64_C(1000000))

struct names;

struct names_answer {
	const char *name;
	struct network networks[NAMES_MAX_ADDRESSES];
	size_t n_networks;
	bool has_more;	  /* than NAMES_MAX_ADDRESSES, which are left out */
	const char *why;  /* there is none: a static sentence; NULL: there are some */
	bool is_reported; /* for the caller */
};

/* A set without names. Returns 0 with *ret, -ENOMEM, or the errors of eventfd(2). */
int names_new(struct names **ret);

/* Add a name (copied) that is to be asked for, if it is not among them. Only before names_start().
 * Returns 0, -E2BIG or -ENOMEM. */
int names_add(struct names *names, const char *name);

size_t names_count(const struct names *names);

/* Begin to ask. Never waits. What no thread can be had for is answered by names_close(). */
void names_start(struct names *names);

/* Readable when all are answered. Stays the names'. */
int names_fd(const struct names *names);

/* Wait until all are answered, but not longer than that. */
void names_wait(struct names *names, uint64_t timeout_usec);

/* Take no more answers: names without one have none from here on. */
void names_close(struct names *names);

/* The answer for a name that was added, after names_close(). It stays the names'. */
struct names_answer *names_find(struct names *names, const char *name);

/* Never waits. NULL is allowed. Returns NULL. */
struct names *names_free(struct names *names);
