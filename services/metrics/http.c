/* SPDX-License-Identifier: MIT */
/* The head of a request of HTTP: see http.h. Paragraphs are those of RFC 9110 and RFC 9112. */
#include "http.h"

#include <string.h>
#include <strings.h>

#define SCHEME "http://"

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* RFC 9110, 5.6.2: how many characters of a token `text` begins with. */
static size_t token_length(const char *text)
{
	return strspn(text, "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
			    "abcdefghijklmnopqrstuvwxyz");
}

/* No other control character than HT. */
static bool is_text(const char *text)
{
	for (; *text; text++)
		if ((*text > 0 && *text < ' ' && *text != '\t') || *text == 0x7f)
			return false;
	return true;
}

/* RFC 9112, 3.2: a path, a whole address as for a proxy, or "*". Returns false if it is none. */
static bool take_target(struct http_request *r, const char *target)
{
	if (strncasecmp(target, SCHEME, strlen(SCHEME)) == 0) {
		target += strlen(SCHEME);
		target += strcspn(target, "/?");
		if (*target != '/')
			target = "/";
	}
	if (*target != '/' && strcmp(target, "*") != 0)
		return false;
	strcpy(r->path, target); /* of a line, which is not longer than that */
	r->path[strcspn(r->path, "?")] = '\0';
	return true;
}

/* RFC 9112, 2.3: "HTTP/1.1". */
static enum http_status take_version(struct http_request *r, const char *version)
{
	if (strncmp(version, "HTTP/", 5) != 0 || !is_digit(version[5]) || version[6] != '.' ||
		!is_digit(version[7]) || version[8] != '\0')
		return HTTP_BAD_REQUEST;
	if (version[5] != '1')
		return HTTP_VERSION_UNKNOWN;
	r->is_1_1 = version[7] != '0';
	return HTTP_MORE;
}

static void take_method(struct http_request *r, const char *method, size_t length)
{
	r->has_method = true;
	memcpy(r->method, method, length <= HTTP_METHOD_MAX ? length : HTTP_METHOD_MAX);
	r->is_head = strcmp(r->method, "HEAD") == 0;
}

/* RFC 9112, 3: a method, a target and a version, with one space between. */
static enum http_status take_request_line(struct http_request *r)
{
	size_t method_length = token_length(r->line);
	char *target = r->line + method_length, *version;

	if (method_length == 0 || *target != ' ' || !is_text(r->line) || strchr(target, '\t'))
		return HTTP_BAD_REQUEST;
	take_method(r, r->line, method_length);
	target++;
	version = strchr(target, ' ');
	if (!version)
		return HTTP_BAD_REQUEST;
	*version++ = '\0';
	return take_target(r, target) ? take_version(r, version) : HTTP_BAD_REQUEST;
}

/* RFC 9112, 5: all that is looked at is whether it is one, and whether it is Host. */
static enum http_status take_field(struct http_request *r)
{
	size_t length = token_length(r->line);

	if (length == 0 || r->line[length] != ':' || !is_text(r->line))
		return HTTP_BAD_REQUEST;
	if (length == strlen("Host") && strncasecmp(r->line, "Host", length) == 0)
		r->n_hosts++;
	return HTTP_MORE;
}

/* RFC 9112, 3.2: one Host, which only HTTP/1.0 may leave out. */
static enum http_status end_head(const struct http_request *r)
{
	if (r->n_hosts > 1 || (r->is_1_1 && r->n_hosts == 0))
		return HTTP_BAD_REQUEST;
	return HTTP_OK;
}

/* A line is complete, with its CR. */
static enum http_status take_line(struct http_request *r)
{
	if (r->length == 0 || r->line[r->length - 1] != '\r')
		return HTTP_BAD_REQUEST;
	r->line[--r->length] = '\0';
	if (strlen(r->line) != r->length)
		return HTTP_BAD_REQUEST;
	if (!r->has_method)
		return take_request_line(r);
	return r->length == 0 ? end_head(r) : take_field(r);
}

static enum http_status take_byte(struct http_request *r, char byte)
{
	enum http_status status;

	if (r->n_bytes++ == HTTP_HEAD_MAX)
		return HTTP_HEAD_TOO_LARGE;
	if (byte != '\n') {
		if (r->length == HTTP_LINE_MAX)
			return r->has_method ? HTTP_HEAD_TOO_LARGE : HTTP_TARGET_TOO_LONG;
		r->line[r->length++] = byte;
		return HTTP_MORE;
	}
	status = take_line(r);
	r->length = 0;
	return status;
}

enum http_status http_feed(struct http_request *r, const char *data, size_t size)
{
	enum http_status status = HTTP_MORE;

	for (size_t i = 0; i < size && status == HTTP_MORE; i++)
		status = take_byte(r, data[i]);
	return status;
}

const char *http_reason(enum http_status status)
{
	switch (status) {
	case HTTP_MORE:
		break;
	case HTTP_OK:
		return "OK";
	case HTTP_BAD_REQUEST:
		return "Bad Request";
	case HTTP_NOT_FOUND:
		return "Not Found";
	case HTTP_NOT_ALLOWED:
		return "Method Not Allowed";
	case HTTP_TARGET_TOO_LONG:
		return "URI Too Long";
	case HTTP_HEAD_TOO_LARGE:
		return "Request Header Fields Too Large";
	case HTTP_UNAVAILABLE:
		return "Service Unavailable";
	case HTTP_VERSION_UNKNOWN:
		return "HTTP Version Not Supported";
	}
	return "";
}
