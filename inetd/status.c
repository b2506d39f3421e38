/* SPDX-License-Identifier: MIT */
/* The state of usherd as JSON: see status.h. */
#include "status.h"

#include "build-config.h"
#include "log.h"
#include "notify.h"
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *const status_service_words[] = {
	[INTAKE_WAITING] = "waiting",
	[INTAKE_REFUSING] = "refusing",
	[INTAKE_RESETTING] = "resetting",
	[INTAKE_FULL] = "full",
	[INTAKE_SERVING] = "serving",
	[INTAKE_LIMITED] = "limited",
	[INTAKE_PAUSED] = "paused",
	[INTAKE_LENT] = "lent",
	[STATUS_UNREACHED] = "unreached",
	[STATUS_DRAINING] = "draining",
};

const char *const status_listener_words[] = {
	[LISTENER_PAUSED] = "paused",
	[LISTENER_OPEN] = "open",
	[LISTENER_RETRYING] = "retrying",
	[LISTENER_LENT] = "lent",
	[LISTENER_REFUSING] = "refusing",
};

const char *const status_provider_words[] = {
	[PROVIDER_READY] = "ready",
	[PROVIDER_BLOCKED] = "blocked",
	[PROVIDER_STUCK] = "stuck",
	[PROVIDER_DRAINING] = "draining",
	[PROVIDER_QUARANTINED] = "quarantined",
	[PROVIDER_FULL] = "full",
};

static const char *const balance_names[] = {
	[CONFIG_BALANCE_LEAST] = "least",
	[CONFIG_BALANCE_ROUND_ROBIN] = "round_robin",
	[CONFIG_BALANCE_SOURCE] = "source",
};

json_t *status_text(const char *text)
{
	json_t *json = json_string(text);
	char *copy;

	if (json)
		return json;
	copy = strdup(text);
	if (!copy)
		return NULL;
	for (char *c = copy; *c; c++)
		if (!isascii(*c))
			*c = '?';
	json = json_string(copy);
	free(copy);
	return json;
}

/* The number of the provider that has the listener, or null. */
static json_t *lent_to_json(const struct service *s, const struct listener *l)
{
	const struct provider *borrower = service_borrower(s);

	return borrower && intake_lends(service_intake(s), l) ? json_integer(borrower->number)
							      : json_null();
}

static json_t *listeners_json(const struct service *s)
{
	size_t n;
	struct listener *const *listeners = intake_listeners(service_intake(s), &n);
	json_t *array = json_array();

	for (size_t i = 0; i < n; i++) {
		char text[ADDRESS_TEXT_MAX];

		json_array_append_new(array,
			json_pack("{s:o, s:s, s:o}", "address",
				status_text(address_format(listener_bound(listeners[i]), text)),
				"state", status_listener_words[listener_state(listeners[i])],
				"lent_to", lent_to_json(s, listeners[i])));
	}
	return array;
}

unsigned int status_provider_state(const struct dispatch_provider *record)
{
	return record->state == PROVIDER_READY && record->credit <= 0 ? PROVIDER_FULL
								      : record->state;
}

static json_t *provider_json(const struct provider *p)
{
	const struct dispatch_provider *record = p->record;

	return json_pack("{s:i, s:i, s:I, s:o, s:o, s:s, s:i, s:I, s:i, s:I, s:I, s:b, s:b}",
		"number", (int)p->number, "pid", (int)p->pid, "uid", (json_int_t)p->uid, "name",
		status_text(p->name), "status", status_text(p->status), "state",
		status_provider_words[status_provider_state(record)], "weight", (int)record->weight,
		"credit", (json_int_t)record->credit, "unclaimed", (int)record->unclaimed.n,
		"in_service", (json_int_t)record->claimed.n + record->n_foreign, "served",
		(json_int_t)record->n_served, "standby", record->is_standby, "takes_listeners",
		p->takes_listeners);
}

static json_t *providers_json(const struct service *s)
{
	json_t *array = json_array();

	/* The list has the newest first. */
	for (const struct provider *p = service_providers(s); p; p = p->next)
		if (p->record)
			json_array_insert_new(array, 0, provider_json(p));
	return array;
}

/* null: it has providers instead. */
static json_t *receiver_json(const struct service *s)
{
	struct service_receiver receiver;

	if (!service_pass_report(s, &receiver))
		return json_null();
	return json_pack("{s:o, s:s, s:I, s:I, s:I}", "path", status_text(receiver.path), "state",
		receiver.state, "in_flight", (json_int_t)receiver.n_in_flight, "passed",
		(json_int_t)receiver.n_passed, "unread", (json_int_t)receiver.n_unread);
}

static json_t *totals_json(const struct service *s)
{
	const struct dispatch_totals *totals = dispatch_totals(service_dispatch(s));
	const struct {
		const char *name;
		uint64_t n;
	} members[] = {
		{"accepted", totals->n_accepted},
		{"taken_over", totals->n_taken_over},
		{"claimed", totals->n_claimed},
		{"released", totals->n_released},
		{"forwarded", totals->n_forwarded},
		{"redispatched", totals->n_redispatched},
		{"declined", totals->n_declined},
		{"parked", totals->n_parked},
		{"expired", totals->n_expired},
		{"given_up", totals->n_given_up},
		{"reset", intake_n_reset(service_intake(s))},
		{"forwards_refused", service_n_forwards_refused(s)},
		{"lost", totals->n_lost},
		{"touched", totals->n_touched},
	};
	json_t *object = json_object();

	for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++)
		json_object_set_new(
			object, members[i].name, json_integer((json_int_t)members[i].n));
	return object;
}

