/* SPDX-License-Identifier: MIT */
/* libusher: sockets that usherd lends to a registration, and takes back. */
#include "fake-usherd.h"
#include "fd.h"
#include "test.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define MOST 16

static bool is_memory_short;

void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size)
{
	return is_memory_short ? NULL : __real_calloc(n, size);
}

void *__real_reallocarray(void *old, size_t n, size_t size);
void *__wrap_reallocarray(void *old, size_t n, size_t size);
void *__wrap_reallocarray(void *old, size_t n, size_t size)
{
	return is_memory_short ? NULL : __real_reallocarray(old, n, size);
}

/* What usherd has: sockets of its own, which are lent in the order of this array. */
static int sockets[MOST];

static void open_sockets(size_t n)
{
	for (size_t i = 0; i < n; i++) {
		sockets[i] = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		assert_true(sockets[i] >= 0);
	}
}

static void close_sockets(size_t n)
{
	for (size_t i = 0; i < n; i++)
		close_fd(sockets[i]);
}

/* Lend sockets[first], ... whose indices begin there too. */
static void lend(uint16_t flags, size_t first, size_t n)
{
	struct {
		struct wire_header header;
		struct wire_listener listeners[MOST];
	} message = {.header = {.type = WIRE_LISTENERS, .flags = flags}};

	for (size_t i = 0; i < n; i++) {
		struct wire_listener *listener = &message.listeners[i];

		listener->type = SOCK_DGRAM;
		listener->index = (uint32_t)(first + i);
		listener->address.family = AF_INET;
		listener->address.port = htons((uint16_t)(1000 + first + i));
		listener->address.address[0] = 127;
	}
	fake_send(&message, sizeof(message.header) + n * sizeof(message.listeners[0]),
		&sockets[first], n);
}

/* Are they one and the same socket? */
static bool is_same_socket(int one, int other)
{
	uint64_t cookies[2] = {0, 1};
	socklen_t size = sizeof(cookies[0]);

	return getsockopt(one, SOL_SOCKET, SO_COOKIE, &cookies[0], &size) == 0 &&
	       getsockopt(other, SOL_SOCKET, SO_COOKIE, &cookies[1], &size) == 0 &&
	       cookies[0] == cookies[1];
}

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

/* Exactly sockets[first], ... are shown. */
static void assert_lent(struct usher *u, size_t first, size_t n)
{
	struct usher_lent lent;

	for (size_t i = 0; i < n; i++) {
		const struct sockaddr_in *address = (const void *)&lent.address;

		assert_int_equal(usher_lent(u, i, &lent), 0);
		assert_true(is_same_socket(lent.fd, sockets[first + i]));
		assert_int_equal(lent.type, SOCK_DGRAM);
		assert_int_equal(lent.listener, first + i);
		assert_int_equal(lent.address_length, sizeof(*address));
		assert_int_equal(ntohs(address->sin_port), 1000 + first + i);
		assert_int_equal(fcntl(lent.fd, F_GETFD), FD_CLOEXEC);
	}
	assert_int_equal(usher_lent(u, n, &lent), -ENOENT);
	assert_int_equal(usher_lent(u, SIZE_MAX, &lent), -ENOENT);
}

static void assert_told(struct usher *u)
{
	struct usher_connection untouched = {.fd = -EBADF, .id = 42};

	wait_readable(usher_fd(u));
	assert_int_equal(usher_accept(u, &untouched, 0), USHER_LENT);
	assert_int_equal(untouched.id, 42);
}

static int shown_fd(struct usher *u, size_t index)
{
	struct usher_lent lent;

	assert_int_equal(usher_lent(u, index, &lent), 0);
	return lent.fd;
}

static struct usher *new_borrower(uint32_t more_flags)
{
	const struct usher_options options = {
		.size = sizeof(options),
		.flags = USHER_LISTENERS | more_flags,
		.credit = 10,
		.name = "borrower",
	};
	struct usher *u;

	assert_int_equal(usher_new(&u, "test", &options), 0);
	return u;
}

/* A registration to which sockets[0], ... are lent, and which was told so. */
static struct usher *new_with(size_t n)
{
	struct usher *u = new_borrower(USHER_NONBLOCK);

