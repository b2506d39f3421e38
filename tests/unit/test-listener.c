/* SPDX-License-Identifier: MIT */
/*
 * Listening sockets: what is bound, what accepted connections inherit, and what clients meet in
 * each state.
 *
 * socket(2) and bind(2) are wrapped to be those of a machine without IPv6.
 */
#include "fd.h"
#include "listener.h"
#include "loop.h"
#include "manager.h"
#include "notify.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>

static int ipv6_socket_error, ipv6_bind_error;

int __real_socket(int family, int type, int protocol);
int __wrap_socket(int family, int type, int protocol);
int __real_bind(int fd, const struct sockaddr *address, socklen_t length);
int __wrap_bind(int fd, const struct sockaddr *address, socklen_t length);

int __wrap_socket(int family, int type, int protocol)
{
	if (family == AF_INET6 && ipv6_socket_error) {
		errno = ipv6_socket_error;
		return -1;
	}
	return __real_socket(family, type, protocol);
}

int __wrap_bind(int fd, const struct sockaddr *address, socklen_t length)
{
	if (address->sa_family == AF_INET6 && ipv6_bind_error) {
		errno = ipv6_bind_error;
		return -1;
	}
	return __real_bind(fd, address, length);
}

static const struct config_socket plain = {.backlog = 16, .mode = 0666};

/* A listener, and the connection it accepted last. */
struct scene {
	struct listener *listener;
	int fd; /* the listener's, to look at */
	int accepted_fd;
	int n_accepted;
	struct wire_address peer;
};

static void on_connections(struct listener *l, void *userdata)
{
	struct scene *s = userdata;
	struct wire_address peer;
	int fd;

	assert_ptr_equal(l, s->listener);
	if (listener_accept(l, &fd, &peer) < 0)
		return;
	close_fd(s->accepted_fd);
	s->accepted_fd = fd;
	s->peer = peer;
	s->n_accepted++;
}

static struct address address_of(const char *text)
{
	struct address *parsed, address;
	char why[256];
	size_t n;

	assert_int_equal(address_parse(text, &parsed, &n, why, sizeof(why)), 0);
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

/* Bind and watch, paused as a new listener is. */
static void begin(struct scene *s, const char *text, const struct config_socket *options)
{
	struct address address = address_of(text), bound;

	*s = (struct scene){.accepted_fd = -EBADF};
	assert_int_equal(listener_bind(&address, options, false, &s->fd, &bound), 0);
	assert_int_equal(listener_new(&s->listener, loop, &address, &bound, options, s->fd), 0);
	listener_set_owner(s->listener, 0, on_connections, s);
}

static void begin_open(struct scene *s, const char *text, const struct config_socket *options)
{
	begin(s, text, options);
	assert_int_equal(listener_set_state(s->listener, LISTENER_OPEN), 0);
}

static void end(struct scene *s)
{
	listener_free(s->listener);
	close_fd(s->accepted_fd);
}

static unsigned int port_of(const struct scene *s)
{
	return address_port(listener_bound(s->listener));
}

/* A connected socket, or a negative errno. */
static int connect_to(const char *host, unsigned int port)
{
	struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons((in_port_t)port)};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons((in_port_t)port)};
	bool is_v4 = inet_pton(AF_INET, host, &v4.sin_addr) == 1;
	_cleanup_close_ int fd = socket(is_v4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_true(is_v4 || inet_pton(AF_INET6, host, &v6.sin6_addr) == 1);
	if (connect(fd, is_v4 ? (struct sockaddr *)&v4 : (struct sockaddr *)&v6,
		    is_v4 ? sizeof(v4) : sizeof(v6)) < 0)
		return -errno;
	return take_fd(&fd);
}

/* A client connects and is accepted; its address must be of `family` and its own. */
static void check_serves(struct scene *s, const char *host, int family)
{
	_cleanup_close_ int fd = connect_to(host, port_of(s));
	struct sockaddr_storage own;
	socklen_t length = sizeof(own);
	struct wire_address expected;
	int n_before = s->n_accepted;

	assert_true(fd >= 0);
	turn_until(s->n_accepted > n_before);
	assert_int_equal(s->peer.family, family);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&own, &length), 0);
	wire_address_from_sockaddr(&expected, (struct sockaddr *)&own);
	assert_memory_equal(&s->peer, &expected, sizeof(expected));
}

