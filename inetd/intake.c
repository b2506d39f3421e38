/* SPDX-License-Identifier: MIT */
/*
 * The way in of a service: see intake.h.
 *
 * A service under overload is full and has room again for each single connection. Where it has many
 * listeners they are not all switched off and on each time: while clients have to wait, one that
 * wakes us is held, which is to say not polled, and afterwards those are let go one after the other
 * as long as there is room.
 */
#include "intake.h"

#include "closer.h"
#include "log.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define RESET_BUDGET 16			     /* connections reset in one turn */
#define FEW	     16			     /* listeners that may all be switched at once */
#define RETRY_USEC   (1 * UINT64_C(1000000)) /* for listeners that did not follow */

struct intake {
	const char *service;
	struct listener **listeners;
	size_t n_listeners;
	enum intake_state state, lending;
	bool lends_streams;
	sd_event_source *retry;
	size_t n_held, next_held;   /* of many; where to look for the next one to let go */
	sd_event_source *let_go;    /* on while there are others to let go */
	bool is_behind;		    /* a listener did not follow, and that was logged */
	bool is_short_of_resources; /* accepting failed, and that was logged */
	size_t n_deferred, next_deferred;
	uint64_t n_reset;
	const struct intake_events *events;
	void *userdata;
};

static enum listener_state listener_state_for(enum intake_state state)
{
	switch (state) {
	case INTAKE_SERVING:
	case INTAKE_RESETTING:
		return LISTENER_OPEN;
	case INTAKE_REFUSING:
		return LISTENER_REFUSING;
	case INTAKE_LENT:
		return LISTENER_LENT;
	case INTAKE_WAITING:
	case INTAKE_FULL:
	case INTAKE_LIMITED:
	case INTAKE_PAUSED:
		break;
	}
	return LISTENER_PAUSED;
}

bool intake_lends(const struct intake *intake, const struct listener *l)
{
	return intake->lends_streams || listener_bound(l)->type == SOCK_DGRAM;
}

size_t intake_n_lent(const struct intake *intake)
{
	size_t n = 0;

	for (size_t i = 0; i < intake->n_listeners; i++)
		n += intake_lends(intake, intake->listeners[i]);
	return n;
}

static enum intake_state wanted_state(const struct intake *intake, const struct listener *l)
{
	return intake_lends(intake, l) ? intake->lending : intake->state;
}

static void log_about_listener(const struct intake *intake, const struct listener *l,
	const char *reason, int error, const char *what, const char *hint)
{
	char text[ADDRESS_TEXT_MAX];

	log_write(LOG_WARNING,
		&(struct log_about){.service = intake->service,
			.listener = address_format(listener_bound(l), text),
			.reason = reason,
			.error = error},
		"%s: %s %s: %s%s", intake->service, what, text, strerror(-error), hint);
}

/* Bring one into a state, or all into theirs later. `was_logged`: it need not be said again. */
static void change(
	struct intake *intake, struct listener *l, enum listener_state state, bool was_logged)
{
	int r = listener_set_state(l, state);

	if (r >= 0)
		return;
	if (!was_logged && !intake->is_behind)
		log_about_listener(intake, l, "listen-failed", r,
			"cannot change whether clients are let in at", "; usherd tries again");
	intake->is_behind = true;
	(void)sd_event_source_set_time_relative(intake->retry, RETRY_USEC);
	(void)sd_event_source_set_enabled(intake->retry, SD_EVENT_ONESHOT);
}

/* Clients wait, and it is soon over. */
static bool is_short(enum intake_state state)
{
	return state == INTAKE_FULL || state == INTAKE_LIMITED;
}

static bool is_held(const struct intake *intake, const struct listener *l)
{
	return !intake_lends(intake, l) && listener_state(l) == LISTENER_PAUSED;
}

/* Bring every listener into the state that is wanted, or try again later. */
static void follow(struct intake *intake)
{
	bool was_behind = intake->is_behind;

	intake->is_behind = false;
	intake->n_held = 0;
	for (size_t i = 0; i < intake->n_listeners; i++) {
		struct listener *l = intake->listeners[i];

		change(intake, l, listener_state_for(wanted_state(intake, l)), was_behind);
		intake->n_held += is_held(intake, l);
	}
}

