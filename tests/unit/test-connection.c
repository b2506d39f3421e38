/* SPDX-License-Identifier: MIT */
/*
 * connection: what the kernel says of real TCP connections over loopback, before and after somebody
 * used them; and forwarded: what a forwarded connection brings with it.
 */
#include "connection.h"
#include "fd.h"
#include "forwarded.h"
#include "test.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define WAIT_MS 10000

static const struct connection_mark unused;

/* What happens after each TCP_INFO that the kernel returns. */
static void (*on_tcp_info)(struct tcp_info *info);
static bool is_out_of_memory;

/* What the kernel calls the protocol of every socket, if not 0. */
static int protocol;

int __real_getsockopt(int fd, int level, int name, void *value, socklen_t *size);
int __wrap_getsockopt(int fd, int level, int name, void *value, socklen_t *size);
void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);

int __wrap_getsockopt(int fd, int level, int name, void *value, socklen_t *size)
{
	int r = __real_getsockopt(fd, level, name, value, size);

	if (r == 0 && level == IPPROTO_TCP && name == TCP_INFO && on_tcp_info)
		on_tcp_info(value);
	if (r == 0 && level == SOL_SOCKET && name == SO_PROTOCOL && protocol != 0)
		memcpy(value, &protocol, sizeof(protocol));
	return r;
}

void *__wrap_calloc(size_t n, size_t size)
{
	return is_out_of_memory ? NULL : __real_calloc(n, size);
}

/* One connection: the client's end, and the one that was accepted. */
struct ends {
	int client, fd;
};

static int listen_on_loopback(struct sockaddr_in *ret_address)
{
	socklen_t size = sizeof(*ret_address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	*ret_address = (struct sockaddr_in){
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)ret_address, size), 0);
	assert_int_equal(listen(fd, 1), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)ret_address, &size), 0);
	return fd;
}

static struct ends begin(void)
{
	const int on = 1;
	struct sockaddr_in address;
	_cleanup_close_ int listener = listen_on_loopback(&address);
	struct ends c = {.client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};

	assert_int_equal(connect(c.client, (struct sockaddr *)&address, sizeof(address)), 0);
	/* Small pieces are not to wait for each other. */
	assert_int_equal(setsockopt(c.client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)), 0);
	c.fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	assert_true(c.fd >= 0);
	return c;
}

static void finish(struct ends *c)
{
	c->client = close_fd(c->client);
	c->fd = close_fd(c->fd);
}

static void wait_for(int fd, short events)
{
	struct pollfd p = {.fd = fd, .events = events};

	assert_int_equal(poll(&p, 1, WAIT_MS), 1);
	assert_true(p.revents & events);
}

/* The client sends `n` bytes, so that there are `n_unread` at the other end, which have arrived. */
static void send_from_client(const struct ends *c, size_t n, int n_unread)
{
	static const char bytes[4096];

	assert_int_equal(send(c->client, bytes, n, 0), n);
	assert_int_equal(
		setsockopt(c->fd, SOL_SOCKET, SO_RCVLOWAT, &n_unread, sizeof(n_unread)), 0);
	wait_for(c->fd, POLLIN);
}

static void close_client(struct ends *c)
{
	c->client = close_fd(c->client);
	wait_for(c->fd, POLLRDHUP);
}

static void read_bytes(const struct ends *c, size_t n)
{
	char bytes[4096];

	assert_int_equal(recv(c->fd, bytes, n, 0), n);
}

static void write_bytes(const struct ends *c, size_t n)
{
	static const char bytes[4096];

	assert_int_equal(send(c->fd, bytes, n, 0), n);
}

/* Since accept4(2) */

static void test_new_connection_is_untouched(void **state)
{
	struct ends c = begin();

	(void)state;
	assert_true(connection_is_untouched(c.fd, &unused));
	finish(&c);
}

static void test_unread_bytes_leave_it_untouched(void **state)
{
	struct ends c = begin();

	(void)state;
	send_from_client(&c, 1000, 1000);
	assert_true(connection_is_untouched(c.fd, &unused));
	finish(&c);
}

