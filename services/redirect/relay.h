/* SPDX-License-Identifier: MIT */
/*
 * A client and its server, connected: what the one says the other one hears, each way until it
 * ends.
 *
 * A half that ends is ended on the other side, and the other half goes on. One that breaks breaks
 * both: nobody shall take half an answer for a whole one.
 *
 * Invariant: the descriptors are the caller's, and leave the loop at relay_stop().
 */
#pragma once

#include "flow.h"
#include "loop.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* relay_start() and on_change: both ways have ended. */
#define RELAY_OVER 1

struct relay_end {
	struct watch watch;
	int fd;
	uint32_t events;
	bool is_watched;
};

struct relay {
	struct loop *loop;
	struct relay_end client, server;
	struct flow up, down; /* to the server, to the client */
	const char *head;     /* bytes for the server before all others, the caller's */
	size_t head_size, head_sent;
	/* Something has moved (0), all is over (RELAY_OVER), or it has failed (negative errno). */
	void (*on_change)(struct relay *r, int result);
};

/*
 * Begin. Both sockets are connected and non-blocking. `head` must live until relay_stop(). Returns
 * 0, or the error of epoll_ctl(2); relay_stop() in any case.
 */
int relay_start(struct relay *r, struct loop *loop, int client_fd, int server_fd, const char *head,
	size_t head_size, void (*on_change)(struct relay *r, int result));

void relay_stop(struct relay *r);

/* Make the peer see a reset rather than an end, which close(2) afterwards cannot undo. */
void relay_break(int fd);
