/* SPDX-License-Identifier: MIT */
/*
 * usher-basic's protocols, spoken over real TCP on loopback (and once AF_UNIX) by a client in the
 * same process. There is no usherd.
 */
#include "connection.h"
#include "protocol.h"
#include "stub-usher.h"
#include "test.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define NOON_OF_TEST  1795262400 /* 2026-11-21 12:00:00 UTC */
#define LAST_OF_32BIT 2085978495 /* 2036-02-07 06:28:15 UTC */

static struct loop loop;
static struct enrolment enrolment = {.usher = &stub};
static struct connections all;

static bool is_memory_out;
void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_malloc(size_t size)
{
	return is_memory_out ? NULL : __real_malloc(size);
}

void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size)
{
	return is_memory_out ? NULL : __real_calloc(n, size);
}

static time_t test_time = NOON_OF_TEST;
time_t __wrap_time(time_t *ret);
time_t __wrap_time(time_t *ret)
{
	assert_null(ret);
	return test_time;
}

static void begin(void)
{
	assert_int_equal(loop_init(&loop), 0);
	connections_init(&all, &loop);
	stub_begin();
}

/* Ends what is open on our side, and the client. */
static void end(int client_fd)
{
	connections_close_all(&all);
	connections_done(&all);
	loop_done(&loop);
	stub_end();
	if (client_fd >= 0)
		close(client_fd);
}

/* A TCP connection to ourselves, both ends non-blocking. */
static void connect_tcp(int *ret_client_fd, int *ret_server_fd)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof(address);
	int listener_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int client_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(listener_fd, (struct sockaddr *)&address, length), 0);
	assert_int_equal(listen(listener_fd, 1), 0);
	assert_int_equal(getsockname(listener_fd, (struct sockaddr *)&address, &length), 0);
	assert_int_equal(connect(client_fd, (struct sockaddr *)&address, length), 0);
	*ret_server_fd = accept4(listener_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	assert_true(*ret_server_fd >= 0);
	assert_int_equal(fcntl(client_fd, F_SETFL, O_NONBLOCK), 0);
	close(listener_fd);
	*ret_client_fd = client_fd;
}

static int serve_with(const char *protocol, int server_fd, const char *data, size_t size)
{
	struct usher_connection accepted = {
		.fd = server_fd, .id = 42, .data = data, .data_size = size};

	return connection_open(&all, &protocol_find(protocol)->conversation, &enrolment, &accepted);
}

static int serve(const char *protocol, int server_fd)
{
	return serve_with(protocol, server_fd, NULL, 0);
}

/* A client in conversation. */
static int begin_with(const char *protocol)
{
	int client_fd, server_fd;

	begin();
	connect_tcp(&client_fd, &server_fd);
	assert_int_equal(serve(protocol, server_fd), 0);
	return client_fd;
}

/* One turn of the loop; returns how many events there were. */
static int turn(int timeout_ms)
{
	struct epoll_event events[16];
	int n = epoll_wait(loop.epoll_fd, events, 16, timeout_ms);

	for (int i = 0; i < n; i++) {
		struct watch *watch = events[i].data.ptr;

		watch->on_event(watch, events[i].events);
	}
	return n;
}

/*
 * Turn until nothing happens any more: an endless sequence of events runs into the test's time
 * limit.
 */
static void turn_until_quiet(void)
{
	while (turn(50) > 0)
		;
}

static void turn_until_closed(void)
{
	while (stub.n_closed == 0)
		turn(-1);
}

/* Read until `size` bytes have come or the end; our side serves meanwhile. Returns how many came.
 */
static size_t client_read(int client_fd, char *data, size_t size)
{
	size_t n_read = 0;

	while (n_read < size) {
		struct pollfd fds[] = {{.fd = client_fd, .events = POLLIN},
			{.fd = loop.epoll_fd, .events = POLLIN}};
		ssize_t n;

		assert_true(poll(fds, 2, -1) > 0);
		turn(0);
		n = recv(client_fd, data + n_read, size - n_read, 0);
		if (n < 0)
			assert_int_equal(errno, EAGAIN);
		if (n == 0)
			break;
		n_read += n > 0 ? (size_t)n : 0;
	}
	return n_read;
}

static void assert_client_sees_end(int client_fd)
{
	char byte;

	assert_int_equal(client_read(client_fd, &byte, 1), 0);
}