static ino_t inode_of(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	return st.st_ino;
}

static int option_of(int fd, int level, int name)
{
	int value = -1;
	socklen_t size = sizeof(value);

	assert_int_equal(getsockopt(fd, level, name, &value, &size), 0);
	return value;
}

static unsigned int backlog_of(int fd)
{
	struct tcp_info info = {0};
	socklen_t size = sizeof(info);

	assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size), 0);
	return info.tcpi_sacked; /* of a listening socket: its backlog (tcp_get_info()) */
}

static void test_an_ipv4_address(void **state)
{
	struct scene s;

	(void)state;
	begin_open(&s, "tcp:127.0.0.1:0", &plain);
	check_serves(&s, "127.0.0.1", AF_INET);
	assert_int_equal(connect_to("::1", port_of(&s)), -ECONNREFUSED);
	end(&s);
}

static void test_an_ipv6_address(void **state)
{
	struct scene s;

	(void)state;
	begin_open(&s, "tcp:[::1]:0", &plain);
	check_serves(&s, "::1", AF_INET6);
	assert_int_equal(connect_to("127.0.0.1", port_of(&s)), -ECONNREFUSED);
	end(&s);
}

static void test_a_wildcard_serves_both_families(void **state)
{
	struct scene s;

	(void)state;
	begin_open(&s, "tcp:0", &plain);
	assert_true(listener_bound(s.listener)->is_wildcard);
	check_serves(&s, "127.0.0.1", AF_INET);
	check_serves(&s, "::1", AF_INET6);
	end(&s);
}

static void test_v6only_leaves_ipv4_to_others(void **state)
{
	static const struct config_socket v6only = {.backlog = 16, .v6only = true};
	static const char *const texts[] = {"tcp:0", "tcp:[::]:0"};
	struct scene s;

	(void)state;
	for (int i = 0; i < 2; i++) {
		begin_open(&s, texts[i], &v6only);
		check_serves(&s, "::1", AF_INET6);
		assert_int_equal(connect_to("127.0.0.1", port_of(&s)), -ECONNREFUSED);
		end(&s);
	}
}

static void test_the_whole_of_ipv6_takes_ipv4_too_unless_told(void **state)
{
	struct scene s;

	(void)state;
	begin_open(&s, "tcp:[::]:0", &plain);
	check_serves(&s, "127.0.0.1", AF_INET);
	end(&s);
}

static void check_without_ipv6(void)
{
	static const struct config_socket v6only = {.backlog = 16, .v6only = true};
	int error = ipv6_socket_error ? -ipv6_socket_error : -ipv6_bind_error;
	struct scene s;

	assert_int_equal(try_to_bind("tcp:[::1]:0", &plain), error);
	assert_int_equal(try_to_bind("tcp:[::]:0", &plain), error);
	assert_int_equal(try_to_bind("tcp:0", &v6only), error);

	begin_open(&s, "tcp:0", &plain);
	assert_int_equal(listener_bound(s.listener)->sockaddr.sa_family, AF_INET);
	assert_int_equal(listener_configured(s.listener)->sockaddr.sa_family, AF_INET6);
	check_serves(&s, "127.0.0.1", AF_INET);
	check_serves(&s, "127.0.0.2", AF_INET);
	end(&s);
}

static void test_a_wildcard_is_ipv4_where_there_are_no_ipv6_sockets(void **state)
{
	(void)state;
	ipv6_socket_error = EAFNOSUPPORT;
	check_without_ipv6();
	ipv6_socket_error = 0;
}

static void test_a_wildcard_is_ipv4_where_ipv6_has_no_addresses(void **state)
{
	(void)state;
	ipv6_bind_error = EADDRNOTAVAIL;
	check_without_ipv6();
	ipv6_bind_error = 0;
}

static void test_other_errors_of_ipv6_do_not_lead_to_ipv4(void **state)
{
	(void)state;
	ipv6_bind_error = EACCES;
	assert_int_equal(try_to_bind("tcp:0", &plain), -EACCES);
	ipv6_bind_error = 0;
	ipv6_socket_error = EMFILE;
	assert_int_equal(try_to_bind("tcp:0", &plain), -EMFILE);
	ipv6_socket_error = 0;
}

