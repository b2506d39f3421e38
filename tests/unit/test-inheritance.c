/* SPDX-License-Identifier: MIT */
/* Sockets that an earlier usherd has left: who gets which, and what becomes of the others. */
#include "address.h"
#include "fd.h"
#include "inheritance.h"
#include "manager.h"
#include "notify.h"
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <syslog.h>
#include <unistd.h>

#define LONG_ENOUGH_USEC (30 * UINT64_C(1000000))

static char last_logged[512];

void __wrap_log_write(int priority, const void *about, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
void __wrap_log_write(int priority, const void *about, const char *format, ...)
{
	va_list arguments;

	(void)about;
	assert_int_equal(priority, LOG_WARNING);
	va_start(arguments, format);
	vsnprintf(last_logged, sizeof(last_logged), format, arguments);
	va_end(arguments);
}

static struct inheritance *make(void)
{
	struct inheritance *inheritance;

	assert_int_equal(inheritance_new(&inheritance), 0);
	return inheritance;
}

static void add(struct inheritance *inheritance, enum fdstore_kind kind, const char *service,
	uint32_t number, int fd)
{
	assert_int_equal(inheritance_add(inheritance, kind, service, number, fd), 0);
}

static struct address parse(const char *text)
{
	struct address *addresses, address;
	char why[256];
	size_t n;

	assert_int_equal(address_parse(text, &addresses, &n, why, sizeof(why)), 0);
	assert_int_equal(n, 1);
	address = addresses[0];
	free(addresses);
	return address;
}

static struct address parse_port(const char *host, unsigned int port)
{
	char text[ADDRESS_TEXT_MAX];

	snprintf(text, sizeof(text), "%s%u", host, port);
	return parse(text);
}

/* Bind and listen as listener.c does. Returns the socket, or a negative errno. */
static int try_listen(const struct address *address, bool is_v6only)
{
	static const int yes = 1;
	const int v6only = is_v6only;
	_cleanup_close_ int fd = socket(
		address->sockaddr.sa_family, address->type | SOCK_CLOEXEC, address->protocol);

	assert_true(fd >= 0);
	if (address->type == SOCK_STREAM)
		assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes)), 0);
	if (address->interface[0] != '\0')
		assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, address->interface,
					 (socklen_t)strlen(address->interface)),
			0);
	if (address->sockaddr.sa_family == AF_INET6)
		assert_int_equal(
			setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6only, sizeof(v6only)), 0);
	if (bind(fd, &address->sockaddr, address->length) < 0 ||
		(address->type != SOCK_DGRAM && listen(fd, 5) < 0))
		return -errno;
	return take_fd(&fd);
}

static int listen_on(const struct address *address, bool is_v6only)
{
	int fd = try_listen(address, is_v6only);

	assert_true(fd >= 0);
	return fd;
}

/* A listening socket on 127.0.0.1, and its address as somebody would write it with its port. */
static int listen_on_loopback(struct address *ret)
{
	struct address any = parse("tcp:127.0.0.1:0");
	int fd = listen_on(&any, false);

	*ret = any;
	assert_int_equal(getsockname(fd, &ret->sockaddr, &ret->length), 0);
	return fd;
}

static bool takes_listener(
	struct inheritance *inheritance, const char *service, const struct address *address)
{
	struct inherited inherited;
	struct address bound;

	if (!inheritance_take_listener(inheritance, service, address, false, &inherited, &bound))
		return false;
	close_fd(inherited.fd);
	return true;
}

/* The same port, and nobody gets another's. */
static void test_each_kind_is_found_as_what_it_is(void **state)
{
	static const char *const kinds[] = {"tcp:127.0.0.1:", "udp:127.0.0.1:", "udp:%lo:"};
	unsigned int ports[] = {test_free_port(), 0, 0};
	struct inheritance *inheritance = make();

	(void)state;
	ports[1] = ports[0]; /* other protocols have other ports */
	ports[2] = test_free_port();
	for (uint32_t i = 0; i < 3; i++) {
		struct address address = parse_port(kinds[i], ports[i]);

		add(inheritance, FDSTORE_LISTENER, "x", i + 1, listen_on(&address, false));
	}
	for (size_t i = 3; i-- > 0;) {
		struct address address = parse_port(kinds[i], ports[i]);

		assert_true(takes_listener(inheritance, "x", &address));
		assert_false(takes_listener(inheritance, "x", &address));
	}
	inheritance_free(inheritance);
}

