/* SPDX-License-Identifier: MIT */
/*
 * Addresses: what is understood, every refusal by its sentence, texts that come back the same, and
 * the comparisons, of which conflicts are also put to the kernel.
 */
#include "address.h"
#include "fd.h"
#include "test.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#define N_ELEMENTS(array) (sizeof(array) / sizeof((array)[0]))

/* The only address of a text. */
static struct address parse(const char *text)
{
	struct address *addresses = NULL, address;
	char why[512] = "";
	size_t n = 0;

	if (address_parse(text, &addresses, &n, why, sizeof(why)) != 0)
		fail_msg("%s: %s", text, why);
	assert_int_equal(n, 1);
	address = addresses[0];
	free(addresses);
	return address;
}

static void test_texts_are_understood(void **state)
{
	static const struct {
		const char *text, *formatted;
		int family;
		unsigned int port;
		bool is_wildcard;
		int type, protocol; /* 0: SOCK_STREAM */
		const char *interface;
	} cases[] = {
		{"tcp:80", "tcp:80", AF_INET6, 80, true},
		{"tcp:0", "tcp:0", AF_INET6, 0, true},
		{"tcp:65535", "tcp:65535", AF_INET6, 65535, true},
		{"tcp:echo", "tcp:7", AF_INET6, 7, true},
		{"tcp:http", "tcp:80", AF_INET6, 80, true},
		{"tcp:z3950", "tcp:210", AF_INET6, 210, true},
		{"tcp:iso-tsap", "tcp:102", AF_INET6, 102, true},
		{"tcp:127.0.0.1:80", "tcp:127.0.0.1:80", AF_INET, 80, false},
		{"tcp:0.0.0.0:http", "tcp:0.0.0.0:80", AF_INET, 80, false},
		{"tcp:[::1]:80", "tcp:[::1]:80", AF_INET6, 80, false},
		{"tcp:[::]:80", "tcp:[::]:80", AF_INET6, 80, false},
		{"tcp:[2001:DB8:0::1]:80", "tcp:[2001:db8::1]:80", AF_INET6, 80, false},
		{"unix:/run/x.sock", "unix:/run/x.sock", AF_UNIX, 0, false},
		{"unix:/a:b", "unix:/a:b", AF_UNIX, 0, false},
		{"udp:53", "udp:53", AF_INET6, 53, true, SOCK_DGRAM},
		{"udp:tftp", "udp:69", AF_INET6, 69, true, SOCK_DGRAM},
		{"udp:127.0.0.1:tftp", "udp:127.0.0.1:69", AF_INET, 69, false, SOCK_DGRAM},
		{"udp:[::1]:0", "udp:[::1]:0", AF_INET6, 0, false, SOCK_DGRAM},
		{"mptcp:http", "mptcp:80", AF_INET6, 80, true, SOCK_STREAM, IPPROTO_MPTCP},
		{"mptcp:[::1]:80", "mptcp:[::1]:80", AF_INET6, 80, false, SOCK_STREAM,
			IPPROTO_MPTCP},
		{"tcp:%nosuch0:http", "tcp:%nosuch0:80", AF_INET6, 80, true, SOCK_STREAM, 0,
			"nosuch0"},
		{"udp:%lo:53", "udp:%lo:53", AF_INET6, 53, true, SOCK_DGRAM, 0, "lo"},
		{"mptcp:%abcdefghijklmno:53", "mptcp:%abcdefghijklmno:53", AF_INET6, 53, true,
			SOCK_STREAM, IPPROTO_MPTCP, "abcdefghijklmno"},
		{"unix-dgram:/a", "unix-dgram:/a", AF_UNIX, 0, false, SOCK_DGRAM},
		{"unix-seqpacket:/a", "unix-seqpacket:/a", AF_UNIX, 0, false, SOCK_SEQPACKET},
		{"vsock:80", "vsock:80", AF_VSOCK, 80, false},
		{"vsock:3:70000", "vsock:3:70000", AF_VSOCK, 70000, false},
		{"vsock:4294967294:4294967294", "vsock:4294967294:4294967294", AF_VSOCK, 4294967294,
			false},
	};

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
		struct address address = parse(cases[i].text);
		char text[ADDRESS_TEXT_MAX];

		assert_string_equal(address_format(&address, text), cases[i].formatted);
		assert_int_equal(address.type, cases[i].type ? cases[i].type : SOCK_STREAM);
		assert_int_equal(address.protocol, cases[i].protocol);
		assert_string_equal(
			address.interface, cases[i].interface ? cases[i].interface : "");
		assert_int_equal(address.sockaddr.sa_family, cases[i].family);
		assert_int_equal(address_port(&address), cases[i].port);
		assert_int_equal(address.is_wildcard, cases[i].is_wildcard);
	}
}

