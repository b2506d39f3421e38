/* SPDX-License-Identifier: MIT */
/*
 * Names: what is found, what is not, many at once, and answers that come too late or never.
 *
 * getaddrinfo(3) and getnetbyname_r(3) are wrapped to be name servers of the test: a name says what
 * they answer. pthread_create(3) is wrapped to fail.
 */
#include "names.h"
#include "test.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LONG_USEC (30 * UINT64_C(1000000))

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static unsigned int n_asked, n_stuck; /* in all, and those that wait for is_let_go */
static bool is_let_go;
static int thread_error;

int __wrap_getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
	struct addrinfo **result);
void __wrap_freeaddrinfo(struct addrinfo *result);
int __wrap_getnetbyname_r(const char *name, struct netent *entry, char *buffer, size_t size,
	struct netent **result, int *error);
int __real_pthread_create(
	pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *userdata);
int __wrap_pthread_create(
	pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *userdata);

int __wrap_pthread_create(
	pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *userdata)
{
	return thread_error ? thread_error
			    : __real_pthread_create(thread, attributes, run, userdata);
}

/* One address, before those that are in the list already. */
static struct addrinfo *add_address(struct addrinfo *next, const char *text)
{
	struct {
		struct addrinfo info;
		struct sockaddr_storage storage;
	} *entry = calloc(1, sizeof(*entry));
	struct sockaddr_in *in = (struct sockaddr_in *)&entry->storage;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&entry->storage;

	assert_non_null(entry);
	if (inet_pton(AF_INET, text, &in->sin_addr) == 1)
		in->sin_family = AF_INET;
	else if (inet_pton(AF_INET6, text, &in6->sin6_addr) == 1)
		in6->sin6_family = AF_INET6;
	entry->info.ai_family = entry->storage.ss_family;
	entry->info.ai_addr = (struct sockaddr *)&entry->storage;
	entry->info.ai_next = next;
	return &entry->info;
}

static void wait_until_let_go(void)
{
	n_stuck++;
	pthread_cond_broadcast(&changed);
	while (!is_let_go)
		pthread_cond_wait(&changed, &lock);
	n_stuck--;
	pthread_cond_broadcast(&changed);
}

/* "both", "v4", "many", "mapped", "stuck" (until is_let_go), or an error. */
int __wrap_getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
	struct addrinfo **result)
{
	struct addrinfo *list = NULL;
	char text[INET_ADDRSTRLEN];

	(void)service, (void)hints;
	pthread_mutex_lock(&lock);
	n_asked++;
	if (strncmp(node, "stuck", strlen("stuck")) == 0)
		wait_until_let_go();
	pthread_mutex_unlock(&lock);
	if (strcmp(node, "both") == 0)
		list = add_address(add_address(list, "2001:db8::1"), "192.0.2.1");
	else if (strcmp(node, "mapped") == 0)
		list = add_address(add_address(list, "::ffff:192.0.2.1"), "192.0.2.1");
	else if (strcmp(node, "strange") == 0)
		list = add_address(list, "neither");
	else if (strcmp(node, "temporary") == 0)
		return EAI_AGAIN;
	else if (strcmp(node, "nosuch") == 0)
		return EAI_NONAME;
	else
		list = add_address(list, "192.0.2.1");
	for (int i = 2; strcmp(node, "many") == 0 && i <= NAMES_MAX_ADDRESSES + 1; i++) {
		snprintf(text, sizeof(text), "192.0.2.%d", i);
		list = add_address(list, text);
	}
	*result = list;
	return 0;
}

void __wrap_freeaddrinfo(struct addrinfo *result)
{
	while (result) {
		struct addrinfo *next = result->ai_next;

		free(result);
		result = next;
	}
}

/* What networks(5) has. */
static const struct {
	const char *name;
	uint32_t number;
	const char *network;
} nets[] = {
	{"net-24", 0xc0000200, "192.0.2.0/24"},
	{"net-stripped", 0xc00002, "192.0.2.0/24"},
	{"net-8", 0x7f000000, "127.0.0.0/8"},
	{"net-8-stripped", 0x7f, "127.0.0.0/8"},
	{"net-16", 0xa9fe0000, "169.254.0.0/16"},
	{"net-32", 0x0a000001, "10.0.0.1"},
};

int __wrap_getnetbyname_r(const char *name, struct netent *entry, char *buffer, size_t size,
	struct netent **result, int *error)
{
	(void)buffer, (void)size, (void)error;
	*result = NULL;
	for (size_t i = 0; i < sizeof(nets) / sizeof(nets[0]); i++) {
		if (strcmp(name, nets[i].name) != 0)
			continue;
		*entry = (struct netent){.n_addrtype = AF_INET, .n_net = nets[i].number};
		*result = entry;
	}
	if (strcmp(name, "default") == 0) { /* 0.0.0.0 of some networks(5): no network */
		*entry = (struct netent){.n_addrtype = AF_INET};
		*result = entry;
	}
	return 0;
}

static struct names *new_names(void)
{
	struct names *names;

	n_asked = 0;
	is_let_go = false;
	assert_int_equal(names_new(&names), 0);
	return names;
}

static void wait_for_stuck(unsigned int n)
{
	pthread_mutex_lock(&lock);
	while (n_stuck != n)
		pthread_cond_wait(&changed, &lock);
	pthread_mutex_unlock(&lock);
}

static void let_go(void)
{
	pthread_mutex_lock(&lock);
	is_let_go = true;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
}

static void ask(struct names *names)
{
	names_start(names);
	names_wait(names, LONG_USEC);
	names_close(names);
}

