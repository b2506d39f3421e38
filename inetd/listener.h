/* SPDX-License-Identifier: MIT */
/*
 * One listening socket of a service: bind, accept, pause, resume, refuse. Or one of datagrams,
 * which is only bound and kept here: it is lent to who reads it.
 *
 * It does not know what happens to the connections, and does not log.
 *
 * Invariant: the socket is polled only while the listener is open: a paused one costs nothing,
 * however many clients wait in its backlog. One of datagrams is never polled.
 */
#pragma once

#include "address.h"
#include "config.h"
#include "inheritance.h"
#include "wire.h"
#include <systemd/sd-event.h>

/* Descriptors that clients leave to others, where RLIMIT_NOFILE is large enough to tell. */
#define LISTENER_FD_RESERVE 64

struct listener;
struct sock_filter;

enum listener_state {
	LISTENER_PAUSED,   /* clients, or datagrams, wait in the kernel */
	LISTENER_OPEN,	   /* on_connections is called while there are any */
	LISTENER_RETRYING, /* open, but accept4(2) failed: not polled for a while (acceptor.h) */
	LISTENER_LENT,	   /* a provider uses it: not polled */
	LISTENER_REFUSING, /* clients get ECONNREFUSED; the address stays ours. Only where it
			      can be undone: address_can_refuse() */
};

/* There are connections: call listener_accept(). */
typedef void (*listener_on_connections)(struct listener *l, void *userdata);

/*
 * Bind to `address` and listen, if it is not of datagrams. A wildcard is IPv6 and IPv4 in one
 * socket, or IPv4 alone where the kernel has no IPv6. Port 0 becomes the port that the kernel
 * chose. A buffer that the kernel makes smaller than `options` say is no error here.
 *
 * `is_closed`: from the first moment nobody gets in, and datagrams are lost, until
 * listener_set_filter(). For internet addresses whose sockets the kernel filters.
 *
 * Returns 0 with *ret_fd (the caller's) and *ret_bound, the address as bound; or the negative errno
 * of socket(2), setsockopt(2), bind(2) or listen(2): -EADDRINUSE, -EADDRNOTAVAIL, -EACCES; -EPERM
 * (IP_TRANSPARENT needs CAP_NET_RAW or CAP_NET_ADMIN, `is_closed` of TCP the latter); -ENODEV
 * (there is no such interface); -EPROTONOSUPPORT, -ENOPROTOOPT (the kernel has no MPTCP) ...
 */
int listener_bind(const struct address *address, const struct config_socket *options,
	bool is_closed, int *ret_fd, struct address *ret_bound);

/*
 * Watch a socket that listener_bind() has just made; begins paused. `configured` is the address as
 * the configuration has it, by which a reload finds the listener again; `bound` as it was bound.
 * Takes `fd`, also on failure. Returns 0 with *ret (free with listener_free()) or a negative errno.
 */
int listener_new(struct listener **ret, sd_event *event, const struct address *configured,
	const struct address *bound, const struct config_socket *options, int fd);

/*
 * As listener_new(), for a socket that an earlier usherd has left: it listens again if it had been
 * refusing, and has `options` as far as they can still be changed.
 */
int listener_adopt(struct listener **ret, sd_event *event, const struct address *configured,
	const struct address *bound, const struct config_socket *options,
	const struct inherited *inherited);

/*
 * Closes the socket, and unlinks its path if that is still its own, unless the socket goes on
 * living in the service manager's store (fdstore_remove()). Nobody connects any more, whoever else
 * has a copy; one of datagrams is left to who has one. NULL is allowed. Returns NULL.
 */
struct listener *listener_free(struct listener *l);

/* Have the service manager keep the socket, as one of `service`; not again if it does already. */
void listener_store(struct listener *l, const char *service);

/* The number in the service manager's store, 0: it is not there. */
uint32_t listener_store_number(const struct listener *l);

/* The socket, which stays the listener's. */
int listener_fd(const struct listener *l);

