/* SPDX-License-Identifier: MIT */
/*
 * The sockets that usherd has lent to a registration: listening ones and datagram ones.
 *
 * A list and nothing more: it receives nothing and uses no socket. Private to libusher.
 *
 * Invariant: a descriptor that the application may be watching is not closed before the application
 * was told that it is lent no more, and has come back.
 */
#pragma once

#include "usher.h"
#include "wire.h"
#include <stdbool.h>
#include <stddef.h>

struct lent_socket {
	struct usher_lent shown;
	uint64_t cookie; /* names the socket, whatever its descriptor; 0: the kernel can't tell */
};

/* One that is lent no more. */
struct lent_former {
	int fd;
	uint64_t cookie;
};

struct lent {
	struct lent_socket *sockets;
	size_t n;
	struct lent_former *former; /* not closed yet */
	size_t n_former;
	bool is_changed;	    /* and the application was not told yet */
	struct lent_socket *coming; /* of messages that are followed by more */
	size_t n_coming;
	bool is_followed; /* the last message was */
};

/* Zero-initialise. Closes everything. */
void lent_done(struct lent *lent);

/*
 * A message of LISTENERS with these `n` sockets, and the flags of its header: nothing changes
 * before the last one of several. `fds` are taken, also on failure. A socket that was lent before,
 * and is not closed yet, keeps its descriptor. Nothing changes if none was lent and none is.
 * Returns 0, -EPROTO (more than WIRE_MAX_LISTENERS, or none came before that is followed by this
 * one) or -ENOMEM: then what was lent is still lent, and what came is gone.
 */
int lent_change(struct lent *lent, const struct wire_listener *listeners, const int *fds, size_t n,
	unsigned int flags);

/* Nothing is lent any more. */
void lent_clear(struct lent *lent);

/* Close those that were lent before, if the application knows of the change. */
void lent_close_former(struct lent *lent);
