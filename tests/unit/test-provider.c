/* SPDX-License-Identifier: MIT */
/*
 * One registered process: registering, what each of its messages means, and its death.
 *
 * rendezvous_allows() is wrapped to say no.
 */
#include "loop.h"
#include "service-world.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define MAX_STRANGERS 64 /* as in service.c */

static bool is_forbidden;

bool __real_rendezvous_allows(
	const struct config_providers *providers, const struct rendezvous_peer *peer);
bool __wrap_rendezvous_allows(
	const struct config_providers *providers, const struct rendezvous_peer *peer);

bool __wrap_rendezvous_allows(
	const struct config_providers *providers, const struct rendezvous_peer *peer)
{
	return !is_forbidden && __real_rendezvous_allows(providers, peer);
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
		address_port(listener_bound(intake_listeners(service_intake(w.service), &n)[1])));
	assert_int_equal(n_logged("has registered with credit"), 1);
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
	assert_int_equal(n_logged("may not register: there are 1 providers already"), 1);
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
		"neither its user nor its groups are in providers { users groups } of the service");
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
	clients(&w, "abcdefghijklmnopqr");
	join(&w, &p, 100);
	expect_connections(&p, "a"); /* at once; the others when it has been claimed */
	turn();
	claim(&p, 1);
	expect(&p, WIRE_CONNECTIONS);
	assert_string_equal(p.letters, "bcdefghijklmnopq");
	for (int i = 0; i < 16; i++) {
		const struct wire_connection *c = &heard.connections.connections[i];

		assert_int_equal(c->sequence, i + 2);
		assert_int_not_equal(c->id, 0);
		assert_int_equal(c->listener, 0);
		assert_int_equal(c->peer.family, AF_UNIX);
		assert_true(c->accepted_ns >= before && c->accepted_ns <= realtime_ns());
	}
	expect_connections(&p, "bcdefghijklmnopqr");
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

/* Messages are read many at once: none is lost where one reading ends and the next begins. */
static void test_any_number_of_messages_in_the_same_moment(void **state)
{
	static const uint64_t numbers[] = {1, 2, 15, 16, 17, 31, 32, 33, 50};
	char letters[51] = "";
	uint64_t n_claimed = 0;
	struct world w;
	struct peer p;

	(void)state;
	begin(&w);
	open_service(&w);
	join(&w, &p, 1000);
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		memset(letters, 'x', numbers[i]);
		clients(&w, letters);
		expect_connections(&p, letters);
		for (uint64_t n = 1; n <= numbers[i]; n++)
			claim(&p, n_claimed + n);
		n_claimed += numbers[i];
		turn_until(dispatch_totals(service_dispatch(w.service))->n_claimed == n_claimed);
	}
	check_service(&w);
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
	assert_int_equal(n_logged("echo: provider 1 (tester, pid"), 2); /* it came, and left */
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
		check_loop_test(test_any_number_of_messages_in_the_same_moment),
		check_loop_test(test_what_is_declined_goes_to_another),
		check_loop_test(test_status_is_kept),
		check_loop_test(test_drain_is_answered_behind_everything),
		check_loop_test(test_what_a_dead_provider_had_not_claimed_goes_to_another_in_order),
		check_loop_test(test_last_claims_behind_a_connection_reset),
		check_loop_test(test_more_last_messages_than_are_read_in_a_turn),
		check_loop_test(test_a_talkative_provider_does_not_hold_up_others),
	};

	return cmocka_run_group_tests_name("provider", tests, NULL, NULL);
}
