/* SPDX-License-Identifier: MIT */
/*
 * The five protocols, TCP parts: a protocol is what happens when a connection is opened, can be
 * read and can be written. protocol.c has the table; nothing outside it knows what echo is.
 */
#pragma once

#include <stddef.h>

struct connection;

/*
 * A handler does a bounded amount of work and returns 0, or anything else to have the connection
 * closed (see connection.h). on_open has what another service has read of the connection before it
 * was forwarded here, mostly nothing.
 */
struct protocol {
	const char *name;
	int (*on_open)(struct connection *c, const char *data, size_t size); /* may be NULL */
	int (*on_readable)(struct connection *c);
	int (*on_writable)(struct connection *c); /* may be NULL if nothing is ever left unsent */
};

/* The protocols in the order of their ports; the last entry's name is NULL. */
extern const struct protocol protocols[];

/* The protocol of that name, or NULL. */
const struct protocol *protocol_find(const char *name);
