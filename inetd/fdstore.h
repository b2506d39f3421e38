/* SPDX-License-Identifier: MIT */
/*
 * Sockets that the service manager keeps for the usherd that comes after this one: the file
 * descriptor store (sd_pid_notify_with_fds(3), FDSTORE=1).
 *
 * Every stored socket has a name of its own, "KIND.NUMBER.SERVICE", because the manager removes by
 * name. It keeps each socket once: one that shall have another name is removed first, then added.
 * Without a store, which $FDSTORE announces (systemd.exec(5), since systemd 254; the unit of usher
 * says it to older ones), nothing is stored and every number is 0. All functions are for the event
 * loop's thread and do not wait for the manager (notify.h): a socket is stored, or gone, soon
 * after.
 *
 * FDPOLL=0 goes with every socket, or the manager would drop those that hang up: a parking queue
 * does when the usherd that filled it is killed, a listener while it refuses. It takes systemd 246
 * to heed that.
 *
 * Invariant: between fdstore_add() and fdstore_remove() or fdstore_freeze() usherd has the socket
 * itself, too.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum fdstore_kind {
	FDSTORE_LISTENER,
	FDSTORE_RENDEZVOUS,
	FDSTORE_PARKING,
};
#define FDSTORE_N_KINDS 3

/*
 * The number of a socket that the manager has bound itself and keeps by itself, for a socket unit
 * (systemd.socket(5)): nothing that is said here removes it.
 */
#define FDSTORE_OF_UNIT UINT32_MAX

/* With the longest name of a service, and a NUL. systemd allows 255 bytes. */
#define FDSTORE_NAME_SIZE 128

/* Store a copy of `fd`, which stays the caller's. Returns its number, above 0 and below
 * FDSTORE_OF_UNIT; 0: there is no store, or it could not be told, which notify_n_dropped() counts.
 */
uint32_t fdstore_add(enum fdstore_kind kind, const char *service, int fd);

/*
 * The socket is about to be closed for good: out of the store with it. Returns true if it goes on
 * living there all the same, after fdstore_freeze(): then its file in the file system must stay,
 * too. Number 0 is allowed: false. FDSTORE_OF_UNIT removes nothing.
 *
 * The manager's copy lives until it reads that: what must be over at once (listening, a backlog)
 * takes a shutdown(2).
 */
bool fdstore_remove(enum fdstore_kind kind, const char *service, uint32_t number);

/* usherd ends; from now on nothing is removed: the manager decides (restart: kept; stop: closed).
 */
void fdstore_freeze(void);

/* A socket with this number was there before: later fdstore_add() will return higher ones. */
void fdstore_found(uint32_t number);

/* "KIND.NUMBER.SERVICE" into its parts. Returns whether it is such a name; `ret_service` has room
 * for WIRE_NAME_SIZE bytes. */
bool fdstore_parse_name(
	const char *name, enum fdstore_kind *ret_kind, uint32_t *ret_number, char *ret_service);
