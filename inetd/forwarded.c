/* SPDX-License-Identifier: MIT */
/* What a forwarded connection brings with it: see forwarded.h. */
#include "forwarded.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct forwarded *forwarded_new(const char *from, const void *data, size_t size)
{
	struct forwarded *forwarded;
	size_t length = strlen(from);

	assert(length < sizeof(forwarded->from) && size <= WIRE_MAX_FORWARDED_BYTES);
	forwarded = calloc(1, sizeof(*forwarded) + size);
	if (!forwarded)
		return NULL;
	memcpy(forwarded->from, from, length);
	forwarded->size = size;
	if (size > 0)
		memcpy(forwarded->data, data, size);
	return forwarded;
}

struct forwarded *forwarded_free(struct forwarded *forwarded)
{
	free(forwarded);
	return NULL;
}
