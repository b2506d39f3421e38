/* SPDX-License-Identifier: MIT */
/*
 * answer: the work that is measured. What a server does with one connection, the same in every
 * server of this folder, so that only the way to the connection differs. And what bench-load
 * expects of it.
 *
 *   echo     read a line (by one read) and write it back
 *   daytime  write a line at once. It always says the same (bench-cluster.js does, too): the time
 *            is not what is measured
 *
 * The caller closes. A client that has gone away is none of our business: bench-load counts.
 */
#ifndef ANSWER_H
#define ANSWER_H

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#define ANSWER_DAYTIME	"Sunday, November 22, 2026 12:00:00-UTC\r\n"
#define ANSWER_MAX_SIZE 256

enum work {
	WORK_ECHO,
	WORK_DAYTIME,
};

/* Returns 0, or -EINVAL: there is no such work. */
static inline int work_parse(const char *name, enum work *ret)
{
	if (strcmp(name, "echo") == 0)
		*ret = WORK_ECHO;
	else if (strcmp(name, "daytime") == 0)
		*ret = WORK_DAYTIME;
	else
		return -EINVAL;
	return 0;
}

static inline void answer_echo(int fd)
{
	char line[ANSWER_MAX_SIZE];
	ssize_t size;

	while ((size = recv(fd, line, sizeof(line), 0)) < 0 && errno == EAGAIN)
		(void)poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, -1);
	if (size > 0)
		(void)send(fd, line, (size_t)size, MSG_NOSIGNAL);
}

/* Serve the connection `fd`, which stays the caller's. Waits for the client's line. */
static inline void answer(int fd, enum work work)
{
	if (work == WORK_ECHO)
		answer_echo(fd);
	else
		(void)send(fd, ANSWER_DAYTIME, strlen(ANSWER_DAYTIME), MSG_NOSIGNAL);
}

#endif
