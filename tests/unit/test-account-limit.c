/* SPDX-License-Identifier: MIT */
/* account-limit: how many refusals are written, and that none is missing from the counts. */
#include "account-limit.h"
#include "test.h"

#include <stdlib.h>
#include <string.h>

#define START  UINT64_C(1000)
#define SECOND UINT64_C(1000000)

static struct account_limit limit;

/* How many of `n` are written. */
static uint64_t refuse(const char *reason, uint64_t n, uint64_t now_usec)
{
	uint64_t n_written = 0;

	for (uint64_t i = 0; i < n; i++)
		n_written += account_limit_allows(&limit, reason, now_usec);
	return n_written;
}

static void expect_count(uint64_t now_usec, const char *reason, uint64_t n)
{
	const char *told = NULL;
	uint64_t n_told = 0;

	assert_true(account_limit_take(&limit, now_usec, &told, &n_told));
	assert_string_equal(told, reason);
	assert_int_equal(n_told, n);
}

static void expect_none(uint64_t now_usec)
{
	const char *reason;
	uint64_t n;

	assert_false(account_limit_take(&limit, now_usec, &reason, &n));
}

static void test_burst_is_written_and_the_rest_counted(void **state)
{
	(void)state;
	limit = (struct account_limit){0};
	assert_int_equal(refuse("cps", 1000000, START), ACCOUNT_LIMIT_BURST);
	assert_int_equal(account_limit_next(&limit), START + ACCOUNT_LIMIT_USEC);
	expect_none(START + ACCOUNT_LIMIT_USEC - 1);
	expect_count(START + ACCOUNT_LIMIT_USEC, "cps", 1000000 - ACCOUNT_LIMIT_BURST);
	expect_none(UINT64_MAX);
	assert_true(account_limit_next(&limit) == UINT64_MAX);
	assert_int_equal(refuse("cps", 100, START + ACCOUNT_LIMIT_USEC), ACCOUNT_LIMIT_BURST);
}

static void test_few_are_all_written(void **state)
{
	(void)state;
	limit = (struct account_limit){0};
	for (uint64_t minute = 0; minute < 10; minute++)
		assert_int_equal(
			refuse("cps", ACCOUNT_LIMIT_BURST, START + minute * ACCOUNT_LIMIT_USEC),
			ACCOUNT_LIMIT_BURST);
	expect_none(UINT64_MAX);
}

static void test_each_reason_has_its_own(void **state)
{
	(void)state;
	limit = (struct account_limit){0};
	assert_int_equal(refuse("cps", 25, START), ACCOUNT_LIMIT_BURST);
	assert_int_equal(refuse("no_access", 22, START + SECOND), ACCOUNT_LIMIT_BURST);
	assert_int_equal(account_limit_next(&limit), START + ACCOUNT_LIMIT_USEC);
	expect_count(UINT64_MAX, "cps", 5);
	expect_count(UINT64_MAX, "no_access", 2);
}

/* Whoever is late with the count must not give a second burst for it. */
static void test_count_that_was_not_taken_holds_the_burst_back(void **state)
{
	(void)state;
	limit = (struct account_limit){0};
	(void)refuse("cps", 25, START);
	assert_int_equal(refuse("cps", 100, START + 3 * ACCOUNT_LIMIT_USEC), 0);
	expect_count(START + 3 * ACCOUNT_LIMIT_USEC, "cps", 105);
}

static void test_more_reasons_than_there_is_room_for_share(void **state)
{
	static char names[ACCOUNT_LIMIT_REASONS + 8][4];

	(void)state;
	limit = (struct account_limit){0};
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		names[i][0] = 'a';
		names[i][1] = (char)('a' + i);
		(void)refuse(names[i], 1, START);
	}
	assert_int_equal(limit.n_causes, ACCOUNT_LIMIT_REASONS);
	assert_int_equal(refuse(names[ACCOUNT_LIMIT_REASONS + 7], 1000, START), 20 - 9);
}

/* As it should be: each refusal is written or counted, and no minute has more than a burst. */
static void test_nothing_is_missing_in_the_long_run(void **state)
{
	static const char *const reasons[] = {"cps", "no_access", "instances"};
	uint64_t now_usec = START, n_refused = 0, n_written = 0, n_counted = 0;

	(void)state;
	limit = (struct account_limit){0};
	srandom(5);
	for (int i = 0; i < 1000000; i++) {
		const char *reason;
		uint64_t n;

		now_usec += (uint64_t)random() % (random() % 100 == 0 ? 20 * SECOND : 20000);
		if (random() % 10 == 0)
			while (account_limit_take(&limit, now_usec, &reason, &n))
				n_counted += n;
		n_refused++;
		n_written += account_limit_allows(&limit, reasons[random() % 3], now_usec);
	}
	for (const char *reason; n_refused > 0;) {
		uint64_t n;

		if (!account_limit_take(&limit, UINT64_MAX, &reason, &n))
			break;
		n_counted += n;
	}
	assert_int_equal(n_written + n_counted, n_refused);
	assert_true(n_written <= 3 * ACCOUNT_LIMIT_BURST * (now_usec / ACCOUNT_LIMIT_USEC + 1));
	assert_true(n_counted > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_test(test_burst_is_written_and_the_rest_counted),
		check_test(test_few_are_all_written),
		check_test(test_each_reason_has_its_own),
		check_test(test_count_that_was_not_taken_holds_the_burst_back),
		check_test(test_more_reasons_than_there_is_room_for_share),
		check_test(test_nothing_is_missing_in_the_long_run),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