static void test_formatted_texts_come_back_equal(void **state)
{
	static const char *const texts[] = {"tcp:80", "tcp:1.2.3.4:80", "tcp:[2001:db8::1]:1",
		"tcp:[::]:80", "tcp:[fe80::1%lo]:80", "tcp:[fe80::1%4711]:80", "unix:/run/x",
		"udp:80", "udp:1.2.3.4:80", "mptcp:[::1]:80", "tcp:%eth0:80", "udp:%eth0:80",
		"unix-dgram:/x", "unix-seqpacket:/x", "vsock:1", "vsock:2:3"};

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(texts); i++) {
		struct address first = parse(texts[i]), second;
		char text[ADDRESS_TEXT_MAX];

		second = parse(address_format(&first, text));
		assert_true(address_equal(&first, &second));
		assert_int_equal(first.length, second.length);
		assert_memory_equal(&first.storage, &second.storage, first.length);
	}
}

static void test_scope_is_the_number_of_the_interface(void **state)
{
	struct address address = parse("tcp:[fe80::1%lo]:80");
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&address.storage;

	(void)state;
	assert_int_equal(in6->sin6_scope_id, if_nametoindex("lo"));
}

static void test_range_is_one_address_for_each_port(void **state)
{
	struct address *addresses = NULL;
	char why[512];
	size_t n = 0;

	(void)state;
	assert_int_equal(
		address_parse("tcp:127.0.0.1:8000-9023", &addresses, &n, why, sizeof(why)), 0);
	assert_int_equal(n, ADDRESS_MAX_RANGE);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(address_port(&addresses[i]), 8000 + i);
	free(addresses);
}

static void test_range_of_one_port(void **state)
{
	struct address address = parse("tcp:[::1]:8000-8000");

	(void)state;
	assert_int_equal(address_port(&address), 8000);
}

static void test_longest_path_fits(void **state)
{
	char text[5 + 107 + 1] = "unix:/", formatted[ADDRESS_TEXT_MAX];
	struct address address;

	(void)state;
	memset(text + 6, 'x', 106);
	address = parse(text);
	assert_int_equal(address.length, sizeof(struct sockaddr_un));
	assert_string_equal(address_format(&address, formatted), text);
}

