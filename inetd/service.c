/* SPDX-License-Identifier: MIT */
/* How a service begins, changes and ends: see service.h. */
#include "service-private.h"

#include "closer.h"
#include "log.h"
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const enum dispatch_balance balances[] = {
	[CONFIG_BALANCE_LEAST] = DISPATCH_LEAST,
	[CONFIG_BALANCE_ROUND_ROBIN] = DISPATCH_ROUND_ROBIN,
	[CONFIG_BALANCE_SOURCE] = DISPATCH_SOURCE,
};

/* Balance as configured, and limit the connections. */
static void configure_dispatch(struct service *s)
{
	dispatch_configure(s->dispatch, balances[s->config.providers.balance], s->config.instances);
	service_identify_clients(s);
}

static struct rendezvous_access access_of(const struct config_service *config)
{
	return (struct rendezvous_access){
		/* Only where the configuration names others need they be able to connect. */
		.is_open_to_others = config->providers.accounts.n_users > 0 ||
				     config->providers.accounts.n_groups > 0,
		.passes_descriptors = config->providers.n_forward > 0,
	};
}

/* Listen where processes register, or go on with the socket of an earlier usherd. */
static int open_rendezvous(struct service *s, const char *run_dir, struct inheritance *inherited)
{
	const struct rendezvous_access access = access_of(&s->config);
	struct inherited left;
	bool is_left;
	char *path;
	int r;

	if (asprintf(&path, "%s/%s.sock", run_dir, s->name) < 0)
		return -ENOMEM;
	is_left = inheritance_take_rendezvous(inherited, s->name, path, &left);
	r = rendezvous_new(&s->rendezvous, s->event, s->name, path, &access, is_left ? &left : NULL,
		service_on_peer, s);
	free(path);
	return r;
}

static const struct intake_events intake_events = {
	.on_connections = service_on_connections,
	.on_reset = service_on_reset,
};

int service_make(struct service **ret, sd_event *event, const struct config_service *config,
	struct inheritance *inherited, const struct service_events *events, void *userdata)
{
	struct service *s = calloc(1, sizeof(*s));
	int r = -ENOMEM;

	if (!s)
		return -ENOMEM;
	*s = (struct service){
		.config = *config,
		.event = sd_event_ref(event),
		.name = strdup(config->name),
		.is_full = true,
		.followers = events->get_followers ? events->get_followers(userdata) : NULL,
		.events = events,
		.userdata = userdata,
	};
	if (s->name)
		r = dispatch_new(
			&s->dispatch, balances[config->providers.balance], config->instances);
	if (r >= 0)
		r = account_new(&s->account, s->name, s->followers);
	if (r >= 0)
		r = service_admission_init(s);
	if (r >= 0)
		r = intake_new(&s->intake, event, s->name, &intake_events, s);
	if (r >= 0)
		r = service_parking_init(s, inherited);
	if (r < 0) {
		service_free(s);
		return r;
	}
	*ret = s;
	return 0;
}

int service_new(struct service **ret, sd_event *event, const struct config_service *config,
	const char *run_dir, struct inheritance *inherited, const struct service_events *events,
	void *userdata)
{
	struct service *s;
	int r = service_make(&s, event, config, inherited, events, userdata);

	if (r < 0)
		return r;
	r = open_rendezvous(s, run_dir, inherited);
	if (r < 0) {
		service_free(s);
		return r;
	}
	*ret = s;
	return 0;
}

/*
 * Leave a provider. What was sent to it stays in its queue, and is nobody else's. How it ends
 * nobody here will know: what dispatch says of it is passed over.
 */
static void abandon_provider(struct service *s, struct provider *p)
{
	struct dispatch_action unknown;
	struct handoff closed;

	if (p->record) {
		for (struct handoff *h = p->record->unclaimed.first; h; h = h->next) {
			h->fd = closer_close(h->fd);
			service_forget_forwarded(s, h);
		}
		dispatch_gone(s->dispatch, p->record, 0);
		while (dispatch_take_waiting(s->dispatch, &closed))
			;
		while (dispatch_next(s->dispatch, &unknown))
			;
	}
	provider_free(p);
}

/* Leave everything that waits, and then every provider. */
static void abandon(struct service *s)
{
	s->is_settling = true; /* nothing is decided any more */
	service_take_back(s);
	service_carry_out(s);
	service_parking_done(s);
	for (struct provider *p = s->providers; p; p = p->next)
		if (p->record)
			dispatch_set_state(s->dispatch, p->record, PROVIDER_QUARANTINED, 0);
	service_pass_abandon(s);
	while (s->providers) {
		struct provider *p = s->providers;

		s->providers = p->next;
		abandon_provider(s, p);
	}
}

