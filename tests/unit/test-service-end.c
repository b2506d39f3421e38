/* SPDX-License-Identifier: MIT */
/* The end of a service: removed by a reload while it has connections, or stopped. */
#include "fd.h"
#include "service-world.h"

#include <unistd.h>

static void test_a_removed_service_with_nobody_ends_at_once_but_later(void **state)
{
	struct world w;

	(void)state;
	begin(&w);
	open_service(&w);
	end_service(&w);
	assert_int_equal(w.n_ended, 0);
	assert_true(service_is_ending(w.service));
	assert_null(service_rendezvous(w.service));
	assert_int_equal(access(in_folder("echo.sock"), F_OK), -1);
	turn_until(w.n_ended == 1);
	assert_int_equal(turn_while_ready(), 0);
	assert_int_equal(w.n_ended, 1);
	end(&w);
}

static void test_a_removed_service_waits_for_claims_and_then_says_so(void **state)
{
	struct world w;
	struct peer p, idle;

	(void)state;
	begin(&w);
	open_service(&w);
	join(&w, &p, 10);
	clients(&w, "ab");
	expect_connections(&p, "ab");
	join(&w, &idle, 10);
	end_service(&w);
	expect_nothing(&p);
	expect_nothing(&idle);
	claim(&p, 1);
	expect_nothing(&p);
	assert_int_equal(w.n_ended, 0);
	claim(&p, 2);
	credit(&p, 2, 5); /* is read before it has ended */
	expect(&p, WIRE_DRAINING);
	expect(&idle, WIRE_DRAINING);
	(void)turn_while_ready();
	assert_int_equal(w.n_ended, 1);
	w.service = service_free(w.service);
	expect_end(&p);
	expect_end(&idle);
	end(&w);
}

static void test_what_waits_in_a_removed_service_is_served(void **state)
{
	struct world w;
	struct peer first, second;

	(void)state;
	begin(&w);
	open_service(&w);
	join(&w, &first, 10);
	clients(&w, "ab");
	(void)turn_while_ready();
	join(&w, &second, 0);
	leave(&first);
	turn_until(n_parked(&w) == 2);
	end_service(&w);
	expect_nothing(&second);
	assert_int_equal(w.n_ended, 0);
	credit(&second, 0, 2);
	expect_connections(&second, "ab");
	claim(&second, 2);
	expect(&second, WIRE_DRAINING);
	turn_until(w.n_ended == 1);
	leave(&second);
	end(&w);
}

static void test_what_waits_in_a_removed_service_without_providers_is_reset(void **state)
{
	struct world w;
	struct peer p;

	(void)state;
	begin(&w);
	open_service(&w);
	join(&w, &p, 10);
	clients(&w, "ab");
	(void)turn_while_ready();
	leave(&p);
	turn_until(n_parked(&w) == 2);
	end_service(&w);
	turn_until(w.n_ended == 1);
	w.service = service_free(w.service);
	assert_false(is_connected(&w, 0) || is_connected(&w, 1));
	end(&w);
}

static void test_the_last_provider_of_a_removed_service_dies(void **state)
{
	struct world w;
	struct peer p;

	(void)state;
	begin(&w);
	open_service(&w);
	join(&w, &p, 10);
	clients(&w, "a");
	expect_connections(&p, "a");
	end_service(&w);
	leave(&p);
	turn_until(w.n_ended == 1);
	end(&w);
}

static void test_who_is_about_to_register_at_a_removed_service(void **state)
{
	struct world w;
	struct peer p;

	(void)state;
	begin(&w);
	open_service(&w);
	connect_peer(&w, &p);
	(void)turn_while_ready();
	end_service(&w);
	turn_until(w.n_ended == 1);
	w.service = service_free(w.service);
	expect_end(&p);
	end(&w);
}

/* Whatever there is when usherd stops: the descriptors are counted after each test. */
static void test_stopping_with_everything_at_once(void **state)
{
	struct world w;
	struct peer holder, quarantined, silent;

	(void)state;
	begin(&w);
	open_service(&w);
	join(&w, &quarantined, 10);
	clients(&w, "ab");
	(void)turn_while_ready();
	claim(&quarantined, 4711);
	(void)turn_while_ready();
	join(&w, &holder, 2);
	clients(&w, "cd");
	(void)turn_while_ready();
	connect_peer(&w, &silent);
	(void)turn_while_ready();
	leave(&quarantined);
	turn_until(n_parked(&w) == 2);
	clients(&w, "e"); /* in the backlog */

	end(&w);
	expect_connections(&holder, "cd"); /* what was sent is the provider's */
	expect_end(&holder);
	expect_end(&silent);
}

static void test_stopping_resets_who_waits(void **state)
{
	struct world w;
	struct peer p;
	int fd;

	(void)state;
	begin(&w);
	open_service_on(&w, ANY_PORT);
	join(&w, &p, 10);
	fd = silent_client(&w);
	turn_until(dispatch_n_unclaimed(service_dispatch(w.service)) == 1);
	leave(&p);
	turn_until(n_parked(&w) == 1);
	w.service = service_free(w.service);
	check_was_reset(fd);
	close_fd(fd);
	end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_loop_test(test_a_removed_service_with_nobody_ends_at_once_but_later),
		check_loop_test(test_a_removed_service_waits_for_claims_and_then_says_so),
		check_loop_test(test_what_waits_in_a_removed_service_is_served),
		check_loop_test(test_what_waits_in_a_removed_service_without_providers_is_reset),
		check_loop_test(test_the_last_provider_of_a_removed_service_dies),
		check_loop_test(test_who_is_about_to_register_at_a_removed_service),
		check_loop_test(test_stopping_with_everything_at_once),
		check_loop_test(test_stopping_resets_who_waits),
	};

	return cmocka_run_group_tests_name("service-end", tests, NULL, NULL);
}
