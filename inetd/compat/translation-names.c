/* SPDX-License-Identifier: MIT */
/*
 * Services of a translation that have one name: those that are alike become one, the others get
 * names of their own. See translation-private.h.
 */
#include "translation-private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_CHARACTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"

/* usherd's own socket would have the name of this one's rendezvous: usher.conf(5). */
#define RESERVED_NAME "control"

static bool is_equal(const struct translation_assignment *a, const struct translation_assignment *b)
{
	if (!a || !b || a->n_texts != b->n_texts)
		return false;
	for (size_t i = 0; i < a->n_texts; i++)
		if (strcmp(a->texts[i], b->texts[i]) != 0)
			return false;
	return true;
}

static bool is_v6only(const struct translation_assignment *assignment)
{
	return strcmp(assignment->key, "v6only") == 0;
}

/* Limits of connections, which services of datagrams cannot have. */
static bool is_limit(const struct translation_assignment *assignment)
{
	static const char *const limits[] = {"access_times", "cps", "instances", "max_load",
		"per_source", "per_source_rate", "rate"};

	for (size_t i = 0; !assignment->section && i < sizeof(limits) / sizeof(limits[0]); i++)
		if (strcmp(assignment->key, limits[i]) == 0)
			return true;
	return false;
}

static bool has_connections(const struct translation_service *service)
{
	const struct translation_assignment *listen = translation_find(service, NULL, "listen");

	for (size_t i = 0; listen && i < listen->n_texts; i++)
		if (strncmp(listen->texts[i], "udp", strlen("udp")) != 0)
			return true;
	return false;
}

/* Of one name that is built in, connections and datagrams are one service, whose limits are those
 * of the connections. */
static bool are_halves(const struct translation_service *a, const struct translation_service *b)
{
	return a->is_builtin && has_connections(a) != has_connections(b);
}

/* Does the other one have all that this one has, but for what a merger sees to? */
static bool has_all_of(
	const struct translation_service *one, const struct translation_service *other)
{
	bool minds_limits = !are_halves(one, other);

	for (size_t i = 0; i < one->n_assignments; i++) {
		const struct translation_assignment *assignment = &one->assignments[i];

		if (strcmp(assignment->key, "listen") != 0 && !is_v6only(assignment) &&
			(minds_limits || !is_limit(assignment)) &&
			!is_equal(assignment,
				translation_find(other, assignment->section, assignment->key)))
			return false;
	}
	return true;
}

/* v6only says something about addresses of IPv6 that are not single ones, and about tcp:PORT. */
static bool minds_v6only(const struct translation_service *service)
{
	const struct translation_assignment *listen = translation_find(service, NULL, "listen");

	for (size_t i = 0; listen && i < listen->n_texts; i++) {
		const char *host = strchr(listen->texts[i], ':') + 1;

		if (*host == '[' || !strchr(host, ':'))
			return true;
	}
	return false;
}

static bool has_v6only(const struct translation_service *service)
{
	return translation_find(service, "socket", "v6only") != NULL;
}

static bool is_alike(const struct translation_service *a, const struct translation_service *b)
{
	if (a->is_builtin != b->is_builtin || a->is_mux || b->is_mux)
		return false;
	if (!are_halves(a, b) &&
		strcmp(a->refusal ? a->refusal : "", b->refusal ? b->refusal : "") != 0)
		return false;
	if (has_v6only(a) != has_v6only(b) && minds_v6only(has_v6only(a) ? b : a))
		return false;
	return has_all_of(a, b) && has_all_of(b, a);
}

static bool has_listener(struct translation *translation,
	const struct translation_assignment *listen, const char *text)
{
	char *key = translation_address_key(text);
	bool is_there = false;

	for (size_t i = 0; key && !is_there && i < listen->n_texts; i++) {
		char *other = translation_address_key(listen->texts[i]);

		is_there = other && strcmp(key, other) == 0;
		translation->is_out_of_memory |= !other;
		free(other);
	}
	translation->is_out_of_memory |= !key;
	free(key);
	return is_there;
}

/* Give one what only the other has: v6only, or limits of connections. */
static void add_missing(struct translation *translation, struct translation_service *to,
	struct translation_service *from)
{
	for (size_t i = 0; i < from->n_assignments; i++) {
		const struct translation_assignment *assignment = &from->assignments[i];
		struct translation_assignment *added;

		if (translation_find(to, assignment->section, assignment->key))
			continue;
		added = translation_assign(
			translation, to, assignment->section, assignment->key, assignment->place);
		for (size_t j = 0; j < assignment->n_texts; j++)
			translation_add_text(translation, added, "%s", assignment->texts[j]);
	}
	if (to->refusal)
		return;
	to->refusal = from->refusal;
	from->refusal = NULL;
}

