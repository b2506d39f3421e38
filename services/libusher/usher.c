/* SPDX-License-Identifier: MIT */
/*
 * The public calls. See usher.h for the contract.
 *
 * Each does what it can without waiting, under the lock, and leaves the epoll descriptor readable
 * exactly when usherd or the clock or the queue has something for usher_accept(). Waiting is
 * epoll_wait(2) on it, outside the lock: that is all there is to threads and to event loops.
 */
#include "usher.h"
#include "build-config.h"
#include "fd.h"
#include "registration.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#define DEFAULT_CREDIT	    1024
#define RELEASES_TO_COLLECT 16 /* while connections wait in the queue */

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

/* A program built with a later usher.h may only ask for what this library knows. */
static int check_size(const struct usher_options *options)
{
	const char *bytes = (const char *)options;

	if (options->size < sizeof(*options))
		return -EINVAL;
	for (size_t i = sizeof(*options); i < options->size; i++)
		if (bytes[i] != 0)
			return -E2BIG;
	return 0;
}

static int check_options(const struct usher_options *options)
{
	int r = check_size(options);

	if (r < 0)
		return r;
	if (options->flags & ~USHER_NONBLOCK)
		return -EINVAL;
	if (options->credit > WIRE_MAX_CREDIT || options->weight > WIRE_MAX_WEIGHT)
		return -EINVAL;
	if (options->name && strlen(options->name) >= WIRE_NAME_SIZE)
		return -EINVAL;
	return 0;
}

static void set_options(struct usher *u, const struct usher_options *options)
{
	u->flags = options->flags;
	u->credit = options->credit ? options->credit : DEFAULT_CREDIT;
	u->hello = (struct wire_hello){
		.header.type = WIRE_HELLO,
		.version_lowest = WIRE_VERSION,
		.version_highest = WIRE_VERSION,
		.weight = options->weight ? options->weight : 1,
	};
	wire_set_text(u->hello.name, sizeof(u->hello.name),
		options->name ? options->name : program_invocation_short_name);
}

int usher_new(struct usher **ret, const char *service, const struct usher_options *options)
{
	static const struct usher_options defaults = {.size = sizeof(defaults)};
	struct usher *u;
	int r = check_options(options ? options : &defaults);

	if (r < 0)
		return r;
	u = calloc(1, sizeof(*u));
	if (!u)
		return -ENOMEM;
	(void)pthread_mutex_init(&u->lock, NULL); /* cannot fail without attributes */
	set_options(u, options ? options : &defaults);
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

/* The client sees the end at once, although usherd has a copy until it reads our claim. */
static void end_connection(struct usher_connection *connection)
{
	if (connection->fd < 0)
		return;
	(void)shutdown(connection->fd, SHUT_RDWR);
	connection->fd = close_fd(connection->fd);
}

struct usher *usher_free(struct usher *u)
{
	if (!u)
		return NULL;
	while (u->n_queued > 0) {
		end_connection(&u->queue[u->first_queued++]);
		u->n_queued--;
	}
	channel_close(&u->channel);
	close_fd(u->timer_fd);
	close_fd(u->epoll_fd);
	held_done(&u->held);
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

/* A connection is over. Releases are collected while usher_accept() is sure to be called again. */
static int release(struct usher *u, uint64_t id)
{
	int r = held_release(&u->held, id);

	if (r >= 0 && (u->n_queued == 0 || u->held.n_released >= RELEASES_TO_COLLECT))
		(void)registration_flush(u); /* what can't be sent now stays owed */
	return r;
}

/* usherd accepts with O_NONBLOCK, which is the socket's, not the descriptor's: it arrives so. */
static int set_nonblock(int fd, bool is_nonblock)
{
	int flags = fcntl(fd, F_GETFL);
	int wanted = is_nonblock ? flags | O_NONBLOCK : flags & ~O_NONBLOCK;

	if (flags < 0 || (wanted != flags && fcntl(fd, F_SETFL, wanted) < 0))
		return -errno;
	return 0;
}

static int take_connection(struct usher *u, struct usher_connection *ret, int flags)
{
	struct usher_connection connection = u->queue[u->first_queued++];
	int r;

	u->n_queued--;
	if (u->n_queued == 0)
		(void)registration_flush(u); /* the releases that were collected */
	r = set_nonblock(connection.fd, flags & SOCK_NONBLOCK);
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

	if (u->n_queued > 0)
		return take_connection(u, ret, flags);
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

int usher_set_credit(struct usher *u, uint32_t credit)
{
	if (credit > WIRE_MAX_CREDIT)
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

int usher_error(struct usher *u, char *text, size_t size)
{
	lock(u);
	(void)snprintf(text, size, "%s", u->error_text);
	unlock(u);
	return 0;
}
