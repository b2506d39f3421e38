/* SPDX-License-Identifier: MIT */
/* Which variables stay, in an environment of the test's own. */
#include "environment.h"
#include "test.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char **real;

static void put_back(void)
{
	environ = real;
}

static void begin(char **variables)
{
	real = environ;
	environ = variables;
	test_at_end(put_back);
}

static void test_others_are_removed_and_overwritten(void **state)
{
	char secret[] = "PASSWORD=swordfish", zone[] = "TZ=UTC", like_it[] = "TZX=1",
	     notify[] = "NOTIFY_SOCKET=/run/x", home[] = "HOME=/root", ours[] = "USHER_RUN_DIR=/x";
	char *variables[] = {secret, zone, like_it, notify, home, ours, NULL};

	(void)state;
	begin(variables);
	environment_clear();
	assert_ptr_equal(environ[0], zone);
	assert_ptr_equal(environ[1], notify);
	assert_null(environ[2]);
	for (size_t i = 0; i < sizeof(secret); i++)
		assert_int_equal(secret[i], '\0');
	assert_string_equal(home, "");
}

static void test_those_of_the_service_manager_and_of_an_upgrade_stay(void **state)
{
	char variables[][32] = {"FDSTORE=10", "JOURNAL_STREAM=1:2", "LISTEN_FDS=1", "LISTEN_PID=2",
		"LISTEN_FDNAMES=a", "NOTIFY_SOCKET=@a", "WATCHDOG_USEC=1", "WATCHDOG_PID=1",
		"USHER_STATE_FD=5", "LD_LIBRARY_PATH=/opt/lib", "TZ=UTC"};
	enum { N = sizeof(variables) / sizeof(variables[0]) };
	char *pointers[N + 1] = {NULL};

	(void)state;
	for (size_t i = 0; i < N; i++)
		pointers[i] = variables[i];
	begin(pointers);
	environment_clear();
	for (size_t i = 0; i < N; i++)
		assert_ptr_equal(environ[i], variables[i]);
	assert_null(environ[N]);
}

static void test_there_may_be_none(void **state)
{
	char *variables[] = {NULL};

	(void)state;
	begin(variables);
	environment_clear();
	assert_null(environ[0]);
	environ = NULL;
	environment_clear();
	assert_null(environ);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_test(test_others_are_removed_and_overwritten),
		check_test(test_those_of_the_service_manager_and_of_an_upgrade_stay),
		check_test(test_there_may_be_none),
	};

	return cmocka_run_group_tests_name("environment", tests, NULL, NULL);
}