static void test_client_that_is_done_sending_leaves_it_untouched(void **state)
{
	struct ends c = begin();

	(void)state;
	send_from_client(&c, 1000, 1000);
	close_client(&c);
	assert_true(connection_is_untouched(c.fd, &unused));
	finish(&c);
}

static void test_one_byte_read_is_a_touch(void **state)
{
	struct ends c = begin();

	(void)state;
	send_from_client(&c, 1000, 1000);
	read_bytes(&c, 1);
	assert_false(connection_is_untouched(c.fd, &unused));
	close_client(&c);
	assert_false(connection_is_untouched(c.fd, &unused));
	finish(&c);
}

static void test_one_byte_written_is_a_touch(void **state)
{
	struct ends c = begin();

	(void)state;
	write_bytes(&c, 1);
	assert_false(connection_is_untouched(c.fd, &unused));
	finish(&c);
}

static void test_bytes_that_could_not_be_sent_yet_are_a_touch(void **state)
{
	const int on = 1;
	struct ends c = begin();

	(void)state;
	/* Corked: the kernel has the byte and keeps it. */
	assert_int_equal(setsockopt(c.fd, IPPROTO_TCP, TCP_CORK, &on, sizeof(on)), 0);
	write_bytes(&c, 1);
	assert_false(connection_is_untouched(c.fd, &unused));
	finish(&c);
}

static void test_shutdown_is_a_touch(void **state)
{
	struct ends c = begin();

	(void)state;
	assert_int_equal(shutdown(c.fd, SHUT_WR), 0);
	assert_false(connection_is_untouched(c.fd, &unused));
	finish(&c);
}

static void test_connection_that_the_client_has_reset_is_of_no_use(void **state)
{
	const struct linger reset = {.l_onoff = 1};
	struct ends c = begin();

	(void)state;
	assert_int_equal(setsockopt(c.client, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)), 0);
	c.client = close_fd(c.client);
	wait_for(c.fd, POLLHUP);
	assert_false(connection_is_untouched(c.fd, &unused));
	finish(&c);
}

/* Since a mark */

/* A connection of which 10 bytes were read, 5 left unread and 20 written; and its mark. */
static struct ends begin_used(struct connection_mark *ret)
{
	struct ends c = begin();

	send_from_client(&c, 15, 15);
	read_bytes(&c, 10);
	write_bytes(&c, 20);
	*ret = connection_mark(c.fd);
	assert_int_equal(ret->n_read, 10);
	assert_int_equal(ret->n_written, 20);
	return c;
}

static void test_mark_of_a_new_connection_is_zero(void **state)
{
	struct ends c = begin();
	struct connection_mark mark;

	(void)state;
	send_from_client(&c, 7, 7);
	mark = connection_mark(c.fd);
	assert_memory_equal(&mark, &unused, sizeof(mark));
	finish(&c);
}

static void test_used_connection_is_untouched_since_its_mark(void **state)
{
	struct connection_mark mark;
	struct ends c = begin_used(&mark);

	(void)state;
	assert_true(connection_is_untouched(c.fd, &mark));
	assert_false(connection_is_untouched(c.fd, &unused));
	send_from_client(&c, 100, 105);
	assert_true(connection_is_untouched(c.fd, &mark));
	assert_int_equal(shutdown(c.client, SHUT_WR), 0);
	wait_for(c.fd, POLLRDHUP);
	assert_true(connection_is_untouched(c.fd, &mark));
	finish(&c);
}

static void test_mark_after_the_client_is_done_sending(void **state)
{
	struct connection_mark mark;
	struct ends c = begin();

	(void)state;
	send_from_client(&c, 15, 15);
	read_bytes(&c, 10);
	close_client(&c);
	mark = connection_mark(c.fd);
	assert_int_equal(mark.n_read, 10);
	assert_true(connection_is_untouched(c.fd, &mark));
	read_bytes(&c, 5);
	assert_false(connection_is_untouched(c.fd, &mark));
	finish(&c);
}