/* Write a text of position-dependent bytes until both sides are full; returns how long it is. */
static size_t write_until_full(int client_fd)
{
	char data[4096];
	size_t n_written = 0;
	int n_refused = 0;

	while (n_refused < 2) {
		ssize_t n;

		for (size_t i = 0; i < sizeof(data); i++)
			data[i] = (char)((n_written + i) % 251);
		n = send(client_fd, data, sizeof(data), 0);
		n_written += n > 0 ? (size_t)n : 0;
		n_refused = n < 0 ? n_refused + 1 : 0;
		if (n < 0)
			turn_until_quiet();
	}
	return n_written;
}

static void assert_client_reads_back(int client_fd, size_t size)
{
	char *data = malloc(size);

	assert_int_equal(client_read(client_fd, data, size), size);
	for (size_t i = 0; i < size; i++)
		if (data[i] != (char)(i % 251))
			fail_msg("byte %zu of %zu is wrong", i, size);
	free(data);
}

static void test_echo_returns_what_it_reads(void **state)
{
	int client_fd = begin_with("echo");
	char answer[5];

	(void)state;
	assert_int_equal(send(client_fd, "hello", 5, 0), 5);
	assert_int_equal(client_read(client_fd, answer, 5), 5);
	assert_memory_equal(answer, "hello", 5);
	assert_int_equal(stub.n_closed, 0);
	end(client_fd);
}

static void test_echo_returns_what_was_read_before_it_was_forwarded(void **state)
{
	int client_fd, server_fd;
	char answer[10];

	(void)state;
	begin();
	connect_tcp(&client_fd, &server_fd);
	assert_int_equal(send(client_fd, "world", 5, 0), 5);
	assert_int_equal(serve_with("echo", server_fd, "hello", 5), 0);
	assert_int_equal(client_read(client_fd, answer, 10), 10);
	assert_memory_equal(answer, "helloworld", 10);
	assert_int_equal(stub.n_closed, 0);
	end(client_fd);
}

static void test_echo_after_half_close_returns_all_then_ends(void **state)
{
	int client_fd = begin_with("echo");
	size_t size = write_until_full(client_fd);

	(void)state;
	assert_int_equal(shutdown(client_fd, SHUT_WR), 0);
	assert_client_reads_back(client_fd, size);
	assert_client_sees_end(client_fd);
	assert_int_equal(stub.n_closed, 1);
	assert_int_equal(stub.last_closed_id, 42);
	end(client_fd);
}

static void test_echo_slow_reader_is_not_read_from(void **state)
{
	int client_fd = begin_with("echo");
	size_t size = write_until_full(client_fd);

	(void)state;
	assert_non_null(TAILQ_FIRST(&all.open)->waiting);
	assert_int_equal(TAILQ_FIRST(&all.open)->events, EPOLLOUT);
	assert_client_reads_back(client_fd, size);
	turn_until_quiet();
	assert_null(TAILQ_FIRST(&all.open)->waiting);
	assert_int_equal(TAILQ_FIRST(&all.open)->events, EPOLLIN);
	end(client_fd);
}

static void test_echo_without_memory_for_slow_reader_closes(void **state)
{
	static const char data[65536];
	int client_fd = begin_with("echo");

	(void)state;
	is_memory_out = true;
	while (stub.n_closed == 0) {
		(void)send(client_fd, data, sizeof(data), 0);
		turn(0);
	}
	is_memory_out = false;
	end(client_fd);
}

