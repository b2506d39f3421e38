/* SPDX-License-Identifier: MIT */
/*
 * When a service accepts: at once while somebody has nothing unclaimed, else when somebody has
 * claimed, or after a moment, and then those that have come together.
 *
 * Time stands still, see service-moment.h.
 */
#include "loop.h"
#include "service-moment.h"

#define TOGETHER 16 /* connections in a message at most */

static void test_the_first_after_quiet_goes_out_at_once_and_alone(void **state)
{
	struct world w;
	struct peer p;

	(void)state;
	begin_with(&w, &p, 1, 100);
	for (int i = 0; i < 3; i++) {
		clients(&w, "abc");
		turn();
		expect_together(&p, "a");
		expect_deferred(&w, &p, 2);
		claim(&p, p.last_sequence);
		expect_together(&p, "bc");
		become_quiet(&w);
	}
	end_with(&w, &p, 1);
}

static void test_one_at_a_time_costs_one_accept_each(void **state)
{
	struct world w;
	struct peer p;

	(void)state;
	begin_with(&w, &p, 1, 100);
	for (int i = 0; i < 5; i++) { /* quiet, and nobody claims */
		clients(&w, "a");
		expect_together(&p, "a");
		expect_deferred(&w, &p, 0);
		become_quiet(&w);
	}
	claim(&p, p.last_sequence);
	(void)turn_while_ready();
	for (int i = 0; i < 5; i++) { /* busy, and claimed in time */
		clients(&w, "b");
		expect_together(&p, "b");
		claim(&p, p.last_sequence);
		(void)turn_while_ready();
	}
	become_quiet(&w);
	assert_int_equal(n_accepted, 10);
	assert_int_equal(n_accepts_in_vain, 0);
	end_with(&w, &p, 1);
}

static void test_those_that_come_while_one_is_unclaimed_go_out_together(void **state)
{
	struct world w;
	struct peer p;

	(void)state;
	begin_with(&w, &p, 1, 100);
	clients(&w, "abcdefghijklmnopqrst");
	expect_together(&p, "a");
	expect_deferred(&w, &p, 19);
	claim(&p, p.last_sequence);
	expect_together(&p, "bcdefghijklmnopq");
	expect_deferred(&w, &p, 3);
	assert_int_equal(n_accepts_in_vain, 0);
	claim(&p, p.last_sequence - 1); /* not all of them */
	expect_deferred(&w, &p, 3);
	claim(&p, p.last_sequence);
	expect_together(&p, "rst");
	become_quiet(&w);
	end_with(&w, &p, 1);
}

static void test_when_nobody_claims_they_go_out_after_a_moment(void **state)
{
	struct world w;
	struct peer p;

	(void)state;
	begin_with(&w, &p, 1, 100);
	clients(&w, "abcdefghijklmnopqrstu");
	expect_together(&p, "a");
	expect_deferred(&w, &p, 20);
	end_moment(&w);
	expect_together(&p, "bcdefghijklmnopq");
	expect_deferred(&w, &p, 4);
	end_moment(&w);
	expect_together(&p, "rstu");
	become_quiet(&w);
	clients(&w, "v");
	expect_together(&p, "v");
	end_with(&w, &p, 1);
}

/* The listener is polled again once nothing more has come. */
static void test_those_that_come_later_are_deferred_again(void **state)
{
	struct world w;
	struct peer p;

	(void)state;
	begin_with(&w, &p, 1, 100);
	clients(&w, "ab");
	expect_together(&p, "a");
	expect_deferred(&w, &p, 1);
	claim(&p, p.last_sequence);
	expect_together(&p, "b");
	claim(&p, p.last_sequence); /* and there are no more */
	(void)turn_while_ready();
	expect_deferred(&w, &p, 0);
	clients(&w, "cde");
	expect_together(&p, "c");
	expect_deferred(&w, &p, 2);
	claim(&p, p.last_sequence);
	expect_together(&p, "de");
	end_with(&w, &p, 1);
}

