/* SPDX-License-Identifier: MIT */
/*
 * From one configuration to the next: see reload.h.
 *
 * reload_prepare() makes a plan: for each configured service the running one or a new one, and for
 * each address a listener that is open already, an inherited one, or a new one. Everything that a
 * commit needs is allocated then.
 */
#include "reload-private.h"

#include "fdstore.h"
#include "reload-destinations.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int compare_name_with_service(const void *name, const void *service)
{
	return strcmp(name, service_name(*(struct service *const *)service));
}

/* Keep the running service of that name and return it; NULL if there is none, or it is ending. */
static struct service *keep_running(struct reload *reload, const char *name)
{
	const struct service_list *running = reload->running;
	size_t n = running->n_services;
	struct service **found;

	while (n > 0 && service_is_ending(running->services[n - 1]))
		n--; /* they come last and are not sorted */
	found = n == 0 ? NULL
		       : bsearch(name, running->services, n, sizeof(*found),
				 compare_name_with_service);
	if (!found)
		return NULL;
	reload->is_service_kept[found - running->services] = true;
	return *found;
}

/* Returns 0, also if the service could not be made and that was added to the errors; -ENOMEM. */
static int plan_new_service(
	struct reload *reload, struct planned_service *planned, const char *run_dir)
{
	const struct config_service *config = planned->config;
	int r = service_new(&planned->service, reload->setting.event, config, run_dir,
		reload->setting.inherited, reload->setting.events, reload->setting.userdata);

	planned->is_new = r >= 0;
	if (r >= 0 && reload->setting.is_held)
		service_hold(planned->service);
	if (r >= 0 || r == -ENOMEM)
		return r;
	config_errors_add(reload->errors,
		(struct config_place){.file = config->file, .line = config->line},
		"cannot make the rendezvous %s/%s.sock of service '%s': %s", run_dir, config->name,
		config->name, strerror(-r));
	return 0;
}

static int plan_service(struct reload *reload, const struct config_service *config)
{
	struct planned_service *planned = &reload->planned[reload->n_planned++];

	*planned = (struct planned_service){
		.config = config,
		.service = keep_running(reload, config->name),
		.listeners = calloc(config->n_listen + 1, sizeof(*planned->listeners)),
		.is_new_listener = calloc(config->n_listen + 1, sizeof(*planned->is_new_listener)),
	};
	return planned->listeners && planned->is_new_listener ? 0 : -ENOMEM;
}

static void free_planned(struct planned_service *planned)
{
	free(planned->listeners);
	free(planned->is_new_listener);
}

static void drop_left_out(struct reload *reload)
{
	size_t n = 0;

	for (size_t i = 0; i < reload->n_planned; i++) {
		struct planned_service *planned = &reload->planned[i];

		if (planned->is_left_out) {
			reload_give_listeners_up(reload, planned);
			free_planned(planned);
		} else {
			reload->planned[n++] = *planned;
		}
	}
	reload->n_planned = n;
}

/* Who asks for a port by its number gets it, before who takes any that an earlier usherd had. */
static int open_services(struct reload *reload, const char *run_dir)
{
	int r = 0;

	for (size_t i = 0; i < reload->n_planned && r >= 0; i++)
		r = reload_find_listeners(reload, &reload->planned[i], false);
	for (size_t i = 0; i < reload->n_planned && r >= 0; i++)
		r = reload_find_listeners(reload, &reload->planned[i], true);
	if (r >= 0)
		drop_left_out(reload);
	for (size_t i = 0; i < reload->n_planned && r >= 0; i++)
		if (!reload->planned[i].service)
			r = plan_new_service(reload, &reload->planned[i], run_dir);
	return r;
}

/* Returns 0, also if something is wrong that was added to the errors; -ENOMEM. */
static int open_destinations(struct reload *reload)
{
	const struct config_service **configs = calloc(reload->n_planned + 1, sizeof(*configs));
	int r = -ENOMEM;

	for (size_t i = 0; configs && i < reload->n_planned; i++)
		configs[i] = reload->planned[i].config;
	if (configs)
		r = reload_open_destinations(
			configs, reload->n_planned, &reload->destinations, reload->errors);
	free(configs);
	return r;
}

