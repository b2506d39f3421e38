/* SPDX-License-Identifier: MIT */
/* libusher: usherd dies or sends nonsense, descriptors do not arrive, memory is short. */
#include "fake-usherd.h"
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
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

/* After the end of the channel: the next one, up to its HELLO. */
static void meet_again(struct usher *u)
{
	assert_nothing_to_accept(u);
	clock_advance(clock_pause_ns());
	assert_nothing_to_accept(u);
	fake_accept();
}

static void welcome_again(struct usher *u)
{
	fake_welcome();
	assert_nothing_to_accept(u);
	assert_true(usher_is_registered(u));
}

/* --- usherd dies --- */

static void test_connections_survive_usherd(void **state)
{
	struct usher *u = new_registered(10);
	struct usher_connection connections[4];
	int clients[4];
	uint64_t byte = 1;

	(void)state;
	fake_give(4, clients, NULL);
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(usher_accept(u, &connections[i], 0), 0);
	fake_hang_up();
	assert_nothing_to_accept(u);
	assert_false(usher_is_registered(u));
	assert_int_equal(send(clients[0], &byte, 1, 0), 1);
	assert_int_equal(recv(connections[0].fd, &byte, 1, 0), 1);

	assert_int_equal(usher_close(u, &connections[0]), 0); /* nobody to tell */
	meet_again(u);
	assert_int_equal(fake.message->hello.holding, 3);
	assert_int_equal(fake.message->hello.credit, 7);
	assert_int_equal(
		usher_close(u, &connections[1]), 0); /* counted above: told after WELCOME */
	fake_expect_nothing();
	welcome_again(u);
	fake_expect_release((const uint64_t[]){0}, 1);
	assert_int_equal(usher_close(u, &connections[2]), 0);
	fake_expect_release((const uint64_t[]){0}, 1);
	assert_int_equal(usher_close(u, &connections[3]), 0);
	fake_expect_release((const uint64_t[]){0}, 1);
	for (size_t i = 0; i < 4; i++)
		assert_eof(clients[i]);
	usher_free(u);
}

static void test_release_that_the_next_hello_tells_is_not_sent(void **state)
{
	struct usher *u = new_registered(0);
	struct usher_connection connection;
	int client;

	(void)state;
	client = fake_give_one();
	assert_int_equal(usher_accept(u, &connection, 0), 0);
	fake_hang_up();
	meet_again(u);
	assert_int_equal(fake.message->hello.holding, 1);
	usher_close(u, &connection);
	assert_eof(client);
	fake_hang_up();
	meet_again(u);
	assert_int_equal(fake.message->hello.holding, 0);
	welcome_again(u);
	fake_expect_nothing();
	usher_free(u);
}

static void test_ids_of_a_new_usherd_are_not_confused(void **state)
{
	struct usher *u = new_registered(0);
	struct usher_connection old, new;
	int old_client, new_client;

	(void)state;
	old_client = fake_give_one();
	assert_int_equal(usher_accept(u, &old, 0), 0);
	fake_hang_up();
	fake.id = 0;
	meet_again(u);
	welcome_again(u);
	new_client = fake_give_one();
	assert_int_equal(usher_accept(u, &new, 0), 0);
	fake_expect_claim(1);
	assert_int_not_equal(old.id, new.id);

	usher_close(u, &new);
	fake_expect_release((const uint64_t[]){1}, 1);
	usher_close(u, &old);
	fake_expect_release((const uint64_t[]){0}, 1);
	assert_eof(old_client);
	assert_eof(new_client);
	usher_free(u);
}

static void test_queued_connections_of_a_dead_usherd_are_served(void **state)
{
	struct usher *u = new_registered(0);
	int clients[6];

	(void)state;
	fake_give(2, clients, NULL);
	fake_give(4, clients + 2, NULL);
	fake_stop();
	for (size_t i = 0; i < 6; i++) {
		wait_readable(usher_fd(u));
		accept_and_close(u);
		assert_eof(clients[i]);
	}
	assert_nothing_to_accept(u);
	assert_int_equal(usher_holding(u), 0);
	usher_free(u);
}

/* The kernel says ECONNRESET before it lets us read what is still in the queue. */
static void test_reset_before_queued_connections_loses_none(void **state)
{
	struct usher *u = new_registered(0);
	int clients[6];

	(void)state;
	fake_give(1, clients, NULL);
	accept_and_close(u); /* its claim and release are never read */
	for (size_t i = 1; i < 6; i++)
		clients[i] = fake_give_one();
	fake_hang_up();
	for (size_t i = 1; i < 6; i++)
		accept_and_close(u);
	for (size_t i = 0; i < 6; i++)
		assert_eof(clients[i]);
	meet_again(u);
	assert_int_equal(fake.message->hello.holding, 0);
	usher_free(u);
}

