/* SPDX-License-Identifier: MIT */
/* libusher: connections, from the hand-off over the claim to the release. */
#include "fake-usherd.h"
#include "fd.h"
#include "test.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static void accept_n(struct usher *u, struct usher_connection *ret, size_t n)
{
	for (size_t i = 0; i < n; i++)
		assert_int_equal(usher_accept(u, &ret[i], 0), 0);
}

static void close_clients(const int *clients, size_t n)
{
	for (size_t i = 0; i < n; i++)
		assert_eof(clients[i]);
}

/* --- the claim --- */

static void test_sixteen_connections_one_claim_before_the_first(void **state)
{
	struct usher *u = new_registered(0);
	struct usher_connection connections[16];
	int clients[16];

	(void)state;
	fake_give(16, clients, NULL);
	wait_readable(usher_fd(u));
	accept_n(u, connections, 1);
	fake_expect_claim(16); /* it is there before the first was returned */
	accept_n(u, connections + 1, 15);
	assert_nothing_to_accept(u);
	fake_expect_nothing();
	assert_int_equal(usher_holding(u), 16);

	for (size_t i = 0; i < 16; i++) {
		assert_int_equal(send(clients[i], &i, sizeof(i), 0), sizeof(i));
		size_t got = 99;
		assert_int_equal(recv(connections[i].fd, &got, sizeof(got), 0), sizeof(got));
		assert_int_equal(got, i); /* in order */
		usher_close(u, &connections[i]);
	}
	close_clients(clients, 16);
	usher_free(u);
}

static void test_descriptor_is_readable_while_connections_are_queued(void **state)
{
	struct usher *u = new_registered(0);
	int clients[3];

	(void)state;
	fake_give(3, clients, NULL);
	for (size_t i = 0; i < 3; i++) { /* a loop that takes one at a time misses none */
		wait_readable(usher_fd(u));
		accept_and_close(u);
	}
	assert_nothing_to_accept(u);
	assert_false(is_readable(usher_fd(u)));
	close_clients(clients, 3);
	usher_free(u);
}

/* Nothing is switched off that the next batch would switch on. */
static void test_descriptor_stays_readable_until_nothing_is_returned(void **state)
{
	struct usher *u = new_registered(0);
	int clients[3];

	(void)state;
	for (size_t batch = 0; batch < 3; batch++) {
		fake_give(3, clients, NULL);
		for (size_t i = 0; i < 3; i++)
			accept_and_close(u);
		assert_true(is_readable(usher_fd(u)));
		close_clients(clients, 3);
	}
	assert_nothing_to_accept(u);
	assert_false(is_readable(usher_fd(u)));
	close(fake_give_one()); /* one alone is never queued */
	accept_and_close(u);
	assert_false(is_readable(usher_fd(u)));
	usher_free(u);
}

static void test_nothing_is_returned_until_the_claim_could_be_sent(void **state)
{
	struct usher *u = new_registered(0);
	int clients[2];

	(void)state;
	fill_channel(u);
	clients[0] = fake_give_one();
	clients[1] = fake_give_one();
	wait_readable(usher_fd(u));
	assert_nothing_to_accept(u);
	assert_nothing_to_accept(u);
	assert_false(is_readable(usher_fd(u))); /* no busy loop, though the second one is there */

	while (!is_readable(usher_fd(u)))
		fake_expect(WIRE_STATUS);
	accept_and_close(u);
	fake_skip_filling();
	assert_int_equal(fake.message->header.type, WIRE_CLAIM);
	assert_eof(clients[0]);
	accept_and_close(u);
	assert_eof(clients[1]);
	usher_free(u);
}

static void test_blocked_claim_of_a_dead_usherd_is_ours(void **state)
{
	struct usher *u = new_registered(0);
	int client;

	(void)state;
	fill_channel(u);
	client = fake_give_one();
	assert_nothing_to_accept(u);
	fake_stop();
	wait_readable(usher_fd(u));
	accept_and_close(u);
	assert_eof(client);
	assert_nothing_to_accept(u);
	usher_free(u);
}