	open_sockets(n);
	assert_nothing_to_accept(u);
	fake_accept();
	fake_welcome();
	lend(0, 0, n);
	assert_told(u);
	assert_lent(u, 0, n);
	return u;
}

static void test_hello_says_that_listeners_are_taken(void **state)
{
	struct usher *u = new_borrower(USHER_NONBLOCK);

	(void)state;
	assert_nothing_to_accept(u);
	fake_accept();
	assert_int_equal(fake.message->hello.header.flags, WIRE_HELLO_TAKES_LISTENERS);
	usher_free(u);
	u = new_borrower(USHER_NONBLOCK | USHER_STANDBY);
	assert_nothing_to_accept(u);
	fake_hang_up();
	fake_accept();
	assert_int_equal(
		fake.message->hello.header.flags, WIRE_HELLO_TAKES_LISTENERS | WIRE_HELLO_STANDBY);
	usher_free(u);
}

static void test_nothing_lent_is_no_news(void **state)
{
	struct usher *u = new_borrower(USHER_NONBLOCK);

	(void)state;
	assert_nothing_to_accept(u);
	fake_accept();
	fake_welcome();
	lend(0, 0, 0);
	assert_nothing_to_accept(u);
	assert_lent(u, 0, 0);
	usher_free(u);
}

static void test_lent_sockets_are_shown_and_work(void **state)
{
	struct usher *u = new_with(3);

	(void)state;
	assert_nothing_to_accept(u);
	assert_lent(u, 0, 3);
	usher_free(u);
	close_sockets(3);
}

static void *accept_waiting(void *argument)
{
	struct usher_connection connection;

	assert_int_equal(usher_accept(argument, &connection, 0), USHER_LENT);
	return NULL;
}

static void test_without_nonblock_the_call_waits_for_them(void **state)
{
	struct usher *u = new_borrower(0);
	pthread_t thread;

	(void)state;
	open_sockets(1);
	assert_int_equal(pthread_create(&thread, NULL, accept_waiting, u), 0);
	fake_accept();
	fake_welcome();
	lend(0, 0, 1);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_lent(u, 0, 1);
	usher_free(u);
	close_sockets(1);
}

static void test_former_sockets_stay_open_until_the_next_call(void **state)
{
	struct usher *u = new_with(3);
	int kept, former;

	(void)state;
	former = shown_fd(u, 0);
	kept = shown_fd(u, 1);
	lend(0, 1, 2);
	assert_told(u);
	assert_lent(u, 1, 2);
	assert_int_equal(shown_fd(u, 0), kept);
	assert_true(is_same_socket(former, sockets[0]));
	assert_nothing_to_accept(u);
	assert_false(is_open(former));
	assert_true(is_open(kept));
	usher_free(u);
	close_sockets(3);
}

static void test_a_socket_that_is_lent_again_keeps_its_descriptor(void **state)
{
	struct usher *u = new_with(1);
	int fd = shown_fd(u, 0);

	(void)state;
	for (int i = 0; i < 3; i++) {
		lend(0, 0, 1);
		assert_told(u);
		assert_int_equal(shown_fd(u, 0), fd);
		assert_nothing_to_accept(u);
		assert_true(is_open(fd));
	}
	usher_free(u);
	close_sockets(1);
}

static void test_nothing_is_lent_any_more(void **state)
{
	struct usher *u = new_with(2);
	int fd = shown_fd(u, 1);

	(void)state;
	lend(0, 0, 0);
	assert_told(u);
	assert_lent(u, 0, 0);
	assert_true(is_open(fd));
	assert_nothing_to_accept(u);
	assert_false(is_open(fd));
	lend(0, 0, 2);
	assert_told(u);
	assert_lent(u, 0, 2);
	usher_free(u);
	close_sockets(2);
}

