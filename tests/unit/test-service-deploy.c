/* SPDX-License-Identifier: MIT */
/*
 * Who gets the new connections when providers come, stand by, and are told to leave; and a service
 * that is paused.
 */
#include "loop.h"
#include "service-world.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

static enum provider_state state_of(const struct world *w, unsigned int number)
{
	return provider_of(w, number)->record->state;
}

static void begin_takeover(struct world *w)
{
	begin(w);
	w->config.providers.takeover = CONFIG_TAKEOVER_NEWEST;
	open_service(w);
}

/* Takeover. */

static void test_the_newest_provider_replaces_the_older_ones(void **state)
{
	struct world w;
	struct peer generations[4];

	(void)state;
	begin_takeover(&w);
	for (unsigned int i = 0; i < 4; i++) {
		static const char *const letters[] = {"a", "b", "c", "d"};

		join(&w, &generations[i], 10);
		if (i > 0)
			expect_draining(&generations[i - 1], WIRE_DRAINING_REPLACED);
		clients(&w, letters[i]);
		expect_connections(&generations[i], letters[i]);
	}
	assert_int_equal(n_logged("is replaced by provider"), 3);
	assert_int_equal(n_logged("provider 3 (tester, pid"), 2); /* it came, and was replaced */
	for (unsigned int i = 0; i < 3; i++) {
		expect_nothing(&generations[i]);
		claim(&generations[i], 1); /* what they have they finish */
	}
	turn_until(dispatch_n_unclaimed(service_dispatch(w.service)) == 1);
	release(&generations[0], generations[0].last_id);
	turn_until(dispatch_n_in_service(service_dispatch(w.service)) == 2);
	for (unsigned int i = 0; i < 4; i++)
		leave(&generations[i]);
	end(&w);
}

/* Both are there for a moment: neither may be without connections in between. */
static void test_what_the_replaced_one_had_not_claimed_goes_to_the_newest(void **state)
{
	struct world w;
	struct peer old, new;

	(void)state;
	begin_takeover(&w);
	join(&w, &old, 10);
	clients(&w, "ab");
	expect_connections(&old, "ab");
	join(&w, &new, 10);
	expect_draining(&old, WIRE_DRAINING_REPLACED);
	leave(&old);
	expect_connections(&new, "ab");
	leave(&new);
	end(&w);
}

static void test_without_takeover_they_share(void **state)
{
	struct world w;
	struct peer first, second;

	(void)state;
	begin(&w);
	open_service(&w);
	join(&w, &first, 10);
	join(&w, &second, 10);
	expect_nothing(&first);
	clients(&w, "ab");
	expect(&first, WIRE_CONNECTIONS);
	expect(&second, WIRE_CONNECTIONS);
	leave(&first);
	leave(&second);
	end(&w);
}

static void test_standbys_replace_nobody_and_stay(void **state)
{
	struct world w;
	struct peer first, standby, second;

	(void)state;
	begin_takeover(&w);
	join(&w, &first, 1);
	join_as_standby(&w, &standby, 10);
	expect_nothing(&first);
	join(&w, &second, 1);
	expect_draining(&first, WIRE_DRAINING_REPLACED);
	expect_nothing(&standby);
	clients(&w, "ab");
	expect_connections(&second, "a");
	expect_connections(&standby, "b");
	leave(&first);
	leave(&standby);
	leave(&second);
	end(&w);
}

static void test_standbys_serve_only_when_no_other_has_credit(void **state)
{
	struct world w;
	struct peer standby, regular;

	(void)state;
	begin(&w);
	open_service(&w);
	join_as_standby(&w, &standby, 10);
	assert_int_equal(n_logged("has registered with credit 10, as a standby"), 1);
	clients(&w, "a");
	expect_connections(&standby, "a");
	join(&w, &regular, 2);
	clients(&w, "bcd");
	expect_connections(&regular, "bc");
	expect_connections(&standby, "d");
	credit(&regular, 2, 1);
	(void)turn_while_ready();
	clients(&w, "e");
	expect_connections(&regular, "e");
	leave(&regular);
	expect_connections(&standby, "bce"); /* nobody had claimed them */
	leave(&standby);
	end(&w);
}

/* DRAIN, both ways. */

static void test_drain_is_answered_as_asked(void **state)
{
	struct world w;
	struct peer p;

	(void)state;
	begin(&w);
	open_service(&w);
	join(&w, &p, 10);
	drain(&p);
	expect_draining(&p, WIRE_DRAINING_ASKED);
	leave(&p);
	end(&w);
}

static void test_the_first_reason_for_draining_stays(void **state)
{
	struct world w;
	struct peer old, new;

	(void)state;
	begin_takeover(&w);
	join(&w, &old, 10);
	join(&w, &new, 10);
	expect_draining(&old, WIRE_DRAINING_REPLACED);
	drain(&old); /* both at the same time */
	expect_draining(&old, WIRE_DRAINING_REPLACED);
	assert_int_equal(service_drain(w.service, "1"), 0);
	end_service(&w);
	expect_draining(&new, WIRE_DRAINING_ENDING);
	expect_nothing(&old);
	leave(&old);
	leave(&new);
	end(&w);
}

