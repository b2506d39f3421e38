/* SPDX-License-Identifier: MIT */
/*
 * A service that lends its sockets: to whom, when they come back, and in which state. Sockets that
 * a borrower has are its own copies here, as in another process.
 */
#include "fd.h"
#include "service-world.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <poll.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>

#define UDP "udp:127.0.0.1:0"
#define TCP "tcp:127.0.0.1:0"

/* A provider that takes listeners, and what it has. */
struct borrower {
	struct peer peer;
	int fds[WIRE_MAX_LISTENERS];
	size_t n;
};

static void give_back(struct borrower *b)
{
	while (b->n > 0)
		close_fd(b->fds[--b->n]);
}

/* The next message must be LISTENERS, or several, that bring `n` sockets. */
static void expect_lent(struct borrower *b, size_t n)
{
	give_back(b);
	do {
		expect(&b->peer, WIRE_LISTENERS);
		assert_int_equal(heard.header.flags & WIRE_LISTENERS_MORE,
			b->n > 0 ? WIRE_LISTENERS_MORE : 0);
		assert_int_equal(
			wire_n_records(&heard, b->peer.received.size), b->peer.received.n_fds);
		for (size_t i = 0; i < b->peer.received.n_fds; i++)
			b->fds[b->n++] = b->peer.received.fds[i];
	} while (heard.header.flags & WIRE_LISTENERS_FOLLOWED);
	assert_int_equal(b->n, n);
}

static void join_with(struct world *w, struct borrower *b, uint16_t flags)
{
	*b = (struct borrower){0};
	connect_peer(w, &b->peer);
	say_hello_with(&b->peer, 0, WIRE_HELLO_TAKES_LISTENERS | flags);
	expect(&b->peer, WIRE_WELCOME);
}

/* Register without credit, which is not needed, and get `n` sockets. */
static void borrow(struct world *w, struct borrower *b, size_t n)
{
	join_with(w, b, 0);
	expect_lent(b, n);
}

static void leave_with_all(struct borrower *b)
{
	give_back(b);
	leave(&b->peer);
	turn_while_ready();
}

