/* SPDX-License-Identifier: MIT */
/* log-limit: how often the same thing may be said, and that none is missing from the counts. */
#include "log-limit.h"
#include "random.h"
#include "test.h"

#include <stdio.h>
#include <string.h>

#define START  UINT64_C(1000)
#define SECOND UINT64_C(1000000)

static struct log_limit limit;

/* How many of `n` at `now_usec` are written. */
static uint64_t say(const struct log_about *about, uint64_t n, uint64_t now_usec)
{
	struct log_limit_cause *cause;
	uint64_t n_written = 0;

	for (uint64_t i = 0; i < n; i++)
		n_written += log_limit_allows(&limit, about, now_usec, &cause);
	return n_written;
}

static void expect_count(uint64_t now_usec, const struct log_about *about, uint64_t n)
{
	struct log_limit_cause cause;

	assert_true(log_limit_take(&limit, now_usec, &cause));
	assert_string_equal(cause.service, about->service ? about->service : "");
	assert_ptr_equal(cause.reason, about->reason);
	assert_ptr_equal(cause.event, about->event);
	assert_int_equal(cause.n_left_out, n);
}

static void expect_none(uint64_t now_usec)
{
	struct log_limit_cause cause;

	assert_false(log_limit_take(&limit, now_usec, &cause));
}

static const struct log_about protocol = {.service = "web", .reason = "protocol"};
static const struct log_about refused = {
	.service = "web", .reason = "per_source", .event = "refused"};

static void begin(void)
{
	limit = (struct log_limit){0};
}

static void test_burst_is_written_and_the_rest_counted(void **state)
{
	(void)state;
	begin();
	assert_int_equal(log_limit_next(&limit), UINT64_MAX);
	assert_int_equal(say(&protocol, LOG_LIMIT_BURST, START), LOG_LIMIT_BURST);
	assert_int_equal(log_limit_next(&limit), UINT64_MAX);
	expect_none(UINT64_MAX);
	assert_int_equal(say(&protocol, 1000, START + 1), 0);
	assert_int_equal(log_limit_next(&limit), START + LOG_LIMIT_USEC);
	expect_none(START + LOG_LIMIT_USEC - 1);
	expect_count(START + LOG_LIMIT_USEC, &protocol, 1000);
	expect_none(UINT64_MAX);
	assert_int_equal(log_limit_next(&limit), UINT64_MAX);
	assert_int_equal(say(&protocol, 100, START + LOG_LIMIT_USEC), LOG_LIMIT_BURST);
}

static void test_events_have_a_longer_time(void **state)
{
	(void)state;
	begin();
	(void)say(&refused, LOG_LIMIT_BURST, START);
	assert_int_equal(say(&refused, 1, START + LOG_LIMIT_EVENT_USEC - 1), 0);
	expect_none(START + LOG_LIMIT_EVENT_USEC - 1);
	expect_count(START + LOG_LIMIT_EVENT_USEC, &refused, 1);
}

static void test_time_begins_anew_after_a_pause(void **state)
{
	(void)state;
	begin();
	for (uint64_t i = 0; i < 10; i++)
		assert_int_equal(say(&protocol, LOG_LIMIT_BURST, START + i * LOG_LIMIT_USEC),
			LOG_LIMIT_BURST);
	expect_none(UINT64_MAX);
}

/* A log that is stuck is not read sooner because time has passed. */
static void test_count_that_was_not_taken_holds_the_burst_back(void **state)
{
	(void)state;
	begin();
	(void)say(&protocol, LOG_LIMIT_BURST + 5, START);
	assert_int_equal(say(&protocol, 100, START + 9 * LOG_LIMIT_USEC), 0);
	expect_count(START + 9 * LOG_LIMIT_USEC, &protocol, 105);
}

static void test_causes_have_their_own(void **state)
{
	static const struct log_about causes[] = {
		{.service = "web", .reason = "protocol"},
		{.service = "mail", .reason = "protocol"},
		{.service = "web", .reason = "no-hello"},
		{.service = "web", .reason = "protocol", .event = "refused"},
		{.reason = "signal"},
		{.service = "web", .event = "refused"},
	};

	(void)state;
	begin();
	for (size_t i = 0; i < sizeof(causes) / sizeof(causes[0]); i++)
		assert_int_equal(say(&causes[i], 100, START), LOG_LIMIT_BURST);
}

