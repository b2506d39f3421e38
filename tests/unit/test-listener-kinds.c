/* SPDX-License-Identifier: MIT */
/*
 * Listeners that are not plain TCP: datagrams, MPTCP, vsock, sockets in the file system, those of
 * one interface; and the socket options of all.
 */
#include "fd.h"
#include "listener.h"
#include "loop.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef SO_BUF_LOCK
#define SO_BUF_LOCK 72
#endif
#define NOBODY 65534

static const struct config_socket plain = {.backlog = 16, .mode = 0666};

static struct address address_of(const char *text)
{
	struct address *parsed, address;
	char why[256] = "";
	size_t n;

	if (address_parse(text, &parsed, &n, why, sizeof(why)) < 0)
		fail_msg("%s: %s", text, why);
	assert_int_equal(n, 1);
	address = *parsed;
	free(parsed);
	return address;
}

static int try_to_bind(const char *text, const struct config_socket *options)
{
	struct address address = address_of(text), bound;
	int fd = -EBADF, r = listener_bind(&address, options, false, &fd, &bound);

	assert_int_equal(fd >= 0, r == 0);
	close_fd(fd);
	return r;
}

static void accept_one(struct listener *l, void *userdata)
{
	struct wire_address peer;

	(void)listener_accept(l, userdata, &peer);
}

/* Bind and watch; *ret_accepted_fd (or NULL) becomes the connection that is accepted. */
static struct listener *begin(
	const char *text, const struct config_socket *options, int *ret_accepted_fd)
{
	struct address address = address_of(text), bound;
	struct listener *l;
	int fd;

	assert_int_equal(listener_bind(&address, options, false, &fd, &bound), 0);
	assert_int_equal(listener_new(&l, loop, &address, &bound, options, fd), 0);
	listener_set_owner(l, 0, accept_one, ret_accepted_fd);
	return l;
}

static int option_of(int fd, int level, int name)
{
	int value = -1;
	socklen_t size = sizeof(value);

	assert_int_equal(getsockopt(fd, level, name, &value, &size), 0);
	return value;
}

/* A client's socket of that protocol, connected to where `l` is bound. */
static int connect_to(const struct listener *l, int protocol)
{
	const struct address *bound = listener_bound(l);
	int fd = socket(bound->sockaddr.sa_family, bound->type | SOCK_CLOEXEC, protocol);

	assert_true(fd >= 0);
	assert_int_equal(connect(fd, &bound->sockaddr, bound->length), 0);
	return fd;
}

/* Datagrams. */

static void test_a_datagram_socket_is_bound_and_never_polled(void **state)
{
	static const char *const texts[] = {"udp:127.0.0.1:0", "unix-dgram:"};
	static const enum listener_state states[] = {
		LISTENER_OPEN, LISTENER_REFUSING, LISTENER_PAUSED};
	char text[ADDRESS_TEXT_MAX], byte;

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
		struct listener *l;
		_cleanup_close_ int fd = -EBADF;

		snprintf(text, sizeof(text), "%s%s", texts[i], i == 0 ? "" : in_folder("dgram"));
		l = begin(text, &plain, NULL);
		fd = connect_to(l, 0);
		for (size_t j = 0; j < sizeof(states) / sizeof(*states); j++) {
			assert_int_equal(listener_set_state(l, states[j]), 0);
			assert_int_equal(listener_state(l), LISTENER_PAUSED);
			assert_int_equal(send(fd, "x", 1, 0), 1);
			assert_int_equal(turn_while_ready(), 0);
			assert_int_equal(recv(listener_fd(l), &byte, 1, 0), 1);
		}
		assert_int_equal(listener_set_options(l, &plain), 0);
		listener_free(l);
	}
}

/* What is there before the rules would stay there. */
static void test_a_closed_socket_takes_nothing_before_its_filter(void **state)
{
	struct address address = address_of("udp:127.0.0.1:0"), bound;
	struct listener *l;
	_cleanup_close_ int fd = -EBADF;
	char byte;
	int bound_fd;

	(void)state;
	assert_int_equal(listener_bind(&address, &plain, true, &bound_fd, &bound), 0);
	assert_int_equal(listener_new(&l, loop, &address, &bound, &plain, bound_fd), 0);
	fd = connect_to(l, 0);
	assert_int_equal(send(fd, "x", 1, 0), 1);
	assert_int_equal(listener_set_filter(l, NULL, 0), 0);
	assert_int_equal(recv(listener_fd(l), &byte, 1, 0), -1);
	assert_int_equal(errno, EAGAIN);
	assert_int_equal(send(fd, "y", 1, 0), 1);
	assert_int_equal(recv(listener_fd(l), &byte, 1, 0), 1);
	assert_int_equal(byte, 'y');
	listener_free(l);
}