/* Send one letter to the service's first listener, as one datagram. */
static void send_letter(const struct world *w, char letter)
{
	const struct address *bound = listener_bound(listener_of(w));
	int fd = socket(bound->sockaddr.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(sendto(fd, &letter, 1, 0, &bound->sockaddr, bound->length), 1);
	close_fd(fd);
}

/* What has come in on a borrowed socket: the letter, or 0. */
static char take_letter(int fd)
{
	char letter = 0;

	(void)recv(fd, &letter, 1, MSG_DONTWAIT);
	return letter;
}

/* Accept a client of the service on a borrowed socket: its letter, or 0. */
static char accept_letter(int fd)
{
	int connection = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
	char letter = 0;

	if (connection < 0)
		return 0;
	assert_int_equal(recv(connection, &letter, 1, 0), 1);
	close_fd(connection);
	return letter;
}

static void begin_lending(struct world *w, const char *text)
{
	begin(w);
	w->config.deliver = CONFIG_DELIVER_LISTENER;
	open_service_on(w, text);
}

static void check_state(
	const struct world *w, enum intake_state lending, enum listener_state listener)
{
	assert_int_equal(intake_lending(service_intake(w->service)), lending);
	assert_int_equal(listener_state(listener_of(w)), listener);
}

/* --- who has them --- */

static void test_datagrams_wait_for_a_borrower(void **state)
{
	struct borrower b;
	struct world w;

	(void)state;
	begin(&w);
	open_service_on(&w, UDP);
	check_state(&w, INTAKE_WAITING, LISTENER_PAUSED);
	send_letter(&w, 'a');
	borrow(&w, &b, 1);
	assert_int_equal(heard.listeners.listeners[0].type, SOCK_DGRAM);
	assert_int_equal(heard.listeners.listeners[0].address.port,
		((const struct sockaddr_in *)&listener_bound(listener_of(&w))->storage)->sin_port);
	check_state(&w, INTAKE_LENT, LISTENER_LENT);
	assert_ptr_equal(service_borrower(w.service), provider_of(&w, 1));
	assert_int_equal(n_logged("has 1 socket lent to it"), 1);
	send_letter(&w, 'b');
	expect_nothing(&b.peer); /* usherd is not woken: turn_while_ready() ends */
	assert_int_equal(take_letter(b.fds[0]), 'a');
	assert_int_equal(take_letter(b.fds[0]), 'b');
	leave_with_all(&b);
	check_state(&w, INTAKE_WAITING, LISTENER_PAUSED);
	end(&w);
}

static void test_a_listening_socket_is_lent_if_the_service_says_so(void **state)
{
	struct borrower b;
	struct world w;

	(void)state;
	begin_lending(&w, TCP);
	clients(&w, "a");
	borrow(&w, &b, 1);
	clients(&w, "b");
	expect_nothing(&b.peer);
	assert_int_equal(accept_letter(b.fds[0]), 'a');
	assert_int_equal(accept_letter(b.fds[0]), 'b');
	assert_int_equal(dispatch_totals(service_dispatch(w.service))->n_accepted, 0);
	leave_with_all(&b);
	end(&w);
}

static void test_without_that_it_is_not(void **state)
{
	struct borrower b;
	struct world w;

	(void)state;
	begin(&w);
	open_service_on(&w, TCP);
	borrow(&w, &b, 0);
	assert_null(service_borrower(w.service));
	credit(&b.peer, 0, 1);
	clients(&w, "a");
	expect_connections(&b.peer, "a");
	leave_with_all(&b);
	end(&w);
}

static void test_the_next_one_gets_them_when_the_first_leaves(void **state)
{
	struct borrower first, second, third;
	struct world w;

	(void)state;
	begin_lending(&w, TCP);
	borrow(&w, &first, 1);
	borrow(&w, &second, 0);
	borrow(&w, &third, 0);
	clients(&w, "a");
	leave_with_all(&first);
	expect_lent(&second, 1);
	expect_nothing(&third.peer);
	clients(&w, "b");
	assert_int_equal(accept_letter(second.fds[0]), 'a');
	assert_int_equal(accept_letter(second.fds[0]), 'b');
	leave_with_all(&third); /* who had none is not missed */
	expect_nothing(&second.peer);
	leave_with_all(&second);
	end(&w);
}

static void test_draining_gives_them_back(void **state)
{
	struct borrower first, second;
	struct world w;

	(void)state;
	begin_lending(&w, TCP);
	borrow(&w, &first, 1);
	borrow(&w, &second, 0);
	drain(&first.peer);
	expect_draining(&first.peer, WIRE_DRAINING_ASKED);
	expect_lent(&second, 1);
	expect_nothing(&first.peer);
	leave_with_all(&first);
	expect_nothing(&second.peer);
	assert_int_equal(service_drain(w.service, NULL), 1);
	expect_draining(&second.peer, WIRE_DRAINING_ADMINISTRATOR);
	check_state(&w, INTAKE_WAITING, LISTENER_PAUSED);
	leave_with_all(&second);
	end(&w);
}

static void test_the_newest_takes_over(void **state)
{
	struct borrower first, second;
	struct world w;

	(void)state;
	begin(&w);
	w.config.deliver = CONFIG_DELIVER_LISTENER;
	w.config.providers.takeover = CONFIG_TAKEOVER_NEWEST;
	open_service_on(&w, TCP);
	borrow(&w, &first, 1);
	borrow(&w, &second, 1);
	expect_draining(&first.peer, WIRE_DRAINING_REPLACED);
	leave_with_all(&first);
	leave_with_all(&second);
	end(&w);
}

static void test_a_standby_borrows_while_there_is_nobody_else(void **state)
{
	struct borrower standby, other;
	struct world w;

	(void)state;
	begin_lending(&w, TCP);
	join_with(&w, &standby, WIRE_HELLO_STANDBY);
	expect_lent(&standby, 1);
	borrow(&w, &other, 1);
	expect_lent(&standby, 0);
	leave_with_all(&other);
	expect_lent(&standby, 1);
	leave_with_all(&standby);
	end(&w);
}

static void test_who_breaks_the_protocol_is_no_borrower(void **state)
{
	struct borrower first, second;
	union wire_message nonsense = {0};
	struct world w;

	(void)state;
	begin(&w);
	w.config.deliver = CONFIG_DELIVER_LISTENER;
	open_service_on(&w, TCP);
	borrow(&w, &first, 1);
	borrow(&w, &second, 0);
	say(&first.peer, 99, &nonsense, sizeof(nonsense.header));
	expect_lent(&second, 1);
	leave_with_all(&first);
	leave_with_all(&second);
	end(&w);
}

static void test_who_takes_none_cannot_register_where_there_is_nothing_else(void **state)
{
	struct world w;
	struct peer p;

	(void)state;
	begin_lending(&w, TCP);
	connect_peer(&w, &p);
	say_hello(&p, 1);
	expect_refused(&p, EOPNOTSUPP,
		"service echo lends its sockets, and this provider takes none: it needs "
		"USHER_LISTENERS of libusher, or the service deliver = \"connection\"");
	assert_int_equal(n_logged("the service lends its sockets, and it takes none"), 1);
	w.config.deliver = CONFIG_DELIVER_CONNECTION;
	reconfigure(&w, 0);
	join(&w, &p, 1);
	expect_nothing(&p); /* nor LISTENERS, which it does not know */
	leave(&p);
	end(&w);
}

/* --- changes --- */

static void test_connections_and_datagrams_of_one_service(void **state)
{
	struct borrower b;
	struct peer other;
	struct world w;

	(void)state;
	begin(&w);
	open_service_on(&w, UDP);
	reconfigure(&w, 1); /* and tcp: */
	join(&w, &other, 1);
	borrow(&w, &b, 1);
	assert_int_equal(heard.listeners.listeners[0].index, 0);
	check_state(&w, INTAKE_LENT, LISTENER_LENT);
	assert_int_equal(intake_state(service_intake(w.service)), INTAKE_SERVING);
	leave_with_all(&b);
	assert_int_equal(intake_state(service_intake(w.service)), INTAKE_SERVING);
	leave(&other);
	turn_while_ready();
	end(&w);
}

static void test_a_reload_that_adds_a_listener_lends_it_too(void **state)
{
	struct borrower b, none;
	struct world w;

	(void)state;
	begin_lending(&w, TCP);
	borrow(&w, &b, 1);
	borrow(&w, &none, 0);
	reconfigure(&w, 2);
	expect(&b.peer, WIRE_WELCOME);
	expect_lent(&b, 3);
	expect(&none.peer, WIRE_WELCOME);
	expect_lent(&none, 0);
	reconfigure(&w, 0); /* nothing is new */
	expect_nothing(&b.peer);
	leave_with_all(&none);
	leave_with_all(&b);
	end(&w);
}

static void test_very_many_come_in_several_messages(void **state)
{
	struct borrower b;
	struct world w;

	(void)state;
	begin_lending(&w, TCP);
	reconfigure(&w, 39);
	borrow(&w, &b, 40);
	assert_int_equal(heard.listeners.listeners[7].index, 39);
	assert_int_equal(n_logged("has 40 sockets lent to it"), 1);
	leave_with_all(&b);
	end(&w);
}

static void test_a_reload_changes_who_accepts(void **state)
{
	struct borrower b;
	struct world w;

	(void)state;
	begin_lending(&w, TCP);
	borrow(&w, &b, 1);
	w.config.deliver = CONFIG_DELIVER_CONNECTION;
	reconfigure(&w, 0);
	expect(&b.peer, WIRE_WELCOME);
	expect_lent(&b, 0);
	credit(&b.peer, 0, 1);
	clients(&w, "a");
	expect_connections(&b.peer, "a");
	w.config.deliver = CONFIG_DELIVER_LISTENER;
	reconfigure(&w, 0);
	expect(&b.peer, WIRE_WELCOME);
	expect_lent(&b, 1);
	clients(&w, "b");
	assert_int_equal(accept_letter(b.fds[0]), 'b');
	leave_with_all(&b);
	end(&w);
}

static void test_a_pause_takes_them_back(void **state)
{
	struct borrower b;
	struct world w;

	(void)state;
	begin_lending(&w, TCP);
	borrow(&w, &b, 1);
	service_set_paused(w.service, true);
	expect_lent(&b, 0);
	check_state(&w, INTAKE_PAUSED, LISTENER_PAUSED);
	clients(&w, "a");
	expect_nothing(&b.peer);
	service_set_paused(w.service, false);
	expect_lent(&b, 1);
	assert_int_equal(accept_letter(b.fds[0]), 'a');
	leave_with_all(&b);
	end(&w);
}

static void test_the_end_of_the_service_takes_them_back_first(void **state)
{
	struct borrower b;
	struct world w;

	(void)state;
	begin_lending(&w, TCP);
	borrow(&w, &b, 1);
	end_service(&w);
	expect_lent(&b, 0);
	expect_draining(&b.peer, WIRE_DRAINING_ENDING);
	turn_until(w.n_ended == 1);
	end(&w);
	expect_end(&b.peer);
}

static void test_the_end_of_usherd_takes_back_what_nobody_keeps(void **state)
{
	struct borrower b;
	struct world w;

	(void)state;
	begin_lending(&w, TCP);
	borrow(&w, &b, 1);
	end(&w);
	expect_lent(&b, 0);
	expect_end(&b.peer);
}

/* A program of inetd's kind ends by itself, when it has heard nothing for a while. */
static void test_who_goes_on_with_datagrams_is_left_alone(void **state)
{
	struct pollfd hung_up = {.events = POLLRDHUP};
	int is_shared = 1;
	socklen_t size = sizeof(is_shared);
	struct borrower b;
	struct world w;
	int kept_fd;

	(void)state;
	begin(&w);
	open_service_on(&w, UDP);
	borrow(&w, &b, 1);
	kept_fd = fcntl(b.fds[0], F_DUPFD_CLOEXEC, 0);
	send_letter(&w, 'a');
	end(&w);
	expect_lent(&b, 0);
	hung_up.fd = kept_fd;
	assert_int_equal(poll(&hung_up, 1, 0), 0);
	assert_int_equal(take_letter(kept_fd), 'a');
	assert_int_equal(getsockopt(kept_fd, SOL_SOCKET, SO_REUSEADDR, &is_shared, &size), 0);
	assert_int_equal(is_shared, 0); /* or a stranger could bind its port besides */
	close_fd(kept_fd);
	expect_end(&b.peer);
}

static void test_what_clients_meet_while_nobody_borrows(void **state)
{
	struct borrower b;
	struct world w;
	size_t i;

	(void)state;
	begin(&w);
	w.config.deliver = CONFIG_DELIVER_LISTENER;
	w.config.unavailable = CONFIG_UNAVAILABLE_REFUSE;
	open_service_on(&w, TCP);
	check_state(&w, INTAKE_REFUSING, LISTENER_REFUSING);
	borrow(&w, &b, 1);
	check_state(&w, INTAKE_LENT, LISTENER_LENT);
	clients(&w, "a");
	assert_int_equal(accept_letter(b.fds[0]), 'a');
	leave_with_all(&b);
	check_state(&w, INTAKE_REFUSING, LISTENER_REFUSING);
	w.config.unavailable = CONFIG_UNAVAILABLE_RESET;
	reconfigure(&w, 0);
	check_state(&w, INTAKE_RESETTING, LISTENER_OPEN);
	i = client(&w, 'b');
	turn_until(!is_connected(&w, i));
	end(&w);
}

static void test_a_channel_that_is_full_is_told_later(void **state)
{
	struct borrower b;
	struct world w;
	size_t n_messages = 0;

	(void)state;
	begin_lending(&w, TCP);
	borrow(&w, &b, 1);
	make_narrow(&w, 1);
	while (!provider_of(&w, 1)->owes_listeners) {
		service_set_paused(w.service, true);
		service_set_paused(w.service, false);
		n_messages++;
	}
	reconfigure(&w, 20); /* neither WELCOME nor LISTENERS fit */
	assert_true(n_messages < 1000);
	do {
		uint16_t type = hear(&b.peer);

		assert_true(type == WIRE_LISTENERS || type == WIRE_WELCOME);
		fdpass_close(&b.peer.received, 0);
		if (type == WIRE_WELCOME)
			n_messages = 0;
	} while (n_messages > 0);
	expect_lent(&b, 21);
	expect_nothing(&b.peer);
	assert_false(provider_of(&w, 1)->owes_listeners);
	leave_with_all(&b);
	end(&w);
}

/* --- what a borrower has made of them --- */

static void test_a_socket_that_was_shut_down_listens_again(void **state)
{
	struct borrower first, second;
	struct world w;

	(void)state;
	begin_lending(&w, TCP);
	borrow(&w, &first, 1);
	assert_int_equal(shutdown(first.fds[0], SHUT_RD), 0);
	leave_with_all(&first);
	assert_int_equal(n_logged("did not listen any more"), 1);
	clients(&w, "a");
	borrow(&w, &second, 1);
	assert_int_equal(accept_letter(second.fds[0]), 'a');
	leave_with_all(&second);
	assert_int_equal(n_logged("did not listen any more"), 1);
	end(&w);
}

/* A borrower connects the socket to one peer, and leaves. */
static void connect_and_leave(struct world *w)
{
	struct sockaddr_in peer = {.sin_family = AF_INET, .sin_port = htons(9)};
	struct borrower b;

	peer.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	borrow(w, &b, 1);
	assert_int_equal(connect(b.fds[0], (struct sockaddr *)&peer, sizeof(peer)), 0);
	leave_with_all(&b);
}

/* Is the service's first listener bound as it was? */
static void check_bound(const struct world *w)
{
	const struct address *bound = listener_bound(listener_of(w));
	struct address now;

	assert_int_equal(address_read(listener_fd(listener_of(w)), &now), 0);
	assert_int_equal(address_port(&now), address_port(bound));
	assert_string_equal(now.interface, bound->interface);
}

static void test_a_socket_that_was_connected_hears_everybody_again(void **state)
{
	struct borrower b;
	struct world w;

	(void)state;
	begin(&w);
	open_service_on(&w, UDP); /* the kernel chose the port, and takes it back with the peer */
	connect_and_leave(&w);
	assert_int_equal(n_logged("was connected to one peer"), 1);
	check_bound(&w);
	send_letter(&w, 'a');
	borrow(&w, &b, 1);
	assert_int_equal(take_letter(b.fds[0]), 'a');
	leave_with_all(&b);
	end(&w);
}

static void test_a_connected_ipv6_socket_cannot_be_repaired_but_keeps_its_place(void **state)
{
	struct world w;

	(void)state;
	begin(&w);
	open_service_on(&w, "udp:%lo:0");
	connect_and_leave(&w);
	assert_int_equal(n_logged("which cannot be undone"), 1);
	check_bound(&w);
	end(&w);
}

static void test_options_are_not_handed_on(void **state)
{
	struct sock_filter nothing = {.code = BPF_RET | BPF_K, .k = 0};
	struct sock_fprog filter = {.len = 1, .filter = &nothing};
	struct timeval timeout = {.tv_sec = 1};
	socklen_t size = sizeof(timeout);
	struct borrower first, second;
	struct world w;

	(void)state;
	begin(&w);
	open_service_on(&w, UDP);
	borrow(&w, &first, 1);
	assert_int_equal(fcntl(first.fds[0], F_SETFL, 0), 0);
	assert_int_equal(
		setsockopt(first.fds[0], SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof(filter)), 0);
	assert_int_equal(
		setsockopt(first.fds[0], SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)), 0);
	leave_with_all(&first);
	send_letter(&w, 'a');
	borrow(&w, &second, 1);
	assert_int_equal(fcntl(second.fds[0], F_GETFL) & O_NONBLOCK, O_NONBLOCK);
	assert_int_equal(getsockopt(second.fds[0], SOL_SOCKET, SO_RCVTIMEO, &timeout, &size), 0);
	assert_int_equal(timeout.tv_sec, 0);
	assert_int_equal(take_letter(second.fds[0]), 'a');
	leave_with_all(&second);
	end(&w);
}

