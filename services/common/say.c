/* SPDX-License-Identifier: MIT */
/* See say.h. */
#include "say.h"
#include "loop.h"

#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

/* The same words again within this time belong to one episode, and are said once. */
#define EPISODE_MS 60000

static const char *program_name = "usher";
static bool is_to_syslog;

void say_as(const char *program)
{
	program_name = program;
}

void say_to_syslog(void)
{
	openlog(program_name, LOG_PID | LOG_NDELAY, LOG_DAEMON);
	is_to_syslog = true;
}

/* Names of services and words of usherd may come from anywhere. */
__attribute__((format(printf, 2, 0))) static void format_line(
	char *line, const char *format, va_list arguments)
{
	(void)vsnprintf(line, SAY_SIZE, format, arguments);
	for (char *c = line; *c != '\0'; c++)
		if ((unsigned char)*c < ' ' || *c == '\x7f')
			*c = '?';
}

static void print_line(const char *line)
{
	struct pollfd standard_error = {.fd = STDERR_FILENO, .events = POLLOUT};

	if (is_to_syslog)
		syslog(LOG_NOTICE, "%s", line);
	else if (poll(&standard_error, 1, 0) == 1)
		dprintf(STDERR_FILENO, "%s: %s\n", program_name, line);
}

void say(const char *format, ...)
{
	char line[SAY_SIZE];
	va_list arguments;

	va_start(arguments, format);
	format_line(line, format, arguments);
	va_end(arguments);
	print_line(line);
}

void say_once(struct said *said, const char *format, ...)
{
	char line[SAY_SIZE];
	int64_t now_ms = monotonic_ms();
	bool is_same_episode;
	va_list arguments;

	va_start(arguments, format);
	format_line(line, format, arguments);
	va_end(arguments);
	is_same_episode = strcmp(line, said->words) == 0 && now_ms - said->at_ms < EPISODE_MS;
	said->at_ms = now_ms;
	if (is_same_episode)
		return;
	memcpy(said->words, line, sizeof(said->words));
	print_line(line);
}