static void test_another_interface_or_protocol_is_another_socket(void **state)
{
	static const struct {
		const char *left, *wanted;
	} cases[] = {{"tcp:%lo:", "tcp:"}, {"tcp:", "tcp:%lo:"}, {"tcp:", "mptcp:"}};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		unsigned int port = test_free_port();
		struct address left = parse_port(cases[i].left, port);
		struct address wanted = parse_port(cases[i].wanted, port);
		struct inheritance *inheritance = make();
		int fd;

		add(inheritance, FDSTORE_LISTENER, "x", 1, listen_on(&left, false));
		assert_false(takes_listener(inheritance, "x", &wanted));
		fd = try_listen(&wanted, false); /* it was made way for */
		assert_true(fd >= 0 || fd == -EPROTONOSUPPORT);
		close_fd(fd);
		inheritance_free(inheritance);
	}
}

static void test_a_path_makes_way_for_another_type(void **state)
{
	char path[] = "/tmp/usher-test-inheritance-path-XXXXXX", text[ADDRESS_TEXT_MAX];
	struct inheritance *inheritance = make();
	struct address left, wanted;

	(void)state;
	assert_non_null(mkdtemp(path));
	assert_int_equal(rmdir(path), 0);
	snprintf(text, sizeof(text), "unix:%s", path);
	left = parse(text);
	snprintf(text, sizeof(text), "unix-dgram:%s", path);
	wanted = parse(text);
	add(inheritance, FDSTORE_LISTENER, "x", 1, listen_on(&left, false));
	assert_false(takes_listener(inheritance, "x", &wanted));
	assert_int_equal(access(path, F_OK), -1);
	inheritance_free(inheritance);
}

static void test_listener_is_found_by_its_address_and_once(void **state)
{
	struct inheritance *inheritance = make();
	struct address one, other, bound;
	int one_fd = listen_on_loopback(&one), other_fd = listen_on_loopback(&other);
	struct inherited inherited;

	(void)state;
	assert_int_equal(fcntl(other_fd, F_SETFD, 0), 0);
	add(inheritance, FDSTORE_LISTENER, "old", 7, one_fd);
	add(inheritance, FDSTORE_LISTENER, "old", 8, other_fd);
	assert_true(
		inheritance_take_listener(inheritance, "new", &other, false, &inherited, &bound));
	assert_int_equal(inherited.fd, other_fd);
	assert_int_equal(inherited.number, 8);
	assert_string_equal(inherited.service, "old");
	assert_true(address_equal(&bound, &other));
	assert_int_equal(fcntl(other_fd, F_GETFD), FD_CLOEXEC);
	assert_false(fcntl(other_fd, F_GETFL) & O_NONBLOCK); /* who borrows it may want it so */
	assert_false(takes_listener(inheritance, "old", &other));
	assert_true(takes_listener(inheritance, "old", &one));
	close_fd(other_fd);
	inheritance_free(inheritance);
}

static void test_unnumbered_listener_is_its_services_own(void **state)
{
	struct inheritance *inheritance = make();
	struct address unnumbered = parse("tcp:127.0.0.1:0"), elsewhere = parse("tcp:127.0.0.2:0");
	struct address numbered, bound;
	int fd = listen_on_loopback(&numbered);
	struct inherited inherited;

	(void)state;
	add(inheritance, FDSTORE_LISTENER, "one", 1, fd);
	assert_false(takes_listener(inheritance, "other", &unnumbered));
	assert_false(takes_listener(inheritance, "one", &elsewhere));
	assert_true(inheritance_take_listener(
		inheritance, "one", &unnumbered, false, &inherited, &bound));
	assert_true(address_equal(&bound, &numbered));
	assert_false(takes_listener(inheritance, "one", &unnumbered));
	close_fd(fd);
	inheritance_free(inheritance);
}

