/* SPDX-License-Identifier: MIT */
/*
 * Echo, discard, daytime, chargen and time, by the text of RFC 862, 863, 867, 864 and 868.
 *
 * None of them has a time-out: those RFCs let the client decide when it is over. What a client can
 * make us hold is bounded instead: the credit bounds the connections, connection.h the bytes.
 */
#include "protocol.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>

/*
 * RFC 868 counts seconds from 1900-01-01 00:00:00 UTC; time(2) from 1970, 70 years and 17 leap days
 * later.
 */
#define SECONDS_1900_TO_1970 2208988800

/* RFC 864's popular pattern: lines of 72 characters out of the ring of the 95 that print. */
#define FIRST_PRINTING	' '
#define N_PRINTING	95
#define LINE_CHARACTERS 72
#define LINE_SIZE	(LINE_CHARACTERS + 2)
#define PATTERN_SIZE	(N_PRINTING * LINE_SIZE)

static int echo_on_open(struct connection *c, const char *data, size_t size)
{
	return size > 0 ? connection_send(c, data, size) : 0;
}

/* The end of the client's half is not lost on it: all that was read before has been sent back. */
static int echo_on_readable(struct connection *c)
{
	const char *data;
	size_t size;
	int r;

	r = connection_read(c, &data, &size);
	if (r != 0)
		return r;
	return connection_send(c, data, size);
}

/*
 * "Weekday, Month Day, Year Time-Zone" of RFC 867. UTC, as the line says, so that it means the same
 * moment to a client anywhere; the inetd servers sent local time without naming the zone.
 */
static int daytime_on_open(struct connection *c, const char *data, size_t size)
{
	time_t now = time(NULL);
	struct tm utc;
	char line[80];

	(void)data, (void)size;
	if (!gmtime_r(&now, &utc))
		return -errno;
	return connection_answer(
		c, line, strftime(line, sizeof(line), "%A, %B %d, %Y %H:%M:%S-UTC\r\n", &utc));
}

/* 32 bits wrap on 2036-02-07 06:28:16 UTC, and go on from 0; the RFC knows no better. */
static int time_on_open(struct connection *c, const char *data, size_t size)
{
	uint32_t answer = htonl((uint32_t)(time(NULL) + SECONDS_1900_TO_1970));

	(void)data, (void)size;
	return connection_answer(c, &answer, sizeof(answer));
}

/* The 95 lines after which the pattern repeats. */
static const char *chargen_pattern(void)
{
	static char pattern[PATTERN_SIZE];

	if (pattern[0] != '\0')
		return pattern;
	for (size_t line = 0; line < N_PRINTING; line++) {
		char *text = pattern + line * LINE_SIZE;

		for (size_t i = 0; i < LINE_CHARACTERS; i++)
			text[i] = (char)(FIRST_PRINTING + (line + i) % N_PRINTING);
		memcpy(text + LINE_CHARACTERS, "\r\n", 2);
	}
	return pattern;
}

static int chargen_on_open(struct connection *c, const char *data, size_t size)
{
	(void)data, (void)size;
	return connection_watch(c, EPOLLIN | EPOLLOUT);
}

/* A client that has ended its own half may still want to read: it only has nothing more to discard.
 */
static int chargen_on_readable(struct connection *c)
{
	int r = connection_discard(c);

	return r == CONNECTION_OVER ? connection_watch(c, EPOLLOUT) : r;
}

/* At most one round of the pattern in a turn, from a text that all connections share. */
static int chargen_on_writable(struct connection *c)
{
	ssize_t n = connection_send_some(
		c, chargen_pattern() + c->position, PATTERN_SIZE - c->position);

	if (n < 0)
		return (int)n;
	c->position = (uint32_t)(c->position + (size_t)n) % PATTERN_SIZE;
	return 0;
}

const struct conversation protocols[] = {
	{
		.name = "echo",
		.on_open = echo_on_open,
		.on_readable = echo_on_readable,
		.on_writable = connection_send_waiting,
	},
	{.name = "discard", .on_readable = connection_discard},
	{.name = "daytime", .on_open = daytime_on_open, .on_readable = connection_discard},
	{
		.name = "chargen",
		.on_open = chargen_on_open,
		.on_readable = chargen_on_readable,
		.on_writable = chargen_on_writable,
	},
	{.name = "time", .on_open = time_on_open, .on_readable = connection_discard},
	{.name = NULL},
};

const struct conversation *protocol_find(const char *name)
{
	for (const struct conversation *protocol = protocols; protocol->name; protocol++)
		if (strcmp(protocol->name, name) == 0)
			return protocol;
	return NULL;
}
