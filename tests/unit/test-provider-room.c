/* SPDX-License-Identifier: MIT */
/*
 * A channel without room, or one that is told of changed listeners: what waits, for how long, and
 * in which order it comes.
 *
 * sendmsg(2) is wrapped to fail when it carries descriptors.
 */
#include "loop.h"
#include "service-world.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#define N_ELEMENTS(array) (sizeof(array) / sizeof((array)[0]))

static int send_error, n_send_errors;

ssize_t __real_sendmsg(int fd, const struct msghdr *message, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags);

ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags)
{
	if (n_send_errors > 0 && message->msg_controllen > 0) {
		n_send_errors--;
		errno = send_error;
		return -1;
	}
	return __real_sendmsg(fd, message, flags);
}

static enum provider_state state_of(const struct world *w, unsigned int number)
{
	return provider_of(w, number)->record->state;
}

static void check_service(const struct world *w)
{
	dispatch_check(service_dispatch(w->service));
}

static void break_the_protocol(struct peer *p)
{
	union wire_message m = {.bytes = {0}};

	say(p, 99, &m, sizeof(m.drain));
}

/* Channels without room. */

/* Give connections to provider 1 until its channel is full; returns how many clients there are. */
static size_t fill_channel(struct world *w)
{
	make_narrow(w, 1);
	while (state_of(w, 1) == PROVIDER_READY) {
		(void)client(w, 'x');
		(void)turn_while_ready();
	}
	assert_int_equal(state_of(w, 1), PROVIDER_BLOCKED);
	assert_int_equal(dispatch_n_waiting(service_dispatch(w->service)), 1);
	return w->n_clients;
}

/* `n` letters of clients made by fill_channel(). */
static const char *xs(size_t n)
{
	static char text[MAX_CLIENTS];

	memset(text, 'x', n);
	text[n] = '\0';
	return text;
}

static void test_a_full_channel_is_passed_over_until_it_is_read(void **state)
{
	struct world w;
	struct peer full, other;
	size_t n;

	(void)state;
	begin(&w);
	open_service(&w);
	join(&w, &full, 1000);
	n = fill_channel(&w);
	join(&w, &other, 1000);
	expect_connections(&other, "x"); /* the one that did not fit */
	clients(&w, "abc");
	expect_connections(&other, "abc");
	(void)turn_while_ready();
	assert_int_equal(turn_while_ready(), 0);
	check_service(&w);

	expect_connections(&full, xs(n - 1));
	claim(&full, n - 1);
	turn_until(state_of(&w, 1) == PROVIDER_READY);
	drain(&other);
	clients(&w, "de");
	expect_connections(&full, "de");
	leave(&full);
	leave(&other);
	end(&w);
}

static void test_who_did_not_fit_waits_where_there_is_no_other(void **state)
{
	struct world w;
	struct peer p;
	size_t n;

	(void)state;
	begin(&w);
	open_service(&w);
	join(&w, &p, 1000);
	n = fill_channel(&w);
	clients(&w, "abc"); /* in the backlog */
	assert_int_equal(turn_while_ready(), 0);
	expect_connections(&p, xs(n));
	expect_connections(&p, "abc");
	check_service(&w);
	leave(&p);
	end(&w);
}

static void test_too_many_descriptors_in_flight_are_tried_again_later(void **state)
{
	static const int errors[] = {ETOOMANYREFS, ENOBUFS, ENOMEM};
	struct world w;
	struct peer p;
	int n_turns = 0;

	(void)state;
	loop_hurry = 100;
	for (size_t i = 0; i < N_ELEMENTS(errors); i++) {
		begin(&w);
		open_service(&w);
		join(&w, &p, 10);
		send_error = errors[i];
		n_send_errors = 3;
		clients(&w, "ab");
		for (n_turns = 0; n_send_errors > 0; n_turns++)
			turn();
		assert_int_equal(n_turns, 3); /* the connections, and the timer twice */
		assert_int_equal(loop_last_delay_usec, 100000);
		assert_int_equal(state_of(&w, 1), PROVIDER_BLOCKED);
		expect_connections(&p, "ab");
		check_service(&w);
		leave(&p);
		end(&w);
	}
}

