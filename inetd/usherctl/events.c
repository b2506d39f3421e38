/* SPDX-License-Identifier: MIT */
/*
 * usherctl events: what happens, while it happens, a line for each event.
 *
 * usherd closes the connection when it ends and when it is upgraded in place. We ask it again then,
 * for a while, and say so.
 */
#include "client.h"
#include "commands.h"
#include "fd.h"
#include "request.h"
#include "table.h"

#include <errno.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* How often usherd is looked for when it has left, and how long between. */
#define ATTEMPTS      50
#define INTERVAL_NSEC 200000000
#define MAX_DETAIL    256

/* What a member is called in a line for people: "... by web-1, pid 42, after 1.5 s". */
static const struct {
	const char *member, *before;
} details[] = {
	{"peer", " "},
	{"listener", " at "},
	{"provider", " by "},
	{"provider_pid", " pid "},
	{"reason", ": "},
};

static void print_time(const json_t *event)
{
	json_int_t usec = json_integer_value(json_object_get(event, "time_usec"));
	time_t seconds = (time_t)(usec / 1000000);
	char text[16] = "";
	struct tm local;

	if (usec > 0 && localtime_r(&seconds, &local))
		(void)strftime(text, sizeof(text), "%H:%M:%S", &local);
	if (*text)
		printf("%s.%03d", text, (int)(usec / 1000 % 1000));
	else
		printf("%12s", "");
}

/* A member as text, made harmless, or "". */
static const char *text_of(const json_t *event, const char *name, char *buffer, size_t size)
{
	const json_t *member = json_object_get(event, name);

	*buffer = '\0';
	if (json_is_string(member))
		text_copy(buffer, size, json_string_value(member));
	else if (json_is_integer(member))
		(void)snprintf(buffer, size, "%lld", (long long)json_integer_value(member));
	return buffer;
}

/* "10:02:03.123 web          end         192.0.2.1 by web-1 pid 42: released after 0.250 s" */
static void print_text(const json_t *event)
{
	const json_t *duration = json_object_get(event, "duration_usec");
	char text[MAX_DETAIL];

	print_time(event);
	printf(" %-12s", text_of(event, "service", text, sizeof(text)));
	printf(" %-10s", text_of(event, "event", text, sizeof(text)));
	for (size_t i = 0; i < sizeof(details) / sizeof(details[0]); i++)
		if (*text_of(event, details[i].member, text, sizeof(text)))
			printf("%s%s", details[i].before, text);
	if (json_is_integer(duration))
		printf(" after %.3f s", (double)json_integer_value(duration) / 1e6);
	if (*text_of(event, "n", text, sizeof(text)))
		printf(" %s events that came faster than they were read", text);
	putchar('\n');
}

static void print_event(const struct options *options, const json_t *event)
{
	if (options->is_json) {
		(void)json_dumpf(event, stdout, JSON_COMPACT | JSON_ENSURE_ASCII);
		putchar('\n');
	} else if (strcmp(json_string_value(json_object_get(event, "event")), "following") != 0) {
		print_text(event);
	}
}

static void print_reconnected(const struct options *options)
{
	json_t *event = json_pack("{s:s}", "event", "reconnected");

	print_event(options, event);
	json_decref(event);
}

/* Print the event of a line. Returns 0; or the exit status: usherd has answered with an error or
 * with something else, or nobody can read what we print, of which main() speaks. */
static int print_line(const struct options *options, const char *line)
{
	json_t *event = json_loads(line, 0, NULL), *answer;
	int r;

	if (json_is_string(json_object_get(event, "event"))) {
		print_event(options, event);
		json_decref(event);
		return ferror(stdout) ? EXIT_FAILURE : 0;
	}
	r = request_conclude(options, event ? 0 : -EBADMSG, event, &answer);
	if (r > 0)
		return r;
	json_decref(answer);
	return request_conclude(options, -EBADMSG, NULL, &answer);
}

/* Print what comes, until the end. Returns as print_line(); it is an error, too, if usherd does not
 * say at once that it has begun. */
static int print_stream(const struct options *options, FILE *stream)
{
	char *line = NULL;
	size_t size = 0;
	int r = 0;

	for (bool has_begun = false; r == 0; has_begun = true) {
		errno = 0;
		if (getline(&line, &size, stream) < 0) {
			if (errno == EAGAIN)
				r = request_conclude(options, -ETIMEDOUT, NULL, NULL);
			break;
		}
		r = print_line(options, line);
		if (!has_begun)
			(void)client_set_timeout(fileno(stream), 0);
	}
	free(line);
	return r;
}

/* As client_open(), with a few more attempts. */
static int open_again(const char *run_dir, const char *request)
{
	const struct timespec interval = {.tv_nsec = INTERVAL_NSEC};
	int fd = -ECONNREFUSED;

	for (int i = 0; i < ATTEMPTS && fd < 0; i++) {
		(void)nanosleep(&interval, NULL);
		fd = client_open(run_dir, request, CLIENT_TIMEOUT_SECONDS);
	}
	return fd;
}

/* Takes `fd`. */
static int follow(const struct options *options, const char *request, int fd)
{
	int r = 0;

	while (fd >= 0 && r == 0) {
		FILE *stream = fdopen(fd, "r");

		if (!stream) {
			close_fd(fd);
			return request_conclude(options, -errno, NULL, NULL);
		}
		r = print_stream(options, stream);
		(void)fclose(stream);
		if (r > 0)
			return r;
		fd = open_again(options->run_dir, request);
		if (fd >= 0)
			print_reconnected(options);
	}
	return request_conclude(options, fd, NULL, NULL);
}

int command_events(const struct options *options, char **arguments)
{
	char request[CLIENT_MAX_REQUEST + 1] = "events";
	size_t length = strlen(request);

	for (; *arguments; arguments++) {
		int n = snprintf(request + length, sizeof(request) - length, " %s", *arguments);

		/* A blank in a name would make two of it for usherd. */
		if (n < 0 || (size_t)n >= sizeof(request) - length || strchr(*arguments, ' '))
			return request_conclude(options, -EINVAL, NULL, NULL);
		length += (size_t)n;
	}
	(void)setvbuf(stdout, NULL, _IOLBF, 0); /* who reads a pipe wants to see them now, too */
	return follow(
		options, request, client_open(options->run_dir, request, CLIENT_TIMEOUT_SECONDS));
}