static void test_wildcard_is_found_with_the_same_v6only(void **state)
{
	struct address wildcard = parse_port("tcp:", test_free_port());
	struct inheritance *inheritance = make();
	struct inherited inherited;
	struct address bound;
	int fd = listen_on(&wildcard, false);

	(void)state;
	add(inheritance, FDSTORE_LISTENER, "one", 1, dup(fd));
	assert_false(
		inheritance_take_listener(inheritance, "one", &wildcard, true, &inherited, &bound));
	assert_true(inheritance_take_listener(
		inheritance, "one", &wildcard, false, &inherited, &bound));
	assert_true(bound.is_wildcard);
	assert_true(address_equal(&bound, &wildcard));
	close_fd(inherited.fd);
	close_fd(fd);
	inheritance_free(inheritance);
}

static void test_wildcard_that_was_bound_without_ipv6_is_found(void **state)
{
	unsigned int port = test_free_port();
	struct address wildcard = parse_port("tcp:", port);
	struct address v4 = parse_port("tcp:0.0.0.0:", port), bound;
	struct inheritance *inheritance = make();
	struct inherited inherited;

	(void)state;
	add(inheritance, FDSTORE_LISTENER, "one", 1, listen_on(&v4, false));
	assert_true(inheritance_take_listener(
		inheritance, "one", &wildcard, false, &inherited, &bound));
	assert_true(bound.is_wildcard);
	assert_int_equal(bound.sockaddr.sa_family, AF_INET);
	close_fd(inherited.fd);
	inheritance_free(inheritance);
}

/* Somebody wants to bind `wanted` now, while the manager has a copy of what is bound to `left`. */
static void check_way(const struct address *left, const struct address *wanted, bool is_v6only)
{
	struct inheritance *inheritance = make();
	struct inherited unused;
	struct address unused_bound;
	int fd = listen_on(left, false), managers_fd = dup(fd), new_fd;

	add(inheritance, FDSTORE_LISTENER, "one", 1, fd);
	assert_int_equal(try_listen(wanted, is_v6only), -EADDRINUSE);
	assert_false(inheritance_take_listener(
		inheritance, "one", wanted, is_v6only, &unused, &unused_bound));
	new_fd = listen_on(wanted, is_v6only);
	inheritance_free(inheritance);
	close_fd(new_fd);
	close_fd(managers_fd);
}

static void test_what_is_in_the_way_gives_way(void **state)
{
	unsigned int port = test_free_port();
	struct address all = parse_port("tcp:", port);
	struct address one = parse_port("tcp:127.0.0.1:", port);
	struct address v4 = parse_port("tcp:0.0.0.0:", port);
	struct address v6 = parse_port("tcp:[::1]:", port);

	(void)state;
	check_way(&all, &one, false);
	check_way(&one, &all, false);
	check_way(&all, &v4, false);
	check_way(&all, &v6, false);
	check_way(&v4, &one, false);
	check_way(&all, &all, true); /* v6only was changed */
}

static void test_what_refused_clients_gives_way_too(void **state)
{
	static const int no = 0;
	unsigned int port = test_free_port();
	struct address all = parse_port("tcp:", port), one = parse_port("tcp:127.0.0.1:", port);
	struct inheritance *inheritance = make();
	int fd = listen_on(&all, false), managers_fd = dup(fd);

	(void)state;
	assert_int_equal(shutdown(fd, SHUT_RD), 0); /* as listener.c refuses */
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &no, sizeof(no)), 0);
	add(inheritance, FDSTORE_LISTENER, "one", 1, fd);
	assert_int_equal(try_listen(&one, false), -EADDRINUSE);
	assert_false(takes_listener(inheritance, "one", &one));
	close_fd(listen_on(&one, false));
	inheritance_free(inheritance);
	close_fd(managers_fd);
}

