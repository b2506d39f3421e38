/* SPDX-License-Identifier: MIT */
/*
 * usher-basic over UDP: real sockets on loopback, of which libusher's stub says that they are lent.
 */
#include "datagrams.h"
#include "stub-usher.h"
#include "talk.h"
#include "test.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define NOON_OF_TEST 1795262400 /* 2026-11-21 12:00:00 UTC */

static struct postbox postbox;

static struct service {
	struct enrolment enrolment; /* first */
	struct datagrams datagrams;
} service;

time_t __wrap_time(time_t *ret);
time_t __wrap_time(time_t *ret)
{
	assert_null(ret);
	return NOON_OF_TEST;
}

static int on_connection(struct enrolment *e, struct usher_connection *accepted)
{
	return usher_close(e->usher, accepted);
}

static void on_lent(struct enrolment *e)
{
	datagrams_on_lent(&((struct service *)e)->datagrams);
}

/* A socket on a port that the kernel chooses, or 0 for `port`; returns its port in *ret_port. */
static int bind_udp(int family, const char *address, uint16_t *ret_port)
{
	struct sockaddr_in6 ipv6 = {.sin6_family = AF_INET6};
	struct sockaddr_in ipv4 = {.sin_family = AF_INET};
	struct sockaddr *bound =
		family == AF_INET ? (struct sockaddr *)&ipv4 : (struct sockaddr *)&ipv6;
	socklen_t length = family == AF_INET ? sizeof(ipv4) : sizeof(ipv6);
	int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	inet_pton(family, address,
		family == AF_INET ? (void *)&ipv4.sin_addr : (void *)&ipv6.sin6_addr);
	assert_int_equal(bind(fd, bound, length), 0);
	assert_int_equal(getsockname(fd, bound, &length), 0);
	*ret_port = ntohs(family == AF_INET ? ipv4.sin_port : ipv6.sin6_port);
	return fd;
}

static int lent_fd; /* the last one */

static void lend(int fd)
{
	struct usher_lent *lent = &stub.lent[stub.n_lent++];

	lent_fd = fd;
	*lent = (struct usher_lent){
		.fd = fd, .type = SOCK_DGRAM, .address_length = sizeof(lent->address)};
	assert_int_equal(
		getsockname(fd, (struct sockaddr *)&lent->address, &lent->address_length), 0);
	stub.n_changes = 1;
	service.enrolment.watch.on_event(&service.enrolment.watch, EPOLLIN);
}

/* A service with nothing lent to it. */
static void begin(const char *protocol)
{
	talk_begin();
	postbox_init(&postbox);
	assert_int_equal(
		enrolment_init(&service.enrolment, &talk.loop, "test", 100, on_connection, on_lent),
		0);
	datagrams_init(&service.datagrams, &postbox, &service.enrolment, protocol_find(protocol));
}

static void end(void)
{
	datagrams_done(&service.datagrams);
	enrolment_done(&service.enrolment);
	for (size_t i = 0; i < stub.n_lent; i++)
		close(stub.lent[i].fd);
	stub.n_lent = 0;
	talk_end();
}

/* A service that has a socket of this address, and a client. */
static uint16_t port;
static int begin_with(const char *protocol, int family, const char *address)
{
	uint16_t client_port;

	begin(protocol);
	lend(bind_udp(family, address, &port));
	return bind_udp(family, family == AF_INET ? "0.0.0.0" : "::", &client_port);
}

/* Over the network a datagram comes a moment later than it was sent. */
static void wait_arrival(void)
{
	struct pollfd readable = {.fd = lent_fd, .events = POLLIN};

	assert_int_equal(poll(&readable, 1, -1), 1);
}

static void send_to(int client_fd, const char *address, const char *data, size_t size)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};

	assert_int_equal(inet_pton(AF_INET, address, &to.sin_addr), 1);
	assert_int_equal(
		sendto(client_fd, data, size, 0, (struct sockaddr *)&to, sizeof(to)), size);
	wait_arrival();
	talk_until_quiet();
}

