/* SPDX-License-Identifier: MIT */
/*
 * echo-poll: an event loop of one's own, here with poll(2), and many connections in one thread.
 * A client that does not read what it is sent is hung up on.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <usher.h>

#define MAX_CONNECTIONS 256

static struct usher *usher;
static struct pollfd polled[1 + MAX_CONNECTIONS]; /* the first is the registration */
static struct usher_connection connections[1 + MAX_CONNECTIONS];
static nfds_t n_polled = 1;

static void accept_all(void)
{
	int r;

	/* The credit keeps the arrays from overflowing. */
	while ((r = usher_accept(usher, &connections[n_polled], SOCK_NONBLOCK)) == 0) {
		polled[n_polled] = (struct pollfd){connections[n_polled].fd, POLLIN, 0};
		n_polled++;
	}
	if (r == -ESHUTDOWN) /* nothing more comes: a descriptor below 0 is not polled */
		polled[0].fd = -1;
	else if (r != -EAGAIN)
		fprintf(stderr, "echo-poll: %s\n", strerror(-r));
}

static void echo(nfds_t i)
{
	char bytes[4096];
	ssize_t n = recv(polled[i].fd, bytes, sizeof(bytes), 0);

	if (n > 0 && send(polled[i].fd, bytes, (size_t)n, MSG_NOSIGNAL) == n)
		return;
	usher_close(usher, &connections[i]);
	n_polled--;
	polled[i] = polled[n_polled];
	connections[i] = connections[n_polled];
}

int main(void)
{
	const struct usher_options options = {
		.size = sizeof(options), .flags = USHER_NONBLOCK, .credit = MAX_CONNECTIONS};
	int r = usher_new(&usher, "echo", &options);

	if (r < 0) {
		fprintf(stderr, "echo-poll: %s\n", strerror(-r));
		return 1;
	}
	polled[0] = (struct pollfd){usher_fd(usher), POLLIN, 0};
	while ((polled[0].fd >= 0 || n_polled > 1) && poll(polled, n_polled, -1) > 0) {
		for (nfds_t i = n_polled - 1; i > 0; i--)
			if (polled[i].revents)
				echo(i);
		if (polled[0].revents)
			accept_all();
	}
	usher_free(usher);
	return 0;
}