#define PATH_OF_36 "/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static void test_every_refusal_says_why(void **state)
{
	static const struct {
		const char *text, *why;
	} cases[] = {
		{"", "unknown protocol in '', expected tcp:, udp:, mptcp:, unix:, "
		     "unix-dgram:, unix-seqpacket: or vsock:"},
		{"sctp:53", "unknown protocol in 'sctp:53', expected tcp:, udp:, mptcp:, unix:, "
			    "unix-dgram:, unix-seqpacket: or vsock:"},
		{"TCP:80", "unknown protocol in 'TCP:80', expected tcp:, udp:, mptcp:, unix:, "
			   "unix-dgram:, unix-seqpacket: or vsock:"},
		{"unixx:/a", "unknown protocol in 'unixx:/a', expected tcp:, udp:, mptcp:, unix:, "
			     "unix-dgram:, unix-seqpacket: or vsock:"},
		{"tcp", "unknown protocol in 'tcp', expected tcp:, udp:, mptcp:, unix:, "
			"unix-dgram:, unix-seqpacket: or vsock:"},
		{"udp:", "the port is missing, expected udp:PORT or udp:ADDRESS:PORT"},
		{"udp:http", "unknown service name 'http', expected an udp name of services(5), a "
			     "number, or a range as in 8000-8010"},
		{"udp:::1:80", "an IPv6 address without brackets, expected udp:[ADDRESS]:PORT"},
		{"mptcp:[::1]", "no port after ']', expected mptcp:[ADDRESS]:PORT"},
		{"tcp:%eth0", "no port after the interface, expected tcp:%INTERFACE:PORT"},
		{"udp:%:80",
			"bad interface '', expected a name of ip-link(8) as in udp:%eth0:PORT"},
		{"tcp:%abcdefghijklmnop:80", "bad interface 'abcdefghijklmnop', expected a name of "
					     "ip-link(8) as in tcp:%eth0:PORT"},
		{"tcp:%a/b:80",
			"bad interface 'a/b', expected a name of ip-link(8) as in tcp:%eth0:PORT"},
		{"tcp:%eth0:", "the port is missing, expected tcp:PORT or tcp:ADDRESS:PORT"},
		{"tcp:%eth0:1.2.3.4:80", "unknown service name '1.2.3.4:80', expected a tcp name "
					 "of services(5), a number, or a range as in 8000-8010"},
		{"unix-dgram:x", "the path 'x' is not absolute, expected unix-dgram:/PATH"},
		{"vsock:", "bad port '', expected a number from 1 to 4294967294"},
		{"vsock:0", "bad port '0', expected a number from 1 to 4294967294"},
		{"vsock:1:4294967295",
			"bad port '4294967295', expected a number from 1 to 4294967294"},
		{"vsock:1:2:3", "bad port '2:3', expected a number from 1 to 4294967294"},
		{"vsock:-1:2", "bad context '-1', expected a number from 0 to 4294967294"},
		{"vsock:4294967295:2",
			"bad context '4294967295', expected a number from 0 to 4294967294"},
		{"vsock::2", "bad context '', expected a number from 0 to 4294967294"},
		{"vsock:99999999999999999999999:2", "bad context '99999999999999999999999', "
						    "expected a number from 0 to 4294967294"},
		{"tcp:", "the port is missing, expected tcp:PORT or tcp:ADDRESS:PORT"},
		{"tcp:127.0.0.1:", "the port is missing, expected tcp:PORT or tcp:ADDRESS:PORT"},
		{"tcp:[::1]:", "the port is missing, expected tcp:PORT or tcp:ADDRESS:PORT"},
		{"tcp:65536", "port 65536 is out of range, expected 0 to 65535"},
		{"tcp:99999999999999999999999",
			"port 99999999999999999999999 is out of range, expected 0 to 65535"},
		{"tcp:80-65536", "port 65536 is out of range, expected 0 to 65535"},
		{"tcp:65536-80", "port 65536 is out of range, expected 0 to 65535"},
		{"tcp:nosuch", "unknown service name 'nosuch', expected a tcp name of services(5), "
			       "a number, or a range as in 8000-8010"},
		{"tcp:80-", "unknown service name '80-', expected a tcp name of services(5), a "
			    "number, or a range as in 8000-8010"},
		{"tcp:[::1]:80x", "unknown service name '80x', expected a tcp name of services(5), "
				  "a number, or a range as in 8000-8010"},
		{"tcp:+80", "unknown service name '+80', expected a tcp name of services(5), a "
			    "number, or a range as in 8000-8010"},
		{"tcp:tftp", "unknown service name 'tftp', expected a tcp name of services(5), a "
			     "number, or a range as in 8000-8010"},
		{"tcp:0-9", "port range 0-9 begins with 0, expected 1 or more"},
		{"tcp:90-80", "port range 90-80 runs backwards, expected the smaller number first"},
		{"tcp:1000-2024", "port range 1000-2024 has 1025 ports, expected at most 1024"},
		{"tcp:localhost:80", "bad IPv4 address 'localhost', expected four numbers as in "
				     "192.0.2.1"},
		{"tcp:1.2.3:80", "bad IPv4 address '1.2.3', expected four numbers as in 192.0.2.1"},
		{"tcp::80", "bad IPv4 address '', expected four numbers as in 192.0.2.1"},
		{"tcp:::1:80", "an IPv6 address without brackets, expected tcp:[ADDRESS]:PORT"},
		{"tcp:[::1", "missing ']', expected tcp:[ADDRESS]:PORT"},
		{"tcp:[::1]", "no port after ']', expected tcp:[ADDRESS]:PORT"},
		{"tcp:[::1]x:80", "no port after ']', expected tcp:[ADDRESS]:PORT"},
		{"tcp:[1.2.3.4]:80",
			"bad IPv6 address '1.2.3.4', expected one as in [2001:db8::1]"},
		{"tcp:[]:80", "bad IPv6 address '', expected one as in [2001:db8::1]"},
		{"tcp:[::ffff:1.2.3.4]:80",
			"'::ffff:1.2.3.4' is an IPv4 address, expected it written as one"},
		{"tcp:[fe80::1]:80", "a link-local address needs its interface, expected one as in "
				     "[fe80::1%eth0]"},
		{"tcp:[::1%lo]:80", "only link-local addresses have an interface, expected nothing "
				    "after the address instead of '%lo'"},
		{"tcp:[fe80::1%nosuch]:80",
			"unknown interface 'nosuch', expected a name or number of ip-link(8)"},
		{"tcp:[fe80::1%]:80",
			"unknown interface '', expected a name or number of ip-link(8)"},
		{"tcp:[fe80::1%0]:80",
			"unknown interface '0', expected a name or number of ip-link(8)"},
		{"tcp:[fe80::1%99999999999]:80",
			"unknown interface '99999999999', expected a name or number of ip-link(8)"},
		{"unix:", "the path '' is not absolute, expected unix:/PATH"},
		{"unix:x.sock", "the path 'x.sock' is not absolute, expected unix:/PATH"},
		{"unix:/run/", "the path '/run/' is a folder, expected the name of a socket"},
		{"unix:" PATH_OF_36 PATH_OF_36 PATH_OF_36,
			"the path has 108 bytes, expected at most 107 (unix(7))"},
	};

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
		struct address *addresses = NULL;
		char why[512] = "";
		size_t n = 4711;

		assert_int_equal(
			address_parse(cases[i].text, &addresses, &n, why, sizeof(why)), -EINVAL);
		assert_string_equal(why, cases[i].why);
		assert_null(addresses);
		assert_int_equal(n, 4711);
	}
}

