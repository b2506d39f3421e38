/* SPDX-License-Identifier: MIT */
/*
 * The clients of a service, each relayed to a server elsewhere: its address is found, a connection
 * is made, and relay.h does the rest.
 *
 * The addresses are asked for at the start, and again when none of them could be connected to.
 *
 * Invariant: a client is in exactly one of the lists `connecting` and `relayed`, each in the order
 * of its deadlines.
 */
#pragma once

#include "enrolment.h"
#include "loop.h"
#include "resolver.h"
#include "tally.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <usher.h>

struct redirect_options {
	const char *host, *port;
	int64_t connect_ms; /* how long a client waits for its server at most */
	int64_t idle_ms;    /* how long nobody may say anything, or NO_DEADLINE */
	bool has_header;    /* the server is told the client's address: header.h */
	bool is_logged;	    /* one line for each client, when it is over */
};

TAILQ_HEAD(redirect_list, redirect_client);

struct redirect {
	struct enrolment enrolment; /* first; the caller's to enrol; none for --inetd */
	struct loop *loop;
	const char *name; /* for messages */
	struct redirect_options options;
	struct resolver resolver;
	struct timer timer;
	struct tally tally;
	bool is_enrolled;
	struct redirect_list connecting, relayed;
	size_t n_clients;
	size_t first; /* the address to begin with: it was the right one the last time */
	uint64_t n_done, n_failed, n_idle, n_up, n_down;
	struct said said;
};

/*
 * After the enrolment, if there is one (else NULL). What `options` points to is borrowed.
 * redirect_done() in any case. Returns 0 or a negative errno.
 */
int redirect_init(struct redirect *d, struct loop *loop, const char *name,
	const struct redirect_options *options);

enrolment_on_connection redirect_on_connection;

/* For --inetd: relay one connection, which is not usherd's. It is taken, also on failure. Returns 0
 * or a negative errno. */
int redirect_add(struct redirect *d, int client_fd);

/* Close all clients. The enrolment is the caller's to end. */
void redirect_done(struct redirect *d);
