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
#include <sys/socket.h>

/* Bytes on their way to a client that does not take them now. */
struct waiting {
	size_t n_sent;
	size_t size;
	char bytes[];
};

static_assert(sizeof(struct connection) <= 100, "thousands of idle clients are cheap");

/* When on_time() has something to do; too early does no harm. */
static void schedule(struct connections *all)
{
	const struct connection *open = TAILQ_FIRST(&all->open);
	const struct connection *lingering = TAILQ_FIRST(&all->lingering);
	int64_t at_ms = NO_DEADLINE;

	if (open)
		at_ms = open->until_ms;
	if (lingering && lingering->until_ms < at_ms)
		at_ms = lingering->until_ms;
	if (!TAILQ_EMPTY(&all->leaving) && monotonic_ms() + LEAVE_AGAIN_MS < at_ms)
		at_ms = monotonic_ms() + LEAVE_AGAIN_MS;
	if (all->n > all->max || all->n_lingering > LINGER_MAX)
		at_ms = 0;
	all->timer.at_ms = at_ms;
}

static struct connection_list *list_of(struct connection *c)
{
	switch (c->state) {
	case CONNECTION_LINGERING:
		return &c->all->lingering;
	case CONNECTION_LEAVING:
		return &c->all->leaving;
	default:
		return &c->all->open;
	}
}

static void connection_move(struct connection *c, enum connection_state state)
{
	TAILQ_REMOVE(list_of(c), c, link);
	c->state = state;
	TAILQ_INSERT_TAIL(list_of(c), c, link);
	schedule(c->all);
}

static void connection_free(struct connection *c)
{
	TAILQ_REMOVE(list_of(c), c, link);
	c->all->n--;
	if (c->state == CONNECTION_LINGERING)
		c->all->n_lingering--;
	if (c->conversation->on_close)
		c->conversation->on_close(c);
	free(c->waiting);
	free(c);
}

static void connection_close(struct connection *c)
{
	struct usher_connection ending = {.fd = c->fd, .id = c->id};

	if (c->fd >= 0) { /* not given on */
		loop_unwatch(c->all->loop, &c->watch, c->fd);
		(void)usher_close(c->enrolment->usher, &ending);
	}
	connection_free(c);
}

static void close_late(struct connections *all, int64_t now_ms)
{
	struct connection *c;

	while ((c = TAILQ_FIRST(&all->open)) && c->until_ms <= now_ms) {
		all->n_late++;
		connection_close(c);
	}
	while ((c = TAILQ_FIRST(&all->lingering)) &&
		(c->until_ms <= now_ms || all->n_lingering > LINGER_MAX))
		connection_close(c);
}

static void close_crowded(struct connections *all)
{
	struct connection *c;

	while (all->n > all->max) {
		c = TAILQ_FIRST(&all->lingering);
		if (!c) {
			c = TAILQ_FIRST(&all->open);
			all->n_crowded++;
		}
		connection_close(c ? c : TAILQ_FIRST(&all->leaving));
	}
}

static void leave_again(struct connections *all, int64_t now_ms)
{
	struct connection *c, *next;

	for (c = TAILQ_FIRST(&all->leaving); c; c = next) {
		next = TAILQ_NEXT(c, link);
		if (c->until_ms <= now_ms)
			all->n_late++;
		if (c->until_ms <= now_ms || c->conversation->on_leave(c) != 0)
			connection_close(c);
	}
}

static void connections_on_time(struct timer *timer, int64_t now_ms)
{
	struct connections *all =
		(struct connections *)(void *)((char *)timer - offsetof(struct connections, timer));

	leave_again(all, now_ms);
	close_late(all, now_ms);
	close_crowded(all);
	schedule(all);
}

void connections_init(struct connections *all, struct loop *loop)
{
	*all = (struct connections){
		.loop = loop,
		.timer = {.on_time = connections_on_time, .at_ms = NO_DEADLINE},
		.patience_ms = NO_DEADLINE,
		.max = SIZE_MAX,
	};
	TAILQ_INIT(&all->open);
	TAILQ_INIT(&all->lingering);
	TAILQ_INIT(&all->leaving);
	loop_add_timer(loop, &all->timer);
}

void connections_limit(struct connections *all, int64_t patience_ms, uint32_t credit)
{
	uint32_t headroom = credit / 2 < ENROLMENT_BUDGET ? credit / 2 : ENROLMENT_BUDGET;

	all->patience_ms = patience_ms;
	all->max = credit - headroom;
}

void connections_say_crowded(struct connections *all, struct enrolment *e)
{
	if (all->n_crowded > all->n_crowded_said)
		enrolment_say(e, "too many clients, so that those who wait longest are closed",
			"raise the credit (-c), or set per_source (usher.conf(5))");
	all->n_crowded_said = all->n_crowded;
}

