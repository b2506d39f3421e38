/* SPDX-License-Identifier: MIT */
/* A whole answer of HTTP: see page.h. */
#include "page.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define HEAD_MAX     512
#define SENTENCE_MAX 512

/* RFC 9110, 5.6.7: "Sun, 06 Nov 1994 08:49:37 GMT". No locale was set. */
static void format_date(char *text, size_t size)
{
	time_t now = time(NULL);
	struct tm tm;

	if (!gmtime_r(&now, &tm) || strftime(text, size, "%a, %d %b %Y %H:%M:%S GMT", &tm) == 0)
		*text = '\0';
}

/* Of no answer anything may be kept: the next one is another one. */
static size_t format_head(char *head, enum http_status status, const char *type, size_t body_size)
{
	char date[64];
	int n;

	format_date(date, sizeof(date));
	n = snprintf(head, HEAD_MAX,
		"HTTP/1.1 %d %s\r\n"
		"Date: %s\r\n"
		"Content-Type: %s\r\n"
		"Content-Length: %zu\r\n"
		"Cache-Control: no-store\r\n"
		"%s"
		"Connection: close\r\n"
		"\r\n",
		(int)status, http_reason(status), date, type, body_size,
		status == HTTP_NOT_ALLOWED ? "Allow: GET, HEAD\r\n" : "");
	assert(n > 0 && n < HEAD_MAX);
	return (size_t)n;
}

struct page *page_new(enum http_status status, const char *type, const char *body, size_t size)
{
	char head[HEAD_MAX];
	size_t head_size;
	struct page *page;

	assert(strlen(type) <= PAGE_TYPE_MAX);
	head_size = format_head(head, status, type, size);
	page = malloc(sizeof(*page) + head_size + size);
	if (!page)
		return NULL;
	*page = (struct page){
		.n_users = 1,
		.status = status,
		.head_size = head_size,
		.size = head_size + size,
	};
	memcpy(page->bytes, head, head_size);
	memcpy(page->bytes + head_size, body, size);
	return page;
}

struct page *page_say(enum http_status status, const char *sentence)
{
	char line[SENTENCE_MAX];

	(void)snprintf(line, sizeof(line) - 1, "%s", sentence);
	strcat(line, "\n");
	return page_new(status, "text/plain; charset=utf-8", line, strlen(line));
}

struct page *page_share(struct page *page)
{
	page->n_users++;
	return page;
}

struct page *page_leave(struct page *page)
{
	if (page && --page->n_users == 0)
		free(page);
	return NULL;
}
