/* SPDX-License-Identifier: MIT */
/* Whom usher-basic answers, and whom not: each rule by itself. */
#include "reply.h"
#include "test.h"

#include <arpa/inet.h>
#include <string.h>
#include <sys/un.h>

static struct reply_ports own;

static bool is_allowed_from(uint16_t port, const struct reply_destination *destination)
{
	struct sockaddr_in sender = {.sin_family = AF_INET, .sin_port = htons(port)};

	return reply_is_allowed(
		(const struct sockaddr *)&sender, sizeof(sender), destination, &own);
}

static struct reply_destination ipv4(const char *address, const char *ours)
{
	struct reply_destination destination = {.type = REPLY_IPV4};

	inet_pton(AF_INET, address, &destination.ipv4.ipi_addr);
	inet_pton(AF_INET, ours, &destination.ipv4.ipi_spec_dst);
	return destination;
}

static bool is_ipv6_allowed(uint16_t port, const char *address)
{
	struct sockaddr_in6 sender = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	struct reply_destination destination = {.type = REPLY_IPV6};

	inet_pton(AF_INET6, address, &destination.ipv6.ipi6_addr);
	return reply_is_allowed(
		(const struct sockaddr *)&sender, sizeof(sender), &destination, &own);
}

static void test_client_is_answered(void **state)
{
	struct reply_destination to = ipv4("192.0.2.1", "192.0.2.1");

	(void)state;
	assert_true(is_allowed_from(1024, &to));
	assert_true(is_allowed_from(65535, &to));
	to = ipv4("192.0.2.1", "0.0.0.0");
	assert_true(is_allowed_from(1024, &to));
	assert_true(is_ipv6_allowed(1024, "2001:db8::1"));
}

/* Of which two would go on for ever, or a name server, a tftpd, an ntpd with one of us. */
static void test_ports_of_services_are_not_answered(void **state)
{
	static const uint16_t ports[] = {0, 7, 9, 11, 13, 17, 19, 37, 53, 69, 123, 1023};
	struct reply_destination to = ipv4("192.0.2.1", "192.0.2.1");

	(void)state;
	for (size_t i = 0; i < sizeof(ports) / sizeof(ports[0]); i++) {
		assert_false(is_allowed_from(ports[i], &to));
		assert_false(is_ipv6_allowed(ports[i], "2001:db8::1"));
	}
}

static void test_own_ports_are_not_answered(void **state)
{
	struct reply_destination to = ipv4("192.0.2.1", "192.0.2.1");

	(void)state;
	own = (struct reply_ports){0};
	reply_ports_add(&own, 7007);
	reply_ports_add(&own, 65535);
	assert_false(is_allowed_from(7007, &to));
	assert_false(is_allowed_from(65535, &to));
	assert_false(is_ipv6_allowed(7007, "2001:db8::1"));
	assert_true(is_allowed_from(7006, &to));
	assert_true(is_allowed_from(7008, &to));
	own = (struct reply_ports){0};
}

static void test_broadcast_is_not_answered(void **state)
{
	struct reply_destination all = ipv4("255.255.255.255", "192.0.2.1");
	struct reply_destination subnet = ipv4("192.0.2.255", "192.0.2.1");

	(void)state;
	assert_false(is_allowed_from(5000, &all));
	assert_false(is_allowed_from(5000, &subnet));
}

static void test_multicast_is_not_answered(void **state)
{
	struct reply_destination to = ipv4("224.0.0.1", "192.0.2.1");

	(void)state;
	assert_false(is_allowed_from(5000, &to));
	assert_false(is_ipv6_allowed(5000, "ff02::1"));
	assert_false(is_ipv6_allowed(5000, "ff0e::1:2"));
}

static void test_unknown_destination_is_not_answered(void **state)
{
	struct reply_destination to = {.type = REPLY_UNKNOWN};

	(void)state;
	assert_false(is_allowed_from(5000, &to));
}

static void test_unix_sender_with_a_name_is_answered(void **state)
{
	struct reply_destination to = {.type = REPLY_UNKNOWN};
	struct sockaddr_un sender = {.sun_family = AF_UNIX, .sun_path = "/x"};
	const struct sockaddr *address = (const struct sockaddr *)&sender;

	(void)state;
	assert_true(reply_is_allowed(address, sizeof(sa_family_t) + 3, &to, &own));
	assert_false(reply_is_allowed(address, sizeof(sa_family_t), &to, &own));
	assert_false(reply_is_allowed(address, 0, &to, &own));
}

static void test_other_families_are_not_answered(void **state)
{
	struct reply_destination to = ipv4("192.0.2.1", "192.0.2.1");
	struct sockaddr_in sender = {.sin_family = AF_PACKET, .sin_port = htons(5000)};

	(void)state;
	assert_false(reply_is_allowed((const struct sockaddr *)&sender, sizeof(sender), &to, &own));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		check_test(test_client_is_answered),
		check_test(test_ports_of_services_are_not_answered),
		check_test(test_own_ports_are_not_answered),
		check_test(test_broadcast_is_not_answered),
		check_test(test_multicast_is_not_answered),
		check_test(test_unknown_destination_is_not_answered),
		check_test(test_unix_sender_with_a_name_is_answered),
		check_test(test_other_families_are_not_answered),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
