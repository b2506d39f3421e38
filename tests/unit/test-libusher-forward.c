/* SPDX-License-Identifier: MIT */
/* libusher: connections that are forwarded to us, that we forward, and that we hand back. */
#include "fake-usherd.h"
#include "fd.h"
#include "test.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static uint8_t bytes[USHER_MAX_FORWARD + 1];

/* Bytes that are different everywhere, so that none can be lost or moved. */
static void fill_bytes(void)
{
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 31 + (i >> 8));
}

/* A registration that may forward, with one connection, whose claim was read. */
static struct usher *new_with_connection(struct usher_connection *ret, int *ret_client)
{
	struct usher *u;

	fake.welcome_flags = WIRE_WELCOME_MAY_FORWARD;
	u = new_registered(10);
	*ret_client = fake_give_one();
	assert_int_equal(usher_accept(u, ret, 0), 0);
	fake_expect_claim(1);
	return u;
}

/* The next message must be FORWARD of this, and its descriptor the other end of `client`. */
static void expect_forward(
	uint64_t id, const char *service, const void *data, size_t size, int client)
{
	char byte = 0;

	fake_expect(WIRE_FORWARD);
	assert_int_equal(fake.message->forward.id, id);
	assert_string_equal(fake.message->forward.service, service);
	assert_int_equal(fake.message->forward.peer.family, 0);
	assert_int_equal(wire_n_records(fake.message, fake.size), size);
	if (size > 0)
		assert_memory_equal(fake.message->forward.data, data, size);
	assert_int_equal(
		send(fake.received_fd, "x", 1, MSG_NOSIGNAL), 1); /* it was not shut down */
	assert_int_equal(recv(client, &byte, 1, 0), 1);
	assert_int_equal(byte, 'x');
}

/* The connection is still the application's, and works. */
static void assert_usable(struct usher *u, const struct usher_connection *connection, int client)
{
	char byte = 0;

	assert_int_equal(usher_holding(u), 1);
	assert_int_equal(send(connection->fd, "y", 1, MSG_NOSIGNAL), 1);
	assert_int_equal(recv(client, &byte, 1, 0), 1);
	assert_int_equal(byte, 'y');
}

/* --- to us --- */

static void test_forwarded_connection_brings_its_bytes(void **state)
{
	struct usher *u = new_registered(10);
	struct usher_connection connection;
	int client;

	(void)state;
	fill_bytes();
	client = fake_give_forwarded(bytes, USHER_MAX_FORWARD, NULL);
	wait_readable(usher_fd(u));
	assert_int_equal(usher_accept(u, &connection, 0), 0);
	fake_expect_claim(1);
	assert_string_equal(connection.forwarded_by, "front");
	assert_int_equal(connection.data_size, USHER_MAX_FORWARD);
	assert_memory_equal(connection.data, bytes, USHER_MAX_FORWARD);
	assert_int_equal(connection.listener, UINT32_MAX);
	assert_int_equal(connection.peer.ss_family, AF_INET);
	assert_true(fcntl(connection.fd, F_GETFD) & FD_CLOEXEC);
	assert_false(fcntl(connection.fd, F_GETFL) & O_NONBLOCK);
	assert_int_equal(usher_close(u, &connection), 0);
	assert_null(connection.forwarded_by);
	assert_null(connection.data);
	assert_int_equal(connection.data_size, 0);
	fake_expect_release((const uint64_t[]){1}, 1);
	assert_eof(client);
	usher_free(u);
}

static void test_forwarded_connection_may_bring_nothing(void **state)
{
	struct usher *u = new_registered(10);
	struct usher_connection connection;
	int client;

	(void)state;
	client = fake_give_forwarded(NULL, 0, NULL);
	assert_int_equal(usher_accept(u, &connection, 0), 0);
	assert_string_equal(connection.forwarded_by, "front");
	assert_null(connection.data);
	assert_int_equal(connection.data_size, 0);
	usher_close(u, &connection);
	assert_eof(client);

	client = fake_give_one();
	assert_int_equal(usher_accept(u, &connection, 0), 0);
	assert_null(connection.forwarded_by);
	assert_null(connection.data);
	usher_close(u, &connection);
	assert_eof(client);
	usher_free(u);
}

