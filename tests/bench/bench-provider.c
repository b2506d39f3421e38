/* SPDX-License-Identifier: MIT */
/*
 * bench-provider: bench-direct with libusher: usher_accept() in place of accept4().
 *
 *   bench-provider [-w echo|daytime] SERVICE
 *
 * $USHER_RUN_DIR names the folder of the rendezvous.
 */
#include "answer.h"

#include <err.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>
#include <usher.h>

/* Returns when nothing is left to be taken. */
static void serve_waiting(struct usher *usher, enum work work)
{
	struct usher_connection connection;
	int r;

	while ((r = usher_accept(usher, &connection, SOCK_NONBLOCK)) == 0) {
		answer(connection.fd, work);
		(void)usher_close(usher, &connection);
	}
	if (r != -EAGAIN && r != -EINTR)
		errx(EXIT_FAILURE, "usher_accept: %s", strerror(-r));
}

static _Noreturn void serve(struct usher *usher, enum work work)
{
	struct pollfd registration = {.fd = usher_fd(usher), .events = POLLIN};

	for (;;) {
		serve_waiting(usher, work);
		(void)poll(&registration, 1, -1);
	}
}

int main(int argc, char *argv[])
{
	const struct usher_options options = {.size = sizeof(options), .flags = USHER_NONBLOCK};
	enum work work = WORK_ECHO;
	struct usher *usher;
	int option, r = 0;

	while ((option = getopt(argc, argv, "w:")) != -1)
		r = option == 'w' ? work_parse(optarg, &work) : -EINVAL;
	if (r < 0 || argc != optind + 1)
		errx(2, "usage: bench-provider [-w echo|daytime] SERVICE");
	r = usher_new(&usher, argv[optind], &options);
	if (r < 0)
		errx(EXIT_FAILURE, "usher_new: %s", strerror(-r));
	serve(usher, work);
}
