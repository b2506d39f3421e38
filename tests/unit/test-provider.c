/* SPDX-License-Identifier: MIT */
/*
 * One registered process: registering, what each of its messages means, breaking the protocol, and
 * a channel that is full.
 *
 * sendmsg(2) is wrapped to fail when it carries descriptors, rendezvous_allows() to say no.
 */
#include "fd.h"
#include "loop.h"
#include "service-world.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define N_ELEMENTS(array) (sizeof(array) / sizeof((array)[0]))
#define MAX_STRANGERS	  64 /* as in service.c */

static int send_error, n_send_errors;
static bool is_forbidden;

ssize_t __real_sendmsg(int fd, const struct msghdr *message, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags);
bool __real_rendezvous_allows(
	const struct config_providers *providers, const struct rendezvous_peer *peer);
bool __wrap_rendezvous_allows(
	const struct config_providers *providers, const struct rendezvous_peer *peer);

ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags)
{
	if (n_send_errors > 0 && message->msg_controllen > 0) {
		n_send_errors--;
		errno = send_error;
		return -1;
	}
	return __real_sendmsg(fd, message, flags);
}

bool __wrap_rendezvous_allows(
	const struct config_providers *providers, const struct rendezvous_peer *peer)
{
	return !is_forbidden && __real_rendezvous_allows(providers, peer);
}

static enum provider_state state_of(const struct world *w, unsigned int number)
{
	return provider_of(w, number)->record->state;
}

static void check_service(const struct world *w)
{
	dispatch_check(service_dispatch(w->service));
}

/* Registering. */

static void test_no_hello_in_time(void **state)
{
	struct world w;
	struct peer p;

	(void)state;
	loop_hurry = 1000;
	begin(&w);
	open_service(&w);
	connect_peer(&w, &p);
	expect_refused(&p, ETIMEDOUT, "no HELLO came in time");
	assert_int_equal(loop_last_delay_usec, PROVIDER_HELLO_USEC);
	assert_int_equal(n_logged("said no HELLO within 5 seconds"), 1);
	assert_null(service_providers(w.service));
	end(&w);
}

static void test_after_hello_there_is_no_deadline(void **state)
{
	struct world w;
	struct peer p;

	(void)state;
	loop_hurry = 1000;
	begin(&w);
	open_service(&w);
	join(&w, &p, 1);
	let_pass(2 * PROVIDER_HELLO_USEC);
	expect_nothing(&p);
	leave(&p);
	end(&w);
}

static void test_a_process_that_leaves_without_hello(void **state)
{
	struct world w;
	struct peer p;

	(void)state;
	begin(&w);
	open_service(&w);
	connect_peer(&w, &p);
	turn_until(service_providers(w.service));
	leave(&p);
	turn_until(!service_providers(w.service));
	end(&w);
}

static void test_welcome_says_the_service_and_its_listeners(void **state)
{
	struct world w;
	struct peer p;
	const struct wire_welcome *welcome = &heard.welcome;
	size_t n;

	(void)state;
	begin(&w);
	open_service(&w);
	reconfigure(&w, 1);
	join(&w, &p, 1);
	assert_int_equal(welcome->version, WIRE_VERSION);
	assert_string_equal(welcome->service, "echo");
	assert_int_equal(welcome->n_listeners, 2);
	assert_int_equal(welcome->listeners[0].type, SOCK_STREAM);
	assert_int_equal(welcome->listeners[0].address.family, AF_UNIX);
	assert_int_equal(welcome->listeners[1].type, SOCK_STREAM);
	assert_int_equal(welcome->listeners[1].address.family, AF_INET);
	assert_int_equal(ntohs(welcome->listeners[1].address.port),
		address_port(listener_bound(service_listeners(w.service, &n)[1])));
	assert_int_equal(n_logged("echo: provider 1 registered: tester, pid"), 1);
	leave(&p);
	end(&w);
}