static void test_forwarded_and_others_come_in_their_order(void **state)
{
	struct usher *u = new_registered(10);
	struct usher_connection connections[5];
	int clients[5];

	(void)state;
	fake_give(2, clients, NULL);
	clients[2] = fake_give_forwarded("a", 1, NULL);
	clients[3] = fake_give_forwarded("b", 1, NULL);
	clients[4] = fake_give_one();
	for (size_t i = 0; i < 5; i++) {
		wait_readable(usher_fd(u));
		assert_int_equal(usher_accept(u, &connections[i], 0), 0);
	}
	fake_expect_claim(2);
	for (uint64_t sequence = 3; sequence <= 5; sequence++)
		fake_expect_claim(sequence);
	assert_null(connections[1].data);
	assert_memory_equal(connections[2].data, "a", 1);
	assert_memory_equal(connections[3].data, "b", 1);
	assert_null(connections[4].data);
	for (size_t i = 0; i < 5; i++) {
		usher_close(u, &connections[i]);
		assert_eof(clients[i]);
	}
	usher_free(u);
}

/* Until each is over, whatever comes after it. */
static void test_bytes_of_many_connections_stay_valid(void **state)
{
	enum { N = 300 };
	static struct usher_connection connections[N];
	static int clients[N];
	struct usher *u = new_registered(N);

	(void)state;
	fill_bytes();
	for (size_t i = 0; i < N; i++) {
		clients[i] = fake_give_forwarded(bytes + i, i, NULL);
		assert_int_equal(usher_accept(u, &connections[i], 0), 0);
		fake_expect_claim(i + 1);
	}
	for (size_t i = 0; i < N; i++) {
		assert_int_equal(connections[i].data_size, i);
		if (i > 0)
			assert_memory_equal(connections[i].data, bytes + i, i);
		if (i % 2 == 0) /* the others are usher_free()'s to forget */
			assert_int_equal(usher_release(u, connections[i].id), 0);
		close(connections[i].fd);
		assert_eof(clients[i]);
	}
	usher_free(u);
}

static void test_forwarded_connections_of_a_dead_usherd_are_served(void **state)
{
	struct usher *u = new_registered(10);
	struct usher_connection connection;
	int clients[2];

	(void)state;
	clients[0] = fake_give_forwarded("a", 1, NULL);
	clients[1] = fake_give_forwarded("b", 1, NULL);
	fake_stop();
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(usher_accept(u, &connection, 0), 0);
		assert_memory_equal(connection.data, i ? "b" : "a", 1);
		usher_close(u, &connection);
		assert_eof(clients[i]);
	}
	usher_free(u);
}

/* --- from us --- */

static void test_forward_gives_socket_and_bytes_and_keeps_neither(void **state)
{
	struct usher_connection connection;
	int client, fd;
	struct usher *u = new_with_connection(&connection, &client);

	(void)state;
	fill_bytes();
	fd = connection.fd;
	assert_int_equal(usher_forward(u, &connection, "mailbox", bytes, USHER_MAX_FORWARD), 0);
	assert_true(connection.fd < 0);
	assert_int_equal(fcntl(fd, F_GETFD), -1);
	assert_int_equal(usher_holding(u), 0);
	expect_forward(1, "mailbox", bytes, USHER_MAX_FORWARD, client);
	fake_expect_nothing(); /* no RELEASE: FORWARD gives the credit back */
	assert_int_equal(usher_release(u, connection.id), -EINVAL);
	usher_set_credit(u, 10);
	fake_expect_credit(1, 10);

	fake.received_fd = close_fd(fake.received_fd);
	assert_eof(client);
	usher_free(u);
}

/* `family` and `host`, in the form of inet_pton(3), are what usherd is told. */
static void check_forward_as(const void *peer, socklen_t length, int family, const char *host)
{
	struct usher_connection connection;
	int client;
	struct usher *u = new_with_connection(&connection, &client);
	struct wire_address expected = {.family = (uint16_t)family, .port = htons(4711)};

	assert_int_equal(inet_pton(family, host, expected.address), 1);
	assert_int_equal(usher_forward_as(u, &connection, "mailbox", "x", 1, peer, length), 0);
	assert_true(connection.fd < 0);
	fake_expect(WIRE_FORWARD);
	assert_string_equal(fake.message->forward.service, "mailbox");
	assert_int_equal(wire_n_records(fake.message, fake.size), 1);
	assert_memory_equal(fake.message->forward.data, "x", 1);
	assert_memory_equal(&fake.message->forward.peer, &expected, sizeof(expected));
	fake.received_fd = close_fd(fake.received_fd);
	close(client);
	usher_free(u);
}

