/* SPDX-License-Identifier: MIT */
/*
 * How often the same thing may be said: what strangers and providers can cause must not fill the
 * log.
 *
 * The same thing, a cause, is a service with a reason, of a message or of an event. From the first
 * one on LOG_LIMIT_BURST of it are written in LOG_LIMIT_USEC (events: LOG_LIMIT_EVENT_USEC); others
 * are counted, and the count is to be told when that time is over, whether or not anything comes
 * then. Pure: it reads no clock and writes nothing. Part of the room `log`.
 *
 * Invariant: what was not allowed is in exactly one count, until that is taken.
 */
#pragma once

#include "log-terms.h"

#include <stdbool.h>
#include <stdint.h>

#define LOG_LIMIT_BURST	     20
#define LOG_LIMIT_USEC	     (10 * UINT64_C(1000000))
#define LOG_LIMIT_EVENT_USEC (60 * UINT64_C(1000000))
#define LOG_LIMIT_CAUSES     1024 /* as many are told apart, at most */
#define LOG_LIMIT_SERVICE    64	  /* bytes of a name that are told apart, and a NUL */

struct log_destination;

struct log_limit_cause {
	char service[LOG_LIMIT_SERVICE]; /* empty: none */
	const char *reason, *event;	 /* not copied: constants; NULL: none */
	struct log_destination *to;	 /* where a count is told; the caller's reference */
	int priority;			 /* and how; the caller's, too */
	uint64_t since_usec;		 /* when its present time began; 0: never */
	uint32_t n_written;		 /* in it */
	uint64_t n_left_out;		 /* and not taken yet */
};

/* Zero-initialise. */
struct log_limit {
	struct log_limit_cause causes[LOG_LIMIT_CAUSES];
	uint64_t n_counting; /* causes that have a count */
	uint64_t next_usec;  /* no count is due before; only if there is one */
};

/*
 * May this be written at `now_usec` (not 0), on a clock that does not go back? about->reason and
 * about->event must be constants. If not, it is counted, and *ret is its cause, good until the next
 * call: `to`, which is NULL at the first one, and `priority` are for the caller to set.
 *
 * Where too many causes are busy at once some share a count, which is told as of one of them.
 */
bool log_limit_allows(struct log_limit *limit, const struct log_about *about, uint64_t now_usec,
	struct log_limit_cause **ret);

/* When log_limit_take() is to be called next; UINT64_MAX: not before something is counted. */
uint64_t log_limit_next(const struct log_limit *limit);

/*
 * Take a count that is due at `now_usec` (UINT64_MAX: all are), with its reference. Returns false
 * if there is none.
 */
bool log_limit_take(struct log_limit *limit, uint64_t now_usec, struct log_limit_cause *ret);
