/* SPDX-License-Identifier: MIT */
/*
 * One listening socket: see listener.h.
 *
 * Refusing is done by shutdown(SHUT_RD) on the listening TCP socket: it stops listening (clients
 * get RST) but stays bound, so that nobody else can take the address meanwhile; listen(2) revives
 * it. The kernel does so only for ports that were asked for by number, which is why port 0 is bound
 * in two steps.
 */
#include "listener.h"

#include "acceptor.h"
#include "closer.h"
#include "fd.h"
#include "unixsocket.h"
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/in6.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/un.h>

#define UNIX_LISTENER_MODE                                                                         \
	0666 /* who may connect is said by the folder, as for TCP by the network */

struct listener {
	int fd;
	enum listener_state state;
	uint32_t index; /* among its owner's */
	struct address configured, bound;
	struct unixsocket_file file; /* of AF_UNIX */
	uint32_t store_number;
	char store_service[WIRE_NAME_SIZE]; /* whose name it has in the store */
	int backlog;
	int fd_ceiling; /* from here on descriptors are in reserve */
	struct acceptor *acceptor;
	bool is_deferred;
	listener_on_connections on_connections;
	void *userdata;
};

static int set_option(int fd, int level, int name, int value)
{
	return setsockopt(fd, level, name, &value, sizeof(value)) < 0 ? -errno : 0;
}

/* Options that accepted sockets inherit: set here, they cost no system call per connection. */
static int set_inherited_options(int fd, const struct config_socket *options)
{
	int r = set_option(fd, IPPROTO_TCP, TCP_NODELAY, options->nodelay);

	return r < 0 ? r : set_option(fd, SOL_SOCKET, SO_KEEPALIVE, options->keepalive);
}

static int set_bind_options(
	int fd, const struct address *address, const struct config_socket *options)
{
	/* Not SO_REUSEPORT: a second bind by the same user would steal a share of the connections.
	 */
	int r = set_option(fd, SOL_SOCKET, SO_REUSEADDR, true);

	if (r >= 0 && address->sockaddr.sa_family == AF_INET6)
		r = set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, options->v6only);
	if (r >= 0 && options->freebind)
		r = address->sockaddr.sa_family == AF_INET6
			    ? set_option(fd, IPPROTO_IPV6, IPV6_FREEBIND, true)
			    : set_option(fd, IPPROTO_IP, IP_FREEBIND, true);
	return r;
}

