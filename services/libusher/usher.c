/* SPDX-License-Identifier: MIT */
/*
 * The public calls. See usher.h for the contract.
 *
 * Each does what it can without waiting, under the lock, and leaves the epoll descriptor readable
 * when usherd or the clock or the queue has something for usher_accept(). Waiting is epoll_wait(2)
 * on it, outside the lock: that is all there is to threads and to event loops.
 */
#include "usher.h"
#include "build-config.h"
#include "fd.h"
#include "registration.h"

#include <ctype.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/resource.h>

#define MAX_DEFAULT_CREDIT  1024
#define RELEASES_TO_COLLECT 16 /* as long as usher_accept() is sure to be called again */

/* struct usher_options as in the first version of this library: only ever appended to. */
#define FIRST_OPTIONS_SIZE (offsetof(struct usher_options, name) + sizeof(char *))

_Static_assert(USHER_MAX_CREDIT == WIRE_MAX_CREDIT, "the protocol's");
_Static_assert(USHER_MAX_FORWARD == WIRE_MAX_FORWARDED_BYTES, "the protocol's");

/* As usher.conf(5) has it: letters, digits, '.', '_', '-', and not '.' first. */
static bool is_service_name(const char *text)
{
	if (text[0] == '\0' || text[0] == '.')
		return false;
	for (; *text; text++)
		if (!isascii(*text) || !(isalnum(*text) || strchr("._-", *text)))
			return false;
	return true;
}

static int find_rendezvous(struct sockaddr_un *ret, const char *service)
{
	const char *run_dir = secure_getenv("USHER_RUN_DIR");
	int n;

	*ret = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (!run_dir || run_dir[0] == '\0')
		run_dir = USHER_RUN_DIR;
	if (strchr(service, '/'))
		n = snprintf(ret->sun_path, sizeof(ret->sun_path), "%s", service);
	else if (is_service_name(service))
		n = snprintf(ret->sun_path, sizeof(ret->sun_path), "%s/%s.sock", run_dir, service);
	else
		return -EINVAL;
	return n < 0 || (size_t)n >= sizeof(ret->sun_path) ? -ENAMETOOLONG : 0;
}

/*
 * Copy what the caller knows. A program built with an earlier usher.h gets the defaults of what
 * came later; one built with a later usher.h may only ask for what this library knows.
 */
static int copy_options(struct usher_options *ret, const struct usher_options *options)
{
	const char *bytes = (const char *)options;

	*ret = (struct usher_options){0};
	if (!options)
		return 0;
	if (options->size < FIRST_OPTIONS_SIZE)
		return -EINVAL;
	for (size_t i = sizeof(*ret); i < options->size; i++)
		if (bytes[i] != 0)
			return -E2BIG;
	memcpy(ret, options, options->size < sizeof(*ret) ? options->size : sizeof(*ret));
	return 0;
}

static int check_options(const struct usher_options *options)
{
	if (options->flags & ~(USHER_NONBLOCK | USHER_STANDBY | USHER_LISTENERS))
		return -EINVAL;
	if (options->credit > USHER_MAX_CREDIT || options->weight > WIRE_MAX_WEIGHT)
		return -EINVAL;
	if (options->name && strlen(options->name) >= WIRE_NAME_SIZE)
		return -EINVAL;
	return 0;
}

/* Half of the descriptors that this process may have: the service needs others besides. */
static uint32_t default_credit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur / 2 >= MAX_DEFAULT_CREDIT)
		return MAX_DEFAULT_CREDIT;
	return (uint32_t)(limit.rlim_cur / 2); /* not 0: we need more than one ourselves */
}

static uint16_t hello_flags(uint32_t flags)
{
	return (uint16_t)((flags & USHER_STANDBY ? WIRE_HELLO_STANDBY : 0) |
			  (flags & USHER_LISTENERS ? WIRE_HELLO_TAKES_LISTENERS : 0));
}

static void set_options(struct usher *u, const struct usher_options *options)
{
	u->flags = options->flags;
	u->credit = options->credit ? options->credit : default_credit();
	u->hello = (struct wire_hello){
		.header.type = WIRE_HELLO,
		.header.flags = hello_flags(options->flags),
		.version_lowest = WIRE_VERSION,
		.version_highest = WIRE_VERSION,
		.weight = options->weight ? options->weight : 1,
	};
	wire_set_text(u->hello.name, sizeof(u->hello.name),
		options->name ? options->name : program_invocation_short_name);
}