/* Give the listeners of one that is alike to another, and what stood before it. */
static void merge(struct translation *translation, struct translation_service *to,
	struct translation_service *from)
{
	struct translation_assignment *into = translation_find(to, NULL, "listen");
	const struct translation_assignment *listen = translation_find(from, NULL, "listen");

	for (size_t i = 0; listen && i < listen->n_texts; i++)
		if (!has_listener(translation, into, listen->texts[i]))
			translation_add_text(translation, into, "%s", listen->texts[i]);
	add_missing(translation, to, from);
	if (from->comment) {
		char *joined;

		if (asprintf(&joined, "%s%s", to->comment ? to->comment : "", from->comment) < 0) {
			translation->is_out_of_memory = true;
			return;
		}
		free(to->comment);
		to->comment = joined;
	}
}

struct translation_service *translation_find_service(
	struct translation_service *const *services, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(services[i]->name, name) == 0)
			return services[i];
	return NULL;
}

/* Make a name of it that usher.conf takes. */
static void clean_name(char *name)
{
	if (strlen(name) > TRANSLATION_MAX_NAME)
		name[TRANSLATION_MAX_NAME] = '\0';
	for (char *at = name; *at; at++)
		if (!strchr(NAME_CHARACTERS, *at))
			*at = '_';
	if (*name == '.')
		*name = '_';
	if (strcmp(name, RESERVED_NAME) == 0)
		name[strlen(name) - 1] = '_';
}

void translation_rename(struct translation *translation, struct translation_service *service,
	struct translation_service *const *others, size_t n)
{
	size_t length = strlen(service->name);

	for (unsigned int number = 1;; number++) {
		char name[TRANSLATION_MAX_NAME + 1], end[32];

		(void)snprintf(end, sizeof(end), number == 1 ? "-%.15s" : "-%.15s-%u",
			service->suffix, number);
		if (length > TRANSLATION_MAX_NAME - strlen(end))
			length = TRANSLATION_MAX_NAME - strlen(end);
		(void)snprintf(name, sizeof(name), "%.*s%s", (int)length, service->name, end);
		if (translation_find_service(others, n, name))
			continue;
		service->base = service->name;
		service->name = strdup(name);
		if (!service->name)
			translation->is_out_of_memory = true;
		return;
	}
}

/* Has it lost all its addresses to others? */
static bool is_empty(const struct translation_service *service)
{
	const struct translation_assignment *listen = translation_find(service, NULL, "listen");

	return !service->is_mux && listen && listen->n_texts == 0;
}

static struct translation_service *find_alike(struct translation_service *const *services, size_t n,
	const struct translation_service *service)
{
	for (size_t i = 0; i < n; i++) {
		const char *base = services[i]->base ? services[i]->base : services[i]->name;

		if (strcmp(base, service->name) == 0 &&
			services[i]->is_disabled == service->is_disabled &&
			is_alike(services[i], service))
			return services[i];
	}
	return NULL;
}

/*
 * Give it a name of its own, or merge it into one of the others, who have theirs. Returns whether
 * it stays.
 */
static bool settle_name(struct translation *translation, struct translation_service *service,
	struct translation_service *const *others, size_t n)
{
	struct translation_service *holder, *twin;

	clean_name(service->name);
	holder = translation_find_service(others, n, service->name);
	if (!holder)
		return true;
	twin = find_alike(others, n, service);
	if (twin) {
		merge(translation, twin, service);
		return false;
	}
	if (!service->is_builtin) {
		translation_rename(translation, service, others, n);
		return true;
	}
	if (!service->is_disabled)
		translation_warn(translation, service->place,
			"'%s' (%s) is left out: usher has one service of this name, which %s:%d "
			"is; give both the same limits and rules",
			service->name, service->suffix, holder->place.file, holder->place.line);
	return false;
}

void translation_settle_names(struct translation *translation, struct translation_service **named)
{
	size_t n = 0;

	for (int is_disabled = 0; is_disabled <= 1; is_disabled++)
		for (size_t i = 0; i < translation->n_services; i++) {
			struct translation_service *service = translation->services[i];

			if (!service || service->is_disabled != is_disabled)
				continue;
			if (!is_empty(service) && settle_name(translation, service, named, n)) {
				named[n++] = service;
				continue;
			}
			translation_free_service(service);
			translation->services[i] = NULL;
		}
}
