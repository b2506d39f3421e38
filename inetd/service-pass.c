/* SPDX-License-Identifier: MIT */
/*
 * A receiver as the provider of a service (deliver = "pass").
 *
 * dispatch knows each place, in which one connection at a time can be on its way to the receiver,
 * as a provider with a credit of one. When the receiver has read the message, the connection is
 * claimed and released in one: more will never be known of it. When the receiver went without
 * reading it, that provider is gone, and the connection goes to another.
 *
 * While there is nobody to connect to, all providers are gone; while the receiver's queue is full,
 * they are blocked: so clients meet what they meet with processes that register. Whether it is over
 * is found out by connecting again, and by the connections themselves.
 */
#include "service-pass.h"

#include "closer.h"
#include "connection.h"
#include "fd.h"
#include "forwarded.h"
#include "probe.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define RETRY_MIN_USEC UINT64_C(50000)
#define RETRY_MAX_USEC UINT64_C(1000000)

/* A place gets connections again. Returns false if there is no memory for that. */
static bool open_place(struct service_pass *sp, struct place *place)
{
	static const struct dispatch_hello hello = {.credit = 1, .weight = 1};
	struct service *s = sp->service;

	if (place->record)
		dispatch_set_state(s->dispatch, place->record, PROVIDER_READY, service_now(s));
	else
		place->record = dispatch_register(s->dispatch, &hello, NULL, service_now(s));
	return place->record;
}

/* To be tried again after a while, longer each time. */
static void retry_later(struct service_pass *sp)
{
	(void)sd_event_source_set_time_relative(sp->timer, sp->retry_usec);
	(void)sd_event_source_set_enabled(sp->timer, SD_EVENT_ONESHOT);
	sp->retry_usec = sp->retry_usec * 2 < RETRY_MAX_USEC ? sp->retry_usec * 2 : RETRY_MAX_USEC;
}

/* Let all that are free have connections. */
static void open_places(struct service_pass *sp)
{
	bool is_complete = true;

	sp->state = RECEIVER_READY;
	service_pass_foreach (p, sp)
		if (!p->handoff && !open_place(sp, p))
			is_complete = false;
	if (!is_complete)
		retry_later(sp);
}

/*
 * Let none have connections. dispatch must have nothing to do, and has nothing afterwards: before
 * any of them is taken out, none of the others may have credit to use.
 */
static void block_places(struct service_pass *sp)
{
	struct dispatch *d = sp->service->dispatch;

	service_pass_foreach (p, sp)
		if (p->record)
			dispatch_set_state(
				d, p->record, PROVIDER_BLOCKED, service_now(sp->service));
}

/*
 * After block_places(): those that are under way stay. Whom nobody is there for has no provider any
 * more; a receiver that is full only has to be waited for.
 */
static void close_places(struct service_pass *sp)
{
	struct dispatch *d = sp->service->dispatch;
	uint64_t now_usec = service_now(sp->service);

	if (sp->state == RECEIVER_FULL)
		return;
	service_pass_foreach (p, sp) {
		if (!p->record)
			continue;
		if (p->handoff) {
			dispatch_set_state(d, p->record, PROVIDER_DRAINING, now_usec);
			continue;
		}
		dispatch_gone(d, p->record, now_usec);
		p->record = NULL;
	}
}

/* `error`: what pass.h returned; 0: it was closed unread. */
static void fail(struct service_pass *sp, int error)
{
	if (sp->state == RECEIVER_LEFT)
		return;
	sp->state = pass_is_full(error) ? RECEIVER_FULL : RECEIVER_ABSENT;
	sp->is_reached = sp->is_reached && sp->state == RECEIVER_FULL;
	service_pass_log_failure(sp, error);
	retry_later(sp);
}

static bool has_waiting(const struct service *s)
{
	return dispatch_n_waiting(s->dispatch) + dispatch_n_parked(s->dispatch) > 0;
}

/*
 * Is it there again? Connecting says so; but who accepts a connection for nothing is troubled by
 * it. So the channel is kept for who waits, and if nobody does the next client has to try.
 */
