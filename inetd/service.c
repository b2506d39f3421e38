/* SPDX-License-Identifier: MIT */
/*
 * One service as it runs: see service.h.
 *
 * Every event ends in settle(): carry out what dispatch wants, send the outboxes, give what could
 * not be sent to somebody else, and make the listeners agree with the outcome.
 */
#include "service.h"

#include "closer.h"
#include "fd.h"
#include "log.h"
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Connections accepted in one turn: one message. What usherd has in hand when it is killed is lost.
 */
#define ACCEPT_BUDGET WIRE_MAX_CONNECTIONS

/* Channels of a service that have not said HELLO yet. */
#define MAX_STRANGERS 64u

_Static_assert(CONFIG_MAX_LISTENERS == WIRE_MAX_LISTENERS, "WELCOME lists all listeners");

/* The claim time-out is looked at so many times in its length. */
#define CLAIM_CHECKS 4

struct service {
	sd_event *event;
	struct config_service config; /* its arrays belong to the server's struct config */
	char *name;

	struct intake *intake;
	struct rendezvous *rendezvous; /* NULL while ending */
	struct dispatch *dispatch;

	struct provider *providers;
	struct provider *dirty; /* those with something in the outbox */
	unsigned int n_providers, n_registered, last_number;

	bool is_full; /* as dispatch said */
	bool is_settling;
	bool is_ending;
	sd_event_source *claim_timer;
	sd_event_source *ended;

	service_on_ended on_ended;
	void *userdata;
};

static const struct provider_events provider_events;

static uint64_t now_of(const struct service *s)
{
	uint64_t usec = 0;

	(void)sd_event_now(s->event, CLOCK_MONOTONIC, &usec);
	return usec;
}

static enum intake_state wanted_intake(const struct service *s)
{
	static const enum intake_state when_unavailable[] = {
		[CONFIG_UNAVAILABLE_WAIT] = INTAKE_WAITING,
		[CONFIG_UNAVAILABLE_REFUSE] = INTAKE_REFUSING,
		[CONFIG_UNAVAILABLE_RESET] = INTAKE_RESETTING,
	};

	if (dispatch_n_serving(s->dispatch) == 0)
		return when_unavailable[s->config.unavailable];
	return s->is_full ? INTAKE_FULL : INTAKE_SERVING;
}

static void give(struct service *s, struct handoff *h)
{
	struct provider *p = h->provider->userdata;

	if (!p->is_dirty) {
		p->is_dirty = true;
		p->dirty_next = s->dirty;
		s->dirty = p;
	}
	provider_give(p, h);
}

static void carry_out_actions(struct service *s)
{
	for (struct dispatch_action action; dispatch_next(s->dispatch, &action);) {
		switch (action.type) {
		case DISPATCH_GIVE:
			give(s, action.handoff);
			break;
		case DISPATCH_CLOSE:
			action.handoff->fd = closer_close(action.handoff->fd);
			break;
		case DISPATCH_PAUSE:
			s->is_full = true;
			break;
		case DISPATCH_RESUME:
			s->is_full = false;
			break;
		}
	}
}

/* Send one outbox. Returns whether that gave dispatch something new to decide. */
static bool flush_one(struct service *s)
{
	struct provider *p = s->dirty;
	uint32_t n_unsent;

	s->dirty = p->dirty_next;
	p->is_dirty = false;
	provider_flush(p);
	n_unsent = provider_take_unsent(p);
	if (n_unsent > 0)
		dispatch_unsent(s->dispatch, p->record, n_unsent, now_of(s));
	return n_unsent > 0;
}

static int on_claim_timer(sd_event_source *source, uint64_t usec, void *userdata);

/* One timer for the service, running while anything is unclaimed: cheaper than one for each. */
static void watch_claims(struct service *s)
{
	if (!s->claim_timer && dispatch_n_unclaimed(s->dispatch) > 0)
		(void)sd_event_add_time_relative(s->event, &s->claim_timer, CLOCK_MONOTONIC,
			s->config.claim_timeout_usec / CLAIM_CHECKS, 0, on_claim_timer, s);
}

static int on_ended(sd_event_source *source, void *userdata)
{
	struct service *s = userdata;

	(void)source;
	s->on_ended(s, s->userdata);
	return 0;
}