static int plan(struct reload *reload, const struct config *config)
{
	int r = reload_collect_open(reload);

	reload->planned = calloc(config->n_services + 1, sizeof(*reload->planned));
	reload->services = calloc(
		config->n_services + reload->running->n_services + 1, sizeof(struct service *));
	reload->is_service_kept = calloc(reload->running->n_services + 1, sizeof(bool));
	if (!reload->planned || !reload->services || !reload->is_service_kept)
		r = -ENOMEM;
	for (size_t i = 0; i < config->n_services && r >= 0; i++)
		if (!config->services[i]->is_disabled)
			r = plan_service(reload, config->services[i]);
	if (r >= 0)
		r = open_services(reload, config->run_dir);
	if (r >= 0)
		r = open_destinations(reload);
	if (r < 0)
		return r;
	return reload->errors->n_lines > 0 ? -EINVAL : 0;
}

int reload_prepare(struct reload **ret, const struct reload_setting *setting,
	const struct service_list *running, const struct config *config,
	struct config_errors *errors)
{
	struct reload *reload = calloc(1, sizeof(*reload));
	int r;

	if (!reload)
		return -ENOMEM;
	*reload = (struct reload){.setting = *setting, .running = running, .errors = errors};
	r = plan(reload, config);
	if (r < 0) {
		reload_abort(reload);
		return r;
	}
	*ret = reload;
	return 0;
}

static void free_plan(struct reload *reload)
{
	for (size_t i = 0; i < reload->n_planned; i++)
		free_planned(&reload->planned[i]);
	for (size_t i = 0; reload->destinations && i < reload->n_planned; i++)
		log_destination_unref(reload->destinations[i]);
	free(reload->destinations);
	free(reload->planned);
	free(reload->open);
	free(reload->services);
	free(reload->is_service_kept);
	free(reload);
}

void reload_abort(struct reload *reload)
{
	if (!reload)
		return;
	if (reload->setting.inherited)
		fdstore_freeze();
	for (size_t i = 0; i < reload->n_planned; i++) {
		struct planned_service *planned = &reload->planned[i];

		for (size_t j = 0; planned->is_new_listener && j < planned->config->n_listen; j++)
			if (planned->is_new_listener[j])
				listener_free(planned->listeners[j]);
		if (planned->is_new)
			service_free(planned->service);
	}
	free_plan(reload);
}

/* Its listeners are kept by the service manager from now on. */
static void store_listeners(const struct planned_service *planned)
{
	for (size_t i = 0; i < planned->config->n_listen; i++)
		listener_store(planned->listeners[i], planned->config->name);
}

void reload_commit(struct reload *reload, struct service_list *running, struct reload_counts *ret)
{
	struct reload_counts counts = {0};
	struct service **services = reload->services;
	size_t n_services = 0;

	for (size_t i = 0; i < reload->n_planned; i++) {
		struct planned_service *planned = &reload->planned[i];

		if (planned->is_new)
			counts.n_added++;
		else if (config_service_equal(service_config(planned->service), planned->config))
			counts.n_unchanged++;
		else
			counts.n_changed++;
		store_listeners(planned);
		service_set_destination(
			planned->service, log_destination_ref(reload->destinations[i]));
		service_configure(planned->service, planned->config, planned->listeners,
			planned->config->n_listen);
		planned->listeners = NULL;
		services[n_services++] = planned->service;
	}
	for (size_t i = 0; i < running->n_services; i++) {
		struct service *s = running->services[i];

		if (reload->is_service_kept[i])
			continue;
		services[n_services++] = s;
		if (service_is_ending(s))
			continue;
		service_end(s);
		counts.n_removed++;
	}
	reload_close_unwanted(reload);
	free(running->services);
	running->services = services;
	running->n_services = n_services;
	reload->services = NULL;
	free_plan(reload);
	*ret = counts;
}
