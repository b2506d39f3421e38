/* SPDX-License-Identifier: MIT */
/*
 * The way in of a service: its listeners as one, and what clients meet there.
 *
 * It makes the listeners agree with the state that the service wants, accepts from them, and resets
 * connections that nobody will serve. Who serves is not its business. Those that are for lending
 * have a state of their own.
 *
 * Invariant: every listener is in the state that was last wanted, or a timer is about to try again.
 */
#pragma once

#include "config.h"
#include "listener.h"
#include "wire.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>

/* What clients meet. */
enum intake_state {
	INTAKE_WAITING,	  /* nobody is registered: they wait in the backlog */
	INTAKE_REFUSING,  /* nobody is registered: they are refused by the kernel */
	INTAKE_RESETTING, /* nobody is registered: they are accepted and reset */
	INTAKE_FULL,	/* nobody has credit, or `instances` is reached: they wait in the backlog */
	INTAKE_SERVING, /* they are accepted and offered to the service */
	INTAKE_LIMITED, /* it were too many just now: they wait in the backlog */
	INTAKE_PAUSED,	/* by the administrator: they wait in the backlog */
	INTAKE_LENT,	/* a provider has the sockets themselves, and usherd has no part in it */
};

struct intake;

struct intake_events {
	/* There are connections, and somebody may serve them: call intake_accept(). */
	void (*on_connections)(struct listener *l, void *userdata);
	/* A client at `l` was reset, because nobody is registered. */
	void (*on_reset)(struct listener *l, const struct wire_address *peer, void *userdata);
};

/*
 * An intake without listeners, WAITING. `service` is for messages and must live as long; `events`
 * is static. Returns 0 with *ret (free with intake_free()), or a negative errno.
 */
int intake_new(struct intake **ret, sd_event *event, const char *service,
	const struct intake_events *events, void *userdata);

/* Frees the listeners too. NULL is allowed. Returns NULL. */
struct intake *intake_free(struct intake *intake);

/*
 * Take `listeners` (from malloc, with what is in it) in place of those so far, which become the
 * caller's, and give them `options`. The new ones are brought into the present states. For lending
 * are the datagram sockets, and with `lends_streams` all others too.
 */
void intake_replace(struct intake *intake, struct listener **listeners, size_t n_listeners,
	const struct config_socket *options, bool lends_streams);

/* Are these the present listeners, in the same order? */
bool intake_has(const struct intake *intake, struct listener *const *listeners, size_t n_listeners);

/*
 * The state of all listeners but those for lending; and of those: LENT, or what clients meet while
 * nobody has them (datagrams always wait in the socket). A listener that does not follow is logged
 * once, and tried again every second. Of many listeners those stay open while it is FULL or LIMITED
 * at which nobody waits.
 */
void intake_set_state(struct intake *intake, enum intake_state state);
void intake_set_lending(struct intake *intake, enum intake_state state);

/* Is it for lending? How many are? */
bool intake_lends(const struct intake *intake, const struct listener *l);
size_t intake_n_lent(const struct intake *intake);

/*
 * Accept one connection on `l`. Returns 0 with *ret_fd, the caller's; -EAGAIN: none waits, or for
 * lack of resources none can be accepted now. What is lacking is logged once, and clients wait in
 * the backlog.
 */
int intake_accept(
	struct intake *intake, struct listener *l, int *ret_fd, struct wire_address *ret_peer);

/*
 * Leave the connections of `l`, which is not deferred, in the backlog, unpolled, until
 * intake_poll_deferred(): whoever defers it takes them by intake_accept() meanwhile.
 */
void intake_defer(struct intake *intake, struct listener *l);

/* How many listeners are deferred; and if any, one of them, in turn. */
size_t intake_n_deferred(const struct intake *intake);
struct listener *intake_next_deferred(struct intake *intake);

/* Poll the deferred listeners again. intake_set_state() and intake_replace() do so too. */
void intake_poll_deferred(struct intake *intake);

/* There is no memory to note a connection of `l` in: as a lack of resources at intake_accept(). */
void intake_lacks_memory(struct intake *intake, struct listener *l);

/* Close `fd`, which is taken, so that the client sees a reset and not an orderly end. */
void intake_reset(struct intake *intake, int fd);

/*
 * The index of the listener on which the connection `fd` came in, by the address at our end of it;
 * WIRE_NO_LISTENER: none of the present ones.
 */
uint32_t intake_find_listener(const struct intake *intake, int fd);

enum intake_state intake_state(const struct intake *intake);
enum intake_state intake_lending(const struct intake *intake);
struct listener *const *intake_listeners(const struct intake *intake, size_t *ret_n);
uint64_t intake_n_reset(const struct intake *intake);

/* So many were reset before, by an earlier usherd. */
void intake_restore_n_reset(struct intake *intake, uint64_t n_reset);