static void test_port_0_becomes_a_number_in_what_is_bound(void **state)
{
	struct scene s;

	(void)state;
	begin(&s, "tcp:127.0.0.1:0", &plain);
	assert_int_not_equal(port_of(&s), 0);
	assert_int_equal(address_port(listener_configured(s.listener)), 0);
	end(&s);
}

static void test_an_address_the_machine_does_not_have(void **state)
{
	static const struct config_socket freebind = {.backlog = 16, .freebind = true};

	(void)state;
	assert_int_equal(try_to_bind("tcp:192.0.2.99:0", &plain), -EADDRNOTAVAIL);
	assert_int_equal(try_to_bind("tcp:192.0.2.99:0", &freebind), 0);
	assert_int_equal(try_to_bind("tcp:[2001:db8::99]:0", &plain), -EADDRNOTAVAIL);
	assert_int_equal(try_to_bind("tcp:[2001:db8::99]:0", &freebind), 0);
}

/* Bind what the scene has bound once more. */
static int bind_again(const struct scene *s)
{
	struct address bound;
	int fd = -EBADF, r = listener_bind(listener_bound(s->listener), &plain, false, &fd, &bound);

	close_fd(fd);
	return r;
}

static void test_an_address_in_use(void **state)
{
	struct scene s;

	(void)state;
	begin(&s, "tcp:127.0.0.1:0", &plain);
	assert_int_equal(bind_again(&s), -EADDRINUSE);
	end(&s);
}

static void test_a_port_is_free_again_at_once(void **state)
{
	struct scene s;
	struct address address, bound;
	int client, fd = -EBADF;

	(void)state;
	begin_open(&s, "tcp:127.0.0.1:0", &plain);
	address = *listener_bound(s.listener);
	client = connect_to("127.0.0.1", port_of(&s));
	turn_until(s.n_accepted == 1);
	end(&s); /* our side closes first, and so is the one in TIME_WAIT */
	close_fd(client);
	assert_int_equal(listener_bind(&address, &plain, false, &fd, &bound), 0);
	close_fd(fd);
}

static void test_the_socket_does_not_block_and_is_closed_on_exec(void **state)
{
	struct scene s;

	(void)state;
	begin(&s, "tcp:127.0.0.1:0", &plain);
	assert_true(fcntl(s.fd, F_GETFL) & O_NONBLOCK);
	assert_true(fcntl(s.fd, F_GETFD) & FD_CLOEXEC);
	assert_int_equal(option_of(s.fd, SOL_SOCKET, SO_REUSEPORT), 0);
	end(&s);
}

static void check_accepted_has(struct scene *s, bool nodelay, bool keepalive)
{
	check_serves(s, "127.0.0.1", AF_INET);
	assert_int_equal(option_of(s->accepted_fd, IPPROTO_TCP, TCP_NODELAY) != 0, nodelay);
	assert_int_equal(option_of(s->accepted_fd, SOL_SOCKET, SO_KEEPALIVE) != 0, keepalive);
}

static void test_accepted_sockets_inherit_options(void **state)
{
	static const struct config_socket nodelay = {.backlog = 16, .nodelay = true};
	static const struct config_socket keepalive = {.backlog = 16, .keepalive = true};
	struct scene s;

	(void)state;
	begin_open(&s, "tcp:127.0.0.1:0", &plain);
	check_accepted_has(&s, false, false);
	end(&s);
	begin_open(&s, "tcp:127.0.0.1:0", &nodelay);
	check_accepted_has(&s, true, false);
	end(&s);
	begin_open(&s, "tcp:127.0.0.1:0", &keepalive);
	check_accepted_has(&s, false, true);
	end(&s);
}

static void test_options_and_backlog_change_while_it_is_open(void **state)
{
	static const struct config_socket other = {
		.backlog = 5, .nodelay = true, .keepalive = true};
	struct scene s;

	(void)state;
	begin_open(&s, "tcp:127.0.0.1:0", &plain);
	assert_int_equal(backlog_of(s.fd), 16);
	assert_int_equal(listener_set_options(s.listener, &other), 0);
	assert_int_equal(backlog_of(s.fd), 5);
	check_accepted_has(&s, true, true);
	assert_int_equal(listener_set_options(s.listener, &plain), 0);
	check_accepted_has(&s, false, false);
	end(&s);
}

