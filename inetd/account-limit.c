/* SPDX-License-Identifier: MIT */
/* How many refusals are written: see account-limit.h. */
#include "account-limit.h"

#include <string.h>

static struct account_limit_cause *find_cause(struct account_limit *limit, const char *reason)
{
	for (size_t i = 0; i < limit->n_causes; i++)
		if (strcmp(limit->causes[i].reason, reason) == 0)
			return &limit->causes[i];
	if (limit->n_causes == ACCOUNT_LIMIT_REASONS)
		return &limit->causes[ACCOUNT_LIMIT_REASONS - 1];
	limit->causes[limit->n_causes].reason = reason;
	return &limit->causes[limit->n_causes++];
}

static bool is_over(const struct account_limit_cause *cause, uint64_t now_usec)
{
	return now_usec - cause->since_usec >= ACCOUNT_LIMIT_USEC;
}

bool account_limit_allows(struct account_limit *limit, const char *reason, uint64_t now_usec)
{
	struct account_limit_cause *cause = find_cause(limit, reason);

	/* A count that was not taken yet must not begin anew. */
	if (cause->n_left_out == 0 && (cause->since_usec == 0 || is_over(cause, now_usec))) {
		cause->since_usec = now_usec;
		cause->n_written = 0;
	}
	if (cause->n_written == ACCOUNT_LIMIT_BURST) {
		cause->n_left_out++;
		return false;
	}
	cause->n_written++;
	return true;
}

uint64_t account_limit_next(const struct account_limit *limit)
{
	uint64_t next = UINT64_MAX;

	for (size_t i = 0; i < limit->n_causes; i++) {
		const struct account_limit_cause *cause = &limit->causes[i];

		if (cause->n_left_out > 0 && cause->since_usec + ACCOUNT_LIMIT_USEC < next)
			next = cause->since_usec + ACCOUNT_LIMIT_USEC;
	}
	return next;
}

bool account_limit_take(struct account_limit *limit, uint64_t now_usec, const char **ret_reason,
	uint64_t *ret_n_more)
{
	for (size_t i = 0; i < limit->n_causes; i++) {
		struct account_limit_cause *cause = &limit->causes[i];

		if (cause->n_left_out == 0 || !is_over(cause, now_usec))
			continue;
		*ret_reason = cause->reason;
		*ret_n_more = cause->n_left_out;
		*cause = (struct account_limit_cause){.reason = cause->reason};
		return true;
	}
	return false;
}
