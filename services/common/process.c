/* SPDX-License-Identifier: MIT */
/* See process.h. */
#include "process.h"
#include "say.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Descriptors that are no connections: those of the loop, and what each registration needs. */
#define OWN_DESCRIPTORS		16
#define DESCRIPTORS_PER_SERVICE 8

/* As many as usherd lets into a service that says nothing else (instances, usher.conf(5)). */
#define DEFAULT_CREDIT 1024

static int notify_fd = -1;

void process_open_streams(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		(void)close(fd);
}

bool process_take_notify_fd(const char *text)
{
	char *end;
	long fd = strtol(text, &end, 10);

	if (*text && *end == '\0' && fd > STDERR_FILENO && fd <= INT_MAX &&
		fcntl((int)fd, F_SETFD, FD_CLOEXEC) == 0) {
		notify_fd = (int)fd;
		return true;
	}
	say("expected the number of an open descriptor above 2 for --notify-fd, not '%s'", text);
	return false;
}

void process_tell_ready(void)
{
	if (notify_fd < 0)
		return;
	if (write(notify_fd, "\n", 1) < 0)
		say("cannot say on descriptor %d that it is ready: %s", notify_fd, strerror(errno));
	(void)close(notify_fd);
	notify_fd = -1;
}

rlim_t process_raise_descriptors(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return 0;
	if (limit.rlim_cur < limit.rlim_max) {
		struct rlimit raised = {.rlim_cur = limit.rlim_max, .rlim_max = limit.rlim_max};

		if (setrlimit(RLIMIT_NOFILE, &raised) == 0)
			return raised.rlim_cur;
	}
	return limit.rlim_cur;
}

uint32_t process_share(
	rlim_t n_descriptors, size_t n_services, unsigned int n_descriptors_each, uint32_t most)
{
	rlim_t reserve = OWN_DESCRIPTORS + DESCRIPTORS_PER_SERVICE * n_services;
	rlim_t share = n_descriptors > reserve ? (n_descriptors - reserve) / n_services : 0;

	share /= n_descriptors_each;
	if (share > most)
		return most;
	return share > 0 ? (uint32_t)share : 1;
}

uint32_t process_credit(uint32_t wanted, size_t n_services, unsigned int n_descriptors_each)
{
	rlim_t n_descriptors = process_raise_descriptors();

	return wanted > 0 ? wanted
			  : process_share(
				    n_descriptors, n_services, n_descriptors_each, DEFAULT_CREDIT);
}
