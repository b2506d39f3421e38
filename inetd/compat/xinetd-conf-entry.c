/* SPDX-License-Identifier: MIT */
/* The attributes of xinetd.conf, and what becomes of them: see xinetd-conf-private.h. */
#include "xinetd-conf-private.h"

#include <stdlib.h>
#include <string.h>

#define ANY -1

static const struct key {
	const char *name;
	int n_values;	     /* exactly so many, or ANY */
	bool is_modifiable;  /* has += and -= */
	bool is_of_defaults; /* may stand there */
	bool is_of_services;
} keys[XINETD_N_KEYS] = {
	[XINETD_ACCESS_TIMES] = {"access_times", ANY, false, false, true},
	[XINETD_BANNER] = {"banner", 1, false, true, true},
	[XINETD_BANNER_FAIL] = {"banner_fail", 1, false, true, true},
	[XINETD_BANNER_SUCCESS] = {"banner_success", 1, false, true, true},
	[XINETD_BIND] = {"bind", 1, false, true, true},
	[XINETD_CPS] = {"cps", 2, false, true, true},
	[XINETD_DENY_TIME] = {"deny_time", 1, false, false, true},
	[XINETD_DISABLE] = {"disable", 1, false, false, true},
	[XINETD_DISABLED] = {"disabled", ANY, true, true, false},
	[XINETD_ENABLED] = {"enabled", ANY, true, true, false},
	[XINETD_ENV] = {"env", ANY, true, false, true},
	[XINETD_FLAGS] = {"flags", ANY, false, false, true},
	[XINETD_GROUP] = {"group", 1, false, false, true},
	[XINETD_GROUPS] = {"groups", 1, false, true, true},
	[XINETD_ID] = {"id", 1, false, false, true},
	[XINETD_INSTANCES] = {"instances", 1, false, true, true},
	[XINETD_LIBWRAP] = {"libwrap", 1, false, false, true},
	[XINETD_LOG_ON_FAILURE] = {"log_on_failure", ANY, true, true, true},
	[XINETD_LOG_ON_SUCCESS] = {"log_on_success", ANY, true, true, true},
	[XINETD_LOG_TYPE] = {"log_type", ANY, false, true, true},
	[XINETD_MAX_LOAD] = {"max_load", 1, false, true, true},
	[XINETD_MDNS] = {"mdns", 1, false, true, true},
	[XINETD_NICE] = {"nice", 1, false, false, true},
	[XINETD_NO_ACCESS] = {"no_access", ANY, true, true, true},
	[XINETD_ONLY_FROM] = {"only_from", ANY, true, true, true},
	[XINETD_PASSENV] = {"passenv", ANY, true, true, true},
	[XINETD_PER_SOURCE] = {"per_source", 1, false, true, true},
	[XINETD_PORT] = {"port", 1, false, false, true},
	[XINETD_PROTOCOL] = {"protocol", 1, false, false, true},
	[XINETD_REDIRECT] = {"redirect", 2, false, false, true},
	[XINETD_RLIMIT_AS] = {"rlimit_as", 1, false, false, true},
	[XINETD_RLIMIT_CPU] = {"rlimit_cpu", 1, false, false, true},
	[XINETD_RLIMIT_DATA] = {"rlimit_data", 1, false, false, true},
	[XINETD_RLIMIT_FILES] = {"rlimit_files", 1, false, false, true},
	[XINETD_RLIMIT_RSS] = {"rlimit_rss", 1, false, false, true},
	[XINETD_RLIMIT_STACK] = {"rlimit_stack", 1, false, false, true},
	[XINETD_RPC_NUMBER] = {"rpc_number", 1, false, false, true},
	[XINETD_RPC_VERSION] = {"rpc_version", 1, false, false, true},
	[XINETD_SERVER] = {"server", 1, false, false, true},
	[XINETD_SERVER_ARGS] = {"server_args", ANY, false, false, true},
	[XINETD_SOCKET_TYPE] = {"socket_type", 1, false, false, true},
	[XINETD_TYPE] = {"type", ANY, false, false, true},
	[XINETD_UMASK] = {"umask", 1, false, true, true},
	[XINETD_USER] = {"user", 1, false, false, true},
	[XINETD_V6ONLY] = {"v6only", 1, false, true, true},
	[XINETD_WAIT] = {"wait", 1, false, false, true},
};

enum xinetd_key xinetd_entry_find_key(const char *name)
{
	size_t i = 0;