/* How many bytes the client got; the sender's address has to be this one. "": none, and -1. */
static ssize_t receive(int client_fd, char *data, size_t size, const char *sender)
{
	struct sockaddr_in from;
	socklen_t length = sizeof(from);
	char text[INET_ADDRSTRLEN];
	ssize_t n;

	if (sender[0] != '\0')
		talk_wait(client_fd);
	n = recvfrom(client_fd, data, size, MSG_DONTWAIT, (struct sockaddr *)&from, &length);
	if (n < 0) {
		assert_int_equal(errno, EAGAIN);
		return n;
	}
	assert_string_equal(inet_ntop(AF_INET, &from.sin_addr, text, sizeof(text)), sender);
	assert_int_equal(ntohs(from.sin_port), port);
	return n;
}

static void test_echo_returns_the_same_bytes(void **state)
{
	static char sent[65507], got[65507];
	int fd = begin_with("echo", AF_INET, "127.0.0.1");

	(void)state;
	for (size_t i = 0; i < sizeof(sent); i++)
		sent[i] = (char)(i % 251);
	send_to(fd, "127.0.0.1", sent, sizeof(sent));
	assert_int_equal(receive(fd, got, sizeof(got), "127.0.0.1"), sizeof(sent));
	assert_memory_equal(got, sent, sizeof(sent));
	send_to(fd, "127.0.0.1", "", 0);
	assert_int_equal(receive(fd, got, sizeof(got), "127.0.0.1"), 0);
	assert_int_equal(service.datagrams.n_answered, 2);
	close(fd);
	end();
}

/* Of a machine with several addresses a client knows only the one that it has asked. */
static void test_answer_comes_from_the_address_that_was_asked(void **state)
{
	int fd = begin_with("echo", AF_INET, "0.0.0.0");
	char got[8];

	(void)state;
	send_to(fd, "127.0.0.5", "five", 4);
	assert_int_equal(receive(fd, got, sizeof(got), "127.0.0.5"), 4);
	close(fd);
	end();
}

/* The first one is lent a socket that some have asked already: the kernel has kept less of these.
 */
static void test_who_has_asked_before_is_answered(void **state)
{
	static const struct {
		int family;
		const char *address;
	} sockets[] = {{AF_INET, "0.0.0.0"}, {AF_INET6, "::"}};
	uint16_t client_port;
	char got[8];

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		int fd = bind_udp(AF_INET, "0.0.0.0", &client_port);
		int yes = 1;

		begin("echo");
		lent_fd = bind_udp(sockets[i].family, sockets[i].address, &port);
		setsockopt(fd, SOL_SOCKET, SO_BROADCAST, &yes, sizeof(yes));
		send_to(fd, "127.255.255.255", "all", 3);
		send_to(fd, "127.0.0.5", "five", 4);
		lend(lent_fd);
		talk_until_quiet();
		assert_int_equal(receive(fd, got, sizeof(got), "127.0.0.5"), 4);
		assert_int_equal(receive(fd, got, sizeof(got), ""), -1);
		assert_int_equal(service.datagrams.n_answered, 1);
		close(fd);
		end();
	}
}

static void test_ipv4_by_an_ipv6_socket(void **state)
{
	uint16_t client_port;
	char got[8];
	int fd;

	(void)state;
	begin("echo");
	lend(bind_udp(AF_INET6, "::", &port));
	fd = bind_udp(AF_INET, "0.0.0.0", &client_port);
	send_to(fd, "127.0.0.6", "six", 3);
	assert_int_equal(receive(fd, got, sizeof(got), "127.0.0.6"), 3);
	close(fd);
	end();
}

static void test_broadcast_to_an_ipv6_socket_is_not_answered(void **state)
{
	uint16_t client_port;
	int yes = 1;
	int fd;

	(void)state;
	begin("echo");
	lend(bind_udp(AF_INET6, "::", &port));
	fd = bind_udp(AF_INET, "0.0.0.0", &client_port);
	setsockopt(fd, SOL_SOCKET, SO_BROADCAST, &yes, sizeof(yes));
	send_to(fd, "127.255.255.255", "all", 3);
	assert_int_equal(service.datagrams.n_ignored, 1);
	assert_int_equal(service.datagrams.n_answered + service.datagrams.n_dropped, 0);
	close(fd);
	end();
}

