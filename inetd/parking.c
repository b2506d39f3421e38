/* SPDX-License-Identifier: MIT */
/*
 * Connections in kernel queues: see parking.h.
 *
 * The messages are part of the state that a later usherd may find, after an upgrade in place or in
 * the service manager's store: struct record and the bytes behind it are format 1. Whoever changes
 * them counts RECORD_FORMAT up and goes on reading what the version before has written.
 */
#include "parking.h"

#include "closer.h"
#include "fd.h"
#include "fdpass.h"
#include "fdstore.h"
#include "forwarded.h"
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>

#define RECORD_MAGIC  0x6b726170u /* "park" */
#define RECORD_FORMAT 1
#define LOT_SNDBUF    212992 /* net.core.wmem_max as the kernel has it */
#define IN_HAND_TRIES 3

/* A whole message: the connection's socket goes with it. `data` is as long as n_bytes says. */
struct record {
	uint32_t magic;
	uint32_t format;
	uint64_t parked_usec; /* CLOCK_MONOTONIC */
	uint64_t accepted_ns;
	struct wire_address peer;
	uint32_t listener;
	uint32_t n_hops;
	uint32_t is_forwarded; /* 0: what follows is zero */
	uint32_t n_bytes;
	struct connection_mark mark;
	char from[WIRE_NAME_SIZE];
	uint8_t data[];
};

union message {
	struct record record;
	uint8_t bytes[sizeof(struct record) + WIRE_MAX_FORWARDED_BYTES];
};

struct lot {
	int read_fd;
	int write_fd; /* -EBADF: inherited */
	uint32_t number;
	uint32_t n;
};

struct parking {
	const char *service;
	struct lot *lots; /* oldest first; none is empty */
	size_t n_lots;
	uint32_t n;
	size_t n_bytes;
};

/* In all of this process: what is in flight is counted by user. */
static uint64_t n_parked;

int parking_new(struct parking **ret, const char *service)
{
	struct parking *parking = calloc(1, sizeof(*parking));

	if (!parking)
		return -ENOMEM;
	parking->service = service;
	*ret = parking;
	return 0;
}

/* Closing a lot closes what is in it: not by ourselves, see closer.h. */
static void lot_close(struct lot *lot, const char *service)
{
	(void)fdstore_remove(FDSTORE_PARKING, service, lot->number);
	closer_close(lot->read_fd);
	close_fd(lot->write_fd);
}

struct parking *parking_free(struct parking *parking)
{
	if (!parking)
		return NULL;
	for (size_t i = 0; i < parking->n_lots; i++)
		lot_close(&parking->lots[i], parking->service);
	n_parked -= parking->n;
	free(parking->lots);
	free(parking);
	return NULL;
}

static void count(struct parking *parking, struct lot *lot, uint32_t n, size_t n_bytes)
{
	lot->n += n;
	parking->n += n;
	parking->n_bytes += n_bytes;
	n_parked += n;
}

static void uncount(struct parking *parking, struct lot *lot, size_t n_bytes)
{
	lot->n--;
	parking->n--;
	parking->n_bytes -= n_bytes;
	n_parked--;
}

/* What a message of this size has brought with it, or of none (-1): also if it is damaged. */
static size_t bytes_of(ssize_t message_size)
{
	const ssize_t n = message_size - (ssize_t)sizeof(struct record);

	return n > 0 ? (size_t)n : 0;
}

/* Room for one more at the end, empty; NULL when out of memory. */
static struct lot *add_lot(struct parking *parking)
{
	struct lot *lots = reallocarray(parking->lots, parking->n_lots + 1, sizeof(*parking->lots));

	if (!lots)
		return NULL;
	parking->lots = lots;
	return &lots[parking->n_lots++];
}

static void remove_lot(struct parking *parking, struct lot *lot)
{
	size_t n_behind = (size_t)(parking->lots + parking->n_lots - lot) - 1;

	assert(lot->n == 0);
	lot_close(lot, parking->service);
	memmove(lot, lot + 1, n_behind * sizeof(*lot));
	parking->n_lots--;
}

static bool is_lot(int fd)
{
	int domain = -1, type = -1;
	socklen_t size = sizeof(int);

	return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) == 0 &&
	       getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && domain == AF_UNIX &&
	       type == SOCK_SEQPACKET;
}

static int set_peek_offset(int fd, int offset)
{
	return setsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &offset, sizeof(offset)) < 0 ? -errno : 0;
}