	if (strcmp(name, "interface") == 0) /* another word for it */
		return XINETD_BIND;
	while (i < XINETD_N_KEYS && strcmp(name, keys[i].name) != 0)
		i++;
	return (enum xinetd_key)i;
}

const char *xinetd_entry_key_name(enum xinetd_key key)
{
	return keys[key].name;
}

static void warn(struct xinetd_conf *conf, const struct xinetd_line *line, const char *sentence)
{
	translation_warn(conf->translation, line->place, "%s %s", keys[line->key].name, sentence);
}

static bool add_value(struct xinetd_attribute *attribute, const char *value)
{
	const char **values =
		reallocarray(attribute->values, attribute->n_values + 1, sizeof(*values));

	if (!values)
		return false;
	attribute->values = values;
	attribute->values[attribute->n_values++] = value;
	return true;
}

static bool remove_value(struct xinetd_attribute *attribute, const char *value)
{
	size_t n = 0;

	for (size_t i = 0; i < attribute->n_values; i++)
		if (strcmp(attribute->values[i], value) != 0)
			attribute->values[n++] = attribute->values[i];
	if (n == attribute->n_values)
		return false;
	attribute->n_values = n;
	return true;
}

/* Does what stands there go with the attribute? If not, it is ignored, which is said. */
static bool check_line(struct xinetd_conf *conf, const struct xinetd_line *line, bool is_defaults,
	bool is_repeated)
{
	const struct key *key = &keys[line->key];

	if (!(is_defaults ? key->is_of_defaults : key->is_of_services))
		warn(conf, line,
			is_defaults ? "does not belong into defaults, and is ignored"
				    : "belongs into defaults, and is ignored");
	else if (!key->is_modifiable && is_repeated)
		warn(conf, line, "is given a second time, which is ignored: the first counts");
	else if (!key->is_modifiable && line->operator!= XINETD_SET)
		warn(conf, line, "has '+=' or '-=', which is ignored, expected '='");
	else if (key->n_values != ANY && (size_t)key->n_values != line->n_values)
		translation_warn(conf->translation, line->place,
			"%s has %zu values, which are ignored, expected %d", key->name,
			line->n_values, key->n_values);
	else
		return true;
	return false;
}

/* Returns false when the line cannot be carried out. */
static bool apply_line(struct xinetd_conf *conf, const struct xinetd_line *line, bool is_defaults,
	struct xinetd_attribute *attribute)
{
	if (line->key == XINETD_ENV && line->operator== XINETD_REMOVE) {
		warn(conf, line, "has no '-=', expected '='; the service is left out");
		return false;
	}
	if (line->operator== XINETD_SET && !(is_defaults && keys[line->key].is_modifiable))
		attribute->n_values = 0;
	attribute->is_given = true;
	attribute->place = line->place;
	for (size_t i = 0; i < line->n_values; i++) {
		if (line->operator!= XINETD_REMOVE) {
			if (!add_value(attribute, line->values[i]))
				conf->translation->is_out_of_memory = true;
		} else if (!remove_value(attribute, line->values[i])) {
			translation_warn(conf->translation, line->place,
				"%s has no '%s' that could be taken away", keys[line->key].name,
				line->values[i]);
		}
	}
	return true;
}

static bool apply_entry(struct xinetd_conf *conf, const struct xinetd_entry *entry,
	struct xinetd_attribute *attributes)
{
	bool is_seen[XINETD_N_KEYS] = {0}, is_right = true;

	for (size_t i = 0; i < entry->n_lines; i++) {
		const struct xinetd_line *line = &entry->lines[i];

		if (!check_line(conf, line, !entry->name, is_seen[line->key]))
			continue;
		is_seen[line->key] = true;
		if (!apply_line(conf, line, !entry->name, &attributes[line->key]))
			is_right = false;
	}
	return is_right;
}

bool xinetd_entry_resolve(struct xinetd_conf *conf, const struct xinetd_entry *defaults,
	const struct xinetd_entry *entry, struct xinetd_attribute *attributes)
{
	/* What is wrong in defaults is said once, by whoever resolves them alone. */
	struct translation scrap = {0}, *translation = conf->translation;

	if (defaults) {
		conf->translation = &scrap;
		(void)apply_entry(conf, defaults, attributes);
		conf->translation = translation;
		translation->is_out_of_memory |= scrap.is_out_of_memory;
		translation_done(&scrap);
	}
	return apply_entry(conf, entry, attributes);
}

void xinetd_entry_done(struct xinetd_attribute *attributes)
{
	for (size_t i = 0; i < XINETD_N_KEYS; i++)
		free(attributes[i].values);
}
