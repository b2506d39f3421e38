/* SPDX-License-Identifier: MIT */
/* libusher: descriptors do not arrive, memory or the kernel's buffers are short. */
#include "fake-usherd.h"
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

static bool is_memory_short;

void *__real_reallocarray(void *old, size_t n, size_t size);
void *__wrap_reallocarray(void *old, size_t n, size_t size);
void *__wrap_reallocarray(void *old, size_t n, size_t size)
{
	return is_memory_short ? NULL : __real_reallocarray(old, n, size);
}

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_malloc(size_t size)
{
	return is_memory_short ? NULL : __real_malloc(size);
}

int __real_epoll_ctl(int epoll_fd, int operation, int fd, struct epoll_event *event);
int __wrap_epoll_ctl(int epoll_fd, int operation, int fd, struct epoll_event *event);
int __wrap_epoll_ctl(int epoll_fd, int operation, int fd, struct epoll_event *event)
{
	if (is_memory_short && operation == EPOLL_CTL_ADD) {
		errno = ENOMEM;
		return -1;
	}
	return __real_epoll_ctl(epoll_fd, operation, fd, event);
}

static int sending_error; /* 0: sending is possible */

ssize_t __real_sendmsg(int fd, const struct msghdr *message, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags)
{
	if (sending_error != 0) {
		errno = sending_error;
		return -1;
	}
	return __real_sendmsg(fd, message, flags);
}

int __real_sendmmsg(int fd, struct mmsghdr *messages, unsigned int n, int flags);
int __wrap_sendmmsg(int fd, struct mmsghdr *messages, unsigned int n, int flags);
int __wrap_sendmmsg(int fd, struct mmsghdr *messages, unsigned int n, int flags)
{
	if (sending_error != 0) {
		errno = sending_error;
		return -1;
	}
	return __real_sendmmsg(fd, messages, n, flags);
}

/* --- descriptors that do not arrive --- */

