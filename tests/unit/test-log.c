/* SPDX-License-Identifier: MIT */
/*
 * The log, written to a pipe that is stderr for the time of a test, and to files.
 *
 * What the journal and syslog get is checked in test-log-system.c.
 */
#include "fd.h"
#include "log-limit.h"
#include "log-record.h"
#include "log.h"
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define SECOND_USEC	 UINT64_C(1000000)
#define LONG_ENOUGH_USEC (30 * SECOND_USEC)
#define OUTPUT_MAX	 (1 << 22)

/* Stderr as a pipe. */
struct capture {
	int reader;
	int saved_stderr;
};

static void capture_begin(struct capture *capture)
{
	int fds[2];

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	capture->reader = fds[0];
	capture->saved_stderr = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	assert_true(capture->saved_stderr >= 0);
	assert_int_equal(dup2(fds[1], STDERR_FILENO), STDERR_FILENO);
	close_fd(fds[1]);
}

/* Fill the pipe until a write would block. Returns how many bytes that were. */
static size_t capture_fill(void)
{
	size_t n = 0;

	assert_int_equal(fcntl(STDERR_FILENO, F_SETFL, O_NONBLOCK), 0);
	while (write(STDERR_FILENO, "#", 1) == 1)
		n++;
	assert_int_equal(fcntl(STDERR_FILENO, F_SETFL, 0), 0);
	return n;
}

/* Give stderr back. */
static void capture_end(struct capture *capture)
{
	assert_int_equal(dup2(capture->saved_stderr, STDERR_FILENO), STDERR_FILENO);
	capture->saved_stderr = close_fd(capture->saved_stderr);
}

/* What was written, up to the end: stderr was given back. To be freed. */
static char *capture_read(struct capture *capture)
{
	char *text = malloc(OUTPUT_MAX + 1);
	size_t length = 0;
	ssize_t n;

	assert_non_null(text);
	while ((n = read(capture->reader, text + length, OUTPUT_MAX - length)) > 0)
		length += (size_t)n;
	assert_int_equal(n, 0);
	text[length] = '\0';
	capture->reader = close_fd(capture->reader);
	return text;
}

static void skip_bytes(int fd, size_t n)
{
	char byte;

	while (n--)
		assert_int_equal(read(fd, &byte, 1), 1);
}

static void assert_written(struct capture *capture, const char *expected)
{
	char *text;

	log_close(LONG_ENOUGH_USEC);
	capture_end(capture);
	text = capture_read(capture);
	assert_string_equal(text, expected);
	free(text);
}

static size_t count_of(const char *text, const char *part)
{
	size_t n = 0;

	for (; (text = strstr(text, part)); text += strlen(part))
		n++;
	return n;
}

static const struct log_about about_everything = {
	.service = "echo",
	.listener = "tcp:[::1]:7",
	.provider = "usher-basic",
	.reason = "hangup",
	.provider_pid = 42,
	.provider_uid = 33,
	.error = -EPIPE,
};

static void test_line_has_level_sentence_and_fields(void **state)
{
	struct capture capture;

	(void)state;
	capture_begin(&capture);
	assert_int_equal(log_open(LOG_TO_STDERR, NULL), 0);
	log_write(LOG_WARNING, &about_everything, "%s hung up", "it");
	log_write(LOG_INFO, NULL, "plain");
	log_write(LOG_ERR, &(struct log_about){.service = "time"}, "bad");
	assert_written(&capture,
		"usherd: warning: it hung up [service=echo listener=tcp:[::1]:7 "
		"provider=usher-basic provider_pid=42 provider_uid=33 reason=hangup]\n"
		"usherd: plain\n"
		"usherd: error: bad [service=time]\n");
}

__attribute__((format(printf, 4, 5))) static void make_record(struct log_record *record, char *text,
	const struct log_about *about, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	log_record_init(record, text, LOG_WARNING, about, format, arguments);
	va_end(arguments);
}

