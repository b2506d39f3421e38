/* SPDX-License-Identifier: MIT */
/*
 * libusher: receive connections from usherd(8).
 *
 * A process that uses this library is a *provider*: it is already running, it registers for a
 * service, and usherd hands it the sockets of accepted connections. The library reconnects by
 * itself when usherd is restarted, and claims every connection before it is returned, so that
 * usherd knows whose it is.
 *
 * Functions return 0 or a positive value on success and a negative errno on failure; errno itself
 * says nothing. A struct usher may be used by several threads at once, except for usher_free(). No
 * function may be called in a signal handler, and no thread may be cancelled while it is in one.
 *
 * A registration belongs to the process that connected, and ends with it: call usher_new() after
 * daemon(3) or any other fork(2). A child must not use its parent's; all descriptors are
 * close-on-exec.
 *
 * See libusher(3) for an introduction with complete programs, usher-protocol(7) to do without.
 */
#ifndef USHER_H
#define USHER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <time.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* A registration for one service. Opaque. */
struct usher;

/* Never wait in usher_accept(): for event loops. */
#define USHER_NONBLOCK 0x1u

/* Serve only while no other provider of the service can take a connection. */
#define USHER_STANDBY 0x2u

/*
 * Take sockets that are lent: the service's datagram sockets, and its listening ones where its
 * configuration says `deliver = "listener"`. usher_accept() returns USHER_LENT then.
 */
#define USHER_LISTENERS 0x4u

/* Of usher_accept(): no connection has come, but the sockets that are lent have changed. */
#define USHER_LENT 1

/* Most bytes that usher_forward() sends along. */
#define USHER_MAX_FORWARD 32768

/* Most connections that a registration can hold. */
#define USHER_MAX_CREDIT 1048576

/*
 * What may be chosen at usher_new(). Zero means the default, but for `size`. Later versions of the
 * library may append members: programs built with this one go on working.
 */
struct usher_options {
	/* sizeof(struct usher_options): tells which members the caller knows. */
	size_t size;

	/* USHER_NONBLOCK, USHER_STANDBY, USHER_LISTENERS. */
	uint32_t flags;

	/* Most connections to hold at once: 1 to USHER_MAX_CREDIT. Default: half of the soft
	 * RLIMIT_NOFILE at the time of usher_new(), and at most 1024. */
	uint32_t credit;

	/* Share of the load relative to other providers: 1 to 1000; default 1. */
	uint32_t weight;

	/*
	 * For humans, in `usherctl status`: at most 63 bytes; default: the name of the program.
	 * Copied.
	 */
	const char *name;
};

/* One connection, as usher_accept() returns it. */
struct usher_connection {
	/* The socket: the caller's to use. End it by usher_close(). */
	int fd;

	/* On which of the service's listeners it came: an index for usher_listener(). UINT32_MAX:
	 * on one that a reload of usherd has removed since, or by way of another service. */
	uint32_t listener;

	/* Names the connection to this registration, for usher_release(). Never 0. */
	uint64_t id;

	/* When usherd accepted it: CLOCK_REALTIME. */
	struct timespec accepted;

	/*
	 * Of a connection that a provider has forwarded, or handed back: the service that it was
	 * registered for, and what was read of the connection already, which comes before all that
	 * can be read from `fd`. NULL and 0 otherwise; `data` is NULL also if nothing was read.
	 * Both are the registration's, and valid until the connection is closed, released or
	 * forwarded, or usher_free().
	 */
	const char *forwarded_by;
	const void *data;
	size_t data_size; /* bytes, 0 to USHER_MAX_FORWARD */

	/* The client's address. IPv4 is AF_INET, never IPv4-mapped; AF_UNIX has no path. */
	struct sockaddr_storage peer;
	socklen_t peer_length;

	/* Zero: room for later versions of the library. */
	uint64_t reserved[4];
};

/* A socket that is lent: see usher_lent(). */
struct usher_lent {
	/* The socket, O_NONBLOCK and close-on-exec. It is the registration's: don't close it. */
	int fd;

	/* SOCK_STREAM or SOCK_SEQPACKET: it listens, accept4(2) its connections. SOCK_DGRAM. */
	int type;

	/* Which of the service's listeners it is: an index for usher_listener(). */
	uint32_t listener;

	/* The address that it is bound to. Of AF_UNIX only the family: getsockname(2) has more. */
	socklen_t address_length;
	struct sockaddr_storage address;
};

/*
 * Make a registration for `service`: a name, whose rendezvous is $USHER_RUN_DIR/NAME.sock (default
 * /run/usher), or the path of a rendezvous if it contains a slash. `options` may be NULL.
 *
 * Does not wait and does not need usherd to be running: usher_accept() connects, and reconnects.
 *
 * Returns 0 and a registration to be freed with usher_free(), or -EINVAL (not a service name, an
 * option out of range, or `size` is none that ever was), -E2BIG (`options` has members that this
 * version of the library does not know), -ENAMETOOLONG (the path does not fit unix(7)'s sun_path),
 * -ENOMEM, or the error of epoll_create1(2) or timerfd_create(2).
 */