/* With the last message, and not before, so that nobody acts as if the first ones were all. */
static void test_several_messages_are_told_as_one(void **state)
{
	struct usher *u = new_with(2);
	int fd = shown_fd(u, 1);

	(void)state;
	close_sockets(2);
	open_sockets(MOST);
	lend(WIRE_LISTENERS_FOLLOWED, 0, 2);
	assert_nothing_to_accept(u);
	assert_int_equal(shown_fd(u, 1), fd);
	lend(WIRE_LISTENERS_MORE | WIRE_LISTENERS_FOLLOWED, 2, 3);
	assert_nothing_to_accept(u);
	assert_true(is_open(fd));
	lend(WIRE_LISTENERS_MORE, 5, MOST - 5);
	assert_told(u);
	assert_lent(u, 0, MOST);
	assert_nothing_to_accept(u);
	lend(0, 3, 1);
	assert_told(u);
	assert_lent(u, 3, 1);
	usher_free(u);
	close_sockets(MOST);
}

/* usherd had no room for the rest, and says all of it again. */
static void test_several_messages_can_begin_anew(void **state)
{
	struct usher *u = new_with(MOST);
	int fd = shown_fd(u, MOST - 1);

	(void)state;
	assert_int_equal(fcntl(fd, F_SETFD, 0), 0); /* a mark that another one would not have */
	lend(WIRE_LISTENERS_FOLLOWED, 0, 3);
	lend(WIRE_LISTENERS_FOLLOWED, 0, 2);
	lend(WIRE_LISTENERS_MORE, 2, MOST - 2);
	assert_told(u);
	assert_nothing_to_accept(u);
	assert_int_equal(shown_fd(u, MOST - 1), fd);
	assert_int_equal(fcntl(fd, F_GETFD), 0);
	assert_int_equal(fcntl(fd, F_SETFD, FD_CLOEXEC), 0);
	assert_lent(u, 0, MOST);
	lend(WIRE_LISTENERS_FOLLOWED, 0, 2); /* what never ends is closed with all else */
	assert_nothing_to_accept(u);
	usher_free(u);
	close_sockets(MOST);
}

static void assert_not_taken(struct usher *u)
{
	wait_readable(usher_fd(u));
	assert_int_equal(usher_accept(u, &(struct usher_connection){0}, 0), -EPROTO);
}

static void test_there_is_a_limit_to_what_is_taken(void **state)
{
	struct usher *u = new_with(MOST);
	struct usher_lent last;

	(void)state;
	lend(WIRE_LISTENERS_FOLLOWED, 0, MOST);
	for (int i = 1; i < WIRE_MAX_LISTENERS / MOST; i++) {
		assert_nothing_to_accept(u);
		lend(WIRE_LISTENERS_MORE | WIRE_LISTENERS_FOLLOWED, 0, MOST);
	}
	assert_nothing_to_accept(u);
	lend(WIRE_LISTENERS_MORE, 0, 1);
	assert_not_taken(u);
	assert_int_equal(usher_lent(u, MOST - 1, &last), 0);
	assert_int_equal(usher_lent(u, MOST, &last), -ENOENT);
	fake_hang_up();
	usher_free(u);
	close_sockets(MOST);
}

static void test_more_without_a_beginning_is_not_taken(void **state)
{
	struct usher *u = new_with(2);

	(void)state;
	lend(WIRE_LISTENERS_MORE, 0, 2);
	assert_not_taken(u);
	assert_lent(u, 0, 2);
	fake_hang_up();
	usher_free(u);
	close_sockets(2);
}

static void test_a_lent_socket_and_connections_come_together(void **state)
{
	struct usher *u = new_with(1);
	int client = fake_give_one();

	(void)state;
	lend(0, 0, 0);
	accept_and_close(u);
	assert_eof(client);
	fake_expect_claim(1);
	assert_told(u);
	assert_lent(u, 0, 0);
	usher_free(u);
	close_sockets(1);
}

static void test_lent_sockets_need_no_credit(void **state)
{
	struct usher *u = new_borrower(USHER_NONBLOCK);

	(void)state;
	open_sockets(1);
	assert_int_equal(usher_set_credit(u, 0), 0);
	assert_nothing_to_accept(u);
	fake_accept();
	assert_int_equal(fake.message->hello.credit, 0);
	fake_welcome();
	lend(0, 0, 1);
	assert_told(u);
	assert_int_equal(usher_holding(u), 0);
	usher_free(u);
	close_sockets(1);
}

/* --- who takes them back --- */

