/* SPDX-License-Identifier: MIT */
/*
 * Sockets that an earlier usherd has left to this one: in the service manager's store, when it was
 * restarted or killed; or by its own hand, when it was upgraded in place (succession.h).
 *
 * It only knows whose they are and gives each away at most once; what they are good for is decided
 * by who takes them.
 *
 * Invariant: every descriptor is taken by somebody, or closed (and removed from the store, and its
 * path unlinked if it has one) by inheritance_free().
 */
#pragma once

#include "address.h"
#include "fdstore.h"
#include "wire.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct inheritance;

/*
 * What the service manager passes (sd_listen_fds_with_names(3)): sockets whose names are
 * fdstore.h's, and whatever else is a listener, because a socket unit may have bound it
 * (systemd.socket(5)), with the number FDSTORE_OF_UNIT. One that is passed as both counts as
 * stored. All else is closed, with a line in the log. Clears the environment variables. Returns 0
 * with *ret (free with inheritance_free()) or -ENOMEM.
 */
int inheritance_from_manager(struct inheritance **ret);

/* An empty one, to be filled with inheritance_add(). Returns 0 or -ENOMEM. */
int inheritance_new(struct inheritance **ret);

/*
 * Takes `fd`, also on failure, and makes it close-on-exec, and non-blocking if it is no listener:
 * those may be lent. `service` is copied. Returns 0 or -ENOMEM.
 */
int inheritance_add(struct inheritance *inheritance, enum fdstore_kind kind, const char *service,
	uint32_t number, int fd);

/*
 * What nobody has taken is over: for those in the store only after the manager has read it, so
 * clients are turned away here; for those of units with a line in the log. After fdstore_freeze()
 * what the manager keeps stays as it is, with its files. NULL is allowed everywhere below, and has
 * nothing. Returns NULL.
 */
struct inheritance *inheritance_free(struct inheritance *inheritance);

/* What was taken. `fd` is the caller's. */
struct inherited {
	int fd;
	uint32_t number;	      /* in the store; 0: not there; FDSTORE_OF_UNIT */
	char service[WIRE_NAME_SIZE]; /* under whose name it is there */
};

/*
 * The socket for `configured`: one that is bound there and of its type, with the same v6only. For
 * port 0 one of this service, on that host and any port: so take those with a port first.
 * *ret_bound is its address, as listener_bind() would say it. It may have been refusing clients
 * when it was left: call listen(2).
 *
 * Returns whether there is one. If not, then it can be bound: what was inherited and would be in
 * the way (tcp:80, where now tcp:127.0.0.1:80 is configured) does not listen any more.
 */
bool inheritance_take_listener(struct inheritance *inheritance, const char *service,
	const struct address *configured, bool is_v6only, struct inherited *ret,
	struct address *ret_bound);

/* The rendezvous of `service`, if its file is still at `path`. */
bool inheritance_take_rendezvous(struct inheritance *inheritance, const char *service,
	const char *path, struct inherited *ret);

/* The next parking lot of `service`, oldest first. */
bool inheritance_take_parking(
	struct inheritance *inheritance, const char *service, struct inherited *ret);

/* Is the rendezvous of this service among what nobody has taken yet? Then its file must stay. */
bool inheritance_has_rendezvous(struct inheritance *inheritance, const char *service);