/* Nothing of an ending service is in our hands any more: leave the providers. */
static void finish_ending(struct service *s)
{
	for (struct provider *p = s->providers; p; p = p->next)
		if (p->record)
			provider_drain(p);
	(void)sd_event_add_defer(s->event, &s->ended, on_ended, s); /* or after the next event */
}

static bool has_ended(const struct service *s)
{
	return s->is_ending && !s->ended && dispatch_n_unclaimed(s->dispatch) == 0 &&
	       (dispatch_n_waiting(s->dispatch) == 0 || dispatch_n_serving(s->dispatch) == 0);
}

static void settle(struct service *s)
{
	if (s->is_settling)
		return;
	s->is_settling = true;
	do
		carry_out_actions(s);
	while (s->dirty && (flush_one(s) || s->dirty));
	intake_set_state(s->intake, wanted_intake(s));
	watch_claims(s);
	s->is_settling = false;
	if (has_ended(s))
		finish_ending(s);
}

static int on_claim_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct service *s = userdata;
	uint64_t timeout_usec = s->config.claim_timeout_usec;

	(void)source;
	s->claim_timer = sd_event_source_disable_unref(s->claim_timer);
	for (struct provider *p = s->providers; p; p = p->next) {
		const struct dispatch_provider *record = p->record;

		if (!record || record->unclaimed.n == 0 || record->state == PROVIDER_STUCK ||
			usec < record->unclaimed_since + timeout_usec)
			continue;
		if (record->state == PROVIDER_READY || record->state == PROVIDER_BLOCKED)
			provider_log(p, LOG_WARNING, "claim-timeout",
				"has not claimed %u connections for %u ms: it gets no more "
				"until it does. If it hangs, restart it; if it is slow, raise claim_timeout",
				record->unclaimed.n, (unsigned int)(timeout_usec / 1000));
		dispatch_set_state(s->dispatch, p->record, PROVIDER_STUCK, now_of(s));
	}
	settle(s);
	return 0;
}

static uint64_t realtime_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

static void on_connections(struct listener *l, void *userdata)
{
	struct service *s = userdata;
	uint32_t room = dispatch_room(s->dispatch, ACCEPT_BUDGET);
	uint64_t accepted_ns = realtime_ns(), now_usec = now_of(s);
	struct wire_address peer;

	if (room == 0)
		intake_lacks_memory(s->intake, l);
	for (int fd; room > 0 && intake_accept(s->intake, l, &fd, &peer) >= 0; room--) {
		struct handoff *h = dispatch_offer(s->dispatch, now_usec);

		assert(h);
		h->fd = fd;
		h->listener = listener_index(l);
		h->accepted_ns = accepted_ns;
		h->peer = peer;
	}
	settle(s);
}

static void on_change(void *userdata)
{
	settle(userdata);
}

static void on_gone(struct provider *p, void *userdata)
{
	struct service *s = userdata;
	struct provider **link = &s->providers;

	while (*link != p)
		link = &(*link)->next;
	*link = p->next;
	s->n_providers--;
	if (p->number > 0) {
		s->n_registered--;
		provider_log(p, LOG_INFO, "gone", "is gone");
	}
	provider_free(p);
	settle(s);
}

/* WELCOME with all listeners, to be freed; *ret_size its bytes. NULL: out of memory. */
static struct wire_welcome *make_welcome(const struct service *s, size_t *ret_size)
{
	size_t n;
	struct listener *const *listeners = intake_listeners(s->intake, &n);
	size_t size = sizeof(struct wire_welcome) + n * sizeof(struct wire_listener);
	struct wire_welcome *welcome = calloc(1, size);

	if (!welcome)
		return NULL;
	welcome->n_listeners = (uint32_t)n;
	wire_set_text(welcome->service, sizeof(welcome->service), s->name);
	for (size_t i = 0; i < n; i++) {
		const struct address *bound = listener_bound(listeners[i]);

		welcome->listeners[i].type = (uint32_t)bound->type;
		wire_address_from_sockaddr(&welcome->listeners[i].address, &bound->sockaddr);
	}
	*ret_size = size;
	return welcome;
}

static int welcome(const struct service *s, struct provider *p)
{
	size_t size = 0;
	struct wire_welcome *message = make_welcome(s, &size);
	int r = message ? provider_welcome(p, message, size) : -ENOMEM;

	free(message);
	return r;
}

/* Tell a registered provider of changed listeners, now or when there is room in its channel. */
static void welcome_again(struct provider *p, void *userdata)
{
	int r = welcome(userdata, p);

	if (r < 0)
		provider_owe_welcome(p, r);
}

