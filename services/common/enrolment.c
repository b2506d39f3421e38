/* SPDX-License-Identifier: MIT */
/* See enrolment.h. */
#include "enrolment.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>

void enrolment_say(struct enrolment *e, const char *what, const char *reason)
{
	say_once(&e->said, "%s: %s%s%s", e->name, what, reason[0] ? ": " : "", reason);
}

void enrolment_say_forward(struct enrolment *e, const char *service, int error)
{
	char what[128];

	(void)snprintf(what, sizeof(what), "cannot forward to '%s'", service);
	if (error == -EPERM)
		enrolment_say(e, what,
			"usherd does not let this service forward: name the target in `forward` of "
			"its providers (usher.conf(5))");
	else
		enrolment_say(e, what, strerror(-error));
}

/* usherd's absence is no error, but somebody who mistyped a name wants to know. */
static void say_registration(struct enrolment *e)
{
	bool was_registered = e->is_registered;
	char reason[256];

	e->is_registered = usher_is_registered(e->usher);
	if (e->is_registered) {
		if (!was_registered)
			enrolment_say(e, "registered", "");
		return;
	}
	(void)usher_error(e->usher, reason, sizeof(reason));
	if (reason[0] != '\0')
		enrolment_say(e, "not registered", reason);
}

static void enrolment_on_error(struct enrolment *e, int error)
{
	if (error == -EMFILE)
		enrolment_say(e,
			"out of descriptors, so that usherd serves clients elsewhere or "
			"lets them wait",
			"raise the limit (LimitNOFILE=) or lower the credit (-c)");
	else if (error == -EAGAIN || !usher_is_registered(e->usher))
		say_registration(e);
	else
		enrolment_say(e, "cannot take connections", strerror(-error));
}

static void serve(struct enrolment *e, struct usher_connection *accepted)
{
	int r = e->on_connection(e, accepted);

	if (r < 0)
		enrolment_say(e, "cannot serve a connection", strerror(-r));
}

/* From now on usher_fd() is always readable. */
static void enrolment_end(struct enrolment *e)
{
	char reason[256];

	if (!e->is_stopping) {
		(void)usher_error(e->usher, reason, sizeof(reason));
		enrolment_say(e, "takes no more connections", reason);
	}
	e->is_over = true;
	loop_unwatch(e->loop, &e->watch, usher_fd(e->usher));
}

/* Level-triggered: what is beyond the budget is reported again. */
static void enrolment_on_event(struct watch *watch, uint32_t events)
{
	struct enrolment *e = (struct enrolment *)watch;
	struct usher_connection accepted;
	int r = 0;

	(void)events;
	for (int i = 0; i < ENROLMENT_BUDGET && r != -EAGAIN && !e->is_over; i++) {
		r = usher_accept(e->usher, &accepted, SOCK_NONBLOCK);
		if (r == 0)
			serve(e, &accepted);
		else if (r == USHER_LENT)
			e->on_lent(e);
		else if (r == -ESHUTDOWN)
			enrolment_end(e);
		else
			enrolment_on_error(e, r);
	}
}

int enrolment_init(struct enrolment *e, struct loop *loop, const char *name, uint32_t credit,
	enrolment_on_connection *on_connection, enrolment_on_lent *on_lent)
{
	struct usher_options options = {
		.size = sizeof(options), .flags = USHER_NONBLOCK, .credit = credit};
	int r;

	if (on_lent)
		options.flags |= USHER_LISTENERS;
	*e = (struct enrolment){
		.watch.on_event = enrolment_on_event,
		.loop = loop,
		.on_connection = on_connection,
		.on_lent = on_lent,
		.name = name,
	};
	r = usher_new(&e->usher, name, &options);
	if (r < 0)
		return r;
	r = loop_watch(loop, &e->watch, usher_fd(e->usher), EPOLLIN);
	if (r < 0)
		enrolment_done(e);
	return r;
}

void enrolment_drain(struct enrolment *e)
{
	e->is_stopping = true;
	(void)usher_drain(e->usher);
}

bool enrolment_is_finished(const struct enrolment *e)
{
	return e->is_over && usher_holding(e->usher) == 0;
}

void enrolment_done(struct enrolment *e)
{
	e->usher = usher_free(e->usher);
}
