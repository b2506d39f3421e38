/* SPDX-License-Identifier: MIT */
/*
 * Messages with descriptors over real socket pairs: each trap of SCM_RIGHTS is a test by name.
 *
 * That a descriptor was closed is proved by a pipe: its reader sees the end of the file only when
 * no copy of the writing end is left, neither here nor in a queue.
 */
#include "fd.h"
#include "fdpass-world.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* Send "hello" with `fds`, and receive it with room for `max_fds`. */
static void pass(const int fds[], size_t n_fds, size_t max_fds, struct fdpass_received *ret)
{
	struct pair pair = open_pair();
	char data[16];

	assert_int_equal(fdpass_send(pair.here, "hello", 5, fds, n_fds), 0);
	assert_int_equal(fdpass_receive(pair.there, data, sizeof(data), max_fds, ret), 0);
	assert_int_equal(ret->size, 5);
	assert_memory_equal(data, "hello", 5);
	assert_false(ret->is_data_truncated);
	close_pair(&pair);
}

/* No copy of the pipe's writing end is left anywhere. */
static void assert_end_of_file(int read_fd)
{
	char byte;

	assert_int_equal(read(read_fd, &byte, 1), 0);
}

/* Send one message by hand, as a peer that does not use fdpass.h would. */
static void send_raw(int fd, const char *data, size_t size, void *control, size_t control_size)
{
	char copy[16];
	struct iovec iov = {.iov_base = copy, .iov_len = size};
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};

	memcpy(copy, data, size);
	message.msg_control = control;
	message.msg_controllen = control_size;
	assert_int_equal(sendmsg(fd, &message, 0), size);
}

/* A message with two SCM_RIGHTS blocks of one descriptor each. */
static void send_two_blocks(int fd, const int fds[2])
{
	union {
		struct cmsghdr header;
		char bytes[2 * CMSG_SPACE(sizeof(int))];
	} control = {.bytes = {0}};

	for (size_t i = 0; i < 2; i++) {
		struct cmsghdr block = {.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
		char *at = control.bytes + i * CMSG_SPACE(sizeof(int));

		block.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(at, &block, sizeof(block));
		memcpy(at + CMSG_LEN(0), &fds[i], sizeof(int));
	}
	send_raw(fd, "two", 3, &control, sizeof(control));
}

static void test_1_to_16_descriptors_arrive_in_order(void **state)
{
	int fds[FDPASS_MAX];

	(void)state;
	open_files(fds, FDPASS_MAX);
	for (size_t n = 1; n <= FDPASS_MAX; n++) {
		struct fdpass_received received;

		pass(fds, n, FDPASS_MAX, &received);
		assert_false(received.is_fds_truncated);
		assert_first_arrived(&received, fds, n);
		fdpass_close(&received, 0);
	}
	close_files(fds, FDPASS_MAX);
}

static void test_17_descriptors_are_refused(void **state)
{
	struct pair pair = open_pair();
	struct fdpass_received received;
	int fds[FDPASS_MAX + 1];
	char data[16];

	(void)state;
	open_files(fds, FDPASS_MAX + 1);
	assert_int_equal(fdpass_send(pair.here, "x", 1, fds, FDPASS_MAX + 1), -EINVAL);
	assert_int_equal(fdpass_receive(pair.there, data, sizeof(data), 1, &received), -EAGAIN);
	close_files(fds, FDPASS_MAX + 1);
	close_pair(&pair);
}

static void test_empty_message_is_not_sent(void **state)
{
	struct pair pair = open_pair();
	struct fdpass_received received;
	char data[16];

	(void)state;
	assert_int_equal(fdpass_send(pair.here, "", 0, NULL, 0), -EINVAL);
	assert_int_equal(fdpass_receive(pair.there, data, sizeof(data), 0, &received), -EAGAIN);
	close_pair(&pair);
}

static void test_no_descriptor_in_room_for_16(void **state)
{
	struct fdpass_received received;

	(void)state;
	pass(NULL, 0, FDPASS_MAX, &received);
	assert_int_equal(received.n_fds, 0);
	assert_false(received.is_fds_truncated);
}

static void test_two_descriptors_in_room_for_one(void **state)
{
	struct fdpass_received received;
	int fds[2];

	(void)state;
	open_files(fds, 2);
	pass(fds, 2, 1, &received);
	assert_true(received.is_fds_truncated);
	assert_first_arrived(&received, fds, 1);
	fdpass_close(&received, 0);
	close_files(fds, 2);
}

static void test_k_of_n_arrive_and_are_the_first(void **state)
{
	int fds[FDPASS_MAX];

	(void)state;
	open_files(fds, FDPASS_MAX);
	for (size_t k = 0; k < FDPASS_MAX; k++) {
		struct fdpass_received received;

		pass(fds, FDPASS_MAX, k, &received);
		assert_true(received.is_fds_truncated);
		assert_first_arrived(&received, fds, k);
		fdpass_close(&received, 0);
	}
	close_files(fds, FDPASS_MAX);
}

static void test_surplus_descriptor_is_closed(void **state)
{
	struct fdpass_received received;
	int file_and_pipe[2], read_fd, pipe_fds[2];

	(void)state;
	assert_int_equal(pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK), 0);
	read_fd = pipe_fds[0];
	open_files(file_and_pipe, 1);
	file_and_pipe[1] = pipe_fds[1];
	pass(file_and_pipe, 2, 1, &received);
	close_files(file_and_pipe, 2);
	assert_end_of_file(read_fd);
	fdpass_close(&received, 0);
	close_fd(read_fd);
}

