/* SPDX-License-Identifier: MIT */
/*
 * What can only be said when everything is read: names, and what does not go together.
 *
 * Conflicts are found by sorting, so that ten thousand services take no longer than reading them
 * does.
 */
#include "config-private.h"

#include <inttypes.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#define NAME_MAX_BYTES	63
#define NAME_CHARACTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"

/* usherd's own socket in run_dir has the name that the rendezvous of such a service would have. */
#define RESERVED_NAME "control"

/* A listener of a service that is not disabled. */
struct bound {
	const struct config_listen *listen;
	const struct config_service *service;
	size_t order; /* of writing */
};

static struct config_place place_of(const struct config_service *service)
{
	return (struct config_place){service->file, service->line};
}

static void check_name(const struct config_service *service, struct config_errors *errors)
{
	const char *name = service->name;

	if (*name == '\0' || *name == '.' || strlen(name) > NAME_MAX_BYTES ||
		name[strspn(name, NAME_CHARACTERS)] != '\0')
		config_errors_add(errors, place_of(service),
			"bad service name '%s', expected at most %d letters, digits, '.', '_' and "
			"'-', the first not '.'",
			name, NAME_MAX_BYTES);
	else if (strcmp(name, RESERVED_NAME) == 0)
		config_errors_add(errors, place_of(service),
			"the name '%s' is taken by the control socket, expected another", name);
}

static void check_rendezvous(
	const struct config_service *service, const char *run_dir, struct config_errors *errors)
{
	size_t most = sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1;
	size_t length = strlen(run_dir) + strlen("/") + strlen(service->name) + strlen(".sock");

	if (length > most)
		config_errors_add(errors, place_of(service),
			"the rendezvous %s/%s.sock has %zu bytes, expected at most %zu (unix(7))",
			run_dir, service->name, length, most);
}

static bool is_in_folder(const struct address *address, const char *folder)
{
	const char *path = ((const struct sockaddr_un *)(const void *)&address->storage)->sun_path;
	size_t length = strlen(folder);

	return address->sockaddr.sa_family == AF_UNIX && strncmp(path, folder, length) == 0 &&
	       path[length] == '/';
}

static void check_listen(
	const struct config_service *service, const char *run_dir, struct config_errors *errors)
{
	size_t most = config_most_listeners(service);

	if (most > CONFIG_MAX_LISTENERS)
		config_errors_add(errors, place_of(service),
			"service '%s' has %zu listeners, expected at most %d", service->name, most,
			CONFIG_MAX_LISTENERS);
	for (size_t i = 0; i < service->n_listen; i++) {
		const struct config_listen *listen = &service->listen[i];

		if (is_in_folder(&listen->address, run_dir))
			config_errors_add(errors, (struct config_place){listen->file, listen->line},
				"service '%s' listens in run_dir, where usherd's own sockets are, "
				"expected another folder",
				service->name);
		if (service->unavailable == CONFIG_UNAVAILABLE_REFUSE &&
			!address_can_refuse(&listen->address))
			config_errors_add(errors, (struct config_place){listen->file, listen->line},
				"service '%s' has unavailable = refuse and a %s: listener, which "
				"cannot refuse, expected wait or reset",
				service->name,
				listen->address.sockaddr.sa_family == AF_UNIX ? "unix" : "vsock");
	}
}

static int compare_services(const void *a, const void *b)
{
	const struct config_service *one = *(const struct config_service *const *)a;
	const struct config_service *other = *(const struct config_service *const *)b;

	return strcmp(one->name, other->name);
}

static void check_twins(const struct config *config, struct config_errors *errors)
{
	for (size_t i = 1; i < config->n_services; i++) {
		const struct config_service *first = config->services[i - 1];
		const struct config_service *second = config->services[i];

		if (strcmp(first->name, second->name) == 0)
			config_errors_add(errors, place_of(second),
				"service '%s'" CONFIG_SECOND_TIME, second->name, first->file,
				first->line);
	}
}

static int compare_bounds(const void *a, const void *b)
{
	const struct bound *one = a, *other = b;
	int r = address_compare(&one->listen->address, &other->listen->address);

	return r != 0 ? r : (one->order > other->order) - (one->order < other->order);
}

static void report_conflict(
	const struct bound *a, const struct bound *b, struct config_errors *errors)
{
	const struct bound *first = a->order < b->order ? a : b;
	const struct bound *second = a->order < b->order ? b : a;
	bool is_own = first->service == second->service;
	bool is_equal = address_equal(&first->listen->address, &second->listen->address);
	char first_text[ADDRESS_TEXT_MAX], second_text[ADDRESS_TEXT_MAX];

	config_errors_add(errors, (struct config_place){second->listen->file, second->listen->line},
		"service '%s' listens on %s, which %s%s%s has%s%s at %s:%d", second->service->name,
		address_format(&second->listen->address, second_text), is_own ? "it" : "service '",
		is_own ? "" : first->service->name, is_own ? "" : "'", is_equal ? "" : " as ",
		is_equal ? "" : address_format(&first->listen->address, first_text),
		first->listen->file, first->listen->line);
}

