/* SPDX-License-Identifier: MIT */
/* The other end of the notify socket: see manager.h. */
#include "manager.h"

#include "fd.h"
#include "fdpass.h"
#include "test.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

void manager_start(struct manager *m)
{
	strcpy(m->folder, "/tmp/usher-test-manager-XXXXXX");
	assert_non_null(mkdtemp(m->folder));
	m->address = (struct sockaddr_un){.sun_family = AF_UNIX};
	snprintf(m->address.sun_path, sizeof(m->address.sun_path), "%s/notify", m->folder);
	m->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_true(m->fd >= 0);
	assert_int_equal(bind(m->fd, (struct sockaddr *)&m->address, sizeof(m->address)), 0);
	setenv("NOTIFY_SOCKET", m->address.sun_path, 1);
	setenv("FDSTORE", "1000", 1);
}

void manager_end(struct manager *m)
{
	unsetenv("NOTIFY_SOCKET");
	unsetenv("FDSTORE");
	m->fd = close_fd(m->fd);
	unlink(m->address.sun_path);
	rmdir(m->folder);
}

static const char *next(struct manager *m, struct fdpass_received *ret)
{
	static char text[4096];
	struct pollfd poll_fd = {.fd = m->fd, .events = POLLIN};

	assert_int_equal(poll(&poll_fd, 1, -1), 1);
	assert_int_equal(fdpass_receive(m->fd, text, sizeof(text) - 1, 1, ret), 0);
	assert_in_range(ret->size, 1, sizeof(text) - 1);
	text[ret->size] = '\0';
	return text;
}

const char *manager_next(struct manager *m)
{
	struct fdpass_received received;
	const char *text = next(m, &received);

	assert_int_equal(received.n_fds, 0);
	return text;
}

const char *manager_next_with_fd(struct manager *m, int *ret_fd)
{
	struct fdpass_received received;
	const char *text = next(m, &received);

	assert_int_equal(received.n_fds, 1);
	*ret_fd = received.fds[0];
	return text;
}

size_t manager_stall(struct manager *m)
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	size_t n = 0;

	while (sendto(fd, "#", 1, 0, (struct sockaddr *)&m->address, sizeof(m->address)) == 1)
		n++;
	assert_int_equal(errno, EAGAIN);
	return n;
}

void manager_recover(struct manager *m, size_t n)
{
	while (n--)
		assert_string_equal(manager_next(m), "#");
}