static void test_descriptor_where_none_belongs_is_closed(void **state)
{
	struct fdpass_received received;
	int pipe_fds[2];

	(void)state;
	assert_int_equal(pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK), 0);
	pass(&pipe_fds[1], 1, 0, &received);
	assert_int_equal(received.n_fds, 0);
	assert_true(received.is_fds_truncated);
	close_fd(pipe_fds[1]);
	assert_end_of_file(pipe_fds[0]);
	close_fd(pipe_fds[0]);
}

static void test_at_the_descriptor_limit_only_the_data_arrives(void **state)
{
	struct pair pair;
	struct fdpass_received received;
	struct rlimit before;
	char data[16];
	int fds[2];

	(void)state;
	pair = open_pair();
	open_files(fds, 2);
	assert_int_equal(fdpass_send(pair.here, "x", 1, fds, 2), 0);
	before = leave_room_for_fds(0);
	assert_int_equal(fdpass_receive(pair.there, data, sizeof(data), 2, &received), 0);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	assert_int_equal(received.size, 1);
	assert_int_equal(received.n_fds, 0);
	assert_true(received.is_fds_truncated);
	close_files(fds, 2);
	close_pair(&pair);
}

static void test_near_the_descriptor_limit_the_first_ones_arrive(void **state)
{
	struct pair pair;
	struct fdpass_received received;
	struct rlimit before;
	char data[16];
	int fds[5];

	(void)state;
	pair = open_pair();
	open_files(fds, 5);
	assert_int_equal(fdpass_send(pair.here, "x", 1, fds, 5), 0);
	before = leave_room_for_fds(3);
	assert_int_equal(fdpass_receive(pair.there, data, sizeof(data), 5, &received), 0);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	assert_true(received.is_fds_truncated);
	assert_first_arrived(&received, fds, 3);
	fdpass_close(&received, 0);
	close_files(fds, 5);
	close_pair(&pair);
}

