/* SPDX-License-Identifier: MIT */
/*
 * Bringing the services of a translation together: see translation_finish(). What is done here
 * itself is to lead clients from one service to another, by tcpmux or when they are refused.
 */
#include "translation-private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void close_gaps(struct translation *translation)
{
	size_t n = 0;

	for (size_t i = 0; i < translation->n_services; i++)
		if (translation->services[i])
			translation->services[n++] = translation->services[i];
	translation->n_services = n;
}

/* " +date=date-tcp": an argument of usher-tcpmux(8). Returns `text`, longer by it; NULL: no memory.
 */
static char *append_argument(char *text, const struct translation_service *service)
{
	const char *name = service->base ? service->base : service->name;
	bool is_other = service->base != NULL;
	char *longer;
	int r = asprintf(&longer, "%s %s%s%s%s", text, service->is_mux_plus ? "+" : "", name,
		is_other ? "=" : "", is_other ? service->name : "");

	free(text);
	return r < 0 ? NULL : longer;
}

/* usher-tcpmux has to be allowed to forward to a service, and to be told of it. */
static void add_forwards(struct translation *translation, struct translation_service *tcpmux)
{
	struct translation_assignment *forward =
		translation_assign(translation, tcpmux, "providers", "forward", tcpmux->place);
	char *arguments = strdup("");

	for (size_t i = 0; arguments && i < translation->n_services; i++) {
		const struct translation_service *service = translation->services[i];

		if (!service->is_mux)
			continue;
		translation_add_text(translation, forward, "%s", service->name);
		if (!service->is_disabled)
			arguments = append_argument(arguments, service);
	}
	if (arguments)
		translation_warn(translation, tcpmux->place,
			"services behind tcpmux are reached if usher-tcpmux(8) is started as: "
			"usher-tcpmux%s",
			arguments);
	else
		translation->is_out_of_memory = true;
	free(arguments);
}

/* Nobody leads clients to them. */
static void drop_muxed(struct translation *translation)
{
	size_t n = 0;

	for (size_t i = 0; i < translation->n_services; i++) {
		struct translation_service *service = translation->services[i];

		if (!service->is_mux) {
			translation->services[n++] = service;
			continue;
		}
		translation_warn(translation, service->place,
			"'%s' is left out, because there is no service tcpmux that would lead "
			"clients to it, expected one that is internal",
			service->name);
		translation_free_service(service);
	}
	translation->n_services = n;
}

static void connect_tcpmux(struct translation *translation)
{
	struct translation_service *tcpmux =
		translation_find_service(translation->services, translation->n_services, "tcpmux");
	bool has_muxed = false;

	for (size_t i = 0; i < translation->n_services; i++)
		has_muxed |= translation->services[i]->is_mux;
	if (!tcpmux || !tcpmux->is_builtin)
		drop_muxed(translation);
	else if (has_muxed)
		add_forwards(translation, tcpmux);
}

/* The service that gives refused clients this file. */
static struct translation_service *find_refusal(
	struct translation *translation, size_t n_before, const char *file)
{
	for (size_t i = n_before; i < translation->n_services; i++)
		if (strcmp(translation_find(translation->services[i], "exec", "args")->texts[0],
			    file) == 0)
			return translation->services[i];
	return NULL;
}

static struct translation_service *add_refusal(
	struct translation *translation, const struct translation_service *service)
{
	struct translation_service *refusal =
		translation_add_service(translation, service->name, service->place);

	if (!refusal)
		return NULL;
	refusal->suffix = "refused";
	translation_rename(
		translation, refusal, translation->services, translation->n_services - 1);
	(void)translation_assign(translation, refusal, NULL, "listen", service->place);
	translation_assign_text(
		translation, refusal, "exec", "program", service->place, "/bin/cat");
	translation_assign_text(
		translation, refusal, "exec", "args", service->place, service->refusal);
	translation_assign_text(translation, refusal, "exec", "user", service->place, "nobody");
	return refusal;
}

/* Refused clients are given to a service that writes them a file. */
static void add_refusals(struct translation *translation)
{
	size_t n = translation->n_services;

	for (size_t i = 0; i < n; i++) {
		struct translation_service *service = translation->services[i], *refusal;

		if (!service->refusal)
			continue;
		refusal = find_refusal(translation, n, service->refusal);
		if (!refusal)
			refusal = add_refusal(translation, service);
		if (refusal)
			translation_assign_text(translation, service, NULL, "refused_to",
				service->place, refusal->name);
	}
}

void translation_finish(struct translation *translation)
{
	struct translation_service **named =
		calloc(translation->n_services + 1, sizeof(struct translation_service *));

	if (!named)
		translation->is_out_of_memory = true;
	if (translation->is_out_of_memory) {
		free(named);
		return;
	}
	translation_settle_addresses(translation);
	translation_settle_names(translation, named);
	free(named);
	close_gaps(translation);
	connect_tcpmux(translation);
	add_refusals(translation);
}