static void test_options_changed_while_refusing_count_afterwards(void **state)
{
	static const struct config_socket other = {.backlog = 5, .nodelay = true};
	struct scene s;

	(void)state;
	begin(&s, "tcp:127.0.0.1:0", &plain);
	assert_int_equal(listener_set_state(s.listener, LISTENER_REFUSING), 0);
	assert_int_equal(listener_set_options(s.listener, &other), 0);
	assert_int_equal(connect_to("127.0.0.1", port_of(&s)), -ECONNREFUSED);
	assert_int_equal(listener_set_state(s.listener, LISTENER_OPEN), 0);
	assert_int_equal(backlog_of(s.fd), 5);
	check_accepted_has(&s, true, false);
	end(&s);
}

static void test_paused_clients_are_connected_and_wait(void **state)
{
	_cleanup_close_ int first = -EBADF, second = -EBADF;
	struct scene s;

	(void)state;
	begin(&s, "tcp:127.0.0.1:0", &plain);
	assert_int_equal(listener_state(s.listener), LISTENER_PAUSED);
	first = connect_to("127.0.0.1", port_of(&s));
	second = connect_to("127.0.0.1", port_of(&s));
	assert_true(first >= 0 && second >= 0);
	assert_int_equal(turn_while_ready(), 0);
	assert_int_equal(listener_set_state(s.listener, LISTENER_OPEN), 0);
	assert_int_equal(listener_state(s.listener), LISTENER_OPEN);
	turn_until(s.n_accepted == 2);
	end(&s);
}

static void test_a_listener_that_retries_says_so(void **state)
{
	struct scene s;

	(void)state;
	loop_hurry = 100;
	begin_open(&s, "tcp:127.0.0.1:0", &plain);
	listener_retry_later(s.listener);
	assert_int_equal(listener_state(s.listener), LISTENER_RETRYING);
	assert_int_equal(listener_set_state(s.listener, LISTENER_PAUSED), 0);
	assert_int_equal(listener_state(s.listener), LISTENER_PAUSED);
	assert_int_equal(listener_set_state(s.listener, LISTENER_OPEN), 0);
	check_serves(&s, "127.0.0.1", AF_INET);
	assert_int_equal(listener_state(s.listener), LISTENER_OPEN);
	end(&s);
}

/* A socket such as another program of the same user could have at the address: -errno or 0. */
static int squat(const struct address *address, bool reuse, bool listens)
{
	_cleanup_close_ int fd = socket(address->sockaddr.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){reuse}, sizeof(int)), 0);
	if (bind(fd, &address->sockaddr, address->length) < 0)
		return -errno;
	return listens && listen(fd, 1) < 0 ? -errno : 0;
}

static void check_refuses_and_keeps(const char *text, const char *host, int family)
{
	struct scene s;
	ino_t inode;

	begin_open(&s, text, &plain);
	inode = inode_of(s.fd);
	for (int i = 0; i < 3; i++) {
		check_serves(&s, host, family);
		assert_int_equal(listener_set_state(s.listener, LISTENER_REFUSING), 0);
		assert_int_equal(listener_state(s.listener), LISTENER_REFUSING);
		assert_int_equal(connect_to(host, port_of(&s)), -ECONNREFUSED);
		assert_int_equal(squat(listener_bound(s.listener), true, true), -EADDRINUSE);
		assert_int_equal(squat(listener_bound(s.listener), false, false), -EADDRINUSE);
		assert_int_equal(bind_again(&s), -EADDRINUSE);
		assert_int_equal(turn_while_ready(), 0);
		assert_int_equal(listener_set_state(s.listener, LISTENER_OPEN), 0);
	}
	check_serves(&s, host, family);
	assert_int_equal(inode_of(s.fd), inode);
	end(&s);
}