static void test_drain_gives_them_back(void **state)
{
	struct usher *u = new_with(2);
	int fd = shown_fd(u, 0);

	(void)state;
	assert_int_equal(usher_drain(u), 0);
	assert_lent(u, 0, 0);
	assert_true(is_open(fd)); /* it may still be watched */
	fake_expect(WIRE_DRAIN);
	assert_told(u);
	assert_true(is_open(fd));
	lend(0, 0, 2); /* was on its way */
	assert_nothing_to_accept(u);
	assert_false(is_open(fd));
	assert_lent(u, 0, 0);
	fake_send_draining(WIRE_DRAINING_ASKED);
	assert_shut_down(u);
	usher_free(u);
	close_sockets(2);
}

static void test_drain_while_usherd_is_away_gives_them_up(void **state)
{
	struct usher *u = new_with(1);

	(void)state;
	fake_stop();
	assert_nothing_to_accept(u);
	assert_int_equal(usher_drain(u), 0);
	assert_told(u);
	assert_shut_down(u);
	assert_lent(u, 0, 0);
	usher_free(u);
	close_sockets(1);
	fake_start();
}

static void test_being_replaced_takes_them_back(void **state)
{
	const enum wire_draining_reason reasons[] = {
		WIRE_DRAINING_REPLACED, WIRE_DRAINING_ADMINISTRATOR};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct usher *u = new_with(1);

		fake_send_draining(reasons[i]);
		assert_told(u);
		assert_lent(u, 0, 0);
		assert_shut_down(u);
		usher_free(u);
		close_sockets(1);
		fake_hang_up();
	}
}

static void test_a_refusal_takes_them_back(void **state)
{
	struct usher *u = new_with(1);
	int fd = shown_fd(u, 0);

	(void)state;
	fake_hang_up();
	meet_again(u);
	assert_true(is_open(fd));
	fake_send_refused(EACCES, "Not you.");
	fake_hang_up();
	assert_told(u);
	assert_lent(u, 0, 0);
	assert_int_equal(usher_accept(u, &(struct usher_connection){0}, 0), -EACCES);
	assert_false(is_open(fd));
	usher_free(u);
	close_sockets(1);
}

/* --- usherd is away --- */

static void test_they_stay_while_usherd_is_away(void **state)
{
	struct usher *u = new_with(2);
	int fd = shown_fd(u, 1);

	(void)state;
	fake_stop();
	assert_nothing_to_accept(u);
	assert_lent(u, 0, 2);
	fake_start();
	clock_advance(2 * SECOND_NS);
	assert_nothing_to_accept(u);
	fake_accept();
	fake_welcome();
	assert_nothing_to_accept(u);
	assert_lent(u, 0, 2); /* until LISTENERS come */
	lend(0, 1, 1);
	assert_told(u);
	assert_lent(u, 1, 1);
	assert_int_equal(shown_fd(u, 0), fd);
	usher_free(u);
	close_sockets(2);
}

static void test_they_stay_when_usherd_says_that_it_ends(void **state)
{
	struct usher *u = new_with(1);

	(void)state;
	fake_send_draining(WIRE_DRAINING_ENDING);
	assert_nothing_to_accept(u);
	assert_lent(u, 0, 1);
	usher_free(u);
	close_sockets(1);
}

/* --- what goes wrong --- */

static void test_listeners_that_were_not_asked_for_are_no_message(void **state)
{
	struct usher *u = new_registered(10);
	char why[WIRE_REASON_SIZE];

	(void)state;
	open_sockets(1);
	lend(0, 0, 1);
	wait_readable(usher_fd(u));
	assert_int_equal(usher_accept(u, &(struct usher_connection){0}, 0), -EPROTO);
	usher_error(u, why, sizeof(why));
	assert_non_null(strstr(why, "listeners come to a provider that takes none"));
	assert_lent(u, 0, 0);
	usher_free(u);
	close_sockets(1);
}