static void hold(struct intake *intake, struct listener *l)
{
	change(intake, l, LISTENER_PAUSED, false);
	if (!is_held(intake, l))
		return; /* it did not follow */
	if (intake->n_held++ == 0)
		intake->next_held = listener_index(l);
}

/* One: it may be all that there is room for. If not, the next one has its turn soon. */
static void let_one_go(struct intake *intake)
{
	struct listener *l;

	if (intake->n_held == 0)
		return;
	do
		l = intake->listeners[intake->next_held++ % intake->n_listeners];
	while (!is_held(intake, l));
	change(intake, l, LISTENER_OPEN, false);
	if (--intake->n_held > 0)
		(void)sd_event_source_set_enabled(intake->let_go, SD_EVENT_ONESHOT);
}

static int on_let_go(sd_event_source *source, void *userdata)
{
	struct intake *intake = userdata;

	(void)source;
	if (intake->state == INTAKE_SERVING)
		let_one_go(intake);
	return 0;
}

static int on_retry(sd_event_source *source, uint64_t usec, void *userdata)
{
	(void)source, (void)usec;
	follow(userdata);
	return 0;
}

int intake_new(struct intake **ret, sd_event *event, const char *service,
	const struct intake_events *events, void *userdata)
{
	struct intake *intake = calloc(1, sizeof(*intake));
	int r;

	if (!intake)
		return -ENOMEM;
	*intake = (struct intake){.service = service, .events = events, .userdata = userdata};
	r = sd_event_add_time(
		event, &intake->retry, CLOCK_MONOTONIC, 0, RETRY_USEC / 10, on_retry, intake);
	if (r >= 0)
		r = sd_event_source_set_enabled(intake->retry, SD_EVENT_OFF);
	if (r >= 0)
		r = sd_event_add_defer(event, &intake->let_go, on_let_go, intake);
	if (r >= 0)
		r = sd_event_source_set_enabled(intake->let_go, SD_EVENT_OFF);
	if (r < 0) {
		intake_free(intake);
		return r;
	}
	*ret = intake;
	return 0;
}

struct intake *intake_free(struct intake *intake)
{
	if (!intake)
		return NULL;
	for (size_t i = 0; i < intake->n_listeners; i++)
		listener_free(intake->listeners[i]);
	free(intake->listeners);
	sd_event_source_disable_unref(intake->retry);
	sd_event_source_disable_unref(intake->let_go);
	free(intake);
	return NULL;
}

static void accept_and_reset(struct intake *intake, struct listener *l)
{
	struct wire_address peer;

	for (int i = 0, fd; i < RESET_BUDGET && intake_accept(intake, l, &fd, &peer) >= 0; i++) {
		intake_reset(intake, fd);
		intake->events->on_reset(l, &peer, intake->userdata);
	}
}

static void on_listener_connections(struct listener *l, void *userdata)
{
	struct intake *intake = userdata;
	enum intake_state state = wanted_state(intake, l);

	if (is_short(state))
		hold(intake, l);
	else if (state == INTAKE_RESETTING)
		accept_and_reset(intake, l);
	else
		intake->events->on_connections(l, intake->userdata);
}

void intake_defer(struct intake *intake, struct listener *l)
{
	listener_set_deferred(l, true);
	intake->n_deferred++;
}

size_t intake_n_deferred(const struct intake *intake)
{
	return intake->n_deferred;
}

struct listener *intake_next_deferred(struct intake *intake)
{
	struct listener *l;

	do
		l = intake->listeners[intake->next_deferred++ % intake->n_listeners];
	while (!listener_is_deferred(l));
	return l;
}

void intake_poll_deferred(struct intake *intake)
{
	for (size_t i = 0; i < intake->n_listeners && intake->n_deferred > 0; i++) {
		if (!listener_is_deferred(intake->listeners[i]))
			continue;
		listener_set_deferred(intake->listeners[i], false);
		intake->n_deferred--;
	}
}

static const char *option_hint_for(int error)
{
	switch (-error) {
	case ENOBUFS:
		return " (raise the sysctls net.core.rmem_max and net.core.wmem_max, or lower the "
		       "service's socket { receive_buffer, send_buffer })";
	case EPERM:
		return " (socket { transparent } needs CAP_NET_RAW, or a restart by root; socket { "
		       "mode } the user who made the socket)";
	default:
		return "";
	}
}

