/* SPDX-License-Identifier: MIT */
/*
 * When a service listens to its providers: at once while little happens; when the next connection
 * comes, or after a moment, to those that claim faster than connections come.
 *
 * Time stands still, see service-moment.h.
 */
#include "loop.h"
#include "service-moment.h"

#include <sys/socket.h>

/* What the provider has said is read without a moment's end, or is not. */
static bool is_claim_read(const struct world *w)
{
	(void)turn_while_ready();
	return dispatch_n_unclaimed(service_dispatch(w->service)) == 0;
}

/* A provider that claims faster than connections come is paced. */
static void make_paced(struct world *w, struct peer *p)
{
	clients(w, "1");
	expect_connections(p, "1");
	claim(p, p->last_sequence);
	assert_true(is_claim_read(w));
	clients(w, "2");
	expect_connections(p, "2");
	claim(p, p->last_sequence);
	assert_false(is_claim_read(w));
}

/* So are all who claim at the same time. */
static void make_all_paced(struct world *w, struct peer peers[], size_t n)
{
	for (size_t i = 0; i < n; i++)
		clients(w, "a");
	for (size_t i = 0; i < n; i++)
		expect_connections(&peers[i], "a");
	for (size_t i = 0; i < n; i++)
		claim(&peers[i], peers[i].last_sequence);
	(void)turn_while_ready();
	assert_int_equal(dispatch_n_unclaimed(service_dispatch(w->service)), n);
}

static void test_what_a_paced_provider_says_is_read_after_a_moment(void **state)
{
	struct world w;
	struct peer p;

	(void)state;
	begin_with(&w, &p, 1, 100);
	make_paced(&w, &p);
	release(&p, p.last_id);
	expect_nothing(&p);
	assert_true(is_connected(&w, 1)); /* usherd still has its copy */
	end_moment(&w);
	assert_false(is_connected(&w, 1));
	assert_int_equal(dispatch_totals(service_dispatch(w.service))->n_released, 1);
	become_quiet(&w);
	clients(&w, "a");
	expect_together(&p, "a");
	claim(&p, p.last_sequence);
	assert_true(is_claim_read(&w)); /* paced no more */
	end_with(&w, &p, 1);
}

static void test_what_paced_providers_say_is_read_when_a_connection_comes(void **state)
{
	struct world w;
	struct peer p;

	(void)state;
	begin_with(&w, &p, 1, 100);
	make_paced(&w, &p);
	for (int i = 0; i < 5; i++) {
		clients(&w, "a");
		expect_together(&p, "a");
		assert_int_equal(dispatch_n_unclaimed(service_dispatch(w.service)), 1);
		claim(&p, p.last_sequence);
		assert_false(is_claim_read(&w));
	}
	assert_int_equal(n_accepts_in_vain, 0);
	end_with(&w, &p, 1);
}

/* What is said makes room for what is deferred, so nobody is paced then. */
static void test_nobody_is_paced_while_connections_are_deferred(void **state)
{
	struct world w;
	struct peer p;

	(void)state;
	begin_with(&w, &p, 1, 100);
	make_paced(&w, &p);
	clients(&w, "ab");
	expect_together(&p, "a");
	expect_deferred(&w, &p, 1);
	claim(&p, p.last_sequence);
	expect_together(&p, "b");
	claim(&p, p.last_sequence);
	assert_true(is_claim_read(&w));
	end_with(&w, &p, 1);
}

/* Time is over, but connections keep coming. */
static void test_what_paced_providers_say_is_read_every_moment(void **state)
{
	struct world w;
	struct peer peers[3];

	(void)state;
	begin_with(&w, peers, 3, 100);
	make_all_paced(&w, peers, 3);
	ring(&w);
	assert_int_equal(dispatch_n_unclaimed(service_dispatch(w.service)), 0);
	assert_true(w.service->pace.is_paced);
	become_quiet(&w);
	end_with(&w, peers, 3);
}

/* By shutdown(2), which only reading shows. */
static void stop_sending(const struct peer peers[], size_t n)
{
	for (size_t i = 0; i < n; i++)
		assert_int_equal(shutdown(peers[i].fd, SHUT_WR), 0);
}

static void test_all_who_are_paced_have_left_after_a_moment(void **state)
{
	struct world w;
	struct peer peers[3];

	(void)state;
	begin_with(&w, peers, 3, 100);
	make_all_paced(&w, peers, 3);
	stop_sending(peers, 3);
	assert_int_equal(turn_while_ready(), 0);
	ring(&w);
	assert_null(service_providers(w.service));
	assert_int_equal(dispatch_totals(service_dispatch(w.service))->n_claimed, 3);
	become_quiet(&w);
	end_with(&w, peers, 3);
}

