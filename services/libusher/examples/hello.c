/* SPDX-License-Identifier: MIT */
/* hello: a complete service. Every client gets a line. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <usher.h>

int main(void)
{
	static const char greeting[] = "Hello, world.\n";
	struct usher_connection connection;
	struct usher *usher;
	char why[256];
	int r;

	r = usher_new(&usher, "hello", NULL);
	if (r < 0) {
		fprintf(stderr, "hello: %s\n", strerror(-r));
		return 1;
	}
	while ((r = usher_accept(usher, &connection, 0)) != -ESHUTDOWN) {
		if (r < 0) {
			usher_error(usher, why, sizeof(why));
			fprintf(stderr, "hello: %s: %s\n", strerror(-r), why);
			continue;
		}
		send(connection.fd, greeting, strlen(greeting), MSG_NOSIGNAL);
		usher_close(usher, &connection);
	}
	usher_free(usher);
	return 0;
}
