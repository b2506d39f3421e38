/* SPDX-License-Identifier: MIT */
/*
 * One listening socket: see listener.h.
 *
 * Refusing is done by shutdown(SHUT_RD) on the listening TCP socket: it stops listening (clients
 * get RST) but stays bound, so that nobody else can take the address meanwhile; listen(2) revives
 * it. The kernel does so only for ports that were asked for by number, see listener-bind.c.
 */
#include "listener.h"

#include "acceptor.h"
#include "closer.h"
#include "fd.h"
#include "listener-private.h"
#include "unixsocket.h"
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/filter.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/un.h>

/* More than a socket can hold, unless somebody sends without end. */
#define MAX_DISCARDED 100000

struct listener {
	int fd;
	enum listener_state state;
	uint32_t index; /* among its owner's */
	struct address configured, bound;
	struct unixsocket_file file; /* of AF_UNIX */
	uint32_t store_number;
	char store_service[WIRE_NAME_SIZE]; /* whose name it has in the store */
	int backlog;
	int fd_ceiling;		   /* from here on descriptors are in reserve */
	struct acceptor *acceptor; /* NULL: of datagrams */
	bool is_deferred, is_screened;
	bool may_block; /* somebody else may have made it so */
	listener_on_connections on_connections;
	void *userdata;
};

static bool is_datagram(const struct listener *l)
{
	return l->bound.type == SOCK_DGRAM;
}

static void on_acceptor_connections(void *userdata)
{
	struct listener *l = userdata;

	l->on_connections(l, l->userdata);
}

/* Descriptors are the lowest numbers that are free, so a high one means that few are left. */
static int find_fd_ceiling(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur > INT_MAX ||
		limit.rlim_cur < 2 * LISTENER_FD_RESERVE)
		return INT_MAX;
	return (int)limit.rlim_cur - LISTENER_FD_RESERVE;
}

/* By usherd: bound with one, or left by an earlier usherd with one. */
static bool has_filter(const struct listener *l)
{
	socklen_t n = 0; /* instructions, of which none is wanted */

	return getsockopt(l->fd, SOL_SOCKET, SO_GET_FILTER, NULL, &n) == 0 && n > 0;
}

int listener_new(struct listener **ret, sd_event *event, const struct address *configured,
	const struct address *bound, const struct config_socket *options, int fd)
{
	_cleanup_close_ int owned_fd = fd;
	struct listener *l = calloc(1, sizeof(*l));
	int r;

	if (!l)
		return -ENOMEM;
	*l = (struct listener){.configured = *configured,
		.bound = *bound,
		.backlog = options->backlog,
		.fd_ceiling = find_fd_ceiling()};
	r = is_datagram(l)
		    ? 0
		    : acceptor_new(&l->acceptor, event, owned_fd, on_acceptor_connections, l);
	if (r < 0) {
		free(l);
		return r;
	}
	l->fd = take_fd(&owned_fd);
	l->is_screened = has_filter(l);
	if (bound->sockaddr.sa_family == AF_UNIX)
		l->file = unixsocket_identify(listener_unix_path(bound));
	*ret = l;
	return 0;
}

static int listen_again(struct listener *l)
{
	int r;

	if (is_datagram(l))
		return 0;
	r = listener_set_option(l->fd, SOL_SOCKET, SO_REUSEADDR, true);
	if (r >= 0 && listen(l->fd, l->backlog) < 0)
		r = -errno;
	return r;
}

int listener_adopt(struct listener **ret, sd_event *event, const struct address *configured,
	const struct address *bound, const struct config_socket *options,
	const struct inherited *inherited)
{
	struct listener *l;
	int r = listener_new(&l, event, configured, bound, options, inherited->fd);

	if (r < 0)
		return r;
	l->may_block = true;
	l->store_number = inherited->number;
	memcpy(l->store_service, inherited->service, sizeof(l->store_service));
	r = listen_again(l);
	if (r < 0) {
		listener_free(l);
		return r;
	}
	*ret = l;
	return 0;
}

/*
 * The end of the socket, at once: the service manager closes its copy only when it reads that.
 * Not of datagrams: the kernel frees their port with the last copy and no sooner, so it would only
 * hurt a program that was lent it and still answers. Shut down, it can be read without end.
 */
static void end_socket(struct listener *l)
{
	if (l->bound.sockaddr.sa_family == AF_UNIX)
		unixsocket_unlink(listener_unix_path(&l->bound), &l->file);
	if (is_datagram(l))
		return;
	(void)listener_set_option(
		l->fd, SOL_SOCKET, SO_REUSEADDR, true); /* for who binds it next */
	(void)shutdown(l->fd, SHUT_RDWR);
}

struct listener *listener_free(struct listener *l)
{
	if (!l)
		return NULL;
	if (l->acceptor)
		acceptor_free(l->acceptor);
	if (!fdstore_remove(FDSTORE_LISTENER, l->store_service, l->store_number))
		end_socket(l);
	closer_close(l->fd); /* and with it what clients in its backlog have sent */
	free(l);
	return NULL;
}

void listener_store(struct listener *l, const char *service)
{
	uint32_t number;

	if (l->store_number > 0 && strcmp(l->store_service, service) == 0)
		return;
	/* The manager stores no socket twice, under whatever name: the old one has to go first. */
	(void)fdstore_remove(FDSTORE_LISTENER, l->store_service, l->store_number);
	number = fdstore_add(FDSTORE_LISTENER, service, l->fd);
	if (number > 0 || l->store_number != FDSTORE_OF_UNIT)
		l->store_number = number;
	(void)snprintf(l->store_service, sizeof(l->store_service), "%s", service);
}

uint32_t listener_store_number(const struct listener *l)
{
	return l->store_number;
}

