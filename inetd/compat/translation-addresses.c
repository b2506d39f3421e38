/* SPDX-License-Identifier: MIT */
/*
 * Of two services of a translation with one address one loses it: see translation-private.h. Pure
 * but for services(5), which getservbyname(3) reads.
 */
#include "translation-private.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* An address of a service that is not disabled. */
struct listener {
	char *key; /* the same for the same address, whether its port is a name or a number */
	const char *text;
	size_t service; /* its place in the translation */
};

char *translation_address_key(const char *text)
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
		listeners[*n] = (struct listener){
			translation_address_key(listen->texts[i]), listen->texts[i], service};
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

void translation_settle_addresses(struct translation *translation)
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