int usher_new(struct usher **ret, const char *service, const struct usher_options *options);

/*
 * Leave: closes the registration and its descriptors. Connections that were returned stay the
 * caller's, and usherd counts them as over. Those that were received, claimed and not yet returned
 * are ended, so drain first: usher_drain(), then usher_accept() until -ESHUTDOWN. Those that could
 * not be claimed yet, because usherd does not read, go to another provider. NULL is allowed.
 * Returns NULL. No other thread may be using `u`.
 */
struct usher *usher_free(struct usher *u);

/*
 * A descriptor for poll(2), epoll(7), sd-event or any other loop: it is readable, from the start,
 * when usher_accept() has something to do, and stays the same across reconnections. Owned by `u`:
 * do not read, write or close it. Call usher_accept() whenever it is readable, best until it
 * returns -EAGAIN (edge-triggered watching needs that): with USHER_NONBLOCK it may stay readable
 * so long, although the last connection was taken.
 */
int usher_fd(const struct usher *u);

/*
 * The next connection, like accept4(2): `flags` is 0 or SOCK_NONBLOCK for the returned socket,
 * which is always close-on-exec (SOCK_CLOEXEC is allowed and changes nothing). Waits for one, for
 * ever, unless USHER_NONBLOCK was given. Registers and reconnects as needed, with growing pauses of
 * at most 2 seconds: usherd's absence is not an error.
 *
 * Returns 0 with *ret filled; or, with USHER_LISTENERS only, USHER_LENT with *ret as it was: the
 * sockets that are lent have changed, maybe to none, see usher_lent(); or
 *
 *   -EAGAIN      nothing to return now (only with USHER_NONBLOCK);
 *   -EINTR       a signal handler ran while waiting, or the process was stopped and continued;
 *   -ESHUTDOWN   nothing more will come, and nothing is left to return: usher_drain() was called,
 *                or a newer provider has taken over the service, or the administrator has drained
 *                this one (usher_error() has a sentence then). So it stays, and usher_fd() stays
 *                readable: stop watching it, finish what is here, then usher_free();
 *   -EMFILE      this process was at its descriptor limit, or a security module objected, and
 *                connections did not arrive. None is lost: they were handed back to usherd, which
 *                gives them to somebody else. More are asked for as connections are released, and
 *                after a second. Or sockets that were to be lent did not arrive: none is lent now,
 *                and the registration begins anew after 2 seconds. Or no descriptor was left to
 *                reconnect with;
 *   -EACCES, -EUSERS, -EPROTONOSUPPORT or another error with which usherd refused the registration
 *                or connect(2) failed: usher_error() has a sentence about it. -ECONNREFUSED stands
 *                for refusals with -EAGAIN, -EINTR, -EINVAL, -EMFILE, -EPROTO and -ESHUTDOWN, which
 *                mean what is said here;
 *   -EPROTO      usherd sent what this library does not understand; it will register anew;
 *   -EINVAL      unknown flags;
 *   another negative errno, such as -ENOMEM.
 *
 * Refusals and failures are told once. Call again: it goes on, after a pause of at most 2 seconds.
 */
int usher_accept(struct usher *u, struct usher_connection *ret, int flags);

/*
 * End a connection: shutdown(2), close(2) and usher_release(). The client sees the end at once. The
 * shutdown matters: a plain close(2) lets the client wait for as long as usherd keeps its own copy.
 * Sets connection->fd to a negative value, and its pointers to NULL. As with close(2), what the
 * client sent and nobody has read makes TCP reset the connection: read to its end what must not be
 * lost.
 *
 * Returns 0, or the error of usher_release().
 */
int usher_close(struct usher *u, struct usher_connection *connection);

/*
 * Tell usherd that the connection `id` is over: it counts no longer, and another one may come. For
 * sockets that are closed elsewhere (shut them down first, see usher_close()). Never waits.
 *
 * usherd is told at once, with two exceptions. With USHER_NONBLOCK, while usher_accept() has to be
 * called because usher_fd() is readable, up to 15 are told together: at the latest when it returns
 * -EAGAIN, and not if usherd has little credit left (less than 16).
 * And what usherd does not take now, because it does not read, is told by a later call of
 * usher_accept() or usher_release(); after -ESHUTDOWN by usher_free(), which is the end of all.
 *
 * Returns 0, also when usherd is away just now, or -EINVAL: no connection of this id is held.
 */
int usher_release(struct usher *u, uint64_t id);

