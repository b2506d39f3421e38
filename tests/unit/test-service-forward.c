/* SPDX-License-Identifier: MIT */
/*
 * Connections that a provider gives on: with what they go, and to whom.
 *
 * recvmsg(2) is wrapped to lose descriptors.
 */
#include "fd.h"
#include "forward-world.h"
#include "forwarded.h"
#include "service-private.h"

#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>

static bool loses_descriptors;

ssize_t __real_recvmsg(int fd, struct msghdr *message, int flags);
ssize_t __wrap_recvmsg(int fd, struct msghdr *message, int flags);

/* As the kernel does at the limit of descriptors. */
ssize_t __wrap_recvmsg(int fd, struct msghdr *message, int flags)
{
	ssize_t n = __real_recvmsg(fd, message, flags);
	struct cmsghdr *header = n > 0 && loses_descriptors ? CMSG_FIRSTHDR(message) : NULL;

	if (header) {
		close_fd(*(int *)(void *)CMSG_DATA(header));
		message->msg_controllen = 0;
		message->msg_flags |= MSG_CTRUNC;
	}
	return n;
}

/* The way of a forwarded connection. */

static void test_a_forwarded_connection_brings_what_was_read(void **state)
{
	const struct wire_forwarded *forwarded = &heard.forwarded;
	struct wire_connection before;
	struct world w;
	struct peer login, imap;

	(void)state;
	open_forwarding(&w);
	serve_one(&w, &login, "a");
	before = heard.connections.connections[0];
	drain(&login);
	expect_draining(&login, WIRE_DRAINING_ASKED);
	join(&w, &imap, 10);

	forward(&login, login.last_id, "other", "1 LOGIN");
	expect_forwarded(&imap, "a");
	check_data(&imap, "1 LOGIN");
	assert_string_equal(forwarded->from, "echo");
	assert_int_equal(forwarded->n_hops, 1);
	assert_int_equal(forwarded->connection.sequence, 1);
	assert_int_equal(forwarded->connection.listener, WIRE_NO_LISTENER);
	assert_int_equal(forwarded->connection.accepted_ns, before.accepted_ns);
	assert_memory_equal(&forwarded->connection.peer, &before.peer, sizeof(before.peer));
	assert_int_equal(totals_of(&w)->n_forwarded, 1);
	assert_int_equal(totals_of(&w)->n_taken_over, 1);
	assert_true(is_connected(&w, 0));

	claim(&imap, 1);
	turn_until(!is_connected(&w, 0)); /* no copy is left here */
	assert_int_equal(w.service->n_forwarded_bytes, 0);
	dispatch_check(service_dispatch(w.service));
	leave(&login);
	leave(&imap);
	end(&w);
}

static void test_it_can_be_forwarded_without_bytes_and_with_as_many_as_there_may_be(void **state)
{
	static char most[WIRE_MAX_FORWARDED_BYTES + 1];
	struct world w;
	struct peer first, second;

	(void)state;
	memset(most, 'x', sizeof(most) - 1);
	open_forwarding(&w);
	serve_one(&w, &first, "a");
	drain(&first);
	expect(&first, WIRE_DRAINING);
	join(&w, &second, 10);
	second.keeps_last = true;
	forward(&first, first.last_id, "other", "");
	expect_forwarded(&second, "a");
	check_data(&second, "");
	claim(&second, 1);
	forward(&second, second.last_id, "other", most);
	expect_forwarded(&second, "a");
	check_data(&second, most);
	assert_int_equal(w.service->n_forwarded_bytes, WIRE_MAX_FORWARDED_BYTES);
	leave(&first);
	leave(&second);
	end(&w);
}

static void test_what_is_handed_back_goes_to_another(void **state)
{
	struct world w;
	struct peer first, second;

	(void)state;
	open_forwarding(&w);
	serve_one(&w, &first, "a");
	join(&w, &second, 1);
	forward(&first, first.last_id, "", "");
	expect_forwarded(&second, "a");
	assert_int_equal(heard.forwarded.connection.listener, 0);
	assert_string_equal(heard.forwarded.from, "echo");
	expect_nothing(&first);
	clients(&w, "b");
	expect_nothing(&first); /* it gets no more until it grants credit anew */
	credit(&first, 1, 1);
	expect_connections(&first, "b");
	leave(&first);
	leave(&second);
	end(&w);
}