/* All of them have the same bounds. */
static json_t *bounds_json(void)
{
	json_t *array = json_array();

	for (size_t i = 0; i < HISTOGRAM_N_BOUNDS; i++)
		json_array_append_new(array, json_real((double)histogram_bounds_usec[i] / 1e6));
	return array;
}

/* What has no bound comes last. */
static json_t *histogram_json(const struct histogram *histogram)
{
	json_t *counts = json_array();

	for (size_t i = 0; i <= HISTOGRAM_N_BOUNDS; i++)
		json_array_append_new(counts, json_integer((json_int_t)histogram->counts[i]));
	return json_pack("{s:o, s:o, s:f}", "bounds_seconds", bounds_json(), "counts", counts,
		"sum_seconds", (double)histogram->sum_usec / 1e6);
}

static void add_times(json_t *json, const struct service *s)
{
	const struct dispatch_totals *totals = dispatch_totals(service_dispatch(s));

	json_object_set_new(json, "waiting_time", histogram_json(&totals->waiting_time));
	json_object_set_new(json, "handoff_time", histogram_json(&totals->handoff_time));
}

unsigned int status_service_state(const struct service *s)
{
	const struct intake *intake = service_intake(s);
	struct service_receiver receiver;

	if (service_is_ending(s))
		return STATUS_DRAINING;
	if (service_only_lends(s))
		return intake_lending(intake);
	if (intake_state(intake) == INTAKE_SERVING && service_pass_report(s, &receiver) &&
		receiver.is_unreached)
		return STATUS_UNREACHED;
	return intake_state(intake);
}

/* By reason: how many were refused; how often clients had to wait. */
static json_t *turned_json(
	const struct service *s, enum admission_reason first, enum admission_reason last)
{
	json_t *object = json_object();

	for (unsigned int i = first; i <= last; i++)
		json_object_set_new(object, admission_word((enum admission_reason)i),
			json_integer((json_int_t)service_n_turned(s, (enum admission_reason)i)));
	return object;
}

/* For what clients wait now, and for how long still; or null. */
static json_t *limit_json(const struct service *s, uint64_t now_usec)
{
	uint64_t until_usec;
	enum admission_reason reason = service_limit(s, &until_usec);
	uint64_t left_usec = until_usec > now_usec ? until_usec - now_usec : 0;

	if (reason == ADMISSION_ADMITTED)
		return json_null();
	return json_pack(
		"{s:s, s:f}", "reason", admission_word(reason), "seconds", (double)left_usec / 1e6);
}

static void add_admission(json_t *json, const struct service *s, uint64_t now_usec)
{
	json_object_set_new(json, "limited", limit_json(s, now_usec));
	json_object_set_new(json, "sources", json_integer(service_n_sources(s)));
	json_object_set_new(
		json, "refused", turned_json(s, ADMISSION_DENIED, ADMISSION_PER_SOURCE_RATE));
	json_object_set_new(json, "delayed", turned_json(s, ADMISSION_CPS, ADMISSION_MAX_LOAD));
}

static json_t *service_json(const struct service *s, uint64_t now_usec)
{
	const struct config_service *config = service_config(s);
	const struct dispatch *d = service_dispatch(s);
	const struct rendezvous *rendezvous = service_rendezvous(s);

	json_t *json = json_pack(
		"{s:s, s:s, s:b, s:o, s:o, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:o, s:o}",
		"name", service_name(s), "state", status_service_words[status_service_state(s)],
		"paused", service_is_paused(s), "listeners", listeners_json(s), "rendezvous",
		rendezvous ? status_text(rendezvous_path(rendezvous)) : json_null(), "balance",
		balance_names[config->providers.balance], "instances",
		(json_int_t)config->instances, "max_providers", (json_int_t)config->providers.max,
		"in_service", (json_int_t)dispatch_n_in_service(d), "unclaimed",
		(json_int_t)dispatch_n_unclaimed(d), "waiting", (json_int_t)dispatch_n_waiting(d),
		"parked", (json_int_t)dispatch_n_parked(d), "providers", providers_json(s),
		"receiver", receiver_json(s), "totals", totals_json(s));

	add_times(json, s);
	add_admission(json, s, now_usec);
	return json;
}

static json_t *services_json(const struct service_list *services, uint64_t now_usec)
{
	json_t *array = json_array();

	for (size_t i = 0; i < services->n_services; i++)
		json_array_append_new(array, service_json(services->services[i], now_usec));
	return array;
}

static json_t *disabled_json(const struct config *config)
{
	json_t *array = json_array();

	for (size_t i = 0; i < config->n_services; i++)
		if (config->services[i]->is_disabled)
			json_array_append_new(array, json_string(config->services[i]->name));
	return array;
}

json_t *status_json(const struct status_source *source)
{
	const struct config *config = source->config;

	return json_pack("{s:s, s:i, s:I, s:o, s:I, s:o, s:o, s:I, s:I, s:I, s:I, s:o, s:o}",
		"version", USHER_VERSION, "pid", (int)getpid(), "uptime_seconds",
		(json_int_t)(source->uptime_usec / 1000000), "program",
		source->program ? status_text(source->program) : json_null(), "upgrades",
		(json_int_t)source->n_upgrades, "config", status_text(config->files[0]), "run_dir",
		status_text(config->run_dir), "log_messages_dropped", (json_int_t)log_n_dropped(),
		"denied", (json_int_t)source->n_denied, "followers",
		(json_int_t)source->n_followers, "notifications_dropped",
		(json_int_t)notify_n_dropped(), "services",
		services_json(source->services, source->now_usec), "disabled",
		disabled_json(config));
}