static void test_what_cannot_be_sent_to_one_goes_to_another_at_once(void **state)
{
	struct world w;
	struct peer first, second;

	(void)state;
	begin(&w);
	open_service(&w);
	join(&w, &first, 10);
	join(&w, &second, 10);
	send_error = ETOOMANYREFS;
	n_send_errors = 1;
	clients(&w, "a");
	turn_until(n_send_errors == 0);
	expect_connections(state_of(&w, 1) == PROVIDER_BLOCKED ? &second : &first, "a");
	leave(&first);
	leave(&second);
	end(&w);
}

/* More than one message at a time: what a dead provider had. */
static void test_nothing_overtakes_what_could_not_be_sent(void **state)
{
	static const char letters[] = "abcdefghijklmnopqrst";
	struct world w;
	struct peer dying, other;

	(void)state;
	loop_hurry = 100;
	begin(&w);
	open_service(&w);
	clients(&w, letters);
	join(&w, &dying, 20);
	expect_connections(&dying, letters);
	join(&w, &other, 20);
	send_error = ETOOMANYREFS;
	n_send_errors = 1;
	leave(&dying);
	turn_until(n_send_errors == 0);
	assert_int_equal(state_of(&w, 2), PROVIDER_BLOCKED);
	expect_connections(&other, letters);
	check_service(&w);
	leave(&other);
	end(&w);
}

static void test_a_retry_does_not_wake_up_who_was_quarantined_meanwhile(void **state)
{
	struct world w;
	struct peer p;

	(void)state;
	loop_hurry = 100;
	begin(&w);
	open_service(&w);
	join(&w, &p, 10);
	clients(&w, "a");
	expect_connections(&p, "a");
	send_error = ETOOMANYREFS;
	n_send_errors = 1;
	clients(&w, "b");
	turn_until(n_send_errors == 0);
	break_the_protocol(&p);
	let_pass(300000);
	claim(&p, 1);
	assert_int_equal(turn_while_ready(), 0); /* it is read when it closes, as before */
	leave(&p);
	turn_until(!service_providers(w.service));
	end(&w);
}

/* A provider can close the receiving half of its channel: then nothing can ever be sent. */
static void test_who_does_not_receive_costs_a_try_now_and_then(void **state)
{
	struct world w;
	struct peer deaf, other;
	int n_turns = 0;

	(void)state;
	begin(&w);
	open_service(&w);
	join(&w, &deaf, 10);
	assert_int_equal(shutdown(deaf.fd, SHUT_RD), 0);
	clients(&w, "a");
	for (; state_of(&w, 1) != PROVIDER_BLOCKED; n_turns++)
		turn();
	assert_true(n_turns <= 2);
	assert_int_equal(turn_while_ready(), 0);
	join(&w, &other, 10);
	expect_connections(&other, "a");
	leave(&deaf);
	leave(&other);
	end(&w);
}

static void test_draining_is_said_when_there_is_room(void **state)
{
	struct world w;
	struct peer p;
	size_t n;

	(void)state;
	begin(&w);
	open_service(&w);
	join(&w, &p, 1000);
	n = fill_channel(&w);
	drain(&p);
	(void)turn_while_ready();
	expect_connections(&p, xs(n - 1));
	expect(&p, WIRE_DRAINING);
	expect_nothing(&p);
	leave(&p);
	end(&w);
}

/* A reload changes the listeners. */

static void test_a_reload_welcomes_again(void **state)
{
	struct world w;
	struct peer p;

	(void)state;
	begin(&w);
	open_service(&w);
	join(&w, &p, 10);
	reconfigure(&w, 1);
	expect(&p, WIRE_WELCOME);
	assert_int_equal(heard.welcome.n_listeners, 2);
	expect_nothing(&p);
	leave(&p);
	end(&w);
}

