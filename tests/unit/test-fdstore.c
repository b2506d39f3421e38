/* SPDX-License-Identifier: MIT */
/* What the service manager is told about sockets that it shall keep, and their names. */
#include "fd.h"
#include "fdstore.h"
#include "manager.h"
#include "notify.h"
#include "test.h"
#include "wire.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LONG_ENOUGH_USEC (30 * UINT64_C(1000000))

static const char *const longest_service =
	"123456789012345678901234567890123456789012345678901234567890123";

static void end(struct manager *m)
{
	assert_true(notify_stop(LONG_ENOUGH_USEC));
	manager_end(m);
}

/* The next message wants the socket at the other end of `fd` to be kept under that name. */
static void assert_stores(
	struct manager *m, int fd, const char *kind, uint32_t number, const char *service)
{
	char expected[256], byte;
	int stored_fd;

	snprintf(expected, sizeof(expected), "FDSTORE=1\nFDPOLL=0\nFDNAME=%s.%u.%s", kind, number,
		service);
	assert_string_equal(manager_next_with_fd(m, &stored_fd), expected);
	assert_int_equal(write(stored_fd, "!", 1), 1);
	assert_int_equal(read(fd, &byte, 1), 1);
	close_fd(stored_fd);
}

static void test_each_kind_is_stored_under_a_name_of_its_own(void **state)
{
	uint32_t first, second, third;
	struct manager manager;
	int fds[2];

	(void)state;
	manager_start(&manager);
	test_socketpair(fds);
	first = fdstore_add(FDSTORE_LISTENER, "one", fds[0]);
	second = fdstore_add(FDSTORE_RENDEZVOUS, "one", fds[0]);
	third = fdstore_add(FDSTORE_PARKING, longest_service, fds[0]);
	assert_int_not_equal(first, 0);
	assert_true(second > first && third > second);
	assert_stores(&manager, fds[1], "listener", first, "one");
	assert_stores(&manager, fds[1], "rendezvous", second, "one");
	assert_stores(&manager, fds[1], "parking", third, longest_service);
	close_fd(fds[0]);
	close_fd(fds[1]);
	end(&manager);
}

static void test_removal_goes_by_name(void **state)
{
	struct manager manager;

	(void)state;
	manager_start(&manager);
	assert_false(fdstore_remove(FDSTORE_PARKING, "a.b-c", 4294967294u));
	assert_string_equal(
		manager_next(&manager), "FDSTOREREMOVE=1\nFDNAME=parking.4294967294.a.b-c");
	end(&manager);
}

static void test_what_is_not_stored_is_not_removed(void **state)
{
	struct manager manager;

	(void)state;
	manager_start(&manager);
	assert_false(fdstore_remove(FDSTORE_LISTENER, "one", 0));
	assert_true(notify_send("STATUS=next"));
	assert_string_equal(manager_next(&manager), "STATUS=next");
	end(&manager);
}

static void test_without_a_manager_nothing_is_stored(void **state)
{
	(void)state;
	unsetenv("NOTIFY_SOCKET");
	assert_int_equal(fdstore_add(FDSTORE_LISTENER, "one", STDIN_FILENO), 0);
}

static void test_with_a_manager_that_keeps_none_nothing_is_stored(void **state)
{
	struct manager manager;

	(void)state;
	manager_start(&manager);
	setenv("FDSTORE", "0", true);
	assert_int_equal(fdstore_add(FDSTORE_LISTENER, "one", STDIN_FILENO), 0);
	unsetenv("FDSTORE");
	assert_int_equal(fdstore_add(FDSTORE_LISTENER, "one", STDIN_FILENO), 0);
	assert_true(notify_send("STATUS=next"));
	assert_string_equal(manager_next(&manager), "STATUS=next");
	end(&manager);
}

static void test_what_the_manager_could_not_be_told_is_not_stored(void **state)
{
	uint64_t n_dropped = notify_n_dropped();
	struct manager manager;

	(void)state;
	manager_start(&manager);
	assert_int_equal(fdstore_add(FDSTORE_LISTENER, "one", INT_MAX), 0);
	assert_int_equal(notify_n_dropped(), n_dropped + 1);
	end(&manager);
}

