/* SPDX-License-Identifier: MIT */
/*
 * From one configuration to the next: see reload.h.
 *
 * reload_prepare() makes a plan: for each configured service the running one or a new one, and for
 * each address a listener that is open already, an inherited one, or a new one. Everything that a
 * commit needs is allocated then.
 */
#include "reload.h"
#include "reload-destinations.h"

#include "fd.h"
#include "log.h"
#include "occupant.h"
#include "privilege.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_SEARCHES 3 /* for who holds an address, in one reload */

/* An open listener, before the change. */
struct open_listener {
	struct listener *listener;
	const struct service *owner;
	bool is_kept;
};

/* A service, after the change. */
struct planned_service {
	const struct config_service *config;
	struct service *service;
	bool is_new;
	struct listener **listeners; /* as in its config: open already, inherited, or new */
	bool *is_new_listener;
};

struct reload {
	struct reload_setting setting;
	const struct service_list *running;
	struct config_errors *errors;
	struct planned_service *planned; /* sorted by name, as in struct config */
	size_t n_planned;
	struct log_destination **destinations; /* one for each planned service, or NULL */
	struct open_listener *open;	       /* sorted by address */
	size_t n_open;
	bool *is_service_kept;	   /* for each of the running ones */
	struct service **services; /* room for the list afterwards */
	unsigned int n_searches;   /* for who holds an address: each takes a while */
};

static void add_error(struct reload *reload, const struct config_listen *listen, const char *why)
{
	char text[ADDRESS_TEXT_MAX];

	config_errors_add(reload->errors,
		(struct config_place){.file = listen->file, .line = listen->line},
		"cannot listen on %s: %s", address_format(&listen->address, text), why);
}

static int compare_open(const void *a, const void *b)
{
	return address_compare(listener_configured(((const struct open_listener *)a)->listener),
		listener_configured(((const struct open_listener *)b)->listener));
}

static int compare_address_with_open(const void *key, const void *element)
{
	return address_compare(
		key, listener_configured(((const struct open_listener *)element)->listener));
}

/* Note every listener that is open now. */
static int collect_open(struct reload *reload)
{
	size_t n = 0;

	for (size_t i = 0; i < reload->running->n_services; i++) {
		size_t n_listeners;

		(void)intake_listeners(service_intake(reload->running->services[i]), &n_listeners);
		n += n_listeners;
	}
	reload->open = calloc(n + 1, sizeof(*reload->open));
	if (!reload->open)
		return -ENOMEM;
	for (size_t i = 0; i < reload->running->n_services; i++) {
		const struct service *s = reload->running->services[i];
		size_t n_listeners;
		struct listener *const *listeners =
			intake_listeners(service_intake(s), &n_listeners);

		for (size_t j = 0; j < n_listeners; j++)
			reload->open[reload->n_open++] =
				(struct open_listener){.listener = listeners[j], .owner = s};
	}
	qsort(reload->open, reload->n_open, sizeof(*reload->open), compare_open);
	return 0;
}

/* Listeners of port 0 all have the same address, and are yet different. */
static bool is_unnumbered(const struct address *address)
{
	return address->sockaddr.sa_family != AF_UNIX && address_port(address) == 0;
}

/*
 * The open listener for `address`, not yet kept, or NULL. Of those of port 0 a service finds only
 * its own again.
 */
static struct open_listener *find_open(
	struct reload *reload, const struct address *address, const struct service *service)
{
	struct open_listener *end = reload->open + reload->n_open;
	struct open_listener *o = bsearch(
		address, reload->open, reload->n_open, sizeof(*o), compare_address_with_open);

	if (!o)
		return NULL;
	while (o > reload->open && compare_address_with_open(address, o - 1) == 0)
		o--;
	for (; o < end && compare_address_with_open(address, o) == 0; o++)
		if (!o->is_kept && (o->owner == service || !is_unnumbered(address)))
			return o;
	return NULL;
}

/* An open listener that will be closed by this reload and now is in the way of `listen`, or NULL.
 */
static const struct open_listener *find_obstacle(const struct reload *reload,
	const struct config_listen *listen, const struct config_service *config)
{
	for (size_t i = 0; i < reload->n_open; i++) {
		const struct open_listener *o = &reload->open[i];

		if (address_conflicts(&listen->address, config->socket.v6only,
			    listener_configured(o->listener),
			    service_config(o->owner)->socket.v6only))
			return o;
	}
	return NULL;
}

