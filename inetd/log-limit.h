/* SPDX-License-Identifier: MIT */
/*
 * How often the same thing may be said: what strangers and providers can cause must not fill the
 * log.
 *
 * The same thing is a service and a reason (struct log_about). LOG_LIMIT_BURST messages of it are
 * written in LOG_LIMIT_USEC, further ones are left out, and their number is told with the next that
 * is written. Pure: it reads no clock and writes nothing. Part of the room `log`.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define LOG_LIMIT_BURST	 20
#define LOG_LIMIT_USEC	 (10 * UINT64_C(1000000))
#define LOG_LIMIT_CAUSES 256 /* as many are told apart; more share their counts */

struct log_limit {
	struct log_limit_cause {
		uint64_t since_usec; /* when the present LOG_LIMIT_USEC began */
		uint32_t n_written;  /* in it */
		uint32_t n_left_out; /* and not told yet */
	} causes[LOG_LIMIT_CAUSES];
};

/*
 * May a message about `service` (may be NULL) and `reason` be written at `now_usec`, on a clock
 * that does not go back? If so, *ret_n_left_out is how many were left out since the last one that
 * was.
 */
bool log_limit_allows(struct log_limit *limit, const char *service, const char *reason,
	uint64_t now_usec, uint32_t *ret_n_left_out);
