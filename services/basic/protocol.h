/* SPDX-License-Identifier: MIT */
/*
 * The five protocols: what happens in the conversations that common/connection.h has with clients,
 * and what a datagram is answered with. protocol.c has the table; nothing outside it knows what
 * echo is.
 */
#pragma once

#include "connection.h"

#include <stddef.h>

/* Room for any datagram of UDP. */
#define DATAGRAM_MAX 65536

/* Most bytes of chargen in one datagram: RFC 864. */
#define CHARGEN_MAX 512

struct protocol {
	const char *name;
	struct conversation conversation;

	/* Make of a datagram of `size` bytes in `data` the answer, of at most DATAGRAM_MAX. Returns
	 * how many bytes that is. NULL: there is none. */
	size_t (*answer)(char *data, size_t size);
};

/* The protocols in the order of their ports; the last entry's name is NULL. */
extern const struct protocol protocols[];

/* The protocol of that name, or NULL. */
const struct protocol *protocol_find(const char *name);