static void test_all_who_are_paced_have_left_when_a_connection_comes(void **state)
{
	struct world w;
	struct peer peers[3], other;

	(void)state;
	begin_with(&w, peers, 3, 100);
	make_all_paced(&w, peers, 3);
	stop_sending(peers, 3);
	clients(&w, "d");
	turn_until(intake_state(service_intake(w.service)) == INTAKE_WAITING);
	join(&w, &other, 100);
	expect_together(&other, "d");
	leave(&other);
	end_with(&w, peers, 3);
}

/* Nobody is left to defer for. */
static void test_the_only_one_has_said_that_it_drains_when_a_connection_comes(void **state)
{
	struct world w;
	struct peer p, other;

	(void)state;
	begin_with(&w, &p, 1, 100);
	make_paced(&w, &p);
	drain(&p);
	clients(&w, "a");
	expect_draining(&p, WIRE_DRAINING_ASKED);
	assert_int_equal(intake_state(service_intake(w.service)), INTAKE_WAITING);
	assert_int_equal(intake_n_deferred(service_intake(w.service)), 0);
	become_quiet(&w);
	join(&w, &other, 100);
	expect_together(&other, "a");
	leave(&other);
	end_with(&w, &p, 1);
}

/* Those that were deferred are connections as any. */
static void test_whoever_gets_one_soon_after_deferred_ones_is_paced(void **state)
{
	struct world w;
	struct peer p;

	(void)state;
	begin_with(&w, &p, 1, 100);
	clients(&w, "ab");
	expect_together(&p, "a");
	expect_deferred(&w, &p, 1);
	advance(MOMENT_USEC - 1);
	claim(&p, p.last_sequence);
	expect_together(&p, "b");
	claim(&p, p.last_sequence);
	assert_true(is_claim_read(&w));
	ring(&w);
	advance(MOMENT_USEC - 1);
	clients(&w, "c");
	expect_together(&p, "c");
	claim(&p, p.last_sequence);
	assert_false(is_claim_read(&w));
	end_with(&w, &p, 1);
}

static void test_the_end_of_a_paced_provider_is_noticed_at_once(void **state)
{
	struct world w;
	struct peer peers[2];

	(void)state;
	begin_with(&w, peers, 1, 100);
	make_paced(&w, &peers[0]);
	clients(&w, "a");
	expect_together(&peers[0], "a");
	join(&w, &peers[1], 100);
	leave(&peers[0]);
	expect_together(&peers[1], "a");
	assert_true(w.service->pace.is_paced);
	become_quiet(&w);
	end_with(&w, peers, 2);
}

static void test_the_last_words_of_a_paced_provider_count(void **state)
{
	struct world w;
	struct peer p;

	(void)state;
	begin_with(&w, &p, 1, 100);
	make_paced(&w, &p);
	release(&p, p.last_id);
	leave(&p);
	turn_until(!service_providers(w.service));
	assert_int_equal(dispatch_totals(service_dispatch(w.service))->n_claimed, 2);
	assert_int_equal(dispatch_totals(service_dispatch(w.service))->n_released, 1);
	become_quiet(&w);
	end_with(&w, &p, 1);
}

static void test_when_full_providers_are_listened_to_at_once(void **state)
{
	struct world w;
	struct peer p;

	(void)state;
	begin_with(&w, &p, 1, 3);
	make_paced(&w, &p);
	clients(&w, "ab"); /* there is credit for one of them */
	expect_together(&p, "a");
	assert_int_equal(intake_state(service_intake(w.service)), INTAKE_FULL);
	claim(&p, p.last_sequence);
	assert_true(is_claim_read(&w));
	release(&p, p.last_id);
	expect_together(&p, "b");
	end_with(&w, &p, 1);
}

/* Its timer would be heard of. */
static void test_stopping_while_providers_are_paced(void **state)
{
	struct world w;
	struct peer p;

	(void)state;
	begin_with(&w, &p, 1, 100);
	make_paced(&w, &p);
	assert_true(is_moment_running(&w));
	end_with(&w, &p, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_loop_test(test_what_a_paced_provider_says_is_read_after_a_moment),
		check_loop_test(test_what_paced_providers_say_is_read_when_a_connection_comes),
		check_loop_test(test_nobody_is_paced_while_connections_are_deferred),
		check_loop_test(test_what_paced_providers_say_is_read_every_moment),
		check_loop_test(test_all_who_are_paced_have_left_after_a_moment),
		check_loop_test(test_all_who_are_paced_have_left_when_a_connection_comes),
		check_loop_test(test_the_only_one_has_said_that_it_drains_when_a_connection_comes),
		check_loop_test(test_whoever_gets_one_soon_after_deferred_ones_is_paced),
		check_loop_test(test_the_end_of_a_paced_provider_is_noticed_at_once),
		check_loop_test(test_the_last_words_of_a_paced_provider_count),
		check_loop_test(test_when_full_providers_are_listened_to_at_once),
		check_loop_test(test_stopping_while_providers_are_paced),
	};

	return cmocka_run_group_tests_name("service-pace", tests, NULL, NULL);
}
