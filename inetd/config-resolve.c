/* SPDX-License-Identifier: MIT */
/*
 * From names in listen, only_from and no_access to the addresses that they have: see config.h.
 *
 * Asking is not done here, because it takes time: names.h.
 */
#include "config-private.h"

#include "names.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool is_name(const struct config_rule *rule)
{
	return rule->network.family == AF_UNSPEC;
}

static int add_name(struct names *names, const char *name, struct config_place place,
	struct config_errors *errors)
{
	int r = names_add(names, name);

	if (r != -E2BIG)
		return r;
	config_errors_add(errors, place,
		"'%s' is one name more than %d in listen, only_from and no_access of all services, "
		"expected addresses instead of so many names",
		name, NAMES_MAX);
	return -EINVAL;
}

static int add_names(
	const struct config_service *service, struct names *names, struct config_errors *errors)
{
	int r = 0;

	for (size_t i = 0; i < service->n_listen && r == 0; i++) {
		const struct config_listen *listen = &service->listen[i];
		const struct config_place place = {listen->file, listen->line};

		if (listen->host)
			r = add_name(names, listen->host, place, errors);
	}
	for (size_t i = 0; i < service->admission.n_rules && r == 0; i++) {
		const struct config_rule *rule = &service->admission.rules[i];

		if (is_name(rule))
			r = add_name(names, rule->text, rule->place, errors);
	}
	return r;
}

int config_add_names(const struct config *config, struct names *names, struct config_errors *errors)
{
	int r = 0;

	for (size_t i = 0; i < config->n_services && r == 0; i++)
		if (!config->services[i]->is_disabled)
			r = add_names(config->services[i], names, errors);
	return r;
}

static void warn(
	const struct config_rule *rule, struct names_answer *answer, struct config_errors *errors)
{
	const char *key = rule->is_allowed ? "only_from" : "no_access";

	if (answer->is_reported)
		return;
	answer->is_reported = answer->why || answer->has_more;
	if (answer->why)
		config_warnings_add(errors, rule->place,
			"%s: the name '%s' cannot be looked up: %s; until a reload it %s nobody",
			key, rule->text, answer->why, rule->is_allowed ? "admits" : "refuses");
	else if (answer->has_more)
		config_warnings_add(errors, rule->place,
			"%s: '%s' has more than %d addresses, the others are left out", key,
			rule->text, NAMES_MAX_ADDRESSES);
}

/* Append a rule for each network of a name. */
static void add_rules(struct config_admission *admission, const struct config_rule *rule,
	const struct names_answer *answer, struct config_errors *errors)
{
	for (size_t i = 0; i < answer->n_networks; i++) {
		char *text = strdup(rule->text);
		struct config_rule *added =
			text ? config_array_add(&admission->rules, &admission->n_rules,
				       sizeof(*added), errors)
			     : NULL;

		if (!added) {
			free(text);
			errors->is_out_of_memory = true;
			return;
		}
		*added = *rule;
		added->network = answer->networks[i];
		added->text = text;
	}
}

static void resolve(
	struct config_admission *admission, struct names *names, struct config_errors *errors)
{
	struct config_rule *rules = admission->rules;
	size_t n_rules = admission->n_rules;

	admission->rules = NULL;
	admission->n_rules = 0;
	for (size_t i = 0; i < n_rules; i++) {
		const struct config_rule *rule = &rules[i];
		struct names_answer own = {.networks = {rule->network}, .n_networks = 1};
		struct names_answer *answer = &own;

		if (is_name(rule))
			answer = names_find(names, rule->text);
		add_rules(admission, rule, answer, errors);
		warn(rule, answer, errors);
		free(rule->text);
	}
	free(rules);
}

/* Of a foreign file: a name of no_access that has no address would let in whom it kept out. */
static void check_no_access(
	const struct config_service *service, struct names *names, struct config_errors *errors)
{
	for (size_t i = 0; i < service->admission.n_rules; i++) {
		const struct config_rule *rule = &service->admission.rules[i];
		const struct names_answer *answer;

		if (rule->is_allowed || !is_name(rule))
			continue;
		answer = names_find(names, rule->text);
		if (answer->why)
			config_errors_add(errors, rule->place,
				"no_access: the name '%s' cannot be looked up: %s, expected another "
				"name, or an address",
				rule->text, answer->why);
	}
}

/* Returns whether the service with this number stays. */
static bool resolve_foreign(
	struct config *config, size_t number, struct names *names, struct config_errors *errors)
{
	struct config_service *service = config->services[number];
	struct config_errors found = {0};
	bool is_left_out;

	check_no_access(service, names, &found);
	if (config_listen_has_names(service))
		config_listen_resolve(service, names, &found);
	errors->is_out_of_memory |= found.is_out_of_memory;
	is_left_out = found.n_lines > 0;
	for (size_t i = 0; i < found.n_warnings && !is_left_out; i++)
		config_foreign_warn(config, found.warnings[i], NULL, errors);
	if (is_left_out)
		config_foreign_leave_out(config, number, found.lines[0], errors);
	config_errors_done(&found);
	return !is_left_out;
}

/* Addresses can be in each other's way where names were not. */
static void resolve_all_listeners(
	struct config *config, struct names *names, struct config_errors *errors)
{
	bool is_changed = false;

	for (size_t i = 0; i < config->n_services;) {
		struct config_service *service = config->services[i];
		bool has_names = config_listen_has_names(service), stays = true;

		if (service->is_disabled) {
			i++;
			continue;
		}
		if (service->is_foreign)
			stays = resolve_foreign(config, i, names, errors);
		else if (has_names)
			config_listen_resolve(service, names, errors);
		is_changed |= has_names || !stays;
		i += stays;
	}
	if (is_changed && errors->n_lines == 0 && !errors->is_out_of_memory)
		config_foreign_join_again(config, errors);
}

int config_resolve(struct config *config, struct names *names, struct config_errors *errors)
{
	if (names_count(names) == 0)
		return 0;
	resolve_all_listeners(config, names, errors);
	for (size_t i = 0; i < config->n_services; i++)
		if (!config->services[i]->is_disabled)
			resolve(&config->services[i]->admission, names, errors);
	if (errors->is_out_of_memory)
		return -ENOMEM;
	return errors->n_lines > 0 ? -EINVAL : 0;
}

int config_resolve_now(struct config *config, struct config_errors *errors)
{
	struct names *names;
	int r = names_new(&names);

	if (r < 0)
		return r;
	r = config_add_names(config, names, errors);
	if (r == 0 && names_count(names) > 0) {
		names_start(names);
		names_wait(names, NAMES_TIMEOUT_USEC);
		names_close(names);
		r = config_resolve(config, names, errors);
	}
	names_free(names);
	return r;
}
