/* SPDX-License-Identifier: MIT */
/*
 * echo-udp: sends every datagram back. The service's UDP sockets are lent to
 * it, while no other provider has them.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <usher.h>

#define MOST 64

/* What is to be watched: usher_fd(), and behind it what is lent. */
static struct pollfd watched[1 + MOST];
static nfds_t n_watched;

static void watch(struct usher *usher)
{
	struct usher_lent lent;

	watched[0] = (struct pollfd){.fd = usher_fd(usher), .events = POLLIN};
	n_watched = 1;
	while (n_watched <= MOST && usher_lent(usher, n_watched - 1, &lent) == 0)
		watched[n_watched++] = (struct pollfd){.fd = lent.fd, .events = POLLIN};
}

static void echo(int fd)
{
	static char data[65536];
	struct sockaddr_storage storage;
	struct sockaddr *client = (struct sockaddr *)&storage;
	socklen_t length = sizeof(storage);
	ssize_t n;

	n = recvfrom(fd, data, sizeof(data), MSG_DONTWAIT, client, &length);
	if (n >= 0)
		sendto(fd, data, (size_t)n, MSG_DONTWAIT, client, length);
}

/* Returns false when it is over. */
static bool hear(struct usher *usher)
{
	struct usher_connection connection;
	char why[256];
	int r = usher_accept(usher, &connection, 0);

	if (r == USHER_LENT) {
		watch(usher);
	} else if (r == 0) { /* the service has a TCP listener too */
		usher_close(usher, &connection);
	} else if (r != -EAGAIN && r != -ESHUTDOWN) {
		usher_error(usher, why, sizeof(why));
		fprintf(stderr, "echo-udp: %s: %s\n", strerror(-r), why);
	}
	return r != -ESHUTDOWN;
}

int main(void)
{
	const struct usher_options options = {
		.size = sizeof(options),
		.flags = USHER_NONBLOCK | USHER_LISTENERS,
	};
	struct usher *usher;
	int r = usher_new(&usher, "echo-udp", &options);

	if (r < 0) {
		fprintf(stderr, "echo-udp: %s\n", strerror(-r));
		return 1;
	}
	watch(usher);
	do {
		poll(watched, n_watched, -1);
		for (nfds_t i = 1; i < n_watched; i++)
			if (watched[i].revents)
				echo(watched[i].fd);
	} while (!watched[0].revents || hear(usher));
	usher_free(usher);
	return 0;
}