static void test_what_is_handed_back_waits_where_there_is_no_other(void **state)
{
	struct world w;
	struct peer p;

	(void)state;
	open_forwarding(&w);
	serve_one(&w, &p, "a");
	forward(&p, p.last_id, "echo", "half a line");
	turn_until(dispatch_n_parked(service_dispatch(w.service)) == 1);
	assert_int_equal(w.service->n_forwarded_bytes, 0);
	assert_int_equal(parking_n_bytes(w.service->parking), strlen("half a line"));
	expect_nothing(&p);
	credit(&p, 1, 5);
	expect_forwarded(&p, "a");
	check_data(&p, "half a line");
	assert_int_equal(heard.forwarded.n_hops, 1);
	assert_int_equal(heard.forwarded.connection.listener, 0);
	assert_int_equal(w.service->n_forwarded_bytes, strlen("half a line"));
	claim(&p, 2);
	turn_until(w.service->n_forwarded_bytes == 0);
	leave(&p);
	end(&w);
}

static void test_forwarded_ones_travel_alone_and_in_order(void **state)
{
	struct world w;
	struct peer first, second;

	(void)state;
	open_forwarding(&w);
	serve_one(&w, &first, "a");
	clients(&w, "bc");
	expect_connections(&first, "bc"); /* and does not claim them */
	drain(&first);
	expect(&first, WIRE_DRAINING);
	/* The one that is kept is "c", which has another id: for the socket that is the same. */
	forward(&first, first.last_id - 2, "other", "x");
	turn_until(dispatch_n_parked(service_dispatch(w.service)) == 1);
	leave(&first);
	turn_until(dispatch_n_parked(service_dispatch(w.service)) == 3);
	join(&w, &second, 10);
	expect_connections(&second, "cbc");
	assert_int_equal(second.last_sequence, 3);
	leave(&second);
	end(&w);
}

static void test_others_do_not_travel_with_a_forwarded_one(void **state)
{
	struct world w;
	struct peer first, dying, third;

	(void)state;
	open_forwarding(&w);
	serve_one(&w, &first, "a");
	drain(&first);
	expect(&first, WIRE_DRAINING);
	join(&w, &dying, 1);
	clients(&w, "b");
	expect_connections(&dying, "b");
	leave(&dying);
	turn_until(dispatch_n_parked(service_dispatch(w.service)) == 1);
	forward(&first, first.last_id, "other", "x");
	turn_until(dispatch_n_parked(service_dispatch(w.service)) == 2);
	join(&w, &third, 10);
	expect(&third, WIRE_CONNECTIONS);
	assert_string_equal(third.letters, "b");
	expect(&third, WIRE_FORWARDED);
	assert_string_equal(third.letters, "ba");
	leave(&first);
	leave(&third);
	end(&w);
}

static void test_what_is_declined_keeps_its_bytes(void **state)
{
	struct world w;
	struct peer first, second, third;

	(void)state;
	open_forwarding(&w);
	serve_one(&w, &first, "a");
	join(&w, &second, 1);
	forward(&first, first.last_id, "", "bytes");
	expect_forwarded(&second, "a");
	decline(&second, 1, 1);
	join(&w, &third, 1);
	expect_forwarded(&third, "a");
	check_data(&third, "bytes");
	assert_int_equal(heard.forwarded.n_hops, 1);
	leave(&first);
	leave(&second);
	leave(&third);
	end(&w);
}

/* Send `text` as the only client of the service, and have the provider read its beginning. */
static void serve_one_and_read(struct world *w, struct peer *p, char *read, size_t size)
{
	serve_one(w, p, "a");
	assert_int_equal(send(w->clients[0], "bc", 2, MSG_NOSIGNAL), 2);
	turn_until(recv(p->last_fd, read, size, MSG_PEEK) == (ssize_t)size);
	assert_int_equal(recv(p->last_fd, read, size, 0), size);
}