/* Who holds the address, for the first few: looking through /proc takes a while each time. */
static void name_occupant(
	struct reload *reload, const struct address *address, char *why, size_t size)
{
	char occupant[OCCUPANT_TEXT_MAX] = "another process";

	if (reload->n_searches++ < MAX_SEARCHES) {
		privilege_raise(); /* /proc shows the descriptors of others to root only */
		(void)occupant_find(address, occupant, sizeof(occupant));
		privilege_lower();
	}
	snprintf(why, size, "the address is in use by %s", occupant);
}

/* What else an administrator can do about the kernel's having none of a family. */
static const char *family_hint_for(const struct address *address)
{
	return address->sockaddr.sa_family == AF_VSOCK
		       ? "; the kernel has no vsock: load its module (modprobe vsock)"
		       : "; the kernel has no IPv6: give an IPv4 address, or none";
}

static const char *right_hint_for(
	const struct address *address, const struct config_socket *options, int error)
{
	if (address->sockaddr.sa_family == AF_UNIX)
		return "; usherd's user must be able to write to the folder";
	if (error == -EPERM && options->transparent)
		return "; socket { transparent = true } needs root's rights at the start, or "
		       "CAP_NET_RAW";
	if (error == -EPERM && address->interface[0] != '\0')
		return "; before Linux 5.7 %INTERFACE needs root's rights at the start, or "
		       "CAP_NET_RAW";
	return "; ports below 1024 need root's rights at the start, or CAP_NET_BIND_SERVICE";
}

/* What else an administrator can do about an error of listener_bind(). */
static const char *hint_for(
	const struct address *address, const struct config_socket *options, int error)
{
	switch (-error) {
	case EADDRNOTAVAIL:
		return address->sockaddr.sa_family == AF_VSOCK
			       ? ""
			       : "; socket { freebind = true } binds it even if this machine does "
				 "not have it";
	case EACCES:
	case EPERM:
		return right_hint_for(address, options, error);
	case EAFNOSUPPORT:
		return family_hint_for(address);
	case EEXIST:
		return "; what is there is not a socket, so usherd leaves it alone";
	case ENODEV:
		return "; there is no such interface now (ip-link(8)): have usherd start after it";
	case EPROTONOSUPPORT:
	case ENOPROTOOPT:
		return address->protocol == 0 ? ""
					      : "; the kernel has no Multipath TCP (sysctl "
						"net.mptcp.enabled): give tcp: instead";
	default:
		return "";
	}
}

static void explain_bind_failure(struct reload *reload, const struct config_listen *listen,
	const struct config_service *config, int error)
{
	char text[ADDRESS_TEXT_MAX], why[512];
	const struct open_listener *obstacle = find_obstacle(reload, listen, config);

	if (error == -EADDRINUSE && obstacle)
		snprintf(why, sizeof(why),
			"usherd itself still listens on %s for service %s: remove that, reload, "
			"then add this and reload again; or restart",
			address_format(listener_configured(obstacle->listener), text),
			service_name(obstacle->owner));
	else if (error == -EADDRINUSE)
		name_occupant(reload, &listen->address, why, sizeof(why));
	else
		snprintf(why, sizeof(why), "%s%s", strerror(-error),
			hint_for(&listen->address, &config->socket, error));
	add_error(reload, listen, why);
}

/*
 * Where `user` may not, root may: low ports and the folders of others, while usherd starts. Where
 * rules that the kernel is to carry out need a right that nobody has, service-filter.c says so.
 */
static int bind_listener(const struct config_listen *listen, const struct config_socket *options,
	bool is_closed, int *ret_fd, struct address *ret_bound)
{
	int r = listener_bind(&listen->address, options, is_closed, ret_fd, ret_bound);

	if (r != -EACCES && r != -EPERM)
		return r;
	privilege_raise();
	r = listener_bind(&listen->address, options, is_closed, ret_fd, ret_bound);
	if (r == -EPERM && is_closed)
		r = listener_bind(&listen->address, options, false, ret_fd, ret_bound);
	privilege_lower();
	return r;
}