static bool is_blocking(int fd)
{
	return !(fcntl(fd, F_GETFL) & O_NONBLOCK);
}

/* As usher-exec does, when it has just started a program. */
static void test_the_next_one_gets_it_non_blocking_in_any_case(void **state)
{
	struct borrower first, second;
	struct world w;
	int program_fd;

	(void)state;
	begin(&w);
	open_service_on(&w, UDP);
	borrow(&w, &first, 1);
	program_fd = fcntl(first.fds[0], F_DUPFD_CLOEXEC, 0);
	leave_with_all(&first);
	assert_int_equal(fcntl(program_fd, F_SETFL, 0), 0);
	borrow(&w, &second, 1);
	assert_false(is_blocking(second.fds[0]));
	assert_int_equal(fcntl(second.fds[0], F_SETFL, 0), 0);
	reconfigure(&w, 0); /* nothing is new, and its program goes on */
	expect_nothing(&second.peer);
	assert_true(is_blocking(second.fds[0]));
	close_fd(program_fd);
	leave_with_all(&second);
	end(&w);
}

/* usherd would wait in accept4(2), and everybody for usherd. */
static void test_usherd_itself_has_it_non_blocking(void **state)
{
	struct borrower b;
	struct world w;

	(void)state;
	begin_lending(&w, TCP);
	borrow(&w, &b, 1);
	assert_int_equal(fcntl(b.fds[0], F_SETFL, 0), 0);
	w.config.deliver = CONFIG_DELIVER_CONNECTION;
	reconfigure(&w, 0);
	credit(&b.peer, 0, 1);
	turn_while_ready();
	assert_int_equal(listener_state(listener_of(&w)), LISTENER_OPEN);
	assert_false(is_blocking(b.fds[0]));
	leave_with_all(&b);
	end(&w);
}

