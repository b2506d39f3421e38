/* SPDX-License-Identifier: MIT */
/* How many events dispatch takes in a second, without anything around it: said, not judged. */
#include "dispatch.h"
#include "test.h"

#include <stdio.h>
#include <time.h>

static void run_actions(struct dispatch *d)
{
	struct dispatch_action action;

	while (dispatch_next(d, &action))
		;
}

static void test_rate_is_told(void **state)
{
	const uint32_t n_providers = 4, batch = 16;
	const uint64_t n_rounds = 20000;
	struct dispatch_provider *providers[4];
	struct timespec begin, end;
	struct dispatch *d;
	uint64_t ids[16], n_events = 0;

	(void)state;
	assert_int_equal(dispatch_new(&d, DISPATCH_LEAST, 4096), 0);
	for (uint32_t i = 0; i < n_providers; i++)
		assert_non_null(
			providers[i] = dispatch_register(
				d, &(struct dispatch_hello){.credit = 1000, .weight = 1}, NULL, 0));
	clock_gettime(CLOCK_MONOTONIC, &begin);
	for (uint64_t round = 0; round < n_rounds; round++) {
		struct dispatch_provider *owners[16];

		assert_int_equal(dispatch_room(d, batch), batch);
		for (uint32_t i = 0; i < batch; i++) {
			struct handoff *h = dispatch_offer(d, 0, round);

			ids[i] = h->id;
			owners[i] = h->provider;
		}
		run_actions(d);
		for (uint32_t i = 0; i < n_providers; i++) {
			struct dispatch_provider *p = providers[i];

			assert_int_equal(dispatch_claimed(d, p, p->last_sequence, round), 0);
			run_actions(d);
		}
		for (uint32_t i = 0; i < batch; i++) {
			assert_int_equal(dispatch_released(d, owners[i], &ids[i], 1, round), 0);
			run_actions(d);
		}
		n_events += batch + n_providers + batch;
	}
	clock_gettime(CLOCK_MONOTONIC, &end);
	for (uint32_t i = 0; i < n_providers; i++) {
		dispatch_gone(d, providers[i], 0);
		run_actions(d);
	}
	dispatch_free(d);
	printf("# %.1f million events a second\n",
		(double)n_events / ((double)(end.tv_sec - begin.tv_sec) * 1e6 +
					   (double)(end.tv_nsec - begin.tv_nsec) / 1e3));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_test(test_rate_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
