/* SPDX-License-Identifier: MIT */
/*
 * What of one service does not go together.
 *
 * Keys say in the schema what a service must have so that they can be carried out. Without that a
 * key of the service itself is an error, or it would seem to protect what it does not; one of the
 * defaults is for the other services.
 */
#include "config-private.h"

#include <netinet/in.h>
#include <string.h>

/* A name can become so many rules: NAMES_MAX_ADDRESSES of names.h. */
#define RULES_OF_NAME 16u

/* What the kernel can be asked about each datagram. */
#define MAX_LENT_RULES 1000u

static const struct {
	enum config_need need;
	const char *because;
} reasons[] = {
	{CONFIG_NEEDS_CONNECTIONS, "has lent sockets only, whose clients usherd does not see"},
	{CONFIG_NEEDS_PROVIDERS,
		"has deliver = pass, where nobody registers and connections are not counted"},
	{CONFIG_NEEDS_PASS, "has not deliver = pass"},
	{CONFIG_NEEDS_PROGRAM, "has no exec { program }"},
	{CONFIG_NEEDS_NOBODY, "is served, by a program or a receiver, which nobody would reach"},
	{CONFIG_NEEDS_ADDRESSES, "has no listener whose clients have an internet address"},
	{CONFIG_NEEDS_UNIX, "has no listener in the file system"},
	{CONFIG_NEEDS_UDP, "has no udp: listener"},
	{CONFIG_NEEDS_TCP, "has no tcp: listener"},
};

static bool is_inet(const struct config_listen *listen)
{
	sa_family_t family = listen->address.sockaddr.sa_family;

	return family == AF_INET || family == AF_INET6;
}

static bool is_lent(const struct config_service *service, const struct config_listen *listen)
{
	return listen->address.type == SOCK_DGRAM || service->deliver == CONFIG_DELIVER_LISTENER;
}

/* What one listener has. */
static unsigned int offers_of(
	const struct config_service *service, const struct config_listen *listen)
{
	unsigned int offers = 0;

	if (!is_lent(service, listen))
		offers |= CONFIG_NEEDS_CONNECTIONS;
	if (listen->address.sockaddr.sa_family == AF_UNIX)
		offers |= CONFIG_NEEDS_UNIX;
	if (is_inet(listen))
		offers |=
			CONFIG_NEEDS_ADDRESSES |
			(listen->address.type == SOCK_DGRAM ? CONFIG_NEEDS_UDP : CONFIG_NEEDS_TCP);
	return offers;
}

/* A set of enum config_need. */
static unsigned int offers(const struct config_service *service)
{
	unsigned int offered = 0;

	if (service->deliver == CONFIG_DELIVER_PASS)
		offered |= CONFIG_NEEDS_PASS;
	else
		offered |= CONFIG_NEEDS_PROVIDERS;
	if (service->exec.program)
		offered |= CONFIG_NEEDS_PROGRAM;
	if (!service->exec.program && service->deliver != CONFIG_DELIVER_PASS)
		offered |= CONFIG_NEEDS_NOBODY;
	for (size_t i = 0; i < service->n_listen; i++)
		offered |= offers_of(service, &service->listen[i]);
	if (service->n_listen == 0) /* what others forward can be anything */
		offered |= CONFIG_NEEDS_CONNECTIONS | CONFIG_NEEDS_ADDRESSES | CONFIG_NEEDS_UNIX |
			   CONFIG_NEEDS_UDP | CONFIG_NEEDS_TCP;
	return offered;
}

static const char *reason_of(unsigned int missing)
{
	size_t i = 0;

	while (!(missing & reasons[i].need))
		i++;
	return reasons[i].because;
}

/* Does the service itself say something else than what is without it? */
static bool is_said(const struct config_draft *draft, const struct config_key *key)
{
	const struct config_given *given = &draft->given[key - config_keys];

	return given->file && !given->is_bad && given->n_texts > 0 &&
	       !config_type_is_initial(key, &draft->service);
}

static void report_misfit(const struct config_draft *draft, const struct config_key *key,
	unsigned int missing, struct config_errors *errors)
{
	const struct config_given *given = &draft->given[key - config_keys];
	const struct config_place place = {given->file, given->line};
	const char *name = draft->service.name, *reason = reason_of(missing);

	if (draft->is_foreign)
		config_warnings_add(errors, place, "%s is not carried out, because service '%s' %s",
			key->name, name, reason);
	else
		config_errors_add(errors, place,
			"%s cannot be carried out, because service '%s' %s, expected it without",
			key->name, name, reason);
}