static void test_after_a_death_it_goes_to_another_with_its_bytes(void **state)
{
	struct world w;
	struct peer login, dying, other_one;
	char read[2];

	(void)state;
	open_forwarding(&w);
	serve_one_and_read(&w, &login, read, sizeof(read));
	drain(&login);
	expect(&login, WIRE_DRAINING);
	join(&w, &dying, 1);
	forward(&login, login.last_id, "other", "ab");
	expect_forwarded(&dying, "c");
	leave(&dying); /* before it has claimed */
	join(&w, &other_one, 1);
	expect_forwarded(&other_one, "c");
	check_data(&other_one, "ab");
	assert_int_equal(totals_of(&w)->n_redispatched, 1);
	assert_int_equal(totals_of(&w)->n_touched, 0);
	leave(&login);
	leave(&other_one);
	end(&w);
}

static void test_what_was_used_after_the_forward_goes_to_nobody_else(void **state)
{
	struct world w;
	struct peer login, dying;
	char read[2];

	(void)state;
	open_forwarding(&w);
	serve_one_and_read(&w, &login, read, sizeof(read));
	drain(&login);
	expect(&login, WIRE_DRAINING);
	join(&w, &dying, 1);
	dying.keeps_last = true;
	forward(&login, login.last_id, "other", "ab");
	expect_forwarded(&dying, "c");
	assert_int_equal(recv(dying.last_fd, read, 1, 0), 1);
	leave(&dying);
	turn_until(totals_of(&w)->n_touched == 1);
	assert_int_equal(totals_of(&w)->n_lost, 1);
	assert_int_equal(w.service->n_forwarded_bytes, 0);
	leave(&login);
	end(&w);
}

static void test_one_from_an_earlier_channel_is_known_by_its_socket(void **state)
{
	union wire_message m = {.hello = {.version_lowest = WIRE_VERSION,
					.version_highest = WIRE_VERSION,
					.credit = 0,
					.weight = 1,
					.holding = 1}};
	struct sockaddr_in local;
	socklen_t size = sizeof(local);
	struct world w;
	struct peer first, again, second;

	(void)state;
	open_forwarding(&w);
	serve_one(&w, &first, "a");
	connect_peer(&w, &again);
	again.last_fd = take_fd(&first.last_fd);
	leave(&first);
	say(&again, WIRE_HELLO, &m, sizeof(m.hello));
	expect(&again, WIRE_WELCOME);
	join(&w, &second, 1);
	forward(&again, 0, "", "");
	expect_forwarded(&second, "a");
	assert_int_equal(getsockname(w.clients[0], (struct sockaddr *)&local, &size), 0);
	assert_int_equal(heard.forwarded.connection.peer.family, AF_INET);
	assert_int_equal(heard.forwarded.connection.peer.port, local.sin_port);
	assert_int_equal(heard.forwarded.connection.listener, 0);
	assert_int_not_equal(heard.forwarded.connection.accepted_ns, 0);
	leave(&again);
	leave(&second);
	end(&w);
}

static void test_the_socket_is_made_non_blocking_again(void **state)
{
	struct world w;
	struct peer first, second;

	(void)state;
	open_forwarding(&w);
	serve_one(&w, &first, "a");
	assert_int_equal(fcntl(first.last_fd, F_SETFL, 0), 0);
	join(&w, &second, 1);
	second.keeps_last = true;
	forward(&first, first.last_id, "", "");
	expect_forwarded(&second, "a");
	assert_true(fcntl(second.last_fd, F_GETFL) & O_NONBLOCK);
	leave(&first);
	leave(&second);
	end(&w);
}

static void test_who_may_says_who_the_client_is(void **state)
{
	static const uint8_t address[] = {192, 0, 2, 7};
	struct world w;
	struct peer first, second;

	(void)state;
	begin_forwarding(&w);
	w.config.providers.may_set_peer = true;
	open_service_on(&w, ANY_PORT);
	serve_one(&w, &first, "a");
	drain(&first);
	expect(&first, WIRE_DRAINING);
	join(&w, &second, 1);
	forward_as_from(&first, first.last_id, "192.0.2.7");
	expect_forwarded(&second, "a");
	assert_int_equal(ntohs(heard.forwarded.connection.peer.port), 4711);
	assert_memory_equal(heard.forwarded.connection.peer.address, address, sizeof(address));
	leave(&first);
	leave(&second);
	end(&w);
}

/* Lack of descriptors. */

