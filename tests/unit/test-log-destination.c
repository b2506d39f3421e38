/* SPDX-License-Identifier: MIT */
/*
 * Files of events: limits, rotation, faults.
 *
 * The test does the work of the log's thread. Messages that are logged meanwhile are kept in
 * `told`.
 */
#include "log-destination.h"
#include "log.h"
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Of one line: 2026-11-21T18:40:12.123456+0100 usherd[N]: event=start service=NAME */
#define TIME_LENGTH 31

static char folder[] = "/tmp/usher-destination-XXXXXX";
static char told[2048];

/* Faults: what write(2) and open(2) do next. */
static int write_error, open_error;
static size_t write_at_most;

ssize_t __real_write(int fd, const void *bytes, size_t n);
ssize_t __wrap_write(int fd, const void *bytes, size_t n);
ssize_t __wrap_write(int fd, const void *bytes, size_t n)
{
	if (write_at_most > 0) {
		n = n < write_at_most ? n : write_at_most;
		write_at_most = 0;
	} else if (write_error != 0) {
		errno = write_error;
		return -1;
	}
	return __real_write(fd, bytes, n);
}

int __real_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...)
{
	if (open_error != 0) {
		errno = open_error;
		return -1;
	}
	return __real_open64(path, flags, 0640);
}

