/* SPDX-License-Identifier: MIT */
/*
 * Several messages with descriptors received together, over real socket pairs: where they are cut,
 * what belongs to which, and what comes of ends, resets and limits among them.
 *
 * recvmmsg(2) is wrapped to be interrupted.
 */
#include "fd.h"
#include "fdpass-world.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>

/* Room for as many messages as one call receives. */
struct batch {
	char data[FDPASS_MAX_MESSAGES][16];
	struct fdpass_received received[FDPASS_MAX_MESSAGES];
};

static int receive_batch(int fd, unsigned int n, size_t max_fds, struct batch *ret)
{
	return fdpass_receive_many(fd, ret->data, sizeof(ret->data[0]), max_fds, ret->received, n);
}

/* Send messages of `first` letter and the `n` - 1 ones after it, each with the descriptors. */
static void send_letters(int fd, char first, size_t n, const int fds[], size_t n_fds)
{
	for (size_t i = 0; i < n; i++) {
		char letter = (char)(first + (char)i);

		assert_int_equal(fdpass_send(fd, &letter, 1, fds, n_fds), 0);
	}
}

static void assert_letter(const struct batch *batch, size_t i, char letter)
{
	assert_int_equal(batch->received[i].size, 1);
	assert_int_equal(batch->data[i][0], letter);
	assert_false(batch->received[i].is_data_truncated);
	assert_false(batch->received[i].is_fds_truncated);
}

static void test_many_come_in_order_and_as_many_as_there_are(void **state)
{
	struct pair pair = open_pair();
	struct batch batch;

	(void)state;
	for (size_t n = 1; n <= FDPASS_MAX_MESSAGES; n++) {
		send_letters(pair.here, 'a', n, NULL, 0);
		assert_int_equal(receive_batch(pair.there, FDPASS_MAX_MESSAGES, 1, &batch), n);
		for (size_t i = 0; i < n; i++) {
			assert_letter(&batch, i, (char)('a' + (char)i));
			assert_int_equal(batch.received[i].n_fds, 0);
		}
	}
	assert_int_equal(receive_batch(pair.there, FDPASS_MAX_MESSAGES, 1, &batch), -EAGAIN);
	close_pair(&pair);
}

static void test_many_leave_what_there_was_no_room_for(void **state)
{
	struct pair pair = open_pair();
	struct batch batch;

	(void)state;
	send_letters(pair.here, 'a', 4, NULL, 0);
	assert_int_equal(receive_batch(pair.there, 1, 1, &batch), 1);
	assert_letter(&batch, 0, 'a');
	assert_int_equal(receive_batch(pair.there, 2, 1, &batch), 2);
	assert_letter(&batch, 0, 'b');
	assert_letter(&batch, 1, 'c');
	assert_int_equal(receive_batch(pair.there, 2, 1, &batch), 1);
	assert_letter(&batch, 0, 'd');
	close_pair(&pair);
}

/* Each with its own descriptors, some with none, some with more than there is room for. */
static void test_many_with_descriptors(void **state)
{
	static const size_t n_sent[] = {2, 0, 3, 1, 0, 2};
	static const size_t n_expected[] = {2, 0, 2, 1, 0, 2};
	const size_t n = sizeof(n_sent) / sizeof(n_sent[0]);
	struct pair pair = open_pair();
	struct batch batch;
	int fds[3];

	(void)state;
	open_files(fds, 3);
	for (size_t i = 0; i < n; i++)
		send_letters(pair.here, 'a', 1, fds, n_sent[i]);
	assert_int_equal(receive_batch(pair.there, FDPASS_MAX_MESSAGES, 2, &batch), n);
	for (size_t i = 0; i < n; i++) {
		assert_first_arrived(&batch.received[i], fds, n_expected[i]);
		assert_int_equal(batch.received[i].is_fds_truncated, n_sent[i] > n_expected[i]);
		for (size_t k = 0; k < n_expected[i]; k++)
			assert_int_equal(fcntl(batch.received[i].fds[k], F_GETFD), FD_CLOEXEC);
		fdpass_close(&batch.received[i], 0);
	}
	close_files(fds, 3);
	close_pair(&pair);
}