static void check_versions(uint16_t lowest, uint16_t highest, const char *reason)
{
	union wire_message m = {.hello = {.version_lowest = lowest,
					.version_highest = highest,
					.credit = 1,
					.weight = 1}};
	struct world w;
	struct peer p;

	begin(&w);
	open_service(&w);
	connect_peer(&w, &p);
	say(&p, WIRE_HELLO, &m, sizeof(m.hello));
	if (reason)
		expect_refused(&p, EPROTONOSUPPORT, reason);
	else
		expect(&p, WIRE_WELCOME);
	leave(&p);
	end(&w);
}

static void test_versions(void **state)
{
	(void)state;
	check_versions(1, 1, NULL);
	check_versions(1, 9, NULL);
	check_versions(2, 3, "this usherd speaks version 1 of the protocol, the provider 2 to 3");
}

static void test_more_providers_than_the_maximum(void **state)
{
	struct world w;
	struct peer first, second, third;

	(void)state;
	begin(&w);
	w.config.providers.max = 1;
	open_service(&w);
	join(&w, &first, 1);
	connect_peer(&w, &second);
	say_hello(&second, 1);
	expect_refused(&second, EUSERS, "service echo has 1 providers, which is its maximum");
	assert_int_equal(n_logged("refused: there are 1 providers, raise providers { max }"), 1);
	leave(&first);
	turn_until(!service_providers(w.service));
	join(&w, &third, 1);
	leave(&third);
	end(&w);
}

static void test_who_is_not_allowed(void **state)
{
	struct world w;
	struct peer p;

	(void)state;
	begin(&w);
	open_service(&w);
	is_forbidden = true;
	connect_peer(&w, &p);
	say_hello(&p, 1);
	expect_refused(&p, EACCES,
		"neither its user nor its groups are in the service's providers section");
	is_forbidden = false;
	assert_int_equal(n_logged("may not register: neither its user nor its groups"), 1);
	end(&w);
}

static void test_too_many_processes_that_say_nothing(void **state)
{
	struct peer strangers[MAX_STRANGERS], one_more;
	struct world w;

	(void)state;
	begin(&w);
	open_service(&w);
	for (size_t i = 0; i < MAX_STRANGERS; i++)
		connect_peer(&w, &strangers[i]);
	(void)turn_while_ready();
	connect_peer(&w, &one_more);
	expect_refused(&one_more, EAGAIN, "too many processes are about to register");
	say_hello(&strangers[0], 1);
	expect(&strangers[0], WIRE_WELCOME);
	join(&w, &one_more, 1); /* the one that has registered is no stranger any more */
	leave(&one_more);
	for (size_t i = 0; i < MAX_STRANGERS; i++)
		leave(&strangers[i]);
	end(&w);
}

static void test_more_after_hello_in_the_same_moment(void **state)
{
	struct world w;
	struct peer p;

	(void)state;
	begin(&w);
	open_service(&w);
	clients(&w, "a");
	connect_peer(&w, &p);
	say_hello(&p, 0);
	credit(&p, 0, 1);
	expect(&p, WIRE_WELCOME);
	expect_connections(&p, "a");
	leave(&p);
	end(&w);
}

/* Connections. */

static uint64_t realtime_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

static void test_sixteen_connections_in_one_message(void **state)
{
	struct world w;
	struct peer p;
	uint64_t before = realtime_ns();

	(void)state;
	begin(&w);
	open_service(&w);
	clients(&w, "abcdefghijklmnopq");
	join(&w, &p, 100);
	expect(&p, WIRE_CONNECTIONS);
	assert_string_equal(p.letters, "abcdefghijklmnop");
	for (int i = 0; i < 16; i++) {
		const struct wire_connection *c = &heard.connections.connections[i];

		assert_int_equal(c->sequence, i + 1);
		assert_int_not_equal(c->id, 0);
		assert_int_equal(c->listener, 0);
		assert_int_equal(c->peer.family, AF_UNIX);
		assert_true(c->accepted_ns >= before && c->accepted_ns <= realtime_ns());
	}
	expect_connections(&p, "abcdefghijklmnopq");
	check_service(&w);
	leave(&p);
	end(&w);
}