static struct sockaddr_in6 make_ipv6(const char *host)
{
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(4711)};

	assert_int_equal(inet_pton(AF_INET6, host, &in6.sin6_addr), 1);
	return in6;
}

static void test_forward_says_who_the_client_is(void **state)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(4711)};

	(void)state;
	assert_int_equal(inet_pton(AF_INET, "192.0.2.1", &in.sin_addr), 1);
	check_forward_as(&in, sizeof(in), AF_INET, "192.0.2.1");
}

static void test_forward_says_who_the_client_is_by_ipv6(void **state)
{
	struct sockaddr_in6 in6 = make_ipv6("2001:db8::1");

	(void)state;
	check_forward_as(&in6, sizeof(in6), AF_INET6, "2001:db8::1");
}

static void test_forward_says_who_the_client_is_by_mapped_ipv4(void **state)
{
	struct sockaddr_in6 in6 = make_ipv6("::ffff:192.0.2.1");

	(void)state;
	check_forward_as(&in6, sizeof(in6), AF_INET, "192.0.2.1");
}

static void test_forward_as_nobody_of_the_internet(void **state)
{
	struct sockaddr_in6 in6 = make_ipv6("2001:db8::1");
	struct sockaddr_in in = {.sin_family = AF_INET};
	struct sockaddr local = {.sa_family = AF_UNIX};
	const struct {
		const void *address;
		socklen_t length;
	} cases[] = {{&in6, sizeof(in6) - 1}, {&in, sizeof(in) - 1}, {&in, 1}, {&in, 0},
		{&local, sizeof(local)}};
	struct usher_connection connection;
	int client;
	struct usher *u = new_with_connection(&connection, &client);

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(usher_forward_as(u, &connection, "mailbox", NULL, 0,
					 cases[i].address, cases[i].length),
			-EINVAL);
	assert_usable(u, &connection, client);
	usher_close(u, &connection);
	close(client);
	usher_free(u);
}

static void test_forwarded_connection_is_forwarded_again(void **state)
{
	struct usher_connection connection;
	struct usher *u;
	int client;

	(void)state;
	fake.welcome_flags = WIRE_WELCOME_MAY_FORWARD;
	u = new_registered(10);
	client = fake_give_forwarded("LOGIN", 5, NULL);
	assert_int_equal(usher_accept(u, &connection, 0), 0);
	fake_expect_claim(1);
	assert_int_equal(usher_forward(u, &connection, "mailbox", connection.data, 2), 0);
	assert_null(connection.data);
	assert_null(connection.forwarded_by);
	assert_int_equal(connection.data_size, 0);
	expect_forward(1, "mailbox", "LO", 2, client);
	close(client);
	usher_free(u);
}

static void test_decline_hands_back_with_the_bytes_it_came_with(void **state)
{
	struct usher_connection connections[3];
	struct usher *u;
	int clients[3];

	(void)state;
	fake.welcome_flags = WIRE_WELCOME_MAY_FORWARD;
	u = new_registered(10);
	fake_give(2, clients, NULL);
	clients[2] = fake_give_forwarded("LOGIN", 5, NULL);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(usher_accept(u, &connections[i], 0), 0);
	assert_nothing_to_accept(u);
	fake_expect_claim(2);
	fake_expect_claim(3);
	assert_int_equal(usher_decline(u, &connections[0]), 0);
	expect_forward(1, "", NULL, 0, clients[0]);
	assert_int_equal(usher_decline(u, &connections[2]), 0);
	expect_forward(3, "", "LOGIN", 5, clients[2]);

	/* The credit is withdrawn: what is released brings some, and a second all. */
	usher_close(u, &connections[1]);
	fake_expect_release((const uint64_t[]){2}, 1);
	usher_set_credit(u, 20);
	fake_expect_credit(3, 0);
	assert_int_equal(clock_pause_ns(), SECOND_NS);
	clock_advance(SECOND_NS);
	assert_nothing_to_accept(u);
	fake_expect_credit(3, 20);
	for (size_t i = 0; i < 3; i++)
		close(clients[i]);
	usher_free(u);
}

