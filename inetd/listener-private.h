/* SPDX-License-Identifier: MIT */
/*
 * A listener from the inside: for the listener*.c files alone. listener-bind.c makes the socket and
 * sets its options, listener.c watches it, listener-repair.c looks after one that was lent.
 */
#pragma once

#include "address.h"
#include "config.h"

/*
 * Set all `options` that can be changed while the socket is bound, on `fd`, which is bound to
 * `bound`. What can't be set keeps nothing else from being set.
 *
 * Returns 0, or the first error: that of setsockopt(2), or -ENOBUFS: the kernel has granted a
 * smaller buffer (net.core.rmem_max, net.core.wmem_max).
 */
int listener_apply_options(
	int fd, const struct address *bound, const struct config_socket *options);

/* setsockopt(2) with an int. Returns 0 or a negative errno. */
int listener_set_option(int fd, int level, int name, int value);

/* The path of an AF_UNIX address. */
const char *listener_unix_path(const struct address *address);

/* O_NONBLOCK and nothing else; no linger, no time-outs. */
void listener_reset_options(int fd);

/*
 * If the datagram socket `fd` was connected: to nobody any more, and bound to `bound` as before.
 * Returns LISTENER_UNHARMED, LISTENER_WAS_CONNECTED, LISTENER_IS_BROKEN, or the negative errno of
 * connect(2), bind(2) or setsockopt(2).
 */
int listener_disconnect(int fd, const struct address *bound);

bool listener_is_listening(int fd);

/* For receiving. Shut down for sending only can't be seen. */
bool listener_is_shut_down(int fd);