/* The one that began first is due first, also when it has overflowed last. */
static void test_each_count_is_due_at_its_time(void **state)
{
	(void)state;
	begin();
	(void)say(&protocol, 1, START);
	(void)say(&refused, 22, START + SECOND);
	assert_int_equal(log_limit_next(&limit), START + SECOND + LOG_LIMIT_EVENT_USEC);
	(void)say(&protocol, 24, START + 2 * SECOND);
	assert_int_equal(log_limit_next(&limit), START + LOG_LIMIT_USEC);
	expect_count(START + LOG_LIMIT_USEC, &protocol, 5);
	assert_int_equal(log_limit_next(&limit), START + SECOND + LOG_LIMIT_EVENT_USEC);
	expect_none(START + LOG_LIMIT_USEC);
	expect_count(UINT64_MAX, &refused, 2);
}

/* Whatever else is going on, the first ones of each service are written. */
static void test_services_of_a_large_host_have_their_own(void **state)
{
	char name[16];

	(void)state;
	begin();
	for (int i = 0; i < 400; i++) {
		snprintf(name, sizeof(name), "service-%d", i);
		assert_int_equal(say(&(struct log_about){.service = name,
					     .reason = "only_from",
					     .event = "refused"},
					 100, START),
			LOG_LIMIT_BURST);
	}
}

/* Many services at once neither get around the limit nor lose a count. */
static void test_more_causes_than_there_is_room_for_share(void **state)
{
	enum { N_SERVICES = 4 * LOG_LIMIT_CAUSES, N_EACH = 100 };
	uint64_t n_written = 0, n_counted = 0;
	struct log_limit_cause cause;
	char name[16];

	(void)state;
	begin();
	for (int i = 0; i < N_SERVICES; i++) {
		snprintf(name, sizeof(name), "s%d", i);
		n_written += say(&(struct log_about){.service = name, .reason = "accept-failed"},
			N_EACH, START);
	}
	assert_in_range(n_written, 1, LOG_LIMIT_CAUSES * LOG_LIMIT_BURST);
	while (log_limit_take(&limit, START + LOG_LIMIT_USEC, &cause))
		n_counted += cause.n_left_out;
	assert_int_equal(n_written + n_counted, N_SERVICES * N_EACH);
}

/* As it should be: what was not written is counted once, and no time has more than a burst. */
static void test_nothing_is_missing_in_the_long_run(void **state)
{
	static const struct log_about causes[] = {
		{.service = "web", .reason = "protocol"},
		{.service = "mail", .reason = "protocol"},
		{.service = "mail", .reason = "per_source", .event = "refused"},
	};
	uint64_t seed = random_seed(6), now_usec = START, n_written[3] = {0}, n_counted = 0;
	enum { N_SAID = 1000000 };
	struct log_limit_cause cause;

	(void)state;
	begin();
	for (int i = 0; i < N_SAID; i++) {
		size_t which = random_of(&seed, 3);

		now_usec += random_of(&seed, random_of(&seed, 100) == 0 ? 2 * SECOND : 2000);
		if (random_of(&seed, 10) == 0)
			while (log_limit_take(&limit, now_usec, &cause))
				n_counted += cause.n_left_out;
		n_written[which] += say(&causes[which], 1, now_usec);
	}
	while (log_limit_take(&limit, UINT64_MAX, &cause))
		n_counted += cause.n_left_out;
	assert_int_equal(n_written[0] + n_written[1] + n_written[2] + n_counted, N_SAID);
	assert_true(n_written[0] <= LOG_LIMIT_BURST * (now_usec / LOG_LIMIT_USEC + 1));
	assert_true(n_written[2] <= LOG_LIMIT_BURST * (now_usec / LOG_LIMIT_EVENT_USEC + 1));
	assert_true(n_counted > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_test(test_burst_is_written_and_the_rest_counted),
		check_test(test_events_have_a_longer_time),
		check_test(test_time_begins_anew_after_a_pause),
		check_test(test_count_that_was_not_taken_holds_the_burst_back),
		check_test(test_causes_have_their_own),
		check_test(test_each_count_is_due_at_its_time),
		check_test(test_services_of_a_large_host_have_their_own),
		check_test(test_more_causes_than_there_is_room_for_share),
		check_test(test_nothing_is_missing_in_the_long_run),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
