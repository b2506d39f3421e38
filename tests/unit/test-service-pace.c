/* SPDX-License-Identifier: MIT */
/*
 * When a service listens to its providers: at once while little happens, and where there are
 * several. A single one that claims faster than connections come is paced: it is heard when the
 * next connection was sent, or after a moment.
 *
 * Time stands still, see service-moment.h.
 */
#include "loop.h"
#include "service-moment.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

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

static void test_what_a_paced_provider_says_is_read_when_a_connection_comes(void **state)
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

/* Others are deferred until it claims. */
static void test_a_paced_provider_that_does_not_claim_gets_one_more(void **state)
{
	struct world w;
	struct peer p;

	(void)state;
	begin_with(&w, &p, 1, 100);
	make_paced(&w, &p);
	clients(&w, "abcd");
	expect_together(&p, "a");
	expect_together(&p, "b");
	expect_deferred(&w, &p, 2);
	assert_null(w.service->pace.provider);
	claim(&p, p.last_sequence);
	expect_together(&p, "cd");
	end_with(&w, &p, 1);
}

/* What is said makes room for what is deferred, so nobody is paced then. */
static void test_nobody_is_paced_in_a_moment_in_which_any_were_deferred(void **state)
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
	claim(&p, p.last_sequence);
	assert_true(is_claim_read(&w));
	clients(&w, "c");
	expect_together(&p, "c");
	claim(&p, p.last_sequence);
	assert_true(is_claim_read(&w));
	end_with(&w, &p, 1);
}

/* Time is over, but connections keep coming. */
static void test_what_a_paced_provider_says_is_read_every_moment(void **state)
{
	struct world w;
	struct peer p;

	(void)state;
	begin_with(&w, &p, 1, 100);
	make_paced(&w, &p);
	for (int i = 0; i < 3; i++) {
		ring(&w);
		assert_int_equal(dispatch_n_unclaimed(service_dispatch(w.service)), 0);
		assert_non_null(w.service->pace.provider);
		clients(&w, "a");
		expect_together(&p, "a");
		claim(&p, p.last_sequence);
		assert_false(is_claim_read(&w));
	}
	become_quiet(&w);
	end_with(&w, &p, 1);
}

/* By shutdown(2), which only reading shows. */
static void stop_sending(const struct peer *p)
{
	assert_int_equal(shutdown(p->fd, SHUT_WR), 0);
	assert_int_equal(turn_while_ready(), 0);
}

static void test_after_a_moment_a_paced_provider_has_left(void **state)
{
	struct world w;
	struct peer p;

	(void)state;
	begin_with(&w, &p, 1, 100);
	make_paced(&w, &p);
	stop_sending(&p);
	ring(&w);
	assert_null(service_providers(w.service));
	assert_null(w.service->pace.provider);
	assert_int_equal(dispatch_totals(service_dispatch(w.service))->n_claimed, 2);
	become_quiet(&w);
	end_with(&w, &p, 1);
}

static void test_when_a_connection_comes_a_paced_provider_has_left(void **state)
{
	struct world w;
	struct peer p, other;

	(void)state;
	begin_with(&w, &p, 1, 100);
	make_paced(&w, &p);
	stop_sending(&p);
	clients(&w, "a");
	turn_until(!service_providers(w.service));
	assert_null(w.service->pace.provider);
	assert_int_equal(dispatch_totals(service_dispatch(w.service))->n_claimed, 2);
	become_quiet(&w);
	join(&w, &other, 100);
	expect_together(&other, "a");
	leave(&other);
	end_with(&w, &p, 1);
}