static void test_what_cannot_be_repaired_is_said(void **state)
{
	struct borrower b;
	struct world w;

	(void)state;
	begin(&w);
	open_service_on(&w, UDP);
	borrow(&w, &b, 1);
	(void)shutdown(b.fds[0], SHUT_RDWR); /* says ENOTCONN, and does it */
	leave_with_all(&b);
	assert_int_equal(n_logged("which cannot be undone"), 1);
	end(&w);
}

/* --- who has come before the rules were the kernel's --- */

/* More than the kernel takes in one program. */
static struct config_rule too_many_rules[5000];

/* Keep out this address of 127.0.0.0/24, and `n` - 1 others. */
static void keep_out(struct world *w, uint8_t last_byte, size_t n)
{
	for (size_t i = 0; i < n; i++)
		too_many_rules[i] = (struct config_rule){
			.network = {AF_INET, 32,
				{127, i == 0 ? 0 : 9, (uint8_t)(2 * i / 256),
					(uint8_t)(i == 0 ? last_byte : 2 * i)}}};
	w->config.admission.rules = too_many_rules;
	w->config.admission.n_rules = n;
	reconfigure(w, 0);
}

static void forget_rules(struct world *w)
{
	w->config.admission = (struct config_admission){0};
	reconfigure(w, 0);
}

