/* SPDX-License-Identifier: MIT */
/*
 * login: asks each client who it is, and gives its connection on to
 * the service that is for this user. Several threads, so that clients
 * who think do not keep others waiting.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <usher.h>

#define N_THREADS   8
#define LIMIT	    512 /* bytes of a client before it has logged in */
#define PATIENCE_MS 10000

static const struct user {
	const char *name, *password, *service;
} users[] = {
	{"anna", "sesame", "mailbox"},
	{"bert", "tulip", "mailbox-old"},
};
#define N_USERS (sizeof(users) / sizeof(users[0]))

static const struct user *find_user(const char *name, const char *password)
{
	const struct user *user = NULL;

	for (size_t i = 0; i < N_USERS; i++)
		if (strcmp(name, users[i].name) == 0)
			user = &users[i];
	return user && strcmp(password, user->password) == 0 ? user : NULL;
}

/* Read until a whole line is there. Returns what follows it, or NULL. */
static char *read_line(int fd, char *bytes, size_t *ret_size)
{
	struct pollfd polled = {fd, POLLIN, 0};
	size_t size = 0;
	char *end = NULL;

	while (!end && size < LIMIT && poll(&polled, 1, PATIENCE_MS) == 1) {
		ssize_t n = recv(fd, bytes + size, LIMIT - size, 0);

		if (n <= 0)
			return NULL;
		size += (size_t)n;
		end = memchr(bytes, '\n', size);
	}
	if (!end)
		return NULL;
	*end = '\0';
	*ret_size = size;
	return end + 1;
}

static void answer(int fd, const char *line)
{
	send(fd, line, strlen(line), MSG_NOSIGNAL);
}

/*
 * The other service gets a line of ours that names the user, and what
 * the client has said behind its own line. Returns a negative value if
 * the connection is still ours.
 */
static int log_in(struct usher *usher, struct usher_connection *client)
{
	char bytes[LIMIT], name[LIMIT], password[LIMIT], data[2 * LIMIT];
	size_t size = 0, n, n_rest;
	const char *rest = read_line(client->fd, bytes, &size);
	const struct user *user = NULL;

	if (!rest)
		return -1;
	if (sscanf(bytes, "LOGIN %s %s", name, password) == 2)
		user = find_user(name, password);
	if (!user) {
		answer(client->fd, "no such user or password\n");
		return -1;
	}
	answer(client->fd, "welcome\n");
	n = (size_t)sprintf(data, "USER %s\n", user->name);
	n_rest = (size_t)(bytes + size - rest);
	memcpy(data + n, rest, n_rest);
	return usher_forward(usher, client, user->service, data, n + n_rest);
}

static void *serve(void *usher)
{
	struct usher_connection client;
	int r;

	while ((r = usher_accept(usher, &client, 0)) != -ESHUTDOWN) {
		if (r < 0)
			fprintf(stderr, "login: %s\n", strerror(-r));
		else if (log_in(usher, &client) < 0)
			usher_close(usher, &client);
	}
	return NULL;
}

int main(void)
{
	pthread_t threads[N_THREADS];
	struct usher *usher;
	int r = usher_new(&usher, "login", NULL);

	for (int i = 0; i < N_THREADS && r == 0; i++)
		r = -pthread_create(&threads[i], NULL, serve, usher);
	if (r < 0) {
		fprintf(stderr, "login: %s\n", strerror(-r));
		return 1;
	}
	for (int i = 0; i < N_THREADS; i++)
		pthread_join(threads[i], NULL);
	usher_free(usher);
	return 0;
}
