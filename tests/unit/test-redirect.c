/* SPDX-License-Identifier: MIT */
/*
 * usher-redirect: clients on socketpairs, a server that is the test's, and a name server that
 * answers when and what the test says.
 */
#include "redirect.h"
#include "stub-usher.h"
#include "talk.h"
#include "test.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONNECT_MS 10000
#define IDLE_MS	   60000

static struct redirect redirect;
static int listener_fd = -1;
static uint16_t server_port;
static size_t n_threads_before;

/* The name server: what it answers, and whether it waits until it is let go. */
static struct names {
	const char *addresses[4]; /* NULL at the end */
	uint16_t port;
	int error;
	int gate_fd; /* an eventfd(2) to wait for; -1: none */
} names;

/* How often the name server was asked, by the resolver's thread; how many answers were awaited. */
static atomic_uint n_asked;
static unsigned int n_awaited;

int __wrap_getaddrinfo(
	const char *host, const char *port, const struct addrinfo *hints, struct addrinfo **ret);
int __real_getaddrinfo(
	const char *host, const char *port, const struct addrinfo *hints, struct addrinfo **ret);
int __wrap_getaddrinfo(
	const char *host, const char *port, const struct addrinfo *hints, struct addrinfo **ret)
{
	struct addrinfo **next = ret;
	eventfd_t n;
	char text[8];

	(void)host, (void)port;
	if (names.gate_fd >= 0)
		(void)eventfd_read(names.gate_fd, &n);
	n_asked++;
	*ret = NULL;
	(void)snprintf(text, sizeof(text), "%u", names.port);
	for (size_t i = 0; names.error == 0 && names.addresses[i]; i++) {
		if (__real_getaddrinfo(names.addresses[i], text, hints, next) != 0)
			return EAI_FAIL;
		next = &(*next)->ai_next;
	}
	return names.error;
}

static bool is_answered(void)
{
	return n_asked == n_awaited && !redirect.resolver.question;
}

/* Wait until the resolver has its next answer, and has acted. */
static void wait_answer(void)
{
	n_awaited++;
	talk_until(is_answered);
}

static bool is_empty(void)
{
	return redirect.n_clients == 0;
}

static void listen_somewhere(void)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof(address);

	listener_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(listener_fd, (struct sockaddr *)&address, length), 0);
	assert_int_equal(listen(listener_fd, 16), 0);
	assert_int_equal(getsockname(listener_fd, (struct sockaddr *)&address, &length), 0);
	server_port = ntohs(address.sin_port);
}

static size_t count_threads(void)
{
	DIR *tasks = opendir("/proc/self/task");
	size_t n = 0;

	assert_non_null(tasks);
	while (readdir(tasks))
		n++;
	closedir(tasks);
	return n;
}

static void listen_first(void)
{
	n_threads_before = count_threads();
	listen_somewhere();
}

static void begin_unanswered(void)
{
	static const struct redirect_options options = {
		.host = "far", .port = "service", .connect_ms = CONNECT_MS, .idle_ms = IDLE_MS};

	talk_begin();
	n_asked = n_awaited = 0;
	redirect = (struct redirect){0};
	assert_int_equal(enrolment_init(&redirect.enrolment, &talk.loop, "test", 100,
				 redirect_on_connection, NULL),
		0);
	assert_int_equal(redirect_init(&redirect, &talk.loop, "test", &options), 0);
}

static void begin(void)
{
	listen_first();
	names = (struct names){.addresses = {"127.0.0.1"}, .port = server_port, .gate_fd = -1};
	begin_unanswered();
	wait_answer();
}

/* A thread that has answered may not have closed its descriptor yet. */
static void wait_for_threads(void)
{
	while (count_threads() > n_threads_before)
		sched_yield();
}

static void end_without_threads(void)
{
	redirect_done(&redirect);
	enrolment_done(&redirect.enrolment);
	talk_end();
	close(listener_fd);
	listener_fd = -1;
}

static void end(void)
{
	end_without_threads();
	wait_for_threads();
}

static int connect_with(const char *data)
{
	return talk_connect(&redirect.enrolment, redirect_on_connection, data);
}