static void test_what_is_in_nobodys_way_goes_on_listening(void **state)
{
	unsigned int port = test_free_port();
	struct address one = parse_port("tcp:127.0.0.1:", port);
	struct address other = parse_port("tcp:127.0.0.2:", port), elsewhere;
	struct inheritance *inheritance = make();
	int elsewhere_fd = listen_on_loopback(&elsewhere);

	(void)state;
	add(inheritance, FDSTORE_LISTENER, "one", 1, listen_on(&one, false));
	add(inheritance, FDSTORE_LISTENER, "one", 2, elsewhere_fd);
	assert_false(takes_listener(inheritance, "one", &other));
	assert_int_equal(try_listen(&one, false), -EADDRINUSE);
	assert_int_equal(try_listen(&elsewhere, false), -EADDRINUSE);
	assert_true(takes_listener(inheritance, "one", &one));
	inheritance_free(inheritance);
}

/* A folder, and the address of a socket in it. */
struct place {
	char folder[64];
	char path[96];
	struct address address;
};

static void place_make(struct place *place)
{
	strcpy(place->folder, "/tmp/usher-test-inheritance-XXXXXX");
	assert_non_null(mkdtemp(place->folder));
	snprintf(place->path, sizeof(place->path), "%s/one.sock", place->folder);
	place->address =
		(struct address){.type = SOCK_STREAM, .length = sizeof(struct sockaddr_un)};
	place->address.sockaddr.sa_family = AF_UNIX;
	strcpy(((struct sockaddr_un *)&place->address.storage)->sun_path, place->path);
}

static void place_end(struct place *place)
{
	unlink(place->path);
	assert_int_equal(rmdir(place->folder), 0);
}

static bool is_there(const char *path)
{
	return access(path, F_OK) == 0;
}

static void test_unix_listener_is_found_while_its_file_is_there(void **state)
{
	struct inheritance *inheritance = make();
	struct place place;

	(void)state;
	place_make(&place);
	add(inheritance, FDSTORE_LISTENER, "one", 1, listen_on(&place.address, false));
	assert_true(takes_listener(inheritance, "one", &place.address));
	inheritance_free(inheritance);
	assert_true(is_there(place.path));
	place_end(&place);
}

static void test_unix_listener_without_its_file_is_not_found(void **state)
{
	struct inheritance *inheritance = make();
	struct place place;
	int new_fd;

	(void)state;
	place_make(&place);
	add(inheritance, FDSTORE_LISTENER, "one", 1, listen_on(&place.address, false));
	unlink(place.path);
	assert_false(takes_listener(inheritance, "one", &place.address));
	new_fd = listen_on(&place.address, false);
	assert_false(takes_listener(inheritance, "one", &place.address));
	inheritance_free(inheritance);
	assert_true(is_there(place.path)); /* it is another's now */
	close_fd(new_fd);
	place_end(&place);
}

static bool takes_rendezvous(struct inheritance *inheritance, const char *service, const char *path)
{
	struct inherited inherited;

	if (!inheritance_take_rendezvous(inheritance, service, path, &inherited))
		return false;
	close_fd(inherited.fd);
	return true;
}

static void test_rendezvous_is_found_by_service_and_path(void **state)
{
	struct inheritance *inheritance = make();
	struct place place;

	(void)state;
	place_make(&place);
	add(inheritance, FDSTORE_RENDEZVOUS, "one", 3, listen_on(&place.address, false));
	assert_false(takes_rendezvous(inheritance, "other", place.path));
	assert_false(takes_rendezvous(inheritance, "one", "/somewhere/else.sock"));
	assert_true(inheritance_has_rendezvous(inheritance, "one"));
	assert_false(inheritance_has_rendezvous(inheritance, "other"));
	assert_true(takes_rendezvous(inheritance, "one", place.path));
	assert_false(inheritance_has_rendezvous(inheritance, "one"));
	assert_false(takes_rendezvous(inheritance, "one", place.path));
	inheritance_free(inheritance);
	place_end(&place);
}