static void test_ipv6(void **state)
{
	struct sockaddr_in6 to = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	int fd = begin_with("echo", AF_INET6, "::");
	socklen_t length = sizeof(to);
	char got[8];

	(void)state;
	to.sin6_port = htons(port);
	assert_int_equal(sendto(fd, "one", 3, 0, (struct sockaddr *)&to, sizeof(to)), 3);
	talk_wait(fd);
	assert_int_equal(
		recvfrom(fd, got, sizeof(got), MSG_DONTWAIT, (struct sockaddr *)&to, &length), 3);
	assert_true(IN6_IS_ADDR_LOOPBACK(&to.sin6_addr));
	close(fd);
	end();
}

static void test_broadcast_is_not_answered(void **state)
{
	int fd = begin_with("echo", AF_INET, "0.0.0.0");
	int yes = 1;

	(void)state;
	setsockopt(fd, SOL_SOCKET, SO_BROADCAST, &yes, sizeof(yes));
	send_to(fd, "127.255.255.255", "all", 3);
	assert_int_equal(service.datagrams.n_ignored, 1);
	assert_int_equal(service.datagrams.n_answered + service.datagrams.n_dropped, 0);
	close(fd);
	end();
}

static void test_multicast_is_not_answered(void **state)
{
	int fd = begin_with("echo", AF_INET, "0.0.0.0");
	struct ip_mreqn group = {.imr_ifindex = (int)if_nametoindex("lo")};

	(void)state;
	inet_pton(AF_INET, "239.1.2.3", &group.imr_multiaddr);
	assert_int_equal(
		setsockopt(stub.lent[0].fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &group, sizeof(group)),
		0);
	assert_int_equal(setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &group, sizeof(group)), 0);
	send_to(fd, "239.1.2.3", "all", 3);
	assert_int_equal(service.datagrams.n_ignored, 1);
	assert_int_equal(service.datagrams.n_answered + service.datagrams.n_dropped, 0);
	close(fd);
	end();
}

/* Two of ours that somebody has sent to each other stop at once. */
static void test_two_of_ours_do_not_loop(void **state)
{
	uint16_t first;
	int fd;

	(void)state;
	begin("echo");
	fd = bind_udp(AF_INET, "127.0.0.1", &first);
	lend(fd);
	lend(bind_udp(AF_INET, "127.0.0.1", &port));
	send_to(fd, "127.0.0.1", "loop", 4); /* as if it came from our first one */
	assert_int_equal(service.datagrams.n_ignored, 1);
	assert_int_equal(service.datagrams.n_answered, 0);
	end();
}

static void test_discard_answers_nothing(void **state)
{
	int fd = begin_with("discard", AF_INET, "127.0.0.1");
	char got[8];

	(void)state;
	send_to(fd, "127.0.0.1", "nothing", 7);
	assert_int_equal(receive(fd, got, sizeof(got), ""), -1);
	assert_int_equal(recv(stub.lent[0].fd, got, sizeof(got), 0), -1); /* it was read */
	close(fd);
	end();
}

static void test_daytime_is_one_line(void **state)
{
	static const char expected[] = "Saturday, November 21, 2026 12:00:00-UTC\r\n";
	int fd = begin_with("daytime", AF_INET, "127.0.0.1");
	char got[128];

	(void)state;
	send_to(fd, "127.0.0.1", "", 0);
	assert_int_equal(receive(fd, got, sizeof(got), "127.0.0.1"), strlen(expected));
	assert_memory_equal(got, expected, strlen(expected));
	close(fd);
	end();
}

static void test_time_is_four_bytes(void **state)
{
	int fd = begin_with("time", AF_INET, "127.0.0.1");
	uint32_t got[2];

	(void)state;
	send_to(fd, "127.0.0.1", "whatever", 8);
	assert_int_equal(receive(fd, (char *)got, sizeof(got), "127.0.0.1"), 4);
	assert_int_equal(ntohl(got[0]), NOON_OF_TEST + 2208988800);
	close(fd);
	end();
}

