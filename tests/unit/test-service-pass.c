/* SPDX-License-Identifier: MIT */
/*
 * A service whose connections go to a receiver: what is counted, and who meets what, while it is
 * there, full, away, or dies.
 */
#include "service-world.h"

#include "fd.h"
#include "forwarded.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define AT_ONCE 16 /* on their way to a receiver */

struct receiver {
	char path[108];
	int type;
	int fd; /* bound, or -EBADF */
};

static void bind_receiver(struct receiver *r, int backlog)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	(void)unlink(r->path);
	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", r->path);
	r->fd = socket(AF_UNIX, r->type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(r->fd, (struct sockaddr *)&address, sizeof(address)), 0);
	if (r->type != SOCK_DGRAM)
		assert_int_equal(listen(r->fd, backlog), 0);
}

static void open_passing(struct world *w, struct receiver *r, int type)
{
	*r = (struct receiver){.type = type, .fd = -EBADF};
	(void)snprintf(r->path, sizeof(r->path), "%s", in_folder("receiver"));
	begin(w);
	w->config.deliver = CONFIG_DELIVER_PASS;
	w->config.pass = (struct config_pass){.path = r->path, .type = type};
	open_service(w);
}

static void end_passing(struct world *w, struct receiver *r)
{
	end(w);
	r->fd = close_fd(r->fd);
	(void)unlink(r->path);
}

/* A message's channel; -1: there is none. */
static int accept_channel(const struct receiver *r)
{
	return r->type == SOCK_DGRAM ? dup(r->fd) : accept(r->fd, NULL, NULL);
}

/* The letter of the client whose connection comes next; 0: none does. It is closed. */
static char receive(const struct receiver *r)
{
	_cleanup_close_ int channel_fd = accept_channel(r);
	struct fdpass_received received;
	char byte, letter = 0;

	if (channel_fd < 0 || fdpass_receive(channel_fd, &byte, 1, 1, &received) < 0)
		return 0;
	assert_int_equal(received.n_fds, 1);
	assert_int_equal(recv(received.fds[0], &letter, 1, MSG_PEEK), 1);
	fdpass_close(&received, 0);
	return letter;
}

/* Clients, in this order, get to the receiver. */
static void expect_passed(const struct receiver *r, const char *letters)
{
	for (; *letters; letters++) {
		char letter;

		while ((letter = receive(r)) == 0)
			turn();
		assert_int_equal(letter, *letters);
		turn_while_ready();
	}
}

static struct service_receiver report_of(const struct world *w)
{
	struct service_receiver report;

	assert_true(service_pass_report(w->service, &report));
	return report;
}

static const struct dispatch_totals *totals_of(const struct world *w)
{
	dispatch_check(service_dispatch(w->service));
	return dispatch_totals(service_dispatch(w->service));
}

static enum intake_state state_of(const struct world *w)
{
	return intake_state(service_intake(w->service));
}

static void test_what_was_read_is_released(void **state)
{
	static const int types[] = {SOCK_STREAM, SOCK_SEQPACKET, SOCK_DGRAM};

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		struct receiver r;
		struct world w;

		open_passing(&w, &r, types[i]);
		assert_string_equal(report_of(&w).state, "unreached");
		bind_receiver(&r, 8);
		clients(&w, "abc");
		turn_while_ready();
		assert_int_equal(report_of(&w).n_in_flight, 3);
		assert_true(is_connected(&w, 0)); /* we have copies */
		expect_passed(&r, "abc");
		assert_string_equal(report_of(&w).state, "ready");
		assert_int_equal(report_of(&w).n_in_flight, 0);
		assert_int_equal(report_of(&w).n_passed, 3);
		assert_int_equal(totals_of(&w)->n_claimed, 3);
		assert_int_equal(totals_of(&w)->n_released, 3);
		assert_false(is_connected(&w, 0)); /* and none any more */
		assert_int_equal(state_of(&w), INTAKE_SERVING);
		end_passing(&w, &r);
	}
}

static void test_nobody_serves_while_it_is_away(void **state)
{
	struct receiver r;
	struct world w;

	(void)state;
	open_passing(&w, &r, SOCK_STREAM);
	assert_int_equal(state_of(&w), INTAKE_SERVING); /* the first client will find out */
	loop_hurry = 0;
	clients(&w, "abc");
	turn_while_ready();
	assert_int_equal(state_of(&w), INTAKE_WAITING);
	assert_string_equal(report_of(&w).state, "absent");
	assert_int_equal(totals_of(&w)->n_accepted, 1);
	assert_int_equal(dispatch_n_parked(service_dispatch(w.service)), 1);
	assert_int_equal(n_logged("cannot be given connections"), 1);
	end_passing(&w, &r);
}