static void test_rendezvous_becomes_non_blocking(void **state)
{
	struct inheritance *inheritance = make();
	struct place place;
	int fd;

	(void)state;
	place_make(&place);
	fd = listen_on(&place.address, false);
	add(inheritance, FDSTORE_RENDEZVOUS, "one", 3, fd);
	assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
	inheritance_free(inheritance);
	place_end(&place);
}

/* A program that was lent it may go on, and would read an end without end. */
static void test_datagrams_that_nobody_took_are_not_shut_down(void **state)
{
	struct inheritance *inheritance = make();
	struct address address = parse("udp:127.0.0.1:0");
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	_cleanup_close_ int lent_fd = dup(fd);
	struct pollfd hung_up = {.fd = lent_fd, .events = POLLRDHUP};

	(void)state;
	assert_int_equal(bind(fd, &address.sockaddr, address.length), 0);
	add(inheritance, FDSTORE_LISTENER, "one", 4, fd);
	inheritance_free(inheritance);
	assert_int_equal(poll(&hung_up, 1, 0), 0);
}

static void test_rendezvous_without_its_file_is_not_found(void **state)
{
	struct inheritance *inheritance = make();
	struct place place;

	(void)state;
	place_make(&place);
	add(inheritance, FDSTORE_RENDEZVOUS, "one", 3, listen_on(&place.address, false));
	unlink(place.path);
	assert_false(takes_rendezvous(inheritance, "one", place.path));
	inheritance_free(inheritance);
	place_end(&place);
}

static void test_parking_lots_come_oldest_first(void **state)
{
	static const uint32_t numbers[] = {12, 5, 1000, 7};
	struct inheritance *inheritance = make();
	struct inherited inherited;
	uint32_t last = 0;

	(void)state;
	for (size_t i = 0; i < 4; i++)
		add(inheritance, FDSTORE_PARKING, "one", numbers[i], dup(STDIN_FILENO));
	assert_false(inheritance_take_parking(inheritance, "late", &inherited));
	add(inheritance, FDSTORE_PARKING, "late", 1, dup(STDIN_FILENO));
	assert_true(inheritance_take_parking(inheritance, "late", &inherited));
	close_fd(inherited.fd);
	for (size_t i = 0; i < 4; i++) {
		assert_true(inheritance_take_parking(inheritance, "one", &inherited));
		assert_true(inherited.number > last);
		last = inherited.number;
		close_fd(inherited.fd);
	}
	assert_false(inheritance_take_parking(inheritance, "one", &inherited));
	inheritance_free(inheritance);
}

static void test_nothing_is_had_of_no_inheritance(void **state)
{
	struct address address = parse("tcp:127.0.0.1:7"), unused;
	struct inherited inherited;

	(void)state;
	assert_false(inheritance_take_listener(NULL, "one", &address, false, &inherited, &unused));
	assert_false(inheritance_take_rendezvous(NULL, "one", "/x", &inherited));
	assert_false(inheritance_take_parking(NULL, "one", &inherited));
	assert_false(inheritance_has_rendezvous(NULL, "one"));
	assert_null(inheritance_free(NULL));
}

static void test_what_nobody_took_is_over_for_clients_too(void **state)
{
	struct inheritance *inheritance = make();
	struct address address;
	struct manager manager;
	struct place place;
	int fd = listen_on_loopback(&address), managers_fd = dup(fd);
	_cleanup_close_ int client = socket(AF_INET, SOCK_STREAM, 0);

	(void)state;
	manager_start(&manager);
	place_make(&place);
	add(inheritance, FDSTORE_LISTENER, "one", 4, fd);
	add(inheritance, FDSTORE_RENDEZVOUS, "one", 5, listen_on(&place.address, false));
	assert_null(inheritance_free(inheritance));
	assert_string_equal(manager_next(&manager), "FDSTOREREMOVE=1\nFDNAME=listener.4.one");
	assert_string_equal(manager_next(&manager), "FDSTOREREMOVE=1\nFDNAME=rendezvous.5.one");
	assert_int_equal(connect(client, &address.sockaddr, address.length), -1);
	assert_int_equal(errno, ECONNREFUSED);
	assert_false(is_there(place.path));
	close_fd(managers_fd);
	place_end(&place);
	assert_true(notify_stop(LONG_ENOUGH_USEC));
	manager_end(&manager);
}

