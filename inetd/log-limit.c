/* SPDX-License-Identifier: MIT */
/* How often the same thing may be said: see log-limit.h. */
#include "log-limit.h"

#include <stddef.h>

/* FNV-1a. Nobody can choose services and reasons so that they meet. */
static uint32_t hash_text(uint32_t hash, const char *text)
{
	for (; text && *text; text++)
		hash = (hash ^ (unsigned char)*text) * 16777619u;
	return hash;
}

bool log_limit_allows(struct log_limit *limit, const char *service, const char *reason,
	uint64_t now_usec, uint32_t *ret_n_left_out)
{
	uint32_t hash = hash_text(hash_text(2166136261u, service), reason);
	struct log_limit_cause *cause = &limit->causes[hash % LOG_LIMIT_CAUSES];

	if (cause->since_usec == 0 || now_usec - cause->since_usec >= LOG_LIMIT_USEC) {
		cause->since_usec = now_usec;
		cause->n_written = 0;
	}
	if (cause->n_written == LOG_LIMIT_BURST) {
		cause->n_left_out++;
		return false;
	}
	cause->n_written++;
	*ret_n_left_out = cause->n_left_out;
	cause->n_left_out = 0;
	return true;
}