static void test_numbers_begin_above_those_that_were_found(void **state)
{
	uint32_t before, after;
	struct manager manager;
	int fd;

	(void)state;
	manager_start(&manager);
	before = fdstore_add(FDSTORE_LISTENER, "one", STDIN_FILENO);
	fdstore_found(before + 1000);
	fdstore_found(before + 1); /* a smaller one changes nothing */
	after = fdstore_add(FDSTORE_LISTENER, "one", STDIN_FILENO);
	assert_int_equal(after, before + 1001);
	for (int i = 0; i < 2; i++) {
		(void)manager_next_with_fd(&manager, &fd);
		close_fd(fd);
	}
	end(&manager);
}

static void test_names_are_read_back(void **state)
{
	static const char *const kinds[] = {"listener", "rendezvous", "parking"};
	char name[FDSTORE_NAME_SIZE], service[WIRE_NAME_SIZE];
	enum fdstore_kind kind;
	uint32_t number;

	(void)state;
	for (unsigned int i = 0; i < FDSTORE_N_KINDS; i++) {
		snprintf(name, sizeof(name), "%s.%u.%s", kinds[i], FDSTORE_OF_UNIT - 1 - i,
			longest_service);
		assert_true(fdstore_parse_name(name, &kind, &number, service));
		assert_int_equal(kind, i);
		assert_int_equal(number, FDSTORE_OF_UNIT - 1 - i);
		assert_string_equal(service, longest_service);
	}
	assert_true(fdstore_parse_name("listener.1.a.2.b", &kind, &number, service));
	assert_int_equal(number, 1);
	assert_string_equal(service, "a.2.b");
}

static void test_names_of_others_are_none_of_ours(void **state)
{
	static const char *const names[] = {
		"",
		"stored",
		"listener",
		"listener.",
		"listener.1",
		"listener.1.",
		"listener..one",
		"listener.0.one",
		"listener.01.one",
		"listener.-1.one",
		"listener.+1.one",
		"listener. 1.one",
		"listener.1x.one",
		"listener.4294967296.one",
		"listener.99999999999999999999999.one",
		"listeners.1.one",
		"listener:1.one",
		"Listener.1.one",
		"socket.1.one",
		"listener.1.1234567890123456789012345678901234567890123456789012345678901234",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		char service[WIRE_NAME_SIZE] = "unchanged";
		enum fdstore_kind kind = FDSTORE_PARKING;
		uint32_t number = 42;

		assert_false(fdstore_parse_name(names[i], &kind, &number, service));
		assert_int_equal(kind, FDSTORE_PARKING);
		assert_int_equal(number, 42);
		assert_string_equal(service, "unchanged");
	}
}

/* The last test: there is no way back. */
static void test_frozen_store_keeps_what_it_has(void **state)
{
	struct manager manager;

	(void)state;
	manager_start(&manager);
	fdstore_freeze();
	assert_true(fdstore_remove(FDSTORE_LISTENER, "one", 1));
	assert_false(fdstore_remove(FDSTORE_LISTENER, "one", 0));
	assert_true(notify_send("STATUS=next"));
	assert_string_equal(manager_next(&manager), "STATUS=next");
	end(&manager);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_test(test_each_kind_is_stored_under_a_name_of_its_own),
		check_test(test_removal_goes_by_name),
		check_test(test_what_is_not_stored_is_not_removed),
		check_test(test_without_a_manager_nothing_is_stored),
		check_test(test_with_a_manager_that_keeps_none_nothing_is_stored),
		check_test(test_what_the_manager_could_not_be_told_is_not_stored),
		check_test(test_numbers_begin_above_those_that_were_found),
		check_test(test_names_are_read_back),
		check_test(test_names_of_others_are_none_of_ours),
		check_test(test_frozen_store_keeps_what_it_has),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
