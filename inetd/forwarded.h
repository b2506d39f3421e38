/* SPDX-License-Identifier: MIT */
/*
 * What a connection brings with it that a provider has forwarded: by whom, and the bytes that were
 * read already.
 *
 * It is needed until the next provider has claimed the connection. How often the connection was
 * forwarded is needed longer and is in struct handoff. usherd carries the bytes and never looks at
 * them.
 */
#pragma once

#include "connection.h"
#include "wire.h"
#include <stddef.h>
#include <stdint.h>

/* A connection that was forwarded more often goes in a circle. */
#define FORWARDED_MAX_HOPS 8

/* Goes with its connection: who holds the one frees the other, with forwarded_free(). */
struct forwarded {
	char from[WIRE_NAME_SIZE];   /* the service whose provider forwarded it last */
	struct connection_mark mark; /* what had been read and written by then */
	size_t size;		     /* of `data`, in bytes */
	uint8_t data[];
};

/*
 * Copies `from`, the name of a service, and the `size` bytes of `data`, at most
 * WIRE_MAX_FORWARDED_BYTES; `mark` is the caller's to fill in. Returns NULL when out of memory.
 */
struct forwarded *forwarded_new(const char *from, const void *data, size_t size);

/* NULL is allowed. Returns NULL. */
struct forwarded *forwarded_free(struct forwarded *forwarded);
