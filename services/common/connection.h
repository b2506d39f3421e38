/* SPDX-License-Identifier: MIT */
/*
 * The clients of a service, each in a conversation: some hundred bytes for each while nothing
 * waits, all in one loop.
 *
 * A connection is its conversation's: the handlers are called when something can be read or
 * written, and use the functions below to answer. What a client does not take yet waits here, and
 * while it waits nothing more is read from that client: one slow reader costs SCRATCH_SIZE bytes at
 * most, and a thousand idle clients cost no buffer at all.
 *
 * Slow clients cost time and room, and both have an end: see struct connections.
 *
 * Invariant: a connection is in exactly one of the lists `open`, `lingering` and `leaving`, each in
 * the order of its deadlines, and its descriptor leaves the loop before it is closed.
 */
#pragma once

#include "enrolment.h"
#include "loop.h"

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

/* How often it is tried again to give a connection on that usherd did not take. */
#define LEAVE_AGAIN_MS 100

/* A handler says: nothing more to do here, close the connection. */
#define CONNECTION_OVER 1

struct connection;

/*
 * What happens in a conversation. A handler does a bounded amount of work and returns 0, or
 * anything else to have the connection closed. on_open has what another service has read of the
 * connection before it was forwarded here, mostly nothing; it is valid until the connection is
 * closed.
 */
struct conversation {
	int (*on_open)(struct connection *c, const char *data, size_t size); /* may be NULL */
	int (*on_readable)(struct connection *c);
	int (*on_writable)(struct connection *c); /* may be NULL if nothing is ever left unsent */
	int (*on_leave)(struct connection *c);	/* connection_forward() again; may be NULL if it is
						   never called */
	void (*on_close)(struct connection *c); /* free what is the conversation's; may be NULL */
	size_t size; /* of a struct that begins with struct connection; 0: that alone */
};

TAILQ_HEAD(connection_list, connection);

/* All clients of a program. */
struct connections {
	struct loop *loop; /* the caller's */
	struct timer timer;
	struct connection_list open;
	struct connection_list lingering;
	struct connection_list leaving; /* to be given on as soon as usherd takes them */
	size_t n, n_lingering;
	int64_t patience_ms; /* longest conversation, from its beginning; NO_DEADLINE: as long as
				the client likes */
	size_t max;	     /* most clients: when there are more, the one that has been here for
				the longest is closed, first of those that linger */
	uint64_t n_late;     /* how many were closed because of patience_ms, ... */
	uint64_t n_crowded;  /* ... and while in conversation because of max */
	uint64_t n_crowded_said;
};

struct connection {
	struct watch watch;
	TAILQ_ENTRY(connection) link;
	struct connections *all;
	const struct conversation *conversation;
	struct enrolment *enrolment; /* where it came from; borrowed, outlives the connection */
	uint64_t id;
	struct waiting *waiting; /* what the client does not take yet, usually NULL */
	int64_t until_ms;	 /* of this conversation, or NO_DEADLINE */
	int fd;
	uint32_t events;   /* what the loop is asked for */
	uint32_t position; /* the conversation's own: where in its text it is */
	enum connection_state {
		CONNECTION_OPEN,
		CONNECTION_LINGERING,
		CONNECTION_LEAVING,
	} state;
};

/* Without a limit of time or number. connections_done() in any case. */
void connections_init(struct connections *all, struct loop *loop);

/*
 * Set a limit: conversations may last `patience_ms`, and so many clients are here at most that of
 * `credit` there is always some left for new ones. So who says nothing keeps nobody out.
 */
void connections_limit(struct connections *all, int64_t patience_ms, uint32_t credit);

/* Tell once if some were closed because of `max`, of this enrolment. */
void connections_say_crowded(struct connections *all, struct enrolment *e);

/* Close them all, in the middle of whatever they do. */
void connections_close_all(struct connections *all);

/* None may be open. */
void connections_done(struct connections *all);

/*
 * Begin to serve what usher_accept() returned; its socket must be non-blocking and is taken, also
 * on failure. A client that is already gone again is not an error.
 *
 * Returns 0, -ENOMEM, or the error of epoll_ctl(2); then the client sees its connection closed.
 */
int connection_open(struct connections *all, const struct conversation *conversation,
	struct enrolment *enrolment, struct usher_connection *accepted);

/*
 * For the handlers. All return what a handler returns: 0, CONNECTION_OVER, or a negative errno
 * after which the connection is closed.
 */

/* Be called for these of EPOLLIN and EPOLLOUT from now on. */
int connection_watch(struct connection *c, uint32_t events);

/*
 * Read once, at most SCRATCH_SIZE bytes. Returns 0 with the bytes in *ret_data, valid until the
 * next read of any connection; *ret_size is 0 if there were none after all. CONNECTION_OVER: end of
 * file.
 */
int connection_read(struct connection *c, const char **ret_data, size_t *ret_size);

/* Read once and throw it away. */
int connection_discard(struct connection *c);

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
 * Send an answer that fits any socket's empty buffer, and end: what is not taken at once would not
 * be taken later.
 */
int connection_answer(struct connection *c, const void *answer, size_t size);

/*
 * The last byte was sent: end our half and wait for the client to end its own, LINGER_MS at most.
 * What it still sends is thrown away. A close(2) with unread input, or input that comes later,
 * makes the kernel send a reset, and a reset may destroy an answer that the client has received but
 * not read.
 */
int connection_finish(struct connection *c);

/*
 * Give it on to another service with these bytes, as usher_forward() does. While usherd is away or
 * does not read, the client waits as long as its conversation may last, nothing is read from it,
 * and on_leave() is called every LEAVE_AGAIN_MS to say the same again.
 *
 * Returns CONNECTION_OVER: it is gone; 0: it waits; or another error of usher_forward(): then say
 * so to the client, connection_answer(), or have it closed.
 */
int connection_forward(struct connection *c, const char *service, const void *data, size_t size);