/*
 * Who is told about connections: set by the service that owns the listener at the time, for whom it
 * is the `index`th.
 */
void listener_set_owner(
	struct listener *l, uint32_t index, listener_on_connections on_connections, void *userdata);

/*
 * After a reload: backlog, and options that can be changed on a listening socket; the mode of a
 * unix: one. Returns 0, or the negative errno of what could not be set, while all else is: -ENOBUFS
 * (the kernel has granted a smaller buffer: net.core.rmem_max, net.core.wmem_max), -EPERM ...
 */
int listener_set_options(struct listener *l, const struct config_socket *options);

/*
 * Have the kernel ask this program about each packet to the socket, in the place of what is
 * attached now. `n` 0: about none. Not for AF_UNIX. Returns 0 or the negative errno of
 * setsockopt(2).
 */
int listener_set_filter(const struct listener *l, const struct sock_filter *program, size_t n);

/*
 * Was everybody who waits in the socket let in by the kernel, as the rules of his time were? The
 * owner's to say; of a new listener it is so if its socket has come with a program.
 */
void listener_set_screened(struct listener *l, bool is_screened);
bool listener_is_screened(const struct listener *l);

/*
 * Have nobody wait any more: datagrams are thrown away unread, clients are refused, or reset if
 * they were let into the backlog already. Returns 0 or the negative errno of listen(2): then it
 * does not listen.
 */
int listener_empty(struct listener *l);

/*
 * Accept one connection, not of datagrams: acceptor_accept() and its errors, with the client's
 * address in the form of the wire.
 *
 * Returns 0; or 1: as 0, but its descriptor is one of the last LISTENER_FD_RESERVE that this
 * process may have, which are for providers and usherctl, so polling stops for a while now.
 */
int listener_accept(struct listener *l, int *ret_fd, struct wire_address *ret_peer);

/* Do not poll for a while, as after an error of accept4(2). */
void listener_retry_later(struct listener *l);

/* Is it so, whether it would be polled otherwise or not? Not of datagrams. */
bool listener_is_retrying(const struct listener *l);

/* LISTENER_OPEN, PAUSED, LENT or REFUSING; one of datagrams is LENT or PAUSED, whatever else is
 * wanted. Returns 0, or the negative errno of listen(2) or sd-event. */
int listener_set_state(struct listener *l, enum listener_state state);

/*
 * How many clients wait in the backlog. UINT32_MAX: that can't be told, as of AF_UNIX. Asking is
 * cheap, while accept4(2) makes a socket before it sees that nobody is there.
 */
uint32_t listener_n_waiting(const struct listener *l);

/*
 * Make it non-blocking: at once for all who have the socket, and who may have made it otherwise. An
 * open one is, but what is lent, or an earlier usherd has left, is not touched, because a program
 * may be using it.
 */
void listener_forbid_blocking(struct listener *l);

/* Leave clients in the backlog for a moment although it is open, or no more. */
void listener_set_deferred(struct listener *l, bool is_deferred);
bool listener_is_deferred(const struct listener *l);

/* What a provider that had it has made of the socket. */
enum listener_damage {
	LISTENER_UNHARMED = 0,
	LISTENER_WAS_CLOSED,	/* it did not listen any more: it does again */
	LISTENER_WAS_CONNECTED, /* to one peer, as a datagram socket can be: it is not any more */
	LISTENER_IS_BROKEN,	/* for good: see listener-repair.c */
};

/*
 * Undo what a provider that had the socket may have done to it: it is non-blocking, and listens or
 * takes datagrams from everybody, without time-outs and other options of socket(7) that the next
 * one would not expect. Those of the configuration: listener_set_options(); the filter:
 * listener_set_filter(). Returns an enum listener_damage, or the negative errno of listen(2) or
 * connect(2).
 */
int listener_repair(struct listener *l);

enum listener_state listener_state(const struct listener *l);
uint32_t listener_index(const struct listener *l);
const struct address *listener_configured(const struct listener *l);
const struct address *listener_bound(const struct listener *l);