int listener_fd(const struct listener *l)
{
	return l->fd;
}

void listener_set_owner(
	struct listener *l, uint32_t index, listener_on_connections on_connections, void *userdata)
{
	l->index = index;
	l->on_connections = on_connections;
	l->userdata = userdata;
}

int listener_set_options(struct listener *l, const struct config_socket *options)
{
	l->backlog = options->backlog;
	if (!is_datagram(l) && l->state != LISTENER_REFUSING && listen(l->fd, l->backlog) < 0)
		return -errno;
	if (l->bound.sockaddr.sa_family == AF_UNIX)
		return unixsocket_set_mode(listener_unix_path(&l->bound), &l->file, options->mode);
	return listener_apply_options(l->fd, &l->bound, options);
}

int listener_set_filter(const struct listener *l, const struct sock_filter *program, size_t n)
{
	const struct sock_fprog filter = {
		.len = (unsigned short)n,
		.filter = (struct sock_filter *)(uintptr_t)program, /* the kernel only reads it */
	};

	if (n > 0)
		return setsockopt(l->fd, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof(filter)) < 0
			       ? -errno
			       : 0;
	(void)listener_set_option(l->fd, SOL_SOCKET, SO_DETACH_FILTER, 0); /* or there is none */
	return 0;
}

void listener_set_screened(struct listener *l, bool is_screened)
{
	l->is_screened = is_screened;
}

bool listener_is_screened(const struct listener *l)
{
	return l->is_screened;
}

/* Not a byte of them is copied. An error may be one that a borrower has left for who reads next. */
static void discard_datagrams(int fd)
{
	for (int i = 0; i < MAX_DISCARDED; i++)
		if (recv(fd, NULL, 0, MSG_DONTWAIT) < 0 && errno == EAGAIN)
			return;
}

int listener_empty(struct listener *l)
{
	if (is_datagram(l)) {
		discard_datagrams(l->fd);
		return 0;
	}
	return shutdown(l->fd, SHUT_RD) < 0 ? -errno : listen_again(l);
}

int listener_accept(struct listener *l, int *ret_fd, struct wire_address *ret_peer)
{
	struct sockaddr_storage peer;
	int r = acceptor_accept(l->acceptor, ret_fd, &peer);

	if (r < 0)
		return r;
	wire_address_from_sockaddr(ret_peer, (struct sockaddr *)&peer);
	if (*ret_fd < l->fd_ceiling)
		return 0;
	acceptor_retry_later(l->acceptor);
	return 1;
}

void listener_retry_later(struct listener *l)
{
	acceptor_retry_later(l->acceptor);
}

static int refuse(struct listener *l)
{
	assert(address_can_refuse(&l->bound)); /* config_load() has seen to that */
	if (shutdown(l->fd, SHUT_RD) < 0)
		return -errno;
	/* Two sockets with SO_REUSEADDR may share a port while neither listens: not with this one.
	 */
	return listener_set_option(l->fd, SOL_SOCKET, SO_REUSEADDR, false);
}

int listener_set_state(struct listener *l, enum listener_state state)
{
	int r = 0;

	assert(state != LISTENER_RETRYING);
	if (is_datagram(l) && state != LISTENER_LENT)
		state = LISTENER_PAUSED;
	if (state == l->state)
		return 0;
	if (state == LISTENER_REFUSING)
		r = refuse(l);
	else if (l->state == LISTENER_REFUSING)
		r = listen_again(l);
	if (state == LISTENER_OPEN && l->may_block)
		listener_forbid_blocking(l);
	if (r >= 0 && l->acceptor)
		r = acceptor_set_paused(l->acceptor, state != LISTENER_OPEN);
	if (r >= 0)
		l->state = state;
	l->may_block |= state == LISTENER_LENT;
	return r;
}

int listener_repair(struct listener *l)
{
	int r = LISTENER_UNHARMED;

	listener_reset_options(l->fd);
	if (is_datagram(l)) {
		r = listener_disconnect(l->fd, &l->bound);
	} else if (!listener_is_listening(l->fd)) {
		r = listen_again(l);
		if (r >= 0)
			r = LISTENER_WAS_CLOSED;
	}
	return r >= 0 && listener_is_shut_down(l->fd) ? LISTENER_IS_BROKEN : r;
}

uint32_t listener_n_waiting(const struct listener *l)
{
	struct tcp_info info;
	socklen_t size = offsetof(struct tcp_info, tcpi_unacked) + sizeof(info.tcpi_unacked);

	/* Of a listening socket that is what ss(8) shows as Recv-Q. */
	if (getsockopt(l->fd, IPPROTO_TCP, TCP_INFO, &info, &size) < 0)
		return UINT32_MAX;
	return info.tcpi_unacked;
}

void listener_forbid_blocking(struct listener *l)
{
	(void)fcntl(l->fd, F_SETFL, O_NONBLOCK);
	l->may_block = false;
}

bool listener_is_retrying(const struct listener *l)
{
	return acceptor_is_retrying(l->acceptor);
}

void listener_set_deferred(struct listener *l, bool is_deferred)
{
	l->is_deferred = is_deferred;
	acceptor_set_deferred(l->acceptor, is_deferred);
}

bool listener_is_deferred(const struct listener *l)
{
	return l->is_deferred;
}

enum listener_state listener_state(const struct listener *l)
{
	return l->state == LISTENER_OPEN && listener_is_retrying(l) ? LISTENER_RETRYING : l->state;
}

uint32_t listener_index(const struct listener *l)
{
	return l->index;
}

const struct address *listener_configured(const struct listener *l)
{
	return &l->configured;
}

const struct address *listener_bound(const struct listener *l)
{
	return &l->bound;
}
