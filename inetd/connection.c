/* SPDX-License-Identifier: MIT */
/* What the kernel knows of a connection: see connection.h. */
#include "connection.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <linux/sockios.h>

/* tcpi_state, as <netinet/tcp.h> names them, which can't be included beside <linux/tcp.h>. */
enum {
	STATE_ESTABLISHED = 1,
	STATE_CLOSE_WAIT = 8,
};

/* How often a client may send something while we look, before we give up. */
#define MAX_LOOKS 100

/* A socket option that is an int, -1 when the socket does not have it. */
static int get_option(int fd, int name)
{
	int value = 0;
	socklen_t size = sizeof(value);

	return getsockopt(fd, SOL_SOCKET, name, &value, &size) == 0 ? value : -1;
}

static bool is_tcp(int fd)
{
	return get_option(fd, SO_PROTOCOL) == IPPROTO_TCP;
}

static bool get_info(int fd, struct tcp_info *ret)
{
	socklen_t size = sizeof(*ret);

	*ret = (struct tcp_info){0};
	return getsockopt(fd, IPPROTO_TCP, TCP_INFO, ret, &size) == 0;
}

static bool is_same_moment(const struct tcp_info *a, const struct tcp_info *b)
{
	return a->tcpi_state == b->tcpi_state && a->tcpi_bytes_received == b->tcpi_bytes_received;
}

/* TCP_INFO and the size of the receive queue, with nothing received in between. */
static bool look(int fd, struct tcp_info *ret_info, int *ret_n_unread)
{
	for (int i = 0; i < MAX_LOOKS; i++) {
		struct tcp_info before;

		if (!get_info(fd, &before) || ioctl(fd, SIOCINQ, ret_n_unread) < 0 ||
			!get_info(fd, ret_info))
			return false;
		if (is_same_moment(&before, ret_info))
			return true;
	}
	return false;
}

/* Returns false if the connection is not open at both ends (the client may have sent its FIN). */
static bool measure(int fd, struct connection_mark *ret)
{
	struct tcp_info info;
	int n_unread;

	if (!look(fd, &info, &n_unread))
		return false;
	if (info.tcpi_state != STATE_ESTABLISHED && info.tcpi_state != STATE_CLOSE_WAIT)
		return false;
	/* The client's FIN counts as a byte, and what was sent again counts twice. */
	ret->n_read = info.tcpi_bytes_received - (info.tcpi_state == STATE_CLOSE_WAIT) -
		      (uint64_t)n_unread;
	ret->n_written = info.tcpi_bytes_sent - info.tcpi_bytes_retrans + info.tcpi_notsent_bytes;
	return true;
}

struct connection_mark connection_mark(int fd)
{
	struct connection_mark mark = {0};

	if (is_tcp(fd))
		(void)measure(fd, &mark);
	return mark;
}

bool connection_is_untouched(int fd, const struct connection_mark *mark)
{
	struct connection_mark now;

	if (!is_tcp(fd))
		return true;
	return measure(fd, &now) && now.n_read == mark->n_read && now.n_written == mark->n_written;
}

/* Of a family whose stream sockets are connections between a client and us. */
static bool is_of_a_client(int fd)
{
	int domain = get_option(fd, SO_DOMAIN);

	return domain == AF_UNIX || domain == AF_VSOCK || is_tcp(fd) ||
	       get_option(fd, SO_PROTOCOL) == IPPROTO_MPTCP;
}

bool connection_is_stream(int fd)
{
	struct sockaddr_storage peer;
	socklen_t size = sizeof(peer);

	return get_option(fd, SO_TYPE) == SOCK_STREAM && is_of_a_client(fd) &&
	       getpeername(fd, (struct sockaddr *)&peer, &size) == 0;
}