void connections_close_all(struct connections *all)
{
	struct connection *c;

	while ((c = TAILQ_FIRST(&all->open)) || (c = TAILQ_FIRST(&all->lingering)) ||
		(c = TAILQ_FIRST(&all->leaving)))
		connection_close(c);
}

void connections_done(struct connections *all)
{
	assert(all->n == 0);
	loop_remove_timer(all->loop, &all->timer);
}

static int connection_on_readable(struct connection *c)
{
	if (c->state == CONNECTION_LINGERING)
		return connection_discard(c);
	return c->conversation->on_readable(c);
}

/*
 * EPOLLERR is a reset or a lost route: nobody is there to talk to. EPOLLHUP says that both halves
 * have ended; there may be input left, whose end the conversation will find. EPOLLRDHUP is not
 * asked for: a client that has ended its half is no special case, only input with an end.
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
		r = connection_on_readable(c);
	if (r == 0 && events & EPOLLOUT && c->state == CONNECTION_OPEN)
		r = c->conversation->on_writable(c);
	if (r != 0)
		connection_close(c);
}

static struct connection *connection_new(struct connections *all,
	const struct conversation *conversation, struct enrolment *enrolment,
	const struct usher_connection *accepted)
{
	struct connection *c = calloc(1, conversation->size > 0 ? conversation->size : sizeof(*c));

	if (!c)
		return NULL;
	*c = (struct connection){
		.watch.on_event = connection_on_event,
		.all = all,
		.conversation = conversation,
		.enrolment = enrolment,
		.id = accepted->id,
		.until_ms = NO_DEADLINE,
		.fd = accepted->fd,
		.events = EPOLLIN,
		.state = CONNECTION_OPEN,
	};
	if (all->patience_ms != NO_DEADLINE)
		c->until_ms = monotonic_ms() + all->patience_ms;
	return c;
}

int connection_open(struct connections *all, const struct conversation *conversation,
	struct enrolment *enrolment, struct usher_connection *accepted)
{
	struct connection *c = connection_new(all, conversation, enrolment, accepted);
	int r;

	if (!c) {
		(void)usher_close(enrolment->usher, accepted);
		return -ENOMEM;
	}
	accepted->fd = -1;
	TAILQ_INSERT_TAIL(&all->open, c, link);
	all->n++;
	schedule(all);
	r = loop_watch(all->loop, &c->watch, c->fd, c->events);
	if (r < 0) {
		connection_close(c);
		return r;
	}
	if (conversation->on_open &&
		conversation->on_open(c, accepted->data, accepted->data_size) != 0)
		connection_close(c);
	return 0;
}

int connection_watch(struct connection *c, uint32_t events)
{
	int r;

	if (events == c->events)
		return 0;
	r = loop_rewatch(c->all->loop, &c->watch, c->fd, events);
	if (r == 0)
		c->events = events;
	return r;
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

int connection_discard(struct connection *c)
{
	const char *data;
	size_t size;

	return connection_read(c, &data, &size);
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

int connection_answer(struct connection *c, const void *answer, size_t size)
{
	ssize_t n = connection_send_some(c, answer, size);

	if (n < 0)
		return (int)n;
	if ((size_t)n < size)
		return -EIO;
	return connection_finish(c);
}

int connection_finish(struct connection *c)
{
	if (shutdown(c->fd, SHUT_WR) < 0)
		return -errno;
	c->until_ms = monotonic_ms() + LINGER_MS;
	c->all->n_lingering++;
	connection_move(c, CONNECTION_LINGERING);
	return connection_watch(c, EPOLLIN);
}

/* Not watched: the loop would hold on to the socket, which is somebody else's on success. */
static int try_forward(struct connection *c, const char *service, const void *data, size_t size)
{
	struct usher_connection parting = {.fd = c->fd, .id = c->id};
	int r = usher_forward(c->enrolment->usher, &parting, service, data, size);

	if (r < 0)
		return r;
	c->fd = parting.fd;
	return CONNECTION_OVER;
}

int connection_forward(struct connection *c, const char *service, const void *data, size_t size)
{
	int r;

	if (c->state == CONNECTION_OPEN)
		loop_unwatch(c->all->loop, &c->watch, c->fd);
	r = try_forward(c, service, data, size);
	if (r == CONNECTION_OVER)
		return r;
	if (r == -EAGAIN || r == -ENOTCONN) {
		if (c->state == CONNECTION_OPEN)
			connection_move(c, CONNECTION_LEAVING);
		return 0;
	}
	(void)loop_watch(c->all->loop, &c->watch, c->fd, c->events);
	return r;
}