/* A socket bound to `address`, not listening yet; *ret_bound is what the kernel made of it. */
static int bind_inet(const struct address *address, const struct config_socket *options,
	int *ret_fd, struct address *ret_bound)
{
	_cleanup_close_ int fd = socket(
		address->sockaddr.sa_family, address->type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	struct address bound = *address;
	int r;

	if (fd < 0)
		return -errno;
	r = set_bind_options(fd, address, options);
	if (r < 0)
		return r;
	if (bind(fd, &address->sockaddr, address->length) < 0 ||
		getsockname(fd, &bound.sockaddr, &bound.length) < 0)
		return -errno;
	*ret_fd = take_fd(&fd);
	*ret_bound = bound;
	return 0;
}

static int bind_and_listen_inet(const struct address *address, const struct config_socket *options,
	int *ret_fd, struct address *ret_bound)
{
	_cleanup_close_ int fd = -EBADF, unnumbered_fd = -EBADF;
	struct address bound;
	int r = bind_inet(address, options, &fd, &bound);

	if (r >= 0 && address_port(address) == 0) { /* once more, by number */
		struct address numbered = bound;

		unnumbered_fd = take_fd(&fd);
		r = bind_inet(&numbered, options, &fd, &bound);
	}
	if (r >= 0)
		r = set_inherited_options(fd, options);
	if (r < 0)
		return r;
	if (listen(fd, options->backlog) < 0)
		return -errno;
	*ret_fd = take_fd(&fd);
	*ret_bound = bound;
	return 0;
}

/* The IPv4 wildcard of the same port. */
static struct address ipv4_wildcard(const struct address *address)
{
	struct address v4 = *address;

	memset(&v4.storage, 0, sizeof(v4.storage));
	*(struct sockaddr_in *)&v4.storage = (struct sockaddr_in){
		.sin_family = AF_INET,
		.sin_port = ((const struct sockaddr_in6 *)&address->storage)->sin6_port,
	};
	v4.length = sizeof(struct sockaddr_in);
	return v4;
}

static const char *unix_path(const struct address *address)
{
	return ((const struct sockaddr_un *)&address->storage)->sun_path;
}

int listener_bind(const struct address *address, const struct config_socket *options, int *ret_fd,
	struct address *ret_bound)
{
	int r;

	if (address->sockaddr.sa_family == AF_UNIX) {
		*ret_bound = *address;
		return unixsocket_listen(unix_path(address), address->type, UNIX_LISTENER_MODE,
			options->backlog, ret_fd);
	}
	r = bind_and_listen_inet(address, options, ret_fd, ret_bound);
	if (address->is_wildcard && !options->v6only &&
		(r == -EAFNOSUPPORT || r == -EADDRNOTAVAIL)) {
		struct address v4 = ipv4_wildcard(address);

		r = bind_and_listen_inet(&v4, options, ret_fd, ret_bound);
	}
	return r;
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
	r = acceptor_new(&l->acceptor, event, owned_fd, on_acceptor_connections, l);
	if (r < 0) {
		free(l);
		return r;
	}
	l->fd = take_fd(&owned_fd);
	if (bound->sockaddr.sa_family == AF_UNIX)
		l->file = unixsocket_identify(unix_path(bound));
	*ret = l;
	return 0;
}

static int listen_again(struct listener *l)
{
	int r = set_option(l->fd, SOL_SOCKET, SO_REUSEADDR, true);

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

/* The end of the socket, at once: the service manager closes its copy only when it reads that. */
static void end_socket(struct listener *l)
{
	if (l->bound.sockaddr.sa_family == AF_UNIX)
		unixsocket_unlink(unix_path(&l->bound), &l->file);
	(void)set_option(l->fd, SOL_SOCKET, SO_REUSEADDR, true); /* for who binds it next */
	(void)shutdown(l->fd, SHUT_RDWR);
}

struct listener *listener_free(struct listener *l)
{
	if (!l)
		return NULL;
	acceptor_free(l->acceptor);
	if (!fdstore_remove(FDSTORE_LISTENER, l->store_service, l->store_number))
		end_socket(l);
	closer_close(l->fd); /* and with it what clients in its backlog have sent */
	free(l);
	return NULL;
}

void listener_store(struct listener *l, const char *service)
{
	if (l->store_number > 0 && strcmp(l->store_service, service) == 0)
		return;
	/* The manager stores no socket twice, under whatever name: the old one has to go first. */
	(void)fdstore_remove(FDSTORE_LISTENER, l->store_service, l->store_number);
	l->store_number = fdstore_add(FDSTORE_LISTENER, service, l->fd);
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
	if (l->state != LISTENER_REFUSING && listen(l->fd, l->backlog) < 0)
		return -errno;
	return l->bound.sockaddr.sa_family == AF_UNIX ? 0 : set_inherited_options(l->fd, options);
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
	assert(l->bound.sockaddr.sa_family != AF_UNIX); /* config_load() has seen to that */
	if (shutdown(l->fd, SHUT_RD) < 0)
		return -errno;
	/* Two sockets with SO_REUSEADDR may share a port while neither listens: not with this one.
	 */
	return set_option(l->fd, SOL_SOCKET, SO_REUSEADDR, false);
}

int listener_set_state(struct listener *l, enum listener_state state)
{
	int r = 0;

	assert(state != LISTENER_RETRYING);
	if (state == l->state)
		return 0;
	if (state == LISTENER_REFUSING)
		r = refuse(l);
	else if (l->state == LISTENER_REFUSING)
		r = listen_again(l);
	if (r >= 0)
		r = acceptor_set_paused(l->acceptor, state != LISTENER_OPEN);
	if (r >= 0)
		l->state = state;
	return r;
}

/* As socket(7) has them at first. What a socket has not it does not mind. */
static void reset_options(int fd)
{
	static const struct linger linger;
	static const struct timeval timeout;

	(void)fcntl(fd, F_SETFL, O_NONBLOCK);
	(void)set_option(fd, SOL_SOCKET, SO_DETACH_FILTER, 0);
	(void)set_option(fd, SOL_SOCKET, SO_RCVLOWAT, 1);
	(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
}

static bool is_listening(int fd)
{
	int value = 0;
	socklen_t size = sizeof(value);

	return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &value, &size) == 0 && value;
}

static bool is_shut_down(int fd)
{
	struct pollfd poll_fd = {.fd = fd, .events = POLLRDHUP};

	return poll(&poll_fd, 1, 0) > 0 && poll_fd.revents & (POLLRDHUP | POLLHUP);
}

/* Whoever binds by number, and so do we, keeps the port when it is connected to nobody any more. */
static int disconnect(int fd)
{
	static const struct sockaddr nobody = {.sa_family = AF_UNSPEC};

	return connect(fd, &nobody, sizeof(nobody)) < 0 ? -errno : LISTENER_WAS_CONNECTED;
}

static int repair_datagram_socket(const struct listener *l)
{
	struct sockaddr_storage peer;
	socklen_t length = sizeof(peer);

	if (getpeername(l->fd, (struct sockaddr *)&peer, &length) == 0)
		return disconnect(l->fd);
	return LISTENER_UNHARMED;
}

int listener_repair(struct listener *l)
{
	int r = LISTENER_UNHARMED;

	reset_options(l->fd);
	if (l->bound.type == SOCK_DGRAM) {
		r = repair_datagram_socket(l);
	} else if (!is_listening(l->fd)) {
		r = listen_again(l);
		if (r >= 0)
			r = LISTENER_WAS_CLOSED;
	}
	return r >= 0 && is_shut_down(l->fd) ? LISTENER_IS_SHUT_DOWN : r;
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
	return l->state == LISTENER_OPEN && acceptor_is_retrying(l->acceptor) ? LISTENER_RETRYING
									      : l->state;
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
