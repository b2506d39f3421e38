/* SPDX-License-Identifier: MIT */
/* Who may come in, when, how often, and what is logged: see xinetd-conf-private.h. */
#include "xinetd-conf-private.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define UNLIMITED "UNLIMITED"

/* As many as usher.conf knows. */
#define MOST_INSTANCES	 "1048576"

#define MINUTES_OF_DAY	 (24 * 60)
#define MAX_DENY_MINUTES (365u * MINUTES_OF_DAY)

/* A list whose values are the same here and there; an empty one too. */
static void add_list(struct xinetd_service *service, enum xinetd_key from, const char *key)
{
	const struct xinetd_attribute *attribute = &service->attributes[from];
	struct translation *translation = service->conf->translation;
	struct translation_assignment *assignment;

	if (!attribute->is_given)
		return;
	assignment = translation_assign(translation, service->service, NULL, key, attribute->place);
	for (size_t i = 0; i < attribute->n_values; i++)
		translation_add_text(translation, assignment, "%s", attribute->values[i]);
}

/* UNLIMITED is the word for `most`. */
static void add_number(
	struct xinetd_service *service, enum xinetd_key from, const char *key, const char *most)
{
	const char *text = xinetd_service_value(service, from);

	if (text)
		xinetd_service_assign(
			service, NULL, key, from, strcmp(text, UNLIMITED) == 0 ? most : text);
}

/* RATE PAUSE, in seconds. A rate of 0 is none for xinetd. */
static void add_cps(struct xinetd_service *service)
{
	const struct xinetd_attribute *cps = &service->attributes[XINETD_CPS];
	struct translation *translation = service->conf->translation;
	struct translation_assignment *assignment;

	if (!cps->is_given || strcmp(cps->values[0], "0") == 0)
		return;
	assignment = translation_assign(translation, service->service, NULL, "cps", cps->place);
	translation_add_text(translation, assignment, "%s", cps->values[0]);
	translation_add_text(translation, assignment, "%ss",
		strcmp(cps->values[1], "0") == 0 ? "1" : cps->values[1]);
}

/* "8:30" in minutes. Returns what follows it, or NULL. */
static const char *read_time(const char *text, unsigned long *ret)
{
	char *end;
	unsigned long hours, minutes;

	if (!isdigit((unsigned char)*text))
		return NULL;
	hours = strtoul(text, &end, 10);
	if (*end != ':' || !isdigit((unsigned char)end[1]) || hours > 23)
		return NULL;
	minutes = strtoul(end + 1, &end, 10);
	if (minutes > 59)
		return NULL;
	*ret = 60 * hours + minutes;
	return end;
}

/* The last minute belongs to xinetd's intervals, and not to those of usher.conf. */
static bool add_access_times(struct xinetd_service *service)
{
	const struct xinetd_attribute *times = &service->attributes[XINETD_ACCESS_TIMES];
	struct translation *translation = service->conf->translation;
	struct translation_assignment *assignment;

	if (!times->is_given)
		return true;
	assignment = translation_assign(
		translation, service->service, NULL, "access_times", times->place);
	for (size_t i = 0; i < times->n_values; i++) {
		unsigned long first, last = 0;
		const char *end = read_time(times->values[i], &first);

		end = end && *end == '-' ? read_time(end + 1, &last) : NULL;
		if (!end || *end || first >= last)
			return xinetd_service_refuse(service, times->place,
				"access_times has '%s', expected HOUR:MIN-HOUR:MIN, the later last",
				times->values[i]);
		last++;
		translation_add_text(translation, assignment, "%02lu:%02lu-%02lu:%02lu", first / 60,
			first % 60, last / 60, last % 60);
	}
	if (times->n_values == 0)
		return xinetd_service_refuse(service, times->place,
			"access_times has no values, expected HOUR:MIN-HOUR:MIN");
	return true;
}

/* Whoever comes is refused everywhere for a while, which is in minutes. */
static bool add_sensor(struct xinetd_service *service)
{
	const char *text = xinetd_service_value(service, XINETD_DENY_TIME);
	const struct translation_place place = service->attributes[XINETD_FLAGS].place;
	bool is_forever = text && strcmp(text, "FOREVER") == 0;
	char *end = NULL;
	unsigned long minutes = text ? strtoul(text, &end, 10) : 0;

	if (!xinetd_service_has(service, XINETD_FLAGS, "SENSOR"))
		return true;
	if (!is_forever && (minutes == 0 || minutes > MAX_DENY_MINUTES || *end))
		return xinetd_service_refuse(service, place,
			"it is a SENSOR that denies nobody, expected a deny_time in minutes or "
			"FOREVER");
	xinetd_service_assign(service, NULL, "sensor", XINETD_FLAGS, "true");
	if (is_forever)
		xinetd_service_assign(service, NULL, "deny_time", XINETD_DENY_TIME, "forever");
	else
		translation_add_text(service->conf->translation,
			translation_assign(service->conf->translation, service->service, NULL,
				"deny_time", service->attributes[XINETD_DENY_TIME].place),
			"%lumin", minutes);
	return true;
}

