/* SPDX-License-Identifier: MIT */
/*
 * One registration as a machine without lock and without waiting: registration_step() does the next
 * thing there is to do, registration_watch() leaves the epoll descriptor readable when there will
 * be something to do. The public calls in usher.c are made of these. Private to libusher.
 *
 * The one timer holds the nearest time at which something is due, or a time long past when
 * something can be returned to the application at once. It is watched only while it means
 * something: epoll_ctl(2) is cheaper than setting a timer that is due. With USHER_NONBLOCK it goes
 * on calling until usher_accept() has nothing to return: under load the next connections are there
 * before, and this costs no call at all.
 *
 * Invariant: a queued connection is the application's as soon as no claim is owed: either usherd
 * was told so, or it is gone and can give the connection to nobody else.
 */
#pragma once

#include "channel.h"
#include "held.h"
#include "lent.h"
#include "usher.h"
#include "wire.h"
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/un.h>

struct usher {
	/* Set once by usher_new(). */
	pthread_mutex_t lock; /* of everything below */
	int epoll_fd;
	int timer_fd;
	uint32_t flags;
	struct sockaddr_un address;
	union wire_message *message; /* room for one, too large for a thread's stack; or NULL */

	struct wire_hello hello;
	uint32_t credit; /* most connections to hold */
	struct channel channel;
	struct held held;
	struct wire_listener *listeners; /* of the latest WELCOME */
	size_t n_listeners;
	struct lent lent;

	/* Received, and claimed or about to be. Nothing more is received while there are any. */
	struct usher_connection queue[WIRE_MAX_CONNECTIONS];
	size_t n_queued, first_queued;

	/* Times of CLOCK_MONOTONIC; 0: never. */
	uint64_t retry_ns;   /* when to leave the channel, if there is one, and connect */
	uint64_t restore_ns; /* when to ask again for connections that did not fit */
	uint64_t resume_ns;  /* when to use the channel again, after a failure that may pass */

	uint64_t welcome_ns; /* when the channel got its WELCOME */
	uint64_t backoff_ns; /* the next pause before connecting */
	bool is_draining;    /* usher_drain() was called, or usherd wants no more of us ... */
	bool is_drained;     /* ... and nothing more comes */

	uint32_t channel_events; /* what epoll_fd watches the channel for; 0: it does not */
	uint32_t timer_events;	 /* the same of timer_fd */
	uint64_t armed_ns;	 /* what timer_fd is set to */
	bool had_news;		 /* there was some; usher_accept() says when that is over */

	int error;			   /* for the next usher_accept() to return; 0: none */
	char error_text[WIRE_REASON_SIZE]; /* for usher_error() */
};

/* Begin with all zero. The first registration_step() will connect. */
void registration_init(struct usher *u);

/* Open and allocate what it needs. Returns 0, or a negative errno with part of it done. */
int registration_open(struct usher *u);

/* Allocate u->message if it was given away. Returns 0 or -ENOMEM. */
int registration_make_room(struct usher *u);

/*
 * May the application hear something now: a change of what is lent, a queued connection, u->error,
 * or that it is drained?
 */
bool registration_has_news(const struct usher *u);

/* How many more to ask for. Releases that were not sent yet will each bring one by themselves. */
int32_t registration_credit_left(const struct usher *u);

/*
 * Do one thing: connect, send what is owed, or receive one message. Returns 1 if it did, 0 if there
 * is nothing to do for now, or a negative errno of a send or receive, which is tried again later.
 */
int registration_step(struct usher *u);

/*
 * Forward the held connection `id`, as usher_forward() does after its arguments were looked at.
 * `service` is "" for the own one, `peer` what the client's address is, NULL: as it was. The
 * descriptor stays the caller's.
 */
int registration_forward(struct usher *u, uint64_t id, int fd, const char *service,
	const void *data, size_t size, const struct sockaddr *peer);

/* Send what is owed, as far as possible now. As channel_flush(). */
int registration_flush(struct usher *u);

/* Ask for no more connections. No channel will be opened after this one. */
void registration_drain(struct usher *u);

/* Make epoll_fd readable when it should be: after anything else here, before unlocking. */
void registration_watch(struct usher *u);
