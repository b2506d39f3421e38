/* SPDX-License-Identifier: MIT */
/* libusher: what a provider may wish of usherd: to be shown, to get more or less, to leave. */
#include "fake-usherd.h"
#include "test.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

/* --- status, credit --- */

static void test_status_is_sent_and_kept(void **state)
{
	struct usher *u = new_usher(0);
	char long_text[2 * WIRE_STATUS_SIZE];

	(void)state;
	usher_set_status(u, "warming up\n");
	assert_nothing_to_accept(u);
	fake_accept();
	fake_expect_nothing(); /* what version 1 says comes after the version is agreed */
	fake_welcome();
	assert_nothing_to_accept(u);
	fake_expect(WIRE_STATUS);
	assert_string_equal(fake.message->status.text, "warming up?");

	memset(long_text, 'x', sizeof(long_text) - 1);
	long_text[sizeof(long_text) - 1] = '\0';
	usher_set_status(u, long_text);
	fake_expect(WIRE_STATUS);
	assert_int_equal(strlen(fake.message->status.text), WIRE_STATUS_SIZE - 1);
	usher_set_status(u, "ready");
	fake_expect(WIRE_STATUS);

	reconnect(u);
	fake_expect(WIRE_STATUS);
	assert_string_equal(fake.message->status.text, "ready");
	usher_set_status(u, "");
	fake_expect(WIRE_STATUS);
	reconnect(u);
	fake_expect_nothing();
	usher_free(u);
}

static void test_credit_counts_what_is_held(void **state)
{
	struct usher *u = new_registered(10);
	struct usher_connection connections[3];
	int clients[3];

	(void)state;
	assert_int_equal(usher_set_credit(u, (1 << 20) + 1), -EINVAL);
	fake_give(3, clients, NULL);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(usher_accept(u, &connections[i], 0), 0);
	fake_expect_claim(3);
	assert_int_equal(usher_holding(u), 3);

	assert_int_equal(usher_set_credit(u, 5), 0);
	fake_expect_credit(3, 2);
	assert_int_equal(usher_set_credit(u, 1), 0);
	fake_expect_credit(3, -2);

	/* HELLO has no negative credit: the rest of it follows. */
	reconnect(u);
	fake_expect_credit(0, -2);
	for (size_t i = 0; i < 3; i++) {
		usher_close(u, &connections[i]);
		fake_expect_release((const uint64_t[]){0}, 1);
		assert_eof(clients[i]);
	}
	assert_int_equal(usher_holding(u), 0);
	usher_free(u);
}

/* What was released meanwhile still brings credit when it is told, so CREDIT counts without it. */
static void test_credit_below_zero_comes_before_releases(void **state)
{
	struct usher *u = new_registered(3);
	struct usher_connection connections[3];
	int clients[3];

	(void)state;
	fake_give(3, clients, NULL);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(usher_accept(u, &connections[i], 0), 0);
	fake_hang_up();
	usher_set_credit(u, 1);
	assert_nothing_to_accept(u);
	end_pause(u, 50 * MS_NS);
	fake_accept();
	assert_int_equal(fake.message->hello.credit, 0);
	assert_int_equal(fake.message->hello.holding, 3);
	for (size_t i = 0; i < 3; i++) {
		usher_close(u, &connections[i]);
		assert_eof(clients[i]);
	}
	fake_welcome();
	assert_nothing_to_accept(u);
	fake_expect_credit(0, -2); /* and three make one */
	fake_expect_release((const uint64_t[]){0, 0, 0}, 3);
	usher_free(u);
}

static void test_credit_set_while_away_is_in_the_hello(void **state)
{
	struct usher *u = new_registered(10);

	(void)state;
	fake_hang_up();
	assert_nothing_to_accept(u);
	assert_int_equal(usher_set_credit(u, 0), 0);
	end_pause(u, 50 * MS_NS);
	fake_accept();
	assert_int_equal(fake.message->hello.credit, 0);
	fake_welcome();
	assert_nothing_to_accept(u);
	fake_expect_nothing();
	usher_free(u);
}

static void test_credit_set_before_the_welcome_follows_it(void **state)
{
	struct usher *u = new_usher(10);

	(void)state;
	assert_nothing_to_accept(u);
	fake_accept();
	usher_set_credit(u, 20);
	fake_expect_nothing();
	fake_welcome();
	assert_nothing_to_accept(u);
	fake_expect_credit(0, 20);
	usher_free(u);
}