static void test_datagrams_that_nobody_was_asked_about_are_thrown_away(void **state)
{
	struct borrower b;
	struct world w;

	(void)state;
	begin(&w);
	open_service_on(&w, UDP);
	borrow(&w, &b, 1);
	keep_out(&w, 1, 5000);
	assert_true(n_logged("the kernel does not carry out") > 0);
	expect_lent(&b, 0);
	send_letter(&w, 'a');
	keep_out(&w, 1, 1);
	expect_lent(&b, 1);
	assert_int_equal(take_letter(b.fds[0]), 0);
	keep_out(&w, 2, 1);
	send_letter(&w, 'b');
	keep_out(&w, 3, 1); /* who has come by other rules stays */
	assert_int_equal(take_letter(b.fds[0]), 'b');
	forget_rules(&w);
	leave_with_all(&b);
	end(&w);
}

/* The rules that the kernel does not carry out let nobody in by those before them. */
static void test_the_program_of_older_rules_is_not_leave(void **state)
{
	struct borrower b;
	struct world w;

	(void)state;
	begin(&w);
	open_service_on(&w, UDP);
	keep_out(&w, 2, 1);
	borrow(&w, &b, 1);
	keep_out(&w, 1, 5000);
	expect_lent(&b, 0);
	send_letter(&w, 'a');
	keep_out(&w, 1, 1);
	expect_lent(&b, 1);
	assert_int_equal(take_letter(b.fds[0]), 0);
	forget_rules(&w);
	leave_with_all(&b);
	end(&w);
}

