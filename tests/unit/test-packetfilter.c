/* SPDX-License-Identifier: MIT */
/*
 * Rules as a program for packets: what a small interpreter of such programs makes of it is what
 * rules_find() says, for a million addresses; and the kernel's own one agrees, on UDP and TCP
 * sockets.
 */
#include "fd.h"
#include "packetfilter.h"
#include "random.h"
#include "test.h"

#include <errno.h>
#include <linux/if_ether.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_RULES 4000

void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);

/* How many allocations succeed before one fails; negative: all succeed. */
static int n_allocations_left = -1;

void *__wrap_calloc(size_t n, size_t size)
{
	if (n_allocations_left >= 0 && n_allocations_left-- == 0)
		return NULL;
	return __real_calloc(n, size);
}

static struct sock_filter program[PACKETFILTER_MAX];
static size_t n_program;

static int make(const struct config_rule *list, size_t n, bool has_only_from)
{
	struct rules rules;
	int r;

	rules_init(&rules, list, n);
	r = packetfilter_make(&rules, has_only_from, program, &n_program);
	rules_done(&rules);
	return r;
}

/* What the program loads from there, of a packet of `protocol` from `peer`. */
static uint32_t load(uint32_t offset, uint16_t protocol, const struct wire_address *peer)
{
	uint32_t word, begin = protocol == ETH_P_IP ? 12 : 8;

	if (offset == (uint32_t)(SKF_AD_OFF + SKF_AD_PROTOCOL))
		return protocol;
	offset -= (uint32_t)SKF_NET_OFF + begin;
	assert_true(offset % 4 == 0 && offset < (protocol == ETH_P_IP ? 4 : 16));
	memcpy(&word, peer->address + offset, sizeof(word));
	return ntohl(word);
}

/* Returns whether the packet is let in. Every step has to be a good one. */
static bool run(uint16_t protocol, const struct wire_address *peer)
{
	uint32_t a = 0;

	for (size_t i = 0; i < n_program; i++) {
		const struct sock_filter *at = &program[i];

		switch (at->code) {
		case BPF_LD | BPF_W | BPF_ABS:
			a = load(at->k, protocol, peer);
			break;
		case BPF_JMP | BPF_JA:
			i += at->k;
			break;
		case BPF_JMP | BPF_JEQ | BPF_K:
			i += a == at->k ? at->jt : at->jf;
			break;
		case BPF_JMP | BPF_JGE | BPF_K:
			i += a >= at->k ? at->jt : at->jf;
			break;
		case BPF_RET | BPF_K:
			return at->k > 0;
		default:
			fail_msg("a strange instruction");
		}
	}
	fail_msg("the program has no end");
	return false;
}

static uint16_t protocol_of(const struct wire_address *peer)
{
	return peer->family == AF_INET ? ETH_P_IP : ETH_P_IPV6;
}

/* Both say the same of that address. */
static void compare(const struct rules *rules, bool has_only_from, const struct wire_address *peer)
{
	const struct config_rule *rule = rules_find(rules, peer);
	bool expected = rule ? rule->is_allowed : !has_only_from;

	if (run(protocol_of(peer), peer) != expected)
		fail_msg("the program does not say %d", expected);
}

/* The first and the last address of the network, and their neighbours. */
static void compare_ends(
	const struct rules *rules, bool has_only_from, const struct network *network)
{
	size_t n_bytes = network->family == AF_INET ? 4 : 16;

	for (int end = 0; end < 2; end++)
		for (int step = -1; step <= 1; step++) {
			struct wire_address peer = {.family = network->family};
			int carry = step;

			memcpy(peer.address, network->address, n_bytes);
			for (size_t bit = network->n_bits; end && bit < 8 * n_bytes; bit++)
				peer.address[bit / 8] |= (uint8_t)(0x80u >> bit % 8);
			for (size_t i = n_bytes; i-- > 0;) {
				carry += peer.address[i];
				peer.address[i] = (uint8_t)carry;
				carry >>= 8;
			}
			compare(rules, has_only_from, &peer);
		}
}

static void fill(uint64_t *random, struct wire_address *ret, uint16_t family, uint64_t spread)
{
	*ret = (struct wire_address){.family = family};
	for (size_t i = 0; i < (family == AF_INET ? 4 : 16); i++)
		ret->address[i] = (uint8_t)(random_of(random, spread) ? 0 : random_of(random, 256));
	if (random_of(random, 32) == 0)
		memset(ret->address, 0xff, family == AF_INET ? 4 : 16);
}