static void test_refusing_keeps_the_address_and_can_be_undone(void **state)
{
	(void)state;
	check_refuses_and_keeps("tcp:127.0.0.1:0", "127.0.0.1", AF_INET);
	check_refuses_and_keeps("tcp:[::1]:0", "::1", AF_INET6);
	check_refuses_and_keeps("tcp:0.0.0.0:0", "127.0.0.1", AF_INET);
	check_refuses_and_keeps("tcp:0", "127.0.0.1", AF_INET);
}

static void test_who_waits_when_refusing_begins_is_reset(void **state)
{
	_cleanup_close_ int fd = -EBADF;
	struct scene s;
	char byte;

	(void)state;
	begin(&s, "tcp:127.0.0.1:0", &plain);
	fd = connect_to("127.0.0.1", port_of(&s));
	assert_true(fd >= 0);
	assert_int_equal(listener_set_state(s.listener, LISTENER_REFUSING), 0);
	assert_int_equal(read(fd, &byte, 1), -1);
	assert_int_equal(errno, ECONNRESET);
	end(&s);
}

static void test_from_refusing_to_paused(void **state)
{
	_cleanup_close_ int fd = -EBADF;
	struct scene s;

	(void)state;
	begin(&s, "tcp:127.0.0.1:0", &plain);
	assert_int_equal(listener_set_state(s.listener, LISTENER_REFUSING), 0);
	assert_int_equal(listener_set_state(s.listener, LISTENER_PAUSED), 0);
	fd = connect_to("127.0.0.1", port_of(&s));
	assert_true(fd >= 0);
	assert_int_equal(turn_while_ready(), 0);
	end(&s);
}

static void test_a_unix_listener(void **state)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	const struct wire_address only_the_family = {.family = AF_UNIX};
	char text[ADDRESS_TEXT_MAX];
	struct scene s;
	struct stat st;

	(void)state;
	strcpy(address.sun_path, in_folder("listener"));
	snprintf(text, sizeof(text), "unix:%s", address.sun_path);
	begin_open(&s, text, &plain);
	assert_int_equal(lstat(address.sun_path, &st), 0);
	assert_int_equal(st.st_mode, S_IFSOCK | 0666);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	turn_until(s.n_accepted == 1);
	assert_memory_equal(&s.peer, &only_the_family, sizeof(s.peer));
	assert_int_equal(listener_set_options(s.listener, &plain), 0);
	assert_int_equal(try_to_bind(text, &plain), -EADDRINUSE);
	end(&s);
	assert_int_equal(lstat(address.sun_path, &st), -1);
	assert_int_equal(errno, ENOENT);
}

static void test_the_owner_changes(void **state)
{
	struct scene s, other;

	(void)state;
	begin_open(&s, "tcp:127.0.0.1:0", &plain);
	other = s;
	listener_set_owner(s.listener, 7, on_connections, &other);
	assert_int_equal(listener_index(s.listener), 7);
	check_serves(&other, "127.0.0.1", AF_INET);
	assert_int_equal(s.n_accepted, 0);
	end(&other);
}

static void test_what_cannot_be_watched_is_closed(void **state)
{
	struct address address = address_of("tcp:127.0.0.1:0");
	struct listener *listener = NULL;
	int fd = open(in_folder("file"), O_CREAT | O_RDWR | O_CLOEXEC, 0600);

	(void)state; /* epoll refuses regular files; check_loop_test() sees whether it was closed */
	assert_int_equal(listener_new(&listener, loop, &address, &address, &plain, fd), -EPERM);
	assert_null(listener);
}

/* What another usherd has left. */

static void test_an_adopted_socket_listens_again_if_it_was_refusing(void **state)
{
	_cleanup_close_ int client_fd = -EBADF;
	struct scene s, heir = {.accepted_fd = -EBADF};
	struct inherited inherited = {0};
	ino_t inode;

	(void)state;
	begin(&s, "tcp:127.0.0.1:0", &plain);
	assert_int_equal(listener_set_state(s.listener, LISTENER_REFUSING), 0);
	inode = inode_of(s.fd);
	inherited.fd = fcntl(s.fd, F_DUPFD_CLOEXEC, 0);
	assert_int_equal(listener_adopt(&heir.listener, loop, listener_configured(s.listener),
				 listener_bound(s.listener), &plain, &inherited),
		0);
	assert_int_equal(listener_state(heir.listener), LISTENER_PAUSED);
	assert_int_equal(inode_of(listener_fd(heir.listener)), inode);
	client_fd = connect_to("127.0.0.1", port_of(&heir));
	assert_true(client_fd >= 0);
	listener_set_owner(heir.listener, 0, on_connections, &heir);
	assert_int_equal(listener_set_state(heir.listener, LISTENER_OPEN), 0);
	turn_until(heir.n_accepted == 1);
	end(&heir);
	end(&s);
}

