/* SPDX-License-Identifier: MIT */
/*
 * The head of a request of HTTP (RFC 9112), as it comes in: what is asked for, and whether it is
 * asked rightly.
 *
 * Pure: it is given bytes. It is strict: a line ends with CR LF, a field has no space before its
 * colon and no second line. What a request has behind its head is nobody's: there is one request a
 * connection, and no resource here takes a body.
 *
 * Invariant: no more than HTTP_LINE_MAX bytes are kept, whatever comes, and no more than
 * HTTP_HEAD_MAX are read.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#define HTTP_LINE_MAX	1023 /* without its end */
#define HTTP_HEAD_MAX	8192
#define HTTP_METHOD_MAX 15

/* RFC 9110, 15. */
enum http_status {
	HTTP_MORE = 0, /* the head is not complete yet */
	HTTP_OK = 200,
	HTTP_BAD_REQUEST = 400,
	HTTP_NOT_FOUND = 404,
	HTTP_NOT_ALLOWED = 405,
	HTTP_TARGET_TOO_LONG = 414,
	HTTP_HEAD_TOO_LARGE = 431,
	HTTP_UNAVAILABLE = 503,
	HTTP_VERSION_UNKNOWN = 505,
};

/* Zero-initialise. */
struct http_request {
	size_t n_bytes; /* of the head so far */
	size_t length;	/* of the line so far */
	bool has_method, is_1_1;
	bool is_head; /* the method is HEAD: the answer has no body, also if it is an error */
	unsigned int n_hosts;
	char method[HTTP_METHOD_MAX + 1]; /* a longer one is cut: it is none that we know */
	char path[HTTP_LINE_MAX + 1];	  /* of the target: without scheme, host and query */
	char line[HTTP_LINE_MAX + 1];
};

/*
 * The next bytes from the client; none after another result than HTTP_MORE. HTTP_OK: the head is
 * complete and right, with `method` and `path`; else what is wrong with it: HTTP_BAD_REQUEST,
 * HTTP_TARGET_TOO_LONG, HTTP_HEAD_TOO_LARGE or HTTP_VERSION_UNKNOWN.
 */
enum http_status http_feed(struct http_request *r, const char *data, size_t size);

/* "Not Found". */
const char *http_reason(enum http_status status);