static void test_forward_to_the_own_name_hands_back(void **state)
{
	struct usher_connection connection;
	int client;
	struct usher *u = new_with_connection(&connection, &client);

	(void)state;
	assert_int_equal(usher_forward(u, &connection, "test", "x", 1), 0);
	expect_forward(1, "test", "x", 1, client);
	end_pause(u, SECOND_NS);
	fake_expect_credit(1, 10);
	close(client);
	usher_free(u);
}

static void test_forward_on_a_later_channel_has_no_id(void **state)
{
	struct usher_connection connection;
	int client;
	struct usher *u = new_with_connection(&connection, &client);

	(void)state;
	reconnect(u);
	assert_int_equal(usher_forward(u, &connection, "mailbox", "x", 1), 0);
	expect_forward(0, "mailbox", "x", 1, client);
	reconnect(u);
	assert_int_equal(fake.message->hello.holding, 0);
	close(client);
	usher_free(u);
}

static void test_forward_still_works_after_the_last_connection(void **state)
{
	struct usher_connection connection;
	int client;
	struct usher *u = new_with_connection(&connection, &client);

	(void)state;
	fake_send_draining(WIRE_DRAINING_REPLACED);
	assert_shut_down(u);
	assert_int_equal(usher_forward(u, &connection, "mailbox", NULL, 0), 0);
	expect_forward(1, "mailbox", NULL, 0, client);
	close(client);
	usher_free(u);
}

/* --- what does not work leaves the connection as it is --- */

static void test_forward_that_usherd_does_not_allow(void **state)
{
	struct usher *u = new_registered(10);
	struct usher_connection connection;
	int client;

	(void)state;
	client = fake_give_forwarded("x", 1, NULL);
	assert_int_equal(usher_accept(u, &connection, 0), 0);
	fake_expect_claim(1);
	assert_int_equal(usher_forward(u, &connection, "mailbox", NULL, 0), -EPERM);
	assert_int_equal(usher_decline(u, &connection), -EPERM);
	fake_expect_nothing();
	assert_usable(u, &connection, client);
	assert_memory_equal(connection.data, "x", 1);
	usher_close(u, &connection);
	assert_eof(client);
	usher_free(u);
}

static void test_forward_that_a_reload_begins_to_allow(void **state)
{
	struct usher *u = new_registered(10);
	struct usher_connection first, second;
	int clients[2];

	(void)state;
	clients[0] = fake_give_one();
	assert_int_equal(usher_accept(u, &first, 0), 0);
	fake_expect_claim(1);
	assert_int_equal(usher_forward(u, &first, "mailbox", NULL, 0), -EPERM);
	fake.welcome_flags = WIRE_WELCOME_MAY_FORWARD;
	fake_welcome();
	clients[1] = fake_give_one();
	assert_int_equal(usher_accept(u, &second, 0), 0);
	fake_expect_claim(2);
	assert_int_equal(usher_forward(u, &first, "mailbox", NULL, 0), 0);
	expect_forward(1, "mailbox", NULL, 0, clients[0]);
	usher_close(u, &second);
	assert_eof(clients[1]);
	close(clients[0]);
	usher_free(u);
}

static void test_forward_without_usherd(void **state)
{
	struct usher_connection connection;
	int client;
	struct usher *u = new_with_connection(&connection, &client);

	(void)state;
	fake_hang_up(); /* nobody has noticed yet */
	assert_int_equal(usher_forward(u, &connection, "mailbox", NULL, 0), -ENOTCONN);
	assert_nothing_to_accept(u);
	assert_int_equal(usher_forward(u, &connection, "mailbox", NULL, 0), -ENOTCONN);
	meet_again(u);
	assert_int_equal(usher_forward(u, &connection, "mailbox", NULL, 0), -ENOTCONN);
	assert_usable(u, &connection, client);
	welcome_again(u);
	assert_int_equal(usher_forward(u, &connection, "mailbox", NULL, 0), 0);
	expect_forward(0, "mailbox", NULL, 0, client);
	close(client);
	usher_free(u);
}