static void test_no_more_than_the_credit(void **state)
{
	struct world w;
	struct peer p;

	(void)state;
	begin(&w);
	open_service(&w);
	clients(&w, "abcd");
	join(&w, &p, 2);
	expect_connections(&p, "ab");
	expect_nothing(&p);
	credit(&p, 2, 1);
	expect_connections(&p, "c");
	expect_nothing(&p);
	claim(&p, 3);
	release(&p, p.last_id);
	expect_connections(&p, "d");
	leave(&p);
	end(&w);
}

static void test_usherds_copy_is_closed_at_the_claim(void **state)
{
	struct world w;
	struct peer p;

	(void)state;
	begin(&w);
	open_service(&w);
	clients(&w, "ab");
	join(&w, &p, 2);
	expect_connections(&p, "ab");
	(void)turn_while_ready();
	assert_true(is_connected(&w, 0) && is_connected(&w, 1));
	claim(&p, 1);
	turn_until(!is_connected(&w, 0));
	assert_true(is_connected(&w, 1));
	leave(&p);
	end(&w);
}

static void test_what_is_declined_goes_to_another(void **state)
{
	struct world w;
	struct peer p, other;

	(void)state;
	begin(&w);
	open_service(&w);
	clients(&w, "abc");
	join(&w, &p, 3);
	expect_connections(&p, "abc");
	join(&w, &other, 5);
	decline(&p, 2, 3);
	expect_connections(&other, "bc");
	expect_nothing(&p);
	claim(&p, 3); /* of those not declined */
	turn_until(!is_connected(&w, 0));
	check_service(&w);
	leave(&p);
	leave(&other);
	end(&w);
}

static void test_status_is_kept(void **state)
{
	union wire_message m = {.status = {.text = "all is well"}};
	struct world w;
	struct peer p;

	(void)state;
	begin(&w);
	open_service(&w);
	join(&w, &p, 1);
	say(&p, WIRE_STATUS, &m, sizeof(m.status));
	turn_until(strcmp(provider_of(&w, 1)->status, "all is well") == 0);
	assert_string_equal(provider_of(&w, 1)->name, "tester");
	leave(&p);
	end(&w);
}

static void test_drain_is_answered_behind_everything(void **state)
{
	struct world w;
	struct peer p, other;

	(void)state;
	begin(&w);
	open_service(&w);
	join(&w, &p, 10);
	clients(&w, "ab");
	(void)turn_while_ready();
	drain(&p);
	expect_connections(&p, "ab");
	expect(&p, WIRE_DRAINING);
	clients(&w, "c");
	expect_nothing(&p);
	join(&w, &other, 10);
	expect_connections(&other, "c");
	claim(&p, 2); /* what it has is still its own */
	turn_until(!is_connected(&w, 0) && !is_connected(&w, 1));
	leave(&p);
	leave(&other);
	end(&w);
}

/* Deaths. */

static void test_what_a_dead_provider_had_not_claimed_goes_to_another_in_order(void **state)
{
	struct world w;
	struct peer p, other;

	(void)state;
	begin(&w);
	open_service(&w);
	clients(&w, "abcd");
	join(&w, &p, 3);
	expect_connections(&p, "abc");
	claim(&p, 1); /* and nobody has read it yet */
	leave(&p);
	turn_until(!service_providers(w.service));
	assert_false(is_connected(&w, 0));
	assert_int_equal(dispatch_totals(service_dispatch(w.service))->n_lost, 1);
	join(&w, &other, 10);
	expect_connections(&other, "bcd");
	assert_int_equal(n_logged("echo: provider 1 (tester, pid"), 1);
	leave(&other);
	end(&w);
}

static void test_last_claims_behind_a_connection_reset(void **state)
{
	struct world w;
	struct peer p, other;

	(void)state;
	begin(&w);
	open_service(&w);
	join(&w, &p, 10);
	clients(&w, "a");
	expect_connections(&p, "a");
	clients(&w, "b");
	(void)turn_while_ready(); /* "b" is in the channel, and stays there */
	claim(&p, 1);
	leave(&p); /* with something unread: usherd meets ECONNRESET first */
	turn_until(!service_providers(w.service));
	assert_false(is_connected(&w, 0));
	assert_true(is_connected(&w, 1));
	join(&w, &other, 10);
	expect_connections(&other, "b");
	leave(&other);
	end(&w);
}

