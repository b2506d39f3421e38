/* SPDX-License-Identifier: MIT */
/*
 * Whatever a client of usher-metrics sends: the head ends within its limits, the same in one piece
 * and in two, and what is said of a right one is so. libFuzzer calls this.
 */
#include "http.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char begin[] = "GET /metrics HTTP/1.1\r\nHost: a\r\n";

static void check(const struct http_request *r, enum http_status status)
{
	assert(r->n_bytes <= HTTP_HEAD_MAX + 1 && r->length <= HTTP_LINE_MAX);
	if (status == HTTP_OK)
		assert(*r->method && (*r->path == '/' || strcmp(r->path, "*") == 0) &&
			!strpbrk(r->path, "? \t\r\n"));
}

/* What says where to cut is the first byte; whether a right beginning comes first, its low bit. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct http_request whole = {0}, pieces = {0};
	enum http_status status, last;
	size_t cut;
	char *text;

	if (size < 2)
		return 0;
	text = malloc(size - 1); /* exactly: one byte more is found out */
	if (!text)
		return 0;
	memcpy(text, data + 1, size - 1);
	if (data[0] & 1)
		(void)http_feed(&whole, begin, strlen(begin));
	pieces = whole;
	cut = data[0] / 2 < size - 1 ? data[0] / 2 : size - 1;
	status = http_feed(&whole, text, size - 1);
	check(&whole, status);
	last = http_feed(&pieces, text, cut);
	if (last == HTTP_MORE)
		last = http_feed(&pieces, text + cut, size - 1 - cut);
	assert(last == status && pieces.n_bytes == whole.n_bytes);
	free(text);
	return 0;
}