static void test_long_refusal_is_cut(void **state)
{
	struct address *addresses;
	char why[8];
	size_t n;

	(void)state;
	assert_int_equal(address_parse("sctp:53", &addresses, &n, why, sizeof(why)), -EINVAL);
	assert_string_equal(why, "unknown");
}

static void test_who_can_refuse_clients(void **state)
{
	static const struct {
		const char *text;
		bool can_refuse;
	} cases[] = {{"tcp:80", true}, {"mptcp:80", true}, {"udp:80", true}, {"unix:/a", false},
		{"unix-seqpacket:/a", false}, {"unix-dgram:/a", true}, {"vsock:80", false}};

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
		struct address address = parse(cases[i].text);

		assert_int_equal(address_can_refuse(&address), cases[i].can_refuse);
	}
}

static void test_host_of_a_peer(void **state)
{
	struct sockaddr_in6 mapped = {.sin6_family = AF_INET6};
	struct address ipv4 = parse("tcp:192.0.2.1:5"), ipv6 = parse("tcp:[2001:db8::1]:5");
	struct address local = parse("tcp:[fe80::1%4711]:5"), path = parse("unix:/x");
	struct address vsock = parse("vsock:3:5");
	struct sockaddr unknown = {.sa_family = AF_UNSPEC};
	char text[ADDRESS_TEXT_MAX];

	(void)state;
	assert_int_equal(inet_pton(AF_INET6, "::ffff:192.0.2.7", &mapped.sin6_addr), 1);
	assert_string_equal(address_format_host(&ipv4.sockaddr, text), "192.0.2.1");
	assert_string_equal(address_format_host(&ipv6.sockaddr, text), "2001:db8::1");
	assert_string_equal(address_format_host(&local.sockaddr, text), "fe80::1%4711");
	assert_string_equal(
		address_format_host((struct sockaddr *)(void *)&mapped, text), "192.0.2.7");
	assert_string_equal(address_format_host(&path.sockaddr, text), "unix");
	assert_string_equal(address_format_host(&vsock.sockaddr, text), "vsock:3");
	assert_string_equal(address_format_host(&unknown, text), "unknown");
}

