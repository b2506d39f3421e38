/* SPDX-License-Identifier: MIT */
/*
 * The schema of usher.conf(5): every key, what it takes and what it is without being given. A test
 * compares it with the manual.
 *
 * Not here, because they are no values: include(), defaults {} and service {}.
 */
#include "config-private.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#define MEMBER(member)                                                                             \
	.offset = offsetof(struct config_service, member),                                         \
	.size = sizeof(((struct config_service *)NULL)->member)

#define LIST(first, count)                                                                         \
	.is_list = true, MEMBER(first), .count_offset = offsetof(struct config_service, count)

static const char *const unavailable_choices[] = {
	[CONFIG_UNAVAILABLE_WAIT] = "wait",
	[CONFIG_UNAVAILABLE_REFUSE] = "refuse",
	[CONFIG_UNAVAILABLE_RESET] = "reset",
	NULL,
};

static const char *const balance_choices[] = {
	[CONFIG_BALANCE_LEAST] = "least",
	[CONFIG_BALANCE_ROUND_ROBIN] = "round_robin",
	NULL,
};

static const char *const takeover_choices[] = {
	[CONFIG_TAKEOVER_SHARE] = "share",
	[CONFIG_TAKEOVER_NEWEST] = "newest",
	NULL,
};

const char *const config_sections[CONFIG_N_SECTIONS] = {"providers", "park", "socket"};

/* clang-format off */
const struct config_key config_keys[CONFIG_N_KEYS] = {
	{ NULL, "disable", .parse = config_value_boolean, MEMBER(is_disabled) },
	{ NULL, "listen", .add = config_draft_add_listen, .is_required = true, LIST(listen, n_listen) },
	{ NULL, "instances", .parse = config_value_number, .least = 1, .most = 1u << 20,
	  .initial = 1024, MEMBER(instances) },
	{ NULL, "unavailable", .parse = config_value_choice, .choices = unavailable_choices,
	  MEMBER(unavailable) },
	{ NULL, "claim_timeout", .parse = config_value_duration, .least = UINT64_C(100000),
	  .most = UINT64_C(3600000000), .initial = UINT64_C(10000000), MEMBER(claim_timeout_usec) },

	{ "providers", "users", .parse = config_value_user, LIST(providers.users, providers.n_users) },
	{ "providers", "groups", .parse = config_value_group, LIST(providers.groups, providers.n_groups) },
	{ "providers", "max", .parse = config_value_number, .least = 1, .most = 4096, .initial = 16,
	  MEMBER(providers.max) },
	{ "providers", "balance", .parse = config_value_choice, .choices = balance_choices,
	  MEMBER(providers.balance) },
	{ "providers", "takeover", .parse = config_value_choice, .choices = takeover_choices,
	  MEMBER(providers.takeover) },
	{ "providers", "forward", .add = config_draft_add_forward,
	  LIST(providers.forward, providers.n_forward) },
	{ "providers", "set_peer", .parse = config_value_boolean, MEMBER(providers.may_set_peer) },

	{ "park", "max", .parse = config_value_number, .least = 0, .most = 1u << 20, .initial = 1u << 20,
	  MEMBER(park.max) },
	{ "park", "timeout", .parse = config_value_duration, .least = UINT64_C(1000000),
	  .most = UINT64_C(86400000000), .initial = UINT64_C(300000000), MEMBER(park.timeout_usec) },

	{ "socket", "backlog", .parse = config_value_number, .least = 1, .most = 65535, .initial = 4096,
	  MEMBER(socket.backlog) },
	{ "socket", "nodelay", .parse = config_value_boolean, MEMBER(socket.nodelay) },
	{ "socket", "keepalive", .parse = config_value_boolean, MEMBER(socket.keepalive) },
	{ "socket", "v6only", .parse = config_value_boolean, MEMBER(socket.v6only) },
	{ "socket", "freebind", .parse = config_value_boolean, MEMBER(socket.freebind) },
};
/* clang-format on */

/* Replace an allocated text by a copy of another. */
static bool set_text(char **text, const char *value, char *why)
{
	char *copy = strdup(value);

	if (!copy) {
		(void)snprintf(why, CONFIG_WHY_SIZE, "out of memory");
		return false;
	}
	free(*text);
	*text = copy;
	return true;
}

static bool parse_run_dir(struct config *config, const char *text, char *why)
{
	size_t most = sizeof(((struct sockaddr_un *)NULL)->sun_path) - sizeof("/control.sock");
	size_t length = strlen(text);

	if (*text != '/') {
		(void)snprintf(
			why, CONFIG_WHY_SIZE, "run_dir is '%s', expected an absolute path", text);
		return false;
	}
	while (length > 1 && text[length - 1] == '/') /* or paths in it could not be compared */
		length--;
	if (length > most) {
		(void)snprintf(why, CONFIG_WHY_SIZE,
			"run_dir has %zu bytes, expected at most %zu, because of the sockets in it "
			"(unix(7))",
			length, most);
		return false;
	}
	if (!set_text(&config->run_dir, text, why))
		return false;
	config->run_dir[length] = '\0';
	return true;
}

static bool parse_user(struct config *config, const char *text, char *why)
{
	char *name;

	if (!config_value_account(text, &config->uid, &config->gid, &name, why))
		return false;
	free(config->user);
	config->user = name;
	config->is_user_known = true;
	return true;
}

static bool parse_log(struct config *config, const char *text, char *why)
{
	static const struct {
		const char *name;
		enum config_log log;
	} targets[] = {
		{"journal", CONFIG_LOG_JOURNAL},
		{"syslog", CONFIG_LOG_SYSLOG},
		{"stderr", CONFIG_LOG_STDERR},
	};

	for (size_t i = 0; i < sizeof(targets) / sizeof(targets[0]); i++) {
		if (strcmp(text, targets[i].name) != 0)
			continue;
		config->log = targets[i].log;
		return true;
	}
	if (*text != '/') {
		(void)snprintf(why, CONFIG_WHY_SIZE,
			"log is '%s', expected journal, syslog, stderr or the absolute path of a "
			"file",
			text);
		return false;
	}
	config->log = CONFIG_LOG_FILE;
	return set_text(&config->log_file, text, why);
}

const struct config_global config_globals[CONFIG_N_GLOBALS] = {
	{"run_dir", parse_run_dir},
	{"user", parse_user},
	{"log", parse_log},
};