/*
 * Give a connection on to another service, NULL: to somebody else of the same one. Its providers
 * get it with `data`, `size` bytes (0 to USHER_MAX_FORWARD) that were read of it and that they
 * should have: begin with what is left of connection->data. On success the socket is theirs: it is
 * closed here, unlike by usher_close(), connection->fd is negative and the connection released.
 * Never waits.
 *
 * The connection is lost, and its client sees a reset, if usherd does not allow this target, or
 * knows none of that name, or if it was forwarded 8 times before: its log says why.
 *
 * Returns 0, or with the connection still the caller's, to be served, closed or tried again:
 *
 *   -EAGAIN    usherd does not read just now. Try again when usher_accept() has returned once more
 *              (usher_fd() becomes readable for that), or a little later;
 *   -ENOTCONN  usherd is away;
 *   -EPERM     the providers of this service may not forward: see `forward` in usher.conf(5);
 *   -EINVAL    not the name of a service, or the connection is not held;
 *   -EMSGSIZE  `size` is too large;
 *   another negative errno of sendmsg(2), or -ENOMEM.
 */
int usher_forward(struct usher *u, struct usher_connection *connection, const char *service,
	const void *data, size_t size);

/*
 * The same, and say who the client really is, as one that has read a PROXY protocol header knows:
 * `peer`, an IPv4 or IPv6 address of `peer_length` bytes, copied. The rules, the log and the next
 * provider take it for the client's; an IPv4-mapped one is IPv4. The connection is also lost if the
 * administrator does not trust this service's providers with that: see `set_peer` in usher.conf(5).
 *
 * Returns as usher_forward(); -EINVAL also if `peer` is another kind of address, or too short.
 */
int usher_forward_as(struct usher *u, struct usher_connection *connection, const char *service,
	const void *data, size_t size, const struct sockaddr *peer, socklen_t peer_length);

/*
 * Hand back a connection of which nothing was used: usherd gives it to another provider of the
 * service, with the bytes that it came with. This one gets no more for a second, but one for each
 * that it releases. Returns as usher_forward(), and counts as one: the service has to be named in
 * its own `forward`.
 */
int usher_decline(struct usher *u, struct usher_connection *connection);

/*
 * Change the most connections to hold at once, 0 (pause) to USHER_MAX_CREDIT. Takes effect with the
 * next connections; those here stay. Returns 0 or -EINVAL.
 */
int usher_set_credit(struct usher *u, uint32_t credit);

/*
 * Ask for no more connections on this registration, for good; finish those here, then usher_free().
 * What is already on its way is still returned by usher_accept(), then it returns -ESHUTDOWN: when
 * usherd has said that nothing follows, or is gone. Sockets that are lent go back: they are no more
 * in usher_lent(), and usher_accept() returns USHER_LENT once. Returns 0.
 */
int usher_drain(struct usher *u);

/*
 * A text for `usherctl status`, as STATUS= of sd_notify(3): UTF-8 of at most 255 bytes, "" for
 * none. Longer ones are cut, control characters replaced. Kept across reconnections. Returns 0.
 */
int usher_set_status(struct usher *u, const char *text);

/* Is the registration accepted by usherd at this moment? */
bool usher_is_registered(struct usher *u);

/* How many connections have come and are not released yet. */
uint32_t usher_holding(struct usher *u);

/*
 * The address that a listener of the service is bound to, by the index of a connection. A reload of
 * usherd may change the listeners: ask before the next usher_accept(), or use getsockname(2) on the
 * connection. Returns the length of *ret, or -ENOENT: no such listener, one that is no more
 * (UINT32_MAX), or never registered.
 */
int usher_listener(struct usher *u, uint32_t index, struct sockaddr_storage *ret);

/*
 * The sockets that are lent to this registration: with `index` from 0 on until -ENOENT comes. They
 * change when usher_accept() returns USHER_LENT, and at usher_drain(). Only with USHER_LISTENERS.
 *
 * They are the service's own sockets. usherd keeps a copy and does not use it as long as they are
 * lent, which they are to one registration at a time: they go to the next one when this one leaves,
 * and nothing that waits in them is lost. While usherd is away they stay usable. What is changed on
 * them by fcntl(2), setsockopt(2), connect(2), shutdown(2) or listen(2) is changed for all who have
 * them, then and later. Connections that are accepted here are no business of usherd: they are
 * neither counted nor released.
 *
 * Descriptors that are lent no more stay open until the next call of usher_accept() after the one
 * that returned USHER_LENT, so that they can be taken out of an event loop; with several threads in
 * usher_accept() that may be soon, so dup(2) what is used by another one. A socket that is lent
 * again, as after a restart of usherd, keeps its descriptor.
 *
 * Returns 0 with *ret filled, or -ENOENT: past the last.
 */
int usher_lent(struct usher *u, size_t index, struct usher_lent *ret);

/*
 * The last refusal or trouble as a sentence, for log files: "" at first, and again when usherd has
 * accepted the registration. Copied into `text`, always terminated; 256 bytes are enough for all.
 * Returns 0.
 */
int usher_error(struct usher *u, char *text, size_t size);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif

#endif