static void test_record_has_the_fields_of_the_journal(void **state)
{
	static const char *const expected[LOG_N_FIELDS] = {
		[LOG_FIELD_MESSAGE] = "MESSAGE=sentence",
		[LOG_FIELD_PRIORITY] = "PRIORITY=4",
		[LOG_FIELD_SERVICE] = "USHER_SERVICE=echo",
		[LOG_FIELD_LISTENER] = "USHER_LISTENER=tcp:[::1]:7",
		[LOG_FIELD_PROVIDER] = "USHER_PROVIDER=usher-basic",
		[LOG_FIELD_PROVIDER_PID] = "USHER_PROVIDER_PID=42",
		[LOG_FIELD_PROVIDER_UID] = "USHER_PROVIDER_UID=33",
		[LOG_FIELD_REASON] = "USHER_REASON=hangup",
		[LOG_FIELD_ERRNO] = "ERRNO=32",
	};
	char text[LOG_RECORD_TEXT_MAX];
	struct log_record record, *copy;

	(void)state;
	make_record(&record, text, &about_everything, "sentence");
	copy = log_record_dup(&record);
	assert_non_null(copy);
	memset(text, 'x', sizeof(text));
	for (enum log_field field = 0; field < LOG_N_FIELDS; field++)
		if (expected[field])
			assert_string_equal(log_record_field(copy, field), expected[field]);
		else
			assert_null(log_record_field(copy, field));
	free(copy);
}

static void test_fields_that_are_zero_are_left_out(void **state)
{
	char text[LOG_RECORD_TEXT_MAX];
	struct log_record record;

	(void)state;
	make_record(&record, text, &(struct log_about){.provider_uid = 33}, "sentence");
	for (enum log_field field = LOG_FIELD_EVENT; field < LOG_N_FIELDS; field++)
		assert_null(log_record_field(&record, field));
}

static void test_longest_record_fits(void **state)
{
	char value[4096], text[LOG_RECORD_TEXT_MAX], line[LOG_LINE_MAX];
	struct log_about about = {value, value, value, value, -42, 4000000000u, -EPIPE};
	struct log_record record;

	(void)state;
	memset(value, '"', sizeof(value) - 1);
	value[sizeof(value) - 1] = '\0';
	make_record(&record, text, &about, "%s", value);
	assert_true(record.length <= sizeof(text));
	assert_true(log_record_format(&record, LOG_FORM_DATED, line) < sizeof(line) - 1);
}

static void test_lines_cannot_be_forged(void **state)
{
	struct capture capture;
	struct log_about about = {.provider = "a\" reason=\"b\nusherd: forged"};

	(void)state;
	capture_begin(&capture);
	assert_int_equal(log_open(LOG_TO_STDERR, NULL), 0);
	log_write(LOG_INFO, &about, "hello\nusherd: \x1b[31mforged\r");
	assert_written(&capture, "usherd: hello\\x0ausherd: \\x1b[31mforged\\x0d "
				 "[provider=\"a' reason='b\\x0ausherd: forged\"]\n");
}

static void test_text_that_is_not_utf8_is_escaped(void **state)
{
	static const struct {
		const char *given, *written;
	} cases[] = {
		{"caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80",
			"caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80"},
		{"\x7f", "\\x7f"},
		{"\xc2\x9b"
		 "31m",
			"\\xc2\\x9b31m"}, /* CSI in one character */
		{"\xc3", "\\xc3"},
		{"\xe2\x82", "\\xe2\\x82"},
		{"\xc0\x8a", "\\xc0\\x8a"},		      /* a newline, too long */
		{"\xed\xa0\x80", "\\xed\\xa0\\x80"},	      /* a surrogate */
		{"\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80"}, /* beyond Unicode */
		{"\xff", "\\xff"},
	};
	char text[LOG_RECORD_TEXT_MAX], line[LOG_LINE_MAX];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct log_record record;

		make_record(&record, text, NULL, "%s", cases[i].given);
		log_record_format(&record, LOG_FORM_SENTENCE, line);
		assert_string_equal(line, cases[i].written);
	}
}