/* RFC 864: "a random number (between 0 and 512) of characters". */
static void test_chargen_is_one_datagram_of_random_length(void **state)
{
	int fd = begin_with("chargen", AF_INET, "127.0.0.1");
	ssize_t least = 512, most = 0;
	char got[1024];

	(void)state;
	for (int i = 0; i < 2000; i++) {
		ssize_t n;

		send_to(fd, "127.0.0.1", "x", 1);
		n = receive(fd, got, sizeof(got), "127.0.0.1");
		assert_in_range(n, 0, 512);
		assert_int_equal(receive(fd, got, sizeof(got), ""), -1); /* no second one */
		for (ssize_t j = 0; j < n; j++)
			assert_true(got[j] == '\r' || got[j] == '\n' ||
				    (got[j] >= ' ' && got[j] <= '~'));
		least = n < least ? n : least;
		most = n > most ? n : most;
	}
	assert_in_range(least, 0, 20);
	assert_in_range(most, 492, 512);
	close(fd);
	end();
}

/* Until there are so many datagrams of one byte: each look is at the next one (SO_PEEK_OFF), and
 * waits for it. */
static void wait_arrivals(int n)
{
	int offset = 0, flags = fcntl(lent_fd, F_GETFL);
	char byte;

	assert_int_equal(setsockopt(lent_fd, SOL_SOCKET, SO_PEEK_OFF, &offset, sizeof(offset)), 0);
	assert_int_equal(fcntl(lent_fd, F_SETFL, flags & ~O_NONBLOCK), 0);
	for (; n > 0; n--)
		assert_int_equal(recv(lent_fd, &byte, 1, MSG_PEEK), 1);
	assert_int_equal(fcntl(lent_fd, F_SETFL, flags), 0);
}

/* The rest is for the next turn. */
static void test_turn_serves_sixty_four(void **state)
{
	int fd = begin_with("discard", AF_INET, "127.0.0.1");
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
	char byte;
	int n = 0;

	(void)state;
	inet_pton(AF_INET, "127.0.0.1", &to.sin_addr);
	for (int i = 0; i < 100; i++)
		assert_int_equal(sendto(fd, "x", 1, 0, (struct sockaddr *)&to, sizeof(to)), 1);
	wait_arrivals(100);
	assert_int_equal(loop_turn(&talk.loop), 0);
	while (recv(stub.lent[0].fd, &byte, 1, 0) == 1)
		n++;
	assert_int_equal(n, 36);
	close(fd);
	end();
}

static void test_sockets_that_are_lent_no_more_are_left_alone(void **state)
{
	int fd = begin_with("echo", AF_INET, "127.0.0.1");
	int ours_fd = stub.lent[0].fd;
	char got[8];

	(void)state;
	stub.n_lent = 0;
	stub.n_changes = 1;
	service.enrolment.watch.on_event(&service.enrolment.watch, EPOLLIN);
	send_to(fd, "127.0.0.1", "four", 4);
	assert_int_equal(recv(ours_fd, got, sizeof(got), 0), 4); /* for the next one */
	assert_true(TAILQ_EMPTY(&postbox.sockets));
	close(ours_fd);
	close(fd);
	end();
}

/* What somebody else has done to the socket is no busy loop: there is an end of the events. */

static void check_shut_down(int how)
{
	int fd = begin_with("echo", AF_INET, "127.0.0.1");

	(void)shutdown(stub.lent[0].fd, how); /* says ENOTCONN, and does it */
	talk_until_quiet();
	assert_int_equal(service.datagrams.n_answered + service.datagrams.n_ignored, 0);
	assert_said("usher-test: test: cannot serve a socket that is lent any longer: somebody who "
		    "had it has shut it down, see usher-basic(8)\n");
	close(fd);
	end();
}

static void test_socket_that_was_shut_down_is_left(void **state)
{
	(void)state;
	check_shut_down(SHUT_RDWR);
	check_shut_down(SHUT_RD);
}