static void test_more_last_messages_than_are_read_in_a_turn(void **state)
{
	struct world w;
	struct peer p;
	char letters[101] = "";

	(void)state;
	begin(&w);
	open_service(&w);
	memset(letters, 'x', 100);
	clients(&w, letters);
	join(&w, &p, 100);
	expect_connections(&p, letters);
	for (uint64_t i = 1; i <= 100; i++)
		claim(&p, i);
	leave(&p);
	turn_until(!service_providers(w.service));
	assert_int_equal(dispatch_totals(service_dispatch(w.service))->n_claimed, 100);
	end(&w);
}

static void test_a_talkative_provider_does_not_hold_up_others(void **state)
{
	struct world w;
	struct peer talkative, other;

	(void)state;
	begin(&w);
	open_service(&w);
	join(&w, &talkative, 0);
	for (int i = 0; i < 100; i++)
		credit(&talkative, 0, i == 99 ? 7 : 0);
	turn();
	assert_int_equal(provider_of(&w, 1)->record->credit, 0);
	join(&w, &other, 0);
	turn_until(provider_of(&w, 1)->record->credit == 7);
	leave(&talkative);
	leave(&other);
	end(&w);
}

/* Breaking the protocol. */

#ifndef SO_PASSRIGHTS /* Linux 6.16 */
#define SO_PASSRIGHTS 83
#endif

/* Undo what spares usherd the descriptors of others where the kernel can (rendezvous.c). */
static void let_descriptors_through(const struct world *w, unsigned int number)
{
	(void)setsockopt(
		provider_of(w, number)->fd, SOL_SOCKET, SO_PASSRIGHTS, &(int){1}, sizeof(int));
}

static void say_bytes(struct peer *p, const void *bytes, size_t size)
{
	assert_int_equal(send(p->fd, bytes, size, MSG_NOSIGNAL), size);
}

static void be_too_long(struct peer *p)
{
	static const char bytes[WIRE_MAX_FROM_PROVIDER + 1];

	say_bytes(p, bytes, sizeof(bytes));
}

static void send_a_descriptor(struct peer *p)
{
	union wire_message m = {.drain = {.header = {.type = WIRE_DRAIN}}};

	assert_int_equal(fdpass_send(p->fd, &m, sizeof(m.drain), &p->fd, 1), 0);
}

static void be_of_no_type(struct peer *p)
{
	union wire_message m = {.bytes = {0}};

	say(p, 99, &m, sizeof(m.drain));
}

static void speak_as_usherd(struct peer *p)
{
	union wire_message m = {.bytes = {0}};

	say(p, WIRE_DRAINING, &m, sizeof(m.drain));
}

static void be_too_short(struct peer *p)
{
	union wire_message m = {.bytes = {0}};

	say(p, WIRE_CLAIM, &m, sizeof(m.drain));
}

static void be_empty(struct peer *p)
{
	say_bytes(p, "", 0);
}

static void stop_sending(struct peer *p)
{
	assert_int_equal(shutdown(p->fd, SHUT_WR), 0);
}

static void say_hello_again(struct peer *p)
{
	say_hello(p, 1);
}

static void claim_too_much(struct peer *p)
{
	claim(p, 1000);
}

static void release_what_is_not_its_own(struct peer *p)
{
	release(p, 4711);
}

static void credit_from_the_future(struct peer *p)
{
	credit(p, 1000, 1);
}

static void decline_too_much(struct peer *p)
{
	decline(p, 1000, 1000);
}

struct violation {
	void (*commit)(struct peer *p);
	const char *why;
};