int usher_new(struct usher **ret, const char *service, const struct usher_options *options)
{
	struct usher_options known;
	struct usher *u;
	int r = copy_options(&known, options);

	if (r >= 0)
		r = check_options(&known);
	if (r < 0)
		return r;
	u = calloc(1, sizeof(*u));
	if (!u)
		return -ENOMEM;
	(void)pthread_mutex_init(&u->lock, NULL); /* cannot fail without attributes */
	set_options(u, &known);
	registration_init(u);
	r = find_rendezvous(&u->address, service);
	if (r >= 0)
		r = registration_open(u);
	if (r < 0) {
		usher_free(u);
		return r;
	}
	registration_watch(u);
	*ret = u;
	return 0;
}

/* It is not the caller's any more. */
static void close_connection(struct usher_connection *connection)
{
	connection->fd = close_fd(connection->fd);
	connection->forwarded_by = NULL;
	connection->data = NULL;
	connection->data_size = 0;
}

/* The client sees the end at once, although usherd has a copy until it reads our claim. */
static void end_connection(struct usher_connection *connection)
{
	if (connection->fd >= 0)
		(void)shutdown(connection->fd, SHUT_RDWR);
	close_connection(connection);
}

/* What is not claimed yet goes to the next provider, as it is. */
static void end_queue(struct usher *u)
{
	bool is_claimed = !(u->channel.owed & CHANNEL_OWES_CLAIM);

	for (; u->n_queued > 0; u->n_queued--) {
		struct usher_connection *connection = &u->queue[u->first_queued++];

		if (is_claimed)
			end_connection(connection);
		else
			connection->fd = close_fd(connection->fd);
	}
}

struct usher *usher_free(struct usher *u)
{
	if (!u)
		return NULL;
	end_queue(u);
	channel_close(&u->channel);
	close_fd(u->timer_fd);
	close_fd(u->epoll_fd);
	held_done(&u->held);
	lent_done(&u->lent);
	free(u->listeners);
	free(u->message);
	(void)pthread_mutex_destroy(&u->lock);
	free(u);
	return NULL;
}

int usher_fd(const struct usher *u)
{
	return u->epoll_fd;
}

static void lock(struct usher *u)
{
	(void)pthread_mutex_lock(&u->lock);
}

static void unlock(struct usher *u)
{
	registration_watch(u);
	(void)pthread_mutex_unlock(&u->lock);
}

/*
 * May releases be collected? usher_accept() is sure to be called again soon: usher_fd() stays
 * readable until it has returned -EAGAIN. (A thread that may wait may also work for long.) And
 * usherd has credit enough to go on without them.
 */
static bool may_collect(const struct usher *u)
{
	return (u->flags & USHER_NONBLOCK) && u->had_news && !u->is_drained &&
	       u->held.n_released < RELEASES_TO_COLLECT &&
	       registration_credit_left(u) >= RELEASES_TO_COLLECT;
}

/* A connection is over. */
static int release(struct usher *u, uint64_t id)
{
	int r = held_release(&u->held, id);

	if (r >= 0 && !may_collect(u))
		(void)registration_flush(u); /* what can't be sent now stays owed */
	return r;
}

/* usherd accepts with O_NONBLOCK, which is the socket's, not the descriptor's: it arrives so. */
static int set_blocking(int fd)
{
	int is_nonblock = 0;

	return ioctl(fd, FIONBIO, &is_nonblock) < 0 ? -errno : 0;
}

static int take_connection(struct usher *u, struct usher_connection *ret, int flags)
{
	struct usher_connection connection = u->queue[u->first_queued++];
	int r = 0;

	u->n_queued--;
	if (!(flags & SOCK_NONBLOCK))
		r = set_blocking(connection.fd);
	if (r < 0) { /* a security module: such a socket would surprise the caller for ever */
		end_connection(&connection);
		(void)release(u, connection.id);
		return r;
	}
	*ret = connection;
	return 0;
}

static int take_news(struct usher *u, struct usher_connection *ret, int flags)
{
	int r = u->error;

	if (u->lent.is_changed) {
		u->lent.is_changed = false;
		return USHER_LENT;
	}
	if (u->n_queued > 0)
		return take_connection(u, ret, flags);
	(void)registration_flush(u); /* releases that were collected: this may be the last call */
	u->error = 0;
	return r < 0 ? r : -ESHUTDOWN;
}

static int accept_now(struct usher *u, struct usher_connection *ret, int flags)
{
	int r = 1;

	lock(u);
	while (r > 0 && !registration_has_news(u))
		r = registration_step(u);
	if (r > 0)
		r = take_news(u, ret, flags);
	else if (r == 0)
		r = -EAGAIN;
	if (r != USHER_LENT) /* now it is known that no more of them follow */
		lent_close_former(&u->lent);
	if (r < 0 || !(u->flags & USHER_NONBLOCK)) /* other threads would be woken in vain */
		u->had_news = false;
	unlock(u);
	return r;
}