/* The connection was sent before that was read, and nobody is left to defer for. */
static void test_when_a_connection_comes_a_paced_provider_has_said_that_it_drains(void **state)
{
	struct world w;
	struct peer p, other;

	(void)state;
	begin_with(&w, &p, 1, 100);
	make_paced(&w, &p);
	drain(&p);
	clients(&w, "a");
	expect_together(&p, "a");
	expect_draining(&p, WIRE_DRAINING_ASKED);
	assert_int_equal(intake_state(service_intake(w.service)), INTAKE_WAITING);
	assert_null(w.service->pace.provider);
	claim(&p, p.last_sequence);
	assert_true(is_claim_read(&w));
	clients(&w, "b");
	expect_nothing(&p);
	assert_int_equal(intake_n_deferred(service_intake(w.service)), 0);
	become_quiet(&w);
	join(&w, &other, 100);
	expect_together(&other, "b");
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

/* Balance knows at once who is done with what. */
static void test_of_two_providers_none_is_paced(void **state)
{
	struct world w;
	struct peer peers[2];

	(void)state;
	begin_with(&w, peers, 2, 100);
	for (int i = 0; i < 3; i++) {
		clients(&w, "ab");
		expect_together(&peers[0], "a");
		expect_together(&peers[1], "b");
		claim(&peers[0], peers[0].last_sequence);
		claim(&peers[1], peers[1].last_sequence);
		assert_true(is_claim_read(&w));
		release(&peers[1], peers[1].last_id);
		(void)turn_while_ready();
		clients(&w, "c");
		expect_together(&peers[1], "c"); /* it has nothing in hand, the other one has */
		claim(&peers[1], peers[1].last_sequence);
		release(&peers[1], peers[1].last_id);
		release(&peers[0], peers[0].last_id);
		assert_true(is_claim_read(&w));
		assert_null(w.service->pace.provider);
	}
	end_with(&w, peers, 2);
}

static void test_pacing_ends_after_a_moment_when_a_second_process_connects(void **state)
{
	struct world w;
	struct peer peers[2];

	(void)state;
	begin_with(&w, peers, 1, 100);
	make_paced(&w, &peers[0]);
	connect_peer(&w, &peers[1]); /* and says nothing */
	assert_false(is_claim_read(&w));
	ring(&w);
	assert_null(w.service->pace.provider);
	clients(&w, "a");
	expect_together(&peers[0], "a");
	claim(&peers[0], peers[0].last_sequence);
	assert_true(is_claim_read(&w));
	end_with(&w, peers, 2);
}

static void test_pacing_ends_with_the_next_connection_when_a_second_provider_registers(void **state)
{
	struct world w;
	struct peer peers[2];

	(void)state;
	begin_with(&w, peers, 1, 100);
	make_paced(&w, &peers[0]);
	join(&w, &peers[1], 100);
	clients(&w, "a");
	expect_together(&peers[1], "a");
	assert_null(w.service->pace.provider);
	claim(&peers[1], peers[1].last_sequence);
	assert_true(is_claim_read(&w)); /* and so are those of the first */
	end_with(&w, peers, 2);
}

static void test_the_hang_up_of_a_paced_provider_is_noticed_at_once(void **state)
{
	struct world w;
	struct peer peers[2];

	(void)state;
	begin_with(&w, peers, 1, 100);
	make_paced(&w, &peers[0]);
	clients(&w, "a");
	expect_together(&peers[0], "a");
	leave(&peers[0]);
	turn_until(!service_providers(w.service));
	assert_null(w.service->pace.provider);
	assert_true(is_moment_running(&w)); /* and finds nobody */
	ring(&w);
	join(&w, &peers[1], 100);
	expect_together(&peers[1], "a");
	become_quiet(&w);
	end_with(&w, peers, 2);
}

/* As join(), but the provider is another process, which does nothing more. Returns its pid. */
static pid_t join_from_child(const struct world *w, struct peer *p)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	pid_t child;

	*p = (struct peer){
		.fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), .last_fd = -EBADF};
	strcpy(address.sun_path, rendezvous_path(service_rendezvous(w->service)));
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		if (connect(p->fd, (struct sockaddr *)&address, sizeof(address)) < 0)
			_exit(1);
		pause();
		_exit(0);
	}
	turn_until(service_providers(w->service));
	say_hello(p, 100);
	expect(p, WIRE_WELCOME);
	return child;
}

static void test_the_death_of_a_paced_provider_whose_channel_stays_open(void **state)
{
	struct world w;
	struct peer p;
	pid_t child;

	(void)state;
	begin_with(&w, &p, 0, 0);
	child = join_from_child(&w, &p);
	make_paced(&w, &p);
	clients(&w, "a");
	expect_together(&p, "a");
	assert_int_equal(kill(child, SIGKILL), 0);
	assert_int_equal(waitpid(child, NULL, 0), child);
	turn_until(n_logged("has ended") > 0);
	ring(&w);
	assert_null(w.service->pace.provider);
	become_quiet(&w);
	leave(&p);
	turn_until(!service_providers(w.service));
	end_with(&w, &p, 0);
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
	assert_null(w.service->pace.provider);
	become_quiet(&w);
	end_with(&w, &p, 1);
}

static void test_when_full_a_provider_is_listened_to_at_once(void **state)
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
static void test_stopping_while_a_provider_is_paced(void **state)
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
		check_loop_test(test_what_a_paced_provider_says_is_read_when_a_connection_comes),
		check_loop_test(test_a_paced_provider_that_does_not_claim_gets_one_more),
		check_loop_test(test_nobody_is_paced_in_a_moment_in_which_any_were_deferred),
		check_loop_test(test_what_a_paced_provider_says_is_read_every_moment),
		check_loop_test(test_after_a_moment_a_paced_provider_has_left),
		check_loop_test(test_when_a_connection_comes_a_paced_provider_has_left),
		check_loop_test(
			test_when_a_connection_comes_a_paced_provider_has_said_that_it_drains),
		check_loop_test(test_whoever_gets_one_soon_after_deferred_ones_is_paced),
		check_loop_test(test_of_two_providers_none_is_paced),
		check_loop_test(test_pacing_ends_after_a_moment_when_a_second_process_connects),
		check_loop_test(
			test_pacing_ends_with_the_next_connection_when_a_second_provider_registers),
		check_loop_test(test_the_hang_up_of_a_paced_provider_is_noticed_at_once),
		check_loop_test(test_the_death_of_a_paced_provider_whose_channel_stays_open),
		check_loop_test(test_the_last_words_of_a_paced_provider_count),
		check_loop_test(test_when_full_a_provider_is_listened_to_at_once),
		check_loop_test(test_stopping_while_a_provider_is_paced),
	};

	return cmocka_run_group_tests_name("service-pace", tests, NULL, NULL);
}
