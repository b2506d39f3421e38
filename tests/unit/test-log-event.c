/* SPDX-License-Identifier: MIT */
/* Events, as the journal and as lines get them: log-record.h. */
#include "log-record.h"
#include "log.h"
#include "test.h"

#include <stdio.h>
#include <string.h>

static const struct log_about all = {
	.event = "end",
	.service = "echo",
	.listener = "tcp:[::1]:7",
	.peer = "192.0.2.1",
	.connection = 1048576,
	.provider = "usher-basic",
	.provider_pid = 42,
	.provider_uid = 33,
	.reason = "released",
	.has_duration = true,
	.duration_usec = 1500000,
	.n_more = 7,
};

#define ALL                                                                                        \
	"event=end service=echo listener=tcp:[::1]:7 peer=192.0.2.1 connection=1048576 "           \
	"provider=usher-basic provider_pid=42 provider_uid=33 reason=released "                    \
	"duration_usec=1500000 more=7"

/* The line without anything before it. */
static const char *line_of(const struct log_about *about)
{
	static char line[LOG_LINE_MAX];
	char text[LOG_RECORD_TEXT_MAX];
	struct log_record record;
	size_t length;

	log_record_init_event(&record, text, LOG_INFO, about);
	length = log_record_format(&record, LOG_FORM_SENTENCE, line);
	assert_int_equal(length, strlen(line));
	return line;
}

static void test_fields_have_a_fixed_order(void **state)
{
	(void)state;
	assert_string_equal(line_of(&all), ALL);
}

static void test_journal_gets_every_field_and_the_line_as_message(void **state)
{
	static const char *const expected[LOG_N_FIELDS] = {
		[LOG_FIELD_MESSAGE] = "MESSAGE=" ALL,
		[LOG_FIELD_PRIORITY] = "PRIORITY=6",
		[LOG_FIELD_EVENT] = "USHER_EVENT=end",
		[LOG_FIELD_SERVICE] = "USHER_SERVICE=echo",
		[LOG_FIELD_LISTENER] = "USHER_LISTENER=tcp:[::1]:7",
		[LOG_FIELD_PEER] = "USHER_PEER=192.0.2.1",
		[LOG_FIELD_CONNECTION] = "USHER_CONNECTION=1048576",
		[LOG_FIELD_PROVIDER] = "USHER_PROVIDER=usher-basic",
		[LOG_FIELD_PROVIDER_PID] = "USHER_PROVIDER_PID=42",
		[LOG_FIELD_PROVIDER_UID] = "USHER_PROVIDER_UID=33",
		[LOG_FIELD_REASON] = "USHER_REASON=released",
		[LOG_FIELD_DURATION] = "USHER_DURATION_USEC=1500000",
		[LOG_FIELD_MORE] = "USHER_MORE=7",
	};
	char text[LOG_RECORD_TEXT_MAX];
	struct log_record record;

	(void)state;
	log_record_init_event(&record, text, LOG_INFO, &all);
	for (enum log_field field = 0; field < LOG_FIELD_ERRNO; field++)
		if (field == LOG_FIELD_MESSAGE_ID)
			assert_non_null(log_record_field(&record, field));
		else
			assert_string_equal(log_record_field(&record, field), expected[field]);
}

static void test_what_is_not_known_is_left_out(void **state)
{
	const struct log_about start = {.event = "start", .service = "echo"};
	const struct log_about end = {.event = "end", .service = "echo", .has_duration = true};

	(void)state;
	assert_string_equal(line_of(&start), "event=start service=echo");
	assert_string_equal(line_of(&end), "event=end service=echo duration_usec=0");
}

static void test_lines_begin_as_those_of_messages(void **state)
{
	char text[LOG_RECORD_TEXT_MAX], line[LOG_LINE_MAX];
	struct log_record record;

	(void)state;
	log_record_init_event(&record, text, LOG_NOTICE, &all);
	log_record_format(&record, LOG_FORM_PLAIN, line);
	assert_string_equal(line, "usherd: " ALL);
	log_record_format(&record, LOG_FORM_PREFIXED, line);
	assert_string_equal(line, "<5>" ALL);
}

static void test_names_cannot_forge_fields_or_lines(void **state)
{
	static const struct {
		const char *provider, *shown;
	} cases[] = {
		{"a b", "\"a b\""},
		{"a\" peer=\"10.0.0.1", "\"a' peer='10.0.0.1\""},
		{"a\nevent=end service=x", "\"a\\x0aevent=end service=x\""},
		{"\x1b]0;x\x07", "\"\\x1b]0;x\\x07\""},
		{"a\\", "\"a\\\""},
		{"x peer=10.0.0.1", "\"x peer=10.0.0.1\""},
		{"a=b", "\"a=b\""},
		{"\xff", "\"\\xff\""},
		{"", "\"\""},
	};
	char expected[256];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct log_about about = {
			.event = "start", .service = "echo", .provider = cases[i].provider};

		snprintf(expected, sizeof(expected), "event=start service=echo provider=%s",
			cases[i].shown);
		assert_string_equal(line_of(&about), expected);
	}
}

/* Values are cut, the message is not: its last field is there. */
static void test_longest_event_is_whole(void **state)
{
	char value[1024];
	struct log_about about = all;

	(void)state;
	memset(value, '\n', sizeof(value) - 1);
	value[sizeof(value) - 1] = '\0';
	about.listener = about.provider = value;
	about.service = "a-name-of-63-bytes-which-is-the-longest-that-a-service-can-have";
	about.peer = "2001:db8:1111:2222:3333:4444:5555:6666%4294967295";
	about.reason = "the-longest-reason-of-them";
	about.connection = about.duration_usec = about.n_more = INT64_MAX;
	assert_string_equal(strrchr(line_of(&about), ' '), " more=9223372036854775807");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_test(test_fields_have_a_fixed_order),
		check_test(test_journal_gets_every_field_and_the_line_as_message),
		check_test(test_what_is_not_known_is_left_out),
		check_test(test_lines_begin_as_those_of_messages),
		check_test(test_names_cannot_forge_fields_or_lines),
		check_test(test_longest_event_is_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