/* Let there be no descriptor to open any more; or as many as before. */
static void set_descriptors_used_up(bool are_used_up)
{
	static struct rlimit before;
	struct rlimit limit;
	int free_fd = fcntl(0, F_DUPFD_CLOEXEC, 0);

	if (are_used_up) {
		assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
		limit = (struct rlimit){.rlim_cur = (rlim_t)free_fd, .rlim_max = before.rlim_max};
	} else {
		limit = before;
	}
	close_fd(free_fd);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

static void test_without_a_descriptor_forward_is_read_later(void **state)
{
	struct world w;
	struct peer first, second;

	(void)state;
	open_forwarding(&w);
	serve_one(&w, &first, "a");
	join(&w, &second, 1);
	forward(&first, first.last_id, "", "x");
	credit(&first, 1, 7);
	set_descriptors_used_up(true);
	expect_nothing(&second); /* and the loop does not spin */
	assert_int_equal(loop_last_delay_usec, 100000);
	assert_int_equal(totals_of(&w)->n_forwarded, 0);
	set_descriptors_used_up(false);
	expect_forwarded(&second, "a");
	check_data(&second, "x");
	turn_until(provider_of(&w, 1)->record->credit == 7);
	leave(&first);
	leave(&second);
	end(&w);
}

static void test_without_a_descriptor_a_dead_provider_is_read_later(void **state)
{
	struct world w;
	struct peer first, second;

	(void)state;
	open_forwarding(&w);
	serve_one(&w, &first, "a");
	join(&w, &second, 1);
	forward(&first, first.last_id, "", "x");
	leave(&first);
	set_descriptors_used_up(true);
	expect_nothing(&second);
	assert_non_null(provider_of(&w, 1));
	set_descriptors_used_up(false);
	expect_forwarded(&second, "a");
	turn_until(!provider_of(&w, 1));
	assert_int_equal(totals_of(&w)->n_lost, 0);
	leave(&second);
	end(&w);
}

static void test_a_descriptor_that_did_not_arrive_is_no_offence(void **state)
{
	struct world w;
	struct peer p;

	(void)state;
	open_forwarding(&w);
	serve_one(&w, &p, "a");
	loses_descriptors = true;
	forward(&p, p.last_id, "other", "x");
	turn_until(service_n_forwards_refused(w.service) == 1);
	loses_descriptors = false;
	assert_int_equal(n_logged("its descriptor did not arrive"), 1);
	clients(&w, "b");
	expect_connections(&p, "b");
	leave(&p);
	end(&w);
}

static void test_stopping_with_forwarded_ones_everywhere(void **state)
{
	struct world w;
	struct peer first, second;

	(void)state;
	open_forwarding(&w);
	serve_one(&w, &first, "a");
	join(&w, &second, 1);
	forward(&first, first.last_id, "", "unclaimed");
	expect_forwarded(&second, "a");
	credit(&first, 1, 1);
	clients(&w, "b");
	expect_connections(&first, "b");
	claim(&first, 2);
	forward(&first, first.last_id, "", "parked");
	turn_until(dispatch_n_parked(service_dispatch(w.service)) == 1);
	end(&w); /* the sanitizer looks whether anything is left */
	leave(&first);
	leave(&second);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_loop_test(test_a_forwarded_connection_brings_what_was_read),
		check_loop_test(
			test_it_can_be_forwarded_without_bytes_and_with_as_many_as_there_may_be),
		check_loop_test(test_what_is_handed_back_goes_to_another),
		check_loop_test(test_what_is_handed_back_waits_where_there_is_no_other),
		check_loop_test(test_forwarded_ones_travel_alone_and_in_order),
		check_loop_test(test_others_do_not_travel_with_a_forwarded_one),
		check_loop_test(test_what_is_declined_keeps_its_bytes),
		check_loop_test(test_after_a_death_it_goes_to_another_with_its_bytes),
		check_loop_test(test_what_was_used_after_the_forward_goes_to_nobody_else),
		check_loop_test(test_one_from_an_earlier_channel_is_known_by_its_socket),
		check_loop_test(test_the_socket_is_made_non_blocking_again),
		check_loop_test(test_who_may_says_who_the_client_is),
		check_loop_test(test_without_a_descriptor_forward_is_read_later),
		check_loop_test(test_without_a_descriptor_a_dead_provider_is_read_later),
		check_loop_test(test_a_descriptor_that_did_not_arrive_is_no_offence),
		check_loop_test(test_stopping_with_forwarded_ones_everywhere),
	};

	return cmocka_run_group_tests_name("service-forward", tests, NULL, NULL);
}
