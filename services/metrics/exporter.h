/* SPDX-License-Identifier: MIT */
/*
 * Clients that ask for the metrics by HTTP: a request, an answer, and the end.
 *
 * Invariant: a client that waits for a page is in `waiting`, and nothing is read from it.
 */
#pragma once

#include "connection.h"
#include "enrolment.h"
#include "source.h"
#include "tally.h"

#include <stdint.h>
#include <sys/queue.h>

struct client;

struct exporter {
	struct enrolment enrolment; /* first; the caller enrols it with exporter_on_connection() */
	struct connections connections;
	struct source source;
	struct tally tally;
	TAILQ_HEAD(, client) waiting;
	uint64_t n_served, n_refused; /* with the metrics; because of what they asked */
	uint64_t n_failed;	      /* there were no metrics to be had */
};

/*
 * After the enrolment, with its credit: a client has `patience_ms` for everything. `run_dir` is
 * where usherd's control socket is. Returns 0 or -ENAMETOOLONG, and then there is nothing to undo.
 */
int exporter_init(struct exporter *e, const char *run_dir, int64_t patience_ms, uint32_t credit);

enrolment_on_connection exporter_on_connection;

/* Close all clients. The enrolment is the caller's to end. */
void exporter_done(struct exporter *e);