/* --- leaving --- */

static void test_drain_returns_what_is_on_its_way(void **state)
{
	struct usher *u = new_registered(10);
	struct usher_connection connection;
	int client;

	(void)state;
	client = fake_give_one();
	usher_drain(u);
	usher_drain(u);
	fake_expect(WIRE_DRAIN);
	assert_int_equal(usher_accept(u, &connection, 0), 0);
	fake_expect_claim(1);
	assert_nothing_to_accept(u); /* usherd has not answered yet */
	fake_send_draining(WIRE_DRAINING_ASKED);
	assert_shut_down(u);
	usher_close(u, &connection); /* is still told */
	fake_expect_release((const uint64_t[]){1}, 1);
	assert_eof(client);
	usher_free(u);
}

static void test_drain_before_the_welcome(void **state)
{
	struct usher *u = new_usher(0);

	(void)state;
	assert_nothing_to_accept(u);
	usher_drain(u);
	fake_accept();
	fake_welcome();
	assert_nothing_to_accept(u);
	fake_expect(WIRE_DRAIN);
	fake_send_draining(WIRE_DRAINING_ASKED);
	assert_shut_down(u);
	usher_free(u);
}

static void test_drain_while_usherd_is_away_is_done_at_once(void **state)
{
	struct usher *u = new_usher(0);

	(void)state;
	fake_stop();
	assert_nothing_to_accept(u);
	usher_drain(u);
	assert_shut_down(u);
	usher_free(u);
}

static void test_drain_ends_when_usherd_dies(void **state)
{
	struct usher *u = new_registered(0);
	int client = fake_give_one();

	(void)state;
	usher_drain(u);
	fake_stop();
	wait_readable(usher_fd(u));
	accept_and_close(u);
	assert_eof(client);
	assert_shut_down(u);
	usher_free(u);
}

static void test_draining_unasked_is_followed_by_a_new_registration(void **state)
{
	struct usher *u = new_registered(0);

	(void)state;
	fake_send_draining(WIRE_DRAINING_ENDING);
	assert_nothing_to_accept(u);
	assert_false(usher_is_registered(u));
	fake_hang_up(); /* when usherd hangs up */
	assert_nothing_to_accept(u);
	end_pause(u, 50 * MS_NS);
	fake_accept();
	fake_welcome();
	assert_nothing_to_accept(u);
	assert_true(usher_is_registered(u));

	fake_send_draining(WIRE_DRAINING_ASKED); /* a mistake of usherd is no reason to leave */
	assert_nothing_to_accept(u);
	end_pause(u, 2 * SECOND_NS); /* or when it does not */
	fake_accept();
	fake_welcome();
	assert_nothing_to_accept(u);
	assert_true(usher_is_registered(u));
	usher_free(u);
}

static void test_drain_after_draining_unasked_is_done(void **state)
{
	struct usher *u = new_registered(0);

	(void)state;
	fake_send_draining(WIRE_DRAINING_ENDING);
	assert_nothing_to_accept(u);
	usher_drain(u);
	assert_shut_down(u);
	usher_free(u);
}

static void test_drain_is_done_when_the_service_ends_meanwhile(void **state)
{
	struct usher *u = new_registered(0);

	(void)state;
	usher_drain(u);
	fake_send_draining(WIRE_DRAINING_ENDING);
	assert_shut_down(u);
	usher_free(u);
}

/* usherd wants no more of this registration, for good: no new one follows, whatever happens. */
static void expect_leaving(enum wire_draining_reason reason, const char *why)
{
	struct usher *u = new_registered(0);
	struct usher_connection connection;
	char told[WIRE_REASON_SIZE];
	int clients[2];

	fake_give(2, clients, NULL);
	fake_send_draining(reason);
	assert_int_equal(usher_accept(u, &connection, 0), 0);
	fake_expect_claim(2);
	accept_and_close(u); /* what came before is returned before */
	assert_shut_down(u);
	fake_expect_release((const uint64_t[]){2}, 1);
	usher_error(u, told, sizeof(told));
	assert_string_equal(told, why);
	assert_true(usher_is_registered(u));

	usher_close(u, &connection); /* finishes what it has, and usherd hears of it */
	fake_expect_release((const uint64_t[]){1}, 1);
	assert_int_equal(usher_drain(u), 0);
	fake_expect_nothing();
	fake_hang_up();
	clock_advance(10 * SECOND_NS);
	assert_shut_down(u);
	assert_false(is_readable(fake.listen_fd));
	usher_free(u);
	assert_eof(clients[0]);
	assert_eof(clients[1]);
}

