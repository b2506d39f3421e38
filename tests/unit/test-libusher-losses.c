/* SPDX-License-Identifier: MIT */
/* libusher: usherd dies, hangs up or sends nonsense. */
#include "fake-usherd.h"
#include "test.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static bool is_hung_up_on_at_once;
static int refusal_at_once; /* 0: none */

/* usherd may be so fast that it has answered before HELLO is sent. */
int __real_connect(int fd, const struct sockaddr *address, socklen_t length);
int __wrap_connect(int fd, const struct sockaddr *address, socklen_t length);
int __wrap_connect(int fd, const struct sockaddr *address, socklen_t length)
{
	int r = __real_connect(fd, address, length);

	if (r == 0 && is_hung_up_on_at_once) {
		fake_accept_silently();
		if (refusal_at_once != 0)
			fake_send_refused(refusal_at_once, "not you");
		fake_hang_up();
	}
	return r;
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
	fake_accept_silently();
	fake_send_refused(EUSERS, "too many"); /* with HELLO unread */
	assert_int_equal(usher_accept(u, &connection, 0), -EUSERS);
	usher_free(u);
}

static void test_refusal_before_hello_is_read(void **state)
{
	struct usher *u = new_usher(0);
	struct usher_connection connection;
	char why[WIRE_REASON_SIZE];

	(void)state;
	is_hung_up_on_at_once = true;
	refusal_at_once = EACCES;
	assert_int_equal(usher_accept(u, &connection, 0), -EACCES);
	is_hung_up_on_at_once = false;
	usher_error(u, why, sizeof(why));
	assert_string_equal(why, "not you");
	assert_nothing_to_accept(u);
	end_pause(u, 2 * SECOND_NS);
	fake_accept();
	usher_free(u);
}

static void test_end_before_hello_is_no_error(void **state)
{
	struct usher *u = new_usher(0);

	(void)state;
	is_hung_up_on_at_once = true;
	refusal_at_once = 0;
	assert_nothing_to_accept(u);
	is_hung_up_on_at_once = false;
	assert_false(usher_is_registered(u));
	end_pause(u, 50 * MS_NS);
	fake_accept();
	welcome_again(u);
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
	static const struct wire_draining flagged = {.header = {.type = WIRE_DRAINING, .flags = 1}};
	static const struct wire_draining draining = {.header.type = WIRE_DRAINING};
	static const struct wire_draining no_reason = {.header.type = WIRE_DRAINING, .reason = 4};
	static const struct wire_welcome version_2 = {
		.header.type = WIRE_WELCOME, .version = 2, .service = "test"};
	static const struct wire_refused no_error = {.header.type = WIRE_REFUSED};
	static const struct wire_forwarded forwarded_by_nobody = {
		.header.type = WIRE_FORWARDED, .connection = {.sequence = 1, .id = 1}, .n_hops = 1};
	static const struct wire_forwarded never_forwarded = {.header.type = WIRE_FORWARDED,
		.connection = {.sequence = 1, .id = 1},
		.from = "front"};
	static const struct wire_forwarded two_connections = {.header.type = WIRE_FORWARDED,
		.connection = {.sequence = 1, .id = 1},
		.from = "front",
		.n_hops = 1};
	static const struct wire_forward from_usherd = {.header.type = WIRE_FORWARD, .id = 1};
	static const uint8_t too_long[sizeof(union wire_message) + 8] = {WIRE_WELCOME};
	static const uint8_t too_many_bytes[sizeof(union wire_message) + 1] = {WIRE_FORWARDED};
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
		{&no_reason, sizeof(no_reason), 0},
		{&draining, sizeof(struct wire_drain), 0},
		{&forwarded_by_nobody, sizeof(forwarded_by_nobody), 1},
		{&never_forwarded, sizeof(never_forwarded), 1},
		{&two_connections, sizeof(two_connections), 2},
		{&two_connections, sizeof(two_connections) - 1, 1},
		{&from_usherd, sizeof(from_usherd), 1},
		{too_many_bytes, sizeof(too_many_bytes), 1},
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
	meet_again(u);
	welcome_again(u);
	fake.sequence++;
	client = fake_give_forwarded("x", 1, NULL);
	expect_protocol_error(u);
	assert_eof(client);
	usher_free(u);
}

/* The error was told, and has to be enough for a loop that sees only changes. */
static void test_retry_is_due_though_only_the_error_was_told(void **state)
{
	static const struct wire_header unknown = {.type = 99};
	struct usher *u = new_registered(0);
	struct usher_connection connection;
	int clients[2];

	(void)state;
	fake_give(2, clients, NULL);
	fake_send(&unknown, sizeof(unknown), NULL, 0);
	accept_and_close(u);
	accept_and_close(u);
	assert_int_equal(usher_accept(u, &connection, 0), -EPROTO);
	end_pause(u, 50 * MS_NS);
	fake_accept();
	assert_eof(clients[0]);
	assert_eof(clients[1]);
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
	meet_again(u);
	client = fake_give_forwarded("x", 1, NULL);
	expect_protocol_error(u);
	assert_eof(client);
	usher_free(u);
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
		check_fake(test_refusal_before_hello_is_read),
		check_fake(test_end_before_hello_is_no_error),
		check_fake(test_nonsense_ends_the_channel_and_leaks_nothing),
		check_fake(test_gap_in_the_sequences_ends_the_channel),
		check_fake(test_retry_is_due_though_only_the_error_was_told),
		check_fake(test_connections_before_the_welcome_end_the_channel),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