static void test_many_with_most_descriptors_each(void **state)
{
	struct pair pair = open_pair();
	struct batch batch;
	int fds[FDPASS_MAX];

	(void)state;
	open_files(fds, FDPASS_MAX);
	send_letters(pair.here, 'a', FDPASS_MAX_MESSAGES, fds, FDPASS_MAX);
	assert_int_equal(
		receive_batch(pair.there, FDPASS_MAX_MESSAGES, FDPASS_MAX_RECEIVED, &batch),
		FDPASS_MAX_MESSAGES);
	for (size_t i = 0; i < FDPASS_MAX_MESSAGES; i++) {
		assert_first_arrived(&batch.received[i], fds, FDPASS_MAX);
		fdpass_close(&batch.received[i], 0);
	}
	close_files(fds, FDPASS_MAX);
	close_pair(&pair);
}

static void test_many_of_which_one_is_too_long(void **state)
{
	struct pair pair = open_pair();
	struct batch batch;
	int fd;

	(void)state;
	open_files(&fd, 1);
	send_letters(pair.here, 'a', 1, &fd, 1);
	assert_int_equal(fdpass_send(pair.here, "seventeen letters", 17, &fd, 1), 0);
	send_letters(pair.here, 'c', 1, &fd, 1);
	assert_int_equal(receive_batch(pair.there, FDPASS_MAX_MESSAGES, 1, &batch), 3);
	assert_letter(&batch, 0, 'a');
	assert_int_equal(batch.received[1].size, 16);
	assert_true(batch.received[1].is_data_truncated);
	assert_memory_equal(batch.data[1], "seventeen letter", 16);
	assert_letter(&batch, 2, 'c');
	for (size_t i = 0; i < 3; i++) {
		assert_first_arrived(&batch.received[i], &fd, 1);
		fdpass_close(&batch.received[i], 0);
	}
	close_files(&fd, 1);
	close_pair(&pair);
}

/* There is a descriptor for the first message, and half of the second one's. */
static void test_many_at_the_descriptor_limit(void **state)
{
	static const size_t n_expected[] = {2, 1, 0};
	struct pair pair = open_pair();
	struct rlimit before;
	struct batch batch;
	int fds[2];

	(void)state;
	open_files(fds, 2);
	send_letters(pair.here, 'a', 3, fds, 2);
	before = leave_room_for_fds(3);
	assert_int_equal(receive_batch(pair.there, FDPASS_MAX_MESSAGES, 2, &batch), 3);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(batch.received[i].size, 1);
		assert_int_equal(batch.received[i].is_fds_truncated, i > 0);
		assert_first_arrived(&batch.received[i], fds, n_expected[i]);
		fdpass_close(&batch.received[i], 0);
	}
	close_files(fds, 2);
	close_pair(&pair);
}

static void test_many_behind_the_last_one_are_empty(void **state)
{
	struct pair pair = open_pair();
	struct batch batch;
	int fd;

	(void)state;
	open_files(&fd, 1);
	send_letters(pair.here, 'a', 2, &fd, 1);
	pair.here = close_fd(pair.here);
	assert_int_equal(receive_batch(pair.there, 5, 1, &batch), 5);
	for (size_t i = 0; i < 5; i++) {
		assert_int_equal(batch.received[i].size, i < 2 ? 1 : 0);
		assert_first_arrived(&batch.received[i], &fd, i < 2 ? 1 : 0);
		fdpass_close(&batch.received[i], 0);
	}
	close_files(&fd, 1);
	close_pair(&pair);
}

static void test_many_behind_a_reset(void **state)
{
	struct pair pair = open_pair();
	struct batch batch;

	(void)state;
	assert_int_equal(fdpass_send(pair.there, "unread", 6, NULL, 0), 0);
	send_letters(pair.here, 'a', 3, NULL, 0);
	pair.here = close_fd(pair.here);
	assert_int_equal(receive_batch(pair.there, 2, 1, &batch), -ECONNRESET);
	assert_int_equal(receive_batch(pair.there, 2, 1, &batch), 2);
	assert_letter(&batch, 0, 'a');
	assert_letter(&batch, 1, 'b');
	assert_int_equal(receive_batch(pair.there, 2, 1, &batch), 2);
	assert_letter(&batch, 0, 'c');
	assert_int_equal(batch.received[1].size, 0);
	close_pair(&pair);
}

