/* SPDX-License-Identifier: MIT */
/* Connections that a provider gives on, and that are refused; and violations of the protocol. */
#include "fd.h"
#include "forward-world.h"
#include "forwarded.h"
#include "service-private.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

/* Refused. */

static void check_refused(struct world *w, const char *why)
{
	turn_until(service_n_forwards_refused(w->service) == 1);
	(void)turn_while_ready();
	check_was_reset(w->clients[0]);
	assert_int_equal(n_logged(why), 1);
	assert_int_equal(w->service->n_forwarded_bytes, 0);
	assert_int_equal(totals_of(w)->n_forwarded, 1);
	dispatch_check(service_dispatch(w->service));
}

static void test_to_whom_the_configuration_does_not_say(void **state)
{
	struct world w;
	struct peer p;

	(void)state;
	open_forwarding(&w);
	serve_one(&w, &p, "a");
	forward(&p, p.last_id, "smtp", "x");
	check_refused(&w,
		"forwarded a connection to 'smtp', but providers { forward } does not name that "
		"service: the client is reset");
	clients(&w, "b"); /* the provider goes on */
	expect_connections(&p, "b");
	leave(&p);
	end(&w);
}

static void test_to_a_service_that_does_not_run(void **state)
{
	struct world w;
	struct peer p;

	(void)state;
	open_forwarding(&w);
	serve_one(&w, &p, "a");
	forward(&p, p.last_id, "none", "x");
	check_refused(&w, "to 'none', but no such service runs");
	leave(&p);
	end(&w);
}

static void test_handing_back_is_for_those_who_may_forward_to_their_own(void **state)
{
	struct world w;
	struct peer p;

	(void)state;
	begin_forwarding(&w);
	w.config.providers.forward++; /* the first is itself */
	w.config.providers.n_forward = 1;
	open_service_on(&w, ANY_PORT);
	serve_one(&w, &p, "a");
	forward(&p, p.last_id, "", "x");
	check_refused(&w, "to 'echo', but providers { forward } does not name that service");
	leave(&p);
	end(&w);
}

static void test_who_may_not_says_who_the_client_is(void **state)
{
	struct world w;
	struct peer p;

	(void)state;
	open_forwarding(&w);
	serve_one(&w, &p, "a");
	forward_as_from(&p, p.last_id, "192.0.2.7");
	check_refused(&w, "providers { set_peer } is not set");
	leave(&p);
	end(&w);
}

static void test_to_a_service_with_all_its_instances(void **state)
{
	struct world w;
	struct peer p;

	(void)state;
	open_forwarding(&w);
	serve_one(&w, &p, "ab"); /* "b" is kept */
	w.config.instances = 1;
	reconfigure(&w, 0);
	close_fd(w.clients[0]);
	w.clients[0] = w.clients[--w.n_clients];
	forward(&p, p.last_id, "other", "x");
	check_refused(&w, "instances of that service is reached");
	leave(&p);
	end(&w);
}

static void test_what_is_no_connected_stream(void **state)
{
	struct world w;
	struct peer p;
	int pair[2];

	(void)state;
	open_forwarding(&w);
	serve_one(&w, &p, "a");
	test_socketpair(pair); /* of SOCK_SEQPACKET, as a channel to usherd is */
	close_fd(p.last_fd);
	p.last_fd = pair[0];
	forward(&p, p.last_id, "other", "x");
	turn_until(service_n_forwards_refused(w.service) == 1);
	assert_int_equal(n_logged("it is no connected stream socket"), 1);
	close_fd(pair[1]);
	leave(&p);
	end(&w);
}

static void test_more_bytes_than_a_service_may_hold(void **state)
{
	struct world w;
	struct peer p;

	(void)state;
	open_forwarding(&w);
	serve_one(&w, &p, "a");
	w.service->n_forwarded_bytes = (16u << 20) - 1;
	forward(&p, p.last_id, "other", "xy");
	turn_until(service_n_forwards_refused(w.service) == 1);
	assert_int_equal(n_logged("holds 16 MiB of forwarded bytes already"), 1);
	check_was_reset(w.clients[0]);
	assert_int_equal(w.service->n_forwarded_bytes, (16u << 20) - 1);
	leave(&p);
	end(&w);
}