static void test_long_message_is_cut_between_characters(void **state)
{
	static const struct {
		const char *end;
		size_t n_before, expected;
	} cases[] = {
		{"\xc3\xa9", 1022, 1024},
		{"\xc3\xa9", 1023, 1023},
		{"\xf0\x9f\x98\x80", 1021, 1021},
		{"\xf0\x9f\x98\x80\xf0\x9f\x98\x80", 1020, 1024},
		{"\x01", 1021, 1021},
		{"xy", 1023, 1024},
	};
	char text[LOG_RECORD_TEXT_MAX], line[LOG_LINE_MAX], before[1024];

	(void)state;
	memset(before, 'a', sizeof(before));
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct log_record record;

		make_record(&record, text, NULL, "%.*s%s", (int)cases[i].n_before, before,
			cases[i].end);
		assert_int_equal(
			log_record_format(&record, LOG_FORM_SENTENCE, line), cases[i].expected);
	}
}

static void test_errno_is_kept(void **state)
{
	struct capture capture;

	(void)state;
	capture_begin(&capture);
	errno = ENOTTY;
	log_write(LOG_INFO, NULL, "direct");
	assert_int_equal(errno, ENOTTY);
	assert_int_equal(log_open(LOG_TO_STDERR, NULL), 0);
	errno = ENOTTY;
	log_write(LOG_INFO, NULL, "queued");
	assert_int_equal(errno, ENOTTY);
	assert_written(&capture, "usherd: direct\nusherd: queued\n");
}

static void test_writes_directly_while_not_open(void **state)
{
	struct capture capture;

	(void)state;
	capture_begin(&capture);
	log_write(LOG_ERR, NULL, "before");
	assert_int_equal(log_open(LOG_TO_STDERR, NULL), 0);
	log_close(LONG_ENOUGH_USEC);
	log_write(LOG_ERR, NULL, "after");
	assert_written(&capture, "usherd: error: before\nusherd: error: after\n");
}

static void test_priorities_are_prefixes_in_a_journal_stream(void **state)
{
	struct capture capture;
	struct stat status;
	char stream[64];

	(void)state;
	capture_begin(&capture);
	assert_int_equal(fstat(STDERR_FILENO, &status), 0);
	snprintf(stream, sizeof(stream), "%ju:%ju", (uintmax_t)status.st_dev,
		(uintmax_t)status.st_ino);
	setenv("JOURNAL_STREAM", stream, 1);
	assert_int_equal(log_open(LOG_TO_STDERR, NULL), 0);
	log_write(LOG_ERR, NULL, "bad");
	log_close(LONG_ENOUGH_USEC);
	setenv("JOURNAL_STREAM", "1:1", 1);
	log_write(LOG_ERR, NULL, "not a journal");
	unsetenv("JOURNAL_STREAM");
	assert_written(&capture, "<3>bad\nusherd: error: not a journal\n");
}

static bool is_without_journal(void)
{
	return access("/run/systemd/journal/socket", F_OK) < 0;
}

static void test_journal_falls_back_to_stderr(void **state)
{
	struct capture capture;

	(void)state;
	capture_begin(&capture);
	assert_int_equal(log_open(LOG_TO_JOURNAL, NULL), 0);
	log_write(LOG_INFO, NULL, "no journal here");
	assert_written(&capture, "usherd: no journal here\n");
}

static char *make_folder(char *path)
{
	strcpy(path, "/tmp/usher-test-log-XXXXXX");
	assert_non_null(mkdtemp(path));
	return path;
}

/* The contents of a small file. */
static const char *contents(const char *path)
{
	static char text[4096];
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	assert_true(fd >= 0);
	n = read(fd, text, sizeof(text) - 1);
	assert_true(n >= 0);
	text[n] = '\0';
	return text;
}

static void test_file_is_appended_dated_and_opened_anew(void **state)
{
	char folder[64], path[128], rotated[128], sentence[64];
	int year, pid;
	struct stat status;

	(void)state;
	snprintf(path, sizeof(path), "%s/log", make_folder(folder));
	snprintf(rotated, sizeof(rotated), "%s/log.1", folder);
	umask(0);
	assert_int_equal(log_open(LOG_TO_FILE, path), 0);
	umask(022);
	assert_int_equal(stat(path, &status), 0);
	assert_int_equal(status.st_mode & 07777, 0640);
	log_write(LOG_WARNING, NULL, "first");
	log_close(LONG_ENOUGH_USEC);
	assert_int_equal(
		sscanf(contents(path), "%d-%*d-%*dT%*d:%*d:%*[0-9.]+%*d usherd[%d]: %63[^\n]",
			&year, &pid, sentence),
		3);
	assert_true(year >= 2020);
	assert_int_equal(pid, getpid());
	assert_string_equal(sentence, "warning: first");

	assert_int_equal(log_open(LOG_TO_FILE, path), 0);
	assert_int_equal(rename(path, rotated), 0);
	assert_int_equal(log_open(LOG_TO_FILE, path), 0);
	log_write(LOG_INFO, NULL, "second");
	log_close(LONG_ENOUGH_USEC);
	assert_int_equal(count_of(contents(rotated), "first"), 1);
	assert_int_equal(count_of(contents(path), "second"), 1);
	unlink(path);
	unlink(rotated);
	rmdir(folder);
}