static void on_hello(struct provider *p, const struct wire_hello *hello, void *userdata)
{
	struct service *s = userdata;
	char reason[WIRE_REASON_SIZE];
	int r;

	if (s->is_ending) {
		provider_refuse(p, ESHUTDOWN, "the service was removed from the configuration");
		return;
	}
	if (s->n_registered >= s->config.providers.max) {
		snprintf(reason, sizeof(reason),
			"service %s has %u providers, which is its maximum", s->name,
			s->n_registered);
		provider_log(p, LOG_WARNING, "max-providers",
			"may not register: there are %u providers already, see providers { max }",
			s->n_registered);
		provider_refuse(p, EUSERS, reason);
		return;
	}
	r = welcome(s, p);
	if (r < 0) {
		provider_refuse(p, -r, strerror(-r));
		return;
	}
	if (provider_register(p, hello) < 0) {
		on_gone(p, s); /* no memory: too late for REFUSED, it sees its channel closed */
		return;
	}
	p->number = ++s->last_number;
	s->n_registered++;
	if (hello->holding > s->config.instances)
		provider_log(p, LOG_NOTICE, "holding",
			"holds %u connections from earlier, more than instances: clients "
			"wait until enough of them have ended",
			hello->holding);
	provider_log(p, LOG_INFO, "registered", "has registered with credit %d", hello->credit);
	settle(s);
}

static const struct provider_events provider_events = {
	.on_hello = on_hello,
	.on_welcome_owed = welcome_again,
	.on_change = on_change,
	.on_gone = on_gone,
};

static void refuse_peer(const struct service *s, int fd, const struct rendezvous_peer *peer,
	int error, const char *why)
{
	log_write(LOG_WARNING,
		&(struct log_about){.service = s->name,
			.provider_pid = peer->pid,
			.provider_uid = peer->uid,
			.reason = "not-registered",
			.error = error},
		"%s: process %d of uid %u may not register: %s", s->name, peer->pid, peer->uid,
		why);
	provider_refuse_channel(fd, error, why);
}

static void on_peer(int fd, const struct rendezvous_peer *peer, void *userdata)
{
	_cleanup_close_ int owned_fd = fd;
	struct service *s = userdata;
	struct provider *p;

	if (!rendezvous_allows(&s->config.providers, peer)) {
		refuse_peer(s, owned_fd, peer, EACCES,
			"neither its user nor its groups are in providers { users groups } of the "
			"service");
		return;
	}
	if (s->n_providers - s->n_registered >= MAX_STRANGERS) {
		refuse_peer(s, owned_fd, peer, EAGAIN, "too many processes are about to register");
		return;
	}
	if (provider_new(&p, s->event, take_fd(&owned_fd), peer, s->name, s->dispatch,
		    &provider_events, s) < 0)
		return; /* no memory: the process sees its channel closed and tries again */
	p->next = s->providers;
	s->providers = p;
	s->n_providers++;
}

static enum dispatch_balance balance_of(const struct config_service *config)
{
	return config->providers.balance == CONFIG_BALANCE_LEAST ? DISPATCH_LEAST
								 : DISPATCH_ROUND_ROBIN;
}

/* Only where the configuration names others need they be able to connect. */
static bool is_open_to_others(const struct config_service *config)
{
	return config->providers.n_users > 0 || config->providers.n_groups > 0;
}

int service_new(struct service **ret, sd_event *event, const struct config_service *config,
	const char *run_dir, service_on_ended ended, void *userdata)
{
	struct service *s = calloc(1, sizeof(*s));
	char *path = NULL;
	int r = -ENOMEM;

	if (!s)
		return -ENOMEM;
	*s = (struct service){
		.config = *config,
		.event = sd_event_ref(event),
		.name = strdup(config->name),
		.is_full = true,
		.on_ended = ended,
		.userdata = userdata,
	};
	if (s->name && asprintf(&path, "%s/%s.sock", run_dir, s->name) >= 0)
		r = dispatch_new(&s->dispatch, balance_of(config), config->instances);
	if (r >= 0)
		r = intake_new(&s->intake, event, s->name, on_connections, s);
	if (r >= 0)
		r = rendezvous_new(
			&s->rendezvous, event, path, is_open_to_others(config), on_peer, s);
	free(path);
	if (r < 0) {
		service_free(s);
		return r;
	}
	*ret = s;
	return 0;
}