static int try_again(struct service_pass *sp)
{
	int fd;

	if (sp->receiver.type != SOCK_DGRAM && !has_waiting(sp->service))
		return 0;
	fd = pass_connect(&sp->receiver);
	if (fd < 0)
		return fd;
	close_fd(sp->channel_fd);
	sp->channel_fd = fd;
	sp->is_reached = true;
	return 0;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct service_pass *sp = userdata;
	int r;

	(void)source, (void)usec;
	if (sp->state == RECEIVER_LEFT)
		return 0;
	r = try_again(sp);
	if (r >= 0) {
		open_places(sp);
	} else {
		fail(sp, r);
		block_places(sp);
		close_places(sp); /* it may be gone now, and was full before */
	}
	service_settle(sp->service);
	return 0;
}

/* A place that has become free, and that was to get nothing more, begins anew if it may. */
static void renew_place(struct service_pass *sp, struct place *place)
{
	struct service *s = sp->service;

	if (place->handoff || (place->record && place->record->state == PROVIDER_READY))
		return;
	if (place->record)
		dispatch_gone(s->dispatch, place->record, service_now(s));
	place->record = NULL;
	if (sp->state == RECEIVER_READY)
		(void)open_place(sp, place);
	else if (sp->state == RECEIVER_FULL && open_place(sp, place))
		dispatch_set_state(s->dispatch, place->record, PROVIDER_BLOCKED, service_now(s));
}

static void free_place(struct place *place)
{
	place->handoff = NULL;
	place->pass = pass_free(place->pass);
}

/* The message was read: nothing of the connection is ours any more. */
static void take(struct service_pass *sp, struct place *place)
{
	struct service *s = sp->service;
	uint64_t id = place->handoff->id;
	int r = dispatch_claimed(
		s->dispatch, place->record, place->handoff->sequence, service_now(s));

	assert(r == 0);
	service_settle(s); /* closes our copy */
	sp->n_passed++;
	sp->retry_usec = RETRY_MIN_USEC;
	service_pass_log_success(sp);
	free_place(place);
	r = dispatch_released(s->dispatch, place->record, &id, 1, service_now(s));
	assert(r == 0);
	service_settle(s);
	renew_place(sp, place);
	service_settle(s);
}

/* Not read: it is for another one, unless somebody has used it all the same. */
static void give_back(struct service_pass *sp, struct place *place)
{
	static const struct connection_mark unused;
	struct service *s = sp->service;
	struct handoff *h = place->handoff;

	if (!connection_is_untouched(h->fd, h->forwarded ? &h->forwarded->mark : &unused)) {
		dispatch_touched(s->dispatch, h);
		service_carry_out(s);
	}
	free_place(place);
	dispatch_gone(s->dispatch, place->record, service_now(s));
	place->record = NULL;
	service_settle(s);
}

void service_pass_on_end(struct pass *pass, enum pass_end end, void *userdata)
{
	struct place *place = userdata;
	struct service_pass *sp = place->owner;

	assert(pass == place->pass);
	if (end == PASS_TAKEN) {
		take(sp, place);
		return;
	}
	sp->n_unread++;
	fail(sp, 0);
	block_places(sp);
	give_back(sp, place);
	close_places(sp);
	service_settle(sp->service);
}

static int send_one(struct service_pass *sp, struct place *place)
{
	struct service *s = sp->service;
	struct handoff *h = place->handoff;
	int channel_fd = take_fd(&sp->channel_fd);
	int r = -EBADF;

	if (channel_fd >= 0)
		r = pass_new(&place->pass, s->event, &sp->receiver, channel_fd, h->fd, &h->peer,
			service_pass_on_end, place);
	if (r < 0) /* or the receiver has closed that one meanwhile */
		r = pass_new(&place->pass, s->event, &sp->receiver, -EBADF, h->fd, &h->peer,
			service_pass_on_end, place);
	return r;
}

struct place *service_pass_find(struct service_pass *sp, const struct dispatch_provider *record)
{
	struct place *found = NULL;

	service_pass_foreach (p, sp)
		if (!found && p->record == record)
			found = p;
	assert(found || !record);
	return found;
}

void service_pass_give(struct service *s, struct handoff *h)
{
	struct service_pass *sp = s->pass;
	struct place *place = service_pass_find(sp, h->provider);
	int r = 0;

	place->handoff = h;
	place->begun_usec = service_now(s);
	place->order = ++sp->n_given;
	probe_pass(s->name, h->id);
	if (sp->state == RECEIVER_READY) /* else one before it in this turn has failed */
		r = send_one(sp, place);
	if (r < 0)
		fail(sp, r);
	if (place->pass)
		sp->is_reached = true;
	else
		sp->has_failed = true;
}

/* The latest one that could not be sent. */
static struct place *find_unsent(struct service_pass *sp)
{
	struct place *last = NULL;

