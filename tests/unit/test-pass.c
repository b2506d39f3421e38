/* SPDX-License-Identifier: MIT */
/*
 * One connection on its way to a receiver: what it gets, and how its end is told from its having
 * read the message, for the three types of sockets.
 */
#include "fd.h"
#include "fdpass.h"
#include "loop.h"
#include "pass.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static const int types[] = {SOCK_STREAM, SOCK_SEQPACKET, SOCK_DGRAM};
#define N_TYPES (sizeof(types) / sizeof(*types))

struct scene {
	struct config_pass receiver;
	int bound_fd;
	int connection_fd, far_fd; /* what is passed, and its other end */
	struct pass *pass;
	int n_ends;
	enum pass_end end;
};

static const struct wire_address nobody = {.family = AF_UNIX};

static int bind_to(const char *path, int type, int backlog)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	if (type != SOCK_DGRAM)
		assert_int_equal(listen(fd, backlog), 0);
	return fd;
}

static void begin(struct scene *s, int type)
{
	static char path[108];
	int fds[2];

	(void)snprintf(path, sizeof(path), "%s", in_folder("receiver"));
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	*s = (struct scene){
		.receiver = {.path = path, .type = type},
		.bound_fd = bind_to(path, type, 2),
		.connection_fd = fds[0],
		.far_fd = fds[1],
	};
}

static void end(struct scene *s)
{
	pass_free(s->pass);
	close_fd(s->bound_fd);
	close_fd(s->connection_fd);
	close_fd(s->far_fd);
	assert_int_equal(unlink(s->receiver.path), 0);
}

static void on_end(struct pass *pass, enum pass_end how, void *userdata)
{
	struct scene *s = userdata;

	assert_ptr_equal(pass, s->pass);
	s->n_ends++;
	s->end = how;
	s->pass = pass_free(pass);
}

static int try_pass(struct scene *s, struct pass **ret)
{
	return pass_new(ret, loop, &s->receiver, -EBADF, s->connection_fd, &nobody, on_end, s);
}

static void pass_it(struct scene *s)
{
	assert_int_equal(try_pass(s, &s->pass), 0);
}

/* The receiver's end of the channel; its bound socket for datagrams. */
static int accept_channel(const struct scene *s)
{
	int fd =
		s->receiver.type == SOCK_DGRAM ? dup(s->bound_fd) : accept(s->bound_fd, NULL, NULL);

	assert_true(fd >= 0);
	return fd;
}

static void test_the_receiver_gets_a_byte_and_the_descriptor(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_TYPES; i++) {
		struct fdpass_received received;
		struct scene s;
		char bytes[64];
		int fd;

		begin(&s, types[i]);
		pass_it(&s);
		(void)turn_while_ready();
		assert_int_equal(s.n_ends, 0); /* it lies in the queue */
		fd = accept_channel(&s);
		(void)turn_while_ready();
		assert_int_equal(s.n_ends, 0); /* still */
		assert_int_equal(fdpass_receive(fd, bytes, sizeof(bytes), 2, &received), 0);
		assert_int_equal(received.size, 1);
		assert_int_equal(received.n_fds, 1);
		assert_int_equal(send(received.fds[0], "x", 1, 0), 1);
		assert_int_equal(recv(s.far_fd, bytes, 1, 0), 1);
		fdpass_close(&received, 0);
		turn_until(s.n_ends == 1); /* though it holds the channel open */
		assert_int_equal(s.end, PASS_TAKEN);
		close_fd(fd);
		end(&s);
	}
}

static void test_a_receiver_may_answer_and_close(void **state)
{
	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct fdpass_received received;
		struct scene s;
		char bytes[64];
		int fd;

		begin(&s, types[i]);
		pass_it(&s);
		fd = accept_channel(&s);
		assert_int_equal(fdpass_receive(fd, bytes, sizeof(bytes), 2, &received), 0);
		fdpass_close(&received, 0);
		assert_int_equal(send(fd, "ok", 2, 0), 2);
		close_fd(fd);
		turn_until(s.n_ends == 1);
		assert_int_equal(s.end, PASS_TAKEN);
		end(&s);
	}
}

