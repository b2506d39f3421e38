/* SPDX-License-Identifier: MIT */
/* libusher: making a registration, and keeping it. */
#include "fake-usherd.h"
#include "fd.h"
#include "test.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

/* --- options --- */

static void test_options_out_of_range_are_refused(void **state)
{
	const char long_name[] = "0123456789012345678901234567890123456789012345678901234567890123";
	const size_t size = sizeof(struct usher_options);
	const struct usher_options bad[] = {
		{.size = 0},
		{.size = size - 1},
		{.size = size, .flags = 8},
		{.size = size, .credit = (1 << 20) + 1},
		{.size = size, .weight = 1001},
		{.size = size, .name = long_name},
	};
	struct usher *u;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(usher_new(&u, "test", &bad[i]), -EINVAL);
}

static void test_options_of_a_later_version_only_if_zero(void **state)
{
	struct {
		struct usher_options options;
		uint64_t later;
	} later = {.options.size = sizeof(later), .later = 1};
	struct usher *u;

	(void)state;
	assert_int_equal(usher_new(&u, "test", &later.options), -E2BIG);
	later.later = 0;
	assert_int_equal(usher_new(&u, "test", &later.options), 0);
	usher_free(u);
}

static void test_bad_service_names_are_refused(void **state)
{
	static const char *const bad[] = {"", ".", ".hidden", "with space", "caf\303\251", "a\nb"};
	char too_long[200];
	struct usher *u;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(usher_new(&u, bad[i], NULL), -EINVAL);
	memset(too_long, 'a', sizeof(too_long) - 1);
	too_long[sizeof(too_long) - 1] = '\0';
	assert_int_equal(usher_new(&u, too_long, NULL), -ENAMETOOLONG);
	too_long[1] = '/';
	assert_int_equal(usher_new(&u, too_long, NULL), -ENAMETOOLONG);
}

static void test_service_may_be_a_path(void **state)
{
	const struct usher_options options = {.size = sizeof(options), .flags = USHER_NONBLOCK};
	struct usher *u;

	(void)state;
	unsetenv("USHER_RUN_DIR");
	assert_int_equal(usher_new(&u, fake.path, &options), 0);
	assert_nothing_to_accept(u);
	fake_accept();
	usher_free(u);
}

static void test_unknown_flags_of_accept_are_refused(void **state)
{
	struct usher *u = new_usher(0);
	struct usher_connection connection;

	(void)state;
	assert_int_equal(usher_accept(u, &connection, 1), -EINVAL);
	assert_int_equal(usher_accept(u, &connection, SOCK_CLOEXEC), -EAGAIN);
	assert_null(usher_free(u));
	assert_null(usher_free(NULL));
}

/* --- registering --- */

static void test_hello_says_what_was_asked(void **state)
{
	const struct usher_options options = {.size = sizeof(options),
		.flags = USHER_NONBLOCK,
		.credit = 7,
		.weight = 3,
		.name = "caf\303\251\n"};
	const struct wire_hello *hello = &fake.message->hello;
	struct usher *u;

	(void)state;
	assert_int_equal(usher_new(&u, "test", &options), 0);
	wait_readable(usher_fd(u)); /* from the start: a loop needs no first call */
	assert_nothing_to_accept(u);
	fake_accept();
	assert_int_equal(hello->version_lowest, 1);
	assert_int_equal(hello->version_highest, 1);
	assert_int_equal(hello->credit, 7);
	assert_int_equal(hello->weight, 3);
	assert_int_equal(hello->holding, 0);
	assert_string_equal(hello->name, "caf\303\251?");
	usher_free(u);
}

static void test_default_credit_leaves_descriptors_for_others(void **state)
{
	static const struct {
		rlim_t limit;
		int32_t credit;
	} cases[] = {{4096, 1024}, {2048, 1024}, {2047, 1023}, {1024, 512}, {65, 32}};
	struct rlimit old, limit;

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	limit.rlim_max = old.rlim_max;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct usher *u;

		limit.rlim_cur = cases[i].limit;
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
		u = new_usher(0);
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
		assert_nothing_to_accept(u);
		fake_accept();
		assert_int_equal(fake.message->hello.credit, cases[i].credit);
		usher_free(u);
	}
}

static void test_hello_has_defaults(void **state)
{
	const struct usher_options options = {.size = sizeof(options), .flags = USHER_NONBLOCK};
	struct usher *u;

	(void)state;
	assert_int_equal(usher_new(&u, "test", &options), 0);
	assert_nothing_to_accept(u);
	fake_accept();
	assert_int_equal(fake.message->hello.weight, 1);
	assert_string_equal(fake.message->hello.name, program_invocation_short_name);
	usher_free(u);
}

