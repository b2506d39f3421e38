/* SPDX-License-Identifier: MIT */
/*
 * Connections that nobody can take: where they wait, in which order they go on, when they are
 * reset, and what of them outlives the service.
 *
 * parking_put() and parking_take() are wrapped to fail, the service manager's store to be there.
 */
#include "fd.h"
#include "loop.h"
#include "service-private.h"
#include "service-world.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define N_ELEMENTS(array) (sizeof(array) / sizeof((array)[0]))
static int put_error, n_put_errors;
static int take_error, n_take_errors;
static bool has_store;
static int stored_fd = -EBADF; /* a copy of the parking lot that was stored last */

int __real_parking_put(struct parking *parking, const struct handoff *h, uint64_t now_usec);
int __wrap_parking_put(struct parking *parking, const struct handoff *h, uint64_t now_usec);
int __real_parking_take(struct parking *parking, struct handoff *ret);
int __wrap_parking_take(struct parking *parking, struct handoff *ret);
uint32_t __wrap_fdstore_add(enum fdstore_kind kind, const char *service, int fd);
bool __wrap_fdstore_remove(enum fdstore_kind kind, const char *service, uint32_t number);

int __wrap_parking_put(struct parking *parking, const struct handoff *h, uint64_t now_usec)
{
	if (n_put_errors > 0) {
		n_put_errors--;
		return put_error;
	}
	return __real_parking_put(parking, h, now_usec);
}

int __wrap_parking_take(struct parking *parking, struct handoff *ret)
{
	if (n_take_errors == 0)
		return __real_parking_take(parking, ret);
	n_take_errors--;
	if (take_error == -EIO) { /* it is gone */
		assert_int_equal(__real_parking_take(parking, ret), 0);
		close_fd(ret->fd);
	}
	return take_error;
}

uint32_t __wrap_fdstore_add(enum fdstore_kind kind, const char *service, int fd)
{
	assert_string_equal(service, "echo");
	if (!has_store)
		return 0;
	if (kind == FDSTORE_PARKING) {
		close_fd(stored_fd);
		stored_fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	}
	return 1;
}

/* As after fdstore_freeze(). */
bool __wrap_fdstore_remove(enum fdstore_kind kind, const char *service, uint32_t number)
{
	(void)kind, (void)service;
	return number > 0;
}

static void begin_test(struct world *w)
{
	n_put_errors = n_take_errors = 0;
	has_store = false;
	begin(w);
}

static const struct dispatch *dispatch_of(const struct world *w)
{
	return service_dispatch(w->service);
}

/* Have a provider get these and die without a claim; nobody else is there. */
static void strand(struct world *w, const char *letters)
{
	struct peer p;

	clients(w, letters);
	join(w, &p, 1000);
	expect_connections(&p, letters);
	leave(&p);
	turn_until(!service_providers(w->service));
}

static bool is_any_connected(const struct world *w)
{
	for (size_t i = 0; i < w->n_clients; i++)
		if (is_connected(w, i))
			return true;
	return false;
}

/* Waiting. */

static void test_what_nobody_can_take_is_parked_and_costs_no_descriptor(void **state)
{
	struct world w;
	struct peer p;
	int first_free;

	(void)state;
	begin_test(&w);
	open_service(&w);
	clients(&w, "abc");
	first_free = fcntl(w.clients[2], F_DUPFD_CLOEXEC, 0);
	close_fd(first_free);
	join(&w, &p, 10);
	expect_connections(&p, "abc");
	leave(&p);
	turn_until(n_parked(&w) == 3);
	assert_true(is_connected(&w, 0) && is_connected(&w, 1) && is_connected(&w, 2));
	(void)turn_while_ready();
	assert_int_equal(turn_while_ready(), 0);
	/* Only a lot is open, two descriptors, where the provider and three connections were. */
	stored_fd = fcntl(w.clients[2], F_DUPFD_CLOEXEC, 0);
	assert_in_range(stored_fd, first_free, first_free + 2);
	stored_fd = close_fd(stored_fd);
	assert_int_equal(dispatch_totals(dispatch_of(&w))->n_parked, 3);
	end(&w);
}

