/* SPDX-License-Identifier: MIT */
/* What is logged of connections, and where to: what of usher.conf(5) is of struct
 * config_service_log. */
#include "config-private.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>

#define MAX_LOG_BYTES (UINT64_C(1) << 40)

/* In the order of the bits of enum config_log_item. */
static const char *const items[] = {"host", "pid", "duration", "exit", "traffic", "reason"};

static const char *const types[] = {
	[CONFIG_LOG_TYPE_COMMON] = "common",
	[CONFIG_LOG_TYPE_SYSLOG] = "syslog",
	[CONFIG_LOG_TYPE_FILE] = "file",
	NULL,
};

/* Names of syslog(3), and of syslog.conf(5). */
static const struct {
	const char *name;
	int facility;
} facilities[] = {
	{"auth", LOG_AUTH},
	{"authpriv", LOG_AUTHPRIV},
	{"cron", LOG_CRON},
	{"daemon", LOG_DAEMON},
	{"ftp", LOG_FTP},
	{"lpr", LOG_LPR},
	{"mail", LOG_MAIL},
	{"news", LOG_NEWS},
	{"user", LOG_USER},
	{"uucp", LOG_UUCP},
	{"local0", LOG_LOCAL0},
	{"local1", LOG_LOCAL1},
	{"local2", LOG_LOCAL2},
	{"local3", LOG_LOCAL3},
	{"local4", LOG_LOCAL4},
	{"local5", LOG_LOCAL5},
	{"local6", LOG_LOCAL6},
	{"local7", LOG_LOCAL7},
};

/* In the order of syslog(3). */
static const char *const levels[] = {
	"emerg", "alert", "crit", "err", "warning", "notice", "info", "debug", NULL};

/* Of those that are in the set `most`, ending with a NULL. */
static void list_items(uint64_t most, const char *ret[sizeof(items) / sizeof(items[0]) + 1])
{
	size_t n = 0;

	for (size_t i = 0; i < sizeof(items) / sizeof(items[0]); i++)
		if (most & (1u << i))
			ret[n++] = items[i];
	ret[n] = NULL;
}

bool config_value_log_item(const struct config_key *key, const char *text, uint64_t *ret, char *why)
{
	const char *allowed[sizeof(items) / sizeof(items[0]) + 1];
	const struct config_key choice = {.name = key->name, .choices = allowed};
	uint64_t unused;

	list_items(key->most, allowed);
	if (!config_value_choice(&choice, text, &unused, why))
		return false;
	for (size_t i = 0; i < sizeof(items) / sizeof(items[0]); i++)
		if (strcmp(text, items[i]) == 0)
			*ret = UINT64_C(1) << i;
	return true;
}

static bool parse_choice(const struct config_key *key, const char *const *choices, const char *text,
	uint64_t *ret, char *why)
{
	const struct config_key choice = {.name = key->name, .choices = choices};

	return config_value_choice(&choice, text, ret, why);
}

static bool parse_facility(const struct config_key *key, const char *text, int *ret, char *why)
{
	for (size_t i = 0; i < sizeof(facilities) / sizeof(facilities[0]); i++) {
		if (strcmp(text, facilities[i].name) != 0)
			continue;
		*ret = facilities[i].facility;
		return true;
	}
	return config_refuse(
		why, "%s has the facility '%s', expected one as daemon or local0", key->name, text);
}

static bool parse_syslog(const struct config_key *key, const struct config_input *input,
	struct config_log_type *ret, char *why)
{
	uint64_t level;

	if (input->index == 1) {
		ret->level = LOG_INFO;
		return parse_facility(key, input->text, &ret->facility, why);
	}
	if (input->index > 2)
		return true; /* they are counted at the end */
	if (!parse_choice(key, levels, input->text, &level, why))
		return false;
	ret->level = (int)level;
	return true;
}

static bool parse_file(const struct config_key *key, const struct config_input *input,
	struct config_log_type *ret, char *why)
{
	const struct config_key limits = {.name = key->name, .least = 1, .most = MAX_LOG_BYTES};

	if (input->index == 1) {
		if (!config_check_path(key, input->text, why))
			return false;
		free(ret->path);
		ret->path = strdup(input->text);
		return ret->path;
	}
	if (input->index > 3)
		return true;
	return config_value_size(
		&limits, input->text, input->index == 2 ? &ret->soft_bytes : &ret->hard_bytes, why);
}

static bool parse_log(
	const struct config_key *key, const struct config_input *input, void *ret, char *why)
{
	struct config_log_type *log = ret;
	uint64_t type;

	if (input->index == 0) {
		if (!parse_choice(key, types, input->text, &type, why))
			return false;
		log->type = (unsigned int)type;
		return true;
	}
	if (log->type == CONFIG_LOG_TYPE_SYSLOG)
		return parse_syslog(key, input, log, why);
	return log->type == CONFIG_LOG_TYPE_COMMON || parse_file(key, input, log, why);
}

static bool finish_log(const struct config_key *key, size_t n_texts, const void *member, char *why)
{
	static const struct {
		size_t least, most;
	} counts[] = {
		[CONFIG_LOG_TYPE_COMMON] = {1, 1},
		[CONFIG_LOG_TYPE_SYSLOG] = {2, 3},
		[CONFIG_LOG_TYPE_FILE] = {2, 4},
	};
	const struct config_log_type *log = member;

	if (n_texts < counts[log->type].least || n_texts > counts[log->type].most)
		return config_refuse(why,
			"%s has %zu value%s, expected one of common, {syslog, FACILITY, LEVEL} and "
			"{file, PATH, SOFT LIMIT, HARD LIMIT}",
			key->name, n_texts, n_texts == 1 ? "" : "s");
	if (log->hard_bytes != 0 && log->hard_bytes < log->soft_bytes)
		return config_refuse(why,
			"%s has a hard limit below the soft one, expected at least as much",
			key->name);
	return true;
}

static bool copy_log(void *element)
{
	struct config_log_type *log = element;
	bool has_path = log->path;

	log->path = has_path ? strdup(log->path) : NULL;
	return !has_path || log->path;
}

static void free_log(void *element)
{
	struct config_log_type *log = element;

	free(log->path);
	log->path = NULL;
}

static bool is_equal_log(const void *a, const void *b)
{
	const struct config_log_type *one = a, *other = b;

	return one->type == other->type && one->facility == other->facility &&
	       one->level == other->level && config_type_text.is_equal(&one->path, &other->path) &&
	       one->soft_bytes == other->soft_bytes && one->hard_bytes == other->hard_bytes;
}

const struct config_type config_type_log = {
	.is_list = true,
	.parse = parse_log,
	.finish = finish_log,
	.copy = copy_log,
	.done = free_log,
	.is_equal = is_equal_log,
};