/*
 * Look at the messages one after the other, which SO_PEEK_OFF allows (socket(7)). No descriptor is
 * made by this: there is no room for control messages.
 */
static int count_messages(int fd, uint32_t *ret_n, size_t *ret_n_bytes)
{
	union message message;
	size_t n_bytes = 0;
	uint32_t n = 0;
	ssize_t size;
	int r = set_peek_offset(fd, 0);

	if (r < 0)
		return r;
	while ((size = recv(fd, &message, sizeof(message), MSG_PEEK | MSG_DONTWAIT)) > 0) {
		n++;
		n_bytes += bytes_of(size);
	}
	if (size < 0 && errno != EAGAIN)
		return -errno;
	*ret_n = n;
	*ret_n_bytes = n_bytes;
	return set_peek_offset(fd, -1);
}

int parking_adopt(struct parking *parking, int fd, uint32_t number)
{
	struct lot inherited = {.read_fd = fd, .write_fd = -EBADF, .number = number}, *lot;
	size_t n_bytes = 0;
	uint32_t n = 0;
	int r = is_lot(fd) ? count_messages(fd, &n, &n_bytes) : -EPROTOTYPE;

	if (r >= 0 && n > 0) {
		lot = add_lot(parking);
		if (lot) {
			*lot = inherited;
			count(parking, lot, n, n_bytes);
			return 0;
		}
		r = -ENOMEM;
	}
	lot_close(&inherited, parking->service);
	return r;
}

/* A lot at the end of the list that is our own. Returns 0 or a negative errno. */
static int open_lot(struct parking *parking)
{
	const int size = LOT_SNDBUF;
	struct lot *lot;
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) < 0)
		return -errno;
	(void)setsockopt(fds[1], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	lot = add_lot(parking);
	if (!lot) {
		close_fd(fds[0]);
		close_fd(fds[1]);
		return -ENOMEM;
	}
	*lot = (struct lot){.read_fd = fds[0], .write_fd = fds[1]};
	lot->number = fdstore_add(FDSTORE_PARKING, parking->service, lot->read_fd);
	return 0;
}

/* Returns how many bytes of *ret the message has. */
static size_t make_message(union message *ret, const struct handoff *h, uint64_t now_usec)
{
	const struct forwarded *forwarded = h->forwarded;

	ret->record = (struct record){
		.magic = RECORD_MAGIC,
		.format = RECORD_FORMAT,
		.parked_usec = h->parked_usec ? h->parked_usec : now_usec,
		.accepted_ns = h->accepted_ns,
		.peer = h->peer,
		.listener = h->listener,
		.n_hops = h->n_hops,
	};
	if (!forwarded)
		return sizeof(ret->record);
	ret->record.is_forwarded = true;
	ret->record.n_bytes = (uint32_t)forwarded->size;
	ret->record.mark = forwarded->mark;
	memcpy(ret->record.from, forwarded->from, sizeof(ret->record.from));
	memcpy(ret->record.data, forwarded->data, forwarded->size);
	return sizeof(ret->record) + forwarded->size;
}

/* -EAGAIN: it is full. */
static int put_into_last(struct parking *parking, const union message *message, size_t size, int fd)
{
	struct lot *lot = &parking->lots[parking->n_lots - 1];
	int r = fdpass_send(lot->write_fd, message, size, &fd, 1);

	if (r >= 0)
		count(parking, lot, 1, bytes_of((ssize_t)size));
	return r;
}

static int put_into_new(struct parking *parking, const union message *message, size_t size, int fd)
{
	int r = open_lot(parking);

	if (r < 0)
		return r;
	r = put_into_last(parking, message, size, fd);
	if (r < 0)
		remove_lot(parking, &parking->lots[parking->n_lots - 1]);
	return r;
}

/* Parked ones are in flight for as long as nobody takes them: leave some for hand-offs. */
static bool may_park(void)
{
	struct rlimit limit;

	return getrlimit(RLIMIT_NOFILE, &limit) == 0 &&
	       n_parked < limit.rlim_cur - limit.rlim_cur / 4;
}

int parking_put(struct parking *parking, const struct handoff *h, uint64_t now_usec)
{
	union message message;
	size_t size = make_message(&message, h, now_usec);
	int r = -EAGAIN;

	if (!may_park())
		return -ETOOMANYREFS;
	if (parking->n_lots > 0 && parking->lots[parking->n_lots - 1].write_fd >= 0)
		r = put_into_last(parking, &message, size, h->fd);
	return r == -EAGAIN ? put_into_new(parking, &message, size, h->fd) : r;
}