static void test_peek_leaves_the_message_and_its_descriptors(void **state)
{
	struct pair pair = open_pair();
	struct fdpass_received received;
	char data[16];
	int fds[2];

	(void)state;
	open_files(fds, 2);
	assert_int_equal(fdpass_peek(pair.there, data, sizeof(data), 2, &received), -EAGAIN);
	assert_int_equal(fdpass_send(pair.here, "hello", 5, fds, 2), 0);
	for (int i = 0; i < 3; i++) { /* the last time it is taken */
		int r = i < 2 ? fdpass_peek(pair.there, data, sizeof(data), 2, &received)
			      : fdpass_receive(pair.there, data, sizeof(data), 2, &received);

		assert_int_equal(r, 0);
		assert_int_equal(received.size, 5);
		assert_memory_equal(data, "hello", 5);
		assert_first_arrived(&received, fds, 2);
		fdpass_close(&received, 0); /* each time it was further copies */
	}
	assert_int_equal(fdpass_peek(pair.there, data, sizeof(data), 2, &received), -EAGAIN);
	close_files(fds, 2);
	close_pair(&pair);
}

static void test_peek_at_the_descriptor_limit_loses_nothing(void **state)
{
	struct pair pair = open_pair();
	struct fdpass_received received;
	struct rlimit before;
	char data[16];
	int fd;

	(void)state;
	open_files(&fd, 1);
	assert_int_equal(fdpass_send(pair.here, "x", 1, &fd, 1), 0);
	before = leave_room_for_fds(0);
	assert_int_equal(fdpass_peek(pair.there, data, sizeof(data), 1, &received), 0);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	assert_int_equal(received.n_fds, 0);
	assert_true(received.is_fds_truncated);
	assert_int_equal(fdpass_receive(pair.there, data, sizeof(data), 1, &received), 0);
	assert_first_arrived(&received, &fd, 1);
	fdpass_close(&received, 0);
	close_files(&fd, 1);
	close_pair(&pair);
}

static void test_descriptors_are_close_on_exec(void **state)
{
	struct fdpass_received received;
	int fds[2];

	(void)state;
	open_files(fds, 2);
	pass(fds, 2, 2, &received);
	for (size_t i = 0; i < 2; i++)
		assert_int_equal(fcntl(received.fds[i], F_GETFD), FD_CLOEXEC);
	fdpass_close(&received, 0);
	close_files(fds, 2);
}

static void test_close_from_an_index_keeps_those_before(void **state)
{
	struct fdpass_received received;
	int fds[4];

	(void)state;
	open_files(fds, 4);
	pass(fds, 4, 4, &received);
	fdpass_close(&received, 3);
	assert_first_arrived(&received, fds, 3);
	fdpass_close(&received, 0);
	assert_int_equal(received.n_fds, 0);
	close_files(fds, 4);
}

static void test_two_blocks_of_descriptors(void **state)
{
	struct pair pair = open_pair();
	struct fdpass_received received;
	char data[16];
	int fds[2];

	(void)state;
	open_files(fds, 2);
	send_two_blocks(pair.here, fds);
	assert_int_equal(fdpass_receive(pair.there, data, sizeof(data), 2, &received), 0);
	assert_false(received.is_fds_truncated);
	assert_first_arrived(&received, fds, 2);
	fdpass_close(&received, 0);
	close_files(fds, 2);
	close_pair(&pair);
}

static void test_two_blocks_in_room_for_one_descriptor(void **state)
{
	struct pair pair = open_pair();
	struct fdpass_received received;
	char data[16];
	int fds[2];

	(void)state;
	open_files(fds, 2);
	send_two_blocks(pair.here, fds);
	assert_int_equal(fdpass_receive(pair.there, data, sizeof(data), 1, &received), 0);
	assert_true(received.is_fds_truncated);
	assert_first_arrived(&received, fds, 1);
	fdpass_close(&received, 0);
	close_files(fds, 2);
	close_pair(&pair);
}

