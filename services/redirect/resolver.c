/* SPDX-License-Identifier: MIT */
/* See resolver.h. */
#include "resolver.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* Given to the thread, which writes the answer, and then says by the descriptor that it is there.
 */
struct question {
	atomic_int n_holders; /* the thread, the resolver */
	atomic_bool is_answered;
	int event_fd; /* a copy: the resolver may be gone */
	char *host, *port;
	int error; /* of getaddrinfo(3) */
	struct addrinfo *answer;
};

static void question_leave(struct question *q)
{
	if (!q || atomic_fetch_sub(&q->n_holders, 1) > 1)
		return;
	if (q->answer)
		freeaddrinfo(q->answer);
	if (q->event_fd >= 0)
		(void)close(q->event_fd);
	free(q->host);
	free(q->port);
	free(q);
}

static struct question *question_new(const struct resolver *r)
{
	struct question *q = calloc(1, sizeof(*q));

	if (!q)
		return NULL;
	atomic_init(&q->n_holders, 1);
	q->host = strdup(r->host);
	q->port = strdup(r->port);
	q->event_fd = fcntl(r->event_fd, F_DUPFD_CLOEXEC, 0);
	if (q->host && q->port && q->event_fd >= 0)
		return q;
	question_leave(q);
	return NULL;
}

static void *answer_question(void *userdata)
{
	static const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
	struct question *q = userdata;

	q->error = getaddrinfo(q->host, q->port, &hints, &q->answer);
	atomic_store(&q->is_answered, true);
	(void)eventfd_write(q->event_fd, 1);
	question_leave(q);
	return NULL;
}

/* Signals are the loop's. */
static int start_thread(struct question *q)
{
	pthread_attr_t attributes;
	sigset_t all, before;
	pthread_t thread;
	int r;

	sigfillset(&all);
	(void)pthread_sigmask(SIG_BLOCK, &all, &before);
	(void)pthread_attr_init(&attributes);
	(void)pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	r = pthread_create(&thread, &attributes, answer_question, q);
	(void)pthread_attr_destroy(&attributes);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	return -r;
}

bool resolver_ask(struct resolver *r)
{
	int64_t now_ms = monotonic_ms();

	if (r->question)
		return true;
	if (now_ms - r->asked_at_ms < RESOLVER_PAUSE_MS)
		return false;
	r->asked_at_ms = now_ms;
	r->question = question_new(r);
	if (!r->question)
		return false;
	atomic_fetch_add(&r->question->n_holders, 1);
	if (start_thread(r->question) == 0)
		return true;
	question_leave(r->question);
	question_leave(r->question);
	r->question = NULL;
	return false;
}

static void take_addresses(struct resolver *r, const struct addrinfo *list)
{
	r->n = 0;
	for (; list && r->n < RESOLVER_MAX; list = list->ai_next) {
		struct resolver_address *address = &r->addresses[r->n++];

		memcpy(&address->address, list->ai_addr, list->ai_addrlen);
		address->length = list->ai_addrlen;
	}
}

/* What was known before is kept when there is no answer: it may still be right. */
static void resolver_on_event(struct watch *watch, uint32_t events)
{
	struct resolver *r = (struct resolver *)watch;
	struct question *q = r->question;
	eventfd_t n;

	(void)events;
	if (eventfd_read(r->event_fd, &n) < 0 || !q || !atomic_load(&q->is_answered))
		return;
	r->error[0] = '\0';
	if (q->error == 0)
		take_addresses(r, q->answer);
	else
		(void)snprintf(r->error, sizeof(r->error), "%s", gai_strerror(q->error));
	question_leave(q);
	r->question = NULL;
	r->on_answer(r);
}

int resolver_init(struct resolver *r, struct loop *loop, const char *host, const char *port,
	void (*on_answer)(struct resolver *r))
{
	*r = (struct resolver){
		.watch.on_event = resolver_on_event,
		.loop = loop,
		.host = host,
		.port = port,
		.on_answer = on_answer,
		.event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
		.asked_at_ms = INT64_MIN / 2,
	};
	if (r->event_fd < 0)
		return -errno;
	return loop_watch(loop, &r->watch, r->event_fd, EPOLLIN);
}

void resolver_done(struct resolver *r)
{
	question_leave(r->question);
	r->question = NULL;
	if (r->event_fd < 0)
		return;
	loop_unwatch(r->loop, &r->watch, r->event_fd);
	(void)close(r->event_fd);
	r->event_fd = -1;
}