static void test_echo_goes_to_stderr_beside_the_log(void **state)
{
	char folder[64], path[128];
	struct capture capture;

	(void)state;
	capture_begin(&capture);
	snprintf(path, sizeof(path), "%s/log", make_folder(folder));
	log_set_echo(true);
	log_write(LOG_INFO, NULL, "not open");
	assert_int_equal(log_open(LOG_TO_FILE, path), 0);
	log_write(LOG_ERR, NULL, "to both");
	log_set_echo(false);
	log_write(LOG_INFO, NULL, "to one");
	assert_written(&capture, "usherd: not open\nusherd: error: to both\n");
	assert_int_equal(count_of(contents(path), "\n"), 2);
	assert_int_equal(count_of(contents(path), "error: to both\n"), 1);
	unlink(path);
	rmdir(folder);
}

static void test_echo_says_nothing_twice(void **state)
{
	struct capture capture;

	(void)state;
	capture_begin(&capture);
	log_set_echo(true);
	assert_int_equal(log_open(LOG_TO_STDERR, NULL), 0);
	log_write(LOG_INFO, NULL, "once");
	log_set_echo(false);
	assert_written(&capture, "usherd: once\n");
}

static void test_target_that_cannot_be_opened_leaves_the_old_one(void **state)
{
	char folder[64], path[128];
	struct capture capture;

	(void)state;
	capture_begin(&capture);
	assert_int_equal(log_open(LOG_TO_STDERR, NULL), 0);
	snprintf(path, sizeof(path), "%s/none/log", make_folder(folder));
	assert_int_equal(log_open(LOG_TO_FILE, path), -ENOENT);
	snprintf(path, sizeof(path), "%s/log", folder);
	assert_int_equal(symlink("elsewhere", path), 0);
	assert_int_equal(log_open(LOG_TO_FILE, path), -ELOOP);
	unlink(path);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(log_open(LOG_TO_FILE, path), -ENXIO);
	unlink(path);
	rmdir(folder);
	log_write(LOG_INFO, NULL, "still here");
	assert_written(&capture, "usherd: still here\n");
}

static void test_full_pipe_blocks_nobody_and_drops_are_reported(void **state)
{
	enum { N_WRITTEN = 5000 };
	struct capture capture;
	uint64_t n_before = log_n_dropped(), n_dropped;
	char *text, report[64];
	size_t n_fill;

	(void)state;
	capture_begin(&capture);
	n_fill = capture_fill();
	assert_int_equal(log_open(LOG_TO_STDERR, NULL), 0);
	for (int i = 0; i < N_WRITTEN; i++)
		log_write(LOG_INFO, NULL, "message");
	n_dropped = log_n_dropped() - n_before;
	/* 1024 are queued; the writer may hold one more. */
	assert_in_range(n_dropped, N_WRITTEN - 1025, N_WRITTEN - 1024);

	skip_bytes(capture.reader, n_fill);
	log_close(LONG_ENOUGH_USEC);
	capture_end(&capture);
	text = capture_read(&capture);
	assert_int_equal(count_of(text, "usherd: message\n"), N_WRITTEN - n_dropped);
	snprintf(report, sizeof(report), "usherd: warning: messages dropped: %ju (", n_dropped);
	assert_int_equal(count_of(text, report), 1);
	free(text);
}

