/* SPDX-License-Identifier: MIT */
/*
 * Making a listening socket, and its options: see listener.h and listener-private.h.
 *
 * Port 0 is bound in two steps, because the kernel lets only those refuse clients and come back
 * (listener.c) that were asked for by number.
 */
#include "listener-private.h"

#include "fd.h"
#include "listener.h"
#include "unixsocket.h"
#include <errno.h>
#include <limits.h>
#include <linux/filter.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/un.h>

#include <linux/in6.h>

#ifndef SO_BUF_LOCK
#define SO_BUF_LOCK 72 /* socket(7), since Linux 5.14 */
#endif
#define SEND_BUFFER_LOCKED    1
#define RECEIVE_BUFFER_LOCKED 2

int listener_set_option(int fd, int level, int name, int value)
{
	return setsockopt(fd, level, name, &value, sizeof(value)) < 0 ? -errno : 0;
}

/* -1: the socket does not have it. */
static int get_option(int fd, int level, int name)
{
	int value = 0;
	socklen_t size = sizeof(value);

	return getsockopt(fd, level, name, &value, &size) == 0 ? value : -1;
}

static bool is_inet(const struct address *address)
{
	return address->sockaddr.sa_family == AF_INET || address->sockaddr.sa_family == AF_INET6;
}

const char *listener_unix_path(const struct address *address)
{
	return ((const struct sockaddr_un *)&address->storage)->sun_path;
}

static int open_socket(const struct address *address)
{
	int fd = socket(address->sockaddr.sa_family, address->type | SOCK_NONBLOCK | SOCK_CLOEXEC,
		address->protocol);

	return fd < 0 ? -errno : fd;
}

/* Back to what a new socket has, which grows by itself. */
static void unset_buffer(int fd, const struct address *address, int name, int locked_bit)
{
	int locks = get_option(fd, SOL_SOCKET, SO_BUF_LOCK);
	_cleanup_close_ int fresh_fd = -EBADF;

	if (locks < 0 || !(locks & locked_bit))
		return;
	fresh_fd = open_socket(address);
	if (fresh_fd < 0)
		return;
	/* The kernel doubles what it is given, and answers with that. */
	(void)listener_set_option(fd, SOL_SOCKET, name, get_option(fresh_fd, SOL_SOCKET, name) / 2);
	(void)listener_set_option(fd, SOL_SOCKET, SO_BUF_LOCK, locks & ~locked_bit);
}

static int set_buffer(
	int fd, const struct address *address, int name, int locked_bit, uint64_t n_bytes)
{
	int value = n_bytes < INT_MAX / 2 ? (int)n_bytes : INT_MAX / 2, r;

	if (n_bytes == 0) {
		unset_buffer(fd, address, name, locked_bit);
		return 0;
	}
	r = listener_set_option(fd, SOL_SOCKET, name, value);
	return r >= 0 && get_option(fd, SOL_SOCKET, name) / 2 < value ? -ENOBUFS : r;
}

static int set_buffers(int fd, const struct address *address, const struct config_socket *options)
{
	int r = set_buffer(fd, address, SO_RCVBUF, RECEIVE_BUFFER_LOCKED, options->receive_buffer);
	int s = set_buffer(fd, address, SO_SNDBUF, SEND_BUFFER_LOCKED, options->send_buffer);

	return r < 0 ? r : s;
}

/* Only what has it needs the right to change it (ip(7), IP_TRANSPARENT). */
static int set_transparent(int fd, const struct address *address, bool is_transparent)
{
	bool is_v6 = address->sockaddr.sa_family == AF_INET6;
	int level = is_v6 ? IPPROTO_IPV6 : IPPROTO_IP;
	int name = is_v6 ? IPV6_TRANSPARENT : IP_TRANSPARENT;

	return get_option(fd, level, name) == is_transparent
		       ? 0
		       : listener_set_option(fd, level, name, is_transparent);
}

/* In full seconds, as the kernel has it. */
static int set_defer_accept(int fd, uint64_t usec)
{
	uint64_t seconds = usec / 1000000 + (usec % 1000000 > 0);

	return listener_set_option(
		fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, seconds < INT_MAX ? (int)seconds : INT_MAX);
}

/* `r` is what came before. */
static int first_error(int r, int s)
{
	return r < 0 ? r : s;
}

