/* SPDX-License-Identifier: MIT */
/*
 * See connection.h. Every call here does a bounded amount of work, epoll is level-triggered, and
 * the kernel returns ready descriptors in turn: a client that sends or reads at full speed gets its
 * share and no more.
 */
#include "connection.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>

/* Bytes on their way to a client that does not take them now. */
struct waiting {
	size_t n_sent;
	size_t size;
	char bytes[];
};

static_assert(sizeof(struct connection) <= 100, "thousands of idle clients are cheap");

int64_t monotonic_ms(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void connections_init(struct connections *all, int epoll_fd)
{
	*all = (struct connections){.epoll_fd = epoll_fd};
	TAILQ_INIT(&all->open);
	TAILQ_INIT(&all->lingering);
}

static void connection_unlink(struct connection *c)
{
	if (c->linger_until_ms == 0) {
		TAILQ_REMOVE(&c->all->open, c, link);
	} else {
		TAILQ_REMOVE(&c->all->lingering, c, link);
		c->all->n_lingering--;
	}
}

/*
 * epoll forgets a socket when its last copy is closed. usherd may still hold one, so without
 * EPOLL_CTL_DEL there could be events for a connection whose memory is gone.
 */
static void connection_close(struct connection *c)
{
	struct usher_connection ending = {.fd = c->fd, .id = c->id};

	connection_unlink(c);
	(void)epoll_ctl(c->all->epoll_fd, EPOLL_CTL_DEL, c->fd, NULL);
	(void)usher_close(c->usher, &ending);
	free(c->waiting);
	free(c);
}

void connections_expire(struct connections *all, int64_t now_ms)
{
	struct connection *first;

	while ((first = TAILQ_FIRST(&all->lingering)) &&
		(all->n_lingering > LINGER_MAX || first->linger_until_ms <= now_ms))
		connection_close(first);
}

int64_t connections_deadline(const struct connections *all)
{
	const struct connection *first = TAILQ_FIRST(&all->lingering);

	return first ? first->linger_until_ms : NO_DEADLINE;
}

void connections_close_all(struct connections *all)
{
	struct connection *c;

	while ((c = TAILQ_FIRST(&all->open)) || (c = TAILQ_FIRST(&all->lingering)))
		connection_close(c);
}

/*
 * EPOLLERR is a reset or a lost route: nobody is there to talk to. EPOLLHUP says that both halves
 * have ended; there may be input left, whose end the protocol will find. EPOLLRDHUP is not asked
 * for: a client that has ended its half is no special case, only input with an end.
 */
static void connection_on_event(struct watch *watch, uint32_t events)
{
	struct connection *c = (struct connection *)watch;
	int r = 0;

	if (events & EPOLLERR)
		r = CONNECTION_OVER;
	else if (events & EPOLLHUP && !(c->events & EPOLLIN))
		r = CONNECTION_OVER;
	else if (events & (EPOLLIN | EPOLLHUP))
		r = c->protocol->on_readable(c);
	if (r == 0 && events & EPOLLOUT)
		r = c->protocol->on_writable(c);
	if (r != 0)
		connection_close(c);
}

int connection_open(struct connections *all, const struct protocol *protocol, struct usher *usher,
	struct usher_connection *accepted)
{
	struct connection *c = malloc(sizeof(*c));
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};

	if (!c) {
		(void)usher_close(usher, accepted);
		return -ENOMEM;
	}
	*c = (struct connection){
		.watch.on_event = connection_on_event,
		.all = all,
		.protocol = protocol,
		.usher = usher,
		.id = accepted->id,
		.fd = accepted->fd,
		.events = event.events,
	};
	accepted->fd = -1;
	TAILQ_INSERT_TAIL(&all->open, c, link);
	if (epoll_ctl(all->epoll_fd, EPOLL_CTL_ADD, c->fd, &event) < 0) {
		int error = -errno;

		connection_close(c);
		return error;
	}
	if (protocol->on_open && protocol->on_open(c, accepted->data, accepted->data_size) != 0)
		connection_close(c);
	return 0;
}

int connection_watch(struct connection *c, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.ptr = c};

	if (events == c->events)
		return 0;
	if (epoll_ctl(c->all->epoll_fd, EPOLL_CTL_MOD, c->fd, &event) < 0)
		return -errno;
	c->events = events;
	return 0;
}

int connection_read(struct connection *c, const char **ret_data, size_t *ret_size)
{
	static char scratch[SCRATCH_SIZE];
	ssize_t n = recv(c->fd, scratch, sizeof(scratch), 0);

	if (n == 0)
		return CONNECTION_OVER;
	if (n < 0 && errno != EAGAIN && errno != EINTR)
		return -errno;
	*ret_data = scratch;
	*ret_size = n < 0 ? 0 : (size_t)n;
	return 0;
}

ssize_t connection_send_some(struct connection *c, const char *data, size_t size)
{
	ssize_t n = send(c->fd, data, size, MSG_NOSIGNAL);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	return n;
}

int connection_send(struct connection *c, const char *data, size_t size)
{
	ssize_t n = connection_send_some(c, data, size);
	size_t n_left;

	assert(!c->waiting);
	if (n < 0)
		return (int)n;
	n_left = size - (size_t)n;
	if (n_left == 0)
		return 0;
	c->waiting = malloc(sizeof(*c->waiting) + n_left);
	if (!c->waiting)
		return -ENOMEM;
	c->waiting->n_sent = 0;
	c->waiting->size = n_left;
	memcpy(c->waiting->bytes, data + n, n_left);
	return connection_watch(c, EPOLLOUT);
}

int connection_send_waiting(struct connection *c)
{
	struct waiting *waiting = c->waiting;
	ssize_t n = connection_send_some(
		c, waiting->bytes + waiting->n_sent, waiting->size - waiting->n_sent);

	if (n < 0)
		return (int)n;
	waiting->n_sent += (size_t)n;
	if (waiting->n_sent < waiting->size)
		return 0;
	free(waiting);
	c->waiting = NULL;
	return connection_watch(c, EPOLLIN);
}

int connection_finish(struct connection *c)
{
	if (shutdown(c->fd, SHUT_WR) < 0)
		return -errno;
	connection_unlink(c);
	c->linger_until_ms = monotonic_ms() + LINGER_MS;
	TAILQ_INSERT_TAIL(&c->all->lingering, c, link);
	c->all->n_lingering++;
	return 0;
}