static void test_a_channel_that_is_closed_unread_says_so(void **state)
{
	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct scene s;

		begin(&s, types[i]);
		pass_it(&s);
		close_fd(accept_channel(&s));
		turn_until(s.n_ends == 1);
		assert_int_equal(s.end, PASS_UNREAD);
		end(&s);
	}
}

static void test_who_goes_before_accepting_has_not_read_it(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_TYPES; i++) {
		struct scene s;

		begin(&s, types[i]);
		pass_it(&s);
		s.bound_fd = close_fd(s.bound_fd);
		turn_until(s.n_ends == 1);
		assert_int_equal(s.end, PASS_UNREAD);
		end(&s);
	}
}

/* A stream receiver that stops in the middle of the attributes does not have them all. */
static void test_a_message_that_is_read_in_part_is_unread(void **state)
{
	struct fdpass_received received;
	struct scene s;
	char byte;
	int fd;

	(void)state;
	begin(&s, SOCK_STREAM);
	s.receiver.has_postfix_attributes = true;
	pass_it(&s);
	fd = accept_channel(&s);
	assert_int_equal(fdpass_receive(fd, &byte, 1, 1, &received), 0);
	assert_int_equal(received.n_fds, 1);
	fdpass_close(&received, 0);
	(void)turn_while_ready();
	assert_int_equal(s.n_ends, 0);
	close_fd(fd);
	turn_until(s.n_ends == 1);
	assert_int_equal(s.end, PASS_UNREAD);
	end(&s);
}

/* One that has bound the path anew says nothing of the one before, which may have read it. */
static void test_a_datagram_whose_receiver_was_replaced_counts_as_read(void **state)
{
	struct scene s;
	int other_fd;

	(void)state;
	begin(&s, SOCK_DGRAM);
	pass_it(&s);
	assert_int_equal(unlink(s.receiver.path), 0);
	other_fd = bind_to(s.receiver.path, SOCK_DGRAM, 0);
	s.bound_fd = close_fd(s.bound_fd);
	turn_until(s.n_ends == 1);
	assert_int_equal(s.end, PASS_TAKEN);
	close_fd(other_fd);
	end(&s);
}

static void test_errors_say_whether_it_is_full_or_not_there(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_TYPES; i++) {
		struct pass *passes[512] = {NULL};
		struct scene s;
		int r = 0;

		begin(&s, types[i]);
		for (size_t j = 0; j < 512 && r == 0; j++)
			r = try_pass(&s, &passes[j]);
		assert_int_equal(r, -EAGAIN);
		assert_true(pass_is_full(r));
		assert_int_equal(pass_connect(&s.receiver), -EAGAIN);
		for (size_t j = 0; j < 512; j++)
			pass_free(passes[j]);
		s.bound_fd = close_fd(s.bound_fd);
		assert_int_equal(try_pass(&s, &s.pass), -ECONNREFUSED);
		assert_false(pass_is_full(-ECONNREFUSED));
		assert_int_equal(unlink(s.receiver.path), 0);
		assert_int_equal(try_pass(&s, &s.pass), -ENOENT);
		s.bound_fd = bind_to(
			s.receiver.path, types[i] == SOCK_STREAM ? SOCK_DGRAM : SOCK_STREAM, 1);
		assert_int_equal(try_pass(&s, &s.pass), -EPROTOTYPE);
		assert_null(s.pass);
		end(&s);
	}
}

static void test_a_channel_that_is_there_is_used(void **state)
{
	struct scene s;
	int fd;

	(void)state;
	begin(&s, SOCK_STREAM);
	fd = pass_connect(&s.receiver);
	assert_true(fd >= 0);
	assert_int_equal(
		pass_new(&s.pass, loop, &s.receiver, fd, s.connection_fd, &nobody, on_end, &s), 0);
	assert_int_equal(pass_fd(s.pass), fd);
	close_fd(accept_channel(&s));
	assert_int_equal(accept(s.bound_fd, NULL, NULL), -1); /* there is one channel only */
	turn_until(s.n_ends == 1);
	end(&s);
}

