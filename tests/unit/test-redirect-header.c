/* SPDX-License-Identifier: MIT */
/* The PROXY header of usher-redirect, byte by byte. */
#include "header.h"
#include "test.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdint.h>
#include <string.h>

#define SIGNATURE "\x0D\x0A\x0D\x0A\x00\x0D\x0A\x51\x55\x49\x54\x0A"

static struct sockaddr_storage ipv4(const char *address, uint16_t port)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port)};
	struct sockaddr_storage ret = {0};

	assert_int_equal(inet_pton(AF_INET, address, &in.sin_addr), 1);
	memcpy(&ret, &in, sizeof(in));
	return ret;
}

static struct sockaddr_storage ipv6(const char *address, uint16_t port)
{
	struct sockaddr_in6 in = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	struct sockaddr_storage ret = {0};

	assert_int_equal(inet_pton(AF_INET6, address, &in.sin6_addr), 1);
	memcpy(&ret, &in, sizeof(in));
	return ret;
}

static void assert_header(struct sockaddr_storage client, struct sockaddr_storage local,
	const char *expected, size_t size)
{
	char header[HEADER_MAX];

	assert_int_equal(header_write(header, &client, &local), size);
	assert_memory_equal(header, expected, size);
}

static void test_ipv4(void **state)
{
	(void)state;
	assert_header(ipv4("192.0.2.1", 0x1234), ipv4("198.51.100.2", 25),
		SIGNATURE "\x21\x11\x00\x0C\xC0\x00\x02\x01\xC6\x33\x64\x02\x12\x34\x00\x19", 28);
}

static void test_ipv6(void **state)
{
	(void)state;
	assert_header(ipv6("2001:db8::1", 0x1234), ipv6("::1", 25),
		SIGNATURE "\x21\x21\x00\x24"
			  "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01"
			  "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01"
			  "\x12\x34\x00\x19",
		52);
}

/* A client of an IPv6 socket: usherd says AF_INET, getsockname(2) does not. */
static void test_ipv4_mapped_is_ipv4(void **state)
{
	(void)state;
	assert_header(ipv4("192.0.2.1", 0x1234), ipv6("::ffff:198.51.100.2", 25),
		SIGNATURE "\x21\x11\x00\x0C\xC0\x00\x02\x01\xC6\x33\x64\x02\x12\x34\x00\x19", 28);
}

static void test_others_are_local(void **state)
{
	struct sockaddr_storage unix_address = {.ss_family = AF_UNIX}, none = {0};
	struct sockaddr_storage disguised = ipv6("::ffff:192.0.2.1", 1);

	(void)state;
	assert_header(unix_address, unix_address, SIGNATURE "\x20\x00\x00\x00", 16);
	disguised.ss_family = AF_UNIX;
	assert_header(disguised, ipv4("192.0.2.2", 25), SIGNATURE "\x20\x00\x00\x00", 16);
	assert_header(none, none, SIGNATURE "\x20\x00\x00\x00", 16);
	assert_header(ipv4("192.0.2.1", 1), ipv6("::1", 25), SIGNATURE "\x20\x00\x00\x00", 16);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		check_test(test_ipv4),
		check_test(test_ipv6),
		check_test(test_ipv4_mapped_is_ipv4),
		check_test(test_others_are_local),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