/* Also if the next call would say what became of a letter of who had it. */
static void test_emptying_a_datagram_socket(void **state)
{
	struct listener *l = begin("udp:127.0.0.1:0", &plain, NULL);
	struct sockaddr_in nobody = {.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
		.sin_port = htons(1)};
	const struct sockaddr none = {.sa_family = AF_UNSPEC};
	_cleanup_close_ int fd = connect_to(l, 0);
	char byte;

	(void)state;
	assert_int_equal(send(fd, "x", 1, 0), 1);
	assert_int_equal(connect(listener_fd(l), (struct sockaddr *)&nobody, sizeof(nobody)), 0);
	assert_int_equal(send(listener_fd(l), "y", 1, 0), 1);
	assert_int_equal(connect(listener_fd(l), &none, sizeof(none)), 0);
	assert_int_equal(listener_empty(l), 0);
	assert_int_equal(recv(listener_fd(l), &byte, 1, 0), -1);
	assert_int_equal(errno, EAGAIN);
	listener_free(l);
}

/* Two sockets with SO_REUSEADDR would take each other's datagrams, whoever they belong to. */
static void test_nobody_shares_a_datagram_port(void **state)
{
	struct listener *l = begin("udp:127.0.0.1:0", &plain, NULL);
	const struct address *bound = listener_bound(l);
	_cleanup_close_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	(void)state;
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int)), 0);
	assert_int_equal(bind(fd, &bound->sockaddr, bound->length), -1);
	assert_int_equal(errno, EADDRINUSE);
	listener_free(l);
}

static void test_a_datagram_wildcard_is_of_both_families(void **state)
{
	struct listener *l = begin("udp:0", &plain, NULL);
	struct sockaddr_in v4 = {.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
		.sin_port = htons((in_port_t)address_port(listener_bound(l)))};
	_cleanup_close_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	char byte;

	(void)state;
	assert_int_equal(sendto(fd, "x", 1, 0, (struct sockaddr *)&v4, sizeof(v4)), 1);
	assert_int_equal(recv(listener_fd(l), &byte, 1, 0), 1);
	listener_free(l);
}

static void test_broadcast_is_an_option_that_changes(void **state)
{
	static const struct config_socket broadcast = {.backlog = 16, .broadcast = true};
	struct listener *l = begin("udp:127.0.0.1:0", &broadcast, NULL);

	(void)state;
	assert_int_equal(option_of(listener_fd(l), SOL_SOCKET, SO_BROADCAST), 1);
	assert_int_equal(listener_set_options(l, &plain), 0);
	assert_int_equal(option_of(listener_fd(l), SOL_SOCKET, SO_BROADCAST), 0);
	listener_free(l);
}

static void test_a_datagram_socket_is_adopted_as_it_is(void **state)
{
	struct listener *l = begin("udp:127.0.0.1:0", &plain, NULL), *heir;
	struct inherited inherited = {.fd = fcntl(listener_fd(l), F_DUPFD_CLOEXEC, 0)};
	_cleanup_close_ int fd = connect_to(l, 0);
	char byte;

	(void)state;
	assert_int_equal(send(fd, "x", 1, 0), 1);
	assert_int_equal(listener_adopt(&heir, loop, listener_configured(l), listener_bound(l),
				 &plain, &inherited),
		0);
	assert_int_equal(recv(listener_fd(heir), &byte, 1, 0), 1);
	listener_free(heir);
	listener_free(l);
}

/* MPTCP and vsock. */

static bool has_mptcp(void)
{
	_cleanup_close_ int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_MPTCP);

	return fd >= 0;
}

static void test_mptcp_serves_both_and_can_refuse(void **state)
{
	static const struct {
		int client, accepted;
	} cases[] = {{IPPROTO_TCP, IPPROTO_TCP}, {IPPROTO_MPTCP, IPPROTO_MPTCP}};
	int accepted_fd = -EBADF;
	struct listener *l = begin("mptcp:127.0.0.1:0", &plain, &accepted_fd);

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		_cleanup_close_ int fd = -EBADF;

		assert_int_equal(listener_set_state(l, LISTENER_REFUSING), 0);
		fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		assert_int_equal(
			connect(fd, &listener_bound(l)->sockaddr, listener_bound(l)->length), -1);
		assert_int_equal(errno, ECONNREFUSED);
		assert_int_equal(listener_set_state(l, LISTENER_OPEN), 0);
		close_fd(fd);
		fd = connect_to(l, cases[i].client);
		assert_int_equal(listener_n_waiting(l), 1);
		turn_until(accepted_fd >= 0);
		assert_int_equal(
			option_of(accepted_fd, SOL_SOCKET, SO_PROTOCOL), cases[i].accepted);
		accepted_fd = close_fd(accepted_fd);
	}
	listener_free(l);
}

