/* SPDX-License-Identifier: MIT */
/* The sockets that are lent: see lent.h. */
#include "lent.h"
#include "fd.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static uint64_t find_cookie(int fd)
{
	uint64_t cookie = 0;
	socklen_t size = sizeof(cookie);

	return getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &size) < 0 ? 0 : cookie;
}

static struct lent_socket make_socket(const struct wire_listener *listener, int fd)
{
	struct lent_socket made = {
		.shown = {.fd = fd, .type = (int)listener->type, .listener = listener->index},
		.cookie = find_cookie(fd),
	};

	made.shown.address_length =
		wire_address_to_sockaddr(&listener->address, &made.shown.address);
	return made;
}

/* The descriptor that the same socket has already, or NULL. */
static int *find_descriptor(struct lent *lent, uint64_t cookie)
{
	for (size_t i = 0; i < lent->n; i++)
		if (lent->sockets[i].shown.fd >= 0 && lent->sockets[i].cookie == cookie)
			return &lent->sockets[i].shown.fd;
	for (size_t i = 0; i < lent->n_former; i++)
		if (lent->former[i].fd >= 0 && lent->former[i].cookie == cookie)
			return &lent->former[i].fd;
	return NULL;
}

/* The same socket was lent before: the application may go on with the descriptor that it has. */
static void keep_descriptor(struct lent *lent, struct lent_socket *made)
{
	int *old_fd = made->cookie != 0 ? find_descriptor(lent, made->cookie) : NULL;

	if (!old_fd)
		return;
	close_fd(made->shown.fd);
	made->shown.fd = take_fd(old_fd);
}

/* Room among the former ones for those that are lent now, and for those that come: retire() can't
 * fail. */
static int reserve_former(struct lent *lent)
{
	size_t n_room = lent->n_former + lent->n + lent->n_coming;
	struct lent_former *former = reallocarray(lent->former, n_room + 1, sizeof(*former));

	if (!former)
		return -ENOMEM;
	lent->former = former;
	return 0;
}

/* What is still in the list is lent no more. */
static void retire(struct lent *lent)
{
	for (size_t i = 0; i < lent->n; i++) {
		int fd = take_fd(&lent->sockets[i].shown.fd);

		if (fd >= 0)
			lent->former[lent->n_former++] =
				(struct lent_former){.fd = fd, .cookie = lent->sockets[i].cookie};
	}
	lent->n = 0;
}

static void replace(struct lent *lent, struct lent_socket *sockets, size_t n)
{
	retire(lent);
	free(lent->sockets);
	lent->sockets = sockets;
	lent->n = n;
	lent->is_changed = true;
}

static void drop_coming(struct lent *lent)
{
	for (size_t i = 0; i < lent->n_coming; i++)
		close_fd(lent->coming[i].shown.fd);
	free(lent->coming);
	lent->coming = NULL;
	lent->n_coming = 0;
	lent->is_followed = false;
}

/* All have come. */
static int change(struct lent *lent)
{
	struct lent_socket *sockets = lent->coming;
	size_t n = lent->n_coming;

	if (n == 0 && lent->n == 0)
		return 0;
	if (reserve_former(lent) < 0)
		return -ENOMEM;
	lent->coming = NULL;
	lent->n_coming = 0;
	for (size_t i = 0; i < n; i++)
		keep_descriptor(lent, &sockets[i]);
	replace(lent, sockets, n);
	return 0;
}

static int add_coming(
	struct lent *lent, const struct wire_listener *listeners, const int *fds, size_t n)
{
	struct lent_socket *coming;

	if (lent->n_coming + n > WIRE_MAX_LISTENERS)
		return -EPROTO;
	coming = reallocarray(lent->coming, lent->n_coming + n + 1, sizeof(*coming));
	if (!coming)
		return -ENOMEM;
	lent->coming = coming;
	for (size_t i = 0; i < n; i++)
		coming[lent->n_coming++] = make_socket(&listeners[i], fds[i]);
	return 0;
}

int lent_change(struct lent *lent, const struct wire_listener *listeners, const int *fds, size_t n,
	unsigned int flags)
{
	bool is_more = flags & WIRE_LISTENERS_MORE;
	int r = is_more && !lent->is_followed ? -EPROTO : 0;

	if (!is_more)
		drop_coming(lent);
	if (r >= 0)
		r = add_coming(lent, listeners, fds, n);
	if (r < 0)
		for (size_t i = 0; i < n; i++)
			close_fd(fds[i]);
	lent->is_followed = r >= 0 && flags & WIRE_LISTENERS_FOLLOWED;
	if (r >= 0 && !lent->is_followed)
		r = change(lent);
	if (r < 0)
		drop_coming(lent);
	return r;
}

void lent_clear(struct lent *lent)
{
	drop_coming(lent);
	if (lent->n > 0)
		replace(lent, NULL, 0);
}

static void close_former(struct lent *lent)
{
	while (lent->n_former > 0)
		close_fd(lent->former[--lent->n_former].fd);
}

void lent_close_former(struct lent *lent)
{
	if (!lent->is_changed)
		close_former(lent);
}

void lent_done(struct lent *lent)
{
	drop_coming(lent);
	retire(lent);
	close_former(lent);
	free(lent->sockets);
	free(lent->former);
	*lent = (struct lent){0};
}
