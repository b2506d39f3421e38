/* SPDX-License-Identifier: MIT */
/* Who a client is for balance = "source", by its address and what the kernel says of its socket. */
#include "service-private.h"
#include "test.h"

#include <arpa/inet.h>
#include <linux/vm_sockets.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#define FD 77 /* is only looked at by what is wrapped here */

static uid_t uid;
static uint32_t cid;

int __wrap_getsockopt(int fd, int level, int option, void *value, socklen_t *size);
int __wrap_getpeername(int fd, struct sockaddr *address, socklen_t *size);

int __wrap_getsockopt(int fd, int level, int option, void *value, socklen_t *size)
{
	struct ucred user = {.pid = (pid_t)random(), .uid = uid, .gid = (gid_t)random()};

	assert_true(fd == FD && level == SOL_SOCKET && option == SO_PEERCRED);
	assert_int_equal(*size, sizeof(user));
	memcpy(value, &user, sizeof(user));
	return 0;
}

int __wrap_getpeername(int fd, struct sockaddr *address, socklen_t *size)
{
	struct sockaddr_vm guest = {
		.svm_family = AF_VSOCK, .svm_cid = cid, .svm_port = (uint32_t)random()};

	assert_int_equal(fd, FD);
	assert_int_equal(*size, sizeof(guest));
	memcpy(address, &guest, sizeof(guest));
	return 0;
}

/* A service that only knows how it is configured. */
static struct service *begin(uint32_t bits_v4, uint32_t bits_v6)
{
	static const uint8_t key[SIPHASH_KEY_SIZE];
	static struct service s;

	s = (struct service){
		.config.providers.balance = CONFIG_BALANCE_SOURCE,
		.config.admission = {.source_bits_v4 = bits_v4, .source_bits_v6 = bits_v6},
	};
	assert_int_equal(admission_new(&s.admission, key), 0);
	(void)admission_configure(s.admission, &s.config.admission);
	return &s;
}

static void end(struct service *s)
{
	admission_free(s->admission);
	dispatch_free(s->dispatch);
}

static struct wire_address address(const char *text)
{
	struct wire_address ret = {.family = AF_INET, .port = (uint16_t)random()};

	if (inet_pton(AF_INET, text, ret.address) == 1)
		return ret;
	ret.family = AF_INET6;
	assert_int_equal(inet_pton(AF_INET6, text, ret.address), 1);
	return ret;
}

static uint64_t client(const struct service *s, const char *text)
{
	struct wire_address peer = address(text);

	return service_client(s, FD, &peer);
}

static uint64_t client_of(const struct service *s, uint16_t family)
{
	return service_client(s, FD, &(struct wire_address){.family = family});
}

static void test_a_client_is_its_address_without_the_port(void **state)
{
	struct service *s = begin(32, 64);

	(void)state;
	assert_int_equal(client(s, "192.0.2.1"), client(s, "192.0.2.1"));
	assert_int_not_equal(client(s, "192.0.2.1"), client(s, "192.0.2.2"));
	assert_int_equal(client(s, "192.0.2.1"), client(s, "::ffff:192.0.2.1"));
	assert_int_equal(client(s, "2001:db8::1"), client(s, "2001:db8::2:3:4:5"));
	assert_int_not_equal(client(s, "2001:db8::1"), client(s, "2001:db8:0:1::1"));
	end(s);
}

static void test_a_client_is_the_network_that_is_one_source(void **state)
{
	struct service *s = begin(24, 56);

	(void)state;
	assert_int_equal(client(s, "192.0.2.1"), client(s, "192.0.2.2"));
	assert_int_not_equal(client(s, "192.0.2.1"), client(s, "192.0.3.1"));
	assert_int_equal(client(s, "2001:db8::1"), client(s, "2001:db8:0:ff::1"));
	assert_int_not_equal(client(s, "2001:db8::1"), client(s, "2001:db8:0:100::1"));
	end(s);
}

static void test_without_an_address_a_client_is_its_user_or_guest(void **state)
{
	struct service *s = begin(32, 64);
	uint64_t first;

	(void)state;
	uid = cid = 1000;
	first = client_of(s, AF_UNIX);
	assert_int_equal(client_of(s, AF_UNIX), first);
	assert_int_not_equal(client_of(s, AF_VSOCK), first);
	uid = 1001;
	assert_int_not_equal(client_of(s, AF_UNIX), first);
	first = client_of(s, AF_VSOCK);
	assert_int_equal(client_of(s, AF_VSOCK), first);
	cid = 3;
	assert_int_not_equal(client_of(s, AF_VSOCK), first);
	end(s);
}

static void test_nobody_is_asked_for_where_balance_is_not_by_source(void **state)
{
	struct service *s = begin(32, 64);

	(void)state;
	s->config.providers.balance = CONFIG_BALANCE_ROUND_ROBIN;
	assert_int_equal(client(s, "192.0.2.1"), 0);
	end(s);
}

static void test_who_waits_is_identified_after_a_reload(void **state)
{
	struct service *s = begin(32, 64);
	struct handoff *h, taken;

	(void)state;
	assert_int_equal(dispatch_new(&s->dispatch, DISPATCH_SOURCE, 1), 0);
	h = dispatch_take_over(s->dispatch, 0, 0);
	h->fd = FD;
	h->peer = address("192.0.2.1");
	service_identify_clients(s);
	assert_int_equal(h->client, client(s, "192.0.2.1"));
	assert_true(dispatch_take_waiting(s->dispatch, &taken));
	end(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_test(test_a_client_is_its_address_without_the_port),
		check_test(test_a_client_is_the_network_that_is_one_source),
		check_test(test_without_an_address_a_client_is_its_user_or_guest),
		check_test(test_nobody_is_asked_for_where_balance_is_not_by_source),
		check_test(test_who_waits_is_identified_after_a_reload),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