static void test_the_oldest_are_given_first_and_before_the_backlog(void **state)
{
	struct world w;
	struct peer p;

	(void)state;
	begin_test(&w);
	open_service(&w);
	strand(&w, "abcdefghijklmnopqrstuvwxyz");
	clients(&w, "ABC");
	join(&w, &p, 3);
	expect_connections(&p, "abc");
	expect_nothing(&p);
	credit(&p, 3, 24);
	expect_connections(&p, "defghijklmnopqrstuvwxyzA");
	credit(&p, 27, 100);
	expect_connections(&p, "BC");
	dispatch_check(dispatch_of(&w));
	leave(&p);
	end(&w);
}

static void test_more_than_a_turn_is_given_in_turns(void **state)
{
	char letters[201] = "";
	struct world w;
	struct peer p;

	(void)state;
	begin_test(&w);
	open_service(&w);
	memset(letters, 'x', sizeof(letters) - 1);
	strand(&w, letters); /* more at once do not fit into the backlog */
	join(&w, &p, 0);
	clients(&w, letters);
	credit(&p, 0, 400);
	expect_connections(&p, letters);
	expect_connections(&p, letters);
	leave(&p);
	turn_until(n_parked(&w) == 400);

	join(&w, &p, 1000);
	turn();
	assert_int_equal(n_parked(&w), 400 - 256);
	turn();
	assert_int_equal(n_parked(&w), 0);
	leave(&p);
	end(&w);
}