static void test_equal_is_the_same_address_only(void **state)
{
	static const char *const texts[] = {"tcp:80", "tcp:81", "tcp:[::]:80", "tcp:0.0.0.0:80",
		"tcp:127.0.0.1:80", "tcp:127.0.0.2:80", "tcp:[::1]:80", "tcp:[fe80::1%1]:80",
		"tcp:[fe80::1%2]:80", "unix:/a", "unix:/b", "tcp:0", "udp:80", "mptcp:80",
		"tcp:%eth0:80", "tcp:%eth1:80", "udp:%eth0:80", "unix-dgram:/a",
		"unix-seqpacket:/a", "vsock:80", "vsock:1:80", "vsock:2:80", "vsock:81"};

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(texts); i++) {
		for (size_t j = 0; j < N_ELEMENTS(texts); j++) {
			struct address a = parse(texts[i]), b = parse(texts[j]);

			assert_int_equal(address_equal(&a, &b), i == j);
			assert_int_equal(address_compare(&a, &b), -address_compare(&b, &a));
		}
	}
}

static void test_whole_families_come_first_on_their_port(void **state)
{
	static const char *const sorted[] = {"unix:/a", "unix-dgram:/a", "unix-seqpacket:/a",
		"unix:/b", "tcp:0.0.0.0:80", "tcp:[::]:80", "tcp:80", "mptcp:80", "tcp:%eth0:80",
		"tcp:%eth1:80", "tcp:1.2.3.4:80", "tcp:127.0.0.1:80", "tcp:[::1]:80",
		"tcp:0.0.0.0:81", "udp:0.0.0.0:80", "vsock:1:79", "vsock:80", "vsock:0:80"};

	(void)state;
	for (size_t i = 1; i < N_ELEMENTS(sorted); i++) {
		struct address a = parse(sorted[i - 1]), b = parse(sorted[i]);
		struct address first = address_first_of_port(&b);

		assert_true(address_compare(&a, &b) < 0);
		assert_true(address_compare(&first, &b) <= 0);
		if (!address_shares_port(&a, &b))
			assert_true(address_compare(&a, &first) < 0);
	}
}

static void test_who_takes_a_whole_family(void **state)
{
	static const struct {
		const char *text;
		bool ipv4, ipv6, ipv4_v6only, ipv6_v6only;
	} cases[] = {
		{"tcp:80", true, true, false, true},
		{"tcp:[::]:80", true, true, false, true},
		{"tcp:0.0.0.0:80", true, false, true, false},
		{"tcp:127.0.0.1:80", false, false, false, false},
		{"tcp:[::1]:80", false, false, false, false},
		{"unix:/a", false, false, false, false},
	};

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
		struct address address = parse(cases[i].text);

		assert_int_equal(address_takes_family(&address, false, AF_INET), cases[i].ipv4);
		assert_int_equal(address_takes_family(&address, false, AF_INET6), cases[i].ipv6);
		assert_int_equal(
			address_takes_family(&address, true, AF_INET), cases[i].ipv4_v6only);
		assert_int_equal(
			address_takes_family(&address, true, AF_INET6), cases[i].ipv6_v6only);
	}
}