/* The timer stays due from the first batch on: what wakes a loop is watched, or not. */
static void test_batches_do_not_set_the_timer(void **state)
{
	struct usher *u = new_registered(0);
	unsigned int n_set = 0;
	int clients[3];

	(void)state;
	for (size_t batch = 0; batch < 5; batch++) {
		fake_give(3, clients, NULL);
		for (size_t i = 0; i < 3; i++) {
			wait_readable(usher_fd(u));
			accept_and_close(u);
		}
		assert_nothing_to_accept(u);
		assert_false(is_readable(usher_fd(u)));
		close_clients(clients, 3);
		if (batch == 0)
			n_set = clock_n_set();
	}
	assert_int_equal(clock_n_set(), n_set);
	usher_free(u);
}

/* --- what a connection looks like --- */

static void test_flags_of_the_socket_are_as_asked(void **state)
{
	struct usher *u = new_registered(0);
	struct usher_connection connection;
	int clients[2];

	(void)state;
	fake_give(2, clients, NULL);
	assert_int_equal(usher_accept(u, &connection, 0), 0);
	assert_false(fcntl(connection.fd, F_GETFL) & O_NONBLOCK);
	assert_true(fcntl(connection.fd, F_GETFD) & FD_CLOEXEC);
	usher_close(u, &connection);
	assert_int_equal(usher_accept(u, &connection, SOCK_NONBLOCK | SOCK_CLOEXEC), 0);
	assert_true(fcntl(connection.fd, F_GETFL) & O_NONBLOCK);
	assert_true(fcntl(connection.fd, F_GETFD) & FD_CLOEXEC);
	usher_close(u, &connection);
	assert_int_equal(connection.fd < 0, 1);
	close_clients(clients, 2);
	usher_free(u);
}

/* Send one connection with this address, of an arbitrary descriptor. */
static void give_from(const struct wire_address *peer, int fd)
{
	struct {
		struct wire_header header;
		struct wire_connection connection;
	} message = {
		.header.type = WIRE_CONNECTIONS,
		.connection =
			{
				.sequence = ++fake.sequence,
				.id = ++fake.id,
				.accepted_ns = 1234567890 * SECOND_NS + 42,
				.listener = 3,
				.peer = *peer,
			},
	};

	fake_send(&message, sizeof(message), &fd, 1);
}

static void test_socket_whose_flags_cannot_be_set_is_ended(void **state)
{
	struct usher *u = new_registered(0);
	const struct wire_address peer = {.family = AF_UNIX};
	struct usher_connection connection;
	_cleanup_close_ int fd = open("/", O_PATH | O_CLOEXEC); /* FIONBIO says EBADF */

	(void)state;
	give_from(&peer, fd);
	assert_int_equal(usher_accept(u, &connection, 0), -EBADF);
	fake_expect_claim(1);
	fake_expect_release((const uint64_t[]){1}, 1);
	assert_int_equal(usher_holding(u), 0);
	usher_free(u);
}

static void test_addresses_and_time_are_told(void **state)
{
	static const struct wire_address peers[] = {
		{.family = AF_INET, .port = 0x5000, .address = {192, 0, 2, 1}},
		{.family = AF_INET6,
			.port = 0x5000,
			.scope_id = 2,
			.address = {0xfe, 0x80, [15] = 1}},
		{.family = AF_UNIX},
	};
	static const socklen_t lengths[] = {
		sizeof(struct sockaddr_in), sizeof(struct sockaddr_in6), sizeof(sa_family_t)};
	struct usher *u = new_registered(0);
	struct usher_connection connection;
	int pair[2];

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		struct wire_address peer;

		test_socketpair(pair);
		give_from(&peers[i], pair[1]);
		close(pair[1]);
		assert_int_equal(usher_accept(u, &connection, 0), 0);
		assert_int_equal(connection.peer_length, lengths[i]);
		wire_address_from_sockaddr(&peer, (const struct sockaddr *)&connection.peer);
		assert_memory_equal(&peer, &peers[i], sizeof(peer));
		assert_int_equal(connection.listener, 3);
		assert_int_equal(connection.accepted.tv_sec, 1234567890);
		assert_int_equal(connection.accepted.tv_nsec, 42);
		for (size_t j = 0; j < 4; j++)
			assert_int_equal(connection.reserved[j], 0);
		usher_close(u, &connection);
		assert_eof(pair[0]);
	}
	usher_free(u);
}