static void check_answer(struct names *names, const char *name, const char *expected)
{
	struct names_answer *answer = names_find(names, name);
	char text[512] = "", one[NETWORK_TEXT_MAX];
	size_t length = 0;

	for (size_t i = 0; i < answer->n_networks; i++)
		length += (size_t)snprintf(text + length, sizeof(text) - length, "%s%s",
			i > 0 ? " " : "", network_format(&answer->networks[i], one));
	assert_string_equal(answer->why ? answer->why : text, expected);
}

static void test_hosts(void **state)
{
	static const char *const asked[] = {
		"both", "v4", "mapped", "nosuch", "temporary", "strange", "default"};
	struct names *names = new_names();

	(void)state;
	for (size_t i = 0; i < sizeof(asked) / sizeof(asked[0]); i++)
		assert_int_equal(names_add(names, asked[i]), 0);
	ask(names);
	check_answer(names, "both", "192.0.2.1 2001:db8::1");
	check_answer(names, "v4", "192.0.2.1");
	check_answer(names, "mapped", "192.0.2.1");
	check_answer(names, "nosuch", gai_strerror(EAI_NONAME));
	check_answer(names, "temporary", gai_strerror(EAI_AGAIN));
	check_answer(names, "strange", gai_strerror(EAI_NONAME));
	check_answer(names, "default", "192.0.2.1");
	assert_false(names_find(names, "both")->has_more);
	names_free(names);
}

static void test_networks(void **state)
{
	struct names *names = new_names();

	(void)state;
	for (size_t i = 0; i < sizeof(nets) / sizeof(nets[0]); i++)
		assert_int_equal(names_add(names, nets[i].name), 0);
	ask(names);
	for (size_t i = 0; i < sizeof(nets) / sizeof(nets[0]); i++)
		check_answer(names, nets[i].name, nets[i].network);
	assert_int_equal(n_asked, 0); /* a network is no host */
	names_free(names);
}

static void test_more_addresses_than_are_kept(void **state)
{
	struct names *names = new_names();
	struct names_answer *answer;

	(void)state;
	assert_int_equal(names_add(names, "many"), 0);
	ask(names);
	answer = names_find(names, "many");
	assert_int_equal(answer->n_networks, NAMES_MAX_ADDRESSES);
	assert_true(answer->has_more);
	names_free(names);
}

static void test_each_name_is_asked_for_once(void **state)
{
	struct names *names = new_names();

	(void)state;
	for (int i = 0; i < 3; i++)
		assert_int_equal(names_add(names, "v4"), 0);
	assert_int_equal(names_count(names), 1);
	ask(names);
	assert_int_equal(n_asked, 1);
	names_free(names);
}

static void test_as_many_names_as_may_be(void **state)
{
	struct names *names = new_names();
	char name[32];

	(void)state;
	for (int i = 0; i < NAMES_MAX; i++) {
		snprintf(name, sizeof(name), "host%d", i);
		assert_int_equal(names_add(names, name), 0);
	}
	assert_int_equal(names_add(names, "host0"), 0);
	assert_int_equal(names_add(names, "another"), -E2BIG);
	ask(names);
	assert_int_equal(n_asked, NAMES_MAX);
	check_answer(names, "host255", "192.0.2.1");
	names_free(names);
}

static void test_no_names_are_answered_at_once(void **state)
{
	struct names *names = new_names();

	(void)state;
	ask(names);
	names_free(names);
}

/* More stuck than there are threads, so that the last name is not even asked for. */
static void test_who_waits_goes_on_without_late_answers(void **state)
{
	static const char *const asked[] = {"v4", "stuck1", "stuck2", "stuck3", "stuck4", "stuck5",
		"stuck6", "stuck7", "stuck8", "last"};
	struct names *names = new_names();
	struct pollfd poll_fd = {.fd = names_fd(names), .events = POLLIN};

	(void)state;
	for (size_t i = 0; i < sizeof(asked) / sizeof(asked[0]); i++)
		assert_int_equal(names_add(names, asked[i]), 0);
	names_start(names);
	wait_for_stuck(8);
	names_wait(names, 0);
	assert_int_equal(poll(&poll_fd, 1, 0), 0);
	names_close(names);
	check_answer(names, "v4", "192.0.2.1");
	check_answer(names, "stuck1", "no answer within the time that there is");
	check_answer(names, "last", "no answer within the time that there is");
	let_go();
	wait_for_stuck(0);
	check_answer(names, "stuck1", "no answer within the time that there is");
	names_free(names);
	assert_int_equal(n_asked, 9);
}

/* The threads go on with what is not there any more for anybody else. */
static void test_freed_while_they_ask(void **state)
{
	struct names *names = new_names();

	(void)state;
	assert_int_equal(names_add(names, "stuck1"), 0);
	assert_int_equal(names_add(names, "stuck2"), 0);
	names_start(names);
	wait_for_stuck(2);
	names_free(names);
	let_go();
	wait_for_stuck(0);
}

static void test_no_thread_is_no_answer(void **state)
{
	struct names *names = new_names();

	(void)state;
	assert_int_equal(names_add(names, "v4"), 0);
	thread_error = EAGAIN;
	names_start(names);
	thread_error = 0;
	names_close(names);
	check_answer(names, "v4", "no answer within the time that there is");
	names_free(names);
	assert_null(names_free(NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_test(test_hosts),
		check_test(test_networks),
		check_test(test_more_addresses_than_are_kept),
		check_test(test_each_name_is_asked_for_once),
		check_test(test_as_many_names_as_may_be),
		check_test(test_no_names_are_answered_at_once),
		check_test(test_who_waits_goes_on_without_late_answers),
		check_test(test_freed_while_they_ask),
		check_test(test_no_thread_is_no_answer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