/* Strangers cause events, and must not push out what an administrator is told. */
static void test_events_leave_room_for_messages(void **state)
{
	enum { N_EVENTS = 2000, N_MESSAGES = 200 };
	struct capture capture;
	uint64_t n_before = log_n_dropped(), n_dropped;
	size_t n_fill;
	char *text;

	(void)state;
	capture_begin(&capture);
	n_fill = capture_fill();
	assert_int_equal(log_open(LOG_TO_STDERR, NULL), 0);
	for (int i = 0; i < N_EVENTS; i++)
		log_write_event(NULL, LOG_INFO, &(struct log_about){.event = "start"});
	n_dropped = log_n_dropped() - n_before;
	assert_in_range(n_dropped, N_EVENTS - 769, N_EVENTS - 768);
	for (int i = 0; i < N_MESSAGES; i++)
		log_write(LOG_INFO, NULL, "message");
	assert_int_equal(log_n_dropped() - n_before, n_dropped);

	skip_bytes(capture.reader, n_fill);
	log_close(LONG_ENOUGH_USEC);
	capture_end(&capture);
	text = capture_read(&capture);
	assert_int_equal(count_of(text, "usherd: event=start\n"), N_EVENTS - n_dropped);
	assert_int_equal(count_of(text, "usherd: message\n"), N_MESSAGES);
	free(text);
}

static void test_wait_is_for_all_that_was_said(void **state)
{
	struct capture capture;
	char *text;

	(void)state;
	log_wait(LONG_ENOUGH_USEC); /* not open: nothing to wait for */
	capture_begin(&capture);
	assert_int_equal(log_open(LOG_TO_STDERR, NULL), 0);
	for (int i = 0; i < 100; i++)
		log_write(LOG_INFO, NULL, "message %d", i);
	log_wait(LONG_ENOUGH_USEC);
	capture_end(&capture);
	text = capture_read(&capture);
	assert_non_null(strstr(text, "usherd: message 99\n"));
	free(text);
	log_close(LONG_ENOUGH_USEC);
}

static void test_close_gives_up_at_its_deadline(void **state)
{
	struct capture capture;
	struct timespec begin, end;
	size_t n_fill;
	char *text;
	int r;

	(void)state;
	capture_begin(&capture);
	n_fill = capture_fill();
	assert_int_equal(log_open(LOG_TO_STDERR, NULL), 0);
	log_write(LOG_INFO, NULL, "stuck");
	clock_gettime(CLOCK_MONOTONIC, &begin);
	log_close(SECOND_USEC / 20);
	clock_gettime(CLOCK_MONOTONIC, &end);
	assert_in_range(
		(end.tv_sec - begin.tv_sec) * 1000 + (end.tv_nsec - begin.tv_nsec) / 1000000, 49,
		10000);
	log_write(LOG_INFO, NULL, "dropped: writing directly would block");
	assert_int_equal(log_open(LOG_TO_STDERR, NULL), -EBUSY);

	skip_bytes(capture.reader, n_fill);
	skip_bytes(capture.reader, strlen("usherd: stuck\n"));
	do
		r = log_open(LOG_TO_STDERR, NULL);
	while (r == -EBUSY && sched_yield() == 0);
	assert_int_equal(r, 0);
	log_write(LOG_INFO, NULL, "again");
	log_close(LONG_ENOUGH_USEC);
	capture_end(&capture);
	text = capture_read(&capture);
	assert_non_null(strstr(text, "messages dropped: 1 ("));
	assert_non_null(strstr(text, "usherd: again\n"));
	free(text);
}

static void test_reader_that_went_away_is_survived(void **state)
{
	struct capture capture;
	uint64_t n_before = log_n_dropped();
	char *text;

	(void)state;
	capture_begin(&capture);
	close_fd(capture.reader);
	assert_int_equal(log_open(LOG_TO_STDERR, NULL), 0);
	log_write(LOG_INFO, NULL, "nobody reads this");
	log_close(LONG_ENOUGH_USEC);
	assert_int_equal(log_n_dropped() - n_before, 1);
	capture_end(&capture);

	capture_begin(&capture);
	assert_int_equal(log_open(LOG_TO_STDERR, NULL), 0);
	log_write(LOG_INFO, NULL, "news");
	log_close(LONG_ENOUGH_USEC);
	capture_end(&capture);
	text = capture_read(&capture);
	assert_int_equal(count_of(text, "usherd: news\n"), 1);
	assert_int_equal(
		count_of(text, "usherd: warning: messages dropped: 1 (the log was not being "
			       "read, or could not be written) [reason=messages-dropped]\n"),
		1);
	free(text);
}

