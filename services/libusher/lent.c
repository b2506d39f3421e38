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

/*
 * The same socket was lent before: the application may go on with the descriptor that it has. Of
 * more than one message can carry the later ones look as if they were lent no more for a moment.
 */
static void keep_descriptor(struct lent *lent, struct lent_socket *made)
{
	int *old_fd = made->cookie != 0 ? find_descriptor(lent, made->cookie) : NULL;

	if (!old_fd)
		return;
	close_fd(made->shown.fd);
	made->shown.fd = take_fd(old_fd);
}

/* Room among the former ones for those that are lent now, and for `n` more: retire() can't fail. */
static int reserve_former(struct lent *lent, size_t n)
{
	size_t n_room = lent->n_former + lent->n + n;
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

static int change(struct lent *lent, const struct wire_listener *listeners, const int *fds,
	size_t n, bool is_more)
{
	size_t n_kept = is_more ? lent->n : 0;
	struct lent_socket *sockets;

	if (n_kept + n > WIRE_MAX_LISTENERS)
		return -EPROTO;
	if (n == 0 && (is_more || lent->n == 0))
		return 0;
	sockets = calloc(n_kept + n + 1, sizeof(*sockets));
	if (!sockets || reserve_former(lent, n) < 0) {
		free(sockets);
		return -ENOMEM;
	}
	for (size_t i = 0; i < n_kept; i++) {
		sockets[i] = lent->sockets[i];
		lent->sockets[i].shown.fd = -EBADF;
	}
	for (size_t i = 0; i < n; i++) {
		sockets[n_kept + i] = make_socket(&listeners[i], fds[i]);
		keep_descriptor(lent, &sockets[n_kept + i]);
	}
	replace(lent, sockets, n_kept + n);
	return 0;
}

int lent_change(struct lent *lent, const struct wire_listener *listeners, const int *fds, size_t n,
	bool is_more)
{
	int r = change(lent, listeners, fds, n, is_more);

	for (size_t i = 0; r < 0 && i < n; i++)
		close_fd(fds[i]);
	return r;
}

void lent_clear(struct lent *lent)
{
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
	retire(lent);
	close_former(lent);
	free(lent->sockets);
	free(lent->former);
	*lent = (struct lent){0};
}