void intake_replace(struct intake *intake, struct listener **listeners, size_t n_listeners,
	const struct config_socket *options, bool lends_streams)
{
	intake_poll_deferred(intake);
	free(intake->listeners);
	intake->listeners = listeners;
	intake->n_listeners = n_listeners;
	intake->lends_streams = lends_streams;
	for (size_t i = 0; i < n_listeners; i++) {
		int r;

		listener_set_owner(listeners[i], (uint32_t)i, on_listener_connections, intake);
		r = listener_set_options(listeners[i], options);
		if (r < 0)
			log_about_listener(intake, listeners[i], "listen-failed", r,
				"cannot set all socket options of", option_hint_for(r));
	}
	follow(intake);
}

bool intake_has(const struct intake *intake, struct listener *const *listeners, size_t n_listeners)
{
	return n_listeners == intake->n_listeners &&
	       (n_listeners == 0 || memcmp(listeners, intake->listeners,
					    n_listeners * sizeof(struct listener *)) == 0);
}

/* From serving to a short wait, back, or from one to another one. */
static bool is_short_change(enum intake_state from, enum intake_state to)
{
	return (from == INTAKE_SERVING || is_short(from)) && (to == INTAKE_SERVING || is_short(to));
}

void intake_set_state(struct intake *intake, enum intake_state state)
{
	enum intake_state old = intake->state;

	if (state == old)
		return;
	intake->state = state;
	intake_poll_deferred(intake);
	if (intake->n_listeners <= FEW || !is_short_change(old, state))
		follow(intake);
	else if (state == INTAKE_SERVING)
		let_one_go(intake);
}

void intake_set_lending(struct intake *intake, enum intake_state state)
{
	if (state == intake->lending)
		return;
	intake->lending = state;
	follow(intake);
}

static const char *hint_for(int error)
{
	switch (-error) {
	case EMFILE:
		return "; clients wait in the backlog (raise LimitNOFILE= or lower the services' "
		       "instances)";
	case ENFILE:
		return "; clients wait in the backlog (raise the sysctl fs.file-max)";
	default:
		return "; clients wait in the backlog";
	}
}

static void lack(struct intake *intake, const struct listener *l, int error)
{
	if (intake->is_short_of_resources)
		return;
	intake->is_short_of_resources = true;
	log_about_listener(
		intake, l, "accept-failed", error, "cannot accept for now on", hint_for(error));
}

int intake_accept(
	struct intake *intake, struct listener *l, int *ret_fd, struct wire_address *ret_peer)
{
	int r;

	if (listener_is_retrying(l))
		return -EAGAIN;
	r = listener_accept(l, ret_fd, ret_peer);
	if (r == 0)
		intake->is_short_of_resources = false;
	else if (r != -EAGAIN)
		lack(intake, l, r < 0 ? r : -EMFILE);
	return r < 0 ? -EAGAIN : 0;
}

void intake_lacks_memory(struct intake *intake, struct listener *l)
{
	listener_retry_later(l);
	lack(intake, l, -ENOMEM);
}

void intake_reset(struct intake *intake, int fd)
{
	struct linger linger = {.l_onoff = 1, .l_linger = 0};

	(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	closer_close_received(fd); /* it may be what a provider wanted to forward */
	intake->n_reset++;
}

uint32_t intake_find_listener(const struct intake *intake, int fd)
{
	struct address local;

	if (address_read(fd, &local) < 0)
		return WIRE_NO_LISTENER;
	/* An IPv4 client of an IPv6 listener has a mapped address, so families are compared as they
	 * are. */
	for (size_t i = 0; i < intake->n_listeners; i++)
		if (address_conflicts(listener_bound(intake->listeners[i]), true, &local, true))
			return (uint32_t)i;
	return WIRE_NO_LISTENER;
}

enum intake_state intake_state(const struct intake *intake)
{
	return intake->state;
}

enum intake_state intake_lending(const struct intake *intake)
{
	return intake->lending;
}

struct listener *const *intake_listeners(const struct intake *intake, size_t *ret_n)
{
	*ret_n = intake->n_listeners;
	return intake->listeners;
}

uint64_t intake_n_reset(const struct intake *intake)
{
	return intake->n_reset;
}

void intake_restore_n_reset(struct intake *intake, uint64_t n_reset)
{
	intake->n_reset = n_reset;
}