static void test_an_adopted_one_goes_on(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_TYPES; i++) {
		struct fdpass_received received;
		struct scene s;
		char byte;
		int fd, channel_fd;

		begin(&s, types[i]);
		pass_it(&s);
		channel_fd = dup(pass_fd(s.pass));
		pass_free(s.pass);
		assert_int_equal(pass_adopt(&s.pass, loop, channel_fd, on_end, &s), 0);
		(void)turn_while_ready();
		assert_int_equal(s.n_ends, 0);
		fd = accept_channel(&s);
		assert_int_equal(fdpass_receive(fd, &byte, 1, 1, &received), 0);
		fdpass_close(&received, 0);
		turn_until(s.n_ends == 1);
		assert_int_equal(s.end, PASS_TAKEN);
		close_fd(fd);
		end(&s);
	}
}

static struct wire_address wire_address_of(const char *host, unsigned int port)
{
	bool is_v6 = strchr(host, ':');
	struct wire_address address = {
		.family = is_v6 ? AF_INET6 : AF_INET, .port = htons((uint16_t)port)};

	assert_int_equal(inet_pton(address.family, host, address.address), 1);
	return address;
}

static void test_the_attributes_of_postfix(void **state)
{
	static const char ipv4[] = "client_address\000192.0.2.7\0client_port\00040000\0"
				   "server_address\000192.0.2.1\0server_port\00025\0";
	static const char ipv6[] = "client_address\0002001:db8::7\0client_port\000"
				   "65535\0"
				   "server_address\0002001:db8::1\0server_port\00025\0";
	const struct wire_address peer = wire_address_of("192.0.2.7", 40000);
	const struct wire_address local = wire_address_of("192.0.2.1", 25);
	const struct wire_address peer6 = wire_address_of("2001:db8::7", 65535);
	const struct wire_address local6 = wire_address_of("2001:db8::1", 25);
	char bytes[PASS_MAX_ATTRIBUTES];

	(void)state; /* the NUL of the literal is the last one */
	assert_int_equal(pass_format_attributes(&peer, &local, bytes), sizeof(ipv4));
	assert_memory_equal(bytes, ipv4, sizeof(ipv4));
	assert_int_equal(pass_format_attributes(&peer6, &local6, bytes), sizeof(ipv6));
	assert_memory_equal(bytes, ipv6, sizeof(ipv6));
	assert_int_equal(pass_format_attributes(&nobody, &local, bytes), 1);
	assert_int_equal(bytes[0], '\0');
}

static void test_the_longest_attributes_fit(void **state)
{
	const struct wire_address longest =
		wire_address_of("1111:1111:1111:1111:1111:1111:1111:1111", 65535);
	char bytes[PASS_MAX_ATTRIBUTES];

	(void)state;
	assert_true(pass_format_attributes(&longest, &longest, bytes) <= sizeof(bytes));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_loop_test(test_the_receiver_gets_a_byte_and_the_descriptor),
		check_loop_test(test_a_receiver_may_answer_and_close),
		check_loop_test(test_a_channel_that_is_closed_unread_says_so),
		check_loop_test(test_who_goes_before_accepting_has_not_read_it),
		check_loop_test(test_a_message_that_is_read_in_part_is_unread),
		check_loop_test(test_a_datagram_whose_receiver_was_replaced_counts_as_read),
		check_loop_test(test_errors_say_whether_it_is_full_or_not_there),
		check_loop_test(test_a_channel_that_is_there_is_used),
		check_loop_test(test_an_adopted_one_goes_on),
		check_loop_test(test_the_attributes_of_postfix),
		check_loop_test(test_the_longest_attributes_fit),
	};

	return cmocka_run_group_tests_name("pass", tests, NULL, NULL);
}
