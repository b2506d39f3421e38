/* SPDX-License-Identifier: MIT */
/*
 * A provider of the service in its first argument, in the way of one that reads PROXY protocol
 * headers: each client says an IPv4 address in a line, and is forwarded to the service in the
 * second argument as if it came from there. Ends with 1 when that cannot be.
 */
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <usher.h>

/* Returns false if there is no such line. */
static bool read_address(int fd, struct sockaddr_in *ret)
{
	char line[64] = "";
	size_t n = 0;

	while (n < sizeof(line) - 1 && read(fd, line + n, 1) == 1 && line[n] != '\n')
		n++;
	line[n] = '\0';
	*ret = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(4711)};
	return inet_pton(AF_INET, line, &ret->sin_addr) == 1;
}

int main(int argc, char *argv[])
{
	struct usher_connection connection;
	struct sockaddr_in peer;
	struct usher *u;

	if (argc != 3 || usher_new(&u, argv[1], NULL) < 0)
		return EXIT_FAILURE;
	while (usher_accept(u, &connection, 0) == 0)
		if (!read_address(connection.fd, &peer) ||
			usher_forward_as(u, &connection, argv[2], NULL, 0,
				(const struct sockaddr *)&peer, sizeof(peer)) < 0)
			break;
	usher_free(u);
	return EXIT_FAILURE;
}