/* Or the next usherd would find the program, and take it for their leave. */
static void test_who_waits_is_asked_at_once(void **state)
{
	const struct dispatch_totals *totals;
	struct borrower b;
	struct world w;

	(void)state;
	begin(&w);
	open_service_on(&w, TCP);
	totals = dispatch_totals(service_dispatch(w.service));
	clients(&w, "ab");
	service_set_paused(w.service, true);
	assert_int_equal(totals->n_taken_over, 0);
	w.config.deliver = CONFIG_DELIVER_LISTENER;
	keep_out(&w, 2, 1);
	assert_int_equal(totals->n_taken_over, 2);
	service_set_paused(w.service, false);
	borrow(&w, &b, 1);
	assert_int_equal(accept_letter(b.fds[0]), 0);
	credit(&b.peer, 0, 2);
	expect_connections(&b.peer, "ab");
	forget_rules(&w);
	leave_with_all(&b);
	end(&w);
}

static void test_who_waited_for_usherd_is_handed_over(void **state)
{
	struct borrower b;
	struct world w;

	(void)state;
	begin(&w);
	open_service_on(&w, TCP);
	borrow(&w, &b, 0);
	clients(&w, "ab");
	w.config.deliver = CONFIG_DELIVER_LISTENER;
	keep_out(&w, 2, 1);
	expect(&b.peer, WIRE_WELCOME);
	expect_lent(&b, 1);
	assert_int_equal(accept_letter(b.fds[0]), 0);
	assert_int_equal(n_logged("had not been asked about"), 1);
	credit(&b.peer, 0, 2);
	expect_connections(&b.peer, "ab");
	clients(&w, "c");
	assert_int_equal(accept_letter(b.fds[0]), 'c');
	forget_rules(&w);
	leave_with_all(&b);
	end(&w);
}