void __wrap_log_write(int priority, const struct log_about *about, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
void __wrap_log_write(int priority, const struct log_about *about, const char *format, ...)
{
	size_t length = strlen(told);
	va_list arguments;

	length += (size_t)snprintf(
		told + length, sizeof(told) - length, "<%d> %s: ", priority, about->reason);
	va_start(arguments, format);
	length += (size_t)vsnprintf(told + length, sizeof(told) - length, format, arguments);
	va_end(arguments);
	snprintf(told + length, sizeof(told) - length, "\n");
}

/* Good until the next call but one. */
static const char *in_folder(const char *name)
{
	static char paths[2][128];
	static int turn;
	char *path = paths[turn = !turn];

	snprintf(path, sizeof(paths[0]), "%s/%s", folder, name);
	return path;
}

/* This was logged, with the path between, and nothing else; NULL: nothing was. */
static void assert_told(const char *before, const char *after)
{
	char expected[2048] = "";

	if (before)
		snprintf(expected, sizeof(expected), "%s%s%s\n", before, in_folder("log"), after);
	assert_string_equal(told, expected);
	told[0] = '\0';
}

/* The file without the times and process ids: "start service=a\n..." */
static const char *contents(const char *name)
{
	static char text[4096];
	char line[1024];
	FILE *file = fopen(in_folder(name), "re");

	text[0] = '\0';
	assert_non_null(file);
	while (fgets(line, sizeof(line), file)) {
		const char *event = strstr(line, "event=");

		strcat(text, event && event - line > TIME_LENGTH ? event + strlen("event=") : line);
	}
	fclose(file);
	return text;
}

static size_t size_of(const char *name)
{
	struct stat status;

	assert_int_equal(stat(in_folder(name), &status), 0);
	return (size_t)status.st_size;
}

static bool write_event(struct log_destination *d, const char *service)
{
	char text[LOG_RECORD_TEXT_MAX];
	struct log_record record;

	log_record_init_event(
		&record, text, LOG_INFO, &(struct log_about){.event = "start", .service = service});
	return log_destination_write(d, &record, log_write);
}

static struct log_destination *open_log(uint64_t soft_bytes, uint64_t hard_bytes)
{
	struct log_destination *d;

	assert_int_equal(log_destination_new_file(&d, in_folder("log"), soft_bytes, hard_bytes), 0);
	return d;
}

/* Bytes of one line with a service of one letter. */
static size_t line_size(void)
{
	struct log_destination *d = open_log(0, 0);
	size_t size;

	(void)write_event(d, "x");
	size = size_of("log");
	assert_int_equal(unlink(in_folder("log")), 0);
	log_destination_unref(d);
	return size;
}

static int begin(void **state)
{
	(void)state;
	return mkdtemp(folder) ? 0 : -1;
}

static int end(void **state)
{
	static const char *const names[] = {"log", "log.1", "link", "fifo"};

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		(void)unlink(in_folder(names[i]));
	return rmdir(folder);
}

static void test_lines_are_appended(void **state)
{
	struct log_destination *d = open_log(0, 0);
	struct stat status;

	(void)state;
	assert_true(write_event(d, "a"));
	log_destination_unref(d);
	d = open_log(0, 0);
	assert_true(write_event(d, "b"));
	assert_string_equal(contents("log"), "start service=a\nstart service=b\n");
	assert_int_equal(stat(in_folder("log"), &status), 0);
	assert_int_equal(status.st_mode & 07777, 0640);
	assert_told(NULL, NULL);
	log_destination_unref(d);
	unlink(in_folder("log"));
}

static void test_only_a_regular_file_is_taken(void **state)
{
	struct log_destination *d;

	(void)state;
	assert_int_equal(symlink("/dev/null", in_folder("link")), 0);
	assert_int_equal(log_destination_new_file(&d, in_folder("link"), 0, 0), -ELOOP);
	assert_int_equal(mkfifo(in_folder("fifo"), 0600), 0);
	assert_int_equal(log_destination_new_file(&d, in_folder("fifo"), 0, 0), -ENXIO);
	assert_int_equal(log_destination_new_file(&d, "/dev/null", 0, 0), -EINVAL);
	assert_int_equal(log_destination_new_file(&d, folder, 0, 0), -EISDIR);
	open_error = EACCES;
	assert_int_equal(log_destination_new_file(&d, in_folder("log"), 0, 0), -EACCES);
	open_error = 0;
}

static void test_soft_limit_warns_once(void **state)
{
	size_t size = line_size();
	struct log_destination *d = open_log(2 * size, 0);

	(void)state;
	assert_true(write_event(d, "a"));
	assert_true(write_event(d, "b"));
	assert_told(NULL, NULL);
	assert_true(write_event(d, "c"));
	assert_true(strstr(told, "<1> log-soft-limit: ") == told);
	told[0] = '\0';
	assert_true(write_event(d, "d"));
	assert_told(NULL, NULL);
	assert_int_equal(size_of("log"), 4 * size);

	assert_int_equal(truncate(in_folder("log"), 0), 0);
	for (int i = 0; i < 3; i++)
		assert_true(write_event(d, "e"));
	assert_true(strstr(told, "<1> log-soft-limit: ") == told); /* again */
	told[0] = '\0';
	log_destination_unref(d);
	unlink(in_folder("log"));
}

static void test_hard_limit_is_never_passed_and_left_when_truncated(void **state)
{
	size_t size = line_size();
	struct log_destination *d = open_log(0, 2 * size + 1);
	char tail[128];

	(void)state;
	for (int i = 0; i < 5; i++)
		assert_true(write_event(d, "a"));
	assert_int_equal(size_of("log"), 2 * size);
	snprintf(tail, sizeof(tail),
		" has reached its hard limit of %zu bytes: connections are not logged there until "
		"it is rotated",
		2 * size + 1);
	assert_told("<1> log-hard-limit: ", tail);

	assert_int_equal(truncate(in_folder("log"), 0), 0);
	assert_true(write_event(d, "b"));
	assert_told(
		"<5> log-hard-limit: ", " is below its hard limit again: 3 lines were left out");
	assert_string_equal(contents("log"), "start service=b\n");
	log_destination_unref(d);
	unlink(in_folder("log"));
}

static void test_full_file_that_was_renamed_is_made_anew(void **state)
{
	size_t size = line_size();
	struct log_destination *d = open_log(0, size);

	(void)state;
	assert_true(write_event(d, "a"));
	assert_true(write_event(d, "b"));
	told[0] = '\0';
	assert_int_equal(rename(in_folder("log"), in_folder("log.1")), 0);
	assert_true(write_event(d, "c"));
	assert_told(
		"<5> log-hard-limit: ", " is below its hard limit again: 1 lines were left out");
	assert_string_equal(contents("log"), "start service=c\n");
	assert_string_equal(contents("log.1"), "start service=a\n");
	log_destination_unref(d);
	unlink(in_folder("log"));
	unlink(in_folder("log.1"));
}

static void test_link_in_the_place_of_the_file_is_not_followed(void **state)
{
	size_t size = line_size();
	struct log_destination *d = open_log(0, size);

	(void)state;
	assert_true(write_event(d, "a"));
	assert_int_equal(unlink(in_folder("log")), 0);
	assert_int_equal(symlink(in_folder("log.1"), in_folder("log")), 0);
	assert_false(write_event(d, "b"));
	assert_true(strstr(told, "<3> log-failed: ") == told);
	told[0] = '\0';
	assert_int_equal(access(in_folder("log.1"), F_OK), -1);
	unlink(in_folder("log"));
	log_destination_unref(d);
}

static void test_file_that_was_removed_is_made_anew(void **state)
{
	struct log_destination *d = open_log(0, 0);

	(void)state;
	assert_true(write_event(d, "a"));
	assert_int_equal(unlink(in_folder("log")), 0);
	assert_true(write_event(d, "b"));
	assert_string_equal(contents("log"), "start service=b\n");
	assert_told(NULL, NULL);
	log_destination_unref(d);
	unlink(in_folder("log"));
}

static void test_removed_file_that_cannot_be_made_is_told_once(void **state)
{
	struct log_destination *d = open_log(0, 0);

	(void)state;
	assert_int_equal(unlink(in_folder("log")), 0);
	open_error = EACCES;
	assert_false(write_event(d, "a"));
	assert_told("<3> log-failed: cannot write to ",
		": Permission denied; connections are not logged until usherd can");
	assert_false(write_event(d, "b"));
	assert_told(NULL, NULL);
	open_error = 0;
	assert_true(write_event(d, "c"));
	assert_string_equal(contents("log"), "start service=c\n");
	log_destination_unref(d);
	unlink(in_folder("log"));
}

/* What was cut off stays a line of its own: no other line begins within it. */
static void test_full_disk_in_the_middle_of_a_line(void **state)
{
	struct log_destination *d = open_log(0, 0);

	(void)state;
	write_at_most = 10;
	write_error = ENOSPC;
	assert_false(write_event(d, "a"));
	assert_told("<3> log-failed: cannot write to ",
		": No space left on device; connections are not logged until usherd can");
	assert_false(write_event(d, "b"));
	assert_told(NULL, NULL);
	write_error = 0;
	assert_true(write_event(d, "c"));
	assert_true(write_event(d, "d"));
	assert_string_equal(contents("log") + 11, "start service=c\nstart service=d\n");
	log_destination_unref(d);
	unlink(in_folder("log"));
}

static void test_last_reference_closes(void **state)
{
	struct log_destination *d = open_log(0, 0), *other = log_destination_ref(d);

	(void)state;
	assert_ptr_equal(other, d);
	assert_null(log_destination_unref(d));
	assert_true(write_event(other, "a"));
	assert_null(log_destination_unref(other));
	assert_null(log_destination_ref(NULL));
	assert_null(log_destination_unref(NULL));
	unlink(in_folder("log"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_test(test_lines_are_appended),
		check_test(test_only_a_regular_file_is_taken),
		check_test(test_soft_limit_warns_once),
		check_test(test_hard_limit_is_never_passed_and_left_when_truncated),
		check_test(test_full_file_that_was_renamed_is_made_anew),
		check_test(test_link_in_the_place_of_the_file_is_not_followed),
		check_test(test_file_that_was_removed_is_made_anew),
		check_test(test_removed_file_that_cannot_be_made_is_told_once),
		check_test(test_full_disk_in_the_middle_of_a_line),
		check_test(test_last_reference_closes),
	};

	return cmocka_run_group_tests(tests, begin, end);
}
