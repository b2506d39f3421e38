/* SPDX-License-Identifier: MIT */
/*
 * Bringing the services of a translation together: see translation_finish(). Pure but for
 * services(5), which getservbyname(3) reads.
 */
#include "translation.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_CHARACTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"

/* usherd's own socket would have the name of this one's rendezvous: usher.conf(5). */
#define RESERVED_NAME "control"

/* An address of a service that is not disabled. */
struct listener {
	char *key; /* the same for the same address, whether its port is a name or a number */
	const char *text;
	size_t service; /* its place in the translation */
};

/* "tcp:0.0.0.0:finger" is "tcp:0.0.0.0:79". To be freed; NULL: no memory. */
static char *make_key(const char *text)
{
	const char *port = strrchr(text, ':') + 1;
	char scheme[8] = "", *key = NULL;
	const struct servent *entry;

	(void)snprintf(scheme, sizeof(scheme), "%.*s", (int)strcspn(text, "46:"), text);
	entry = *port < '0' || *port > '9' ? getservbyname(port, scheme) : NULL;
	if (!entry)
		return strdup(text);
	if (asprintf(&key, "%.*s%u", (int)(port - text), text, ntohs((uint16_t)entry->s_port)) < 0)
		return NULL;
	return key;
}

static int compare_listeners(const void *a, const void *b)
{
	const struct listener *one = a, *other = b;
	int r = strcmp(one->key, other->key);

	return r != 0 ? r : (one->service > other->service) - (one->service < other->service);
}

static size_t count_listeners(const struct translation *translation)
{
	size_t n = 0;

	for (size_t i = 0; i < translation->n_services; i++) {
		const struct translation_assignment *listen =
			translation_find(translation->services[i], NULL, "listen");

		n += listen ? listen->n_texts : 0;
	}
	return n;
}

/* Those of one service, behind the *n that there are. Returns whether there was memory. */
static bool collect_listeners(const struct translation *translation, size_t service,
	struct listener *listeners, size_t *n)
{
	const struct translation_assignment *listen =
		translation_find(translation->services[service], NULL, "listen");

	if (!listen || translation->services[service]->is_disabled)
		return true;
	for (size_t i = 0; i < listen->n_texts; i++) {
		listeners[*n] =
			(struct listener){make_key(listen->texts[i]), listen->texts[i], service};
		if (!listeners[(*n)++].key)
			return false;
	}
	return true;
}

/* All of them, sorted by address and then in the order of reading. To be freed with their keys. */
static struct listener *sort_listeners(struct translation *translation, size_t *ret_n)
{
	struct listener *listeners = calloc(count_listeners(translation) + 1, sizeof(*listeners));
	bool is_complete = listeners != NULL;

	*ret_n = 0;
	for (size_t i = 0; is_complete && i < translation->n_services; i++)
		is_complete = collect_listeners(translation, i, listeners, ret_n);
	if (is_complete)
		qsort(listeners, *ret_n, sizeof(*listeners), compare_listeners);
	else
		translation->is_out_of_memory = true;
	return listeners;
}

/* Take the text, which is one of its listeners, from a service. */
static void remove_listener(struct translation_service *service, const char *text)
{
	struct translation_assignment *listen = translation_find(service, NULL, "listen");
	size_t i = 0;

	while (listen->texts[i] != text)
		i++;
	free(listen->texts[i]);
	listen->n_texts--;
	memmove(listen->texts + i, listen->texts + i + 1,
		(listen->n_texts - i) * sizeof(*listen->texts));
}

/* Of two that have the same address one loses it. Returns whether it was the first. */
static bool settle(struct translation *translation, const struct listener *first,
	const struct listener *second)
{
	struct translation_service *one = translation->services[first->service];
	struct translation_service *other = translation->services[second->service];
	struct translation_service *loser = other->replaces ? one : other;
	const struct translation_service *winner = other->replaces ? other : one;
	const char *text = other->replaces ? first->text : second->text;

	if (one != other)
		translation_warn(translation, loser->place,
			"'%s' is left out on %s, which '%s' at %s:%d has", loser->name, text,
			winner->name, winner->place.file, winner->place.line);
	remove_listener(loser, text);
	return other->replaces;
}

static void settle_addresses(struct translation *translation)
{
	size_t n = 0, holder = 0;
	struct listener *listeners = sort_listeners(translation, &n);

	for (size_t i = 1; i < n && !translation->is_out_of_memory; i++)
		if (strcmp(listeners[holder].key, listeners[i].key) != 0 ||
			settle(translation, &listeners[holder], &listeners[i]))
			holder = i;
	for (size_t i = 0; i < n; i++)
		free(listeners[i].key);
	free(listeners);
}

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

/* Does the other one have all that this one has, but for what a merger sees to? */
static bool has_all_of(
	const struct translation_service *one, const struct translation_service *other)
{
	for (size_t i = 0; i < one->n_assignments; i++) {
		const struct translation_assignment *assignment = &one->assignments[i];

		if (strcmp(assignment->key, "listen") != 0 && !is_v6only(assignment) &&
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
	if (strcmp(a->refusal ? a->refusal : "", b->refusal ? b->refusal : "") != 0)
		return false;
	if (has_v6only(a) != has_v6only(b) && minds_v6only(has_v6only(a) ? b : a))
		return false;
	return has_all_of(a, b) && has_all_of(b, a);
}

static bool has_listener(struct translation *translation,
	const struct translation_assignment *listen, const char *text)
{
	char *key = make_key(text);
	bool is_there = false;

	for (size_t i = 0; key && !is_there && i < listen->n_texts; i++) {
		char *other = make_key(listen->texts[i]);

		is_there = other && strcmp(key, other) == 0;
		translation->is_out_of_memory |= !other;
		free(other);
	}
	translation->is_out_of_memory |= !key;
	free(key);
	return is_there;
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
	if (has_v6only(from) && !has_v6only(to))
		translation_assign_text(translation, to, "socket", "v6only", from->place, "true");
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

/* The first `n` have their names already. */
static struct translation_service *find_name(
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

/* NAME-SUFFIX, NAME-SUFFIX-2, ...: the first that is free. */
static void rename_service(struct translation *translation, struct translation_service *service,
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
		if (find_name(others, n, name))
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
	holder = find_name(others, n, service->name);
	if (!holder)
		return true;
	twin = find_alike(others, n, service);
	if (twin) {
		merge(translation, twin, service);
		return false;
	}
	if (!service->is_builtin) {
		rename_service(translation, service, others, n);
		return true;
	}
	if (!service->is_disabled)
		translation_warn(translation, service->place,
			"'%s' (%s) is left out: usher has one service of this name, which %s:%d "
			"is; give both the same limits and rules",
			service->name, service->suffix, holder->place.file, holder->place.line);
	return false;
}

/* Those that run have the first choice of names. Those that do not stay become NULL. */
static void settle_names(struct translation *translation, struct translation_service **named)
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
		find_name(translation->services, translation->n_services, "tcpmux");
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
	rename_service(translation, refusal, translation->services, translation->n_services - 1);
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
	settle_addresses(translation);
	settle_names(translation, named);
	free(named);
	close_gaps(translation);
	connect_tcpmux(translation);
	add_refusals(translation);
}
