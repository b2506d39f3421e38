/* SPDX-License-Identifier: MIT */
/* Token buckets: what they allow, and a million takings against a level that is filled. */
#include "bucket.h"
#include "random.h"
#include "test.h"

#define SECOND UINT64_C(1000000)
#define START  (1000 * SECOND)

/* Take what is there. */
static uint32_t take_all(struct bucket *bucket, const struct bucket_rate *rate, uint64_t now_usec)
{
	uint32_t n = 0;

	for (; bucket_ready(bucket, rate, now_usec) <= now_usec && n < 2000000; n++)
		bucket_take(bucket, rate, now_usec);
	return n;
}

static void test_full_bucket_has_exactly_its_count(void **state)
{
	const uint32_t counts[] = {1, 2, 3, 7, 200, 999, 1000, 999999, 1000000};

	(void)state;
	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		struct bucket_rate rate = bucket_rate(counts[i], SECOND);
		struct bucket bucket = {0};

		assert_int_equal(take_all(&bucket, &rate, START), counts[i]);
		assert_in_range(
			bucket_full(&bucket), START + SECOND - SECOND / 1000, START + SECOND);
		assert_int_equal(take_all(&bucket, &rate, START + SECOND), counts[i]);
	}
}

static void test_token_comes_back_after_an_interval(void **state)
{
	struct bucket_rate rate = bucket_rate(4, SECOND);
	struct bucket bucket = {0};

	(void)state;
	take_all(&bucket, &rate, START);
	assert_int_equal(bucket_ready(&bucket, &rate, START), START + SECOND / 4);
	assert_int_equal(take_all(&bucket, &rate, START + SECOND / 4 - 1), 0);
	assert_int_equal(take_all(&bucket, &rate, START + SECOND / 4), 1);
	assert_int_equal(take_all(&bucket, &rate, START + SECOND), 3);
}

static void test_no_limit(void **state)
{
	struct bucket_rate rate = bucket_rate(0, SECOND);
	struct bucket bucket = {0};

	(void)state;
	for (int i = 0; i < 1000; i++)
		bucket_take(&bucket, &rate, START);
	assert_int_equal(bucket_ready(&bucket, &rate, START), 0);
	assert_int_equal(bucket_full(&bucket), 0);
}

/* A reload that makes the period shorter ends a long wait. */
static void test_other_rate(void **state)
{
	struct bucket_rate daily = bucket_rate(1, 86400 * SECOND), fast = bucket_rate(1, SECOND);
	struct bucket bucket = {0};

	(void)state;
	bucket_take(&bucket, &daily, START);
	assert_int_equal(bucket_ready(&bucket, &daily, START), START + 86400 * SECOND);
	assert_int_equal(bucket_ready(&bucket, &fast, START), START + SECOND);
}

/* Many takings in advance, as of connections that cannot be held back, are one interval at most. */
static void test_in_advance(void **state)
{
	struct bucket_rate rate = bucket_rate(2, SECOND);
	struct bucket bucket = {0};

	(void)state;
	for (int i = 0; i < 1000; i++)
		bucket_take(&bucket, &rate, START);
	assert_in_range(bucket_ready(&bucket, &rate, START), START + SECOND / 2, START + SECOND);
}

/* The level of the model is in nanoseconds, too, and goes up with time. */
static void test_a_million_takings(void **state)
{
	uint64_t random = random_seed(20261122), now_usec = START, n_taken = 0;

	(void)state;
	for (int round = 0; round < 1000; round++) {
		uint32_t count = 1 + (uint32_t)random_of(&random, round % 2 ? 20 : 100000);
		struct bucket_rate rate = bucket_rate(count, SECOND * (1 + random_of(&random, 60)));
		uint64_t level = rate.capacity_nsec;
		struct bucket bucket = {0};

		for (int i = 0; i < 1000; i++) {
			uint64_t usec = random_of(&random, 3)
						? 0
						: random_of(&random,
							  1 + 3000 * rate.interval_nsec / 1000000);
			bool is_there;

			now_usec += usec;
			level += 1000 * usec;
			if (level > rate.capacity_nsec)
				level = rate.capacity_nsec;
			is_there = bucket_ready(&bucket, &rate, now_usec) <= now_usec;
			assert_int_equal(is_there, level >= rate.interval_nsec);
			if (!is_there) {
				uint64_t ready = bucket_ready(&bucket, &rate, now_usec);

				assert_int_equal(ready - now_usec,
					(rate.interval_nsec - level + 999) / 1000);
				continue;
			}
			bucket_take(&bucket, &rate, now_usec);
			level -= rate.interval_nsec;
			assert_int_equal(
				bucket_full(&bucket) <= now_usec, level == rate.capacity_nsec);
			n_taken++;
		}
	}
	printf("# %" PRIu64 " taken\n", n_taken);
	assert_in_range(n_taken, 100000, 999999);
}

static void test_limited_by_another_rate(void **state)
{
	struct bucket_rate rate = bucket_rate(2, 10 * SECOND), shorter = bucket_rate(2, SECOND);
	struct bucket bucket = {0}, limited;

	(void)state;
	take_all(&bucket, &rate, START);
	limited = bucket_limit(&bucket, &rate, START);
	assert_int_equal(bucket_full(&limited), bucket_full(&bucket));
	limited = bucket_limit(&bucket, &shorter, START);
	assert_int_equal(bucket_full(&limited), START + SECOND);
	limited = bucket_limit(&bucket, &shorter, START + 20 * SECOND);
	assert_int_equal(bucket_full(&limited), START + 20 * SECOND);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_test(test_full_bucket_has_exactly_its_count),
		check_test(test_token_comes_back_after_an_interval),
		check_test(test_no_limit),
		check_test(test_other_rate),
		check_test(test_limited_by_another_rate),
		check_test(test_in_advance),
		check_test(test_a_million_takings),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