static void test_the_administrator_drains_by_number_by_name_and_all(void **state)
{
	struct world w;
	struct peer peers[4];

	(void)state;
	begin(&w);
	open_service(&w);
	for (unsigned int i = 0; i < 4; i++)
		join(&w, &peers[i], 10);
	strcpy(((struct provider *)(uintptr_t)provider_of(&w, 2))->name, "4711");
	assert_int_equal(service_drain(w.service, "5"), 0);
	assert_int_equal(service_drain(w.service, "teste"), 0);
	assert_int_equal(service_drain(w.service, "1"), 1);
	expect_draining(&peers[0], WIRE_DRAINING_ADMINISTRATOR);
	assert_int_equal(service_drain(w.service, "4711"), 1);
	expect_draining(&peers[1], WIRE_DRAINING_ADMINISTRATOR);
	assert_int_equal(service_drain(w.service, "tester"), 2);
	expect_draining(&peers[2], WIRE_DRAINING_ADMINISTRATOR);
	expect_draining(&peers[3], WIRE_DRAINING_ADMINISTRATOR);
	assert_int_equal(service_drain(w.service, NULL), 0);
	assert_int_equal(n_logged("is told by the administrator to drain"), 4);
	assert_int_equal(intake_state(service_intake(w.service)), INTAKE_WAITING);
	for (unsigned int i = 0; i < 4; i++)
		leave(&peers[i]);
	end(&w);
}

static void test_the_administrator_drains_all(void **state)
{
	struct world w;
	struct peer first, second, silent;

	(void)state;
	begin(&w);
	open_service(&w);
	join(&w, &first, 10);
	join_as_standby(&w, &second, 10);
	connect_peer(&w, &silent);
	(void)turn_while_ready();
	assert_int_equal(service_drain(w.service, NULL), 2);
	expect_draining(&first, WIRE_DRAINING_ADMINISTRATOR);
	expect_draining(&second, WIRE_DRAINING_ADMINISTRATOR);
	say_hello(&silent, 1); /* who comes later serves */
	expect(&silent, WIRE_WELCOME);
	assert_int_equal(state_of(&w, 3), PROVIDER_READY);
	leave(&first);
	leave(&second);
	leave(&silent);
	end(&w);
}

static void test_the_reason_is_still_right_when_there_is_room_at_last(void **state)
{
	struct world w;
	struct peer p;
	size_t n = 0;

	(void)state;
	begin(&w);
	open_service(&w);
	join(&w, &p, 1000);
	make_narrow(&w, 1);
	for (; state_of(&w, 1) == PROVIDER_READY; n++) {
		(void)client(&w, 'x');
		(void)turn_while_ready();
	}
	assert_int_equal(service_drain(w.service, NULL), 1);
	for (; n > 1; n--)
		expect(&p, WIRE_CONNECTIONS);
	expect_draining(&p, WIRE_DRAINING_ADMINISTRATOR);
	leave(&p);
	end(&w);
}

/* Pause. */

static void test_while_paused_clients_wait(void **state)
{
	struct world w;
	struct peer p;

	(void)state;
	begin(&w);
	w.config.unavailable = CONFIG_UNAVAILABLE_REFUSE; /* which pausing goes before */
	open_service_on(&w, ANY_PORT);
	service_set_paused(w.service, true);
	assert_true(service_is_paused(w.service));
	assert_int_equal(intake_state(service_intake(w.service)), INTAKE_PAUSED);
	clients(&w, "a");
	join(&w, &p, 10);
	clients(&w, "b");
	expect_nothing(&p);
	reconfigure(&w, 0);
	expect_nothing(&p);
	assert_int_equal(intake_state(service_intake(w.service)), INTAKE_PAUSED);
	service_set_paused(w.service, false);
	assert_int_equal(intake_state(service_intake(w.service)), INTAKE_SERVING);
	expect_connections(&p, "ab");
	leave(&p);
	end(&w);
}

static void test_what_was_accepted_before_a_pause_is_handed_over(void **state)
{
	struct world w;
	struct peer first, second;

	(void)state;
	begin(&w);
	open_service(&w);
	join(&w, &first, 10);
	clients(&w, "ab");
	expect_connections(&first, "ab");
	service_set_paused(w.service, true);
	clients(&w, "c");
	leave(&first);
	turn_until(dispatch_n_parked(service_dispatch(w.service)) == 2);
	join(&w, &second, 10);
	expect_connections(&second, "ab");
	expect_nothing(&second);
	service_set_paused(w.service, false);
	expect_connections(&second, "c");
	leave(&second);
	end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_loop_test(test_the_newest_provider_replaces_the_older_ones),
		check_loop_test(test_what_the_replaced_one_had_not_claimed_goes_to_the_newest),
		check_loop_test(test_without_takeover_they_share),
		check_loop_test(test_standbys_replace_nobody_and_stay),
		check_loop_test(test_standbys_serve_only_when_no_other_has_credit),
		check_loop_test(test_drain_is_answered_as_asked),
		check_loop_test(test_the_first_reason_for_draining_stays),
		check_loop_test(test_the_administrator_drains_by_number_by_name_and_all),
		check_loop_test(test_the_administrator_drains_all),
		check_loop_test(test_the_reason_is_still_right_when_there_is_room_at_last),
		check_loop_test(test_while_paused_clients_wait),
		check_loop_test(test_what_was_accepted_before_a_pause_is_handed_over),
	};

	return cmocka_run_group_tests_name("service-deploy", tests, NULL, NULL);
}