static void test_echo_client_reset_closes(void **state)
{
	static const struct linger reset = {.l_onoff = 1};
	int client_fd = begin_with("echo");

	(void)state;
	setsockopt(client_fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	close(client_fd);
	turn_until_closed();
	end(-1);
}

static void test_echo_over_unix_socket_until_client_closes(void **state)
{
	int fds[2];
	char answer[2];

	(void)state;
	begin();
	assert_int_equal(
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
	assert_int_equal(serve("echo", fds[0]), 0);
	assert_int_equal(send(fds[1], "hi", 2, 0), 2);
	assert_int_equal(client_read(fds[1], answer, 2), 2);
	close(fds[1]);
	turn_until_closed();
	end(-1);
}

static void test_discard_answers_nothing_until_client_ends(void **state)
{
	int client_fd = begin_with("discard");
	char byte;

	(void)state;
	for (int i = 0; i < 100; i++) {
		assert_int_equal(send(client_fd, "into the void", 13, 0), 13);
		turn(-1);
	}
	turn_until_quiet();
	assert_int_equal(recv(client_fd, &byte, 1, 0), -1);
	assert_int_equal(errno, EAGAIN);
	assert_int_equal(stub.n_closed, 0);
	shutdown(client_fd, SHUT_WR);
	assert_client_sees_end(client_fd);
	assert_int_equal(stub.n_closed, 1);
	end(client_fd);
}

static void test_chargen_sends_rotating_lines(void **state)
{
	int client_fd = begin_with("chargen");

	(void)state;
	for (int line = 0; line < 3 * 95; line++) {
		char text[74];

		assert_int_equal(client_read(client_fd, text, sizeof(text)), sizeof(text));
		for (int i = 0; i < 72; i++)
			assert_int_equal(text[i], ' ' + (line + i) % 95);
		assert_memory_equal(text + 72, "\r\n", 2);
	}
	end(client_fd);
}

static void test_chargen_reader_that_does_not_read_causes_no_events(void **state)
{
	int client_fd = begin_with("chargen");

	(void)state;
	turn_until_quiet();
	assert_int_equal(stub.n_closed, 0);
	end(client_fd);
}

static void test_chargen_half_closed_client_still_gets_lines(void **state)
{
	int client_fd = begin_with("chargen");
	char text[74 * 200];

	(void)state;
	shutdown(client_fd, SHUT_WR);
	turn_until_quiet();
	assert_int_equal(stub.n_closed, 0);
	assert_int_equal(client_read(client_fd, text, sizeof(text)), sizeof(text));
	end(client_fd);
}

static void test_chargen_discards_input(void **state)
{
	int client_fd = begin_with("chargen");
	size_t n_sent = 0;

	(void)state;
	while (n_sent < 16 << 20) {
		static const char data[65536];
		ssize_t n = send(client_fd, data, sizeof(data), 0);

		n_sent += n > 0 ? (size_t)n : 0;
		turn(0);
	}
	assert_int_equal(stub.n_closed, 0);
	end(client_fd);
}

static void test_chargen_client_that_closes_is_closed(void **state)
{
	int client_fd = begin_with("chargen");

	(void)state;
	turn(-1);
	close(client_fd);
	turn_until_closed();
	end(-1);
}

static void test_daytime_is_one_line_then_end(void **state)
{
	static const char expected[] = "Saturday, November 21, 2026 12:00:00-UTC\r\n";
	int client_fd = begin_with("daytime");
	char line[128];

	(void)state;
	assert_int_equal(client_read(client_fd, line, sizeof(line)), strlen(expected));
	assert_memory_equal(line, expected, strlen(expected));
	end(client_fd);
}

static void test_daytime_ended_by_client_is_closed(void **state)
{
	int client_fd = begin_with("daytime");

	(void)state;
	assert_int_equal(stub.n_closed, 0);
	close(client_fd);
	turn_until_closed();
	assert_int_equal(all.n_lingering, 0);
	end(-1);
}

/* The connection is served when input is already there, and more comes after the answer. */
static void test_daytime_unread_input_does_not_reset(void **state)
{
	int client_fd, server_fd;
	char line[128];

	(void)state;
	begin();
	connect_tcp(&client_fd, &server_fd);
	assert_int_equal(send(client_fd, "before", 6, 0), 6);
	assert_int_equal(serve("daytime", server_fd), 0);
	assert_int_equal(send(client_fd, "after", 5, 0), 5);
	turn_until_quiet();
	assert_int_equal(send(client_fd, "and later", 9, 0), 9);
	turn_until_quiet();
	assert_int_equal(client_read(client_fd, line, sizeof(line)), 42);
	assert_client_sees_end(client_fd);
	end(client_fd);
}

static void assert_time_is(time_t now, uint32_t expected)
{
	uint32_t answer;
	int client_fd;

	test_time = now;
	client_fd = begin_with("time");
	assert_int_equal(client_read(client_fd, (char *)&answer, sizeof(answer)), sizeof(answer));
	assert_int_equal(ntohl(answer), expected);
	assert_client_sees_end(client_fd);
	end(client_fd);
	test_time = NOON_OF_TEST;
}

static void test_time_is_seconds_since_1900(void **state)
{
	(void)state;
	assert_time_is(0, 2208988800); /* 00:00 1 Jan 1970, from the RFC's own list */
	assert_time_is(1, 2208988801);
}

static void test_time_wraps_in_2036(void **state)
{
	(void)state;
	assert_time_is(LAST_OF_32BIT, UINT32_MAX);
	assert_time_is(LAST_OF_32BIT + 1, 0);
}

static void test_lingering_ends_at_deadline(void **state)
{
	int client_fd = begin_with("time");
	int64_t deadline_ms = all.timer.at_ms;

	(void)state;
	assert_in_range(deadline_ms, monotonic_ms(), monotonic_ms() + LINGER_MS);
	all.timer.on_time(&all.timer, deadline_ms - 1);
	assert_int_equal(stub.n_closed, 0);
	all.timer.on_time(&all.timer, deadline_ms);
	assert_int_equal(stub.n_closed, 1);
	assert_int_equal(all.timer.at_ms, NO_DEADLINE);
	end(client_fd);
}

static void test_lingering_beyond_limit_ends_oldest(void **state)
{
	struct rlimit limit;

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = limit.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	begin();
	for (uint64_t id = 1; id <= LINGER_MAX + 1; id++) {
		struct usher_connection accepted = {.id = id};
		int fds[2];

		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
		accepted.fd = fds[0];
		assert_int_equal(connection_open(&all, &protocol_find("time")->conversation,
					 &enrolment, &accepted),
			0);
		close(fds[1]);
	}
	all.timer.on_time(&all.timer, 0);
	assert_int_equal(stub.n_closed, 1);
	assert_int_equal(stub.last_closed_id, 1);
	assert_int_equal(all.n_lingering, LINGER_MAX);
	end(-1);
}

static void test_open_without_memory_closes(void **state)
{
	int client_fd, server_fd;

	(void)state;
	begin();
	connect_tcp(&client_fd, &server_fd);
	is_memory_out = true;
	assert_int_equal(serve("echo", server_fd), -ENOMEM);
	is_memory_out = false;
	assert_int_equal(stub.n_closed, 1);
	assert_client_sees_end(client_fd);
	end(client_fd);
}

static void test_open_of_what_epoll_refuses_closes(void **state)
{
	(void)state;
	begin();
	assert_int_equal(serve("echo", open("/dev/null", O_RDWR | O_CLOEXEC)), -EPERM);
	assert_int_equal(stub.n_closed, 1);
	end(-1);
}

/* usherd's copy keeps the socket alive, and epoll would go on reporting it. */
static void test_closed_connection_causes_no_event_while_a_copy_exists(void **state)
{
	int client_fd, server_fd, copy_fd;

	(void)state;
	begin();
	connect_tcp(&client_fd, &server_fd);
	copy_fd = dup(server_fd);
	assert_int_equal(serve("discard", server_fd), 0);
	shutdown(client_fd, SHUT_WR);
	turn_until_closed();
	assert_int_equal(turn(50), 0);
	assert_client_sees_end(client_fd);
	close(copy_fd);
	end(client_fd);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		check_test(test_echo_returns_what_it_reads),
		check_test(test_echo_returns_what_was_read_before_it_was_forwarded),
		check_test(test_echo_after_half_close_returns_all_then_ends),
		check_test(test_echo_slow_reader_is_not_read_from),
		check_test(test_echo_without_memory_for_slow_reader_closes),
		check_test(test_echo_client_reset_closes),
		check_test(test_echo_over_unix_socket_until_client_closes),
		check_test(test_discard_answers_nothing_until_client_ends),
		check_test(test_chargen_sends_rotating_lines),
		check_test(test_chargen_reader_that_does_not_read_causes_no_events),
		check_test(test_chargen_half_closed_client_still_gets_lines),
		check_test(test_chargen_discards_input),
		check_test(test_chargen_client_that_closes_is_closed),
		check_test(test_daytime_is_one_line_then_end),
		check_test(test_daytime_ended_by_client_is_closed),
		check_test(test_daytime_unread_input_does_not_reset),
		check_test(test_time_is_seconds_since_1900),
		check_test(test_time_wraps_in_2036),
		check_test(test_lingering_ends_at_deadline),
		check_test(test_lingering_beyond_limit_ends_oldest),
		check_test(test_open_without_memory_closes),
		check_test(test_open_of_what_epoll_refuses_closes),
		check_test(test_closed_connection_causes_no_event_while_a_copy_exists),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