static void test_an_adopted_socket_has_the_options_of_now(void **state)
{
	const struct config_socket others = {.backlog = 5};
	struct inherited inherited = {0};
	struct listener *heir;
	struct scene s;

	(void)state;
	begin(&s, "tcp:127.0.0.1:0", &plain);
	inherited.fd = fcntl(s.fd, F_DUPFD_CLOEXEC, 0);
	assert_int_equal(listener_adopt(&heir, loop, listener_configured(s.listener),
				 listener_bound(s.listener), &others, &inherited),
		0);
	assert_int_equal(backlog_of(listener_fd(heir)), 5);
	listener_free(heir);
	end(&s);
}

static void test_a_socket_of_a_unit_stays_one_where_nothing_is_stored(void **state)
{
	struct inherited inherited = {.number = FDSTORE_OF_UNIT};
	struct listener *heir;
	struct scene s;

	(void)state;
	begin(&s, "tcp:127.0.0.1:0", &plain);
	inherited.fd = fcntl(s.fd, F_DUPFD_CLOEXEC, 0);
	assert_int_equal(listener_adopt(&heir, loop, listener_configured(s.listener),
				 listener_bound(s.listener), &plain, &inherited),
		0);
	listener_store(heir, "one");
	assert_int_equal(listener_store_number(heir), FDSTORE_OF_UNIT);
	listener_free(heir);
	end(&s);
}

static void test_what_is_adopted_and_no_listener_is_refused(void **state)
{
	struct address address = address_of("tcp:127.0.0.1:0");
	struct inherited inherited = {0};
	struct listener *l;
	int fds[2];

	(void)state;
	test_socketpair(fds);
	inherited.fd = fds[0];
	assert_true(listener_adopt(&l, loop, &address, &address, &plain, &inherited) < 0);
	close_fd(fds[1]); /* the other one is closed */
}

/* The service manager. */

static void test_a_stored_socket_has_the_name_of_its_service_until_it_is_closed(void **state)
{
	struct manager manager;
	int fd, again_fd;
	struct scene s;

	(void)state;
	manager_start(&manager);
	begin(&s, "tcp:127.0.0.1:0", &plain);
	assert_int_equal(listener_store_number(s.listener), 0);
	listener_store(s.listener, "one");
	listener_store(s.listener, "one");
	assert_non_null(strstr(manager_next_with_fd(&manager, &fd), "FDNAME=listener.1.one"));
	assert_int_equal(inode_of(fd), inode_of(s.fd));
	assert_int_equal(listener_store_number(s.listener), 1);

	/* A socket can't have two names. */
	listener_store(s.listener, "two");
	assert_string_equal(manager_next(&manager), "FDSTOREREMOVE=1\nFDNAME=listener.1.one");
	assert_non_null(strstr(manager_next_with_fd(&manager, &again_fd), "FDNAME=listener.2.two"));
	close_fd(fd);
	close_fd(again_fd);
	end(&s);
	assert_string_equal(manager_next(&manager), "FDSTOREREMOVE=1\nFDNAME=listener.2.two");
	assert_true(notify_stop(TEST_SECONDS * UINT64_C(1000000)));
	manager_end(&manager);
}

/* The manager closes its copy only when it has read that it should. */
static void test_a_closed_listener_is_closed_for_clients_at_once(void **state)
{
	_cleanup_close_ int manager_fd = -EBADF, client_fd = -EBADF;
	unsigned int port;
	struct scene s;
	char byte;

	(void)state;
	begin(&s, "tcp:127.0.0.1:0", &plain);
	port = port_of(&s);
	manager_fd = fcntl(s.fd, F_DUPFD_CLOEXEC, 0);
	client_fd = connect_to("127.0.0.1", port);
	assert_true(client_fd >= 0);
	end(&s);
	assert_int_equal(read(client_fd, &byte, 1), -1);
	assert_int_equal(errno, ECONNRESET);
	assert_int_equal(connect_to("127.0.0.1", port), -ECONNREFUSED);
}