static const struct violation violations[] = {
	{be_too_long, "a message that is too long"},
	{send_a_descriptor, "descriptors where none belong"},
	{be_of_no_type, "type"},
	{speak_as_usherd, "type"},
	{be_too_short, "the length of the message does not fit its type"},
	{be_empty, "an empty message, or an end without closing the channel"},
	{say_hello_again, "HELLO was said before"},
	{claim_too_much, "CLAIM of what is not its own"},
	{release_what_is_not_its_own, "RELEASE of what is not its own"},
	{credit_from_the_future, "CREDIT of what is not its own"},
	{decline_too_much, "DECLINE of what is not its own"},
};

static void check_was_logged(const struct violation *v, unsigned int n_before)
{
	assert_int_equal(n_logged("broke the protocol: "), n_before + 1);
	if (n_logged(v->why) == 0)
		fail_msg("'%s' was not logged", v->why);
}

static void test_who_breaks_the_protocol_with_nothing_unclaimed_is_closed(void **state)
{
	struct world w;
	struct peer p;

	(void)state;
	begin(&w);
	open_service(&w);
	for (size_t i = 0; i < N_ELEMENTS(violations); i++) {
		unsigned int n_before = n_logged("broke the protocol: ");

		join(&w, &p, 1);
		let_descriptors_through(&w, (unsigned int)i + 1);
		violations[i].commit(&p);
		expect_end(&p);
		check_was_logged(&violations[i], n_before);
		assert_null(service_providers(w.service));
	}
	end(&w);
}

static void test_who_breaks_the_protocol_with_connections_unclaimed_is_quarantined(void **state)
{
	struct world w;
	struct peer p, other;

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(violations); i++) {
		unsigned int n_before = n_logged("broke the protocol: ");

		begin(&w);
		open_service(&w);
		join(&w, &p, 10);
		clients(&w, "ab");
		(void)turn_while_ready();
		let_descriptors_through(&w, 1);
		violations[i].commit(&p);
		(void)turn_while_ready();
		check_was_logged(&violations[i], n_before);
		assert_int_equal(state_of(&w, 1), PROVIDER_QUARANTINED);

		join(&w, &other, 10);
		clients(&w, "c");
		expect_connections(&other, "c"); /* and nothing of the first's */
		expect_nothing(&other);
		expect_connections(&p, "ab"); /* its queue is whole, and then comes the end */
		expect_end(&p);
		expect_connections(&other, "ab");
		assert_null(provider_of(&w, 1));
		check_service(&w);
		leave(&other);
		end(&w);
	}
}

static void test_claims_of_a_quarantined_provider_count(void **state)
{
	struct world w;
	struct peer p, other;

	(void)state;
	begin(&w);
	open_service(&w);
	join(&w, &p, 10);
	clients(&w, "abc");
	expect_connections(&p, "abc");
	be_of_no_type(&p);
	(void)turn_while_ready();
	claim(&p, 2);
	credit(&p, 3, 50); /* this does not */
	claim(&p, 1000);   /* nor this */
	leave(&p);
	join(&w, &other, 10);
	expect_connections(&other, "c");
	assert_false(is_connected(&w, 0) || is_connected(&w, 1));
	leave(&other);
	end(&w);
}

static void test_claims_in_the_same_turn_as_the_offence_count(void **state)
{
	struct world w;
	struct peer p, other;

	(void)state;
	begin(&w);
	open_service(&w);
	join(&w, &p, 10);
	clients(&w, "ab");
	expect_connections(&p, "ab");
	be_of_no_type(&p);
	claim(&p, 1);
	turn_until(!is_connected(&w, 0));
	leave(&p);
	join(&w, &other, 10);
	expect_connections(&other, "b");
	leave(&other);
	end(&w);
}

static void test_a_first_message_that_is_not_hello(void **state)
{
	struct world w;
	struct peer p;

	(void)state;
	begin(&w);
	open_service(&w);
	connect_peer(&w, &p);
	credit(&p, 0, 1);
	expect_end(&p);
	assert_int_equal(n_logged("broke the protocol: its first message is not HELLO"), 1);
	connect_peer(&w, &p);
	be_empty(&p);
	expect_end(&p);
	assert_null(service_providers(w.service));
	end(&w);
}

