/* SPDX-License-Identifier: MIT */
/*
 * mailbox: serves clients that the service "login" has let in. Login's
 * first line names the user; what follows it is the client's, and then
 * comes what can be read from the socket.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <usher.h>

static const char prefix[] = "USER ";

static void say(int fd, const char *text, size_t size)
{
	send(fd, text, size, MSG_NOSIGNAL);
}

/* Is it from login, and not a client who came by another way? */
static int is_logged_in(const struct usher_connection *client)
{
	const char *by = client->forwarded_by;

	return by && strcmp(by, "login") == 0 && client->data_size > strlen(prefix) &&
	       memcmp(client->data, prefix, strlen(prefix)) == 0;
}

/* This one only repeats what the client says. */
static void serve(const struct usher_connection *client)
{
	const char *data = client->data;
	size_t n_prefix = strlen(prefix);
	char bytes[512];
	ssize_t n;

	say(client->fd, "mailbox of ", strlen("mailbox of "));
	say(client->fd, data + n_prefix, client->data_size - n_prefix);
	while ((n = recv(client->fd, bytes, sizeof(bytes), 0)) > 0)
		say(client->fd, bytes, (size_t)n);
}

int main(void)
{
	struct usher_connection client;
	struct usher *usher;
	int r = usher_new(&usher, "mailbox", NULL);

	if (r < 0) {
		fprintf(stderr, "mailbox: %s\n", strerror(-r));
		return 1;
	}
	while ((r = usher_accept(usher, &client, 0)) != -ESHUTDOWN) {
		if (r < 0) {
			fprintf(stderr, "mailbox: %s\n", strerror(-r));
			continue;
		}
		if (is_logged_in(&client))
			serve(&client);
		usher_close(usher, &client);
	}
	usher_free(usher);
	return 0;
}
