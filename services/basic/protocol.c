/* SPDX-License-Identifier: MIT */
/*
 * Echo, discard, daytime, chargen and time, by the text of RFC 862, 863, 867, 864 and 868.
 *
 * None of them has a time-out: those RFCs let the client decide when it is over. What a client can
 * make us hold is bounded instead: the credit bounds the connections, connection.h the bytes.
 */
#include "protocol.h"

#include <arpa/inet.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
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

/* Room for the line of daytime. */
#define DAYTIME_MAX 80

static size_t echo_answer(char *data, size_t size)
{
	(void)data;
	return size;
}

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
static size_t daytime_answer(char *line, size_t size)
{
	time_t now = time(NULL);
	struct tm utc;

	(void)size;
	if (!gmtime_r(&now, &utc))
		return 0;
	return strftime(line, DAYTIME_MAX, "%A, %B %d, %Y %H:%M:%S-UTC\r\n", &utc);
}

static int daytime_on_open(struct connection *c, const char *data, size_t size)
{
	char line[DAYTIME_MAX];

	(void)data, (void)size;
	return connection_answer(c, line, daytime_answer(line, 0));
}

/* 32 bits wrap on 2036-02-07 06:28:16 UTC, and go on from 0; the RFC knows no better. */
static size_t time_answer(char *data, size_t size)
{
	uint32_t answer = htonl((uint32_t)(time(NULL) + SECONDS_1900_TO_1970));

	(void)size;
	memcpy(data, &answer, sizeof(answer));
	return sizeof(answer);
}

static int time_on_open(struct connection *c, const char *data, size_t size)
{
	char answer[sizeof(uint32_t)];

	(void)data, (void)size;
	return connection_answer(c, answer, time_answer(answer, 0));
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

/*
 * "A random number (between 0 and 512) of characters", of lines that each begin where the pattern
 * goes on. Without random bytes, early after the machine has started, it is none.
 */
static size_t chargen_answer(char *data, size_t size)
{
	static size_t line;
	uint16_t random = 0;

	(void)size;
	if (getrandom(&random, sizeof(random), GRND_NONBLOCK) < 0)
		random = 0;
	line = (line + 1) % (N_PRINTING - CHARGEN_MAX / LINE_SIZE - 1);
	memcpy(data, chargen_pattern() + line * LINE_SIZE, CHARGEN_MAX);
	return random % (CHARGEN_MAX + 1);
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

const struct protocol protocols[] = {
	{
		"echo",
		{
			.on_open = echo_on_open,
			.on_readable = echo_on_readable,
			.on_writable = connection_send_waiting,
		},
		echo_answer,
	},
	{"discard", {.on_readable = connection_discard}, NULL},
	{
		"daytime",
		{.on_open = daytime_on_open, .on_readable = connection_discard},
		daytime_answer,
	},
	{
		"chargen",
		{
			.on_open = chargen_on_open,
			.on_readable = chargen_on_readable,
			.on_writable = chargen_on_writable,
		},
		chargen_answer,
	},
	{"time", {.on_open = time_on_open, .on_readable = connection_discard}, time_answer},
	{.name = NULL},
};

const struct protocol *protocol_find(const char *name)
{
	for (const struct protocol *protocol = protocols; protocol->name; protocol++)
		if (strcmp(protocol->name, name) == 0)
			return protocol;
	return NULL;
}