/* An address of the matrix of conflicts, with the service's v6only. */
struct member {
	const char *before_port;
	bool v6only;
};

/* MPTCP has the ports of TCP. "lo" is the one interface that is everywhere. */
static const struct member stream_members[] = {
	{"tcp:", false},
	{"tcp:", true},
	{"tcp:[::]:", false},
	{"tcp:[::]:", true},
	{"tcp:0.0.0.0:", false},
	{"tcp:127.0.0.1:", false},
	{"tcp:127.0.0.2:", false},
	{"tcp:[::1]:", false},
	{"tcp:[::1]:", true},
	{"mptcp:", false},
	{"mptcp:127.0.0.1:", false},
	{"tcp:%lo:", false},
	{"tcp:%lo:", true},
};

static const struct member datagram_members[] = {
	{"udp:", false},
	{"udp:", true},
	{"udp:[::]:", true},
	{"udp:0.0.0.0:", false},
	{"udp:127.0.0.1:", false},
	{"udp:127.0.0.2:", false},
	{"udp:[::1]:", false},
	{"udp:%lo:", false},
	{"udp:%lo:", true},
};

static struct address member_address(const struct member *member, unsigned int port)
{
	char text[ADDRESS_TEXT_MAX];

	(void)snprintf(text, sizeof(text), "%s%u", member->before_port, port);
	return parse(text);
}

/* A listener as usherd binds it. Returns the descriptor, or a negative errno. */
static int bind_member(const struct address *address, bool v6only)
{
	int is_stream = address->type == SOCK_STREAM, only = v6only, r = 0;
	_cleanup_close_ int fd = socket(
		address->sockaddr.sa_family, address->type | SOCK_CLOEXEC, address->protocol);

	if (fd < 0)
		return -errno;
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &is_stream, sizeof(is_stream));
	if (address->sockaddr.sa_family == AF_INET6)
		r = setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof(only));
	if (r == 0 && address->interface[0] != '\0')
		r = setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, address->interface,
			(socklen_t)strlen(address->interface));
	if (r == 0)
		r = bind(fd, &address->sockaddr, address->length);
	if (r == 0 && is_stream)
		r = listen(fd, 1);
	return r == 0 ? take_fd(&fd) : -errno;
}

static bool has_ipv6_loopback(void)
{
	struct address probe = parse("tcp:[::1]:0");
	_cleanup_close_ int fd = bind_member(&probe, false);

	return fd >= 0;
}

/* Does the kernel refuse the second one? Asks nothing of what it does not have (MPTCP). */
static void check_pair(const struct member *one, const struct member *other, unsigned int port)
{
	struct address a = member_address(one, port), b = member_address(other, port);
	_cleanup_close_ int a_fd = bind_member(&a, one->v6only);
	_cleanup_close_ int b_fd = bind_member(&b, other->v6only);

	if (a_fd == -EPROTONOSUPPORT || a_fd == -ENOPROTOOPT || b_fd == -EPROTONOSUPPORT ||
		b_fd == -ENOPROTOOPT)
		return;
	assert_true(a_fd >= 0);
	assert_true(b_fd >= 0 || b_fd == -EADDRINUSE);
	if (address_conflicts(&a, one->v6only, &b, other->v6only) != (b_fd < 0))
		fail_msg("%s (v6only %d) and %s (v6only %d): the kernel says %s", one->before_port,
			one->v6only, other->before_port, other->v6only,
			b_fd < 0 ? "conflict" : "none");
}

static void test_conflicts_are_those_of_the_kernel(void **state)
{
	unsigned int port = test_free_port();

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(stream_members); i++)
		for (size_t j = 0; j < N_ELEMENTS(stream_members); j++)
			check_pair(&stream_members[i], &stream_members[j], port);
	for (size_t i = 0; i < N_ELEMENTS(datagram_members); i++)
		for (size_t j = 0; j < N_ELEMENTS(datagram_members); j++)
			check_pair(&datagram_members[i], &datagram_members[j], port);
	check_pair(&stream_members[0], &datagram_members[0], port);
}

