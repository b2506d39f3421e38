/* SPDX-License-Identifier: MIT */
/*
 * What is read from the queues of parking lots: messages of this format and the one before, damaged
 * ones, and none.
 *
 * recvmsg(2) is wrapped to refuse descriptors.
 */
#include "fd.h"
#include "fdpass.h"
#include "forwarded.h"
#include "parking-world.h"

#include <arpa/inet.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static bool is_refusing_descriptors;

ssize_t __real_recvmsg(int fd, struct msghdr *message, int flags);
ssize_t __wrap_recvmsg(int fd, struct msghdr *message, int flags);
ssize_t __wrap_recvmsg(int fd, struct msghdr *message, int flags)
{
	if (is_refusing_descriptors) { /* as a security module: only MSG_CTRUNC is left of them */
		message->msg_control = NULL;
		message->msg_controllen = 0;
	}
	return __real_recvmsg(fd, message, flags);
}

/* A message as parking makes it. */
struct raw {
	uint8_t bytes[64 * 1024];
	size_t size;
};

static void make_raw(struct raw *ret, bool is_forwarded)
{
	struct parking *parking = make();
	struct handoff h = make_handoff(STDIN_FILENO, 1);
	struct fdpass_received received;
	uint32_t number;
	int fd;

	h.forwarded = is_forwarded ? forwarded_new("login", "hello", 5) : NULL;
	assert_int_equal(parking_put(parking, &h, 1001), 0);
	forwarded_free(h.forwarded);
	assert_true(parking_lot(parking, 0, &fd, &number));
	assert_int_equal(fdpass_peek(fd, ret->bytes, sizeof(ret->bytes), 0, &received), 0);
	ret->size = received.size;
	parking_free(parking);
}

/* Format 1, as it is in the stores of running machines. */
static void make_format_1(struct raw *ret, uint32_t is_forwarded)
{
	const uint32_t magic_and_format[] = {0x6b726170, 1};
	const uint64_t parked_and_accepted[] = {1001, UINT64_C(1) << 60 | 1};
	const struct wire_address peer = {.family = AF_INET, .port = htons(1)};
	const uint32_t listener_and_hops[] = {1, 1};
	const uint32_t forwarded_and_size[] = {is_forwarded, 5};
	const uint64_t n_read_and_written[] = {11, 12};

	memset(ret, 0, sizeof(*ret));
	memcpy(ret->bytes, magic_and_format, 8);
	memcpy(ret->bytes + 8, parked_and_accepted, 16);
	memcpy(ret->bytes + 24, &peer, 24);
	memcpy(ret->bytes + 48, listener_and_hops, 8);
	memcpy(ret->bytes + 56, forwarded_and_size, 8);
	memcpy(ret->bytes + 64, n_read_and_written, 16);
	memcpy(ret->bytes + 80, "login", 5);
	memcpy(ret->bytes + 144, "hello", 5);
	ret->size = 149;
}

static void test_format_1_is_read(void **state)
{
	struct parking *parking = make();
	struct handoff h;
	struct raw raw;
	int fds[2];

	(void)state;
	make_format_1(&raw, true);
	test_socketpair(fds);
	assert_int_equal(fdpass_send(fds[1], raw.bytes, raw.size, &(int){STDIN_FILENO}, 1), 0);
	close_fd(fds[1]);
	assert_int_equal(parking_adopt(parking, fds[0], 0), 0);
	assert_int_equal(parking_n_bytes(parking), 5);
	assert_int_equal(parking_take(parking, &h), 0);
	assert_string_equal(h.forwarded->from, "login");
	assert_int_equal(h.forwarded->mark.n_read, 11);
	assert_int_equal(h.forwarded->mark.n_written, 12);
	assert_int_equal(h.forwarded->size, 5);
	assert_memory_equal(h.forwarded->data, "hello", 5);
	h.forwarded = forwarded_free(h.forwarded);
	assert_is_handoff(&h, 1);
	close_fd(h.fd);
	parking_free(parking);
}