/* Who is refused gets a file before the end. */
static void add_banner_fail(struct xinetd_service *service)
{
	const char *file = xinetd_service_value(service, XINETD_BANNER_FAIL);
	struct translation *translation = service->conf->translation;

	if (!file)
		file = xinetd_service_value(service, XINETD_BANNER); /* everybody gets it */
	if (!file)
		return;
	if (service->is_mux) {
		translation_warn(translation, service->entry->place,
			"what refused clients get is not carried out for '%s', which is behind "
			"tcpmux: give tcpmux itself the rules and banner_fail",
			service->entry->name);
		return;
	}
	service->service->refusal = strdup(file);
	if (!service->service->refusal)
		translation->is_out_of_memory = true;
}

/* "HOST" is "host". */
static void add_item(struct translation *translation, struct translation_assignment *assignment,
	const char *item)
{
	char lower[32];
	size_t i = 0;

	for (; item[i] && i < sizeof(lower) - 1; i++)
		lower[i] = (char)tolower((unsigned char)item[i]);
	lower[i] = '\0';
	translation_add_text(translation, assignment, "%s", lower);
}

static bool is_in(const char *const *items, const char *item)
{
	for (; *items; items++)
		if (strcmp(*items, item) == 0)
			return true;
	return false;
}

/* The line with an item, of the service or of defaults {}. */
static struct translation_place find_item(
	const struct xinetd_service *service, enum xinetd_key key, const char *item)
{
	const struct xinetd_entry *entries[] = {service->entry, service->conf->defaults};

	for (size_t i = 0; i < sizeof(entries) / sizeof(entries[0]); i++)
		for (size_t j = 0; entries[i] && j < entries[i]->n_lines; j++) {
			const struct xinetd_line *line = &entries[i]->lines[j];

			for (size_t n = 0; line->key == key && n < line->n_values; n++)
				if (line->operator!= XINETD_REMOVE &&
					strcmp(line->values[n], item) == 0)
					return line->place;
		}
	return service->attributes[key].place;
}

/* What many services have is said once, and not kept back if one of them runs. */
static void warn_once(struct xinetd_service *service, size_t *warning,
	struct translation_place place, const char *sentence)
{
	struct translation *translation = service->conf->translation;

	if (*warning == 0) {
		translation_warn(translation, place, "%s", sentence);
		*warning = translation->n_warnings;
	} else if (!service->service->is_disabled) {
		translation->warnings[*warning - 1].is_idle = false;
	}
}

static void warn_of_userid(struct xinetd_service *service, enum xinetd_key key)
{
	warn_once(service, &service->conf->userid_warning, find_item(service, key, "USERID"),
		"USERID is not carried out, here and elsewhere: usher asks no client's host who he "
		"is (RFC 1413); take it away");
}

static void warn_of_traffic(struct xinetd_service *service)
{
	warn_once(service, &service->conf->traffic_warning,
		find_item(service, XINETD_LOG_ON_SUCCESS, "TRAFFIC"),
		"TRAFFIC is not logged, here and elsewhere: usher never sees what a program and "
		"its client say; take it away, and let the program count, or instead of redirect "
		"run usher-redirect(8) --log as a service");
}

static bool add_items(struct xinetd_service *service, enum xinetd_key from,
	const char *const *items, struct translation_assignment *assignment)
{
	const struct xinetd_attribute *attribute = &service->attributes[from];

	for (size_t i = 0; i < attribute->n_values; i++) {
		const char *item = attribute->values[i];

		if (strcmp(item, "USERID") == 0)
			warn_of_userid(service, from);
		else if (strcmp(item, "TRAFFIC") == 0 && from == XINETD_LOG_ON_SUCCESS)
			warn_of_traffic(service);
		else if (is_in(items, item))
			add_item(service->conf->translation, assignment, item);
		else if (strcmp(item, "ATTEMPT") != 0 || from != XINETD_LOG_ON_FAILURE)
			return xinetd_service_refuse(service, attribute->place,
				"%s has '%s', which xinetd.conf(5) does not know",
				xinetd_entry_key_name(from), item);
	}
	return true;
}

static bool add_log_items(struct xinetd_service *service)
{
	static const char *const success[] = {"PID", "HOST", "EXIT", "DURATION", NULL};
	static const char *const failure[] = {"HOST", NULL};
	struct translation *translation = service->conf->translation;
	const struct xinetd_attribute *attributes = service->attributes;
	struct translation_assignment *assignment;

	if (attributes[XINETD_LOG_ON_SUCCESS].is_given &&
		!add_items(service, XINETD_LOG_ON_SUCCESS, success,
			translation_assign(translation, service->service, NULL, "log_on_success",
				attributes[XINETD_LOG_ON_SUCCESS].place)))
		return false;
	if (!attributes[XINETD_LOG_ON_FAILURE].is_given)
		return true;
	assignment = translation_assign(translation, service->service, NULL, "log_on_failure",
		attributes[XINETD_LOG_ON_FAILURE].place);
	if (attributes[XINETD_LOG_ON_FAILURE].n_values > 0)
		translation_add_text(translation, assignment, "reason"); /* every item implies it */
	return add_items(service, XINETD_LOG_ON_FAILURE, failure, assignment);
}