/* Nobody waits for it, so nobody asks it before the next client comes. */
static void test_it_is_not_called_ready_before_it_was_reached(void **state)
{
	struct receiver r;
	struct world w;

	(void)state;
	open_passing(&w, &r, SOCK_STREAM);
	w.config.unavailable = CONFIG_UNAVAILABLE_RESET;
	w.config.park.max = 0;
	reconfigure(&w, 0);
	client(&w, 'a');
	turn_until(strcmp(report_of(&w).state, "absent") == 0);
	assert_false(report_of(&w).is_unreached);
	turn_until(strcmp(report_of(&w).state, "unreached") == 0);
	assert_true(report_of(&w).is_unreached);
	assert_int_equal(state_of(&w), INTAKE_SERVING);
	bind_receiver(&r, 8);
	client(&w, 'b');
	expect_passed(&r, "b");
	assert_string_equal(report_of(&w).state, "ready");
	end_passing(&w, &r);
}

static void test_it_is_found_again_by_who_waits(void **state)
{
	struct receiver r;
	struct world w;

	(void)state;
	open_passing(&w, &r, SOCK_STREAM);
	clients(&w, "abc");
	turn_until(n_logged("cannot be given connections") == 1);
	let_pass(500000); /* it is tried more than once */
	bind_receiver(&r, 8);
	expect_passed(&r, "abc");
	assert_int_equal(n_logged("cannot be given connections"), 1);
	assert_int_equal(n_logged("takes connections again"), 1);
	assert_int_equal(totals_of(&w)->n_released, 3);
	end_passing(&w, &r);
}

static void test_clients_meet_what_is_configured_while_it_is_away(void **state)
{
	struct receiver r;
	struct world w;

	(void)state;
	open_passing(&w, &r, SOCK_STREAM);
	w.config.unavailable = CONFIG_UNAVAILABLE_RESET;
	reconfigure(&w, 0);
	client(&w, 'a');
	turn_until(state_of(&w) == INTAKE_RESETTING);
	bind_receiver(&r, 8);
	expect_passed(&r, "a");
	assert_int_equal(state_of(&w), INTAKE_SERVING);
	end_passing(&w, &r);
}

static void test_a_full_queue_holds_clients_up(void **state)
{
	struct receiver r;
	struct world w;

	(void)state;
	open_passing(&w, &r, SOCK_STREAM);
	bind_receiver(&r, 1); /* the kernel takes one more */
	clients(&w, "abcde");
	turn_until(n_logged("takes no more connections for now") == 1);
	turn_while_ready();
	assert_string_equal(report_of(&w).state, "full");
	assert_int_equal(state_of(&w), INTAKE_FULL); /* not as if it was away */
	assert_int_equal(report_of(&w).n_in_flight, 2);
	assert_int_equal(totals_of(&w)->n_accepted, 3);
	expect_passed(&r, "abcde");
	assert_int_equal(totals_of(&w)->n_released, 5);
	end_passing(&w, &r);
}

static void test_so_many_are_sent_at_once(void **state)
{
	struct receiver r;
	struct world w;

	(void)state;
	open_passing(&w, &r, SOCK_STREAM);
	w.config.claim_timeout_usec = 100000;
	reconfigure(&w, 0);
	bind_receiver(&r, 64);
	clients(&w, "abcdefghijklmnopqrstuvwxyz");
	turn_until(report_of(&w).n_in_flight == AT_ONCE);
	turn_until(n_logged(" connections for 100 ms; at most 16 are sent to it at once") == 1);
	let_pass(300000);
	assert_int_equal(n_logged("has not read"), 1);
	assert_int_equal(totals_of(&w)->n_accepted, AT_ONCE);
	expect_passed(&r, "abcdefghijklmnopqrstuvwxyz");
	end_passing(&w, &r);
}

static void test_what_it_dies_with_goes_to_the_next(void **state)
{
	struct receiver r;
	struct world w;

	(void)state;
	open_passing(&w, &r, SOCK_STREAM);
	bind_receiver(&r, 64);
	clients(&w, "abcde");
	turn_until(report_of(&w).n_in_flight == 5);
	assert_int_equal(receive(&r), 'a');
	r.fd = close_fd(r.fd);
	turn_until(report_of(&w).n_unread == 4);
	assert_int_equal(totals_of(&w)->n_redispatched, 4);
	bind_receiver(&r, 64);
	for (int i = 0; i < 4; i++) {
		char letter;

		while ((letter = receive(&r)) == 0)
			turn();
		assert_non_null(strchr("bcde", letter));
	}
	turn_until(totals_of(&w)->n_released == 5);
	assert_int_equal(n_logged("went without reading what it was sent"), 1);
	end_passing(&w, &r);
}