/* As from a provider of the service "login". Returns the client's end. */
static int make_forwarded(struct handoff *ret, char letter, const char *bytes)
{
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	assert_int_equal(write(fds[1], &letter, 1), 1);
	*ret = (struct handoff){
		.fd = fds[0],
		.listener = WIRE_NO_LISTENER,
		.n_hops = 1,
		.forwarded = forwarded_new("login", bytes, strlen(bytes)),
	};
	return fds[1];
}

static void test_bytes_that_are_parked_count_as_well(void **state)
{
	struct handoff h;
	struct world w;
	int client_fd;

	(void)state;
	begin_forwarding(&w);
	open_service(&w);
	client_fd = make_forwarded(&h, 'a', "xy");
	assert_int_equal(service_take_forwarded(w.service, &h), 0);
	close_fd(client_fd);
	assert_int_equal(dispatch_n_parked(service_dispatch(w.service)), 1);
	w.service->n_forwarded_bytes = (16u << 20) - 2;
	client_fd = make_forwarded(&h, 'b', "z");
	assert_int_equal(service_take_forwarded(w.service, &h), -ENOBUFS);
	h.forwarded = forwarded_free(h.forwarded);
	close_fd(h.fd);
	close_fd(client_fd);
	end(&w);
}

/* Somebody has credit now, and they are about to be given. */
static void test_a_forwarded_one_waits_behind_those_that_are_parked(void **state)
{
	struct handoff h;
	struct world w;
	struct peer p;
	int client_fd;

	(void)state;
	open_forwarding(&w);
	clients(&w, "ab");
	join(&w, &p, 10);
	expect_connections(&p, "ab");
	leave(&p);
	turn_until(dispatch_n_parked(service_dispatch(w.service)) == 2);
	join(&w, &p, 0);
	credit(&p, 0, 1);
	turn_until(dispatch_can_unpark(w.service->dispatch));
	client_fd = make_forwarded(&h, 'c', "");
	assert_int_equal(service_take_forwarded(w.service, &h), 0);
	expect_connections(&p, "a");
	assert_int_equal(dispatch_n_parked(service_dispatch(w.service)), 2);
	credit(&p, 1, 2);
	expect_connections(&p, "bc");
	dispatch_check(service_dispatch(w.service));
	close_fd(client_fd);
	leave(&p);
	end(&w);
}

static void test_a_circle_ends(void **state)
{
	struct world w;
	struct peer p;
	uint32_t n = 0;

	(void)state;
	open_forwarding(&w);
	serve_one(&w, &p, "a");
	for (; n < FORWARDED_MAX_HOPS; n++) {
		forward(&p, p.last_id, "other", "");
		expect_forwarded(&p, "a");
		assert_int_equal(heard.forwarded.n_hops, n + 1);
		claim(&p, p.last_sequence);
	}
	forward(&p, p.last_id, "other", "");
	turn_until(service_n_forwards_refused(w.service) == 1);
	assert_int_equal(n_logged("it goes in a circle"), 1);
	check_was_reset(w.clients[0]);
	leave(&p);
	end(&w);
}

static void test_in_a_removed_service_nothing_can_be_handed_back(void **state)
{
	struct world w;
	struct peer p;

	(void)state;
	open_forwarding(&w);
	serve_one(&w, &p, "ab"); /* only one of them is given on */
	end_service(&w);
	expect(&p, WIRE_DRAINING);
	forward(&p, p.last_id, "", "x");
	turn_until(service_n_forwards_refused(w.service) == 1);
	assert_int_equal(n_logged("its own service was removed from the configuration"), 1);
	leave(&p);
	end(&w);
}

static void test_a_removed_service_takes_nothing(void **state)
{
	struct handoff h = {.fd = -EBADF, .forwarded = forwarded_new("login", "x", 1)};
	struct world w;
	struct peer p;

	(void)state;
	open_forwarding(&w);
	serve_one(&w, &p, "a");
	end_service(&w);
	assert_int_equal(service_take_forwarded(w.service, &h), -ESHUTDOWN);
	assert_non_null(h.forwarded);
	forwarded_free(h.forwarded);
	leave(&p);
	end(&w);
}

/* Violations of the protocol. */

static void check_violation(struct world *w, struct peer *p, const char *why)
{
	expect_end(p);
	assert_int_equal(n_logged("broke the protocol"), 1);
	assert_int_equal(n_logged(why), 1);
	assert_int_equal(totals_of(w)->n_forwarded, 0);
	end(w);
}

