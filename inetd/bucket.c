/* SPDX-License-Identifier: MIT */
/*
 * A token bucket: see bucket.h.
 *
 * Nanoseconds, because the interval of a million in a second is one microsecond. It is rounded
 * down, by less than a thousandth, and the capacity is a multiple of it: so a full bucket has
 * exactly `count` tokens.
 */
#include "bucket.h"

struct bucket_rate bucket_rate(uint32_t count, uint64_t period_usec)
{
	uint64_t interval_nsec = count > 0 ? 1000 * period_usec / count : 0;

	return (struct bucket_rate){
		.interval_nsec = interval_nsec,
		.capacity_nsec = interval_nsec * count,
	};
}

/* When it would be full. At most a whole capacity from now: before a reload it may have been more.
 */
static uint64_t full_nsec(
	const struct bucket *bucket, const struct bucket_rate *rate, uint64_t now_nsec)
{
	uint64_t most = now_nsec + rate->capacity_nsec;

	if (bucket->full_nsec < now_nsec)
		return now_nsec;
	return bucket->full_nsec < most ? bucket->full_nsec : most;
}

uint64_t bucket_ready(
	const struct bucket *bucket, const struct bucket_rate *rate, uint64_t now_usec)
{
	uint64_t after_nsec;

	if (rate->interval_nsec == 0)
		return 0;
	after_nsec = full_nsec(bucket, rate, 1000 * now_usec) + rate->interval_nsec;
	if (after_nsec <= 1000 * now_usec + rate->capacity_nsec)
		return now_usec;
	return (after_nsec - rate->capacity_nsec + 999) / 1000;
}

void bucket_take(struct bucket *bucket, const struct bucket_rate *rate, uint64_t now_usec)
{
	if (rate->interval_nsec > 0)
		bucket->full_nsec = full_nsec(bucket, rate, 1000 * now_usec) + rate->interval_nsec;
}

struct bucket bucket_limit(
	const struct bucket *bucket, const struct bucket_rate *rate, uint64_t now_usec)
{
	return (struct bucket){.full_nsec = full_nsec(bucket, rate, 1000 * now_usec)};
}

uint64_t bucket_full(const struct bucket *bucket)
{
	return (bucket->full_nsec + 999) / 1000;
}
