/* SPDX-License-Identifier: MIT */
/* log-limit: how often the same thing may be said. */
#include "log-limit.h"
#include "test.h"

#define START UINT64_C(1000)

static struct log_limit limit;

/* How many of `n` messages at `now_usec` are written; *ret_left_out as the first of them told it.
 */
static uint32_t say(const char *service, const char *reason, uint32_t n, uint64_t now_usec,
	uint32_t *ret_left_out)
{
	uint32_t n_written = 0, left_out;

	*ret_left_out = 0;
	for (uint32_t i = 0; i < n; i++)
		if (log_limit_allows(&limit, service, reason, now_usec, &left_out))
			if (n_written++ == 0)
				*ret_left_out = left_out;
	return n_written;
}

static void test_burst_is_written_and_the_rest_left_out(void **state)
{
	uint32_t left_out;

	(void)state;
	limit = (struct log_limit){0};
	assert_int_equal(say("web", "protocol", 1000000, START, &left_out), LOG_LIMIT_BURST);
	assert_int_equal(left_out, 0);
}

static void test_what_was_left_out_is_told_once(void **state)
{
	uint32_t left_out;

	(void)state;
	limit = (struct log_limit){0};
	(void)say("web", "protocol", LOG_LIMIT_BURST + 7, START, &left_out);
	assert_int_equal(say("web", "protocol", 1, START + LOG_LIMIT_USEC - 1, &left_out), 0);
	assert_int_equal(say("web", "protocol", 1, START + LOG_LIMIT_USEC, &left_out), 1);
	assert_int_equal(left_out, 8);
	assert_int_equal(say("web", "protocol", 1, START + LOG_LIMIT_USEC, &left_out), 1);
	assert_int_equal(left_out, 0);
}

static void test_services_and_reasons_have_their_own(void **state)
{
	uint32_t left_out;

	(void)state;
	limit = (struct log_limit){0};
	assert_int_equal(say("web", "protocol", 100, START, &left_out), LOG_LIMIT_BURST);
	assert_int_equal(say("mail", "protocol", 100, START, &left_out), LOG_LIMIT_BURST);
	assert_int_equal(say("web", "no-hello", 100, START, &left_out), LOG_LIMIT_BURST);
	assert_int_equal(say(NULL, "config", 100, START, &left_out), LOG_LIMIT_BURST);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_test(test_burst_is_written_and_the_rest_left_out),
		check_test(test_what_was_left_out_is_told_once),
		check_test(test_services_and_reasons_have_their_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
