/* SPDX-License-Identifier: MIT */
/* What the kernel knows of an accepted connection: see connection.h. */
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

static bool is_tcp(int fd)
{
	int protocol = 0;
	socklen_t size = sizeof(protocol);

	return getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &size) == 0 &&
	       protocol == IPPROTO_TCP;
}

bool connection_is_untouched(int fd)
{
	struct tcp_info info = {0};
	socklen_t size = sizeof(info);
	uint64_t n_received;
	int n_unread = 0;

	if (!is_tcp(fd))
		return true;
	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) < 0 ||
		ioctl(fd, SIOCINQ, &n_unread) < 0)
		return false;
	if (info.tcpi_state != STATE_ESTABLISHED && info.tcpi_state != STATE_CLOSE_WAIT)
		return false;
	n_received = info.tcpi_bytes_received;
	if (info.tcpi_state == STATE_CLOSE_WAIT)
		n_received--; /* the client's FIN counts as a byte */
	return n_received == (uint64_t)n_unread && info.tcpi_bytes_sent == 0 &&
	       info.tcpi_notsent_bytes == 0;
}