int usher_accept(struct usher *u, struct usher_connection *ret, int flags)
{
	struct epoll_event event;
	int r;

	if (flags & ~(SOCK_NONBLOCK | SOCK_CLOEXEC))
		return -EINVAL;
	for (;;) {
		r = accept_now(u, ret, flags);
		if (r != -EAGAIN || (u->flags & USHER_NONBLOCK))
			return r;
		if (epoll_wait(u->epoll_fd, &event, 1, -1) < 0)
			return -errno;
	}
}

int usher_close(struct usher *u, struct usher_connection *connection)
{
	end_connection(connection);
	return usher_release(u, connection->id);
}

int usher_release(struct usher *u, uint64_t id)
{
	int r;

	lock(u);
	r = release(u, id);
	unlock(u);
	return r;
}

/* `peer` may be NULL. */
static int forward(struct usher *u, struct usher_connection *connection, const char *service,
	const void *data, size_t size, const struct sockaddr *peer)
{
	int r;

	if (service && (!is_service_name(service) || strlen(service) >= WIRE_NAME_SIZE))
		return -EINVAL;
	if (size > USHER_MAX_FORWARD)
		return -EMSGSIZE;
	lock(u);
	r = registration_forward(
		u, connection->id, connection->fd, service ? service : "", data, size, peer);
	unlock(u);
	if (r >= 0) /* no shutdown(2), which would be for its next owner too */
		close_connection(connection);
	return r;
}

int usher_forward(struct usher *u, struct usher_connection *connection, const char *service,
	const void *data, size_t size)
{
	return forward(u, connection, service, data, size, NULL);
}

static bool is_internet(const struct sockaddr *address, socklen_t length)
{
	if (length < sizeof(sa_family_t))
		return false;
	if (address->sa_family == AF_INET)
		return length >= sizeof(struct sockaddr_in);
	return address->sa_family == AF_INET6 && length >= sizeof(struct sockaddr_in6);
}

int usher_forward_as(struct usher *u, struct usher_connection *connection, const char *service,
	const void *data, size_t size, const struct sockaddr *peer, socklen_t peer_length)
{
	if (!is_internet(peer, peer_length))
		return -EINVAL;
	return forward(u, connection, service, data, size, peer);
}

int usher_decline(struct usher *u, struct usher_connection *connection)
{
	return usher_forward(u, connection, NULL, connection->data, connection->data_size);
}

int usher_set_credit(struct usher *u, uint32_t credit)
{
	if (credit > USHER_MAX_CREDIT)
		return -EINVAL;
	lock(u);
	u->credit = credit;
	u->channel.owed |= CHANNEL_OWES_CREDIT;
	(void)registration_flush(u);
	unlock(u);
	return 0;
}

int usher_drain(struct usher *u)
{
	lock(u);
	registration_drain(u);
	(void)registration_flush(u);
	unlock(u);
	return 0;
}

int usher_set_status(struct usher *u, const char *text)
{
	struct wire_status *status = &u->channel.status;

	lock(u);
	wire_set_text(status->text, sizeof(status->text), text);
	u->channel.owed |= CHANNEL_OWES_STATUS;
	(void)registration_flush(u);
	unlock(u);
	return 0;
}

bool usher_is_registered(struct usher *u)
{
	bool is_registered;

	lock(u);
	is_registered = u->channel.is_welcome && !u->channel.is_peer_gone && u->retry_ns == 0;
	unlock(u);
	return is_registered;
}

uint32_t usher_holding(struct usher *u)
{
	uint32_t n;

	lock(u);
	n = u->held.n_held;
	unlock(u);
	return n;
}

int usher_listener(struct usher *u, uint32_t index, struct sockaddr_storage *ret)
{
	int r = -ENOENT;

	lock(u);
	if (index < u->n_listeners)
		r = (int)wire_address_to_sockaddr(&u->listeners[index].address, ret);
	unlock(u);
	return r;
}

int usher_lent(struct usher *u, size_t index, struct usher_lent *ret)
{
	int r = -ENOENT;

	lock(u);
	if (index < u->lent.n) {
		*ret = u->lent.sockets[index].shown;
		r = 0;
	}
	unlock(u);
	return r;
}

int usher_error(struct usher *u, char *text, size_t size)
{
	lock(u);
	(void)snprintf(text, size, "%s", u->error_text);
	unlock(u);
	return 0;
}
