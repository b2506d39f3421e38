/* SPDX-License-Identifier: MIT */
/*
 * At most so many in a while: a token bucket, as one number.
 *
 * A bucket is full at the beginning, each token that is taken comes back after the same interval,
 * and what it knows is when it will be full again. So one whose time has come is as good as new,
 * and need not be remembered. Pure, on a clock that is passed in and does not go back.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* All zero: full. */
struct bucket {
	uint64_t full_nsec;
};

/* How large buckets are, and how fast they fill. */
struct bucket_rate {
	uint64_t interval_nsec; /* until one token is back; 0: there is no limit */
	uint64_t capacity_nsec; /* until all are */
};

/* `count` tokens (0: no limit), which come back in `period_usec`, 1 s to 24 h. */
struct bucket_rate bucket_rate(uint32_t count, uint64_t period_usec);

/* From when on one can be taken, µs: `now_usec` or earlier is now. 0 if there is no limit. */
uint64_t bucket_ready(
	const struct bucket *bucket, const struct bucket_rate *rate, uint64_t now_usec);

/* Take one that is there. Where none is it is taken in advance. */
void bucket_take(struct bucket *bucket, const struct bucket_rate *rate, uint64_t now_usec);

/* One that another `rate` has filled: it misses at most what this rate allows to take. */
struct bucket bucket_limit(
	const struct bucket *bucket, const struct bucket_rate *rate, uint64_t now_usec);

/* When it is full again, µs: `now_usec` or earlier is now. */
uint64_t bucket_full(const struct bucket *bucket);