static void test_reading_since_a_mark_is_a_touch(void **state)
{
	struct connection_mark mark;
	struct ends c = begin_used(&mark);

	(void)state;
	read_bytes(&c, 1);
	assert_false(connection_is_untouched(c.fd, &mark));
	finish(&c);
}

static void test_writing_since_a_mark_is_a_touch(void **state)
{
	struct connection_mark mark;
	struct ends c = begin_used(&mark);

	(void)state;
	write_bytes(&c, 1);
	assert_false(connection_is_untouched(c.fd, &mark));
	finish(&c);
}

static void send_100_bytes_again(struct tcp_info *info)
{
	info->tcpi_bytes_sent += 100;
	info->tcpi_bytes_retrans += 100;
}

static void test_what_the_kernel_sends_again_is_no_touch(void **state)
{
	struct connection_mark mark;
	struct ends c = begin_used(&mark);

	(void)state;
	on_tcp_info = send_100_bytes_again;
	assert_true(connection_is_untouched(c.fd, &mark));
	on_tcp_info = NULL;
	finish(&c);
}

/* While we look */

static struct ends busy;
static int n_busy_sends, n_busy_unread;

static void send_some(struct tcp_info *info)
{
	(void)info;
	if (n_busy_sends > 0) {
		n_busy_sends--;
		send_from_client(&busy, 10, n_busy_unread += 10);
	}
}

static void begin_busy(int n_sends)
{
	busy = begin();
	n_busy_sends = n_sends;
	n_busy_unread = 0;
	on_tcp_info = send_some;
}

static void end_busy(void)
{
	on_tcp_info = NULL;
	finish(&busy);
}

static void test_bytes_that_arrive_while_we_look_are_no_touch(void **state)
{
	(void)state;
	begin_busy(3);
	assert_true(connection_is_untouched(busy.fd, &unused));
	assert_int_equal(n_busy_sends, 0);
	end_busy();
}

static void test_client_that_never_stops_sending_cannot_hold_us(void **state)
{
	(void)state;
	begin_busy(1000);
	assert_false(connection_is_untouched(busy.fd, &unused));
	assert_true(n_busy_sends > 500);
	end_busy();
}

/* Other sockets */

