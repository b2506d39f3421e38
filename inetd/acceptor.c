/* SPDX-License-Identifier: MIT */
/* Polling one listening socket and accepting from it: see acceptor.h. */
#include "acceptor.h"

#include <errno.h>
#include <stdlib.h>

#define RETRY_MIN_USEC	UINT64_C(100000)
#define RETRY_MAX_USEC	UINT64_C(1000000)
#define MAX_PASSED_OVER 64 /* errors of single connections in a row, then it is no accident */

struct acceptor {
	int fd;
	bool is_paused;
	bool is_retrying;    /* an error stopped the polling */
	uint64_t retry_usec; /* the next pause after an error */
	sd_event_source *io;
	sd_event_source
		*retry; /* made at once: a timer needs a descriptor, and then there may be none */
	acceptor_on_connections on_connections;
	void *userdata;
};

static int on_readable(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct acceptor *a = userdata;

	(void)source, (void)fd, (void)revents;
	a->on_connections(a->userdata);
	return 0;
}

/* Make epoll agree with the two reasons not to poll. */
static int update_polling(struct acceptor *a)
{
	return sd_event_source_set_enabled(
		a->io, a->is_paused || a->is_retrying ? SD_EVENT_OFF : SD_EVENT_ON);
}

static int on_retry(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct acceptor *a = userdata;

	(void)source, (void)usec;
	a->is_retrying = false;
	(void)update_polling(
		a); /* adding to epoll can only fail for memory: the next resume tries again */
	return 0;
}

void acceptor_retry_later(struct acceptor *a)
{
	/* These only fail for an event loop that has ended. */
	(void)sd_event_source_set_time_relative(a->retry, a->retry_usec);
	(void)sd_event_source_set_enabled(a->retry, SD_EVENT_ONESHOT);
	a->is_retrying = true;
	(void)update_polling(a);
	a->retry_usec = a->retry_usec * 2 < RETRY_MAX_USEC ? a->retry_usec * 2 : RETRY_MAX_USEC;
}

int acceptor_new(struct acceptor **ret, sd_event *event, int fd,
	acceptor_on_connections on_connections, void *userdata)
{
	struct acceptor *a = calloc(1, sizeof(*a));
	int r;

	if (!a)
		return -ENOMEM;
	*a = (struct acceptor){
		.fd = fd,
		.is_paused = true,
		.retry_usec = RETRY_MIN_USEC,
		.on_connections = on_connections,
		.userdata = userdata,
	};
	r = sd_event_add_io(event, &a->io, fd, EPOLLIN, on_readable, a);
	if (r >= 0)
		r = sd_event_add_time(
			event, &a->retry, CLOCK_MONOTONIC, 0, RETRY_MIN_USEC / 10, on_retry, a);
	if (r >= 0)
		r = sd_event_source_set_enabled(a->retry, SD_EVENT_OFF);
	if (r >= 0)
		r = update_polling(a);
	if (r < 0) {
		acceptor_free(a);
		return r;
	}
	*ret = a;
	return 0;
}

struct acceptor *acceptor_free(struct acceptor *a)
{
	if (!a)
		return NULL;
	sd_event_source_disable_unref(a->retry);
	sd_event_source_disable_unref(a->io);
	free(a);
	return NULL;
}

/* Errors that are the client's or the network's: the next connection may be well (accept(2)). */
static bool is_of_one_connection(int error)
{
	static const int errors[] = {EINTR, ECONNABORTED, EPROTO, ENETDOWN, ENOPROTOOPT, EHOSTDOWN,
		ENONET, EHOSTUNREACH, EOPNOTSUPP, ENETUNREACH, EPERM};

	for (size_t i = 0; i < sizeof(errors) / sizeof(*errors); i++)
		if (error == errors[i])
			return true;
	return false;
}

int acceptor_accept(struct acceptor *a, int *ret_fd, struct sockaddr_storage *ret_peer)
{
	int fd;

	/* The address must come from accept4: a client that has reset meanwhile has none any more.
	 */
	for (unsigned int n = 0; n < MAX_PASSED_OVER; n++) {
		socklen_t length = sizeof(*ret_peer);

		fd = accept4(
			a->fd, (struct sockaddr *)ret_peer, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd >= 0 || !is_of_one_connection(errno))
			break;
	}
	if (fd < 0) {
		int r = -errno;

		if (r != -EAGAIN)
			acceptor_retry_later(a);
		return r;
	}
	a->retry_usec = RETRY_MIN_USEC;
	*ret_fd = fd;
	return 0;
}

int acceptor_set_paused(struct acceptor *a, bool is_paused)
{
	a->is_paused = is_paused;
	return update_polling(a);
}

void acceptor_set_deferred(struct acceptor *a, bool is_deferred)
{
	/* This changes what epoll watches and removes nothing from it: no memory is needed. */
	(void)sd_event_source_set_io_events(a->io, is_deferred ? 0 : EPOLLIN);
}

bool acceptor_is_retrying(const struct acceptor *a)
{
	return a->is_retrying;
}