static void test_errors_that_somebody_asked_for_are_taken_off(void **state)
{
	int fd = begin_with("echo", AF_INET, "127.0.0.1"), yes = 1;
	struct pollfd failed = {.fd = stub.lent[0].fd};
	struct sockaddr_in nobody = {.sin_family = AF_INET};
	char got[8];
	uint16_t closed_port;

	(void)state;
	close(bind_udp(AF_INET, "127.0.0.1", &closed_port));
	nobody.sin_port = htons(closed_port);
	inet_pton(AF_INET, "127.0.0.1", &nobody.sin_addr);
	assert_int_equal(setsockopt(failed.fd, IPPROTO_IP, IP_RECVERR, &yes, sizeof(yes)), 0);
	assert_int_equal(
		sendto(failed.fd, "x", 1, 0, (struct sockaddr *)&nobody, sizeof(nobody)), 1);
	assert_int_equal(poll(&failed, 1, -1), 1);
	talk_until_quiet();
	assert_int_equal(poll(&failed, 1, 0), 0);
	send_to(fd, "127.0.0.1", "hello", 5);
	assert_int_equal(receive(fd, got, sizeof(got), "127.0.0.1"), 5);
	close(fd);
	end();
}

static void test_listening_socket_is_not_served_and_told(void **state)
{
	(void)state;
	begin("echo");
	stub.lent[0] = (struct usher_lent){.fd = eventfd(0, EFD_CLOEXEC), .type = SOCK_STREAM};
	stub.n_lent = 1;
	stub.n_changes = 1;
	service.enrolment.watch.on_event(&service.enrolment.watch, EPOLLIN);
	assert_said("usher-test: test: cannot serve a listening socket that is lent: take "
		    "`deliver` out of the service, see usher.conf(5)\n");
	end();
}

/* A service and a client on names that the kernel chooses: unix(7), autobind. */
static int begin_unix(struct sockaddr_un *ret_name, socklen_t *ret_length)
{
	int server_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int client_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr *name = (struct sockaddr *)ret_name;

	begin("echo");
	*ret_name = (struct sockaddr_un){.sun_family = AF_UNIX};
	*ret_length = sizeof(*ret_name);
	assert_int_equal(bind(client_fd, name, sizeof(sa_family_t)), 0);
	assert_int_equal(bind(server_fd, name, sizeof(sa_family_t)), 0);
	assert_int_equal(getsockname(server_fd, name, ret_length), 0);
	lend(server_fd);
	return client_fd;
}

static void test_unix_client_with_a_name_is_answered(void **state)
{
	struct sockaddr_un name;
	socklen_t length;
	int fd = begin_unix(&name, &length);
	char got[8];

	(void)state;
	assert_int_equal(sendto(fd, "unix", 4, 0, (struct sockaddr *)&name, length), 4);
	talk_until_quiet();
	assert_int_equal(recv(fd, got, sizeof(got), 0), 4);
	close(fd);
	end();
}

/* By a client that does not read, whose queue takes net.unix.max_dgram_qlen. */
static void test_answer_that_is_not_taken_is_dropped(void **state)
{
	struct sockaddr_un name;
	socklen_t length;
	int fd = begin_unix(&name, &length);

	(void)state;
	while (service.datagrams.n_dropped == 0) {
		assert_int_equal(sendto(fd, "unix", 4, 0, (struct sockaddr *)&name, length), 4);
		talk_until_quiet();
	}
	talk_later(TALLY_MS);
	assert_non_null(strstr(stub.status, "0 ignored, 1 answers dropped"));
	assert_said("");
	close(fd);
	end();
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		check_test(test_echo_returns_the_same_bytes),
		check_test(test_answer_comes_from_the_address_that_was_asked),
		check_test(test_who_has_asked_before_is_answered),
		check_test(test_ipv4_by_an_ipv6_socket),
		check_test(test_broadcast_to_an_ipv6_socket_is_not_answered),
		check_test(test_ipv6),
		check_test(test_broadcast_is_not_answered),
		check_test(test_multicast_is_not_answered),
		check_test(test_two_of_ours_do_not_loop),
		check_test(test_discard_answers_nothing),
		check_test(test_daytime_is_one_line),
		check_test(test_time_is_four_bytes),
		check_test(test_chargen_is_one_datagram_of_random_length),
		check_test(test_turn_serves_sixty_four),
		check_test(test_answer_that_is_not_taken_is_dropped),
		check_test(test_sockets_that_are_lent_no_more_are_left_alone),
		check_test(test_socket_that_was_shut_down_is_left),
		check_test(test_errors_that_somebody_asked_for_are_taken_off),
		check_test(test_listening_socket_is_not_served_and_told),
		check_test(test_unix_client_with_a_name_is_answered),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