/* Descriptors below that number alone may be made; returns what it was before. */
static rlim_t limit_descriptors(rlim_t n)
{
	struct rlimit limit;
	rlim_t before;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	before = limit.rlim_cur;
	limit.rlim_cur = n;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	return before;
}

static void test_who_cannot_be_asked_is_reset(void **state)
{
	struct borrower b;
	struct world w;
	rlim_t n;
	size_t i;

	(void)state;
	begin(&w);
	open_service_on(&w, TCP);
	borrow(&w, &b, 0);
	i = client(&w, 'a');
	w.config.deliver = CONFIG_DELIVER_LISTENER;
	n = limit_descriptors(0);
	keep_out(&w, 2, 1);
	(void)limit_descriptors(n);
	assert_false(is_connected(&w, i));
	expect(&b.peer, WIRE_WELCOME);
	expect_lent(&b, 1);
	clients(&w, "b");
	assert_int_equal(accept_letter(b.fds[0]), 'b');
	forget_rules(&w);
	leave_with_all(&b);
	end(&w);
}

#define LIMIT	(4 * LISTENER_FD_RESERVE)
#define CEILING (LIMIT - LISTENER_FD_RESERVE)

/* Until all below CEILING are taken. Returns how many these are. */
static size_t take_descriptors(int *ret)
{
	size_t n = 0;
	int fd;

	while ((fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0)) < CEILING) {
		assert_true(fd >= 0);
		ret[n++] = fd;
	}
	close_fd(fd);
	return n;
}