static bool is_conflict(const struct bound *a, const struct bound *b)
{
	return a && b &&
	       address_conflicts(&a->listen->address, a->service->socket.v6only,
		       &b->listen->address, b->service->socket.v6only);
}

/* Families that one address can take as a whole. */
static const int families[] = {AF_INET, AF_INET6, AF_VSOCK};
#define N_FAMILIES (sizeof(families) / sizeof(*families))

/*
 * In the order of address_compare() whoever takes a whole family comes first on its port, without
 * an interface before those that have one, and equals come together: so each needs to be compared
 * only with the last one of each family and the one before it.
 */
static void check_sorted(const struct bound *bounds, size_t n, struct config_errors *errors)
{
	const struct bound *whole[N_FAMILIES] = {NULL}, *previous = NULL, *other;

	for (const struct bound *bound = bounds; bound < bounds + n; previous = bound++) {
		other = is_conflict(previous, bound) ? previous : NULL;
		for (size_t i = N_FAMILIES; i-- > 0;)
			other = is_conflict(whole[i], bound) ? whole[i] : other;
		if (other)
			report_conflict(other, bound, errors);
		for (size_t i = 0; i < N_FAMILIES; i++)
			if (address_takes_family(&bound->listen->address,
				    bound->service->socket.v6only, families[i]) &&
				!is_conflict(whole[i], bound))
				whole[i] = bound;
	}
}

/* `config->services` are still in the order of writing. */
static void check_conflicts(const struct config *config, struct config_errors *errors)
{
	struct bound *bounds = NULL, *bound;
	size_t n = 0;

	for (size_t i = 0; i < config->n_services; i++) {
		const struct config_service *service = config->services[i];

		for (size_t j = 0; j < service->n_listen && !service->is_disabled; j++) {
			if (service->listen[j].host)
				continue; /* nobody knows yet */
			bound = config_array_add(&bounds, &n, sizeof(*bound), errors);
			if (bound)
				*bound = (struct bound){&service->listen[j], service, n};
		}
	}
	if (n > 0) {
		qsort(bounds, n, sizeof(*bounds), compare_bounds);
		check_sorted(bounds, n, errors);
	}
	free(bounds);
}

static void check_forward(const struct config *config, const struct config_service *service,
	struct config_errors *errors)
{
	const struct config_providers *providers = &service->providers;

	for (size_t i = 0; i < providers->n_forward; i++)
		if (!config_find_service(config, providers->forward[i]))
			config_errors_add(errors, providers->forward_place,
				"service '%s' forwards to '%s', which is no service of this "
				"configuration, expected the name of one",
				service->name, providers->forward[i]);
}

static bool gives_to(const struct config_service *service, const char *name)
{
	const char *refused_to = service->admission.refused_to;

	if (refused_to && strcmp(refused_to, name) == 0)
		return true;
	for (size_t i = 0; i < service->providers.n_forward; i++)
		if (strcmp(service->providers.forward[i], name) == 0)
			return true;
	return false;
}

/* Who listens nowhere needs others who give. */
static void check_reachable(const struct config *config, const struct config_service *service,
	struct config_errors *errors)
{
	if (!service->is_forward_only)
		return;
	for (size_t i = 0; i < config->n_services; i++)
		if (config->services[i] != service && gives_to(config->services[i], service->name))
			return;
	config_errors_add(errors,
		(struct config_place){.file = service->file, .line = service->line},
		"service '%s' has listen = {} and no other service forwards to it, expected an "
		"address to listen on, or its name in providers { forward } or in refused_to of "
		"another service",
		service->name);
}

static void check_limits(
	const struct config *config, uint64_t fd_limit, struct config_errors *errors)
{
	struct config_place place = {.file = config->files[0]};
	uint64_t n_fds = config_n_fds(config);

	if (config->n_services > CONFIG_MAX_SERVICES)
		config_errors_add(errors, place, "there are %zu services, expected at most %d",
			config->n_services, CONFIG_MAX_SERVICES);
	if (fd_limit != 0 && n_fds > fd_limit)
		config_errors_add(errors, place,
			"%" PRIu64 " descriptors are needed and %" PRIu64 " allowed, expected a "
			"higher limit (LimitNOFILE= or ulimit -n) or a smaller providers { max }",
			n_fds, fd_limit);
}

void config_check(struct config *config, uint64_t fd_limit, struct config_errors *errors)
{
	for (size_t i = 0; i < config->n_services; i++) {
		check_name(config->services[i], errors);
		check_rendezvous(config->services[i], config->run_dir, errors);
		check_listen(config->services[i], config->run_dir, errors);
	}
	check_conflicts(config, errors);
	if (config->n_services > 0)
		qsort(config->services, config->n_services, sizeof(*config->services),
			compare_services);
	check_twins(config, errors);
	for (size_t i = 0; i < config->n_services; i++) {
		check_forward(config, config->services[i], errors);
		check_reachable(config, config->services[i], errors);
		config_check_fit(config, config->services[i], errors);
	}
	check_limits(config, fd_limit, errors);
}
