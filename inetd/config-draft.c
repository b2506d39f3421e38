/* SPDX-License-Identifier: MIT */
/*
 * A service while its section is being read, and the defaults, which are read the same way.
 *
 * A draft knows of each key whether it was given, and where. When all files are read, what defaults
 * {} says goes into every draft that does not say it itself, and then the schema's initial values.
 */
#include "config-private.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void *member_of(struct config_service *service, size_t offset)
{
	return (char *)service + offset;
}

static void store(struct config_service *service, const struct config_key *key, uint64_t value)
{
	void *member = member_of(service, key->offset);

	switch (key->size) {
	case sizeof(bool):
		*(bool *)member = value != 0;
		break;
	case sizeof(uint32_t):
		*(uint32_t *)member = (uint32_t)value;
		break;
	default:
		assert(key->size == sizeof(uint64_t));
		*(uint64_t *)member = value;
	}
}

static void add_id(struct config_service *service, const struct config_key *key, uint32_t id,
	struct config_errors *errors)
{
	uint32_t *element = config_array_add(member_of(service, key->offset),
		member_of(service, key->count_offset), sizeof(id), errors);

	if (element)
		*element = id;
}

void config_draft_add_listen(struct config_service *service, const char *text,
	struct config_place place, struct config_errors *errors)
{
	char why[CONFIG_WHY_SIZE];
	struct address *addresses;
	size_t n;
	int r = address_parse(text, &addresses, &n, why, sizeof(why));

	if (r == -ENOMEM)
		errors->is_out_of_memory = true;
	else if (r < 0)
		config_errors_add(errors, place, "listen: %s", why);
	if (r < 0)
		return;
	for (size_t i = 0; i < n; i++) {
		struct config_listen *listen = config_array_add(
			&service->listen, &service->n_listen, sizeof(*listen), errors);

		if (listen)
			*listen = (struct config_listen){addresses[i], place.file, place.line};
	}
	free(addresses);
}

void config_draft_add_forward(struct config_service *service, const char *text,
	struct config_place place, struct config_errors *errors)
{
	struct config_providers *providers = &service->providers;
	char **name =
		config_array_add(&providers->forward, &providers->n_forward, sizeof(*name), errors);

	if (!name)
		return;
	if (providers->n_forward == 1)
		providers->forward_place = place;
	*name = strdup(text);
	if (!*name) {
		providers->n_forward--;
		errors->is_out_of_memory = true;
	}
}

static void take_value(struct config_service *service, const struct config_key *key,
	const char *text, struct config_place place, struct config_errors *errors)
{
	char why[CONFIG_WHY_SIZE];
	uint64_t value;

	if (key->add)
		key->add(service, text, place, errors);
	else if (!key->parse(key, text, &value, why))
		config_errors_add(errors, place, "%s", why);
	else if (key->is_list)
		add_id(service, key, (uint32_t)value, errors);
	else
		store(service, key, value);
}

void config_draft_take(struct config_draft *draft, const struct config_key *key, const char *text,
	struct config_place place, bool is_continued, struct config_errors *errors)
{
	struct config_place *given = &draft->given[key - config_keys];

	if (given->file && !is_continued)
		config_errors_add(errors, place, "%s" CONFIG_SECOND_TIME, key->name, given->file,
			given->line);
	if (!given->file)
		*given = place;
	if (text)
		take_value(&draft->service, key, text, place, errors);
	else if (key->is_required)
		draft->service.is_forward_only = true;
	else if (!key->is_list)
		config_errors_add(
			errors, place, "%s is {}, expected one value without braces", key->name);
}

void config_draft_close(struct config_draft *draft, const char *name, struct config_place place,
	struct config_errors *errors)
{
	draft->service.file = place.file;
	draft->service.line = place.line;
	draft->service.name = strdup(name);
	if (!draft->service.name)
		errors->is_out_of_memory = true;
}

static void copy_ids(struct config_service *to, struct config_service *from,
	const struct config_key *key, struct config_errors *errors)
{
	uint32_t *ids;
	size_t n;

	memcpy(&ids, member_of(from, key->offset), sizeof(ids));
	memcpy(&n, member_of(from, key->count_offset), sizeof(n));
	for (size_t i = 0; i < n; i++)
		add_id(to, key, ids[i], errors);
}

/* Of the lists that are not of ids the other one, of listeners, is never in the defaults. */
static void copy_forward(
	struct config_service *to, const struct config_service *from, struct config_errors *errors)
{
	const struct config_providers *providers = &from->providers;

	for (size_t i = 0; i < providers->n_forward; i++)
		config_draft_add_forward(
			to, providers->forward[i], providers->forward_place, errors);
}

static void copy_value(struct config_service *to, struct config_service *from,
	const struct config_key *key, struct config_errors *errors)
{
	if (key->add)
		copy_forward(to, from, errors);
	else if (key->is_list)
		copy_ids(to, from, key, errors);
	else
		memcpy(member_of(to, key->offset), member_of(from, key->offset), key->size);
}

void config_draft_complete(
	struct config_draft *draft, struct config_draft *defaults, struct config_errors *errors)
{
	struct config_place place = {draft->service.file, draft->service.line};

	for (size_t i = 0; i < CONFIG_N_KEYS; i++) {
		const struct config_key *key = &config_keys[i];

		if (draft->given[i].file)
			continue;
		if (key->is_required)
			config_errors_add(errors, place,
				"service '%s' has no '%s', expected one, see usher.conf(5)",
				draft->service.name, key->name);
		else if (defaults->given[i].file)
			copy_value(&draft->service, &defaults->service, key, errors);
		else if (!key->is_list)
			store(&draft->service, key, key->initial);
	}
}

void config_draft_clear(struct config_draft *draft)
{
	config_service_done(&draft->service);
	*draft = (struct config_draft){0};
}