static void test_who_waited_gets_none_of_the_last_descriptors(void **state)
{
	const rlim_t before = limit_descriptors(LIMIT);
	int taken[CEILING];
	struct borrower b;
	struct world w;
	size_t n;

	(void)state;
	begin(&w);
	open_service_on(&w, TCP);
	borrow(&w, &b, 0);
	clients(&w, "abc");
	n = take_descriptors(taken);
	w.config.deliver = CONFIG_DELIVER_LISTENER;
	keep_out(&w, 2, 1);
	while (n > 0)
		close_fd(taken[--n]);
	assert_int_equal(dispatch_totals(service_dispatch(w.service))->n_taken_over, 1);
	assert_true(is_connected(&w, 0));
	assert_false(is_connected(&w, 1));
	assert_false(is_connected(&w, 2));
	assert_int_equal(n_logged("2 waited there whom usherd could not ask"), 1);
	(void)limit_descriptors(before);
	expect(&b.peer, WIRE_WELCOME);
	expect_lent(&b, 1);
	forget_rules(&w);
	leave_with_all(&b);
	end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_loop_test(test_datagrams_wait_for_a_borrower),
		check_loop_test(test_a_listening_socket_is_lent_if_the_service_says_so),
		check_loop_test(test_without_that_it_is_not),
		check_loop_test(test_the_next_one_gets_them_when_the_first_leaves),
		check_loop_test(test_draining_gives_them_back),
		check_loop_test(test_the_newest_takes_over),
		check_loop_test(test_a_standby_borrows_while_there_is_nobody_else),
		check_loop_test(test_who_breaks_the_protocol_is_no_borrower),
		check_loop_test(test_who_takes_none_cannot_register_where_there_is_nothing_else),
		check_loop_test(test_connections_and_datagrams_of_one_service),
		check_loop_test(test_a_reload_that_adds_a_listener_lends_it_too),
		check_loop_test(test_very_many_come_in_several_messages),
		check_loop_test(test_a_reload_changes_who_accepts),
		check_loop_test(test_a_pause_takes_them_back),
		check_loop_test(test_the_end_of_the_service_takes_them_back_first),
		check_loop_test(test_the_end_of_usherd_takes_back_what_nobody_keeps),
		check_loop_test(test_who_goes_on_with_datagrams_is_left_alone),
		check_loop_test(test_what_clients_meet_while_nobody_borrows),
		check_loop_test(test_a_channel_that_is_full_is_told_later),
		check_loop_test(test_a_socket_that_was_shut_down_listens_again),
		check_loop_test(test_a_socket_that_was_connected_hears_everybody_again),
		check_loop_test(
			test_a_connected_ipv6_socket_cannot_be_repaired_but_keeps_its_place),
		check_loop_test(test_options_are_not_handed_on),
		check_loop_test(test_the_next_one_gets_it_non_blocking_in_any_case),
		check_loop_test(test_usherd_itself_has_it_non_blocking),
		check_loop_test(test_what_cannot_be_repaired_is_said),
		check_loop_test(test_datagrams_that_nobody_was_asked_about_are_thrown_away),
		check_loop_test(test_the_program_of_older_rules_is_not_leave),
		check_loop_test(test_who_waits_is_asked_at_once),
		check_loop_test(test_who_waited_for_usherd_is_handed_over),
		check_loop_test(test_who_cannot_be_asked_is_reset),
		check_loop_test(test_who_waited_gets_none_of_the_last_descriptors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