static void fill_rules(uint64_t *random, struct config_rule *list, size_t n, uint64_t spread)
{
	for (size_t i = 0; i < n; i++) {
		uint16_t family = random_of(random, 2) ? AF_INET : AF_INET6;
		struct wire_address address;

		fill(random, &address, family, spread);
		list[i] = (struct config_rule){
			.network = network_of(&address,
				(unsigned int)random_of(random, family == AF_INET ? 33 : 129)),
			.is_allowed = random_of(random, 2),
		};
	}
}

static void check_rules(uint64_t *random, const struct config_rule *list, size_t n, int n_more)
{
	bool has_only_from = random_of(random, 2);
	struct rules rules;

	assert_int_equal(make(list, n, has_only_from), 0);
	rules_init(&rules, list, n);
	for (size_t i = 0; i < n; i++)
		compare_ends(&rules, has_only_from, &list[i].network);
	for (int i = 0; i < n_more; i++) {
		struct wire_address peer;

		fill(random, &peer, i % 2 ? AF_INET : AF_INET6, 1 + random_of(random, 4));
		compare(&rules, has_only_from, &peer);
	}
	rules_done(&rules);
}

static void test_a_million_addresses(void **state)
{
	static struct config_rule list[400];
	uint64_t random = random_seed(20261127);

	(void)state;
	for (int round = 0; round < 2000; round++) {
		size_t n = random_of(&random, round % 10 ? 30 : 400);

		fill_rules(&random, list, n, 1 + random_of(&random, 4));
		check_rules(&random, list, n, 500);
	}
}

static void test_neither_ipv4_nor_ipv6(void **state)
{
	const struct wire_address peer = {.family = AF_INET};

	(void)state;
	assert_int_equal(make(NULL, 0, true), 0);
	assert_false(run(ETH_P_ARP, &peer));
	assert_false(run(ETH_P_IP, &peer));
	assert_int_equal(make(NULL, 0, false), 0);
	assert_true(run(ETH_P_ARP, &peer));
	assert_true(run(ETH_P_IP, &peer));
}

/* As many networks of such a length, all over the address space. */
static int make_many(uint16_t family, unsigned int n_bits, size_t n)
{
	static struct config_rule list[MAX_RULES];
	uint64_t random = 1;

	for (size_t i = 0; i < n; i++) {
		struct wire_address address;

		fill(&random, &address, family, 1);
		list[i] = (struct config_rule){.network = network_of(&address, n_bits)};
	}
	return make(list, n, false);
}

/* What the configuration may have fits for all but long IPv6 prefixes without anything in common.
 */
static void test_a_thousand_networks_fit(void **state)
{
	(void)state;
	assert_int_equal(make_many(AF_INET, 24, 1000), 0);
	printf("# 1000 of IPv4/24: %zu instructions\n", n_program);
	assert_int_equal(make_many(AF_INET, 32, 1000), 0);
	printf("# 1000 of IPv4/32: %zu\n", n_program);
	assert_int_equal(make_many(AF_INET6, 48, 700), 0);
	printf("# 700 of IPv6/48: %zu\n", n_program);
	assert_int_equal(make_many(AF_INET6, 64, 1000), 0);
	printf("# 1000 of IPv6/64: %zu\n", n_program);
	assert_int_equal(make_many(AF_INET6, 128, 500), 0);
	printf("# 500 of IPv6/128: %zu\n", n_program);
}

static void test_too_many(void **state)
{
	(void)state;
	assert_int_equal(make_many(AF_INET6, 128, 1000), -E2BIG);
	assert_int_equal(make_many(AF_INET, 24, MAX_RULES), -E2BIG);
}

static void test_out_of_memory(void **state)
{
	static struct config_rule list[20];
	uint64_t random = 7;
	struct rules rules;
	int r = -ENOMEM, n = 0;

	(void)state;
	fill_rules(&random, list, 20, 2);
	rules_init(&rules, list, 20);
	for (; r == -ENOMEM; n++) {
		n_allocations_left = n;
		r = packetfilter_make(&rules, true, program, &n_program);
	}
	n_allocations_left = -1;
	assert_int_equal(r, 0);
	assert_true(n > 3);
	rules_done(&rules);
	n_allocations_left = 0;
	rules_init(&rules, list, 20);
	n_allocations_left = -1;
	assert_int_equal(packetfilter_make(&rules, true, program, &n_program), -ENOMEM);
	rules_done(&rules);
}

/* The kernel. */

static void attach(int fd)
{
	const struct sock_fprog prog = {.len = (unsigned short)n_program, .filter = program};

	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof(prog)), 0);
}

static struct sockaddr_storage text_address(const char *text, uint16_t port, socklen_t *ret_length)
{
	struct network *networks;
	struct wire_address address = {.port = port};
	struct sockaddr_storage storage;
	char why[256];
	size_t n;

