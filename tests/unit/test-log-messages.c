/* SPDX-License-Identifier: MIT */
/*
 * log-messages: which kind a message is. That all kinds are listed, and explained in the catalog
 * and the manual, is found by tests/checks.
 */
#include "log-messages.h"
#include "log-record.h"
#include "test.h"

#include <stdarg.h>
#include <string.h>

static const char *id_of(const struct log_about *about)
{
	const char *id = log_messages_id(about);

	assert_non_null(id);
	assert_int_equal(strlen(id), 32);
	assert_int_equal(strspn(id, "0123456789abcdef"), 32);
	return id;
}

static void test_kind_is_the_reason_or_the_event(void **state)
{
	const struct log_about gone = {.reason = "gone", .service = "web"};
	const struct log_about first = {.reason = "accept-failed"}, last = {.reason = "upgrading"};
	const struct log_about refused = {.event = "refused", .reason = "park-full"};
	const struct log_about park_full = {.reason = "park-full"};

	(void)state;
	assert_string_equal(id_of(&gone), id_of(&(struct log_about){.reason = "gone"}));
	assert_string_not_equal(id_of(&first), id_of(&last));
	assert_string_not_equal(id_of(&refused), id_of(&park_full));
	assert_string_equal(id_of(&refused), id_of(&(struct log_about){.event = "refused"}));
	assert_string_not_equal(id_of(&refused), id_of(&(struct log_about){.event = "end"}));
	assert_null(log_messages_id(&(struct log_about){.service = "web"}));
	assert_null(log_messages_id(&(struct log_about){.reason = "no-such-reason"}));
}

static void test_number_of_what_was_left_out_is_a_kind(void **state)
{
	const struct log_about more = {.reason = "gone", .n_more = 7};

	(void)state;
	assert_string_equal(id_of(&more), id_of(&(struct log_about){.reason = "more"}));
	assert_string_equal(id_of(&(struct log_about){.event = "refused", .n_more = 7}),
		id_of(&(struct log_about){.event = "refused"}));
}

/* Clients cause these, and processes at a rendezvous, at a receiver, or of our user. */
static void test_what_others_can_cause_is_limited(void **state)
{
	static const char *const reasons[] = {"accept-failed", "claim-timeout", "cps",
		"denied-full", "dump", "forward-loop", "forward-refused", "gone", "lent-damaged",
		"listen-failed", "max-providers", "max_load", "no-hello", "no-memory",
		"not-registered", "orphaned-channel", "park-failed", "park-full", "park-timeout",
		"protocol", "rate", "receiver-absent", "receiver-full", "receiver-ready",
		"registered", "replaced", "signal", "sources-full", "takes-no-listeners",
		"no-such-reason"};

	(void)state;
	for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++)
		assert_true(log_messages_is_limited(&(struct log_about){.reason = reasons[i]}));
	assert_true(log_messages_is_limited(&(struct log_about){.event = "refused"}));
}

static void test_what_must_be_said_each_time_is_not_limited(void **state)
{
	static const char *const reasons[] = {"config", "drained", "messages-dropped", "paused",
		"reload-failed", "reloaded", "resumed", "start-failed", "started", "stopping",
		"upgrade-failed", "upgraded", "upgrading"};

	(void)state;
	for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++)
		assert_false(log_messages_is_limited(&(struct log_about){.reason = reasons[i]}));
	assert_false(log_messages_is_limited(&(struct log_about){.service = "web"}));
	assert_false(
		log_messages_is_limited(&(struct log_about){.event = "end", .reason = "released"}));
	assert_false(log_messages_is_limited(&(struct log_about){.event = "start"}));
}

__attribute__((format(printf, 4, 5))) static void make_record(struct log_record *record, char *text,
	const struct log_about *about, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	log_record_init(record, text, LOG_WARNING, about, format, arguments);
	va_end(arguments);
}

/* The journal gets it; lines, which people read, do not. */
static void test_records_have_the_identifier(void **state)
{
	const struct log_about about = {.reason = "gone", .service = "web"};
	char text[LOG_RECORD_TEXT_MAX], line[LOG_LINE_MAX];
	struct log_record record;

	(void)state;
	make_record(&record, text, &about, "sentence");
	assert_string_equal(log_record_field(&record, LOG_FIELD_MESSAGE_ID) + strlen("MESSAGE_ID="),
		id_of(&about));
	log_record_format(&record, LOG_FORM_SENTENCE, line);
	assert_string_equal(line, "sentence [service=web reason=gone]");
	make_record(&record, text, NULL, "sentence");
	assert_null(log_record_field(&record, LOG_FIELD_MESSAGE_ID));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_test(test_kind_is_the_reason_or_the_event),
		check_test(test_number_of_what_was_left_out_is_a_kind),
		check_test(test_what_others_can_cause_is_limited),
		check_test(test_what_must_be_said_each_time_is_not_limited),
		check_test(test_records_have_the_identifier),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