static bool has_vsock(void)
{
	_cleanup_close_ int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);

	return fd >= 0;
}

static void test_vsock_listens(void **state)
{
	struct listener *l = begin("vsock:70123", &plain, NULL);

	(void)state;
	assert_int_equal(option_of(listener_fd(l), SOL_SOCKET, SO_ACCEPTCONN), 1);
	assert_int_equal(listener_set_state(l, LISTENER_OPEN), 0);
	assert_int_equal(turn_while_ready(), 0);
	assert_int_equal(listener_set_options(l, &plain), 0);
	assert_int_equal(try_to_bind("vsock:70123", &plain), -EADDRINUSE);
	listener_free(l);
	assert_int_equal(try_to_bind("vsock:70123", &plain), 0);
}

/* Sockets in the file system. */

static void test_a_seqpacket_listener_accepts(void **state)
{
	int accepted_fd = -EBADF;
	_cleanup_close_ int fd = -EBADF;
	char text[ADDRESS_TEXT_MAX];
	struct listener *l;

	(void)state;
	snprintf(text, sizeof(text), "unix-seqpacket:%s", in_folder("packets"));
	l = begin(text, &plain, &accepted_fd);
	assert_int_equal(listener_set_state(l, LISTENER_OPEN), 0);
	fd = connect_to(l, 0);
	turn_until(accepted_fd >= 0);
	assert_int_equal(option_of(accepted_fd, SOL_SOCKET, SO_TYPE), SOCK_SEQPACKET);
	close_fd(accepted_fd);
	listener_free(l);
}

static mode_t mode_of(const char *path)
{
	struct stat st;

	assert_int_equal(lstat(path, &st), 0);
	return st.st_mode & 0777;
}

static void test_the_mode_is_as_configured_and_changes(void **state)
{
	static const struct config_socket narrow = {.backlog = 16, .mode = 0660};
	static const char *const kinds[] = {"unix", "unix-dgram", "unix-seqpacket"};
	char text[ADDRESS_TEXT_MAX];

	(void)state;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
		const char *path = in_folder("mode");
		struct listener *l;

		snprintf(text, sizeof(text), "%s:%s", kinds[i], path);
		l = begin(text, &narrow, NULL);
		assert_int_equal(mode_of(path), 0660);
		assert_int_equal(listener_set_options(l, &plain), 0);
		assert_int_equal(mode_of(path), 0666);
		listener_free(l);
		assert_int_equal(access(path, F_OK), -1);
	}
}

static void test_what_is_there_instead_keeps_its_mode(void **state)
{
	static const struct config_socket narrow = {.backlog = 16, .mode = 0600};
	const char *path = in_folder("replaced");
	char text[ADDRESS_TEXT_MAX];
	struct listener *l;

	(void)state;
	snprintf(text, sizeof(text), "unix:%s", path);
	l = begin(text, &plain, NULL);
	assert_int_equal(unlink(path), 0);
	close_fd(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
	assert_int_equal(chmod(path, 0644), 0);
	assert_int_equal(listener_set_options(l, &narrow), 0);
	assert_int_equal(mode_of(path), 0644);
	listener_free(l);
	assert_int_equal(unlink(path), 0);
}

/* Options. */

static void test_one_interface_only(void **state)
{
	struct listener *l = begin("tcp:%lo:0", &plain, NULL);
	struct address address;

	(void)state;
	assert_int_equal(address_read(listener_fd(l), &address), 0);
	assert_string_equal(address.interface, "lo");
	assert_int_equal(try_to_bind("tcp:%nosuch0:0", &plain), -ENODEV);
	assert_int_equal(try_to_bind("udp:%nosuch0:0", &plain), -ENODEV);
	listener_free(l);
}

static void test_a_connection_waits_for_data_as_long_as_configured(void **state)
{
	static const struct config_socket deferring = {.backlog = 16, .defer_accept_usec = 2500000};
	struct listener *l = begin("tcp:127.0.0.1:0", &deferring, NULL);

	(void)state; /* the kernel rounds up, to what its retransmissions make of it */
	assert_true(option_of(listener_fd(l), IPPROTO_TCP, TCP_DEFER_ACCEPT) >= 3);
	assert_int_equal(listener_set_options(l, &plain), 0);
	assert_int_equal(option_of(listener_fd(l), IPPROTO_TCP, TCP_DEFER_ACCEPT), 0);
	listener_free(l);
}

static void test_buffers_are_as_large_as_asked_for_and_grow_again(void **state)
{
	static const struct config_socket large = {
		.backlog = 16, .receive_buffer = 20000, .send_buffer = 30000};
	static const char *const texts[] = {"tcp:127.0.0.1:0", "udp:127.0.0.1:0"};

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
		struct listener *l = begin(texts[i], &plain, NULL);
		int fd = listener_fd(l), receive = option_of(fd, SOL_SOCKET, SO_RCVBUF);
		int send = option_of(fd, SOL_SOCKET, SO_SNDBUF);

		assert_int_equal(listener_set_options(l, &large), 0);
		assert_int_equal(option_of(fd, SOL_SOCKET, SO_RCVBUF), 2 * 20000);
		assert_int_equal(option_of(fd, SOL_SOCKET, SO_SNDBUF), 2 * 30000);
		assert_int_equal(listener_set_options(l, &plain), 0);
		assert_int_equal(option_of(fd, SOL_SOCKET, SO_RCVBUF), receive);
		assert_int_equal(option_of(fd, SOL_SOCKET, SO_SNDBUF), send);
		assert_int_equal(option_of(fd, SOL_SOCKET, SO_BUF_LOCK), 0);
		listener_free(l);
	}
}

