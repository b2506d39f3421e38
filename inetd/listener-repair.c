/* SPDX-License-Identifier: MIT */
/*
 * Sockets that a provider has had for a while, see listener_repair(). What it sets is set on the
 * open file description, which is ours too.
 *
 * The kernel (6.18) has no way back for two of them: shutdown(2), but for listening TCP sockets;
 * and connect(2) of an IPv6 datagram socket, which even after connect(2) to nobody hears no other
 * IPv6 peer.
 */
#include "listener-private.h"

#include "listener.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/time.h>

/* What a socket does not know it does not mind. */
void listener_reset_options(int fd)
{
	static const struct linger no_linger;
	static const struct timeval no_timeout;

	(void)fcntl(fd, F_SETFL, O_NONBLOCK);
	(void)listener_set_option(fd, SOL_SOCKET, SO_RCVLOWAT, 1);
	(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &no_linger, sizeof(no_linger));
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &no_timeout, sizeof(no_timeout));
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &no_timeout, sizeof(no_timeout));
}

/* With its peer a socket loses a port that it was not bound to by number. */
static int bind_again(int fd, const struct address *bound)
{
	struct address now = {.length = sizeof(now.storage)};

	if (getsockname(fd, &now.sockaddr, &now.length) < 0)
		return -errno;
	if (address_port(&now) == address_port(bound))
		return 0;
	return bind(fd, &bound->sockaddr, bound->length) < 0 ? -errno : 0;
}

/* And it loses its interface. */
static int set_interface_again(int fd, const struct address *bound)
{
	if (bound->interface[0] == '\0')
		return 0;
	return setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, bound->interface,
		       (socklen_t)strlen(bound->interface)) < 0
		       ? -errno
		       : 0;
}

int listener_disconnect(int fd, const struct address *bound)
{
	static const struct sockaddr nobody = {.sa_family = AF_UNSPEC};
	struct sockaddr_storage peer;
	socklen_t length = sizeof(peer);
	int r;

	if (getpeername(fd, (struct sockaddr *)&peer, &length) < 0)
		return LISTENER_UNHARMED;
	if (connect(fd, &nobody, sizeof(nobody)) < 0)
		return -errno;
	r = set_interface_again(fd, bound);
	if (r >= 0)
		r = bind_again(fd, bound);
	if (r < 0)
		return r;
	return bound->sockaddr.sa_family == AF_INET6 ? LISTENER_IS_BROKEN : LISTENER_WAS_CONNECTED;
}

bool listener_is_listening(int fd)
{
	int value = 0;
	socklen_t size = sizeof(value);

	return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &value, &size) == 0 && value;
}

bool listener_is_shut_down(int fd)
{
	struct pollfd poll_fd = {.fd = fd, .events = POLLRDHUP};

	return poll(&poll_fd, 1, 0) > 0 && poll_fd.revents & (POLLRDHUP | POLLHUP);
}
