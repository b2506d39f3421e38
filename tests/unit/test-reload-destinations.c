/* SPDX-License-Identifier: MIT */
/* reload-destinations: who shares a file, and what happens when one cannot be opened. */
#include "loop.h"
#include "reload-destinations.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

#define N 4

static struct config_service services[N];
static const struct config_service *configs[N];
static char names[N][2] = {"a", "b", "c", "d"};
static int n_until_failure;

void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size)
{
	return n_until_failure > 0 && --n_until_failure == 0 ? NULL : __real_calloc(n, size);
}

static void set_file(size_t i, const char *path, uint64_t hard_bytes)
{
	services[i].log.type = (struct config_log_type){
		.type = CONFIG_LOG_TYPE_FILE, .path = strdup(path), .hard_bytes = hard_bytes};
	assert_non_null(services[i].log.type.path);
}

static void begin_test(void)
{
	n_until_failure = 0;
	for (size_t i = 0; i < N; i++) {
		services[i] = (struct config_service){
			.name = names[i], .file = "c.conf", .line = (int)i + 1};
		configs[i] = &services[i];
	}
}

static void end_test(struct log_destination **destinations)
{
	for (size_t i = 0; i < N; i++) {
		log_destination_unref(destinations[i]);
		free(services[i].log.type.path);
	}
	free(destinations);
}

static void test_same_file_with_same_limits_is_shared(void **state)
{
	struct config_errors errors = {0};
	struct log_destination **d;

	(void)state;
	begin_test();
	set_file(0, in_folder("one"), 1000);
	set_file(2, in_folder("one"), 1000);
	set_file(3, in_folder("one"), 2000);
	assert_int_equal(reload_open_destinations(configs, N, &d, &errors), 0);
	assert_int_equal(errors.n_lines, 0);
	assert_non_null(d[0]);
	assert_null(d[1]);
	assert_ptr_equal(d[2], d[0]);
	assert_non_null(d[3]);
	assert_ptr_not_equal(d[3], d[0]);
	end_test(d);
}

static void test_syslog_is_shared_by_facility_and_level(void **state)
{
	struct config_errors errors = {0};
	struct log_destination **d;

	(void)state;
	begin_test();
	for (size_t i = 0; i < N; i++)
		services[i].log.type = (struct config_log_type){
			.type = CONFIG_LOG_TYPE_SYSLOG, .facility = LOG_DAEMON, .level = LOG_INFO};
	services[2].log.type.level = LOG_NOTICE;
	services[3].log.type.facility = LOG_LOCAL0;
	assert_int_equal(reload_open_destinations(configs, N, &d, &errors), 0);
	assert_ptr_equal(d[1], d[0]);
	assert_ptr_not_equal(d[2], d[0]);
	assert_ptr_not_equal(d[3], d[0]);
	assert_ptr_not_equal(d[3], d[2]);
	end_test(d);
}

static void test_files_that_cannot_be_opened_are_errors_with_a_place(void **state)
{
	struct config_errors errors = {0};
	struct log_destination **d;
	char expected[512];

	(void)state;
	begin_test();
	set_file(0, in_folder("one"), 0);
	set_file(1, "/dev/null", 0);
	set_file(3, in_folder("nowhere/log"), 0);
	assert_int_equal(reload_open_destinations(configs, N, &d, &errors), 0);
	assert_int_equal(errors.n_lines, 2);
	snprintf(expected, sizeof(expected),
		"c.conf:2: service 'b' cannot log to /dev/null: it is no regular file; usherd, as "
		"uid %u, must be able to write to the file and to its folder",
		geteuid());
	assert_string_equal(errors.lines[0], expected);
	assert_non_null(strstr(errors.lines[1], "c.conf:4: service 'd' cannot log to "));
	assert_non_null(strstr(errors.lines[1], ": No such file or directory; "));
	config_errors_done(&errors);
	end_test(d);
}

/* Said once for all who share it; those of usher.conf among them make it an error. */
static void test_file_of_foreign_services_is_a_warning(void **state)
{
	struct config_errors errors = {0};
	struct log_destination **d;
	char expected[512];

	(void)state;
	begin_test();
	for (size_t i = 0; i < N; i++) {
		set_file(i, i < 2 ? "/dev/null" : in_folder("nowhere/log"), 0);
		services[i].is_foreign = i < 3;
	}
	assert_int_equal(reload_open_destinations(configs, N, &d, &errors), 0);
	assert_int_equal(errors.n_warnings, 1);
	snprintf(expected, sizeof(expected),
		"c.conf:1: warning: service 'a' cannot log to /dev/null: it is no regular file; who "
		"names this file logs where usherd does until a reload finds that usherd, as uid %u, can write to "
		"the file and to its folder: name a file in a folder of this user (LogsDirectory= "
		"of systemd.exec(5)), or give him both (chown(1))",
		geteuid());
	assert_string_equal(errors.warnings[0], expected);
	assert_int_equal(errors.n_lines, 1);
	assert_non_null(strstr(errors.lines[0], "c.conf:4: service 'd' cannot log to "));
	for (size_t i = 0; i < N; i++)
		assert_null(d[i]);
	config_errors_done(&errors);
	end_test(d);
}

static void test_out_of_memory(void **state)
{
	struct config_errors errors = {0};
	struct log_destination **d = NULL;
	int n = 0, r;

	(void)state;
	begin_test();
	set_file(0, in_folder("one"), 0);
	set_file(1, in_folder("two"), 0);
	do {
		n_until_failure = ++n;
		r = reload_open_destinations(configs, N, &d, &errors);
		assert_true(r == 0 || (r == -ENOMEM && !d));
	} while (r < 0);
	assert_int_equal(n, 5); /* two lists, two destinations */
	n_until_failure = 0;
	end_test(d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_loop_test(test_same_file_with_same_limits_is_shared),
		check_loop_test(test_syslog_is_shared_by_facility_and_level),
		check_loop_test(test_files_that_cannot_be_opened_are_errors_with_a_place),
		check_loop_test(test_file_of_foreign_services_is_a_warning),
		check_loop_test(test_out_of_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