/* A size in bytes, with K or M. */
static void add_size(struct translation *translation, struct translation_assignment *assignment,
	const char *text)
{
	size_t length = strlen(text);
	const char *unit = length == 0			    ? ""
			   : strchr("kK", text[length - 1]) ? "KiB"
			   : strchr("mM", text[length - 1]) ? "MiB"
							    : "";

	translation_add_text(
		translation, assignment, "%.*s%s", (int)(length - (*unit != '\0')), text, unit);
}

/* SYSLOG FACILITY [LEVEL], FILE PATH [SOFT [HARD]] */
static bool add_log_type(struct xinetd_service *service)
{
	const struct xinetd_attribute *type = &service->attributes[XINETD_LOG_TYPE];
	struct translation *translation = service->conf->translation;
	struct translation_assignment *assignment;
	bool is_file = type->n_values > 0 && strcmp(type->values[0], "FILE") == 0;

	if (!type->is_given)
		return true;
	if (!is_file && (type->n_values == 0 || strcmp(type->values[0], "SYSLOG") != 0))
		return xinetd_service_refuse(service, type->place,
			"log_type is unclear, expected SYSLOG FACILITY [LEVEL] or FILE PATH [SOFT "
			"[HARD]]");
	assignment =
		translation_assign(translation, service->service, NULL, "log_type", type->place);
	for (size_t i = 0; i < type->n_values; i++) {
		if (i == 0)
			translation_add_text(
				translation, assignment, "%s", is_file ? "file" : "syslog");
		else if (is_file && i > 1)
			add_size(translation, assignment, type->values[i]);
		else
			translation_add_text(translation, assignment, "%s", type->values[i]);
	}
	return true;
}

/* Do the lists keep anybody out? */
static bool is_restricted(const struct xinetd_service *service)
{
	const struct xinetd_attribute *only_from = &service->attributes[XINETD_ONLY_FROM];
	bool is_open =
		only_from->n_values == 1 && (strcmp(only_from->values[0], "0.0.0.0") == 0 ||
						    strcmp(only_from->values[0], "0.0.0.0/0") == 0);

	return (only_from->is_given && !is_open) ||
	       service->attributes[XINETD_NO_ACCESS].n_values > 0;
}

/* Datagrams and, with INTERCEPT, connections were checked by xinetd, and are by the kernel here:
 * it knows addresses, and no hours. Without INTERCEPT it let everybody in. */
static bool add_lent_access(struct xinetd_service *service)
{
	if (!service->is_dgram && !xinetd_service_has(service, XINETD_FLAGS, "INTERCEPT"))
		return true;
	if (service->attributes[XINETD_ACCESS_TIMES].is_given)
		return xinetd_service_refuse(service,
			service->attributes[XINETD_ACCESS_TIMES].place,
			"access_times cannot be checked where the program is lent the socket "
			"(dgram, or wait = yes): take it away, or start and stop the service by "
			"a timer");
	if (is_restricted(service)) {
		add_list(service, XINETD_ONLY_FROM, "only_from");
		add_list(service, XINETD_NO_ACCESS, "no_access");
	}
	return true;
}

/* Whoever waits runs once, and has no need of a number. */
static void warn_of_lent(struct xinetd_service *service)
{
	static const enum xinetd_key keys[] = {XINETD_CPS, XINETD_MAX_LOAD, XINETD_BANNER_FAIL,
		XINETD_INSTANCES, XINETD_PER_SOURCE};
	size_t n = sizeof(keys) / sizeof(keys[0]);

	for (size_t i = 0; i < (service->is_wait ? n - 2 : n); i++)
		if (service->attributes[keys[i]].is_given)
			translation_warn(service->conf->translation, service->entry->place,
				"%s is not carried out for '%s', which is lent the socket (dgram, "
				"or wait = yes)",
				xinetd_entry_key_name(keys[i]), service->entry->name);
}

/* Whoever is lent a socket accepts by himself. */
static bool add_lent(struct xinetd_service *service)
{
	const struct xinetd_attribute *attributes = service->attributes;

	if (!add_lent_access(service))
		return false;
	warn_of_lent(service);
	if (!service->is_dgram)
		translation_assign_text(service->conf->translation, service->service, NULL,
			"deliver", attributes[XINETD_WAIT].place, "listener");
	return true;
}

static bool add_rules(struct xinetd_service *service)
{
	add_list(service, XINETD_ONLY_FROM, "only_from");
	add_list(service, XINETD_NO_ACCESS, "no_access");
	add_number(service, XINETD_INSTANCES, "instances", MOST_INSTANCES);
	add_number(service, XINETD_PER_SOURCE, "per_source", "0");
	add_cps(service);
	add_number(service, XINETD_MAX_LOAD, "max_load", "0");
	add_banner_fail(service);
	return add_access_times(service) && add_sensor(service);
}

bool xinetd_service_add_access(struct xinetd_service *service)
{
	bool is_lent = service->is_dgram || service->is_wait;

	return (is_lent ? add_lent(service) : add_rules(service)) && add_log_items(service) &&
	       add_log_type(service);
}