static void test_refusal_is_read_behind_a_reset(void **state)
{
	struct usher *u = new_usher(0);
	struct usher_connection connection;

	(void)state;
	assert_nothing_to_accept(u);
	fake_hang_up();
	wait_readable(fake.listen_fd);
	fake.channel_fd = accept4(fake.listen_fd, NULL, NULL, SOCK_CLOEXEC);
	fake_send_refused(EUSERS, "too many"); /* with HELLO unread */
	assert_int_equal(usher_accept(u, &connection, 0), -EUSERS);
	usher_free(u);
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

static void test_nothing_is_told_until_usherd_could_be_told(void **state)
{
	struct usher *u = new_registered(100);
	struct usher_connection connection;
	struct rlimit old;
	int clients[3];

	(void)state;
	for (int i = 0; i < 2000; i++) /* usherd does not read: the channel is full */
		usher_set_status(u, "filling");
	fake_give(3, clients, NULL);
	old = leave_room(1);
	assert_nothing_to_accept(u);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	assert_false(is_readable(usher_fd(u)));
	while (!is_readable(usher_fd(u)))
		fake_expect(WIRE_STATUS);
	accept_and_close(u);
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

/* --- nonsense --- */

static void expect_protocol_error(struct usher *u)
{
	struct usher_connection connection;
	char why[WIRE_REASON_SIZE];

	wait_readable(usher_fd(u));
	assert_int_equal(usher_accept(u, &connection, 0), -EPROTO);
	usher_error(u, why, sizeof(why));
	assert_int_equal(strncmp(why, "usherd sent", strlen("usherd sent")), 0);
	assert_nothing_to_accept(u);
	assert_false(usher_is_registered(u));
}

static void test_nonsense_ends_the_channel_and_leaks_nothing(void **state)
{
	static const struct wire_claim claim = {.header.type = WIRE_CLAIM, .sequence = 1};
	static const struct wire_header unknown = {.type = 99};
	static const struct wire_header no_records = {.type = WIRE_CONNECTIONS};
	static const struct wire_drain flagged = {.header = {.type = WIRE_DRAINING, .flags = 1}};
	static const struct wire_drain draining = {.header.type = WIRE_DRAINING};
	static const struct wire_welcome version_2 = {
		.header.type = WIRE_WELCOME, .version = 2, .service = "test"};
	static const struct wire_refused no_error = {.header.type = WIRE_REFUSED};
	static const uint8_t too_long[sizeof(union wire_message) + 8] = {WIRE_WELCOME};
	static const struct {
		const void *data;
		size_t size, n_fds;
	} messages[] = {
		{&claim, 1, 0},
		{&unknown, sizeof(unknown), 0},
		{&claim, sizeof(claim), 0},
		{&no_records, sizeof(no_records), 0},
		{&flagged, sizeof(flagged), 0},
		{&draining, sizeof(draining), 1},
		{&version_2, sizeof(version_2), 0},
		{&no_error, sizeof(no_error), 0},
		{too_long, sizeof(too_long), 16},
	};
	struct usher *u = new_registered(0);

	(void)state;
	for (size_t i = 0; i < sizeof(messages) / sizeof(messages[0]); i++) {
		int pair[2], copies[16];

		test_socketpair(pair);
		for (size_t j = 0; j < 16; j++)
			copies[j] = pair[1];
		fake_send(messages[i].data, messages[i].size, copies, messages[i].n_fds);
		close(pair[1]);
		expect_protocol_error(u);
		assert_eof(pair[0]); /* what came with it was closed */
		meet_again(u);
		welcome_again(u);
	}
	usher_free(u);
}

static void test_gap_in_the_sequences_ends_the_channel(void **state)
{
	struct usher *u = new_registered(0);
	int client;

	(void)state;
	close(fake_give_one());
	accept_and_close(u);
	fake.sequence++;
	client = fake_give_one();
	expect_protocol_error(u);
	assert_eof(client);
	usher_free(u);
}

static void test_connections_before_the_welcome_end_the_channel(void **state)
{
	struct usher *u = new_usher(0);
	int client;

	(void)state;
	assert_nothing_to_accept(u);
	fake_accept();
	client = fake_give_one();
	expect_protocol_error(u);
	assert_eof(client);
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
	assert_nothing_to_accept(u);
	fake_accept();
	welcome_again(u);
	client = fake_give_one();
	accept_and_close(u);
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
		check_fake(test_connections_survive_usherd),
		check_fake(test_release_that_the_next_hello_tells_is_not_sent),
		check_fake(test_ids_of_a_new_usherd_are_not_confused),
		check_fake(test_queued_connections_of_a_dead_usherd_are_served),
		check_fake(test_reset_before_queued_connections_loses_none),
		check_fake(test_refusal_is_read_behind_a_reset),
		check_fake(test_connections_beyond_the_descriptor_limit_are_declined),
		check_fake(test_no_room_at_all_claims_nothing),
		check_fake(test_nothing_is_told_until_usherd_could_be_told),
		check_fake(test_no_room_to_reconnect_is_told),
		check_fake(test_nonsense_ends_the_channel_and_leaks_nothing),
		check_fake(test_gap_in_the_sequences_ends_the_channel),
		check_fake(test_connections_before_the_welcome_end_the_channel),
		check_fake(test_connection_waits_while_memory_is_short),
		check_fake(test_welcome_that_cannot_be_kept_is_asked_for_again),
		check_fake(test_new_without_memory_leaks_nothing),
		check_fake(test_new_without_descriptors_leaks_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