static void test_many_are_found_quickly(void **state)
{
	enum { N = 20000 };
	struct inheritance *inheritance = make();
	struct inherited inherited;
	char service[32];

	(void)state;
	for (unsigned int i = 0; i < N; i++) { /* a descriptor that is none: it is all the same */
		snprintf(service, sizeof(service), "service-%u", i * 7919 % N);
		add(inheritance, FDSTORE_PARKING, service, i + 1, -EBADF);
	}
	for (unsigned int i = 0; i < N; i++) {
		snprintf(service, sizeof(service), "service-%u", i);
		assert_false(inheritance_take_parking(inheritance, service, &inherited));
	}
	inheritance_free(inheritance);
}

/* What the service manager would do: from descriptor 3 on. What is there is put aside. */
struct passed {
	int aside[4];
	size_t n;
};

static void pass(struct passed *passed, const int *fds, size_t n, const char *names)
{
	char text[32];

	passed->n = n;
	for (size_t i = 0; i < n; i++) {
		passed->aside[i] = fcntl(3 + (int)i, F_DUPFD_CLOEXEC, 64);
		assert_int_equal(dup2(fds[i], 3 + (int)i), 3 + (int)i);
	}
	snprintf(text, sizeof(text), "%d", getpid());
	setenv("LISTEN_PID", text, 1);
	snprintf(text, sizeof(text), "%zu", n);
	setenv("LISTEN_FDS", text, 1);
	setenv("LISTEN_FDNAMES", names, 1);
}

static void put_back(struct passed *passed)
{
	for (size_t i = 0; i < passed->n; i++)
		if (passed->aside[i] >= 0) {
			assert_true(dup2(passed->aside[i], 3 + (int)i) >= 0);
			close_fd(passed->aside[i]);
		}
}

static void test_manager_passes_by_name(void **state)
{
	struct inheritance *inheritance;
	struct inherited inherited;
	struct passed passed;
	int fds[2], high_fds[3];
	char byte;

	(void)state;
	test_socketpair(fds);
	for (int i = 0; i < 2; i++)
		high_fds[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 32);
	close_fd(fds[0]);
	close_fd(fds[1]);
	high_fds[2] = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 32);
	pass(&passed, (int[]){high_fds[0], high_fds[2]}, 2, "parking.9.one:usher.socket");
	close_fd(high_fds[0]);
	close_fd(high_fds[2]);

	last_logged[0] = '\0';
	assert_int_equal(inheritance_from_manager(&inheritance), 0);
	assert_non_null(strstr(last_logged, "'usher.socket'"));
	assert_int_equal(fcntl(4, F_GETFD), -1);
	assert_null(getenv("LISTEN_FDS"));
	assert_null(getenv("LISTEN_FDNAMES"));
	assert_true(inheritance_take_parking(inheritance, "one", &inherited));
	assert_int_equal(inherited.fd, 3);
	assert_int_equal(inherited.number, 9);
	assert_int_equal(write(3, "!", 1), 1);
	assert_int_equal(read(high_fds[1], &byte, 1), 1);
	inheritance_free(inheritance);
	close_fd(inherited.fd);
	close_fd(high_fds[1]);
	put_back(&passed);
}

/* The same descriptor out of the way of those that are passed. */
static int lift(int fd)
{
	int lifted_fd = fcntl(fd, F_DUPFD_CLOEXEC, 64);

	close_fd(fd);
	assert_true(lifted_fd >= 0);
	return lifted_fd;
}

/* Pass copies of these under those names; put_back() in the end. */
static struct inheritance *inherit(
	struct passed *passed, const int *fds, size_t n, const char *names)
{
	struct inheritance *inheritance;