static void test_with_somebody_else_idle_none_is_deferred(void **state)
{
	struct world w;
	struct peer peers[2];

	(void)state;
	begin_with(&w, peers, 2, 100);
	clients(&w, "abcd");
	expect_together(&peers[0], "a");
	expect_together(&peers[1], "b");
	expect_deferred(&w, &peers[0], 2);
	claim(&peers[1], peers[1].last_sequence);
	expect_together(&peers[0], "c"); /* both have as much in hand */
	expect_together(&peers[1], "d");
	end_with(&w, peers, 2);
}

static void test_a_newcomer_gets_what_is_deferred_at_once(void **state)
{
	struct world w;
	struct peer peers[2];

	(void)state;
	begin_with(&w, peers, 1, 100);
	clients(&w, "ab");
	expect_together(&peers[0], "a");
	expect_deferred(&w, &peers[0], 1);
	join(&w, &peers[1], 100);
	expect_together(&peers[1], "b");
	end_with(&w, peers, 2);
}

static void test_a_standby_is_not_idle_while_others_have_credit(void **state)
{
	struct world w;
	struct peer peers[2];

	(void)state;
	begin_with(&w, peers, 1, 2);
	join_as_standby(&w, &peers[1], 100);
	clients(&w, "abc");
	expect_together(&peers[0], "a");
	expect_deferred(&w, &peers[0], 2);
	expect_nothing(&peers[1]);
	end_moment(&w);
	expect_together(&peers[0], "b"); /* its last credit */
	expect_together(&peers[1], "c");
	end_with(&w, peers, 2);
}

static void test_who_has_no_credit_is_not_idle(void **state)
{
	struct world w;
	struct peer peers[2];

	(void)state;
	begin_with(&w, peers, 1, 100);
	join(&w, &peers[1], 0);
	clients(&w, "ab");
	expect_together(&peers[0], "a");
	expect_deferred(&w, &peers[0], 1);
	expect_nothing(&peers[1]);
	credit(&peers[1], 0, 1);
	expect_together(&peers[1], "b");
	end_with(&w, peers, 2);
}

static void test_not_more_go_out_than_there_is_credit(void **state)
{
	struct world w;
	struct peer p;

	(void)state;
	begin_with(&w, &p, 1, 3);
	clients(&w, "abcd");
	expect_together(&p, "a");
	expect_deferred(&w, &p, 3);
	end_moment(&w);
	expect_together(&p, "bc");
	become_quiet(&w);
	assert_int_equal(intake_state(service_intake(w.service)), INTAKE_FULL);
	assert_int_equal(n_accepted, 3);
	credit(&p, p.last_sequence, 1);
	expect_together(&p, "d");
	end_with(&w, &p, 1);
}

/* As join(). */
static void join_weighing(struct world *w, struct peer *p, uint32_t weight)
{
	union wire_message m = {.hello = {.version_lowest = WIRE_VERSION,
					.version_highest = WIRE_VERSION,
					.credit = 100,
					.weight = weight,
					.name = "tester"}};

	connect_peer(w, p);
	say(p, WIRE_HELLO, &m, sizeof(m.hello));
	expect(p, WIRE_WELCOME);
}

/* However many have come, and although somebody is idle for whom it is not the turn yet. */
static void test_no_more_than_a_batch_is_accepted_in_a_turn(void **state)
{
	const char *forty = "cccccccccccccccccccccccccccccccccccccccc";
	struct world w;
	struct peer light, heavy;

	(void)state;
	begin_with(&w, NULL, 0, 0);
	w.config.providers.balance = CONFIG_BALANCE_ROUND_ROBIN;
	reconfigure(&w, 0);
	join_weighing(&w, &light, 1);
	join_weighing(&w, &heavy, 1000);
	clients(&w, "ab");
	expect_together(&light, "a");
	expect_together(&heavy, "b");
	clients(&w, forty);
	expect_deferred(&w, &heavy, 40);
	n_accepted = 0;
	claim(&light, light.last_sequence);
	turn();
	assert_int_equal(n_accepted, TOGETHER);
	expect_connections(&heavy, forty);
	assert_int_equal(n_accepted, 40);
	leave(&light);
	leave(&heavy);
	end_with(&w, NULL, 0);
}