static void test_other_control_messages_are_skipped(void **state)
{
	struct pair pair = open_pair();
	struct fdpass_received received;
	char data[16];
	int fd, on = 1;

	(void)state;
	open_files(&fd, 1);
	assert_int_equal(setsockopt(pair.there, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)), 0);
	assert_int_equal(fdpass_send(pair.here, "x", 1, &fd, 1), 0);
	assert_int_equal(fdpass_receive(pair.there, data, sizeof(data), FDPASS_MAX, &received), 0);
	assert_first_arrived(&received, &fd, 1);
	fdpass_close(&received, 0);
	close_files(&fd, 1);
	close_pair(&pair);
}

static void test_long_message_is_cut_and_keeps_its_descriptors(void **state)
{
	struct pair pair = open_pair();
	struct fdpass_received received;
	char data[4];
	int fd;

	(void)state;
	open_files(&fd, 1);
	assert_int_equal(fdpass_send(pair.here, "hello", 5, &fd, 1), 0);
	assert_int_equal(fdpass_receive(pair.there, data, sizeof(data), 1, &received), 0);
	assert_int_equal(received.size, 4);
	assert_true(received.is_data_truncated);
	assert_first_arrived(&received, &fd, 1);
	fdpass_close(&received, 0);
	close_files(&fd, 1);
	close_pair(&pair);
}

static void test_nothing_there_is_eagain(void **state)
{
	struct pair pair = open_pair();
	struct fdpass_received received;
	char data[16];

	(void)state;
	assert_int_equal(fdpass_receive(pair.there, data, sizeof(data), 1, &received), -EAGAIN);
	close_pair(&pair);
}

static void test_full_queue_is_eagain_until_it_is_read(void **state)
{
	struct pair pair = open_pair();
	struct fdpass_received received;
	size_t n_sent = 0;
	char data[16];
	int fd, r;

	(void)state;
	open_files(&fd, 1);
	while ((r = fdpass_send(pair.here, "x", 1, &fd, 1)) == 0)
		n_sent++;
	assert_int_equal(r, -EAGAIN);
	assert_true(n_sent > 0);
	for (size_t i = 0; i < n_sent; i++) {
		assert_int_equal(fdpass_receive(pair.there, data, sizeof(data), 1, &received), 0);
		assert_first_arrived(&received, &fd, 1);
		fdpass_close(&received, 0);
	}
	assert_int_equal(fdpass_send(pair.here, "x", 1, &fd, 1), 0);
	close_files(&fd, 1);
	close_pair(&pair);
}

/*
 * Root is exempt from the limit of descriptors in flight, so an ordinary user it must be; one whom
 * nobody else uses, because the limit is per user.
 */
static bool become_ordinary(void)
{
	return geteuid() != 0 || (setgroups(0, NULL) == 0 && setresuid(54321, 54321, 54321) == 0);
}