	pass(passed, fds, n, names);
	last_logged[0] = '\0';
	assert_int_equal(inheritance_from_manager(&inheritance), 0);
	return inheritance;
}

static bool is_listening(int fd)
{
	int value = 0;
	socklen_t size = sizeof(value);

	assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &value, &size), 0);
	return value;
}

static void test_listener_of_a_unit_is_found_by_its_address(void **state)
{
	struct address address, datagrams = parse("udp:127.0.0.1:0"), bound;
	int fd = lift(listen_on_loopback(&address));
	int datagram_fd = lift(listen_on(&datagrams, false));
	struct inheritance *inheritance;
	struct inherited inherited;
	struct passed passed;

	(void)state;
	assert_int_equal(getsockname(datagram_fd, &datagrams.sockaddr, &datagrams.length), 0);
	inheritance = inherit(&passed, (int[]){fd, datagram_fd}, 2, "usherd.socket:early");
	assert_true(
		inheritance_take_listener(inheritance, "one", &address, false, &inherited, &bound));
	assert_int_equal(inherited.number, FDSTORE_OF_UNIT);
	assert_string_equal(inherited.service, "");
	close_fd(inherited.fd);
	assert_true(takes_listener(inheritance, "one", &datagrams));
	inheritance_free(inheritance);
	put_back(&passed);
	assert_string_equal(last_logged, "");
	assert_true(is_listening(fd));
	close_fd(fd);
	close_fd(datagram_fd);
}

static void test_listener_of_a_unit_that_nobody_takes_is_named(void **state)
{
	struct address address;
	struct passed passed;
	char text[ADDRESS_TEXT_MAX];
	int fd = lift(listen_on_loopback(&address));

	(void)state;
	inheritance_free(inherit(&passed, &fd, 1, "usherd.socket"));
	put_back(&passed);
	assert_non_null(strstr(last_logged, address_format(&address, text)));
	assert_false(is_listening(fd));
	close_fd(fd);
}

/* As after a restart: the unit has it, and so has the store. */
static void test_listener_of_a_unit_that_is_stored_is_one(void **state)
{
	struct address address, bound;
	int fd = lift(listen_on_loopback(&address));
	struct inheritance *inheritance;
	struct inherited inherited;
	struct passed passed;

	(void)state;
	for (int is_stored_first = 0; is_stored_first < 2; is_stored_first++) {
		inheritance = inherit(&passed, (int[]){fd, fd}, 2,
			is_stored_first ? "listener.3.one:usherd.socket"
					: "usherd.socket:listener.3.one");
		assert_true(inheritance_take_listener(
			inheritance, "one", &address, false, &inherited, &bound));
		assert_int_equal(inherited.number, 3);
		assert_false(takes_listener(inheritance, "one", &address));
		close_fd(inherited.fd);
		inheritance_free(inheritance);
		put_back(&passed);
		assert_string_equal(last_logged, "");
		assert_true(is_listening(fd));
	}
	close_fd(fd);
}

static void test_clients_of_a_unit_are_no_listeners(void **state)
{
	_cleanup_close_ int client_fd = lift(socket(AF_INET, SOCK_STREAM, 0));
	struct address address;
	int listening_fd = lift(listen_on_loopback(&address)), fd;
	struct passed passed;

	(void)state;
	assert_int_equal(connect(client_fd, &address.sockaddr, address.length), 0);
	fd = lift(accept4(listening_fd, NULL, NULL, SOCK_CLOEXEC));
	close_fd(listening_fd);
	inheritance_free(inherit(&passed, &fd, 1, "connection"));
	put_back(&passed);
	assert_non_null(strstr(last_logged, "'connection'"));
	close_fd(fd);
}