static void test_welcome_is_said_when_there_is_room_and_before_new_connections(void **state)
{
	struct world w;
	struct peer p;
	size_t n;

	(void)state;
	begin(&w);
	open_service(&w);
	join(&w, &p, 1000);
	n = fill_channel(&w);
	reconfigure(&w, 1);
	clients(&w, "a");
	(void)turn_while_ready();
	expect_connections(&p, xs(n - 1));
	expect(&p, WIRE_WELCOME);
	assert_int_equal(heard.welcome.n_listeners, 2);
	expect_connections(&p, "xa");
	check_service(&w);
	leave(&p);
	end(&w);
}

/* A claim makes a stuck provider ready: but not before it knows what was owed to it. */
static void test_welcome_comes_before_new_connections_of_who_was_stuck(void **state)
{
	struct world w;
	struct peer p;
	size_t n;

	(void)state;
	begin(&w);
	w.config.claim_timeout_usec = 200000;
	open_service(&w);
	join(&w, &p, 1000);
	n = fill_channel(&w);
	turn_until(state_of(&w, 1) == PROVIDER_STUCK);
	reconfigure(&w, 1);
	expect(&p, WIRE_CONNECTIONS); /* room for another small message, and no more */
	claim(&p, 1);
	expect_connections(&p, xs(n - 1));
	expect(&p, WIRE_WELCOME);
	expect_connections(&p, "x");
	leave(&p);
	end(&w);
}

static void test_a_reload_does_not_wake_up_who_is_quarantined(void **state)
{
	struct world w;
	struct peer p;

	(void)state;
	begin(&w);
	open_service(&w);
	join(&w, &p, 10);
	clients(&w, "a");
	expect_connections(&p, "a");
	break_the_protocol(&p);
	(void)turn_while_ready();
	reconfigure(&w, 1);
	assert_false(provider_of(&w, 1)->owes_welcome);
	assert_int_equal(turn_while_ready(), 0);
	expect_end(&p);
	turn_until(!service_providers(w.service));
	end(&w);
}

static void test_a_reload_with_a_provider_that_does_not_receive(void **state)
{
	struct world w;
	struct peer p;

	(void)state;
	begin(&w);
	open_service(&w);
	join(&w, &p, 10);
	assert_int_equal(shutdown(p.fd, SHUT_RD), 0);
	reconfigure(&w, 1);
	(void)turn_while_ready();
	reconfigure(&w, 1); /* and again while the first is owed */
	(void)turn_while_ready();
	leave(&p);
	turn_until(!service_providers(w.service));
	end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_loop_test(test_a_full_channel_is_passed_over_until_it_is_read),
		check_loop_test(test_who_did_not_fit_waits_where_there_is_no_other),
		check_loop_test(test_too_many_descriptors_in_flight_are_tried_again_later),
		check_loop_test(test_what_cannot_be_sent_to_one_goes_to_another_at_once),
		check_loop_test(test_nothing_overtakes_what_could_not_be_sent),
		check_loop_test(test_a_retry_does_not_wake_up_who_was_quarantined_meanwhile),
		check_loop_test(test_who_does_not_receive_costs_a_try_now_and_then),
		check_loop_test(test_draining_is_said_when_there_is_room),
		check_loop_test(test_a_reload_welcomes_again),
		check_loop_test(test_welcome_is_said_when_there_is_room_and_before_new_connections),
		check_loop_test(test_welcome_comes_before_new_connections_of_who_was_stuck),
		check_loop_test(test_a_reload_does_not_wake_up_who_is_quarantined),
		check_loop_test(test_a_reload_with_a_provider_that_does_not_receive),
	};

	return cmocka_run_group_tests_name("provider-room", tests, NULL, NULL);
}