static void test_listeners_before_the_welcome_are_no_message(void **state)
{
	struct usher *u = new_borrower(USHER_NONBLOCK);
	char why[WIRE_REASON_SIZE];

	(void)state;
	open_sockets(1);
	assert_nothing_to_accept(u);
	fake_accept();
	lend(0, 0, 1);
	wait_readable(usher_fd(u));
	assert_int_equal(usher_accept(u, &(struct usher_connection){0}, 0), -EPROTO);
	usher_error(u, why, sizeof(why));
	assert_non_null(strstr(why, "listeners come before the welcome"));
	usher_free(u);
	close_sockets(1);
}

/* Only `n` more descriptors fit. Returns the old limit. */
static struct rlimit leave_room(size_t n)
{
	struct rlimit old, tight;
	int fd;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	for (fd = 0; is_open(fd) || n > 0; fd++)
		if (!is_open(fd))
			n--;
	tight = (struct rlimit){.rlim_cur = (rlim_t)fd, .rlim_max = old.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
	return old;
}

/* Whoever has no room for all has none: somebody else can have them. */
static void test_sockets_that_did_not_arrive_let_the_channel_end(void **state)
{
	(void)state;
	for (size_t room = 0; room < 3; room++) {
		struct usher *u = new_with(1);
		struct rlimit old;
		char why[WIRE_REASON_SIZE];

		close_sockets(1);
		open_sockets(3);
		lend(0, 0, 3);
		old = leave_room(room);
		assert_told(u);
		assert_lent(u, 0, 0);
		assert_int_equal(usher_accept(u, &(struct usher_connection){0}, 0), -EMFILE);
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
		usher_error(u, why, sizeof(why));
		assert_non_null(strstr(why, "sockets that usherd lends did not arrive"));
		fake_hang_up();
		end_pause(u, 2 * SECOND_NS);
		fake_accept();
		fake_welcome();
		lend(0, 0, 3);
		assert_told(u);
		assert_lent(u, 0, 3);
		usher_free(u);
		fake_hang_up();
		close_sockets(3);
	}
}

static void test_without_memory_everything_stays_until_the_next_welcome(void **state)
{
	struct usher *u = new_with(1);

	(void)state;
	lend(0, 0, 0);
	is_memory_short = true;
	assert_int_equal(usher_accept(u, &(struct usher_connection){0}, 0), -ENOMEM);
	is_memory_short = false;
	assert_lent(u, 0, 1);
	meet_again(u);
	welcome_again(u);
	lend(0, 0, 0);
	assert_told(u);
	assert_lent(u, 0, 0);
	usher_free(u);
	close_sockets(1);
}

static void test_free_closes_what_is_lent_and_what_was(void **state)
{
	struct usher *u = new_with(2);

	(void)state;
	lend(0, 1, 1);
	assert_told(u);
	usher_free(u); /* check_test() counts the descriptors */
	close_sockets(2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_fake(test_hello_says_that_listeners_are_taken),
		check_fake(test_nothing_lent_is_no_news),
		check_fake(test_lent_sockets_are_shown_and_work),
		check_fake_running(test_without_nonblock_the_call_waits_for_them),
		check_fake(test_former_sockets_stay_open_until_the_next_call),
		check_fake(test_a_socket_that_is_lent_again_keeps_its_descriptor),
		check_fake(test_nothing_is_lent_any_more),
		check_fake(test_several_messages_are_told_as_one),
		check_fake(test_several_messages_can_begin_anew),
		check_fake(test_there_is_a_limit_to_what_is_taken),
		check_fake(test_more_without_a_beginning_is_not_taken),
		check_fake(test_a_lent_socket_and_connections_come_together),
		check_fake(test_lent_sockets_need_no_credit),
		check_fake(test_drain_gives_them_back),
		check_fake(test_drain_while_usherd_is_away_gives_them_up),
		check_fake(test_being_replaced_takes_them_back),
		check_fake(test_a_refusal_takes_them_back),
		check_fake(test_they_stay_while_usherd_is_away),
		check_fake(test_they_stay_when_usherd_says_that_it_ends),
		check_fake(test_listeners_that_were_not_asked_for_are_no_message),
		check_fake(test_listeners_before_the_welcome_are_no_message),
		check_fake(test_sockets_that_did_not_arrive_let_the_channel_end),
		check_fake(test_without_memory_everything_stays_until_the_next_welcome),
		check_fake(test_free_closes_what_is_lent_and_what_was),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