/* Each reason has a few messages, and then only a number. */
static void test_what_others_cause_is_limited(void **state)
{
	struct log_about about = about_everything;
	struct capture capture;
	char *text;

	(void)state;
	about.provider_pid = 0; /* whether or not it is a process's doing */
	about.reason = "storm";
	capture_begin(&capture);
	assert_int_equal(log_open(LOG_TO_STDERR, NULL), 0);
	for (int i = 0; i < 1000; i++)
		log_write(LOG_INFO, &about, "message");
	about.reason = "calm";
	log_write(LOG_INFO, &about, "message");
	about.reason = "config"; /* the administrator's doing: never left out */
	for (int i = 0; i < 100; i++)
		log_write(LOG_INFO, &about, "message");
	log_close(LONG_ENOUGH_USEC);
	capture_end(&capture);
	text = capture_read(&capture);
	assert_int_equal(count_of(text, "usherd: message [service=echo"), LOG_LIMIT_BURST + 101);
	assert_int_equal(count_of(text, "reason=storm"), LOG_LIMIT_BURST + 1);
	assert_non_null(strstr(text, "usherd: echo: 980 more messages with the reason storm were "
				     "left out [service=echo reason=storm more=980]\n"));
	assert_int_equal(count_of(text, "reason=calm"), 1);
	assert_int_equal(count_of(text, "reason=config"), 100);
	free(text);
}

static void *write_some(void *unused)
{
	(void)unused;
	for (int i = 0; i < 100; i++)
		log_write(LOG_INFO, &(struct log_about){.service = "echo"}, "message");
	return NULL;
}

static void test_many_threads_write_whole_lines(void **state)
{
	enum { N_THREADS = 8 };
	pthread_t threads[N_THREADS];
	struct capture capture;
	char *text;

	(void)state;
	capture_begin(&capture);
	fcntl(capture.reader, F_SETPIPE_SZ, 1 << 20);
	assert_int_equal(log_open(LOG_TO_STDERR, NULL), 0);
	for (size_t i = 0; i < N_THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, write_some, NULL), 0);
	for (size_t i = 0; i < 20; i++)
		assert_int_equal(log_open(LOG_TO_STDERR, NULL), 0);
	for (size_t i = 0; i < N_THREADS; i++)
		pthread_join(threads[i], NULL);
	log_close(LONG_ENOUGH_USEC);
	capture_end(&capture);
	text = capture_read(&capture);
	assert_int_equal(count_of(text, "\n"), N_THREADS * 100);
	assert_int_equal(count_of(text, "usherd: message [service=echo"), N_THREADS * 100);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_test(test_line_has_level_sentence_and_fields),
		check_test(test_record_has_the_fields_of_the_journal),
		check_test(test_fields_that_are_zero_are_left_out),
		check_test(test_longest_record_fits),
		check_test(test_lines_cannot_be_forged),
		check_test(test_text_that_is_not_utf8_is_escaped),
		check_test(test_long_message_is_cut_between_characters),
		check_test(test_errno_is_kept),
		check_test(test_echo_goes_to_stderr_beside_the_log),
		check_test(test_echo_says_nothing_twice),
		check_test(test_writes_directly_while_not_open),
		check_test(test_priorities_are_prefixes_in_a_journal_stream),
		check_test_if(is_without_journal(), test_journal_falls_back_to_stderr),
		check_test(test_file_is_appended_dated_and_opened_anew),
		check_test(test_target_that_cannot_be_opened_leaves_the_old_one),
		check_test(test_full_pipe_blocks_nobody_and_drops_are_reported),
		check_test(test_events_leave_room_for_messages),
		check_test(test_wait_is_for_all_that_was_said),
		check_test(test_close_gives_up_at_its_deadline),
		check_test(test_reader_that_went_away_is_survived),
		check_test(test_what_others_cause_is_limited),
		check_test(test_many_threads_write_whole_lines),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