static void test_forward_of_what_is_not_its_own(void **state)
{
	struct world w;
	struct peer p;

	(void)state;
	open_forwarding(&w);
	serve_one(&w, &p, "a");
	forward(&p, p.last_id + 1, "other", "x");
	check_violation(&w, &p, "FORWARD of what is not its own");
}

static void test_forward_without_a_descriptor(void **state)
{
	union wire_message m;
	struct world w;
	struct peer p;

	(void)state;
	open_forwarding(&w);
	serve_one(&w, &p, "a");
	forward_message(&m, p.last_id, "other");
	say(&p, WIRE_FORWARD, &m, sizeof(m.forward));
	check_violation(&w, &p, "the message lacks its descriptor");
}

static void test_forward_with_two_descriptors(void **state)
{
	union wire_message m;
	struct world w;
	struct peer p;
	int fds[2];

	(void)state;
	open_forwarding(&w);
	serve_one(&w, &p, "a");
	forward_message(&m, p.last_id, "other");
	fds[0] = fds[1] = p.last_fd;
	assert_int_equal(fdpass_send(p.fd, &m, sizeof(m.forward), fds, 2), 0);
	check_violation(&w, &p, "the message carries more descriptors than it may");
}

#ifndef SO_PASSRIGHTS /* Linux 6.16 */
#define SO_PASSRIGHTS 83
#endif

/* Also where the kernel lets the descriptor through. */
static void test_forward_where_it_is_not_allowed(void **state)
{
	struct world w;
	struct peer p;

	(void)state;
	begin_forwarding(&w);
	w.config.providers.n_forward = 0;
	open_service_on(&w, ANY_PORT);
	serve_one(&w, &p, "a");
	(void)setsockopt(provider_of(&w, 1)->fd, SOL_SOCKET, SO_PASSRIGHTS, &(int){1}, sizeof(int));
	forward(&p, p.last_id, "other", "x");
	check_violation(&w, &p, "FORWARD, which WELCOME did not allow");
}

static void test_welcome_says_whether_forward_is_allowed(void **state)
{
	struct world w;
	struct peer before, after;

	(void)state;
	begin_forwarding(&w);
	w.config.providers.n_forward = 0;
	open_service_on(&w, ANY_PORT);
	join(&w, &before, 1);
	assert_int_equal(heard.welcome.flags, 0);
	w.config.providers.n_forward = 1;
	reconfigure(&w, 0); /* the same listeners */
	expect(&before, WIRE_WELCOME);
	assert_int_equal(heard.welcome.flags, WIRE_WELCOME_MAY_FORWARD);
	join(&w, &after, 1);
	assert_int_equal(heard.welcome.flags, WIRE_WELCOME_MAY_FORWARD);
	w.config.providers.n_forward = 0;
	reconfigure(&w, 1); /* another listener: WELCOME comes again */
	expect(&before, WIRE_WELCOME);
	assert_int_equal(heard.welcome.flags, WIRE_WELCOME_MAY_FORWARD); /* it stays */
	expect(&after, WIRE_WELCOME);
	leave(&before);
	leave(&after);
	end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_loop_test(test_to_whom_the_configuration_does_not_say),
		check_loop_test(test_to_a_service_that_does_not_run),
		check_loop_test(test_handing_back_is_for_those_who_may_forward_to_their_own),
		check_loop_test(test_who_may_not_says_who_the_client_is),
		check_loop_test(test_to_a_service_with_all_its_instances),
		check_loop_test(test_what_is_no_connected_stream),
		check_loop_test(test_more_bytes_than_a_service_may_hold),
		check_loop_test(test_bytes_that_are_parked_count_as_well),
		check_loop_test(test_a_forwarded_one_waits_behind_those_that_are_parked),
		check_loop_test(test_a_circle_ends),
		check_loop_test(test_in_a_removed_service_nothing_can_be_handed_back),
		check_loop_test(test_a_removed_service_takes_nothing),
		check_loop_test(test_forward_of_what_is_not_its_own),
		check_loop_test(test_forward_without_a_descriptor),
		check_loop_test(test_forward_with_two_descriptors),
		check_loop_test(test_forward_where_it_is_not_allowed),
		check_loop_test(test_welcome_says_whether_forward_is_allowed),
	};

	return cmocka_run_group_tests_name("service-forward-refused", tests, NULL, NULL);
}