static void test_processes_give_way_to_a_receiver_and_come_back(void **state)
{
	struct receiver r;
	struct peer before, after;
	struct world w;

	(void)state;
	open_passing(&w, &r, SOCK_STREAM);
	bind_receiver(&r, 8);
	w.config.deliver = CONFIG_DELIVER_CONNECTION;
	reconfigure(&w, 0);
	assert_int_equal(state_of(&w), INTAKE_WAITING);
	join(&w, &before, 1);
	w.config.deliver = CONFIG_DELIVER_PASS;
	reconfigure(&w, 0);
	expect(&before, WIRE_WELCOME); /* what is delivered has changed */
	expect_draining(&before, WIRE_DRAINING_REPLACED);
	client(&w, 'a');
	expect_passed(&r, "a");
	connect_peer(&w, &after);
	say_hello(&after, 1);
	expect_refused(&after, EOPNOTSUPP,
		"the service passes its connections to a receiver, see deliver in usher.conf(5)");
	leave(&before);
	leave(&after);
	turn_while_ready();
	end_passing(&w, &r);
}

static void test_what_is_on_its_way_ends_before_the_service(void **state)
{
	struct receiver r;
	struct world w;

	(void)state;
	open_passing(&w, &r, SOCK_STREAM);
	bind_receiver(&r, 8);
	client(&w, 'a');
	turn_until(report_of(&w).n_in_flight == 1);
	memset(w.config.pass.path, 'x', strlen(w.config.pass.path)); /* it is not looked at */
	end_service(&w);
	turn_while_ready();
	assert_int_equal(w.n_ended, 0);
	(void)receive(&r);
	turn_until(w.n_ended == 1);
	(void)unlink(in_folder("receiver"));
	end(&w);
	close_fd(r.fd);
}

static void test_a_forwarded_connection_that_was_read_from_is_not_passed(void **state)
{
	struct handoff h = {.fd = -EBADF};
	struct receiver r;
	struct world w;

	(void)state;
	open_passing(&w, &r, SOCK_STREAM);
	h.forwarded = forwarded_new("other", (const uint8_t *)"GET", 3);
	assert_non_null(h.forwarded);
	assert_int_equal(service_take_forwarded(w.service, &h), -EOPNOTSUPP);
	assert_non_null(h.forwarded);
	forwarded_free(h.forwarded);
	end_passing(&w, &r);
}

/* Whatever happens, in whatever order: nobody is lost, and nobody comes twice. */
static void test_any_order_of_events(void **state)
{
	static const int types[] = {SOCK_STREAM, SOCK_SEQPACKET};
	unsigned int seed = 4711;

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		unsigned int n_clients = 0, n_passed = 0;
		struct receiver r;
		struct world w;

		open_passing(&w, &r, types[i]);
		loop_hurry = 50;
		for (int step = 0; step < 3000; step++) {
			switch (rand_r(&seed) % 8) {
			case 0:
			case 1:
				if (n_clients < 400 && n_clients < n_passed + 60) {
					client(&w, 'x');
					n_clients++;
				}
				break;
			case 2:
				if (r.fd >= 0)
					r.fd = close_fd(r.fd);
				break;
			case 3:
				if (r.fd < 0)
					bind_receiver(&r, rand_r(&seed) % 4);
				break;
			case 4:
				if (r.fd >= 0)
					close_fd(accept_channel(&r)); /* unread */
				break;
			case 5:
			case 6:
				n_passed += r.fd >= 0 && receive(&r) != 0;
				break;
			default:
				turn_while_ready();
				break;
			}
			dispatch_check(service_dispatch(w.service));
		}
		if (r.fd < 0)
			bind_receiver(&r, 8);
		while (n_passed < n_clients) {
			if (receive(&r) != 0)
				n_passed++;
			else
				turn();
		}
		turn_until(totals_of(&w)->n_released == n_clients);
		assert_int_equal(totals_of(&w)->n_lost, 0);
		assert_int_equal(totals_of(&w)->n_accepted, n_clients);
		end_passing(&w, &r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_loop_test(test_what_was_read_is_released),
		check_loop_test(test_nobody_serves_while_it_is_away),
		check_loop_test(test_it_is_not_called_ready_before_it_was_reached),
		check_loop_test(test_it_is_found_again_by_who_waits),
		check_loop_test(test_clients_meet_what_is_configured_while_it_is_away),
		check_loop_test(test_a_full_queue_holds_clients_up),
		check_loop_test(test_so_many_are_sent_at_once),
		check_loop_test(test_what_it_dies_with_goes_to_the_next),
		check_loop_test(test_processes_give_way_to_a_receiver_and_come_back),
		check_loop_test(test_what_is_on_its_way_ends_before_the_service),
		check_loop_test(test_a_forwarded_connection_that_was_read_from_is_not_passed),
		check_loop_test(test_any_order_of_events),
	};

	return cmocka_run_group_tests_name("service-pass", tests, NULL, NULL);
}