static void test_registered_with_the_welcome(void **state)
{
	struct usher *u = new_usher(0);
	struct sockaddr_storage address;
	struct sockaddr_in ipv4;

	(void)state;
	assert_nothing_to_accept(u);
	fake_accept();
	assert_false(usher_is_registered(u));
	assert_false(is_readable(usher_fd(u)));
	assert_int_equal(usher_listener(u, 0, &address), -ENOENT);

	fake_welcome();
	wait_readable(usher_fd(u));
	assert_nothing_to_accept(u);
	assert_false(is_readable(usher_fd(u)));
	assert_true(usher_is_registered(u));
	assert_int_equal(usher_listener(u, 0, &address), sizeof(ipv4));
	memcpy(&ipv4, &address, sizeof(ipv4));
	assert_int_equal(ipv4.sin_family, AF_INET);
	assert_int_equal(ntohs(ipv4.sin_port), 7);
	assert_int_equal(ntohl(ipv4.sin_addr.s_addr), INADDR_LOOPBACK);
	assert_int_equal(usher_listener(u, 1, &address), -ENOENT);
	assert_int_equal(usher_listener(u, WIRE_NO_LISTENER, &address), -ENOENT);
	usher_free(u);
}

static void test_second_welcome_changes_the_listeners(void **state)
{
	struct usher *u = new_registered(0);
	const struct wire_welcome none = {
		.header.type = WIRE_WELCOME, .version = 1, .service = "test"};
	struct sockaddr_storage address;

	(void)state;
	fake_send(&none, sizeof(none), NULL, 0);
	assert_nothing_to_accept(u);
	assert_true(usher_is_registered(u));
	assert_int_equal(usher_listener(u, 0, &address), -ENOENT);
	usher_free(u);
}

static void test_refusal_is_told_once_and_tried_again(void **state)
{
	struct usher *u = new_usher(0);
	struct usher_connection connection;
	char why[WIRE_REASON_SIZE], cut[8];

	(void)state;
	assert_int_equal(usher_error(u, why, sizeof(why)), 0);
	assert_string_equal(why, "");
	assert_nothing_to_accept(u);
	fake_accept();
	fake_send_refused(EPROTONOSUPPORT, "only version 2 is spoken here");
	wait_readable(usher_fd(u));
	assert_int_equal(usher_accept(u, &connection, 0), -EPROTONOSUPPORT);
	usher_error(u, why, sizeof(why));
	assert_string_equal(why, "only version 2 is spoken here");
	usher_error(u, cut, sizeof(cut));
	assert_string_equal(cut, "only ve");
	assert_nothing_to_accept(u);
	assert_false(usher_is_registered(u));
	end_pause(u, 2 * SECOND_NS);
	fake_accept();
	fake_welcome();
	assert_nothing_to_accept(u);
	usher_error(u, why, sizeof(why));
	assert_string_equal(why, ""); /* that is over */
	usher_free(u);
}

static void test_refusal_never_looks_like_another_outcome(void **state)
{
	static const int errors[] = {EAGAIN, EINTR, EINVAL, EMFILE, EPROTO, ESHUTDOWN};
	struct usher_connection connection;

	(void)state;
	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		struct usher *u = new_usher(0);

		assert_nothing_to_accept(u);
		fake_accept();
		fake_send_refused(errors[i], "no");
		assert_int_equal(usher_accept(u, &connection, 0), -ECONNREFUSED);
		usher_free(u);
	}
}

static void test_absent_usherd_is_waited_for_with_growing_pauses(void **state)
{
	static const uint64_t pauses_ms[] = {50, 100, 200, 400, 800, 1600, 2000, 2000};
	struct usher *u = new_usher(0);
	char why[WIRE_REASON_SIZE];

	(void)state;
	fake_stop();
	assert_nothing_to_accept(u);
	usher_error(u, why, sizeof(why));
	assert_non_null(strstr(why, "No such file"));
	for (size_t i = 0; i < sizeof(pauses_ms) / sizeof(pauses_ms[0]); i++)
		end_pause(u, pauses_ms[i] * MS_NS);

	fake_start();
	end_pause(u, 2 * SECOND_NS);
	fake_accept();
	fake_welcome();
	assert_nothing_to_accept(u);
	assert_int_equal(clock_pause_ns(), 0);
	reconnect(u); /* begins with the shortest pause again */
	usher_free(u);
}

static void test_end_is_explained_until_the_next_welcome(void **state)
{
	struct usher *u = new_registered(0);
	char why[WIRE_REASON_SIZE];

	(void)state;
	fake_hang_up();
	assert_nothing_to_accept(u);
	usher_error(u, why, sizeof(why));
	assert_string_equal(why, "usherd has closed the channel");
	end_pause(u, 50 * MS_NS);
	fake_accept();
	fake_welcome();
	assert_nothing_to_accept(u);
	usher_error(u, why, sizeof(why));
	assert_string_equal(why, "");
	usher_free(u);
}

