/* SPDX-License-Identifier: MIT */
/*
 * A banner: each client is sent a text, and is then closed, or given on to another service.
 *
 * Nothing is read from a client that is given on; of one that is closed, what it sends is thrown
 * away.
 */
#pragma once

#include "connection.h"
#include "enrolment.h"
#include "tally.h"
#include "text.h"

#include <stdint.h>

struct banner {
	struct enrolment enrolment; /* first; the caller enrols it with banner_on_connection() */
	struct text_file file;
	const char *target; /* NULL: clients are closed */
	struct connections connections;
	struct tally tally;
	uint64_t n_sent;
};

/*
 * After the enrolment, with its credit. `path` and `target` are borrowed. Clients have
 * `patience_ms` to take the text. banner_done() in any case. Returns 0, or the error of
 * text_file_refresh().
 */
int banner_init(struct banner *b, const char *path, const char *target, int64_t patience_ms,
	uint32_t credit);

enrolment_on_connection banner_on_connection;

/* Close all clients. The enrolment is the caller's to end. */
void banner_done(struct banner *b);