static void test_of_other_sockets_the_answer_is_yes(void **state)
{
	struct connection_mark mark;
	char byte;
	int fds[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	assert_int_equal(send(fds[0], "ab", 2, 0), 2);
	assert_int_equal(recv(fds[1], &byte, 1, 0), 1);
	assert_true(connection_is_untouched(fds[1], &unused));
	mark = connection_mark(fds[1]);
	assert_memory_equal(&mark, &unused, sizeof(mark));
	close_fd(fds[0]);
	close_fd(fds[1]);
}

static void test_connected_streams_are_streams(void **state)
{
	struct ends c = begin();
	int fds[2];

	(void)state;
	assert_true(connection_is_stream(c.fd));
	send_from_client(&c, 1, 1);
	close_client(&c);
	assert_true(connection_is_stream(c.fd));
	finish(&c);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	assert_true(connection_is_stream(fds[0]));
	close_fd(fds[0]);
	close_fd(fds[1]);
}

static void expect_no_stream(int fd)
{
	assert_true(fd >= 0);
	assert_false(connection_is_stream(fd));
	close_fd(fd);
}

static void test_what_is_no_connection_is_no_stream(void **state)
{
	struct sockaddr_in address;
	int fds[2];

	(void)state;
	assert_false(connection_is_stream(-EBADF));
	expect_no_stream(open("/dev/null", O_RDWR | O_CLOEXEC));
	expect_no_stream(listen_on_loopback(&address));
	expect_no_stream(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
	expect_no_stream(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
	test_socketpair(fds);
	expect_no_stream(fds[0]);
	expect_no_stream(fds[1]);
	assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, fds), 0);
	expect_no_stream(fds[0]);
	expect_no_stream(fds[1]);
	fds[0] = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	address.sin_port = htons(9);
	assert_int_equal(connect(fds[0], (struct sockaddr *)&address, sizeof(address)), 0);
	expect_no_stream(fds[0]);
}

static void test_streams_of_another_protocol_are_no_streams(void **state)
{
	struct ends c = begin();

	(void)state;
	protocol = IPPROTO_SCTP;
	assert_false(connection_is_stream(c.fd));
	protocol = IPPROTO_MPTCP;
	assert_true(connection_is_stream(c.fd));
	protocol = 0;
	assert_true(connection_is_stream(c.fd));
	finish(&c);
}

/* Forwarded */

static void test_forwarded_copies_name_and_bytes(void **state)
{
	char from[] = "login", data[] = {'a', '\0', 'c'};
	struct forwarded *forwarded = forwarded_new(from, data, sizeof(data));

	(void)state;
	assert_non_null(forwarded);
	memset(from, 'x', sizeof(from) - 1);
	memset(data, 'x', sizeof(data));
	assert_string_equal(forwarded->from, "login");
	assert_int_equal(forwarded->size, 3);
	assert_memory_equal(forwarded->data, "a\0c", 3);
	assert_memory_equal(&forwarded->mark, &unused, sizeof(unused));
	assert_null(forwarded_free(forwarded));
}

static void test_forwarded_may_bring_nothing_or_as_much_as_a_message_holds(void **state)
{
	static const uint8_t most[WIRE_MAX_FORWARDED_BYTES] = {[WIRE_MAX_FORWARDED_BYTES - 1] = 1};
	char longest[WIRE_NAME_SIZE] = "";
	struct forwarded *forwarded;

	(void)state;
	memset(longest, 'n', sizeof(longest) - 1);
	forwarded = forwarded_new(longest, NULL, 0);
	assert_string_equal(forwarded->from, longest);
	assert_int_equal(forwarded->size, 0);
	forwarded_free(forwarded);
	forwarded = forwarded_new("a", most, sizeof(most));
	assert_memory_equal(forwarded->data, most, sizeof(most));
	forwarded_free(forwarded);
	assert_null(forwarded_free(NULL));
}

static void test_forwarded_out_of_memory(void **state)
{
	(void)state;
	is_out_of_memory = true;
	assert_null(forwarded_new("a", "b", 1));
	is_out_of_memory = false;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_test(test_new_connection_is_untouched),
		check_test(test_unread_bytes_leave_it_untouched),
		check_test(test_client_that_is_done_sending_leaves_it_untouched),
		check_test(test_one_byte_read_is_a_touch),
		check_test(test_one_byte_written_is_a_touch),
		check_test(test_bytes_that_could_not_be_sent_yet_are_a_touch),
		check_test(test_shutdown_is_a_touch),
		check_test(test_connection_that_the_client_has_reset_is_of_no_use),
		check_test(test_mark_of_a_new_connection_is_zero),
		check_test(test_used_connection_is_untouched_since_its_mark),
		check_test(test_mark_after_the_client_is_done_sending),
		check_test(test_reading_since_a_mark_is_a_touch),
		check_test(test_writing_since_a_mark_is_a_touch),
		check_test(test_what_the_kernel_sends_again_is_no_touch),
		check_test(test_bytes_that_arrive_while_we_look_are_no_touch),
		check_test(test_client_that_never_stops_sending_cannot_hold_us),
		check_test(test_of_other_sockets_the_answer_is_yes),
		check_test(test_connected_streams_are_streams),
		check_test(test_what_is_no_connection_is_no_stream),
		check_test(test_streams_of_another_protocol_are_no_streams),
		check_test(test_forwarded_copies_name_and_bytes),
		check_test(test_forwarded_may_bring_nothing_or_as_much_as_a_message_holds),
		check_test(test_forwarded_out_of_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
