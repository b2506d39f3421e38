/* SPDX-License-Identifier: MIT */
/* histogram: each duration is in the bucket that a search from the other end finds. */
#include "histogram.h"
#include "random.h"
#include "test.h"

static uint64_t n_of(const struct histogram *h)
{
	uint64_t n = 0;

	for (size_t i = 0; i <= HISTOGRAM_N_BOUNDS; i++)
		n += h->counts[i];
	return n;
}

static void test_bounds_grow(void **state)
{
	(void)state;
	for (size_t i = 1; i < HISTOGRAM_N_BOUNDS; i++)
		assert_true(histogram_bounds_usec[i] > histogram_bounds_usec[i - 1]);
}

static void test_bound_belongs_to_its_bucket(void **state)
{
	(void)state;
	for (size_t i = 0; i < HISTOGRAM_N_BOUNDS; i++) {
		struct histogram h = {0};

		histogram_add(&h, 7, 7 + histogram_bounds_usec[i]);
		assert_int_equal(h.counts[i], 1);
		histogram_add(&h, 7, 7 + histogram_bounds_usec[i] + 1);
		assert_int_equal(h.counts[i + 1], 1);
		assert_int_equal(n_of(&h), 2);
		assert_int_equal(h.sum_usec, 2 * histogram_bounds_usec[i] + 1);
	}
}

static void test_no_time_and_all_time(void **state)
{
	struct histogram h = {0};

	(void)state;
	histogram_add(&h, 5, 5);
	histogram_add(&h, 6, 5);
	assert_int_equal(h.counts[0], 2);
	assert_int_equal(h.sum_usec, 0);
	histogram_add(&h, 0, UINT64_MAX);
	assert_int_equal(h.counts[HISTOGRAM_N_BOUNDS], 1);
}

/* The model keeps every duration. */
static void test_a_million_durations(void **state)
{
	uint64_t random = random_seed(1), sum = 0;
	struct histogram h = {0}, model = {0};

	(void)state;
	for (int i = 0; i < 1000000; i++) {
		uint64_t usec = random_of(&random, UINT64_C(1) << random_of(&random, 30));
		size_t bucket = HISTOGRAM_N_BOUNDS;

		while (bucket > 0 && usec <= histogram_bounds_usec[bucket - 1])
			bucket--;
		model.counts[bucket]++;
		sum += usec;
		histogram_add(&h, (uint64_t)i, (uint64_t)i + usec);
	}
	assert_memory_equal(h.counts, model.counts, sizeof(h.counts));
	assert_int_equal(h.sum_usec, sum);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_test(test_bounds_grow),
		check_test(test_bound_belongs_to_its_bucket),
		check_test(test_no_time_and_all_time),
		check_test(test_a_million_durations),
	};

	return cmocka_run_group_tests_name("histogram", tests, NULL, NULL);
}