/* --- the release --- */

static void test_close_ends_the_connection_though_a_copy_is_open(void **state)
{
	struct usher *u = new_registered(0);
	int client, copy;

	(void)state;
	fake_give(1, &client, &copy);
	accept_and_close(u);
	assert_eof(client);
	close(copy);
	usher_free(u);
}

static void test_release_is_sent_at_once_after_eagain(void **state)
{
	struct usher *u = new_registered(0);
	struct usher_connection connections[2], none;
	int clients[2];

	(void)state;
	fake_give(2, clients, NULL);
	accept_n(u, connections, 2);
	fake_expect_claim(2);
	assert_int_equal(usher_accept(u, &none, 0), -EAGAIN);
	usher_close(u, &connections[1]);
	fake_expect_release((const uint64_t[]){2}, 1);
	usher_close(u, &connections[0]);
	fake_expect_release((const uint64_t[]){1}, 1);
	close_clients(clients, 2);
	usher_free(u);
}

/* A connection that came alone: nothing says that usher_accept() will be called again. */
static void test_release_of_a_single_connection_is_sent_at_once(void **state)
{
	struct usher *u = new_registered(0);
	int client;

	(void)state;
	fake_give(1, &client, NULL);
	accept_and_close(u);
	fake_expect_claim(1);
	fake_expect_release((const uint64_t[]){1}, 1);
	close(client);
	usher_free(u);
}

static void test_releases_are_collected_until_eagain(void **state)
{
	struct usher *u = new_registered(0);
	struct usher_connection none;
	int clients[4];

	(void)state;
	fake_give(4, clients, NULL);
	for (int i = 0; i < 4; i++)
		accept_and_close(u);
	fake_expect_claim(4);
	fake_expect_nothing();
	assert_true(is_readable(usher_fd(u))); /* so that it is sure to be called again */
	assert_int_equal(usher_accept(u, &none, 0), -EAGAIN);
	fake_expect_release((const uint64_t[]){1, 2, 3, 4}, 4);
	close_clients(clients, 4);
	usher_free(u);
}

/* Else usherd would wait for them, and they for usherd. */
static void test_with_little_credit_left_no_release_is_collected(void **state)
{
	struct usher *u = new_registered(18);
	struct usher_connection connections[3];
	int clients[3];

	(void)state;
	fake_give(3, clients, NULL);
	accept_n(u, connections, 3);
	fake_expect_claim(3);
	usher_close(u, &connections[0]); /* 15 are left */
	fake_expect_release((const uint64_t[]){1}, 1);
	usher_close(u, &connections[1]);
	usher_close(u, &connections[2]);
	fake_expect_nothing();
	usher_free(u);
	close_clients(clients, 3);
}

static void test_sixteen_collected_releases_are_sent(void **state)
{
	struct usher *u = new_registered(0);
	struct usher_connection connections[17];
	uint64_t ids[16];
	int clients[32];

	(void)state;
	fake_give(16, clients, NULL);
	accept_n(u, connections, 16);
	fake_expect_claim(16);
	fake_give(16, clients + 16, NULL);
	accept_n(u, connections + 16, 1);
	fake_expect_claim(32);
	for (size_t i = 0; i < 15; i++)
		assert_int_equal(usher_close(u, &connections[i]), 0);
	fake_expect_nothing();
	usher_close(u, &connections[15]);
	for (size_t i = 0; i < 16; i++)
		ids[i] = i + 1;
	fake_expect_release(ids, 16);
	usher_close(u, &connections[16]);
	usher_free(u);
	close_clients(clients, 32);
}