/* The server's end of the next client, non-blocking. */
static int accept_one(void)
{
	int fd;

	talk_wait(listener_fd);
	fd = accept4(listener_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	assert_true(fd >= 0);
	talk_until_quiet();
	return fd;
}

static void assert_server_gets(int fd, const char *text)
{
	char got[256] = "";
	size_t n_got = 0;

	while (n_got < strlen(text)) {
		ssize_t n;

		talk_wait(fd);
		n = recv(fd, got + n_got, sizeof(got) - n_got - 1, 0);
		assert_true(n > 0);
		n_got += (size_t)n;
	}
	assert_string_equal(got, text);
}

static void assert_server_sees(int fd, ssize_t expected, int error)
{
	char byte;

	talk_wait(fd);
	assert_int_equal(recv(fd, &byte, 1, 0), expected);
	if (expected < 0)
		assert_int_equal(errno, error);
	close(fd);
}

static void test_bytes_go_both_ways(void **state)
{
	int client_fd, server_fd;

	(void)state;
	begin();
	client_fd = connect_with(NULL);
	talk_until_quiet();
	server_fd = accept_one();
	talk_send(client_fd, "question");
	assert_server_gets(server_fd, "question");
	talk_send(server_fd, "answer");
	talk_wait(client_fd);
	assert_gets(client_fd, "answer");
	close(client_fd);
	talk_until_quiet();
	assert_server_sees(server_fd, 0, 0);
	talk_until_quiet();
	end();
}

static void test_bytes_of_an_earlier_service_come_first(void **state)
{
	int client_fd, server_fd;

	(void)state;
	begin();
	client_fd = connect_with("first ");
	talk_until_quiet();
	server_fd = accept_one();
	talk_send(client_fd, "second");
	assert_server_gets(server_fd, "first second");
	close(server_fd);
	close(client_fd);
	end();
}

/* A client that reads nothing holds what a pipe and its socket hold, and causes no events. */
static void test_slow_client_is_waited_for(void **state)
{
	static char block[65536];
	size_t n_sent = 0, n_got = 0;
	int client_fd, server_fd;
	int n_refused = 0;
	ssize_t n;

	(void)state;
	begin();
	client_fd = connect_with(NULL);
	talk_until_quiet();
	server_fd = accept_one();
	shutdown(client_fd, SHUT_WR);
	talk_until_quiet();
	while (n_refused < 3) {
		n = send(server_fd, block, sizeof(block), MSG_NOSIGNAL);
		n_sent += n > 0 ? (size_t)n : 0;
		n_refused = n < 0 ? n_refused + 1 : 0;
		talk_until_quiet();
	}
	close(server_fd); /* both halves are over for the server: EPOLLHUP from now on */
	talk_until_quiet();
	assert_int_equal(redirect.n_clients, 1);
	do {
		talk_wait(client_fd);
		n = recv(client_fd, block, sizeof(block), 0);
		assert_true(n >= 0);
		n_got += (size_t)n;
	} while (n != 0);
	assert_int_equal(n_got, n_sent);
	assert_int_equal(redirect.n_done, 1);
	assert_int_equal(redirect.n_down, n_sent);
	close(client_fd);
	end();
}

static void test_reset_by_the_server_breaks_the_client(void **state)
{
	static const struct linger reset = {.l_onoff = 1};
	int client_fd, server_fd;

	(void)state;
	begin();
	client_fd = connect_with(NULL);
	talk_until_quiet();
	server_fd = accept_one();
	setsockopt(server_fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	close(server_fd);
	talk_wait(client_fd);
	assert_int_equal(redirect.n_failed, 1);
	assert_int_equal(stub.n_closed, 1);
	assert_gets_end(client_fd, "");
	end();
}

static void test_silence_ends_at_the_idle_time(void **state)
{
	int client_fd, server_fd;

	(void)state;
	begin();
	client_fd = connect_with(NULL);
	talk_until_quiet();
	server_fd = accept_one();
	talk_later(IDLE_MS - 1);
	talk_send(client_fd, "x"); /* starts the time anew */
	assert_server_gets(server_fd, "x");
	talk_later(IDLE_MS - 1);
	assert_int_equal(stub.n_closed, 0);
	talk_later(1);
	assert_int_equal(stub.n_closed, 1);
	assert_int_equal(redirect.n_idle, 1);
	assert_server_sees(server_fd, -1, ECONNRESET);
	close(client_fd);
	end();
}

static void test_clients_wait_for_the_first_answer(void **state)
{
	int client_fds[3];

	(void)state;
	listen_first();
	names = (struct names){.addresses = {"127.0.0.1"},
		.port = server_port,
		.gate_fd = eventfd(0, EFD_CLOEXEC)};
	begin_unanswered();
	for (size_t i = 0; i < 3; i++)
		client_fds[i] = connect_with(NULL);
	talk_until_quiet();
	assert_int_equal(stub.n_closed, 0);
	eventfd_write(names.gate_fd, 1);
	wait_answer();
	assert_int_equal(n_asked, 1);
	for (size_t i = 0; i < 3; i++)
		close(accept_one());
	for (size_t i = 0; i < 3; i++)
		close(client_fds[i]);
	end();
	close(names.gate_fd);
}

/* The thread goes on by itself, and frees what it has. */
static void test_name_server_that_is_silent_keeps_nobody(void **state)
{
	int client_fd;

	(void)state;
	listen_first();
	names = (struct names){.gate_fd = eventfd(0, EFD_CLOEXEC), .error = EAI_AGAIN};
	begin_unanswered();
	client_fd = connect_with(NULL);
	talk_later(CONNECT_MS);
	assert_int_equal(stub.n_closed, 1);
	assert_said("usher-test: test: cannot connect to far:service: Connection timed out\n");
	close(client_fd);
	end_without_threads();
	eventfd_write(names.gate_fd, 1);
	wait_for_threads();
	close(names.gate_fd);
}

static void test_unknown_name_is_told_and_resets(void **state)
{
	int client_fd;

	(void)state;
	begin();
	redirect.resolver.n = 0;
	names.error = EAI_NONAME;
	talk_later(RESOLVER_PAUSE_MS);
	client_fd = connect_with(NULL);
	wait_answer();
	assert_int_equal(stub.n_closed, 1);
	assert_gets_end(client_fd, "");
	assert_said("usher-test: test: cannot find the address of far:service: Name or service not "
		    "known\n");
	end();
}

static void test_name_is_asked_again_when_no_address_answers(void **state)
{
	int client_fd, server_fd;

	(void)state;
	begin();
	close(listener_fd); /* the server moves to another port */
	listen_somewhere();
	names.port = server_port;
	talk_later(RESOLVER_PAUSE_MS);
	client_fd = connect_with(NULL);
	talk_until_quiet();
	wait_answer();
	assert_int_equal(n_asked, 2);
	server_fd = accept_one();
	talk_send(server_fd, "moved");
	talk_until_quiet();
	assert_int_equal(stub.n_closed, 0);
	close(server_fd);
	close(client_fd);
	end();
}

/* However many clients come while the server is away. */
static void test_name_is_not_asked_more_than_once_a_second(void **state)
{
	(void)state;
	begin();
	shutdown(listener_fd, SHUT_RD); /* refuses from now on */
	for (int i = 0; i < 10; i++) {
		int client_fd = connect_with(NULL);

		talk_wait(client_fd);
		assert_gets_end(client_fd, "");
	}
	assert_int_equal(n_asked, 1);
	assert_int_equal(redirect.n_failed, 10);
	assert_said("usher-test: test: cannot connect to far:service: Connection refused\n");
	end();
}

static void test_next_address_is_tried_and_remembered(void **state)
{
	int client_fd;

	(void)state;
	listen_first();
	names = (struct names){
		.addresses = {"127.0.0.3", "127.0.0.1"}, .port = server_port, .gate_fd = -1};
	begin_unanswered();
	wait_answer();
	for (int i = 0; i < 2; i++) {
		client_fd = connect_with(NULL);
		talk_until_quiet();
		close(accept_one());
		close(client_fd);
	}
	assert_int_equal(redirect.first, 1);
	end();
}

/* An address that does not answer: a listening socket whose queue is full. */
static void fill_silent_address(int ret_fds[2])
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(server_port)};

	inet_pton(AF_INET, "127.0.0.3", &address.sin_addr);
	for (size_t i = 0; i < 2; i++)
		ret_fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(ret_fds[0], (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(ret_fds[0], 0), 0);
	assert_int_equal(connect(ret_fds[1], (struct sockaddr *)&address, sizeof(address)), 0);
}

/* However many clients find out at once, or later, that an address does not answer. */
static void test_address_that_is_silent_is_passed_over_once(void **state)
{
	int client_fds[4], silent_fds[2];

	(void)state;
	listen_first();
	fill_silent_address(silent_fds);
	names = (struct names){
		.addresses = {"127.0.0.3", "127.0.0.1"}, .port = server_port, .gate_fd = -1};
	begin_unanswered();
	wait_answer();
	client_fds[0] = connect_with(NULL);
	client_fds[1] = connect_with(NULL);
	talk_later(1000);
	client_fds[2] = connect_with(NULL);
	talk_later(CONNECT_MS - 1000);
	assert_int_equal(redirect.n_failed, 2);
	wait_answer();
	assert_int_equal(redirect.first, 1);
	talk_later(1000);
	assert_int_equal(redirect.n_failed, 3);
	wait_answer();
	client_fds[3] = connect_with(NULL);
	close(accept_one());
	assert_int_equal(redirect.first, 1);
	for (size_t i = 0; i < 4; i++)
		close(client_fds[i]);
	close(silent_fds[0]);
	close(silent_fds[1]);
	end();
}

static void test_shortage_in_the_middle_is_told(void **state)
{
	struct rlimit limit, none;
	int client_fd, server_fd;

	(void)state;
	begin();
	client_fd = connect_with(NULL);
	talk_until_quiet();
	server_fd = accept_one();
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	none = (struct rlimit){.rlim_cur = 3, .rlim_max = limit.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	talk_send(client_fd, "x");
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	assert_int_equal(redirect.n_failed, 1);
	assert_said("usher-test: test: cannot go on with a client of far:service: Too many open "
		    "files\n");
	close(client_fd);
	close(server_fd);
	end();
}

static void test_silent_client_has_no_pipe(void **state)
{
	int client_fds[20], server_fds[20];
	size_t before;

	(void)state;
	begin();
	wait_for_threads();
	before = test_count_fds();
	for (size_t i = 0; i < 20; i++) {
		client_fds[i] = connect_with(NULL);
		server_fds[i] = accept_one();
		talk_send(client_fds[i], "x");
		assert_server_gets(server_fds[i], "x");
	}
	/* both ends of the client and of the server; one pipe that all have used */
	assert_int_equal(test_count_fds(), before + 4 * 20 + 2);
	for (size_t i = 0; i < 20; i++) {
		close(client_fds[i]);
		close(server_fds[i]);
	}
	end();
}

static void test_status_has_the_counters(void **state)
{
	int client_fd, server_fd;

	(void)state;
	begin();
	client_fd = connect_with(NULL);
	talk_until_quiet();
	server_fd = accept_one();
	talk_send(client_fd, "four");
	close(client_fd);
	talk_until_quiet();
	assert_server_gets(server_fd, "four");
	close(server_fd);
	talk_until(is_empty);
	talk_later(TALLY_MS);
	assert_string_equal(
		stub.status, "0 clients; 1 served, 0 failed, 0 idle; 4 bytes in, 0 bytes out");
	end();
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		check_test(test_bytes_go_both_ways),
		check_test(test_bytes_of_an_earlier_service_come_first),
		check_test(test_slow_client_is_waited_for),
		check_test(test_reset_by_the_server_breaks_the_client),
		check_test(test_silence_ends_at_the_idle_time),
		check_test(test_clients_wait_for_the_first_answer),
		check_test(test_name_server_that_is_silent_keeps_nobody),
		check_test(test_unknown_name_is_told_and_resets),
		check_test(test_name_is_asked_again_when_no_address_answers),
		check_test(test_name_is_not_asked_more_than_once_a_second),
		check_test(test_next_address_is_tried_and_remembered),
		check_test(test_address_that_is_silent_is_passed_over_once),
		check_test(test_shortage_in_the_middle_is_told),
		check_test(test_silent_client_has_no_pipe),
		check_test(test_status_has_the_counters),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
