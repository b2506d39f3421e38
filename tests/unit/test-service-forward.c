/* SPDX-License-Identifier: MIT */
/*
 * Connections that a provider gives on: with what they go, to whom, and what is refused.
 *
 * The service of these tests forwards to itself, as if it was another one, under the name "other"
 * (see service-world.c). recvmsg(2) is wrapped to lose descriptors.
 */
#include "fd.h"
#include "forwarded.h"
#include "loop.h"
#include "service-private.h"
#include "service-world.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>

#define N_ELEMENTS(array) (sizeof(array) / sizeof((array)[0]))
#define ANY_PORT	  "tcp:127.0.0.1:0"

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

static char own_name[] = "echo", other[] = "other", none[] = "none";
static char *targets[] = {own_name, other, none};

static void begin_test(struct world *w)
{
	loses_descriptors = false;
	begin(w);
	w->config.providers.forward = targets;
	w->config.providers.n_forward = N_ELEMENTS(targets);
}

static const struct dispatch_totals *totals_of(const struct world *w)
{
	return dispatch_totals(service_dispatch(w->service));
}

/* A provider that has claimed one connection, which is in p->last_fd. */
static void serve_one(struct world *w, struct peer *p, const char *letter)
{
	join(w, p, 10);
	p->keeps_last = true;
	clients(w, letter);
	expect_connections(p, letter);
	claim(p, p->last_sequence);
	(void)turn_while_ready();
}

static void expect_forwarded(struct peer *p, const char *letter)
{
	expect(p, WIRE_FORWARDED);
	assert_string_equal(p->letters, letter);
	memset(p->letters, 0, sizeof(p->letters));
}

static void check_data(const struct peer *p, const char *bytes)
{
	assert_int_equal(p->received.size, sizeof(struct wire_forwarded) + strlen(bytes));
	assert_memory_equal(heard.forwarded.data, bytes, strlen(bytes));
}

static void check_was_reset(const struct world *w, size_t i)
{
	char byte;

	assert_int_equal(recv(w->clients[i], &byte, 1, 0), -1);
	assert_int_equal(errno, ECONNRESET);
}

/* The way of a forwarded connection. */

static void test_a_forwarded_connection_brings_what_was_read(void **state)
{
	const struct wire_forwarded *forwarded = &heard.forwarded;
	struct wire_connection before;
	struct world w;
	struct peer login, imap;

	(void)state;
	begin_test(&w);
	open_service_on(&w, ANY_PORT);
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
	begin_test(&w);
	open_service_on(&w, ANY_PORT);
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
	begin_test(&w);
	open_service_on(&w, ANY_PORT);
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
	begin_test(&w);
	open_service_on(&w, ANY_PORT);
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
	begin_test(&w);
	open_service_on(&w, ANY_PORT);
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
	begin_test(&w);
	open_service_on(&w, ANY_PORT);
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
	begin_test(&w);
	open_service_on(&w, ANY_PORT);
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
	begin_test(&w);
	open_service_on(&w, ANY_PORT);
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
	begin_test(&w);
	open_service_on(&w, ANY_PORT);
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
	begin_test(&w);
	open_service_on(&w, ANY_PORT);
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
	begin_test(&w);
	open_service_on(&w, ANY_PORT);
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

static void forward_as_from(struct peer *p, uint64_t id, const char *address)
{
	union wire_message m;

	forward_message(&m, id, "other");
	m.forward.peer.family = AF_INET;
	m.forward.peer.port = htons(4711);
	assert_int_equal(inet_pton(AF_INET, address, m.forward.peer.address), 1);
	assert_int_equal(fdpass_send(p->fd, &m, sizeof(m.forward), &p->last_fd, 1), 0);
	p->last_fd = close_fd(p->last_fd);
}

static void test_who_may_says_who_the_client_is(void **state)
{
	static const uint8_t address[] = {192, 0, 2, 7};
	struct world w;
	struct peer first, second;

	(void)state;
	begin_test(&w);
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

/* Refused. */

static void check_refused(struct world *w, const char *why)
{
	turn_until(service_n_forwards_refused(w->service) == 1);
	(void)turn_while_ready();
	check_was_reset(w, 0);
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
	begin_test(&w);
	open_service_on(&w, ANY_PORT);
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
	begin_test(&w);
	open_service_on(&w, ANY_PORT);
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
	begin_test(&w);
	w.config.providers.forward = &targets[1];
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
	begin_test(&w);
	open_service_on(&w, ANY_PORT);
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
	begin_test(&w);
	open_service_on(&w, ANY_PORT);
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
	begin_test(&w);
	open_service_on(&w, ANY_PORT);
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
	begin_test(&w);
	open_service_on(&w, ANY_PORT);
	serve_one(&w, &p, "a");
	w.service->n_forwarded_bytes = (16u << 20) - 1;
	forward(&p, p.last_id, "other", "xy");
	turn_until(service_n_forwards_refused(w.service) == 1);
	assert_int_equal(n_logged("holds 16 MiB of forwarded bytes already"), 1);
	check_was_reset(&w, 0);
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
	begin_test(&w);
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
	begin_test(&w);
	open_service_on(&w, ANY_PORT);
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
	begin_test(&w);
	open_service_on(&w, ANY_PORT);
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
	check_was_reset(&w, 0);
	leave(&p);
	end(&w);
}

static void test_in_a_removed_service_nothing_can_be_handed_back(void **state)
{
	struct world w;
	struct peer p;

	(void)state;
	begin_test(&w);
	open_service_on(&w, ANY_PORT);
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
	begin_test(&w);
	open_service_on(&w, ANY_PORT);
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
	begin_test(&w);
	open_service_on(&w, ANY_PORT);
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
	begin_test(&w);
	open_service_on(&w, ANY_PORT);
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
	begin_test(&w);
	open_service_on(&w, ANY_PORT);
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
	begin_test(&w);
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
	begin_test(&w);
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
	begin_test(&w);
	open_service_on(&w, ANY_PORT);
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
	begin_test(&w);
	open_service_on(&w, ANY_PORT);
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
	begin_test(&w);
	open_service_on(&w, ANY_PORT);
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
	begin_test(&w);
	open_service_on(&w, ANY_PORT);
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
		check_loop_test(test_without_a_descriptor_forward_is_read_later),
		check_loop_test(test_without_a_descriptor_a_dead_provider_is_read_later),
		check_loop_test(test_a_descriptor_that_did_not_arrive_is_no_offence),
		check_loop_test(test_stopping_with_forwarded_ones_everywhere),
	};

	return cmocka_run_group_tests_name("service-forward", tests, NULL, NULL);
}
