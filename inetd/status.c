/* SPDX-License-Identifier: MIT */
/* The state of usherd as JSON: see status.h. */
#include "status.h"

#include "build-config.h"
#include "log.h"
#include <pwd.h>
#include <stdlib.h>
#include <systemd/sd-login.h>
#include <unistd.h>

static const char *const intake_names[] = {
	[SERVICE_WAITING] = "waiting",
	[SERVICE_REFUSING] = "refusing",
	[SERVICE_RESETTING] = "resetting",
	[SERVICE_FULL] = "full",
	[SERVICE_SERVING] = "serving",
};

static const char *const listener_names[] = {
	[LISTENER_PAUSED] = "paused",
	[LISTENER_OPEN] = "open",
	[LISTENER_RETRYING] = "retrying",
	[LISTENER_REFUSING] = "refusing",
};

static const char *const provider_names[] = {
	[PROVIDER_READY] = "ready",
	[PROVIDER_BLOCKED] = "blocked",
	[PROVIDER_STUCK] = "stuck",
	[PROVIDER_DRAINING] = "draining",
	[PROVIDER_QUARANTINED] = "quarantined",
};

static const char *const balance_names[] = {
	[CONFIG_BALANCE_LEAST] = "least",
	[CONFIG_BALANCE_ROUND_ROBIN] = "round_robin",
};

static json_t *listeners_json(const struct service *s)
{
	size_t n;
	struct listener *const *listeners = service_listeners(s, &n);
	json_t *array = json_array();

	for (size_t i = 0; i < n; i++) {
		char text[ADDRESS_TEXT_MAX];

		json_array_append_new(
			array, json_pack("{s:s, s:s}", "address",
				       address_format(listener_bound(listeners[i]), text), "state",
				       listener_names[listener_state(listeners[i])]));
	}
	return array;
}

/* The unit that a process belongs to, or null: only for people, a pid may be another's by now. */
static json_t *unit_json(pid_t pid)
{
	char *unit = NULL;
	json_t *json = sd_pid_get_unit(pid, &unit) >= 0 ? json_string(unit) : json_null();

	free(unit);
	return json;
}

static const char *provider_state_name(const struct dispatch_provider *record)
{
	return record->state == PROVIDER_READY && record->credit <= 0
		       ? "full"
		       : provider_names[record->state];
}

static json_t *provider_json(const struct provider *p)
{
	const struct dispatch_provider *record = p->record;
	const struct passwd *user = getpwuid(p->uid);

	return json_pack("{s:i, s:i, s:I, s:s?, s:o, s:s, s:s, s:s, s:i, s:I, s:i, s:I, s:I}",
		"number", (int)p->number, "pid", (int)p->pid, "uid", (json_int_t)p->uid, "user",
		user ? user->pw_name : NULL, "unit", unit_json(p->pid), "name", p->name, "status",
		p->status, "state", provider_state_name(record), "weight", (int)record->weight,
		"credit", (json_int_t)record->credit, "unclaimed", (int)record->unclaimed.n,
		"in_service", (json_int_t)record->claimed.n + record->n_foreign, "served",
		(json_int_t)record->n_served);
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

static json_t *totals_json(const struct service *s)
{
	const struct dispatch_totals *totals = dispatch_totals(service_dispatch(s));

	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "accepted",
		(json_int_t)totals->n_accepted, "claimed", (json_int_t)totals->n_claimed,
		"released", (json_int_t)totals->n_released, "redispatched",
		(json_int_t)totals->n_redispatched, "declined", (json_int_t)totals->n_declined,
		"reset", (json_int_t)service_n_reset(s), "lost", (json_int_t)totals->n_lost,
		"touched", (json_int_t)totals->n_touched);
}

static json_t *service_json(const struct service *s)
{
	const struct config_service *config = service_config(s);
	const struct dispatch *d = service_dispatch(s);
	const struct rendezvous *rendezvous = service_rendezvous(s);

	return json_pack("{s:s, s:s, s:o, s:s?, s:s, s:I, s:I, s:I, s:I, s:I, s:o, s:o}", "name",
		service_name(s), "state",
		service_is_ending(s) ? "draining" : intake_names[service_intake(s)], "listeners",
		listeners_json(s), "rendezvous", rendezvous ? rendezvous_path(rendezvous) : NULL,
		"balance", balance_names[config->providers.balance], "instances",
		(json_int_t)config->instances, "max_providers", (json_int_t)config->providers.max,
		"in_service", (json_int_t)dispatch_n_in_service(d), "unclaimed",
		(json_int_t)dispatch_n_unclaimed(d), "waiting", (json_int_t)dispatch_n_waiting(d),
		"providers", providers_json(s), "totals", totals_json(s));
}

static json_t *services_json(const struct service_list *services)
{
	json_t *array = json_array();

	for (size_t i = 0; i < services->n_services; i++)
		json_array_append_new(array, service_json(services->services[i]));
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
	return json_pack("{s:s, s:i, s:I, s:s, s:s, s:s, s:I, s:o, s:o}", "version", USHER_VERSION,
		"pid", (int)getpid(), "uptime_seconds", (json_int_t)(source->uptime_usec / 1000000),
		"state", source->is_stopping ? "stopping" : "running", "config",
		source->config->files[0], "run_dir", source->config->run_dir,
		"log_messages_dropped", (json_int_t)log_n_dropped(), "services",
		services_json(source->services), "disabled", disabled_json(source->config));
}
