/* SPDX-License-Identifier: MIT */
/* See parking-world.h. */
#include "parking-world.h"
#include "fd.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

struct parking *make(void)
{
	struct parking *parking;

	assert_int_equal(parking_new(&parking, "one"), 0);
	return parking;
}

struct handoff make_handoff(int fd, uint32_t i)
{
	struct handoff h = {
		.id = 77,
		.sequence = 78,
		.fd = fd,
		.listener = i % 7,
		.n_hops = i % 3,
		.accepted_ns = UINT64_C(1) << 60 | i,
		.peer = {.family = AF_INET, .port = htons((uint16_t)i)},
	};

	return h;
}

void assert_is_handoff(const struct handoff *h, uint32_t i)
{
	struct handoff expected = make_handoff(-EBADF, i);

	assert_int_equal(h->id, 0);
	assert_int_equal(h->sequence, 0);
	assert_null(h->provider);
	assert_null(h->forwarded);
	assert_int_equal(h->listener, expected.listener);
	assert_int_equal(h->n_hops, expected.n_hops);
	assert_int_equal(h->accepted_ns, expected.accepted_ns);
	assert_memory_equal(&h->peer, &expected.peer, sizeof(h->peer));
	assert_int_equal(fcntl(h->fd, F_GETFD), FD_CLOEXEC);
}

int put_one(struct parking *parking, uint32_t i)
{
	struct handoff h;
	int fds[2];

	test_socketpair(fds);
	h = make_handoff(fds[0], i);
	assert_int_equal(parking_put(parking, &h, 1000 + i), 0);
	close_fd(fds[0]);
	return fds[1];
}

void take_one(struct parking *parking, uint32_t i, int client_fd)
{
	uint64_t parked_usec;
	uint32_t number = 0;
	struct handoff h;

	assert_true(parking_oldest(parking, &parked_usec));
	assert_int_equal(parked_usec, 1000 + i);
	assert_int_equal(parking_take(parking, &h), 0);
	assert_is_handoff(&h, i);
	assert_int_equal(write(client_fd, &i, sizeof(i)), sizeof(i));
	assert_int_equal(read(h.fd, &number, sizeof(number)), sizeof(number));
	assert_int_equal(number, i);
	close_fd(h.fd);
	close_fd(client_fd);
}

void assert_empty(struct parking *parking)
{
	uint64_t unused_usec;
	struct handoff unused;

	assert_int_equal(parking_n(parking), 0);
	assert_int_equal(parking_n_bytes(parking), 0);
	assert_false(parking_oldest(parking, &unused_usec));
	assert_int_equal(parking_take(parking, &unused), -EAGAIN);
}