/* Not everywhere: a user namespace may have no such user. */
static bool can_become_ordinary(void)
{
	pid_t pid = fork();
	int status;

	if (pid == 0)
		_exit(!become_ordinary());
	return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

/*
 * In a child process: fill the queue with descriptors until too many are in flight. Returns its
 * exit status: 0 if sending ended with -ETOOMANYREFS and went on after receiving.
 */
static int fill_until_too_many_are_in_flight(const struct pair *pair, const int fds[FDPASS_MAX])
{
	const struct rlimit few = {.rlim_cur = 64, .rlim_max = 64};
	struct fdpass_received received;
	char data[16];
	int r = 0;

	if (!become_ordinary() || setrlimit(RLIMIT_NOFILE, &few) < 0)
		return 1;
	for (int i = 0; i < 8 && r == 0; i++)
		r = fdpass_send(pair->here, "x", 1, fds, FDPASS_MAX);
	if (r != -ETOOMANYREFS)
		return 2;
	if (fdpass_receive(pair->there, data, sizeof(data), FDPASS_MAX, &received) != 0)
		return 3;
	return fdpass_send(pair->here, "x", 1, fds, FDPASS_MAX) == 0 ? 0 : 4;
}

static void test_too_many_in_flight_is_etoomanyrefs_until_some_are_received(void **state)
{
	struct pair pair;
	int fds[FDPASS_MAX], status;
	pid_t pid;

	(void)state;
	pair = open_pair();
	open_files(fds, FDPASS_MAX);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(fill_until_too_many_are_in_flight(&pair, fds));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	close_files(fds, FDPASS_MAX);
	close_pair(&pair);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_sending_to_a_peer_that_is_gone(void **state)
{
	struct pair pair = open_pair();
	int fd;

	(void)state;
	open_files(&fd, 1);
	pair.there = close_fd(pair.there);
	assert_int_equal(fdpass_send(pair.here, "x", 1, &fd, 1), -EPIPE);
	close_files(&fd, 1);
	close_pair(&pair);
}

static void test_no_signal_when_the_peer_of_a_stream_is_gone(void **state)
{
	int fds[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	fds[1] = close_fd(fds[1]);
	assert_int_equal(fdpass_send(fds[0], "x", 1, NULL, 0), -EPIPE);
	close_fd(fds[0]);
}

static void test_end_of_file(void **state)
{
	struct pair pair = open_pair();
	struct fdpass_received received;
	char data[16];

	(void)state;
	pair.here = close_fd(pair.here);
	assert_int_equal(fdpass_receive(pair.there, data, sizeof(data), 1, &received), 0);
	assert_int_equal(received.size, 0);
	assert_int_equal(received.n_fds, 0);
	close_pair(&pair);
}

static void test_reset_comes_before_the_queued_messages_and_their_end(void **state)
{
	struct pair pair = open_pair();
	struct fdpass_received received;
	char data[16];
	int fd;

	(void)state;
	open_files(&fd, 1);
	assert_int_equal(fdpass_send(pair.there, "unread", 6, NULL, 0), 0);
	assert_int_equal(fdpass_send(pair.here, "queued", 6, &fd, 1), 0);
	pair.here = close_fd(pair.here);

	assert_int_equal(fdpass_receive(pair.there, data, sizeof(data), 1, &received), -ECONNRESET);
	assert_int_equal(fdpass_receive(pair.there, data, sizeof(data), 1, &received), 0);
	assert_int_equal(received.size, 6);
	assert_first_arrived(&received, &fd, 1);
	fdpass_close(&received, 0);
	assert_int_equal(fdpass_receive(pair.there, data, sizeof(data), 1, &received), 0);
	assert_int_equal(received.size, 0);
	close_files(&fd, 1);
	close_pair(&pair);
}

static void test_empty_message_is_survived(void **state)
{
	struct pair pair = open_pair();
	struct fdpass_received received;
	char data[16];

	(void)state;
	send_raw(pair.here, "", 0, NULL, 0);
	assert_int_equal(fdpass_send(pair.here, "next", 4, NULL, 0), 0);
	assert_int_equal(fdpass_receive(pair.there, data, sizeof(data), 1, &received), 0);
	assert_int_equal(received.size, 0);
	assert_int_equal(fdpass_receive(pair.there, data, sizeof(data), 1, &received), 0);
	assert_int_equal(received.size, 4);
	close_pair(&pair);
}

static void test_descriptor_of_an_empty_message_is_the_callers(void **state)
{
	struct pair pair = open_pair();
	struct fdpass_received received;
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = {.bytes = {0}};
	int pipe_fds[2];
	char data[16];

	(void)state;
	assert_int_equal(pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK), 0);
	control.header = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
	control.header.cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(&control.header), &pipe_fds[1], sizeof(int));
	send_raw(pair.here, "", 0, &control, control.header.cmsg_len);
	assert_int_equal(fdpass_receive(pair.there, data, sizeof(data), 1, &received), 0);
	assert_int_equal(received.size, 0);
	assert_int_equal(received.n_fds, 1);
	fdpass_close(&received, 0);
	close_fd(pipe_fds[1]);
	assert_end_of_file(pipe_fds[0]);
	close_fd(pipe_fds[0]);
	close_pair(&pair);
}

/* A signal that comes first is no answer: the fake system calls are interrupted twice. */
static int n_interruptions;

ssize_t __real_sendmsg(int fd, const struct msghdr *message, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags);
ssize_t __real_recvmsg(int fd, struct msghdr *message, int flags);
ssize_t __wrap_recvmsg(int fd, struct msghdr *message, int flags);

ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags)
{
	if (n_interruptions > 0) {
		n_interruptions--;
		errno = EINTR;
		return -1;
	}
	return __real_sendmsg(fd, message, flags);
}