struct service *service_free(struct service *s)
{
	if (!s)
		return NULL;
	if (s->parking)
		abandon(s);
	dispatch_free(s->dispatch);
	intake_free(s->intake);
	rendezvous_free(s->rendezvous);
	account_free(s->account);
	service_admission_done(s);
	sd_event_source_disable_unref(s->claim_timer);
	sd_event_source_disable_unref(s->pace.timer);
	sd_event_source_disable_unref(s->ended);
	sd_event_unref(s->event);
	free(s->name);
	free(s);
	return NULL;
}

static void set_rendezvous(struct service *s)
{
	const struct rendezvous_access access = access_of(&s->config);
	int r = rendezvous_set_access(s->rendezvous, &access);

	if (r < 0)
		log_write(LOG_ERR,
			&(struct log_about){
				.service = s->name, .reason = "rendezvous-failed", .error = r},
			"%s: cannot change who may connect to %s: %s", s->name,
			rendezvous_path(s->rendezvous), strerror(-r));
}

/* A connection that is not claimed yet is announced with its listener's place among the new ones.
 */
static void renumber_listener(struct handoff *h, void *userdata)
{
	const struct service *s = userdata;

	if (h->listener != WIRE_NO_LISTENER)
		h->listener = intake_find_listener(s->intake, h->fd);
}

/* Put other listeners in the place of the present ones. Returns whether they are others. */
static bool replace_listeners(struct service *s, struct listener **listeners, size_t n_listeners)
{
	bool are_others = !intake_has(s->intake, listeners, n_listeners);

	intake_replace(s->intake, listeners, n_listeners, &s->config.socket,
		s->config.deliver == CONFIG_DELIVER_LISTENER);
	if (are_others)
		dispatch_visit_unclaimed(s->dispatch, renumber_listener, s);
	return are_others;
}

/* Let those who are registered forward, if that is new. Returns whether they are to be told. */
static bool allow_forward(struct service *s)
{
	bool is_new = false;

	for (struct provider *p = s->providers; p && s->config.providers.n_forward > 0;
		p = p->next) {
		if (p->may_forward)
			continue;
		provider_allow_forward(p);
		is_new = true;
	}
	return is_new;
}

/* Who serves: processes that register, or a receiver. */
static void set_receiver(struct service *s)
{
	int r = service_pass_configure(s);

	if (r < 0)
		log_write(LOG_ERR,
			&(struct log_about){.service = s->name, .reason = "no-memory", .error = r},
			"%s: cannot pass connections to %s: %s", s->name, s->config.pass.path,
			strerror(-r));
	if (s->config.deliver != CONFIG_DELIVER_PASS)
		return;
	for (struct provider *p = s->providers; p; p = p->next)
		if (provider_is_serving(p))
			provider_drain(p, WIRE_DRAINING_REPLACED);
}

void service_configure(struct service *s, const struct config_service *config,
	struct listener **listeners, size_t n_listeners)
{
	bool are_others, is_forward_new, is_delivery_new = s->config.deliver != config->deliver;

	assert(!s->is_ending);
	s->config = *config;
	account_configure(s->account, &config->log, config->admission.source_bits_v4,
		config->admission.source_bits_v6);
	service_admission_configure(s, &s->config.admission);
	are_others = replace_listeners(s, listeners, n_listeners);
	service_filter(s);
	is_forward_new = allow_forward(s);
	if (are_others || is_forward_new || is_delivery_new)
		service_welcome_again(s);
	set_rendezvous(s);
	rendezvous_store(s->rendezvous);
	set_receiver(s);
	configure_dispatch(s);
	service_settle(s);
}

void service_set_destination(struct service *s, struct log_destination *destination)
{
	account_set_destination(s->account, destination);
}

void service_end(struct service *s)
{
	s->is_ending = true;
	(void)replace_listeners(s, NULL, 0);
	s->config.listen = NULL; /* the struct config that has them is about to go */
	s->config.n_listen = 0;
	s->config.providers = (struct config_providers){.max = s->config.providers.max};
	s->config.log.type = (struct config_log_type){0};
	s->config.admission = (struct config_admission){0};
	service_admission_configure(s, NULL);
	configure_dispatch(s);
	s->rendezvous = rendezvous_free(s->rendezvous);
	service_settle(s);
}

void service_set_paused(struct service *s, bool is_paused)
{
	s->is_paused = is_paused;
	service_tell(s, is_paused ? "paused" : "resumed", NULL);
	s->is_lending_new = true;
	service_settle(s);
}

bool service_is_paused(const struct service *s)
{
	return s->is_paused;
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

uint64_t service_n_forwards_refused(const struct service *s)
{
	return s->n_forwards_refused;
}
