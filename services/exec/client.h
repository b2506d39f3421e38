/* SPDX-License-Identifier: MIT */
/*
 * A client whose program does not run yet: because it is being sent a banner, or because no process
 * could be made just now.
 *
 * Invariant: it is over after CLIENT_MAX_MS, whatever the client does.
 */
#pragma once

#include "command.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <systemd/sd-event.h>
#include <usher.h>

/* How long a client may wait for its program, or let its banner wait. */
#define CLIENT_MAX_MS 10000

/* When it is tried again to make a process. */
#define CLIENT_RETRY_MS 500

struct client;
TAILQ_HEAD(client_list, client);

/* A client that was not tried to be served before. */
#define CLIENT_IS_NEW (-1)

struct client_events {
	/* Start its program. */
	void (*on_ready)(struct client *client, void *userdata);
	/* End it. `why` is a sentence. */
	void (*on_failed)(struct client *client, const char *why, void *userdata);
};

struct client {
	TAILQ_ENTRY(client) link; /* the owner's */
	struct command *command;
	struct usher_connection connection; /* the owner's to close */
	const struct client_events *events;
	void *userdata;
	size_t n_sent;	       /* of the banner */
	sd_event_source *io;   /* while there is something to send */
	sd_event_source *time; /* the end of that, or the next try */
	int64_t since_ms;      /* when it was first kept */
};

/*
 * Keep `connection` for `command`: until its banner is sent, if it is CLIENT_IS_NEW; or, if no
 * process could be made for one that was first tried at `since_ms` (monotonic_ms()), for
 * CLIENT_RETRY_MS. Then one of the events is called, from the loop, which must call client_free().
 *
 * Returns 0 or -ENOMEM, or the error of epoll_ctl(2) or timerfd_create(2): the connection is the
 * caller's in any case.
 */
int client_new(struct client **ret, sd_event *event, struct command *command,
	const struct usher_connection *connection, int64_t since_ms,
	const struct client_events *events, void *userdata);

/* The connection stays what it is. Returns NULL. */
struct client *client_free(struct client *client);