	assert_int_equal(network_parse(text, &networks, &n, why, sizeof(why)), 0);
	address.family = networks[0].family;
	memcpy(address.address, networks[0].address, sizeof(address.address));
	*ret_length = wire_address_to_sockaddr(&address, &storage);
	free(networks);
	return storage;
}

static int bound_socket(int type, const char *text, uint16_t *ret_port)
{
	socklen_t length;
	struct sockaddr_storage address = text_address(text, 0, &length);
	int fd = socket(address.ss_family, type | SOCK_CLOEXEC, 0), off = 0;

	assert_true(fd >= 0);
	if (address.ss_family == AF_INET6)
		assert_int_equal(setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)), 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, length), 0);
	length = sizeof(address);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &length), 0);
	*ret_port = ((struct sockaddr_in *)&address)->sin_port;
	return fd;
}

/* Does anything come out of `fd` when somebody at `from` sends or connects to `to`? */
static bool comes_in(int fd, int type, const char *from, const char *to, uint16_t port)
{
	socklen_t length;
	struct sockaddr_storage target = text_address(to, port, &length);
	_cleanup_close_ int client = -EBADF;
	struct pollfd readable = {.fd = fd, .events = POLLIN};
	uint16_t unused;
	bool has_come;

	client = bound_socket(type | SOCK_NONBLOCK, from, &unused);
	if (type == SOCK_DGRAM)
		assert_int_equal(sendto(client, "x", 1, 0, (struct sockaddr *)&target, length), 1);
	else
		assert_true(connect(client, (struct sockaddr *)&target, length) == 0 ||
			    errno == EINPROGRESS);
	/* Over loopback it has come when the call is back, or it will not. */
	has_come = poll(&readable, 1, 0) == 1;
	if (has_come && type == SOCK_DGRAM)
		assert_int_equal(recv(fd, &(char){0}, 1, 0), 1);
	else if (has_come)
		close(accept(fd, NULL, NULL));
	return has_come;
}

static void check_in_kernel(int type)
{
	const struct config_rule list[] = {
		{.network = {.family = AF_INET, .n_bits = 24, .address = {127, 0, 1}}},
		{.network = {.family = AF_INET, .n_bits = 32, .address = {127, 0, 1, 9}},
			.is_allowed = true},
		{.network = {.family = AF_INET6, .n_bits = 128, .address = {[15] = 1}}},
	};
	_cleanup_close_ int v4 = -EBADF, both = -EBADF;
	uint16_t port, port_of_both;

	v4 = bound_socket(type, "127.0.0.1", &port);
	both = bound_socket(type, "::", &port_of_both);
	assert_int_equal(make(list, 3, false), 0);
	attach(v4);
	attach(both);
	if (type == SOCK_STREAM) {
		assert_int_equal(listen(v4, 10), 0);
		assert_int_equal(listen(both, 10), 0);
	}
	assert_true(comes_in(v4, type, "127.0.0.1", "127.0.0.1", port));
	assert_false(comes_in(v4, type, "127.0.1.1", "127.0.0.1", port));
	assert_true(comes_in(v4, type, "127.0.1.9", "127.0.0.1", port));
	assert_true(comes_in(both, type, "127.0.2.1", "127.0.0.1", port_of_both));
	assert_false(comes_in(both, type, "127.0.1.1", "127.0.0.1", port_of_both));
	assert_false(comes_in(both, type, "::1", "::1", port_of_both));
	assert_int_equal(make(list, 2, false), 0);
	attach(both);
	assert_true(comes_in(both, type, "::1", "::1", port_of_both));
}

static void test_udp(void **state)
{
	(void)state;
	check_in_kernel(SOCK_DGRAM);
}

static void test_tcp(void **state)
{
	(void)state;
	check_in_kernel(SOCK_STREAM);
}

/* The largest program that is made the kernel takes. */
static void test_largest(void **state)
{
	_cleanup_close_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	size_t n = 1000, n_good = 0;

	(void)state;
	for (size_t step = 512; step > 0; step /= 2)
		while (n + step <= MAX_RULES && make_many(AF_INET, 24, n + step) == 0)
			n += step;
	assert_int_equal(make_many(AF_INET, 24, n), 0);
	n_good = n_program;
	printf("# %zu networks, %zu instructions\n", n, n_good);
	assert_true(n_good > PACKETFILTER_MAX - 10);
	attach(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_test(test_a_million_addresses),
		check_test(test_neither_ipv4_nor_ipv6),
		check_test(test_a_thousand_networks_fit),
		check_test(test_too_many),
		check_test(test_out_of_memory),
		check_test(test_udp),
		check_test(test_tcp),
		check_test(test_largest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
