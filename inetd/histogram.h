/* SPDX-License-Identifier: MIT */
/*
 * How often something took how long: counts of durations in fixed buckets, half a decade wide.
 *
 * The bounds are the same everywhere, so that histograms of several services and machines can be
 * added up. It is no quantile: who reads the counts makes those.
 *
 * Pure. Invariant: a duration is counted in exactly one bucket, the first whose bound is not below
 * it; the last bucket has no bound.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define HISTOGRAM_N_BOUNDS 14

/* A state of usherd that is handed on (succession.h) has it as it lies in memory. Zero-initialise.
 */
struct histogram {
	uint64_t counts[HISTOGRAM_N_BOUNDS + 1];
	uint64_t sum_usec; /* of all durations */
};

/* In µs, the smallest first: 30 µs to 100 s. */
extern const uint64_t histogram_bounds_usec[HISTOGRAM_N_BOUNDS];

/*
 * Count a time that has passed from `begin_usec` to `end_usec`, of the same clock. Where the end is
 * before the begin, which can be said of nothing that has happened, none has.
 *
 * Here, because every connection is counted twice, most of them in one of the first buckets.
 */
static inline void histogram_add(struct histogram *h, uint64_t begin_usec, uint64_t end_usec)
{
	uint64_t usec = end_usec > begin_usec ? end_usec - begin_usec : 0;
	size_t i = 0;

	while (i < HISTOGRAM_N_BOUNDS && usec > histogram_bounds_usec[i])
		i++;
	h->counts[i]++;
	h->sum_usec += usec;
}