/* In a lot with a good one behind it, this message is a loss of its own, and no more than that. */
static void assert_damaged(const struct raw *raw, size_t n_fds)
{
	struct parking *parking = make();
	struct handoff h;
	struct raw good;
	int fds[2];

	make_raw(&good, false);
	test_socketpair(fds);
	assert_int_equal(
		fdpass_send(fds[1], raw->bytes, raw->size, &(int){STDIN_FILENO}, n_fds), 0);
	assert_int_equal(fdpass_send(fds[1], good.bytes, good.size, &(int){STDIN_FILENO}, 1), 0);
	close_fd(fds[1]);
	assert_int_equal(parking_adopt(parking, fds[0], 0), 0);
	assert_int_equal(parking_n(parking), 2);
	assert_int_equal(parking_take(parking, &h), -EIO);
	assert_int_equal(parking_n(parking), 1);
	assert_int_equal(parking_n_bytes(parking), 0);
	assert_int_equal(parking_take(parking, &h), 0);
	assert_is_handoff(&h, 1);
	close_fd(h.fd);
	assert_empty(parking);
	parking_free(parking);
}

static void test_damaged_messages_are_lost_one_by_one(void **state)
{
	struct raw whole, raw;

	(void)state;
	make_raw(&whole, true);
	raw = whole;
	assert_damaged(&raw, 0);
	for (size_t i = 0; i < 8; i++) { /* magic and format */
		raw = whole;
		raw.bytes[i] ^= 2;
		assert_damaged(&raw, 1);
	}
	raw = whole;
	raw.size--;
	assert_damaged(&raw, 1);
	raw = whole;
	raw.size++;
	assert_damaged(&raw, 1);
	raw.size = 1;
	assert_damaged(&raw, 1);
	make_format_1(&raw, false); /* bytes of one that was not forwarded */
	assert_damaged(&raw, 1);
	raw = whole;
	memset(memmem(raw.bytes, raw.size, "login", 5), 'x', WIRE_NAME_SIZE);
	assert_damaged(&raw, 1);
}

static void test_every_changed_byte_is_survived(void **state)
{
	struct raw whole;

	(void)state;
	make_raw(&whole, true);
	for (size_t i = 0; i < whole.size; i++) {
		struct parking *parking = make();
		struct raw raw = whole;
		struct handoff h;
		int fds[2], r;

		raw.bytes[i] ^= 0xff;
		test_socketpair(fds);
		assert_int_equal(
			fdpass_send(fds[1], raw.bytes, raw.size, &(int){STDIN_FILENO}, 1), 0);
		close_fd(fds[1]);
		assert_int_equal(parking_adopt(parking, fds[0], 0), 0);
		r = parking_take(parking, &h);
		assert_true(r == 0 || r == -EIO);
		if (r == 0) {
			close_fd(h.fd);
			forwarded_free(h.forwarded);
		}
		assert_empty(parking);
		parking_free(parking);
	}
}

static void test_unreadable_oldest_has_waited_for_ever(void **state)
{
	struct parking *parking = make();
	uint64_t parked_usec = 42;
	struct handoff h;
	int fds[2];

	(void)state;
	test_socketpair(fds);
	assert_int_equal(fdpass_send(fds[1], "x", 1, NULL, 0), 0);
	close_fd(fds[1]);
	assert_int_equal(parking_adopt(parking, fds[0], 0), 0);
	assert_true(parking_oldest(parking, &parked_usec));
	assert_int_equal(parked_usec, 0);
	assert_int_equal(parking_take(parking, &h), -EIO);
	parking_free(parking);
}

static void test_refused_descriptor_is_a_loss(void **state)
{
	struct parking *parking = make();
	int lost = put_one(parking, 0), client = put_one(parking, 1);
	struct handoff h;
	char byte;

	(void)state;
	is_refusing_descriptors = true;
	assert_int_equal(parking_take(parking, &h), -EIO);
	is_refusing_descriptors = false;
	assert_int_equal(read(lost, &byte, 1), 0);
	close_fd(lost);
	take_one(parking, 1, client);
	parking_free(parking);
}

static void test_messages_that_somebody_else_took_are_losses(void **state)
{
	struct parking *parking = make();
	int lost = put_one(parking, 0);
	struct handoff h;
	uint32_t number;
	char byte;
	int fd;

	(void)state;
	assert_true(parking_lot(parking, 0, &fd, &number));
	assert_int_equal(recv(fd, &byte, 1, 0), 1);
	assert_int_equal(parking_take(parking, &h), -EIO);
	assert_empty(parking);
	close_fd(lost);
	parking_free(parking);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_test(test_format_1_is_read),
		check_test(test_damaged_messages_are_lost_one_by_one),
		check_test(test_every_changed_byte_is_survived),
		check_test(test_unreadable_oldest_has_waited_for_ever),
		check_test(test_refused_descriptor_is_a_loss),
		check_test(test_messages_that_somebody_else_took_are_losses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