static void test_conflicts_beyond_the_matrix(void **state)
{
	static const struct {
		const char *a, *b;
		bool is_conflict;
	} cases[] = {
		{"tcp:80", "tcp:81", false},
		{"tcp:0", "tcp:0", false},
		{"tcp:127.0.0.1:0", "tcp:127.0.0.1:0", false},
		{"tcp:[fe80::1%1]:80", "tcp:[fe80::1%2]:80", false},
		{"tcp:[fe80::1%1]:80", "tcp:[fe80::1%1]:80", true},
		{"tcp:[fe80::1%1]:80", "tcp:80", true},
		{"unix:/a", "unix:/b", false},
		{"unix:/a", "unix:/a", true},
		{"unix:/a", "tcp:80", false},
		{"unix:/a", "tcp:0", false},
		{"unix:/a", "unix-dgram:/a", true},
		{"unix:/a", "unix-seqpacket:/b", false},
		{"tcp:%eth0:80", "tcp:%eth1:80", false},
		{"tcp:%eth0:80", "tcp:%eth0:81", false},
		{"tcp:%eth0:80", "mptcp:%eth0:80", true},
		{"tcp:%eth0:80", "tcp:192.0.2.1:80", true},
		{"tcp:%eth0:0", "tcp:%eth0:0", false},
		{"udp:80", "tcp:80", false},
		{"vsock:80", "vsock:80", true},
		{"vsock:80", "vsock:1:80", true},
		{"vsock:1:80", "vsock:2:80", false},
		{"vsock:80", "vsock:81", false},
		{"vsock:80", "tcp:80", false},
		{"vsock:80", "unix:/a", false},
	};

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
		struct address a = parse(cases[i].a), b = parse(cases[i].b);

		assert_int_equal(address_conflicts(&a, false, &b, false), cases[i].is_conflict);
		assert_int_equal(address_conflicts(&b, false, &a, false), cases[i].is_conflict);
	}
}

static void test_what_is_read_from_a_socket(void **state)
{
	static const struct {
		const char *bound;
		bool is_there; /* else the kernel may not have it */
	} cases[] = {
		{"tcp:127.0.0.1:0", true},
		{"udp:127.0.0.1:0", true},
		{"mptcp:127.0.0.1:0", false},
		{"udp:%lo:0", true},
		{"vsock:70000", false},
	};

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
		struct address expected = parse(cases[i].bound), address;
		_cleanup_close_ int fd = bind_member(&expected, false);

		if (fd < 0 && !cases[i].is_there)
			continue;
		assert_true(fd >= 0);
		assert_int_equal(getsockname(fd, &expected.sockaddr, &expected.length), 0);
		expected.is_wildcard = false;
		assert_int_equal(address_read(fd, &address), 0);
		assert_true(address_equal(&address, &expected));
		assert_int_equal(address.length, expected.length);
	}
}

static void test_what_is_no_socket_has_no_address(void **state)
{
	_cleanup_close_ int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	struct address address;

	(void)state;
	assert_int_equal(address_read(fd, &address), -ENOTSOCK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_test(test_texts_are_understood),
		check_test(test_formatted_texts_come_back_equal),
		check_test(test_scope_is_the_number_of_the_interface),
		check_test(test_range_is_one_address_for_each_port),
		check_test(test_range_of_one_port),
		check_test(test_longest_path_fits),
		check_test(test_every_refusal_says_why),
		check_test(test_long_refusal_is_cut),
		check_test(test_host_of_a_peer),
		check_test(test_equal_is_the_same_address_only),
		check_test(test_whole_families_come_first_on_their_port),
		check_test(test_who_takes_a_whole_family),
		check_test(test_what_is_read_from_a_socket),
		check_test(test_what_is_no_socket_has_no_address),
		check_test(test_who_can_refuse_clients),
		check_test_if(has_ipv6_loopback(), test_conflicts_are_those_of_the_kernel),
		check_test(test_conflicts_beyond_the_matrix),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
