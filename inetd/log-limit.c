/* SPDX-License-Identifier: MIT */
/*
 * How often the same thing may be said: see log-limit.h.
 *
 * A table of causes, each of which has PLACES places where it may be. Whoever says nothing any more
 * makes room.
 */
#include "log-limit.h"

#include <string.h>

#define PLACES 16

static const char *text_of(const char *text)
{
	return text ? text : "";
}

/* FNV-1a. Nobody can choose services and reasons so that they meet. */
static uint32_t hash_text(uint32_t hash, const char *text)
{
	for (; *text; text++)
		hash = (hash ^ (unsigned char)*text) * 16777619u;
	return hash * 16777619u;
}

static uint32_t hash_cause(const struct log_about *about)
{
	uint32_t hash = hash_text(2166136261u, text_of(about->service));

	hash = hash_text(hash, text_of(about->reason));
	hash = hash_text(hash, text_of(about->event));
	return hash ^ hash >> 16; /* its low bits depend on low bits alone */
}

static bool is_same(const struct log_limit_cause *cause, const struct log_about *about)
{
	return strncmp(cause->service, text_of(about->service), LOG_LIMIT_SERVICE - 1) == 0 &&
	       strcmp(text_of(cause->reason), text_of(about->reason)) == 0 &&
	       strcmp(text_of(cause->event), text_of(about->event)) == 0;
}

static uint64_t end_usec(const struct log_limit_cause *cause)
{
	return cause->since_usec + (cause->event ? LOG_LIMIT_EVENT_USEC : LOG_LIMIT_USEC);
}

/* Is there nothing to be remembered of it? */
static bool is_idle(const struct log_limit_cause *cause, uint64_t now_usec)
{
	return cause->n_left_out == 0 && (cause->since_usec == 0 || now_usec >= end_usec(cause));
}

static void begin(struct log_limit_cause *cause, const struct log_about *about, uint64_t now_usec)
{
	*cause = (struct log_limit_cause){
		.reason = about->reason, .event = about->event, .since_usec = now_usec};
	strncpy(cause->service, text_of(about->service), LOG_LIMIT_SERVICE - 1);
}

/* The cause of `about`, in its time; where there is no place for it, one that it shares. */
static struct log_limit_cause *find_cause(
	struct log_limit *limit, const struct log_about *about, uint64_t now_usec)
{
	uint32_t first = hash_cause(about) % LOG_LIMIT_CAUSES;
	struct log_limit_cause *idle = NULL;

	for (uint32_t i = 0; i < PLACES; i++) {
		struct log_limit_cause *cause = &limit->causes[(first + i) % LOG_LIMIT_CAUSES];

		if (!is_idle(cause, now_usec) && is_same(cause, about))
			return cause;
		if (!idle && is_idle(cause, now_usec))
			idle = cause;
	}
	if (!idle)
		return &limit->causes[first];
	begin(idle, about, now_usec);
	return idle;
}

bool log_limit_allows(struct log_limit *limit, const struct log_about *about, uint64_t now_usec,
	struct log_limit_cause **ret)
{
	struct log_limit_cause *cause = find_cause(limit, about, now_usec);

	if (cause->n_written < LOG_LIMIT_BURST) {
		cause->n_written++;
		return true;
	}
	if (cause->n_left_out++ == 0 &&
		(limit->n_counting++ == 0 || end_usec(cause) < limit->next_usec))
		limit->next_usec = end_usec(cause);
	*ret = cause;
	return false;
}

uint64_t log_limit_next(const struct log_limit *limit)
{
	return limit->n_counting > 0 ? limit->next_usec : UINT64_MAX;
}

static void find_next(struct log_limit *limit)
{
	limit->next_usec = UINT64_MAX;
	for (size_t i = 0; i < LOG_LIMIT_CAUSES; i++) {
		const struct log_limit_cause *cause = &limit->causes[i];

		if (cause->n_left_out > 0 && end_usec(cause) < limit->next_usec)
			limit->next_usec = end_usec(cause);
	}
}

bool log_limit_take(struct log_limit *limit, uint64_t now_usec, struct log_limit_cause *ret)
{
	if (now_usec < log_limit_next(limit) || limit->n_counting == 0)
		return false;
	for (size_t i = 0; i < LOG_LIMIT_CAUSES; i++) {
		struct log_limit_cause *cause = &limit->causes[i];

		if (cause->n_left_out == 0 || now_usec < end_usec(cause))
			continue;
		*ret = *cause;
		*cause = (struct log_limit_cause){0};
		limit->n_counting--;
		find_next(limit);
		return true;
	}
	return false;
}