void config_fit_keys(struct config_draft *draft, struct config_errors *errors)
{
	unsigned int offered = offers(&draft->service);

	for (size_t i = 0; i < CONFIG_N_KEYS; i++) {
		const struct config_key *key = &config_keys[i];
		unsigned int missing = key->needs & ~offered;

		if (missing == 0)
			continue;
		if (is_said(draft, key))
			report_misfit(draft, key, missing, errors);
		config_type_reset(key, &draft->service);
	}
}

static void check_pass(const struct config_service *service, struct config_place place,
	struct config_errors *errors)
{
	if (service->deliver != CONFIG_DELIVER_PASS)
		return;
	if (!service->pass.path)
		config_errors_add(errors, place,
			"service '%s' has deliver = pass and no receiver, expected "
			"pass { path = ... }",
			service->name);
	if (service->pass.has_postfix_attributes && service->pass.type != SOCK_STREAM)
		config_errors_add(errors, place,
			"service '%s' has attributes = postfix and another type than stream, "
			"expected type = stream",
			service->name);
	for (size_t i = 0; i < service->n_listen; i++)
		if (service->listen[i].address.type == SOCK_DGRAM)
			config_errors_add(errors,
				(struct config_place){
					service->listen[i].file, service->listen[i].line},
				"service '%s' has deliver = pass and a listener of datagrams, "
				"which has no connections to pass, expected another service for it",
				service->name);
}

/* Each lent socket gets them all. */
static void check_lent_rules(const struct config_service *service, struct config_place place,
	struct config_errors *errors)
{
	size_t n_rules = 0, n_lent = 0;

	for (size_t i = 0; i < service->n_listen; i++)
		n_lent += is_lent(service, &service->listen[i]);
	for (size_t i = 0; i < service->admission.n_rules; i++)
		n_rules +=
			service->admission.rules[i].network.family == AF_UNSPEC ? RULES_OF_NAME : 1;
	if (n_lent > 0 && n_rules > MAX_LENT_RULES)
		config_errors_add(errors, place,
			"service '%s' has %zu networks in only_from and no_access, where a name "
			"counts as %u, expected at most %u for lent sockets",
			service->name, n_rules, RULES_OF_NAME, MAX_LENT_RULES);
}

/* Those have no internet address, and the kernel filters them nowhere. */
static void check_lent_vsock(const struct config_service *service, struct config_errors *errors)
{
	for (size_t i = 0; i < service->n_listen; i++) {
		const struct config_listen *listen = &service->listen[i];

		if (listen->address.sockaddr.sa_family == AF_VSOCK && is_lent(service, listen) &&
			service->admission.has_only_from)
			config_errors_add(errors, (struct config_place){listen->file, listen->line},
				"service '%s' has only_from and lends a vsock: listener, whose "
				"clients nobody would keep out, expected another service for it",
				service->name);
	}
}

/* Would the clients that `to` refuses come to `service`, at once or in the end? */
static bool leads_back(const struct config *config, const struct config_service *to,
	const struct config_service *service)
{
	for (size_t i = 0; i < config->n_services && to && to != service; i++) {
		const char *next = to->admission.refused_to;

		to = next ? config_find_service(config, next) : NULL;
	}
	return to == service;
}

static void check_refused_to(const struct config *config, const struct config_service *service,
	struct config_errors *errors)
{
	const char *name = service->admission.refused_to;
	struct config_place place = service->admission.refused_to_place;
	const struct config_service *to;

	if (!name)
		return;
	to = config_find_service(config, name);
	if (!to)
		config_errors_add(errors, place,
			"service '%s' gives refused clients to '%s', which is no service of this "
			"configuration, expected the name of one",
			service->name, name);
	else if (to == service)
		config_errors_add(errors, place,
			"service '%s' gives refused clients to itself, expected another service",
			service->name);
	else if (leads_back(config, to, service))
		config_errors_add(errors, place,
			"service '%s' gives refused clients to '%s', whose own refused clients "
			"come back to it, expected refused_to in no circle",
			service->name, name);
	else if (!(offers(to) & CONFIG_NEEDS_CONNECTIONS) || to->deliver == CONFIG_DELIVER_PASS)
		config_errors_add(errors, place,
			"service '%s' gives refused clients to '%s', which takes no connections by "
			"usherd, expected a service that does",
			service->name, name);
}

void config_check_fit(const struct config *config, const struct config_service *service,
	struct config_errors *errors)
{
	const struct config_place place = {service->file, service->line};

	check_pass(service, place, errors);
	check_lent_rules(service, place, errors);
	check_lent_vsock(service, errors);
	check_refused_to(config, service, errors);
}
