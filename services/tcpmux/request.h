/* SPDX-License-Identifier: MIT */
/*
 * The line with which a client of TCPMUX asks for a service (RFC 1078), as it comes in.
 *
 * Pure: it is given bytes and says how many of them belong to the line. A line ends with CR LF and
 * nothing else, so that it is never in doubt which byte is the first one for the service.
 *
 * Invariant: no more than REQUEST_NAME_MAX bytes are kept, whatever comes.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define REQUEST_NAME_MAX 63
#define REQUEST_LINE_MAX (REQUEST_NAME_MAX + 2)

enum request_state {
	REQUEST_MORE,	  /* the line is not complete yet */
	REQUEST_COMPLETE, /* `name` is what the client asks for */
	REQUEST_BAD,	  /* it is no name, and will not become one */
};

/* A line. Zero-initialise. */
struct request {
	uint8_t length; /* of the name so far */
	uint8_t has_cr; /* the last byte was CR */
	char name[REQUEST_NAME_MAX + 1];
};

/*
 * The next bytes from the client; none after COMPLETE or BAD. *ret_taken is how many of them belong
 * to the line: all of them for REQUEST_MORE. A name is 1 to REQUEST_NAME_MAX printing characters of
 * ASCII without spaces; it is terminated when the line is complete.
 */
enum request_state request_feed(
	struct request *r, const char *data, size_t size, size_t *ret_taken);
