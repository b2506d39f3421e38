/* SPDX-License-Identifier: MIT */
/* See stub-usher.h. */
#include "stub-usher.h"
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

struct usher stub = {.fd = -1, .forwarded_fd = -1};

void stub_begin(void)
{
	stub = (struct usher){.fd = eventfd(0, EFD_CLOEXEC), .forwarded_fd = -1};
	assert_true(stub.fd >= 0);
}

void stub_end(void)
{
	close(stub.fd);
	if (stub.forwarded_fd >= 0)
		close(stub.forwarded_fd);
	stub.fd = stub.forwarded_fd = -1;
}

int usher_new(struct usher **ret, const char *name, const struct usher_options *options)
{
	assert_string_equal(name, "test");
	assert_int_equal(options->flags & USHER_NONBLOCK, USHER_NONBLOCK);
	assert_int_equal(options->credit, 100);
	*ret = &stub;
	return 0;
}

struct usher *usher_free(struct usher *u)
{
	(void)u;
	return NULL;
}

int usher_fd(const struct usher *u)
{
	return u->fd;
}

int usher_accept(struct usher *u, struct usher_connection *ret, int flags)
{
	int error = u->error;
	int fds[2];

	assert_int_equal(flags, SOCK_NONBLOCK);
	if (u->n_changes > 0) {
		u->n_changes--;
		return USHER_LENT;
	}
	if (u->n_pending == 0) {
		u->error = 0;
		return u->is_over ? -ESHUTDOWN : error ? error : -EAGAIN;
	}
	u->n_pending--;
	u->n_held++;
	assert_int_equal(
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
	close(fds[1]);
	*ret = (struct usher_connection){.fd = fds[0], .id = 1};
	return 0;
}

int usher_close(struct usher *u, struct usher_connection *connection)
{
	(void)shutdown(connection->fd, SHUT_RDWR);
	(void)close(connection->fd);
	connection->fd = -1;
	u->last_closed_id = connection->id;
	u->n_closed++;
	u->n_held--;
	return 0;
}

int usher_forward(struct usher *u, struct usher_connection *connection, const char *service,
	const void *data, size_t size)
{
	u->n_forward_tries++;
	if (u->forward_error)
		return u->forward_error;
	if (u->forwarded_fd >= 0)
		close(u->forwarded_fd);
	u->forwarded_fd = fcntl(connection->fd, F_DUPFD_CLOEXEC, 3);
	close(connection->fd);
	connection->fd = -1;
	(void)snprintf(u->forwarded_to, sizeof(u->forwarded_to), "%s", service);
	assert_true(size <= sizeof(u->forwarded_data));
	if (size > 0)
		memcpy(u->forwarded_data, data, size);
	u->forwarded_size = size;
	u->n_forwarded++;
	u->n_held--;
	return 0;
}

int usher_drain(struct usher *u)
{
	u->is_draining = true;
	return 0;
}

bool usher_is_registered(struct usher *u)
{
	return u->is_registered;
}

uint32_t usher_holding(struct usher *u)
{
	return u->n_held;
}

int usher_error(struct usher *u, char *text, size_t size)
{
	(void)snprintf(text, size, "%s", u->error_text);
	return 0;
}

int usher_set_status(struct usher *u, const char *text)
{
	(void)snprintf(u->status, sizeof(u->status), "%s", text);
	return 0;
}

int usher_lent(struct usher *u, size_t index, struct usher_lent *ret)
{
	if (index >= u->n_lent)
		return -ENOENT;
	*ret = u->lent[index];
	return 0;
}
