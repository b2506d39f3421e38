/* SPDX-License-Identifier: MIT */
/*
 * bench-direct: a server that accepts and answers by itself. Nothing that hands connections on can
 * be faster: it is what all the others are measured against.
 *
 *   bench-direct [-w echo|daytime] ADDRESS:PORT
 */
#include "answer.h"
#include "endpoint.h"

#include <err.h>
#include <stdlib.h>
#include <unistd.h>

#define BACKLOG 4096

static int listen_at(const struct sockaddr_in *endpoint)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	const int on = 1;

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
		bind(fd, (const struct sockaddr *)endpoint, sizeof(*endpoint)) < 0 ||
		listen(fd, BACKLOG) < 0)
		err(EXIT_FAILURE, "cannot listen");
	return fd;
}

static _Noreturn void serve(int listen_fd, enum work work)
{
	for (;;) {
		int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);

		if (fd < 0)
			err(EXIT_FAILURE, "accept4");
		answer(fd, work);
		(void)close(fd);
	}
}

int main(int argc, char *argv[])
{
	enum work work = WORK_ECHO;
	struct sockaddr_in endpoint;
	int option, r = 0;

	while ((option = getopt(argc, argv, "w:")) != -1)
		r = option == 'w' ? work_parse(optarg, &work) : -EINVAL;
	if (r < 0 || argc != optind + 1 || endpoint_parse(argv[optind], &endpoint) < 0)
		errx(2, "usage: bench-direct [-w echo|daytime] ADDRESS:PORT");
	serve(listen_at(&endpoint), work);
}
