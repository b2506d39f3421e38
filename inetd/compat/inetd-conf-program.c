/* SPDX-License-Identifier: MIT */
/* How often, as whom and what: the other fields of inetd.conf, see inetd-conf-private.h. */
#include "inetd-conf-private.h"

#include "program.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define MAX_RATE      1000000u
#define MAX_INSTANCES (1u << 20)

/* KEY = {COUNT, 1min} */
static void add_rate(struct inetd_conf *conf, struct translation_service *service, const char *key,
	uint32_t count)
{
	struct translation_assignment *rate =
		translation_assign(conf->translation, service, NULL, key, conf->place);

	translation_add_text(conf->translation, rate, "%" PRIu32, count);
	translation_add_text(conf->translation, rate, "1min");
}

static void add_number(struct inetd_conf *conf, struct translation_service *service,
	const char *key, uint32_t number)
{
	translation_add_text(conf->translation,
		translation_assign(conf->translation, service, NULL, key, conf->place), "%" PRIu32,
		number);
}

/* nowait.MOST, nowait:MOST: how many a minute. */
static bool add_most(struct inetd_conf *conf, struct translation_service *service, const char *text)
{
	uint32_t most;

	if (!inetd_conf_read_number(text, MAX_RATE, &most))
		return inetd_conf_refuse(conf,
			"'%s' a minute is no number up to %u, as in nowait.60", text, MAX_RATE);
	if (most > 0)
		add_rate(conf, service, "rate", most);
	return true;
}

/* nowait/CHILDREN/PER-MINUTE/PER-IP: at once, each address a minute, each address at once. */
static bool add_limits(struct inetd_conf *conf, struct translation_service *service, char *text)
{
	static const struct {
		const char *key;
		uint32_t most;
		bool is_rate;
	} limits[] = {
		{"instances", MAX_INSTANCES, false},
		{"per_source_rate", MAX_RATE, true},
		{"per_source", MAX_INSTANCES, false},
	};
	size_t n = 0;

	for (char *rest; text; text = rest, n++) {
		uint32_t number;

		rest = inetd_conf_cut(text, "/");
		if (n == sizeof(limits) / sizeof(limits[0]) ||
			!inetd_conf_read_number(text, limits[n].most, &number))
			return inetd_conf_refuse(conf,
				"'%s' is no limit, expected numbers, as in nowait/40/60/4", text);
		if (number > 0 && limits[n].is_rate)
			add_rate(conf, service, limits[n].key, number);
		else if (number > 0)
			add_number(conf, service, limits[n].key, number);
	}
	return true;
}

/* Is anything but WAIT/1 asked of a service whose clients nobody counts? */
static void warn_of_limits(struct inetd_conf *conf, const char *text)
{
	if (strcmp(text, "1") != 0)
		translation_warn(conf->translation, conf->place,
			"the limit '%s' is not carried out: who is lent the socket (wait) accepts "
			"by himself; use limits of the program",
			text);
}

static bool add_wait(struct inetd_conf *conf, const struct inetd_entry *entry,
	struct translation_service *service)
{
	char *field = entry->fields[INETD_FIELD_WAIT];
	size_t length = strcspn(field, ".:/");
	char separator = field[length], *limits = inetd_conf_cut(field, ".:/");
	bool is_wait = strcmp(field, "wait") == 0;

	if (!is_wait && strcmp(field, "nowait") != 0)
		return inetd_conf_refuse(conf, "'%s' is unclear, expected wait or nowait", field);
	if (is_wait && entry->is_mux)
		return inetd_conf_refuse(conf, "behind tcpmux there is no socket to wait on, "
					       "expected nowait");
	if (is_wait && entry->is_stream)
		translation_assign_text(
			conf->translation, service, NULL, "deliver", conf->place, "listener");
	if (!limits)
		return true;
	if (is_wait || !entry->is_stream) {
		warn_of_limits(conf, limits);
		return true;
	}
	return separator == '/' ? add_limits(conf, service, limits)
				: add_most(conf, service, limits);
}

/* TYPE,MOST */
static bool add_accept_max(struct inetd_conf *conf, const struct inetd_entry *entry,
	struct translation_service *service)
{
	uint32_t most;

	if (!entry->most)
		return true;
	if (!inetd_conf_read_number(entry->most, MAX_INSTANCES, &most))
		return inetd_conf_refuse(
			conf, "'%s' is no limit, expected a number, as in stream,40", entry->most);
	if (most > 0 && !translation_find(service, NULL, "instances"))
		add_number(conf, service, "instances", most);
	return true;
}

/* USER[:GROUP][/CLASS], USER.GROUP */
static bool add_user(struct inetd_conf *conf, const struct inetd_entry *entry,
	struct translation_service *service)
{
	char *user = entry->fields[INETD_FIELD_USER];
	const char *login_class = inetd_conf_cut(user, "/");
	const char *group = inetd_conf_cut(user, strchr(user, ':') ? ":" : ".");

	if (*user == '\0' || (group && *group == '\0'))
		return inetd_conf_refuse(conf, "there is no user, expected USER or USER:GROUP");
	if (login_class)
		translation_warn(conf->translation, conf->place,
			"there are no login classes on Linux: instead of '%s' use rlimit of "
			"usher.conf(5), section exec",
			login_class);
	translation_assign_text(conf->translation, service, "exec", "user", conf->place, user);
	if (group)
		translation_assign_text(
			conf->translation, service, "exec", "group", conf->place, group);
	return true;
}

/* The program and its arguments, of which the first is its name. */
static bool add_command(struct inetd_conf *conf, const struct inetd_entry *entry,
	struct translation_service *service)
{
	char *const *fields = entry->fields;
	bool has_name = entry->n_fields > INETD_FIELD_ARGUMENTS;
	size_t n_args = has_name ? entry->n_fields - INETD_FIELD_ARGUMENTS - 1 : 0;

	if (*fields[INETD_FIELD_PROGRAM] != '/')
		return inetd_conf_refuse(conf,
			"the program '%s' is no absolute path, expected one, or internal",
			fields[INETD_FIELD_PROGRAM]);
	if (n_args > TRANSLATION_MAX_TEXTS)
		return inetd_conf_refuse(
			conf, "there are more than %d arguments", TRANSLATION_MAX_TEXTS);
	program_assign(conf->translation, service, conf->place, fields[INETD_FIELD_PROGRAM],
		has_name ? fields[INETD_FIELD_ARGUMENTS] : NULL);
	program_assign_args(conf->translation, service, conf->place,
		fields + INETD_FIELD_ARGUMENTS + 1, n_args);
	return true;
}

bool inetd_entry_add_program(struct inetd_conf *conf, const struct inetd_entry *entry,
	struct translation_service *service)
{
	if (!add_wait(conf, entry, service) || !add_accept_max(conf, entry, service))
		return false;
	if (strcmp(entry->fields[INETD_FIELD_PROGRAM], "internal") == 0) {
		if (!entry->is_mux && program_is_builtin(service->name)) {
			program_assign_builtin(
				conf->translation, service, conf->facts, conf->place);
			return true;
		}
		return inetd_conf_refuse(conf,
			"usher has no internal service '%s', expected echo, discard, chargen, "
			"daytime, time or tcpmux",
			service->name);
	}
	return add_command(conf, entry, service) && add_user(conf, entry, service);
}
