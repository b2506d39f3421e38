/* SPDX-License-Identifier: MIT */
/*
 * Accepted connections that nobody can take now, waiting in kernel socket queues: usherd holds no
 * descriptor for each, and what is queued outlives usherd when the queue is in the service
 * manager's store (fdstore.h).
 *
 * A queue is a list of lots, oldest first. A lot is one end of a socketpair(2), of type
 * SOCK_SEQPACKET, with one message for each connection: its record and its socket. As much fits
 * into a lot as its writing end's send buffer allows; then the next lot is opened. Only the reading
 * end is stored and inherited: an inherited lot is emptied and then at its end, new connections go
 * to lots of our own. A lot that is empty is closed.
 *
 * 555 fit (measured, Linux 6.18; each takes 768 bytes of the send buffer, with forwarded bytes
 * their length more), or fewer where net.core.wmem_max is below the kernel's default. Larger lots
 * would cost fewer descriptors, but counting an inherited one takes a time that grows with the
 * square of their number: 1 ms for 555, 30 ms for 2731.
 *
 * Knows nothing of services, providers and deadlines' consequences. It reads no clock.
 *
 * Invariant: a connection is in the queue or in its caller's hands, never in both: what was taken
 * out and is lost with usherd is lost once, and nothing can be served twice.
 */
#pragma once

#include "dispatch.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct parking;

/* A queue for `service` (for the names in the store; it must live as long). Opens nothing yet.
 * Returns 0 with *ret (free with parking_free()) or -ENOMEM. */
int parking_new(struct parking **ret, const char *service);

/*
 * Close all lots, and so end what is parked; what is in the service manager's store goes on living
 * there after fdstore_freeze(). NULL is allowed. Returns NULL.
 */
struct parking *parking_free(struct parking *parking);

/*
 * An inherited lot, behind the ones that are there: `number` is its number in the store (0: it is
 * not there). Takes `fd`, also on failure, which takes it out of the store, too.
 *
 * Returns 0, parking_n() having grown by what waits in it (nothing is taken out to count that); or
 * a negative errno: -EPROTOTYPE (not such a socket), -ENOMEM, or that of setsockopt(2) or recv(2).
 */
int parking_adopt(struct parking *parking, int fd, uint32_t number);

/*
 * Put a connection in: what *h carries, its own members and `forwarded` with its bytes. The
 * caller's descriptor stays the caller's, who closes it then. `now_usec` is of CLOCK_MONOTONIC: it
 * means the same to a later usherd, until the machine is restarted. It is noted as h->parked_usec
 * unless that is set: the connection was parked before.
 *
 * Returns 0, or a negative errno with nothing put: -ETOOMANYREFS (three quarters of what
 * RLIMIT_NOFILE allows are parked in this process, the rest is for hand-offs; or more descriptors
 * of this user are in flight than that limit), -EMFILE, -ENOBUFS, -ENOMEM ...: try later.
 */
int parking_put(struct parking *parking, const struct handoff *h, uint64_t now_usec);

/*
 * Take the oldest out: fd (close-on-exec, otherwise as it was put in), listener, n_hops,
 * accepted_ns, peer, parked_usec and `forwarded` of *ret are then the caller's; its other members
 * are zero.
 *
 * `listener` is what it was when the connection was put in, maybe by an earlier usherd with another
 * configuration: the caller must know what that is worth.
 *
 * Returns 0; -EAGAIN: none is parked; -EMFILE, -ENOMEM: no descriptor is free, or no memory, and
 * the connection is still parked (a copy of its descriptor is had before it is taken, because a
 * receiver at its limit destroys what it receives, see unix(7)); -EIO: it was damaged, of an
 * unknown version, or its descriptor was refused by a security module. Then it is gone: count it as
 * lost and go on.
 */
int parking_take(struct parking *parking, struct handoff *ret);

/* When the oldest was put in first, without taking it out; 0 if that can't be read. False: none is
 * parked. */
bool parking_oldest(const struct parking *parking, uint64_t *ret_parked_usec);

/* How many are parked, and how many bytes they have brought with them. */
uint32_t parking_n(const struct parking *parking);
size_t parking_n_bytes(const struct parking *parking);

/* The lots' reading ends and their numbers in the store, oldest first, for an upgrade in place. The
 * descriptors stay parking's. Returns false behind the last. */
bool parking_lot(const struct parking *parking, size_t i, int *ret_fd, uint32_t *ret_number);