static void test_replaced_provider_leaves(void **state)
{
	(void)state;
	expect_leaving(WIRE_DRAINING_REPLACED, "a newer provider has taken over this service");
}

static void test_provider_drained_by_the_administrator_leaves(void **state)
{
	(void)state;
	expect_leaving(WIRE_DRAINING_ADMINISTRATOR, "the administrator has drained this provider");
}

/* The order of "ends soon" and "for good" must not matter. */
static void test_provider_replaced_while_usherd_ends_leaves(void **state)
{
	struct usher *u = new_registered(0);

	(void)state;
	fake_send_draining(WIRE_DRAINING_ENDING);
	fake_send_draining(WIRE_DRAINING_REPLACED);
	assert_shut_down(u);
	assert_true(usher_is_registered(u)); /* still, to finish what it has */
	clock_advance(10 * SECOND_NS);
	assert_shut_down(u);
	assert_false(is_readable(fake.listen_fd));
	usher_free(u);
}

static void test_standby_is_said_in_every_hello(void **state)
{
	const struct usher_options options = {
		.size = sizeof(options),
		.flags = USHER_NONBLOCK | USHER_STANDBY,
	};
	struct usher *u;

	(void)state;
	assert_int_equal(usher_new(&u, "test", &options), 0);
	assert_nothing_to_accept(u);
	fake_accept();
	assert_int_equal(fake.message->header.flags, WIRE_HELLO_STANDBY);
	fake_hang_up();
	meet_again(u);
	assert_int_equal(fake.message->header.flags, WIRE_HELLO_STANDBY);
	usher_free(u);

	u = new_usher(0);
	assert_nothing_to_accept(u);
	fake_accept();
	assert_int_equal(fake.message->header.flags, 0);
	usher_free(u);
}

static void test_free_ends_what_was_not_returned(void **state)
{
	struct usher *u = new_registered(0);
	int clients[3], copies[3];

	(void)state;
	fake_give(3, clients, copies);
	accept_and_close(u);
	usher_free(u);
	for (size_t i = 0; i < 3; i++) {
		assert_eof(clients[i]);
		close(copies[i]);
	}
}

/* usherd was not told that they are ours, so they are not: it gives its copies to somebody else. */
static void test_free_leaves_alone_what_could_not_be_claimed(void **state)
{
	struct usher *u = new_registered(0);
	int clients[3], copies[3];

	(void)state;
	fill_channel(u);
	fake_give(3, clients, copies);
	assert_nothing_to_accept(u);
	usher_free(u);
	for (size_t i = 0; i < 3; i++) {
		char byte = 0;

		assert_int_equal(send(copies[i], "x", 1, MSG_NOSIGNAL), 1);
		assert_int_equal(recv(clients[i], &byte, 1, 0), 1);
		assert_int_equal(byte, 'x');
		close(copies[i]);
		assert_eof(clients[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_fake(test_status_is_sent_and_kept),
		check_fake(test_credit_counts_what_is_held),
		check_fake(test_credit_below_zero_comes_before_releases),
		check_fake(test_credit_set_while_away_is_in_the_hello),
		check_fake(test_credit_set_before_the_welcome_follows_it),
		check_fake(test_drain_returns_what_is_on_its_way),
		check_fake(test_drain_before_the_welcome),
		check_fake(test_drain_while_usherd_is_away_is_done_at_once),
		check_fake(test_drain_ends_when_usherd_dies),
		check_fake(test_draining_unasked_is_followed_by_a_new_registration),
		check_fake(test_drain_after_draining_unasked_is_done),
		check_fake(test_drain_is_done_when_the_service_ends_meanwhile),
		check_fake(test_replaced_provider_leaves),
		check_fake(test_provider_drained_by_the_administrator_leaves),
		check_fake(test_provider_replaced_while_usherd_ends_leaves),
		check_fake(test_standby_is_said_in_every_hello),
		check_fake(test_free_ends_what_was_not_returned),
		check_fake(test_free_leaves_alone_what_could_not_be_claimed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