/* Does the kernel carry out rules for it, which it must have before anybody comes? */
static bool begins_closed(const struct config_service *config, const struct config_listen *listen)
{
	return (listen->address.type == SOCK_DGRAM || config->deliver == CONFIG_DELIVER_LISTENER) &&
	       (config->admission.has_only_from || config->admission.n_rules > 0);
}

static void plan_listener(
	struct planned_service *planned, size_t i, struct listener *listener, bool is_new)
{
	planned->listeners[i] = listener;
	planned->is_new_listener[i] = is_new;
}

/* Returns 0, also if the listener could not be opened and that was added to the errors; -ENOMEM. */
static int plan_new_listener(struct reload *reload, struct planned_service *planned, size_t i)
{
	const struct config_listen *listen = &planned->config->listen[i];
	struct listener *listener;
	struct address bound;
	int fd, r;

	r = bind_listener(listen, &planned->config->socket, begins_closed(planned->config, listen),
		&fd, &bound);
	if (r < 0) {
		explain_bind_failure(reload, listen, planned->config, r);
		return 0;
	}
	r = listener_new(&listener, reload->setting.event, &listen->address, &bound,
		&planned->config->socket, fd);
	if (r < 0)
		return r;
	plan_listener(planned, i, listener, true);
	return 0;
}

/* The socket that an earlier usherd has left for this address. Returns whether there is one. */
static bool take_inherited(struct reload *reload, const struct planned_service *planned, size_t i,
	struct inherited *ret, struct address *ret_bound)
{
	return inheritance_take_listener(reload->setting.inherited, planned->config->name,
		&planned->config->listen[i].address, planned->config->socket.v6only, ret,
		ret_bound);
}

static int plan_inherited_listener(struct reload *reload, struct planned_service *planned, size_t i,
	const struct inherited *inherited, const struct address *bound)
{
	struct listener *listener;
	int r = listener_adopt(&listener, reload->setting.event,
		&planned->config->listen[i].address, bound, &planned->config->socket, inherited);

	if (r >= 0)
		plan_listener(planned, i, listener, true);
	return r;
}

/* Returns a negative errno; or 0, also if something is wrong that was added to the errors. */
static int find_listener(struct reload *reload, struct planned_service *planned, size_t i)
{
	const struct config_listen *listen = &planned->config->listen[i];
	struct open_listener *open = find_open(reload, &listen->address, planned->service);
	struct inherited inherited;
	struct address bound;

	if (!open && take_inherited(reload, planned, i, &inherited, &bound))
		return plan_inherited_listener(reload, planned, i, &inherited, &bound);
	if (!open)
		return plan_new_listener(reload, planned, i);
	if (listen->address.sockaddr.sa_family == AF_INET6 &&
		service_config(open->owner)->socket.v6only != planned->config->socket.v6only)
		add_error(reload, listen,
			"v6only can't be changed while it is open, that needs a restart");
	open->is_kept = true;
	plan_listener(planned, i, open->listener, false);
	return 0;
}

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

/* Returns as find_listener(). */
static int find_listeners(
	struct reload *reload, struct planned_service *planned, bool are_unnumbered)
{
	int r = 0;

	for (size_t i = 0; i < planned->config->n_listen && r >= 0; i++)
		if (is_unnumbered(&planned->config->listen[i].address) == are_unnumbered)
			r = find_listener(reload, planned, i);
	return r;
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

/* Who asks for a port by its number gets it, before who takes any that an earlier usherd had. */
static int open_services(struct reload *reload, const char *run_dir)
{
	int r = 0;

	for (size_t i = 0; i < reload->n_planned && r >= 0; i++)
		r = find_listeners(reload, &reload->planned[i], false);
	for (size_t i = 0; i < reload->n_planned && r >= 0; i++)
		r = find_listeners(reload, &reload->planned[i], true);
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
	int r = collect_open(reload);

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
	for (size_t i = 0; i < reload->n_planned; i++) {
		free(reload->planned[i].listeners);
		free(reload->planned[i].is_new_listener);
	}
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

/* Close the listeners that nobody has any more. */
static void close_unwanted(struct reload *reload)
{
	for (size_t i = 0; i < reload->n_open; i++)
		if (!reload->open[i].is_kept)
			listener_free(reload->open[i].listener);
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
	close_unwanted(reload);
	free(running->services);
	running->services = services;
	running->n_services = n_services;
	reload->services = NULL;
	free_plan(reload);
	*ret = counts;
}
