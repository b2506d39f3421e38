/* SPDX-License-Identifier: MIT */
/* Lines on standard error: see report.h. */
#include "report.h"

#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

uint64_t monotonic_usec(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static void print_line(const char *service, const char *words)
{
	struct pollfd standard_error = {.fd = STDERR_FILENO, .events = POLLOUT};

	if (poll(&standard_error, 1, 0) == 1)
		dprintf(STDERR_FILENO, "usher-exec: %s%s%s\n", service ? service : "",
			service ? ": " : "", words);
}

void report(const char *service, const char *format, ...)
{
	char words[REPORT_SIZE];
	va_list arguments;

	va_start(arguments, format);
	(void)vsnprintf(words, sizeof(words), format, arguments);
	va_end(arguments);
	print_line(service, words);
}

void report_once(struct episode *episode, const char *service, const char *format, ...)
{
	uint64_t now_usec = monotonic_usec();
	char words[REPORT_SIZE];
	va_list arguments;
	bool is_same;

	va_start(arguments, format);
	(void)vsnprintf(words, sizeof(words), format, arguments);
	va_end(arguments);
	is_same = strcmp(words, episode->said) == 0 &&
		  now_usec - episode->said_at_usec < REPORT_EPISODE_USEC;
	episode->said_at_usec = now_usec;
	if (is_same)
		return;
	memcpy(episode->said, words, sizeof(words));
	print_line(service, words);
}