static void test_forward_into_a_full_channel(void **state)
{
	struct usher_connection connection;
	int client;
	struct usher *u = new_with_connection(&connection, &client);

	(void)state;
	fill_channel(u);
	assert_int_equal(usher_forward(u, &connection, "mailbox", "x", 1), -EAGAIN);
	assert_usable(u, &connection, client);
	assert_false(is_readable(usher_fd(u))); /* until there is room */
	while (!is_readable(usher_fd(u)))
		fake_expect(WIRE_STATUS);
	assert_nothing_to_accept(u);
	assert_int_equal(usher_forward(u, &connection, "mailbox", "x", 1), 0);
	do
		fake_receive();
	while (fake.message->header.type == WIRE_STATUS && is_readable(fake.channel_fd));
	assert_int_equal(fake.message->header.type, WIRE_FORWARD);
	close(client);
	usher_free(u);
}

/* A large message is refused where a small one still fits: usher_fd() tells of room for it too. */
static void test_forward_that_alone_finds_no_room_is_waited_for(void **state)
{
	enum { N = 10 };
	struct usher_connection connections[N];
	int clients[N], r = 0;
	struct usher *u;
	size_t n = 0;

	(void)state;
	fake.welcome_flags = WIRE_WELCOME_MAY_FORWARD;
	u = new_registered(N);
	fake_give(N, clients, NULL);
	for (size_t i = 0; i < N; i++)
		assert_int_equal(usher_accept(u, &connections[i], 0), 0);
	assert_nothing_to_accept(u);
	while (n < N && r == 0)
		r = usher_forward(u, &connections[n++], "mailbox", bytes, USHER_MAX_FORWARD);
	assert_int_equal(r, -EAGAIN);
	n--;
	assert_false(is_readable(usher_fd(u)));
	while (!is_readable(usher_fd(u)))
		fake_receive();
	assert_nothing_to_accept(u);
	assert_false(is_readable(usher_fd(u)));
	for (; n < N; n++)
		assert_int_equal(usher_close(u, &connections[n]), 0);
	for (size_t i = 0; i < N; i++)
		close(clients[i]);
	usher_free(u);
}

static void test_forward_of_what_makes_no_sense(void **state)
{
	static const char *const names[] = {"", ".hidden", "a/b", "a b", "caf\xc3\xa9",
		"0123456789012345678901234567890123456789012345678901234567890123"};
	struct usher_connection connection, other;
	int client;
	struct usher *u = new_with_connection(&connection, &client);

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		assert_int_equal(usher_forward(u, &connection, names[i], NULL, 0), -EINVAL);
	assert_int_equal(
		usher_forward(u, &connection, "mailbox", bytes, USHER_MAX_FORWARD + 1), -EMSGSIZE);
	other = connection;
	other.id++;
	assert_int_equal(usher_forward(u, &other, "mailbox", NULL, 0), -EINVAL);
	assert_int_equal(usher_decline(u, &other), -EINVAL);
	fake_expect_nothing();
	assert_usable(u, &connection, client);
	assert_int_equal(usher_close(u, &connection), 0);
	assert_int_equal(usher_forward(u, &connection, "mailbox", NULL, 0), -EINVAL);
	assert_eof(client);
	usher_free(u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_fake(test_forwarded_connection_brings_its_bytes),
		check_fake(test_forwarded_connection_may_bring_nothing),
		check_fake(test_forwarded_and_others_come_in_their_order),
		check_fake(test_bytes_of_many_connections_stay_valid),
		check_fake(test_forwarded_connections_of_a_dead_usherd_are_served),
		check_fake(test_forward_gives_socket_and_bytes_and_keeps_neither),
		check_fake(test_forward_says_who_the_client_is),
		check_fake(test_forward_says_who_the_client_is_by_ipv6),
		check_fake(test_forward_says_who_the_client_is_by_mapped_ipv4),
		check_fake(test_forward_as_nobody_of_the_internet),
		check_fake(test_forwarded_connection_is_forwarded_again),
		check_fake(test_decline_hands_back_with_the_bytes_it_came_with),
		check_fake(test_forward_to_the_own_name_hands_back),
		check_fake(test_forward_on_a_later_channel_has_no_id),
		check_fake(test_forward_still_works_after_the_last_connection),
		check_fake(test_forward_that_usherd_does_not_allow),
		check_fake(test_forward_that_a_reload_begins_to_allow),
		check_fake(test_forward_without_usherd),
		check_fake(test_forward_into_a_full_channel),
		check_fake(test_forward_that_alone_finds_no_room_is_waited_for),
		check_fake(test_forward_of_what_makes_no_sense),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
