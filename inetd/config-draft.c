/* SPDX-License-Identifier: MIT */
/*
 * A service while its section is being read, and the defaults, which are read the same way.
 *
 * A draft knows of each key whether it was given, and where. When all files are read, what defaults
 * {} says goes into every draft that does not say it itself, and then the schema's initial values.
 */
#include "config-private.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* `why` is empty if no memory was left. */
static void report(struct config_errors *errors, struct config_place place, const char *why)
{
	if (*why)
		config_errors_add(errors, place, "%s", why);
	else
		errors->is_out_of_memory = true;
}

/* A rule of another program that usherd cannot carry out: see struct config_draft. */
static bool is_foreign_domain(
	const struct config_draft *draft, const struct config_key *key, const char *text)
{
	return draft->is_foreign && key->type == &config_type_rule && *text == '.';
}

static void take_foreign_domain(struct config_draft *draft, const struct config_key *key,
	const char *text, struct config_place place, struct config_errors *errors)
{
	bool is_allowed = key->tag;

	draft->is_barred |= !is_allowed;
	config_warnings_add(errors, place,
		"%s: '%s' is a domain, which cannot be decided without asking DNS for each client; "
		"%s; name its networks or its hosts instead",
		key->name, text,
		is_allowed ? "nobody is admitted by it" : "the service is not run");
}

/* A user or group that is not there, perhaps because nobody needs it yet. */
static void complain(struct config_draft *draft, struct config_place place, const char *why,
	struct config_errors *errors)
{
	char *copy = strdup(why);
	struct config_complaint *complaint =
		copy ? config_array_add(
			       &draft->complaints, &draft->n_complaints, sizeof(*complaint), errors)
		     : NULL;

	if (complaint) {
		*complaint = (struct config_complaint){place, copy};
		return;
	}
	free(copy);
	errors->is_out_of_memory = true;
}

/* Once it is known whether it matters. */
static void settle_complaints(
	struct config_draft *draft, bool is_harmless, struct config_errors *errors)
{
	for (size_t i = 0; i < draft->n_complaints; i++) {
		const struct config_complaint *complaint = &draft->complaints[i];

		if (is_harmless)
			config_warnings_add(errors, complaint->place, "%s", complaint->why);
		else
			report(errors, complaint->place, complaint->why);
	}
}

static void forget_complaints(struct config_draft *draft)
{
	for (size_t i = 0; i < draft->n_complaints; i++)
		free(draft->complaints[i].why);
	free(draft->complaints);
	draft->complaints = NULL;
	draft->n_complaints = 0;
}

static void take_value(struct config_draft *draft, const struct config_key *key, const char *text,
	struct config_place place, struct config_errors *errors)
{
	struct config_given *given = &draft->given[key - config_keys];
	const struct config_input input = {text, given->n_texts++, place};
	char why[CONFIG_WHY_SIZE];

	if (is_foreign_domain(draft, key, text)) {
		take_foreign_domain(draft, key, text, place, errors);
	} else if (!config_type_take(key, &input, &draft->service, why)) {
		given->is_bad = true;
		if (key->is_account)
			complain(draft, place, why, errors);
		else
			report(errors, place, why);
	}
}

/* The key begins here. */
static void take_place(struct config_draft *draft, const struct config_key *key,
	struct config_place place, struct config_errors *errors)
{
	struct config_given *given = &draft->given[key - config_keys];

	if (given->file)
		config_errors_add(errors, place, "%s" CONFIG_SECOND_TIME, key->name, given->file,
			given->line);
	else
		*given = (struct config_given){.file = place.file, .line = place.line};
	given->n_texts = 0;
}

void config_draft_take(struct config_draft *draft, const struct config_key *key, const char *text,
	struct config_place place, bool is_continued, struct config_errors *errors)
{
	if (!is_continued)
		take_place(draft, key, place, errors);
	if (text)
		take_value(draft, key, text, place, errors);
	else if (key->is_required)
		draft->service.is_forward_only = true;
	else if (!key->type->is_list)
		config_errors_add(
			errors, place, "%s is {}, expected one value without braces", key->name);
}