static void test_end_without_welcome_makes_pauses_grow(void **state)
{
	struct usher *u = new_usher(0);

	(void)state;
	assert_nothing_to_accept(u);
	for (uint64_t pause_ms = 50; pause_ms <= 400; pause_ms *= 2) {
		fake_accept();
		fake_hang_up();
		assert_nothing_to_accept(u);
		end_pause(u, pause_ms * MS_NS);
	}
	usher_free(u);
}

/* Whatever is wrong with it, a welcome alone does not make it right. */
static void test_pauses_grow_until_a_channel_has_held_for_a_while(void **state)
{
	struct usher *u = new_registered(0);

	(void)state;
	for (uint64_t pause_ms = 50; pause_ms <= 400; pause_ms *= 2) {
		clock_advance(5 * SECOND_NS - 1);
		fake_hang_up();
		assert_nothing_to_accept(u);
		end_pause(u, pause_ms * MS_NS);
		fake_accept();
		fake_welcome();
		assert_nothing_to_accept(u);
	}
	clock_advance(5 * SECOND_NS);
	fake_hang_up();
	assert_nothing_to_accept(u);
	end_pause(u, 50 * MS_NS);
	usher_free(u);
}

/* usherd is killed again and again, and clients come: they need not wait for growing pauses. */
static void test_channel_that_brought_connections_ends_with_the_shortest_pause(void **state)
{
	struct usher *u = new_registered(0);

	(void)state;
	for (int i = 0; i < 3; i++) {
		int client = fake_give_one();

		accept_and_close(u);
		close_fd(client);
		fake_hang_up();
		assert_nothing_to_accept(u);
		end_pause(u, 50 * MS_NS);
		fake_accept();
		fake_welcome();
		assert_nothing_to_accept(u);
	}
	usher_free(u);
}

static void test_rendezvous_that_cannot_be_is_told(void **state)
{
	const struct usher_options options = {.size = sizeof(options), .flags = USHER_NONBLOCK};
	struct usher_connection connection;
	char path[128], why[WIRE_REASON_SIZE];
	struct usher *u;

	(void)state;
	snprintf(path, sizeof(path), "%s/below-a-socket", fake.path);
	assert_int_equal(usher_new(&u, path, &options), 0);
	assert_int_equal(usher_accept(u, &connection, 0), -ENOTDIR);
	usher_error(u, why, sizeof(why));
	assert_non_null(strstr(why, path));
	assert_nothing_to_accept(u);
	clock_advance(2 * SECOND_NS);
	assert_int_equal(usher_accept(u, &connection, 0), -ENOTDIR);
	usher_free(u);
}

static void test_descriptor_stays_the_same(void **state)
{
	struct usher *u = new_registered(0);
	int fd = usher_fd(u);

	(void)state;
	for (int i = 0; i < 3; i++) {
		reconnect(u);
		assert_true(usher_is_registered(u));
		assert_int_equal(usher_fd(u), fd);
	}
	usher_free(u);
}

static void test_thousand_reconnects_leave_nothing(void **state)
{
	struct usher *u = new_registered(0);
	size_t n_fds = test_count_fds();

	(void)state;
	for (int i = 0; i < 1000; i++)
		reconnect(u);
	assert_int_equal(test_count_fds(), n_fds);
	usher_free(u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_fake(test_options_out_of_range_are_refused),
		check_fake(test_options_of_a_later_version_only_if_zero),
		check_fake(test_bad_service_names_are_refused),
		check_fake(test_service_may_be_a_path),
		check_fake(test_unknown_flags_of_accept_are_refused),
		check_fake(test_hello_says_what_was_asked),
		check_fake(test_default_credit_leaves_descriptors_for_others),
		check_fake(test_hello_has_defaults),
		check_fake(test_registered_with_the_welcome),
		check_fake(test_second_welcome_changes_the_listeners),
		check_fake(test_refusal_is_told_once_and_tried_again),
		check_fake(test_refusal_never_looks_like_another_outcome),
		check_fake(test_absent_usherd_is_waited_for_with_growing_pauses),
		check_fake(test_end_without_welcome_makes_pauses_grow),
		check_fake(test_end_is_explained_until_the_next_welcome),
		check_fake(test_pauses_grow_until_a_channel_has_held_for_a_while),
		check_fake(test_channel_that_brought_connections_ends_with_the_shortest_pause),
		check_fake(test_rendezvous_that_cannot_be_is_told),
		check_fake(test_descriptor_stays_the_same),
		check_fake(test_thousand_reconnects_leave_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