static void test_many_do_not_wait_on_a_blocking_socket(void **state)
{
	struct batch batch;
	int fds[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
	assert_int_equal(receive_batch(fds[1], 2, 1, &batch), -EAGAIN);
	send_letters(fds[0], 'a', 1, NULL, 0);
	assert_int_equal(receive_batch(fds[1], 2, 1, &batch), 1);
	assert_letter(&batch, 0, 'a');
	close_files(fds, 2);
}

/* A signal that comes first is no answer: so many calls are interrupted. */
static int n_interruptions;

int __real_recvmmsg(
	int fd, struct mmsghdr *messages, unsigned int n, int flags, struct timespec *timeout);
int __wrap_recvmmsg(
	int fd, struct mmsghdr *messages, unsigned int n, int flags, struct timespec *timeout);

int __wrap_recvmmsg(
	int fd, struct mmsghdr *messages, unsigned int n, int flags, struct timespec *timeout)
{
	if (n_interruptions > 0) {
		n_interruptions--;
		errno = EINTR;
		return -1;
	}
	return __real_recvmmsg(fd, messages, n, flags, timeout);
}

static void test_many_after_interruptions(void **state)
{
	struct pair pair = open_pair();
	struct batch batch;
	int fd;

	(void)state;
	open_files(&fd, 1);
	send_letters(pair.here, 'a', 3, &fd, 1);
	n_interruptions = 2;
	assert_int_equal(receive_batch(pair.there, FDPASS_MAX_MESSAGES, 1, &batch), 3);
	assert_int_equal(n_interruptions, 0);
	for (size_t i = 0; i < 3; i++) {
		assert_letter(&batch, i, (char)('a' + (char)i));
		assert_first_arrived(&batch.received[i], &fd, 1);
		fdpass_close(&batch.received[i], 0);
	}
	close_files(&fd, 1);
	close_pair(&pair);
}

static void test_many_sent_together_are_as_many_messages(void **state)
{
	struct pair pair = open_pair();
	char bytes[] = "abc";
	struct iovec letters[] = {{&bytes[0], 1}, {&bytes[1], 1}, {&bytes[2], 1}};
	struct batch batch;

	(void)state;
	assert_int_equal(fdpass_send_many(pair.here, letters, 3), 3);
	assert_int_equal(receive_batch(pair.there, FDPASS_MAX_MESSAGES, 1, &batch), 3);
	assert_letter(&batch, 0, 'a');
	assert_letter(&batch, 2, 'c');
	close_pair(&pair);
}

/* The channel has room for some of them: those are sent, and the next call says why not more. */
static void test_many_sent_into_a_full_channel(void **state)
{
	struct pair pair = open_pair();
	struct iovec letters[FDPASS_MAX_MESSAGES];
	char byte = 'x';
	int n, n_sent = 0;

	(void)state;
	for (int i = 0; i < FDPASS_MAX_MESSAGES; i++)
		letters[i] = (struct iovec){&byte, 1};
	while ((n = fdpass_send_many(pair.here, letters, FDPASS_MAX_MESSAGES)) > 0)
		n_sent += n;
	assert_int_equal(n, -EAGAIN);
	for (struct batch batch;
		(n = receive_batch(pair.there, FDPASS_MAX_MESSAGES, 1, &batch)) > 0;)
		n_sent -= n;
	assert_int_equal(n_sent, 0);
	close_pair(&pair);
	pair = open_pair();
	close(pair.there);
	assert_int_equal(fdpass_send_many(pair.here, letters, 2), -EPIPE);
	close(pair.here);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_test(test_many_come_in_order_and_as_many_as_there_are),
		check_test(test_many_leave_what_there_was_no_room_for),
		check_test(test_many_with_descriptors),
		check_test(test_many_with_most_descriptors_each),
		check_test(test_many_of_which_one_is_too_long),
		check_test_if(is_without_valgrind(), test_many_at_the_descriptor_limit),
		check_test(test_many_behind_the_last_one_are_empty),
		check_test(test_many_behind_a_reset),
		check_test(test_many_do_not_wait_on_a_blocking_socket),
		check_test(test_many_after_interruptions),
		check_test(test_many_sent_together_are_as_many_messages),
		check_test(test_many_sent_into_a_full_channel),
	};

	return cmocka_run_group_tests_name("fdpass-many", tests, NULL, NULL);
}