/* No more values will come. */
static void finish_key(
	struct config_draft *draft, const struct config_key *key, struct config_errors *errors)
{
	struct config_given *given = &draft->given[key - config_keys];
	char why[CONFIG_WHY_SIZE] = "";

	if (!given->file || given->is_bad || !key->type->finish ||
		key->type->finish(
			key, given->n_texts, config_member(&draft->service, key->offset), why))
		return;
	given->is_bad = true;
	report(errors, (struct config_place){given->file, given->line}, why);
}

static void finish_keys(struct config_draft *draft, struct config_errors *errors)
{
	for (size_t i = 0; i < CONFIG_N_KEYS; i++)
		finish_key(draft, &config_keys[i], errors);
}

void config_draft_finish(struct config_draft *draft, struct config_errors *errors)
{
	finish_keys(draft, errors);
	settle_complaints(draft, false, errors);
	forget_complaints(draft);
}

void config_draft_close(struct config_draft *draft, const char *name, struct config_place place,
	struct config_errors *errors)
{
	draft->service.file = place.file;
	draft->service.line = place.line;
	draft->service.name = strdup(name);
	if (!draft->service.name)
		errors->is_out_of_memory = true;
	finish_keys(draft, errors);
}

/* What the service has of a key besides its value. */
static void note_given(struct config_service *service, const struct config_key *key,
	const struct config_given *given)
{
	const struct config_place place = {given->file, given->line};

	if (key->given_offset)
		*(bool *)config_member(service, key->given_offset) = true;
	if (key->place_offset)
		memcpy(config_member(service, key->place_offset), &place, sizeof(place));
}

static void complete_key(struct config_draft *draft, const struct config_draft *defaults,
	const struct config_key *key, struct config_errors *errors)
{
	const struct config_given *given = &draft->given[key - config_keys];
	const struct config_given *inherited = &defaults->given[key - config_keys];

	if (given->file) {
		note_given(&draft->service, key, given);
	} else if (inherited->file) {
		note_given(&draft->service, key, inherited);
		if (!config_type_copy(key, &draft->service, &defaults->service))
			errors->is_out_of_memory = true;
	} else if (key->is_required) {
		config_errors_add(errors,
			(struct config_place){draft->service.file, draft->service.line},
			"service '%s' has no '%s', expected one, see usher.conf(5)",
			draft->service.name, key->name);
	} else {
		config_type_set_initial(key, &draft->service);
	}
}

/* The defaults can name a service for all others. */
static void forget_itself(struct config_draft *draft)
{
	const struct config_service *service = &draft->service;
	const char *to = service->admission.refused_to;

	for (size_t i = 0; i < CONFIG_N_KEYS && to; i++)
		if (config_keys[i].offset ==
				offsetof(struct config_service, admission.refused_to) &&
			!draft->given[i].file && strcmp(to, service->name) == 0)
			config_type_reset(&config_keys[i], &draft->service);
}

/* usher-exec is started by root mostly, and who writes no user rarely thinks of that. */
static void warn_of_user(const struct config_draft *draft, struct config_errors *errors)
{
	const struct config_service *service = &draft->service;

	if (!service->exec.program || service->exec.user || service->is_disabled ||
		draft->is_foreign) /* where one is required */
		return;
	config_warnings_add(errors, (struct config_place){service->file, service->line},
		"service '%s' runs %s as whoever runs usher-exec(8), which is root by default, "
		"expected exec { user }; if it is meant so, name that user there",
		service->name, service->exec.program);
}

void config_draft_complete(struct config_draft *draft, const struct config_draft *defaults,
	struct config_errors *errors)
{
	for (size_t i = 0; i < CONFIG_N_KEYS; i++)
		complete_key(draft, defaults, &config_keys[i], errors);
	draft->service.is_disabled |= draft->is_barred;
	settle_complaints(draft, draft->service.is_disabled, errors);
	forget_complaints(draft);
	forget_itself(draft);
	config_fit_keys(draft, errors);
	warn_of_user(draft, errors);
}

void config_draft_clear(struct config_draft *draft)
{
	config_service_done(&draft->service);
	forget_complaints(draft);
	*draft = (struct config_draft){0};
}