/* Before listen(2), which is when the kernel decides on the scale of the window. */
static void test_buffers_are_set_when_it_is_bound(void **state)
{
	static const struct config_socket large = {.backlog = 16, .receive_buffer = 20000};
	struct listener *l = begin("tcp:127.0.0.1:0", &large, NULL);

	(void)state;
	assert_int_equal(option_of(listener_fd(l), SOL_SOCKET, SO_RCVBUF), 2 * 20000);
	listener_free(l);
}

static void test_a_buffer_that_is_cut_is_said(void **state)
{
	static const struct config_socket huge = {
		.backlog = 16, .nodelay = true, .send_buffer = UINT64_C(1) << 40};
	struct listener *l = begin("tcp:127.0.0.1:0", &huge, NULL);

	(void)state;
	assert_int_equal(listener_set_options(l, &huge), -ENOBUFS);
	assert_int_equal(option_of(listener_fd(l), IPPROTO_TCP, TCP_NODELAY), 1);
	listener_free(l);
}

static void test_transparent_is_set_where_root_listens(void **state)
{
	static const struct config_socket transparent = {.backlog = 16, .transparent = true};
	struct listener *v4 = begin("tcp:192.0.2.1:0", &transparent, NULL);
	struct listener *v6 = begin("udp:0", &transparent, NULL);

	(void)state;
	assert_int_equal(option_of(listener_fd(v4), IPPROTO_IP, IP_TRANSPARENT), 1);
	assert_int_equal(listener_set_options(v4, &plain), 0);
	assert_int_equal(option_of(listener_fd(v4), IPPROTO_IP, IP_TRANSPARENT), 0);
	assert_int_equal(listener_set_options(v4, &transparent), 0);
	listener_free(v4);
	listener_free(v6);
}

static void test_transparent_needs_a_right(void **state)
{
	static const struct config_socket transparent = {.backlog = 16, .transparent = true};
	pid_t child = fork();
	int status;

	(void)state;
	assert_true(child >= 0);
	if (child == 0)
		_exit(setresuid(NOBODY, NOBODY, NOBODY) == 0 &&
					try_to_bind("tcp:127.0.0.1:0", &transparent) == -EPERM &&
					try_to_bind("tcp:127.0.0.1:0", &plain) == 0
				? 0
				: 1);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_loop_test(test_a_datagram_socket_is_bound_and_never_polled),
		check_loop_test(test_a_closed_socket_takes_nothing_before_its_filter),
		check_loop_test(test_emptying_a_datagram_socket),
		check_loop_test(test_nobody_shares_a_datagram_port),
		check_loop_test(test_a_datagram_wildcard_is_of_both_families),
		check_loop_test(test_broadcast_is_an_option_that_changes),
		check_loop_test(test_a_datagram_socket_is_adopted_as_it_is),
		check_loop_test_if(has_mptcp(), test_mptcp_serves_both_and_can_refuse),
		check_loop_test_if(has_vsock(), test_vsock_listens),
		check_loop_test(test_a_seqpacket_listener_accepts),
		check_loop_test(test_the_mode_is_as_configured_and_changes),
		check_loop_test(test_what_is_there_instead_keeps_its_mode),
		check_loop_test(test_one_interface_only),
		check_loop_test(test_a_connection_waits_for_data_as_long_as_configured),
		check_loop_test(test_buffers_are_as_large_as_asked_for_and_grow_again),
		check_loop_test(test_buffers_are_set_when_it_is_bound),
		check_loop_test(test_a_buffer_that_is_cut_is_said),
		check_loop_test_if(test_is_root(), test_transparent_is_set_where_root_listens),
		check_loop_test_if(test_is_root(), test_transparent_needs_a_right),
	};

	return cmocka_run_group_tests_name("listener-kinds", tests, NULL, NULL);
}