static void test_releases_that_met_a_full_channel_are_sent_later(void **state)
{
	struct usher *u = new_registered(0);
	struct usher_connection connections[16];
	int clients[16];

	(void)state;
	fake_give(16, clients, NULL);
	accept_n(u, connections, 16);
	assert_nothing_to_accept(u);
	fake_expect_claim(16);
	fill_channel(u);
	for (size_t i = 0; i < 16; i++)
		assert_int_equal(usher_close(u, &connections[i]), 0);
	assert_false(is_readable(usher_fd(u)));
	while (!is_readable(usher_fd(u)))
		fake_expect(WIRE_STATUS);
	assert_nothing_to_accept(u);
	fake_skip_filling();
	assert_int_equal(fake.message->header.type, WIRE_RELEASE);
	assert_int_equal(wire_n_records(fake.message, fake.size), 16);
	close_clients(clients, 16);
	usher_free(u);
}

static void test_release_of_what_is_not_held_is_refused(void **state)
{
	struct usher *u = new_registered(0);
	struct usher_connection first, second;
	int client;

	(void)state;
	assert_int_equal(usher_release(u, 0), -EINVAL);
	assert_int_equal(usher_release(u, 1), -EINVAL);
	client = fake_give_one();
	assert_int_equal(usher_accept(u, &first, 0), 0);
	assert_int_not_equal(first.id, 0);
	assert_int_equal(usher_release(u, first.id + 1), -EINVAL);
	assert_int_equal(usher_close(u, &first), 0);
	assert_int_equal(usher_close(u, &first), -EINVAL); /* twice */
	assert_eof(client);

	client = fake_give_one();
	assert_int_equal(usher_accept(u, &second, 0), 0);
	assert_int_not_equal(second.id, first.id);
	assert_int_equal(usher_release(u, first.id), -EINVAL); /* long over */
	assert_int_equal(usher_close(u, &second), 0);
	assert_eof(client);
	assert_int_equal(usher_holding(u), 0);
	usher_free(u);
}

static void test_five_thousand_held_at_once(void **state)
{
	enum { N = 5000 };
	static struct usher_connection connections[N];
	struct usher *u = new_registered(N);

	(void)state;
	for (size_t i = 0; i < N; i++) {
		close(fake_give_one());
		accept_n(u, &connections[i], 1);
		fake_expect_claim(i + 1);
		connections[i].fd = close_fd(connections[i].fd);
	}
	assert_int_equal(usher_holding(u), N);
	for (size_t i = 0; i < N; i++) {
		assert_int_equal(usher_release(u, connections[i].id), 0);
		fake_expect_release((const uint64_t[]){i + 1}, 1);
	}
	assert_int_equal(usher_holding(u), 0);
	usher_free(u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_fake(test_sixteen_connections_one_claim_before_the_first),
		check_fake(test_descriptor_is_readable_while_connections_are_queued),
		check_fake(test_descriptor_stays_readable_until_nothing_is_returned),
		check_fake(test_batches_do_not_set_the_timer),
		check_fake(test_nothing_is_returned_until_the_claim_could_be_sent),
		check_fake(test_blocked_claim_of_a_dead_usherd_is_ours),
		check_fake(test_flags_of_the_socket_are_as_asked),
		check_fake(test_socket_whose_flags_cannot_be_set_is_ended),
		check_fake(test_addresses_and_time_are_told),
		check_fake(test_close_ends_the_connection_though_a_copy_is_open),
		check_fake(test_release_is_sent_at_once_after_eagain),
		check_fake(test_release_of_a_single_connection_is_sent_at_once),
		check_fake(test_releases_are_collected_until_eagain),
		check_fake(test_with_little_credit_left_no_release_is_collected),
		check_fake(test_sixteen_collected_releases_are_sent),
		check_fake(test_releases_that_met_a_full_channel_are_sent_later),
		check_fake(test_release_of_what_is_not_held_is_refused),
		check_fake(test_five_thousand_held_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
