/* SPDX-License-Identifier: MIT */
/*
 * How many refusals of a service are written: whoever is refused can try again as often as he
 * likes, and must not fill a disk by that.
 *
 * For each reason ACCOUNT_LIMIT_BURST are written in ACCOUNT_LIMIT_USEC from the first one on; the
 * others are counted, and the count is told when that time is over. Pure: it reads no clock and
 * writes nothing. Part of the room `account`.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ACCOUNT_LIMIT_BURST 20
#define ACCOUNT_LIMIT_USEC  (60 * UINT64_C(1000000))
#define ACCOUNT_LIMIT_REASONS                                                                      \
	24 /* as many are told apart; what comes later shares the last one                         \
	    */

/* Zero-initialise. */
struct account_limit {
	struct account_limit_cause {
		const char *reason;  /* not copied: a constant */
		uint64_t since_usec; /* when the present ACCOUNT_LIMIT_USEC began; 0: none */
		uint32_t n_written;  /* in it */
		uint64_t n_left_out;
	} causes[ACCOUNT_LIMIT_REASONS];
	size_t n_causes;
};

/*
 * May a refusal for `reason` be written at `now_usec` (not 0), on a clock that does not go back? If
 * not, it is counted.
 */
bool account_limit_allows(struct account_limit *limit, const char *reason, uint64_t now_usec);

/* When account_limit_take() has something next; UINT64_MAX: never. */
uint64_t account_limit_next(const struct account_limit *limit);

/*
 * A count that is due at `now_usec` (UINT64_MAX: all are) and was not taken: so many more were
 * refused for *ret_reason. Returns false if there is none.
 */
bool account_limit_take(struct account_limit *limit, uint64_t now_usec, const char **ret_reason,
	uint64_t *ret_n_more);
