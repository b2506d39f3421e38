/* SPDX-License-Identifier: MIT */
/*
 * For each address a listener: one that is open already, an inherited one, or a new one. See
 * reload-private.h.
 */
#include "reload-private.h"

#include "privilege.h"
#include <errno.h>
#include <stdlib.h>

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

int reload_collect_open(struct reload *reload)
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

/* Returns 0, also if the listener could not be opened and that was reported; -ENOMEM. */
static int plan_new_listener(struct reload *reload, struct planned_service *planned, size_t i)
{
	const struct config_listen *listen = &planned->config->listen[i];
	struct listener *listener;
	struct address bound;
	int fd, r;

	r = bind_listener(listen, &planned->config->socket, begins_closed(planned->config, listen),
		&fd, &bound);
	if (r < 0) {
		reload_explain_bind_failure(reload, planned, listen, r);
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
		reload_add_error(reload, listen,
			"v6only can't be changed while it is open, that needs a restart");
	open->is_kept = true;
	plan_listener(planned, i, open->listener, false);
	return 0;
}

int reload_find_listeners(
	struct reload *reload, struct planned_service *planned, bool are_unnumbered)
{
	int r = 0;

	for (size_t i = 0; i < planned->config->n_listen && r >= 0; i++)
		if (is_unnumbered(&planned->config->listen[i].address) == are_unnumbered)
			r = find_listener(reload, planned, i);
	return r;
}

static void give_listener_up(struct reload *reload, const struct listener *listener)
{
	for (size_t i = 0; i < reload->n_open; i++)
		if (reload->open[i].listener == listener)
			reload->open[i].is_kept = false;
}

void reload_give_listeners_up(struct reload *reload, struct planned_service *planned)
{
	for (size_t i = 0; i < planned->config->n_listen; i++)
		if (planned->is_new_listener[i])
			listener_free(planned->listeners[i]);
		else
			give_listener_up(reload, planned->listeners[i]);
}

void reload_close_unwanted(struct reload *reload)
{
	for (size_t i = 0; i < reload->n_open; i++)
		if (!reload->open[i].is_kept)
			listener_free(reload->open[i].listener);
}