/* Leave every provider and everything that waits. What was sent stays in the providers' queues. */
static void abandon(struct service *s)
{
	struct handoff waiting;

	s->is_settling = true; /* nothing is decided any more */
	for (struct provider *p = s->providers; p; p = p->next)
		if (p->record)
			dispatch_set_state(s->dispatch, p->record, PROVIDER_QUARANTINED, 0);
	carry_out_actions(s);
	while (s->providers) {
		struct provider *p = s->providers;

		s->providers = p->next;
		if (p->record) {
			for (struct handoff *h = p->record->unclaimed.first; h; h = h->next)
				h->fd = closer_close(h->fd);
			dispatch_gone(s->dispatch, p->record, 0);
		}
		provider_free(p);
	}
	while (dispatch_take_waiting(s->dispatch, &waiting))
		if (waiting.fd >= 0)
			intake_reset(s->intake, waiting.fd);
}

struct service *service_free(struct service *s)
{
	if (!s)
		return NULL;
	if (s->dispatch)
		abandon(s);
	dispatch_free(s->dispatch);
	intake_free(s->intake);
	rendezvous_free(s->rendezvous);
	sd_event_source_disable_unref(s->claim_timer);
	sd_event_source_disable_unref(s->ended);
	sd_event_unref(s->event);
	free(s->name);
	free(s);
	return NULL;
}

static void set_rendezvous(struct service *s)
{
	int r = rendezvous_set_open_to_others(s->rendezvous, is_open_to_others(&s->config));

	if (r < 0)
		log_write(LOG_ERR, &(struct log_about){.service = s->name, .error = r},
			"%s: cannot change who may connect to %s: %s", s->name,
			rendezvous_path(s->rendezvous), strerror(-r));
}

struct new_listeners {
	const struct service *service;
	struct listener *const *listeners;
	size_t n_listeners;
};

/*
 * A connection that is not claimed yet will be announced with its listener's place among the new
 * ones.
 */
static void renumber_listener(struct handoff *h, void *userdata)
{
	const struct new_listeners *new = userdata;
	size_t n_old;
	struct listener *const *old = intake_listeners(new->service->intake, &n_old);
	uint32_t index = h->listener;

	if (index == WIRE_NO_LISTENER)
		return;
	h->listener = WIRE_NO_LISTENER;
	for (size_t i = 0; i < new->n_listeners; i++)
		if (new->listeners[i] == old[index])
			h->listener = (uint32_t)i;
}

/* Put other listeners in the place of the present ones. Returns whether they are others. */
static bool replace_listeners(struct service *s, struct listener **listeners, size_t n_listeners)
{
	struct new_listeners new = {
		.service = s, .listeners = listeners, .n_listeners = n_listeners};
	bool are_others = !intake_has(s->intake, listeners, n_listeners);

	if (are_others)
		dispatch_visit_unclaimed(s->dispatch, renumber_listener, &new);
	intake_replace(s->intake, listeners, n_listeners, &s->config.socket);
	return are_others;
}

void service_configure(struct service *s, const struct config_service *config,
	struct listener **listeners, size_t n_listeners)
{
	assert(!s->is_ending);
	s->config = *config;
	if (replace_listeners(s, listeners, n_listeners))
		for (struct provider *p = s->providers; p; p = p->next)
			if (p->record)
				welcome_again(p, s);
	set_rendezvous(s);
	dispatch_configure(s->dispatch, balance_of(config), config->instances);
	settle(s);
}

void service_end(struct service *s)
{
	s->is_ending = true;
	(void)replace_listeners(s, NULL, 0);
	s->config.listen = NULL; /* the struct config that has them is about to go */
	s->config.n_listen = 0;
	s->config.providers = (struct config_providers){.max = s->config.providers.max};
	s->rendezvous = rendezvous_free(s->rendezvous);
	settle(s);
}

const char *service_name(const struct service *s)
{
	return s->name;
}

const struct config_service *service_config(const struct service *s)
{
	return &s->config;
}

bool service_is_ending(const struct service *s)
{
	return s->is_ending;
}

const struct intake *service_intake(const struct service *s)
{
	return s->intake;
}

const struct dispatch *service_dispatch(const struct service *s)
{
	return s->dispatch;
}

const struct provider *service_providers(const struct service *s)
{
	return s->providers;
}

const struct rendezvous *service_rendezvous(const struct service *s)
{
	return s->rendezvous;
}
