/* SPDX-License-Identifier: MIT */
/*
 * What happens to a service while connections are deferred: a pause, a lack of descriptors, the
 * death of providers, reloads, the end. Nobody is lost, and nothing spins.
 *
 * Time stands still, see service-moment.h.
 */
#include "loop.h"
#include "service-moment.h"

#include <stdlib.h>

static void test_a_pause_by_the_administrator(void **state)
{
	struct world w;
	struct peer p;

	(void)state;
	begin_with(&w, &p, 1, 100);
	clients(&w, "abc");
	expect_together(&p, "a");
	expect_deferred(&w, &p, 2);
	service_set_paused(w.service, true);
	claim(&p, p.last_sequence);
	become_quiet(&w);
	expect_nothing(&p);
	assert_int_equal(n_accepted, 1);
	service_set_paused(w.service, false);
	expect_together(&p, "b");
	expect_deferred(&w, &p, 1);
	end_moment(&w);
	expect_together(&p, "c");
	end_with(&w, &p, 1);
}

static void test_a_pause_that_is_over_at_once(void **state)
{
	struct world w;
	struct peer p;

	(void)state;
	begin_with(&w, &p, 1, 100);
	clients(&w, "abc");
	expect_together(&p, "a");
	expect_deferred(&w, &p, 2);
	service_set_paused(w.service, true);
	service_set_paused(w.service, false);
	expect_deferred(&w, &p, 2);
	end_moment(&w);
	expect_together(&p, "bc");
	end_with(&w, &p, 1);
}

static void test_a_lack_of_descriptors_is_waited_for_and_loses_nobody(void **state)
{
	struct world w;
	struct peer p;

	(void)state;
	begin_with(&w, &p, 1, 100);
	clients(&w, "abc");
	expect_together(&p, "a");
	expect_deferred(&w, &p, 2);
	n_accept_errors = 1;
	loop_hurry = 100; /* the pause after an error */
	claim(&p, p.last_sequence);
	turn_until(n_accept_errors == 0);
	assert_int_equal(listener_state(listener_of(&w)), LISTENER_RETRYING);
	expect_together(&p, "b");
	claim(&p, p.last_sequence);
	expect_together(&p, "c");
	assert_int_equal(n_logged("clients wait in the backlog"), 1);
	end_with(&w, &p, 1);
}

static void test_the_death_of_who_has_not_claimed(void **state)
{
	struct world w;
	struct peer peers[2];

	(void)state;
	begin_with(&w, peers, 2, 100);
	clients(&w, "abcd");
	expect_together(&peers[0], "a");
	expect_together(&peers[1], "b");
	expect_deferred(&w, &peers[1], 2);
	leave(&peers[0]);
	expect_together(&peers[1], "a");
	expect_deferred(&w, &peers[1], 2);
	claim(&peers[1], peers[1].last_sequence);
	expect_together(&peers[1], "cd");
	end_with(&w, peers, 2);
}

static void test_the_death_of_the_only_one(void **state)
{
	struct world w;
	struct peer first, second;

	(void)state;
	begin_with(&w, &first, 1, 100);
	clients(&w, "abc");
	expect_together(&first, "a");
	expect_deferred(&w, &first, 2);
	leave(&first);
	turn_until(!service_providers(w.service));
	become_quiet(&w);
	assert_int_equal(intake_state(service_intake(w.service)), INTAKE_WAITING);
	join(&w, &second, 100);
	expect_connections(&second, "ab");
	expect_deferred(&w, &second, 1);
	claim(&second, second.last_sequence);
	expect_together(&second, "c");
	end_with(&w, &second, 1);
}

static struct listener *const *listeners_of(const struct world *w)
{
	size_t n;

	return intake_listeners(service_intake(w->service), &n);
}

/* As a reload that leaves the first of two listeners. */
static void remove_second(struct world *w)
{
	struct listener *first = listeners_of(w)[0], *second = listeners_of(w)[1];
	struct listener **listeners = calloc(1, sizeof(struct listener *));

	assert_non_null(listeners);
	listeners[0] = first;
	service_configure(w->service, &w->config, listeners, 1);
	listener_free(second);
}

static void test_a_reload_removes_a_listener_that_is_deferred(void **state)
{
	struct world w;
	struct peer p;

	(void)state;
	begin_with(&w, &p, 1, 100);
	reconfigure(&w, 1);
	expect(&p, WIRE_WELCOME);
	clients(&w, "ab");
	expect_together(&p, "a");
	client_at(&w, 1, 'x');
	expect_deferred(&w, &p, 2);
	remove_second(&w);
	expect(&p, WIRE_WELCOME);
	expect_deferred(&w, &p, 2);
	end_moment(&w);
	expect_together(&p, "b");
	become_quiet(&w);
	end_with(&w, &p, 1);
}

static void test_a_reload_adds_a_listener_while_another_is_deferred(void **state)
{
	struct world w;
	struct peer p;

	(void)state;
	begin_with(&w, &p, 1, 100);
	clients(&w, "ab");
	expect_together(&p, "a");
	expect_deferred(&w, &p, 1);
	reconfigure(&w, 1);
	expect(&p, WIRE_WELCOME);
	client_at(&w, 1, 'b');
	expect_deferred(&w, &p, 2);
	claim(&p, p.last_sequence);
	expect_together(&p, "bb");
	end_with(&w, &p, 1);
}

static void test_a_removed_service_has_nothing_deferred(void **state)
{
	struct world w;
	struct peer p;

	(void)state;
	begin_with(&w, &p, 1, 100);
	clients(&w, "ab");
	expect_together(&p, "a");
	expect_deferred(&w, &p, 1);
	end_service(&w);
	end_moment(&w);
	expect_nothing(&p);
	assert_false(is_connected(&w, 1)); /* it went with the listener */
	claim(&p, p.last_sequence);
	expect_draining(&p, WIRE_DRAINING_ENDING);
	turn_until(w.n_ended == 1);
	become_quiet(&w);
	end_with(&w, &p, 1);
}

/* The descriptors are counted after each test, and its timer would be heard of. */
static void test_stopping_in_the_middle_of_a_moment(void **state)
{
	struct world w;
	struct peer p;

	(void)state;
	begin_with(&w, &p, 1, 100);
	clients(&w, "ab");
	expect_together(&p, "a");
	expect_deferred(&w, &p, 1);
	assert_true(is_moment_running(&w));
	end_with(&w, &p, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_loop_test(test_a_pause_by_the_administrator),
		check_loop_test(test_a_pause_that_is_over_at_once),
		check_loop_test(test_a_lack_of_descriptors_is_waited_for_and_loses_nobody),
		check_loop_test(test_the_death_of_who_has_not_claimed),
		check_loop_test(test_the_death_of_the_only_one),
		check_loop_test(test_a_reload_removes_a_listener_that_is_deferred),
		check_loop_test(test_a_reload_adds_a_listener_while_another_is_deferred),
		check_loop_test(test_a_removed_service_has_nothing_deferred),
		check_loop_test(test_stopping_in_the_middle_of_a_moment),
	};

	return cmocka_run_group_tests_name("service-accept-changes", tests, NULL, NULL);
}
