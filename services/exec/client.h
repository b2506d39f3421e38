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

struct client {
	TAILQ_ENTRY(client) link; /* the owner's */
	struct command *command;
	struct usher_connection connection; /* the owner's to close */
	void (*on_ready)(struct client *client, void *userdata);
	void (*on_failed)(struct client *client, const char *why, void *userdata);
	void *userdata;
	size_t n_sent;	       /* of the banner */
	sd_event_source *io;   /* while the banner does not fit */
	sd_event_source *time; /* the deadline, or the next try */
	bool is_waiting;       /* for a process: the owner's */
	int64_t began_ms;
};

/*
 * Keep `connection` for `program`. Nothing is called before the loop turns: then on_ready, when the
 * banner is sent, if there is one, and it is time to start the program; or on_failed with a
 * sentence, when it takes too long, or the client is gone. Both must call client_free(), or
 * client_wait() to be asked again.
 *
 * Returns 0 or -ENOMEM, or the error of epoll_ctl(2) or timerfd_create(2): the connection is the
 * caller's in any case.
 */
int client_new(struct client **ret, sd_event *event, struct command *command,
	const struct usher_connection *connection,
	void (*on_ready)(struct client *client, void *userdata),
	void (*on_failed)(struct client *client, const char *why, void *userdata), void *userdata);

/* No process could be made: on_ready is called again after CLIENT_RETRY_MS. */
void client_wait(struct client *client);

/* The connection stays what it is. Returns NULL. */
struct client *client_free(struct client *client);
