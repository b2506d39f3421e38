/* SPDX-License-Identifier: MIT */
/*
 * Polling one listening socket and accepting from it: what listeners, rendezvous and the control
 * socket have in common, and the one place that knows which errors of accept4(2) mean what.
 *
 * Invariant: whatever the error, the loop does not spin: what does not go away by itself stops the
 * polling for a while.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <systemd/sd-event.h>

struct acceptor;

/* There are connections, probably: call acceptor_accept(), a bounded number of times. */
typedef void (*acceptor_on_connections)(void *userdata);

/*
 * Watch `fd`, a listening socket, which stays the caller's. Begins paused.
 * Returns 0 with *ret (free with acceptor_free()) or a negative errno.
 */
int acceptor_new(struct acceptor **ret, sd_event *event, int fd,
	acceptor_on_connections on_connections, void *userdata);

/* NULL is allowed. Returns NULL. */
struct acceptor *acceptor_free(struct acceptor *a);

/*
 * Accept one connection, non-blocking and close-on-exec; its address in *ret_peer. Errors that
 * belong to one connection are passed over (accept(2), "Error handling").
 *
 * Returns 0 with *ret_fd, the caller's; -EAGAIN: none waits. Any other negative errno (-EMFILE,
 * -ENFILE, -ENOBUFS, -ENOMEM ...): the connection stays in the backlog, and polling stops for 100
 * ms, at each failure in a row for twice as long, up to a second.
 */
int acceptor_accept(struct acceptor *a, int *ret_fd, struct sockaddr_storage *ret_peer);

/* Stop polling for a while, longer each time, as after an error. */
void acceptor_retry_later(struct acceptor *a);

/* Poll or do not. Returns 0 or the negative errno of epoll_ctl(2). */
int acceptor_set_paused(struct acceptor *a, bool is_paused);

/*
 * Let connections wait although it polls, or no more. Cheaper than a pause, it can't fail, and it
 * makes no difference while paused.
 */
void acceptor_set_deferred(struct acceptor *a, bool is_deferred);

/* Is polling stopped by an error now? */
bool acceptor_is_retrying(const struct acceptor *a);