/* Several listeners. */

static void test_deferred_listeners_take_turns(void **state)
{
	struct world w;
	struct peer p;
	char first;

	(void)state;
	begin_with(&w, &p, 1, 100);
	reconfigure(&w, 1);
	expect(&p, WIRE_WELCOME);
	clients(&w, "1");
	expect_together(&p, "1");
	for (int i = 0; i < 2 * TOGETHER; i++)
		client_at(&w, i % 2, i % 2 ? 'a' : 'b');
	expect_deferred(&w, &p, 2 * TOGETHER);
	claim(&p, p.last_sequence);
	(void)hear(&p);
	first = p.letters[0];
	expect_connections(&p, first == 'a' ? "aaaaaaaaaaaaaaaa" : "bbbbbbbbbbbbbbbb");
	client_at(&w, first == 'b' ? 0 : 1, first); /* the next turn is not its */
	claim(&p, p.last_sequence);
	expect_together(&p, first == 'a' ? "bbbbbbbbbbbbbbbb" : "aaaaaaaaaaaaaaaa");
	claim(&p, p.last_sequence);
	expect_together(&p, first == 'a' ? "a" : "b");
	end_with(&w, &p, 1);
}

static void test_all_listeners_can_be_deferred(void **state)
{
	struct world w;
	struct peer p;

	(void)state;
	begin_with(&w, &p, 1, 100);
	reconfigure(&w, 20);
	expect(&p, WIRE_WELCOME);
	clients(&w, "1");
	expect_together(&p, "1");
	for (size_t i = 0; i < 21; i++)
		client_at(&w, i, 'a');
	expect_deferred(&w, &p, 21);
	assert_int_equal(intake_n_deferred(service_intake(w.service)), 21);
	claim(&p, p.last_sequence);
	expect_together(&p, "aaaaaaaaaaaaaaaa");
	expect_deferred(&w, &p, 5);
	claim(&p, p.last_sequence);
	expect_together(&p, "aaaaa");
	become_quiet(&w);
	end_with(&w, &p, 1);
}

/* The kernel says of TCP how many wait. */
static void test_of_tcp_nobody_is_accepted_in_vain(void **state)
{
	struct world w;
	struct peer p;

	(void)state;
	begin_with(&w, &p, 1, 100);
	reconfigure(&w, 1);
	expect(&p, WIRE_WELCOME);
	for (int i = 0; i < 3; i++) {
		client_at(&w, 1, 'a');
		client_at(&w, 1, 'b');
		client_at(&w, 1, 'c');
		expect_together(&p, "a");
		expect_deferred(&w, &p, 2);
		claim(&p, p.last_sequence);
		expect_together(&p, "bc");
		claim(&p, p.last_sequence);
		become_quiet(&w);
	}
	assert_int_equal(n_accepts_in_vain, 0);
	end_with(&w, &p, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_loop_test(test_the_first_after_quiet_goes_out_at_once_and_alone),
		check_loop_test(test_one_at_a_time_costs_one_accept_each),
		check_loop_test(test_those_that_come_while_one_is_unclaimed_go_out_together),
		check_loop_test(test_when_nobody_claims_they_go_out_after_a_moment),
		check_loop_test(test_those_that_come_later_are_deferred_again),
		check_loop_test(test_with_somebody_else_idle_none_is_deferred),
		check_loop_test(test_a_newcomer_gets_what_is_deferred_at_once),
		check_loop_test(test_a_standby_is_not_idle_while_others_have_credit),
		check_loop_test(test_who_has_no_credit_is_not_idle),
		check_loop_test(test_not_more_go_out_than_there_is_credit),
		check_loop_test(test_no_more_than_a_batch_is_accepted_in_a_turn),
		check_loop_test(test_deferred_listeners_take_turns),
		check_loop_test(test_all_listeners_can_be_deferred),
		check_loop_test(test_of_tcp_nobody_is_accepted_in_vain),
	};

	return cmocka_run_group_tests_name("service-accept", tests, NULL, NULL);
}