	service_pass_foreach (p, sp)
		if (p->handoff && !p->pass && (!last || p->order > last->order))
			last = p;
	return last;
}

bool service_pass_flush(struct service *s)
{
	struct service_pass *sp = s->pass;
	struct place *place;

	if (!sp || !sp->has_failed)
		return false;
	sp->has_failed = false;
	block_places(sp);
	while ((place = find_unsent(sp))) {
		place->handoff = NULL;
		dispatch_unsent(s->dispatch, place->record, 1, service_now(s));
	}
	close_places(sp);
	return true;
}

void service_pass_open(struct service *s)
{
	struct service_pass *sp = s->pass;

	if (!sp || !sp->is_to_be_opened)
		return;
	sp->is_to_be_opened = false;
	if (sp->state != RECEIVER_LEFT)
		open_places(sp);
}

struct service_pass *service_pass_new(struct service *s)
{
	struct service_pass *sp = calloc(1, sizeof(*sp));

	if (!sp)
		return NULL;
	*sp = (struct service_pass){.service = s, .channel_fd = -EBADF, .state = RECEIVER_LEFT};
	service_pass_foreach (p, sp)
		p->owner = sp;
	if (sd_event_add_time(s->event, &sp->timer, CLOCK_MONOTONIC, UINT64_MAX,
		    RETRY_MIN_USEC / 10, on_timer, sp) < 0) {
		free(sp);
		return NULL;
	}
	(void)sd_event_source_set_enabled(sp->timer, SD_EVENT_OFF);
	return sp;
}

static bool is_same_receiver(const struct service_pass *sp, const struct config_pass *receiver)
{
	return sp->state != RECEIVER_LEFT && sp->receiver.type == receiver->type &&
	       strcmp(sp->receiver.path, receiver->path) == 0;
}

/* Begin with a receiver, the first or another one: whatever was wrong with the last one is over. */
static int begin(struct service_pass *sp, const struct config_pass *receiver)
{
	char *path = strdup(receiver->path);

	if (!path)
		return -ENOMEM;
	free(sp->receiver.path);
	sp->receiver = *receiver;
	sp->receiver.path = path;
	sp->channel_fd = close_fd(sp->channel_fd);
	sp->state = RECEIVER_READY;
	sp->is_reached = false;
	sp->retry_usec = RETRY_MIN_USEC;
	sp->logged = (struct service_pass_log){0};
	sp->is_to_be_opened = true;
	return 0;
}

/* Those that are under way stay so. */
static void leave(struct service_pass *sp)
{
	sp->state = RECEIVER_LEFT;
	(void)sd_event_source_set_enabled(sp->timer, SD_EVENT_OFF);
	block_places(sp);
	close_places(sp);
}

int service_pass_configure(struct service *s)
{
	const struct config_pass *receiver = &s->config.pass;

	if (s->config.deliver != CONFIG_DELIVER_PASS) {
		if (s->pass)
			leave(s->pass);
		return 0;
	}
	if (!s->pass && !(s->pass = service_pass_new(s)))
		return -ENOMEM;
	s->pass->receiver.has_postfix_attributes = receiver->has_postfix_attributes;
	return is_same_receiver(s->pass, receiver) ? 0 : begin(s->pass, receiver);
}

bool service_is_passing(const struct service *s)
{
	return s->pass && s->pass->state != RECEIVER_LEFT;
}

/* As of a provider: what was sent stays in its queue, and is nobody else's. */
static void abandon_place(struct service_pass *sp, struct place *place)
{
	struct dispatch *d = sp->service->dispatch;
	struct dispatch_action unknown;
	struct handoff closed;

	if (place->handoff) {
		service_forget_forwarded(sp->service, place->handoff);
		place->handoff->fd = closer_close(place->handoff->fd);
	}
	free_place(place);
	if (place->record)
		dispatch_gone(d, place->record, 0);
	while (dispatch_take_waiting(d, &closed))
		;
	while (dispatch_next(d, &unknown))
		;
}

void service_pass_abandon(struct service *s)
{
	struct service_pass *sp = s->pass;

	if (!sp)
		return;
	block_places(sp);
	service_pass_foreach (p, sp)
		abandon_place(sp, p);
	sd_event_source_disable_unref(sp->timer);
	close_fd(sp->channel_fd);
	free(sp->receiver.path);
	free(sp);
	s->pass = NULL;
}