static void test_a_quarantined_provider_costs_no_turns(void **state)
{
	struct world w;
	struct peer p;

	(void)state;
	begin(&w);
	open_service(&w);
	join(&w, &p, 10);
	clients(&w, "a");
	(void)turn_while_ready();
	be_of_no_type(&p);
	(void)turn_while_ready();
	claim(&p, 1); /* is read when it closes */
	assert_int_equal(turn_while_ready(), 0);
	leave(&p);
	turn_until(!service_providers(w.service));
	end(&w);
}

/* When both sides have ended, nothing tells that from a close. */
static void test_who_stops_sending_has_left(void **state)
{
	struct world w;
	struct peer p, other;

	(void)state;
	begin(&w);
	open_service(&w);
	join(&w, &p, 10);
	clients(&w, "a");
	expect_connections(&p, "a");
	stop_sending(&p);
	expect_end(&p);
	assert_int_equal(n_logged("an empty message, or an end without closing the channel"), 1);
	turn_until(!service_providers(w.service));
	join(&w, &other, 10);
	expect_connections(&other, "a");
	leave(&other);
	end(&w);
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
	be_of_no_type(&p);
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
	w.config.claim_timeout_usec = 20000;
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
	be_of_no_type(&p);
	(void)turn_while_ready();
	reconfigure(&w, 1);
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
		check_loop_test(test_no_hello_in_time),
		check_loop_test(test_after_hello_there_is_no_deadline),
		check_loop_test(test_a_process_that_leaves_without_hello),
		check_loop_test(test_welcome_says_the_service_and_its_listeners),
		check_loop_test(test_versions),
		check_loop_test(test_more_providers_than_the_maximum),
		check_loop_test(test_who_is_not_allowed),
		check_loop_test(test_too_many_processes_that_say_nothing),
		check_loop_test(test_more_after_hello_in_the_same_moment),
		check_loop_test(test_sixteen_connections_in_one_message),
		check_loop_test(test_no_more_than_the_credit),
		check_loop_test(test_usherds_copy_is_closed_at_the_claim),
		check_loop_test(test_what_is_declined_goes_to_another),
		check_loop_test(test_status_is_kept),
		check_loop_test(test_drain_is_answered_behind_everything),
		check_loop_test(test_what_a_dead_provider_had_not_claimed_goes_to_another_in_order),
		check_loop_test(test_last_claims_behind_a_connection_reset),
		check_loop_test(test_more_last_messages_than_are_read_in_a_turn),
		check_loop_test(test_a_talkative_provider_does_not_hold_up_others),
		check_loop_test(test_who_breaks_the_protocol_with_nothing_unclaimed_is_closed),
		check_loop_test(
			test_who_breaks_the_protocol_with_connections_unclaimed_is_quarantined),
		check_loop_test(test_claims_of_a_quarantined_provider_count),
		check_loop_test(test_claims_in_the_same_turn_as_the_offence_count),
		check_loop_test(test_a_first_message_that_is_not_hello),
		check_loop_test(test_a_quarantined_provider_costs_no_turns),
		check_loop_test(test_who_stops_sending_has_left),
		check_loop_test(test_a_full_channel_is_passed_over_until_it_is_read),
		check_loop_test(test_who_did_not_fit_waits_where_there_is_no_other),
		check_loop_test(test_too_many_descriptors_in_flight_are_tried_again_later),
		check_loop_test(test_what_cannot_be_sent_to_one_goes_to_another_at_once),
		check_loop_test(test_a_retry_does_not_wake_up_who_was_quarantined_meanwhile),
		check_loop_test(test_who_does_not_receive_costs_a_try_now_and_then),
		check_loop_test(test_draining_is_said_when_there_is_room),
		check_loop_test(test_a_reload_welcomes_again),
		check_loop_test(test_welcome_is_said_when_there_is_room_and_before_new_connections),
		check_loop_test(test_welcome_comes_before_new_connections_of_who_was_stuck),
		check_loop_test(test_a_reload_does_not_wake_up_who_is_quarantined),
		check_loop_test(test_a_reload_with_a_provider_that_does_not_receive),
	};

	return cmocka_run_group_tests_name("provider", tests, NULL, NULL);
}
