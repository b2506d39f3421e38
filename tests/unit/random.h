/* SPDX-License-Identifier: MIT */
/* Random numbers for tests against a model: small, the same in every run, good enough to choose. */
#pragma once

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* xorshift64*. The seed of a run is the default, or USHER_TEST_SEED, and is printed. */
static inline uint64_t random_seed(uint64_t usual)
{
	const char *text = getenv("USHER_TEST_SEED");
	uint64_t seed = text ? strtoull(text, NULL, 0) : 0;

	seed = seed > 0 ? seed : usual;
	printf("# seed %" PRIu64 "\n", seed);
	fflush(stdout);
	return seed;
}

static inline uint64_t random_of(uint64_t *state, uint64_t limit)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return (*state * UINT64_C(2685821657736338717) >> 16) % limit;
}