int listener_apply_options(int fd, const struct address *bound, const struct config_socket *options)
{
	int r;

	if (!is_inet(bound))
		return 0;
	r = set_transparent(fd, bound, options->transparent);
	if (bound->type == SOCK_DGRAM) {
		r = first_error(
			r, listener_set_option(fd, SOL_SOCKET, SO_BROADCAST, options->broadcast));
	} else {
		/* Accepted sockets inherit these: set here, they cost no call for each one. */
		r = first_error(
			r, listener_set_option(fd, IPPROTO_TCP, TCP_NODELAY, options->nodelay));
		r = first_error(
			r, listener_set_option(fd, SOL_SOCKET, SO_KEEPALIVE, options->keepalive));
		r = first_error(r, set_defer_accept(fd, options->defer_accept_usec));
	}
	return first_error(r, set_buffers(fd, bound, options));
}

/*
 * With SO_REUSEADDR a stream socket takes its address at once from connections of an earlier one;
 * two datagram sockets that have it take each other's datagrams. Not SO_REUSEPORT: a second bind by
 * the same user would steal a share of the connections.
 */
static int set_bind_options(
	int fd, const struct address *address, const struct config_socket *options)
{
	bool is_v6 = address->sockaddr.sa_family == AF_INET6;
	int r = listener_set_option(fd, SOL_SOCKET, SO_REUSEADDR, address->type == SOCK_STREAM);

	if (r >= 0 && is_v6)
		r = listener_set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, options->v6only);
	if (r >= 0 && options->freebind)
		r = is_v6 ? listener_set_option(fd, IPPROTO_IPV6, IPV6_FREEBIND, true)
			  : listener_set_option(fd, IPPROTO_IP, IP_FREEBIND, true);
	if (r >= 0 && address->interface[0] != '\0' &&
		setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, address->interface,
			(socklen_t)strlen(address->interface)) < 0)
		r = -errno;
	if (r >= 0) /* bind(2) needs it for what is not of this machine */
		r = set_transparent(fd, address, options->transparent);
	return r;
}

/* Whoever comes before the rules are there would stay in the queue. */
static int close_to_all(int fd)
{
	struct sock_filter nobody = BPF_STMT(BPF_RET | BPF_K, 0);
	const struct sock_fprog program = {.len = 1, .filter = &nobody};

	if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) < 0 &&
		errno == EPERM)
		return -EPERM;
	return 0; /* what has no filters gets no rules either, which listener_set_filter() says */
}

/* A socket bound to `address`, not listening yet; *ret_bound is what the kernel made of it. */
static int bind_socket(const struct address *address, const struct config_socket *options,
	bool is_closed, int *ret_fd, struct address *ret_bound)
{
	_cleanup_close_ int fd = open_socket(address);
	struct address bound = *address;
	int r = 0;

	if (fd < 0)
		return fd;
	if (is_inet(address))
		r = set_bind_options(fd, address, options);
	if (r >= 0 && is_closed && is_inet(address))
		r = close_to_all(fd);
	if (r < 0)
		return r;
	if (bind(fd, &address->sockaddr, address->length) < 0 ||
		getsockname(fd, &bound.sockaddr, &bound.length) < 0)
		return -errno;
	*ret_fd = take_fd(&fd);
	*ret_bound = bound;
	return 0;
}

static int bind_and_listen(const struct address *address, const struct config_socket *options,
	bool is_closed, int *ret_fd, struct address *ret_bound)
{
	_cleanup_close_ int fd = -EBADF, unnumbered_fd = -EBADF;
	struct address bound;
	int r = bind_socket(address, options, is_closed, &fd, &bound);

	if (r >= 0 && address_port(address) == 0 &&
		address->type == SOCK_STREAM) { /* once more, by number */
		struct address numbered = bound;

		unnumbered_fd = take_fd(&fd);
		r = bind_socket(&numbered, options, is_closed, &fd, &bound);
	}
	if (r >= 0)
		r = listener_apply_options(fd, &bound, options);
	if (r < 0 && r != -ENOBUFS) /* listener_set_options() will say so again */
		return r;
	if (address->type != SOCK_DGRAM && listen(fd, options->backlog) < 0)
		return -errno;
	*ret_fd = take_fd(&fd);
	*ret_bound = bound;
	return 0;
}

int listener_bind(const struct address *address, const struct config_socket *options,
	bool is_closed, int *ret_fd, struct address *ret_bound)
{
	int r;

	if (address->sockaddr.sa_family == AF_UNIX) {
		*ret_bound = *address;
		return unixsocket_listen(listener_unix_path(address), address->type, options->mode,
			options->backlog, ret_fd);
	}
	r = bind_and_listen(address, options, is_closed, ret_fd, ret_bound);
	if (address->is_wildcard && !options->v6only &&
		(r == -EAFNOSUPPORT || r == -EADDRNOTAVAIL)) {
		struct address v4 = address_ipv4_any(address);

		r = bind_and_listen(&v4, options, is_closed, ret_fd, ret_bound);
	}
	return r;
}