/* Can this process have one more descriptor? */
static bool has_free_fd(int fd)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);

	close_fd(copy);
	return copy >= 0;
}

/*
 * The oldest message of the lot, with a copy of its descriptor in *ret_fd; it stays in the lot.
 *
 * That the descriptor is missing can mean that none was free, now or (another thread may have
 * closed one meanwhile) a moment ago, or that it was refused.
 *
 * Returns 0, -EMFILE, -EIO if it can never be had, or a negative errno of recvmsg(2).
 */
static int look_at_oldest(const struct lot *lot, union message *ret, size_t *ret_size, int *ret_fd)
{
	struct fdpass_received received;

	for (int i = 0; i < IN_HAND_TRIES; i++) {
		int r = fdpass_peek(lot->read_fd, ret, sizeof(*ret), 1, &received);

		if (r < 0)
			return r;
		if (received.n_fds == 1) {
			*ret_fd = received.fds[0];
			*ret_size = received.size;
			return 0;
		}
		if (received.is_fds_truncated && !has_free_fd(lot->read_fd))
			return -EMFILE;
	}
	return -EIO;
}

static bool is_record(const union message *message, size_t size)
{
	const struct record *record = &message->record;

	return size >= sizeof(*record) && record->magic == RECORD_MAGIC &&
	       record->format == RECORD_FORMAT && record->is_forwarded <= true &&
	       size == sizeof(*record) + record->n_bytes &&
	       (record->is_forwarded || record->n_bytes == 0) &&
	       memchr(record->from, '\0', sizeof(record->from));
}

/* Returns 0, -EIO if it makes no sense, or -ENOMEM. */
static int read_message(const union message *message, size_t size, struct handoff *ret)
{
	const struct record *record = &message->record;

	if (!is_record(message, size))
		return -EIO;
	*ret = (struct handoff){
		.fd = -EBADF,
		.listener = record->listener,
		.n_hops = record->n_hops,
		.accepted_ns = record->accepted_ns,
		.peer = record->peer,
		.parked_usec = record->parked_usec,
	};
	if (!record->is_forwarded)
		return 0;
	ret->forwarded = forwarded_new(record->from, record->data, record->n_bytes);
	if (!ret->forwarded)
		return -ENOMEM;
	ret->forwarded->mark = record->mark;
	return 0;
}

/* The oldest message leaves the lot, and with it the copies of what it carried. */
static void drop_oldest(struct parking *parking, struct lot *lot)
{
	union message message;

	uncount(parking, lot,
		bytes_of(recv(lot->read_fd, &message, sizeof(message), MSG_DONTWAIT)));
	if (lot->n == 0)
		remove_lot(parking, lot);
}

int parking_take(struct parking *parking, struct handoff *ret)
{
	_cleanup_close_ int fd = -EBADF;
	union message message;
	struct handoff oldest;
	struct lot *lot = parking->lots;
	size_t size;
	int r;

	if (parking->n_lots == 0)
		return -EAGAIN;
	r = look_at_oldest(lot, &message, &size, &fd);
	if (r >= 0)
		r = read_message(&message, size, &oldest);
	if (r == -EMFILE || r == -ENOMEM || r == -ENOBUFS)
		return r;
	drop_oldest(parking, lot);
	if (r < 0)
		return -EIO;
	oldest.fd = take_fd(&fd);
	*ret = oldest;
	return 0;
}

bool parking_oldest(const struct parking *parking, uint64_t *ret_parked_usec)
{
	struct record record;

	if (parking->n_lots == 0)
		return false;
	if (recv(parking->lots->read_fd, &record, sizeof(record), MSG_PEEK | MSG_DONTWAIT) <
		(ssize_t)sizeof(record))
		record.parked_usec = 0;
	*ret_parked_usec = record.parked_usec;
	return true;
}

uint32_t parking_n(const struct parking *parking)
{
	return parking->n;
}

size_t parking_n_bytes(const struct parking *parking)
{
	return parking->n_bytes;
}

bool parking_lot(const struct parking *parking, size_t i, int *ret_fd, uint32_t *ret_number)
{
	if (i >= parking->n_lots)
		return false;
	*ret_fd = parking->lots[i].read_fd;
	*ret_number = parking->lots[i].number;
	return true;
}