/* A batch was taken out, and its channel has no room: it must not lose its place. */
static void test_what_does_not_fit_into_a_channel_keeps_its_place(void **state)
{
	static const char letters[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
	struct world w;
	struct peer p;

	(void)state;
	begin_test(&w);
	open_service(&w);
	strand(&w, letters);
	join(&w, &p, 0);
	make_narrow(&w, 2);
	credit(&p, 0, 1000);
	turn_until(provider_of(&w, 2)->record->state == PROVIDER_BLOCKED);
	assert_in_range(dispatch_n_waiting(dispatch_of(&w)), 1, 16);
	assert_true(n_parked(&w) > 0);
	expect_connections(&p, letters);
	leave(&p);
	end(&w);
}

/* But they are parked when the channel is over. */
static void test_a_batch_in_hand_is_parked_when_its_provider_leaves(void **state)
{
	static const char letters[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
	struct world w;
	struct peer p;

	(void)state;
	begin_test(&w);
	open_service(&w);
	strand(&w, letters);
	join(&w, &p, 0);
	make_narrow(&w, 2);
	credit(&p, 0, 1000);
	turn_until(dispatch_n_waiting(dispatch_of(&w)) > 0);
	leave(&p);
	turn_until(!service_providers(w.service));
	assert_int_equal(n_parked(&w), strlen(letters));
	end(&w);
}

static void test_parked_connections_keep_their_listener_across_a_reload(void **state)
{
	struct listener **reversed = calloc(2, sizeof(struct listener *));
	struct listener *const *listeners;
	struct world w;
	struct peer p;
	size_t n;

	(void)state;
	begin_test(&w);
	open_service_on(&w, ANY_PORT);
	reconfigure(&w, 1);
	strand(&w, "a");
	listeners = intake_listeners(service_intake(w.service), &n);
	reversed[0] = listeners[1];
	reversed[1] = listeners[0];
	service_configure(w.service, &w.config, reversed, 2);
	join(&w, &p, 10);
	expect_connections(&p, "a");
	assert_int_equal(heard.connections.connections[0].listener, 1);
	leave(&p);
	end(&w);
}

/* Too many, or for too long. */

static void test_beyond_the_maximum_clients_are_reset(void **state)
{
	struct world w;
	struct peer p;

	(void)state;
	begin_test(&w);
	w.config.park.max = 3;
	open_service_on(&w, ANY_PORT);
	strand(&w, "abcde");
	assert_int_equal(n_parked(&w), 3);
	check_was_reset(w.clients[3]);
	check_was_reset(w.clients[4]);
	assert_int_equal(n_logged("3 accepted connections wait for a provider already"), 1);
	assert_int_equal(dispatch_totals(dispatch_of(&w))->n_given_up, 2);
	assert_int_equal(intake_n_reset(service_intake(w.service)), 2);
	join(&w, &p, 10);
	expect_connections(&p, "abc");
	claim(&p, 3);
	turn_until(dispatch_n_unclaimed(dispatch_of(&w)) == 0);
	leave(&p);
	turn_until(!service_providers(w.service));
	strand(&w, "fghi");
	assert_int_equal(n_logged("wait for a provider already"), 2); /* another episode */
	dispatch_check(dispatch_of(&w));
	end(&w);
}

static void test_with_a_maximum_of_zero_all_are_reset(void **state)
{
	struct world w;

	(void)state;
	begin_test(&w);
	w.config.park.max = 0;
	open_service_on(&w, ANY_PORT);
	strand(&w, "ab");
	assert_int_equal(n_parked(&w), 0);
	check_was_reset(w.clients[0]);
	check_was_reset(w.clients[1]);
	end(&w);
}

static void test_who_has_waited_for_too_long_is_reset(void **state)
{
	struct world w;
	struct peer first, second, third;

	(void)state;
	begin_test(&w);
	w.config.park.timeout_usec = 400000;
	open_service_on(&w, ANY_PORT);
	clients(&w, "abc");
	join(&w, &first, 2);
	expect_connections(&first, "ab");
	join(&w, &second, 1);
	expect_connections(&second, "c");
	leave(&first);
	turn_until(n_parked(&w) == 2);
	let_pass(300000);
	leave(&second);
	turn_until(n_parked(&w) == 3);

	turn_until(n_parked(&w) == 1); /* each has its own deadline */
	check_was_reset(w.clients[0]);
	check_was_reset(w.clients[1]);
	assert_true(is_connected(&w, 2));
	join(&w, &third, 10);
	expect_connections(&third, "c");
	assert_int_equal(n_logged("no provider took a connection within 0 seconds"), 1);
	assert_int_equal(dispatch_totals(dispatch_of(&w))->n_expired, 2);
	dispatch_check(dispatch_of(&w));
	leave(&third);
	end(&w);
}

/* Its provider dies, and the next one. */
static void test_who_is_parked_again_has_no_more_time(void **state)
{
	uint64_t first_usec, again_usec;
	struct world w;
	struct peer p;

	(void)state;
	begin_test(&w);
	open_service_on(&w, ANY_PORT);
	strand(&w, "a");
	assert_true(parking_oldest(w.service->parking, &first_usec));
	join(&w, &p, 10);
	expect_connections(&p, "a");
	leave(&p);
	turn_until(n_parked(&w) == 1);
	assert_true(parking_oldest(w.service->parking, &again_usec));
	assert_int_equal(again_usec, first_usec);

	join(&w, &p, 10);
	expect_connections(&p, "a");
	w.config.park.timeout_usec = 1; /* it is over while the provider has it */
	reconfigure(&w, 0);
	assert_true(is_connected(&w, 0));
	leave(&p);
	turn_until(!service_providers(w.service));
	assert_int_equal(n_parked(&w), 0);
	check_was_reset(w.clients[0]);
	assert_int_equal(dispatch_totals(dispatch_of(&w))->n_expired, 1);
	assert_int_equal(n_logged("no provider took a connection"), 1);
	dispatch_check(dispatch_of(&w));
	end(&w);
}

/* But whoever has credit gets it all the same. */
static void test_who_has_waited_for_too_long_is_given_if_somebody_can_take_it(void **state)
{
	struct world w;
	struct peer first, second;

	(void)state;
	begin_test(&w);
	open_service_on(&w, ANY_PORT);
	strand(&w, "a");
	join(&w, &first, 10);
	expect_connections(&first, "a");
	w.config.park.timeout_usec = 1;
	reconfigure(&w, 0);
	join(&w, &second, 10);
	leave(&first);
	expect_connections(&second, "a");
	leave(&second);
	end(&w);
}

static void test_a_reload_changes_how_long_they_may_wait(void **state)
{
	struct world w;

	(void)state;
	begin_test(&w);
	open_service_on(&w, ANY_PORT);
	strand(&w, "ab");
	(void)turn_while_ready();
	assert_int_equal(turn_while_ready(), 0);
	w.config.park.timeout_usec = 10000;
	reconfigure(&w, 0);
	turn_until(n_parked(&w) == 0);
	assert_false(is_any_connected(&w));
	end(&w);
}

/* Lack of resources. */

static void test_what_cannot_be_parked_stays_open_and_is_tried_again(void **state)
{
	static const int errors[] = {-ETOOMANYREFS, -EMFILE, -ENOBUFS, -ENOMEM};
	struct world w;
	struct peer p;

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(errors); i++) {
		begin_test(&w);
		open_service(&w);
		put_error = errors[i];
		n_put_errors = 3;
		strand(&w, "ab");
		assert_int_equal(dispatch_n_waiting(dispatch_of(&w)), 2);
		assert_int_equal(n_logged("cannot park connections"), i + 1);
		(void)turn_while_ready();
		assert_int_equal(turn_while_ready(), 0);
		turn_until(n_parked(&w) == 2); /* the timer */
		assert_int_equal(n_logged("cannot park connections"), i + 1);
		assert_true(is_connected(&w, 0) && is_connected(&w, 1));
		join(&w, &p, 10);
		expect_connections(&p, "ab");
		claim(&p, 2);
		turn_until(!is_connected(&w, 1));
		leave(&p);
		end(&w);
	}
}

static void test_what_waits_unparked_is_given_as_well(void **state)
{
	struct world w;
	struct peer p;

	(void)state;
	begin_test(&w);
	open_service(&w);
	put_error = -ETOOMANYREFS;
	n_put_errors = 1000;
	strand(&w, "abc");
	join(&w, &p, 10);
	expect_connections(&p, "abc");
	leave(&p);
	turn_until(!service_providers(w.service));
	n_put_errors = 0;
	end(&w);
}

static void test_without_a_descriptor_parked_ones_go_on_waiting(void **state)
{
	struct world w;
	struct peer p;

	(void)state;
	begin_test(&w);
	open_service(&w);
	strand(&w, "abc");
	take_error = -EMFILE;
	n_take_errors = 2;
	join(&w, &p, 10);
	expect_nothing(&p); /* and the loop does not spin */
	assert_int_equal(n_parked(&w), 3);
	assert_int_equal(n_take_errors, 1);
	expect_connections(&p, "abc");
	leave(&p);
	end(&w);
}

static void test_without_a_descriptor_nobody_expires_and_the_loop_does_not_spin(void **state)
{
	struct world w;

	(void)state;
	begin_test(&w);
	w.config.park.timeout_usec = 10000;
	open_service(&w);
	take_error = -EMFILE;
	n_take_errors = 2;
	strand(&w, "ab");
	turn_until(n_take_errors == 1);
	assert_int_equal(turn_while_ready(), 0);
	turn_until(n_parked(&w) == 0);
	assert_false(is_any_connected(&w));
	end(&w);
}

/* The time until it is tried again does not begin anew with each event. */
static void test_after_a_lack_of_descriptors_a_busy_service_goes_on_as_well(void **state)
{
	struct world w;
	struct peer busy, p;

	(void)state;
	begin_test(&w);
	open_service(&w);
	strand(&w, "abc");
	join(&w, &busy, 0);
	take_error = -EMFILE;
	n_take_errors = 1;
	join(&w, &p, 10);
	turn_until((credit(&busy, 0, 0), n_parked(&w) == 0));
	expect_connections(&p, "abc");
	leave(&busy);
	leave(&p);
	end(&w);
}

static void test_those_that_cannot_be_parked_keep_nobody_from_expiring(void **state)
{
	struct world w;
	struct peer busy, first, second;

	(void)state;
	begin_test(&w);
	open_service_on(&w, ANY_PORT);
	clients(&w, "ab");
	join(&w, &first, 1);
	expect_connections(&first, "a");
	join(&w, &second, 1);
	expect_connections(&second, "b");
	join(&w, &busy, 0);
	leave(&first);
	turn_until(n_parked(&w) == 1);
	put_error = -ETOOMANYREFS;
	n_put_errors = INT_MAX;
	leave(&second);
	turn_until(dispatch_n_waiting(dispatch_of(&w)) == 1);
	w.config.park.timeout_usec = 10000;
	reconfigure(&w, 0);
	turn_until((credit(&busy, 0, 0), dispatch_totals(dispatch_of(&w))->n_expired == 1));
	check_was_reset(w.clients[0]);
	assert_true(is_connected(&w, 1));
	leave(&busy);
	end(&w);
}

static void test_what_was_damaged_is_counted_and_holds_up_nobody(void **state)
{
	struct world w;
	struct peer p;

	(void)state;
	begin_test(&w);
	open_service(&w);
	strand(&w, "abcd");
	take_error = -EIO;
	n_take_errors = 2;
	join(&w, &p, 10);
	expect_connections(&p, "cd");
	assert_int_equal(n_logged("a parked connection was damaged"), 1);
	assert_int_equal(dispatch_totals(dispatch_of(&w))->n_lost, 2);
	assert_int_equal(dispatch_totals(dispatch_of(&w))->n_expired, 0);
	dispatch_check(dispatch_of(&w));
	leave(&p);
	end(&w);
}

/* The end. */

static void test_stopping_without_a_store_resets_what_is_parked(void **state)
{
	struct world w;

	(void)state;
	begin_test(&w);
	open_service_on(&w, ANY_PORT);
	strand(&w, "ab");
	w.service = service_free(w.service);
	check_was_reset(w.clients[0]);
	check_was_reset(w.clients[1]);
	end(&w);
}

static void inherit_stored_lot(struct world *w)
{
	assert_int_equal(inheritance_new(&w->inherited), 0);
	assert_int_equal(
		inheritance_add(w->inherited, FDSTORE_PARKING, "echo", 1, take_fd(&stored_fd)), 0);
}

static void test_the_next_usherd_serves_what_was_parked(void **state)
{
	struct world w;
	struct peer p;

	(void)state;
	begin_test(&w);
	has_store = true;
	open_service_on(&w, ANY_PORT);
	strand(&w, "abc");
	w.service = service_free(w.service);
	assert_true(is_connected(&w, 0) && is_connected(&w, 1) && is_connected(&w, 2));

	unlink(in_folder("echo.sock")); /* which was kept for the rendezvous in the store */
	inherit_stored_lot(&w);
	open_service_on(&w, ANY_PORT);
	w.inherited = inheritance_free(w.inherited);
	assert_int_equal(n_parked(&w), 3);
	assert_int_equal(dispatch_totals(dispatch_of(&w))->n_taken_over, 3);
	join(&w, &p, 10);
	expect_connections(&p, "abc");
	/* Of a listener that is no more, or another one on another port. */
	assert_int_equal(heard.connections.connections[0].listener, WIRE_NO_LISTENER);
	claim(&p, 3);
	turn_until(!is_connected(&w, 2));
	leave(&p);
	end(&w);
	stored_fd = close_fd(stored_fd);
}

/* In hand when it stops: because parking had failed. */
static void test_what_waits_when_usherd_stops_is_parked_in_the_store(void **state)
{
	struct world w;

	(void)state;
	begin_test(&w);
	has_store = true;
	open_service_on(&w, ANY_PORT);
	put_error = -ETOOMANYREFS;
	n_put_errors = 2;
	strand(&w, "ab");
	assert_int_equal(n_parked(&w), 0);
	n_put_errors = 0;
	w.service = service_free(w.service);
	assert_true(is_connected(&w, 0) && is_connected(&w, 1));
	unlink(in_folder("echo.sock"));
	inherit_stored_lot(&w);
	open_service_on(&w, ANY_PORT);
	w.inherited = inheritance_free(w.inherited);
	assert_int_equal(n_parked(&w), 2);
	has_store = false;
	end(&w);
	stored_fd = close_fd(stored_fd);
}

/* In hand when it stops: because a channel is full. What the channel has is its provider's. */
static void test_what_waits_behind_a_full_channel_when_usherd_stops_is_parked(void **state)
{
	static const char letters[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
	struct world w;
	struct peer p;
	uint32_t n_sent;

	(void)state;
	begin_test(&w);
	has_store = true;
	open_service_on(&w, ANY_PORT);
	strand(&w, letters);
	join(&w, &p, 0);
	make_narrow(&w, 2);
	credit(&p, 0, 1000);
	turn_until(dispatch_n_waiting(dispatch_of(&w)) > 0);
	n_sent = dispatch_n_unclaimed(dispatch_of(&w));
	assert_true(n_sent > 0);
	w.service = service_free(w.service);
	leave(&p);
	for (uint32_t i = 0; i < w.n_clients; i++)
		assert_int_equal(is_connected(&w, i), i >= n_sent);

	unlink(in_folder("echo.sock"));
	inherit_stored_lot(&w);
	open_service_on(&w, ANY_PORT);
	w.inherited = inheritance_free(w.inherited);
	assert_int_equal(n_parked(&w), w.n_clients - n_sent);
	has_store = false;
	end(&w);
	stored_fd = close_fd(stored_fd);
}

static void test_a_removed_service_leaves_nothing_in_the_store(void **state)
{
	struct world w;

	(void)state;
	begin_test(&w);
	has_store = true;
	open_service_on(&w, ANY_PORT);
	strand(&w, "ab");
	end_service(&w);
	turn_until(w.n_ended == 1);
	w.service = service_free(w.service);
	check_was_reset(w.clients[0]);
	check_was_reset(w.clients[1]);
	unlink(in_folder("echo.sock"));
	end(&w);
	stored_fd = close_fd(stored_fd);
}

static void test_a_removed_service_serves_what_is_parked(void **state)
{
	struct world w;
	struct peer p;

	(void)state;
	begin_test(&w);
	open_service(&w);
	strand(&w, "ab");
	join(&w, &p, 0);
	end_service(&w);
	expect_nothing(&p);
	assert_int_equal(w.n_ended, 0);
	credit(&p, 0, 2);
	expect_connections(&p, "ab");
	claim(&p, 2);
	expect_draining(&p, WIRE_DRAINING_ENDING);
	turn_until(w.n_ended == 1);
	leave(&p);
	end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_loop_test(test_what_nobody_can_take_is_parked_and_costs_no_descriptor),
		check_loop_test(test_the_oldest_are_given_first_and_before_the_backlog),
		check_loop_test(test_more_than_a_turn_is_given_in_turns),
		check_loop_test(test_what_does_not_fit_into_a_channel_keeps_its_place),
		check_loop_test(test_a_batch_in_hand_is_parked_when_its_provider_leaves),
		check_loop_test(test_parked_connections_keep_their_listener_across_a_reload),
		check_loop_test(test_beyond_the_maximum_clients_are_reset),
		check_loop_test(test_with_a_maximum_of_zero_all_are_reset),
		check_loop_test(test_who_has_waited_for_too_long_is_reset),
		check_loop_test(test_who_is_parked_again_has_no_more_time),
		check_loop_test(test_who_has_waited_for_too_long_is_given_if_somebody_can_take_it),
		check_loop_test(test_a_reload_changes_how_long_they_may_wait),
		check_loop_test(test_what_cannot_be_parked_stays_open_and_is_tried_again),
		check_loop_test(test_what_waits_unparked_is_given_as_well),
		check_loop_test(test_without_a_descriptor_parked_ones_go_on_waiting),
		check_loop_test(
			test_without_a_descriptor_nobody_expires_and_the_loop_does_not_spin),
		check_loop_test(test_after_a_lack_of_descriptors_a_busy_service_goes_on_as_well),
		check_loop_test(test_those_that_cannot_be_parked_keep_nobody_from_expiring),
		check_loop_test(test_what_was_damaged_is_counted_and_holds_up_nobody),
		check_loop_test(test_stopping_without_a_store_resets_what_is_parked),
		check_loop_test(test_the_next_usherd_serves_what_was_parked),
		check_loop_test(test_what_waits_when_usherd_stops_is_parked_in_the_store),
		check_loop_test(test_what_waits_behind_a_full_channel_when_usherd_stops_is_parked),
		check_loop_test(test_a_removed_service_leaves_nothing_in_the_store),
		check_loop_test(test_a_removed_service_serves_what_is_parked),
	};

	return cmocka_run_group_tests_name("service-parking", tests, NULL, NULL);
}
