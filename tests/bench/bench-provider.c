/* SPDX-License-Identifier: MIT */
/*
 * bench-provider: bench-direct with libusher: usher_accept() in place of accept4().
 *
 *   bench-provider [-l] [-w echo|daytime] SERVICE
 *
 * With -l the listening socket itself is lent to it: it accepts there until it is killed, as an
 * inetd's program that is marked "wait" does, and hears nothing more of usherd.
 * $USHER_RUN_DIR names the folder of the rendezvous.
 */
#include "answer.h"

#include <err.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/ioctl.h>
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

/* The first socket that is lent, blocking as that of bench-direct. Waits for it. */
static int borrow(struct usher *usher)
{
	struct usher_connection none;
	struct usher_lent lent;
	int off = 0, r;

	do
		r = usher_accept(usher, &none, 0);
	while (r == -EINTR);
	if (r != USHER_LENT || usher_lent(usher, 0, &lent) < 0 || ioctl(lent.fd, FIONBIO, &off) < 0)
		errx(EXIT_FAILURE, "nothing was lent: %d", r);
	return lent.fd;
}

static _Noreturn void serve_lent(int listen_fd, enum work work)
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
	struct usher_options options = {.size = sizeof(options), .flags = USHER_NONBLOCK};
	enum work work = WORK_ECHO;
	struct usher *usher;
	int option, r = 0;

	while ((option = getopt(argc, argv, "lw:")) != -1)
		if (option == 'l')
			options.flags = USHER_LISTENERS;
		else
			r = option == 'w' ? work_parse(optarg, &work) : -EINVAL;
	if (r < 0 || argc != optind + 1)
		errx(2, "usage: bench-provider [-l] [-w echo|daytime] SERVICE");
	r = usher_new(&usher, argv[optind], &options);
	if (r < 0)
		errx(EXIT_FAILURE, "usher_new: %s", strerror(-r));
	if (options.flags & USHER_LISTENERS)
		serve_lent(borrow(usher), work);
	serve(usher, work);
}
