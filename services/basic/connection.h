/* SPDX-License-Identifier: MIT */
/*
 * The connections of usher-basic: a few dozen bytes each while nothing waits, all in one epoll(7).
 *
 * A connection is its protocol's: the protocol's handlers are called when something can be read or
 * written, and use the functions below to answer. What a client does not take yet waits here, and
 * while it waits nothing more is read from that client: one slow reader costs SCRATCH_SIZE bytes at
 * most, and a thousand idle clients cost no buffer at all.
 *
 * Invariant: a connection is in exactly one of the lists `open` and `lingering`, and its descriptor
 * leaves epoll before it is closed.
 */
#pragma once

#include "protocol.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>
#include <usher.h>

/* Most bytes read from one connection before the others have their turn. */
#define SCRATCH_SIZE 16384

/* How long, and for how many clients, the end of a conversation is waited for: connection_finish().
 */
#define LINGER_MS  2000
#define LINGER_MAX 1024

/* A protocol's handler says: nothing more to do here, close the connection. */
#define CONNECTION_OVER 1

#define NO_DEADLINE	INT64_MAX

/* What epoll_event.data.ptr points to: the first member of whatever is watched. */
struct watch {
	void (*on_event)(struct watch *watch, uint32_t events);
};

TAILQ_HEAD(connection_list, connection);

/* All of them. */
struct connections {
	int epoll_fd; /* the caller's */
	struct connection_list open;
	struct connection_list lingering; /* the earliest deadline first */
	size_t n_lingering;
};

struct connection {
	struct watch watch;
	TAILQ_ENTRY(connection) link;
	struct connections *all;
	const struct protocol *protocol;
	struct usher *usher; /* where it came from; borrowed, outlives the connection */
	uint64_t id;
	struct waiting *waiting; /* what the client does not take yet, usually NULL */
	int64_t linger_until_ms; /* 0: still in conversation */
	int fd;
	uint32_t events;   /* what epoll is asked for */
	uint32_t position; /* the protocol's own: where in its endless text it is */
};

/* Milliseconds of CLOCK_MONOTONIC, in which all deadlines here are. */
int64_t monotonic_ms(void);

void connections_init(struct connections *all, int epoll_fd);

/* Close those that have lingered long enough, and the longest-lingering ones beyond LINGER_MAX. */
void connections_expire(struct connections *all, int64_t now_ms);

/* When connections_expire() has something to do, or NO_DEADLINE. */
int64_t connections_deadline(const struct connections *all);

/* Close them all, in the middle of whatever they do. */
void connections_close_all(struct connections *all);

/*
 * Begin to serve what usher_accept() returned; its socket must be non-blocking and is taken, also
 * on failure. A client that is already gone again is not an error.
 *
 * Returns 0, -ENOMEM, or the error of epoll_ctl(2); then the client sees its connection closed.
 */
int connection_open(struct connections *all, const struct protocol *protocol, struct usher *usher,
	struct usher_connection *accepted);

/*
 * For the handlers of a protocol. All return what a handler returns: 0, CONNECTION_OVER, or a
 * negative errno after which the connection is closed.
 */

/* Be called for these of EPOLLIN and EPOLLOUT from now on. */
int connection_watch(struct connection *c, uint32_t events);

/*
 * Read once, at most SCRATCH_SIZE bytes. Returns 0 with the bytes in *ret_data, valid until the
 * next read of any connection; *ret_size is 0 if there were none after all. CONNECTION_OVER: end of
 * file.
 */
int connection_read(struct connection *c, const char **ret_data, size_t *ret_size);

/* Send once. Returns how many bytes the client takes now, maybe 0, or a negative errno. */
ssize_t connection_send_some(struct connection *c, const char *data, size_t size);

/*
 * Send all of it. What the client does not take is kept, and until it is gone the connection is
 * watched for EPOLLOUT alone: answer that with connection_send_waiting().
 */
int connection_send(struct connection *c, const char *data, size_t size);

/* Send more of what waits; when nothing is left, reading goes on. */
int connection_send_waiting(struct connection *c);

/*
 * The last byte was sent: end our half and wait for the client to end its own, LINGER_MS at most. A
 * close(2) with unread input, or input that comes later, makes the kernel send a reset, and a reset
 * may destroy an answer that the client has received but not read. The protocol's on_readable has
 * to throw the input away.
 */
int connection_finish(struct connection *c);