static void test_the_port_of_a_closed_listener_is_free_at_once(void **state)
{
	_cleanup_close_ int manager_fd = -EBADF;
	char text[ADDRESS_TEXT_MAX];
	struct scene s;

	(void)state;
	begin(&s, "tcp:127.0.0.1:0", &plain);
	(void)address_format(listener_bound(s.listener), text);
	manager_fd = fcntl(s.fd, F_DUPFD_CLOEXEC, 0);
	assert_int_equal(listener_set_state(s.listener, LISTENER_REFUSING), 0);
	end(&s);
	assert_int_equal(try_to_bind(text, &plain), 0);
}

/* The last test: freezing is for good. */
static void test_a_socket_that_the_manager_keeps_goes_on_living(void **state)
{
	_cleanup_close_ int manager_fd = -EBADF, client_fd = -EBADF;
	char text[ADDRESS_TEXT_MAX];
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct manager manager;
	struct scene s;

	(void)state;
	manager_start(&manager);
	strcpy(address.sun_path, in_folder("listener"));
	snprintf(text, sizeof(text), "unix:%s", address.sun_path);
	begin(&s, text, &plain);
	listener_store(s.listener, "one");
	(void)manager_next_with_fd(&manager, &manager_fd);
	fdstore_freeze();
	end(&s);
	client_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(client_fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(recv(client_fd, text, 1, MSG_DONTWAIT), -1);
	assert_int_equal(errno, EAGAIN);
	assert_true(notify_stop(TEST_SECONDS * UINT64_C(1000000)));
	manager_end(&manager);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_loop_test(test_an_ipv4_address),
		check_loop_test(test_an_ipv6_address),
		check_loop_test(test_a_wildcard_serves_both_families),
		check_loop_test(test_v6only_leaves_ipv4_to_others),
		check_loop_test(test_the_whole_of_ipv6_takes_ipv4_too_unless_told),
		check_loop_test(test_a_wildcard_is_ipv4_where_there_are_no_ipv6_sockets),
		check_loop_test(test_a_wildcard_is_ipv4_where_ipv6_has_no_addresses),
		check_loop_test(test_other_errors_of_ipv6_do_not_lead_to_ipv4),
		check_loop_test(test_port_0_becomes_a_number_in_what_is_bound),
		check_loop_test(test_an_address_the_machine_does_not_have),
		check_loop_test(test_an_address_in_use),
		check_loop_test(test_a_port_is_free_again_at_once),
		check_loop_test(test_the_socket_does_not_block_and_is_closed_on_exec),
		check_loop_test(test_accepted_sockets_inherit_options),
		check_loop_test(test_options_and_backlog_change_while_it_is_open),
		check_loop_test(test_options_changed_while_refusing_count_afterwards),
		check_loop_test(test_paused_clients_are_connected_and_wait),
		check_loop_test(test_a_listener_that_retries_says_so),
		check_loop_test(test_refusing_keeps_the_address_and_can_be_undone),
		check_loop_test(test_who_waits_when_refusing_begins_is_reset),
		check_loop_test(test_from_refusing_to_paused),
		check_loop_test(test_a_unix_listener),
		check_loop_test(test_the_owner_changes),
		check_loop_test(test_what_cannot_be_watched_is_closed),
		check_loop_test(test_an_adopted_socket_listens_again_if_it_was_refusing),
		check_loop_test(test_an_adopted_socket_has_the_options_of_now),
		check_loop_test(test_a_socket_of_a_unit_stays_one_where_nothing_is_stored),
		check_loop_test(test_what_is_adopted_and_no_listener_is_refused),
		check_loop_test(
			test_a_stored_socket_has_the_name_of_its_service_until_it_is_closed),
		check_loop_test(test_a_closed_listener_is_closed_for_clients_at_once),
		check_loop_test(test_the_port_of_a_closed_listener_is_free_at_once),
		check_loop_test(test_a_socket_that_the_manager_keeps_goes_on_living),
	};

	return cmocka_run_group_tests_name("listener", tests, NULL, NULL);
}
