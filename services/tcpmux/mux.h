/* SPDX-License-Identifier: MIT */
/*
 * TCPMUX (RFC 1078): a client says the name of a service in one line, and is given on to it.
 *
 * The line is looked at in the kernel's buffer and only the line is taken out of it, so that what a
 * client sends behind it is the service's, even if that is a program which knows nothing of usher.
 *
 * Invariant: a client is given on to a service of the directory, or to none.
 */
#pragma once

#include "connection.h"
#include "directory.h"
#include "enrolment.h"
#include "tally.h"

#include <stdint.h>

struct mux {
	struct enrolment enrolment; /* first; the caller enrols it with mux_on_connection() */
	struct directory directory; /* the caller's to fill */
	struct connections connections;
	struct tally tally;
	uint64_t n_forwarded, n_refused, n_helped;
};

/* After the enrolment, with its credit: clients have `patience_ms` to say what they want. */
void mux_init(struct mux *m, int64_t patience_ms, uint32_t credit);

enrolment_on_connection mux_on_connection;

/* Close all clients. Directory and enrolment are the caller's to end. */
void mux_done(struct mux *m);