ssize_t __wrap_recvmsg(int fd, struct msghdr *message, int flags)
{
	if (n_interruptions > 0) {
		n_interruptions--;
		errno = EINTR;
		return -1;
	}
	return __real_recvmsg(fd, message, flags);
}

static void test_interrupted_calls_are_repeated(void **state)
{
	struct pair pair = open_pair();
	struct fdpass_received received;
	char data[16];

	(void)state;
	n_interruptions = 2;
	assert_int_equal(fdpass_send(pair.here, "x", 1, NULL, 0), 0);
	assert_int_equal(n_interruptions, 0);
	n_interruptions = 2;
	assert_int_equal(fdpass_receive(pair.there, data, sizeof(data), 0, &received), 0);
	assert_int_equal(n_interruptions, 0);
	assert_int_equal(received.size, 1);
	close_pair(&pair);
}

static void test_neither_call_blocks_on_a_blocking_socket(void **state)
{
	struct fdpass_received received;
	char data[16];
	int fds[2], r;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
	assert_int_equal(fdpass_receive(fds[1], data, sizeof(data), 0, &received), -EAGAIN);
	while ((r = fdpass_send(fds[0], "x", 1, NULL, 0)) == 0)
		;
	assert_int_equal(r, -EAGAIN);
	close_files(fds, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_test(test_1_to_16_descriptors_arrive_in_order),
		check_test(test_17_descriptors_are_refused),
		check_test(test_empty_message_is_not_sent),
		check_test(test_no_descriptor_in_room_for_16),
		check_test(test_two_descriptors_in_room_for_one),
		check_test(test_k_of_n_arrive_and_are_the_first),
		check_test(test_surplus_descriptor_is_closed),
		check_test(test_descriptor_where_none_belongs_is_closed),
		check_test_if(
			is_without_valgrind(), test_at_the_descriptor_limit_only_the_data_arrives),
		check_test_if(is_without_valgrind(),
			test_near_the_descriptor_limit_the_first_ones_arrive),
		check_test(test_peek_leaves_the_message_and_its_descriptors),
		check_test_if(
			is_without_valgrind(), test_peek_at_the_descriptor_limit_loses_nothing),
		check_test(test_descriptors_are_close_on_exec),
		check_test(test_close_from_an_index_keeps_those_before),
		check_test(test_two_blocks_of_descriptors),
		check_test(test_two_blocks_in_room_for_one_descriptor),
		check_test(test_other_control_messages_are_skipped),
		check_test(test_long_message_is_cut_and_keeps_its_descriptors),
		check_test(test_nothing_there_is_eagain),
		check_test(test_full_queue_is_eagain_until_it_is_read),
		check_test_if(is_without_valgrind() && can_become_ordinary(),
			test_too_many_in_flight_is_etoomanyrefs_until_some_are_received),
		check_test(test_sending_to_a_peer_that_is_gone),
		check_test(test_no_signal_when_the_peer_of_a_stream_is_gone),
		check_test(test_end_of_file),
		check_test(test_reset_comes_before_the_queued_messages_and_their_end),
		check_test(test_empty_message_is_survived),
		check_test(test_descriptor_of_an_empty_message_is_the_callers),
		check_test(test_interrupted_calls_are_repeated),
		check_test(test_neither_call_blocks_on_a_blocking_socket),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