static void test_numbers_of_what_is_passed_are_not_given_again(void **state)
{
	struct inheritance *inheritance = make();
	struct manager manager;
	int fd;

	(void)state;
	add(inheritance, FDSTORE_PARKING, "one", 5000000, -EBADF);
	inheritance_free(inheritance);
	manager_start(&manager);
	assert_int_equal(fdstore_add(FDSTORE_PARKING, "one", STDIN_FILENO), 5000001);
	(void)manager_next_with_fd(&manager, &fd);
	close_fd(fd);
	assert_true(notify_stop(LONG_ENOUGH_USEC));
	manager_end(&manager);
}

static void test_manager_passes_nothing(void **state)
{
	struct inheritance *inheritance;
	struct inherited inherited;

	(void)state;
	last_logged[0] = '\0';
	assert_int_equal(inheritance_from_manager(&inheritance), 0);
	assert_false(inheritance_take_parking(inheritance, "one", &inherited));
	assert_string_equal(last_logged, "");
	inheritance_free(inheritance);
}

static void test_nonsense_of_the_manager_is_logged_and_ignored(void **state)
{
	struct inheritance *inheritance;
	struct passed passed;

	(void)state;
	pass(&passed, NULL, 0, "");
	setenv("LISTEN_FDS", "many", 1);
	last_logged[0] = '\0';
	assert_int_equal(inheritance_from_manager(&inheritance), 0);
	assert_non_null(strstr(last_logged, "service manager"));
	inheritance_free(inheritance);
}

/* The last test: there is no way back from fdstore_freeze(). */
static void test_frozen_store_keeps_what_nobody_took(void **state)
{
	struct inheritance *inheritance = make();
	struct address address;
	struct place place;
	int fd = listen_on_loopback(&address), managers_fd = dup(fd);
	_cleanup_close_ int client = socket(AF_INET, SOCK_STREAM, 0);

	(void)state;
	place_make(&place);
	add(inheritance, FDSTORE_LISTENER, "one", 4, fd);
	add(inheritance, FDSTORE_RENDEZVOUS, "one", 5, listen_on(&place.address, false));
	fdstore_freeze();
	inheritance_free(inheritance);
	assert_int_equal(connect(client, &address.sockaddr, address.length), 0);
	assert_true(is_there(place.path));
	close_fd(managers_fd);
	place_end(&place);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_test(test_each_kind_is_found_as_what_it_is),
		check_test(test_another_interface_or_protocol_is_another_socket),
		check_test(test_a_path_makes_way_for_another_type),
		check_test(test_listener_is_found_by_its_address_and_once),
		check_test(test_unnumbered_listener_is_its_services_own),
		check_test(test_wildcard_is_found_with_the_same_v6only),
		check_test(test_wildcard_that_was_bound_without_ipv6_is_found),
		check_test(test_what_is_in_the_way_gives_way),
		check_test(test_what_refused_clients_gives_way_too),
		check_test(test_what_is_in_nobodys_way_goes_on_listening),
		check_test(test_unix_listener_is_found_while_its_file_is_there),
		check_test(test_unix_listener_without_its_file_is_not_found),
		check_test(test_rendezvous_is_found_by_service_and_path),
		check_test(test_rendezvous_becomes_non_blocking),
		check_test(test_datagrams_that_nobody_took_are_not_shut_down),
		check_test(test_rendezvous_without_its_file_is_not_found),
		check_test(test_parking_lots_come_oldest_first),
		check_test(test_nothing_is_had_of_no_inheritance),
		check_test(test_what_nobody_took_is_over_for_clients_too),
		check_test(test_many_are_found_quickly),
		check_test(test_manager_passes_by_name),
		check_test(test_listener_of_a_unit_is_found_by_its_address),
		check_test(test_listener_of_a_unit_that_nobody_takes_is_named),
		check_test(test_listener_of_a_unit_that_is_stored_is_one),
		check_test(test_clients_of_a_unit_are_no_listeners),
		check_test(test_numbers_of_what_is_passed_are_not_given_again),
		check_test(test_manager_passes_nothing),
		check_test(test_nonsense_of_the_manager_is_logged_and_ignored),
		check_test(test_frozen_store_keeps_what_nobody_took),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
