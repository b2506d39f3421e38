/* SPDX-License-Identifier: MIT */
/* See request.h. */
#include "request.h"

static enum request_state take(struct request *r, char c)
{
	if (r->has_cr)
		return c == '\n' && r->length > 0 ? REQUEST_COMPLETE : REQUEST_BAD;
	if (c == '\r') {
		r->has_cr = 1;
		return REQUEST_MORE;
	}
	if (c <= ' ' || c > '~' || r->length == REQUEST_NAME_MAX)
		return REQUEST_BAD;
	r->name[r->length++] = c;
	return REQUEST_MORE;
}

enum request_state request_feed(struct request *r, const char *data, size_t size, size_t *ret_taken)
{
	enum request_state state = REQUEST_MORE;
	size_t n = 0;

	while (n < size && state == REQUEST_MORE)
		state = take(r, data[n++]);
	if (state == REQUEST_COMPLETE)
		r->name[r->length] = '\0';
	*ret_taken = n;
	return state;
}
