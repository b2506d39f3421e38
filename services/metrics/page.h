/* SPDX-License-Identifier: MIT */
/*
 * A whole answer of HTTP, head and body, which many clients may be sent at once.
 *
 * Invariant: it does not change, and lives as long as somebody has it.
 */
#pragma once

#include "http.h"

#include <stddef.h>

struct page {
	unsigned int n_users;
	enum http_status status;
	size_t head_size; /* what HEAD is answered with */
	size_t size;	  /* head and body */
	char bytes[];
};

/* Longest type of a content. */
#define PAGE_TYPE_MAX 127

/*
 * `type` is that of `body`, printable ASCII of at most PAGE_TYPE_MAX bytes; the answer is of this
 * moment (Date). Returns a page that is the caller's, see page_leave(), or NULL when out of memory.
 */
struct page *page_new(enum http_status status, const char *type, const char *body, size_t size);

/* A page with a sentence. */
struct page *page_say(enum http_status status, const char *sentence);

/* Have it, too. Returns the page. */
struct page *page_share(struct page *page);

/* Have it no more. NULL is allowed. Returns NULL. */
struct page *page_leave(struct page *page);