/* Leave room for `n` more descriptors. Returns the old limit. */
static struct rlimit leave_room(size_t n)
{
	struct rlimit old, tight;
	int fd;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	for (fd = 0; fcntl(fd, F_GETFD) >= 0 || n > 0; fd++)
		if (fcntl(fd, F_GETFD) < 0)
			n--;
	tight = (struct rlimit){.rlim_cur = (rlim_t)fd, .rlim_max = old.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
	return old;
}

static void expect_decline(uint64_t first, uint64_t last)
{
	fake_expect(WIRE_DECLINE);
	assert_int_equal(fake.message->decline.first, first);
	assert_int_equal(fake.message->decline.last, last);
}

static void test_connections_beyond_the_descriptor_limit_are_declined(void **state)
{
	struct usher *u = new_registered(100);
	struct usher_connection connections[3];
	char why[WIRE_REASON_SIZE];
	struct rlimit old;
	int clients[5], copies[5];

	(void)state;
	fake_give(5, clients, copies);
	old = leave_room(2);
	assert_int_equal(usher_accept(u, &connections[0], 0), 0);
	fake_expect_credit(5, 0); /* first: or what is declined comes again */
	fake_expect_claim(2);
	expect_decline(3, 5);
	assert_int_equal(usher_accept(u, &connections[1], 0), 0);
	assert_int_equal(usher_accept(u, &connections[2], 0), -EMFILE);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	usher_error(u, why, sizeof(why));
	assert_non_null(strstr(why, "3 connections did not arrive"));
	assert_nothing_to_accept(u); /* told once */
	assert_int_equal(usher_holding(u), 2);

	usher_close(u, &connections[0]);
	fake_expect_release((const uint64_t[]){1}, 1); /* brings one credit by itself */
	fake_expect_nothing();
	assert_int_equal(clock_pause_ns(), SECOND_NS);
	clock_advance(SECOND_NS);
	wait_readable(usher_fd(u));
	assert_nothing_to_accept(u);
	fake_expect_credit(5, 99);
	assert_int_equal(clock_pause_ns(), 0);

	close(fake_give_one()); /* sequence 6 */
	assert_int_equal(usher_accept(u, &connections[2], 0), 0);
	fake_expect_claim(6);
	for (size_t i = 1; i < 3; i++)
		usher_close(u, &connections[i]);
	for (size_t i = 0; i < 2; i++)
		assert_eof(clients[i]);
	for (size_t i = 2; i < 5; i++) /* usherd's, still whole */
		assert_false(is_readable(clients[i]));
	for (size_t i = 2; i < 5; i++)
		close(clients[i]);
	for (size_t i = 0; i < 5; i++)
		close(copies[i]);
	usher_free(u);
}

static void test_no_room_at_all_claims_nothing(void **state)
{
	struct usher *u = new_registered(100);
	struct usher_connection connection;
	struct rlimit old;
	int client;

	(void)state;
	client = fake_give_one();
	old = leave_room(0);
	assert_int_equal(usher_accept(u, &connection, 0), -EMFILE);
	assert_nothing_to_accept(u);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	fake_expect_credit(1, 0);
	expect_decline(1, 1);
	fake_expect_nothing();
	assert_int_equal(usher_holding(u), 0);
	close(client);

	fake_hang_up(); /* a new channel begins with all of the credit */
	meet_again(u);
	assert_int_equal(fake.message->hello.credit, 100);
	welcome_again(u);
	assert_int_equal(clock_pause_ns(), 0);
	usher_free(u);
}

static void test_forwarded_connection_beyond_the_descriptor_limit_is_declined(void **state)
{
	struct usher *u = new_registered(100);
	struct usher_connection connection;
	struct rlimit old;
	int client, copy;

	(void)state;
	client = fake_give_forwarded("x", 1, &copy);
	old = leave_room(0);
	assert_int_equal(usher_accept(u, &connection, 0), -EMFILE);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	fake_expect_credit(1, 0);
	expect_decline(1, 1);
	assert_nothing_to_accept(u);
	assert_int_equal(usher_holding(u), 0);
	assert_false(is_readable(client)); /* usherd's, still whole */
	close(copy);

	close(fake_give_forwarded("x", 1, NULL)); /* sequence 2 */
	accept_and_close(u);
	fake_expect_claim(2);
	close(client);
	usher_free(u);
}

static void test_nothing_is_told_until_usherd_could_be_told(void **state)
{
	struct usher *u = new_registered(100);
	struct usher_connection connection;
	struct rlimit old;
	int clients[3];

	(void)state;
	fill_channel(u);
	fake_give(3, clients, NULL);
	old = leave_room(1);
	assert_nothing_to_accept(u);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	assert_false(is_readable(usher_fd(u)));
	while (!is_readable(usher_fd(u)))
		fake_expect(WIRE_STATUS);
	assert_int_equal(usher_accept(u, &connection, 0), 0);
	fake_skip_filling(); /* what follows was sent before that returned */
	assert_int_equal(fake.message->header.type, WIRE_CREDIT);
	fake_expect_claim(1);
	expect_decline(2, 3);
	usher_close(u, &connection);
	assert_int_equal(usher_accept(u, &connection, 0), -EMFILE);
	for (size_t i = 0; i < 3; i++)
		close(clients[i]);
	usher_free(u);
}

static void test_no_room_to_reconnect_is_told(void **state)
{
	struct usher *u = new_registered(0);
	struct usher_connection connection;
	struct rlimit old;

	(void)state;
	fake_hang_up();
	assert_nothing_to_accept(u);
	clock_advance(50 * MS_NS);
	old = leave_room(0);
	assert_int_equal(usher_accept(u, &connection, 0), -EMFILE);
	assert_nothing_to_accept(u);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	clock_advance(2 * SECOND_NS);
	assert_nothing_to_accept(u);
	fake_accept();
	usher_free(u);
}

/* --- memory is short --- */

static void test_connection_waits_while_memory_is_short(void **state)
{
	struct usher *u = new_usher(0);
	struct usher_connection connection;
	int client;

	(void)state;
	is_memory_short = true;
	assert_int_equal(usher_accept(u, &connection, 0), -ENOMEM);
	is_memory_short = false;
	end_pause(u, SECOND_NS);
	fake_accept();
	welcome_again(u);
	client = fake_give_one();
	accept_and_close(u);
	assert_eof(client);
	usher_free(u);
}

/* The block of the message before is the connection's now: there is none for the next one. */
static void test_connections_wait_for_memory_behind_a_forwarded_one(void **state)
{
	struct usher *u = new_registered(0);
	struct usher_connection forwarded, connection;
	int clients[2];

	(void)state;
	clients[0] = fake_give_forwarded("x", 1, NULL);
	clients[1] = fake_give_one();
	assert_int_equal(usher_accept(u, &forwarded, 0), 0);
	is_memory_short = true;
	assert_int_equal(usher_accept(u, &connection, 0), -ENOMEM);
	is_memory_short = false;
	assert_memory_equal(forwarded.data, "x", 1);
	assert_int_equal(clock_pause_ns(), SECOND_NS);
	clock_advance(SECOND_NS);
	accept_and_close(u);
	usher_close(u, &forwarded);
	assert_eof(clients[0]);
	assert_eof(clients[1]);
	usher_free(u);
}

static void test_forward_without_memory_leaves_the_connection(void **state)
{
	struct usher_connection connection;
	struct usher *u;
	int client;

	(void)state;
	fake.welcome_flags = WIRE_WELCOME_MAY_FORWARD;
	u = new_registered(0);
	client = fake_give_forwarded("x", 1, NULL);
	assert_int_equal(usher_accept(u, &connection, 0), 0);
	is_memory_short = true;
	assert_int_equal(usher_forward(u, &connection, "back", "x", 1), -ENOMEM);
	is_memory_short = false;
	assert_memory_equal(connection.data, "x", 1);
	assert_false(is_readable(client));
	assert_int_equal(usher_forward(u, &connection, "back", "x", 1), 0);
	fake_expect_claim(1);
	fake_expect(WIRE_FORWARD);
	close(client);
	usher_free(u);
}

/* Even the end of the channel, which epoll reports unasked, wakes nobody. */
static void test_loop_does_not_spin_while_memory_is_short(void **state)
{
	struct usher *u = new_usher(0);
	struct usher_connection connection;
	char why[WIRE_REASON_SIZE];

	(void)state;
	is_memory_short = true;
	assert_int_equal(usher_accept(u, &connection, 0), -ENOMEM);
	usher_error(u, why, sizeof(why));
	assert_string_equal(why, "the channel to usherd cannot be used: Cannot allocate memory");
	is_memory_short = false;
	fake_accept();
	fake_welcome();
	fake_hang_up();
	assert_nothing_to_accept(u);
	end_pause(u, SECOND_NS);
	assert_false(usher_is_registered(u));
	end_pause(u, 50 * MS_NS);
	fake_accept();
	usher_free(u);
}

static void test_channel_that_cannot_be_watched_is_looked_at(void **state)
{
	struct usher *u = new_registered(0);
	int client;

	(void)state;
	fake_hang_up();
	assert_nothing_to_accept(u);
	clock_advance(50 * MS_NS);
	is_memory_short = true;
	assert_nothing_to_accept(u);
	is_memory_short = false;
	fake_accept();
	fake_welcome();
	end_pause(u, SECOND_NS);
	assert_true(usher_is_registered(u));
	client = fake_give_one();
	wait_readable(usher_fd(u));
	accept_and_close(u);
	assert_eof(client);
	usher_free(u);
}

static void test_loop_does_not_spin_while_nothing_can_be_sent(void **state)
{
	struct usher *u = new_registered(0);
	struct usher_connection connection;
	int client;

	(void)state;
	client = fake_give_one();
	sending_error = ENOBUFS;
	wait_readable(usher_fd(u));
	assert_int_equal(usher_accept(u, &connection, 0), -ENOBUFS);
	assert_nothing_to_accept(u); /* told once, and not claimed */
	sending_error = 0;
	assert_int_equal(clock_pause_ns(), SECOND_NS);
	assert_false(is_readable(usher_fd(u)));
	clock_advance(SECOND_NS);
	wait_readable(usher_fd(u));
	accept_and_close(u);
	fake_expect_claim(1);
	fake_expect_release((const uint64_t[]){1}, 1);
	assert_eof(client);
	usher_free(u);
}

static void test_forward_that_cannot_be_sent_leaves_the_connection(void **state)
{
	struct usher_connection connection;
	struct usher *u;
	int client;

	(void)state;
	fake.welcome_flags = WIRE_WELCOME_MAY_FORWARD;
	u = new_registered(0);
	client = fake_give_one();
	assert_int_equal(usher_accept(u, &connection, 0), 0);
	sending_error = ETOOMANYREFS;
	assert_int_equal(usher_forward(u, &connection, "back", NULL, 0), -EAGAIN);
	sending_error = ENOBUFS;
	assert_int_equal(usher_forward(u, &connection, "back", NULL, 0), -ENOBUFS);
	sending_error = EPERM; /* SO_PASSRIGHTS, see unix(7) */
	assert_int_equal(usher_forward(u, &connection, "back", NULL, 0), -EPERM);
	sending_error = 0;
	assert_false(is_readable(usher_fd(u))); /* nothing that epoll could tell has changed */
	assert_int_equal(usher_holding(u), 1);
	assert_false(is_readable(client));
	usher_close(u, &connection);
	assert_eof(client);
	usher_free(u);
}

static void test_welcome_that_cannot_be_kept_is_asked_for_again(void **state)
{
	struct usher *u = new_usher(0);
	struct usher_connection connection;

	(void)state;
	assert_nothing_to_accept(u);
	fake_accept();
	fake_welcome();
	is_memory_short = true;
	assert_int_equal(usher_accept(u, &connection, 0), -ENOMEM);
	is_memory_short = false;
	meet_again(u);
	welcome_again(u);
	usher_free(u);
}

static void test_new_without_memory_leaks_nothing(void **state)
{
	struct usher *u;

	(void)state;
	is_memory_short = true;
	assert_int_equal(usher_new(&u, "test", NULL), -ENOMEM);
	is_memory_short = false;
}

static void test_new_without_descriptors_leaks_nothing(void **state)
{
	struct usher *u;

	(void)state;
	for (size_t n = 0; n < 2; n++) {
		struct rlimit old = leave_room(n);

		assert_int_equal(usher_new(&u, "test", NULL), -EMFILE);
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_fake(test_connections_beyond_the_descriptor_limit_are_declined),
		check_fake(test_no_room_at_all_claims_nothing),
		check_fake(test_forwarded_connection_beyond_the_descriptor_limit_is_declined),
		check_fake(test_nothing_is_told_until_usherd_could_be_told),
		check_fake(test_no_room_to_reconnect_is_told),
		check_fake(test_connection_waits_while_memory_is_short),
		check_fake(test_connections_wait_for_memory_behind_a_forwarded_one),
		check_fake(test_forward_without_memory_leaves_the_connection),
		check_fake(test_loop_does_not_spin_while_memory_is_short),
		check_fake(test_channel_that_cannot_be_watched_is_looked_at),
		check_fake(test_loop_does_not_spin_while_nothing_can_be_sent),
		check_fake(test_forward_that_cannot_be_sent_leaves_the_connection),
		check_fake(test_welcome_that_cannot_be_kept_is_asked_for_again),
		check_fake(test_new_without_memory_leaks_nothing),
		check_fake(test_new_without_descriptors_leaks_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
