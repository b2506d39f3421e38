/* SPDX-License-Identifier: MIT */
/*
 * The schema of usher.conf(5): every key, what it takes and what it is without being given. A test
 * compares it with the manual.
 *
 * Not here, because they are no values: include(), defaults {} and service {}.
 */
#include "config-private.h"

#include "array.h"
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/un.h>

#define MEMBER(member)                                                                             \
	.offset = offsetof(struct config_service, member),                                         \
	.size = sizeof(((struct config_service *)NULL)->member)

#define LIST(of, first, count)                                                                     \
	.type = &config_type_##of, MEMBER(first),                                                  \
	.count_offset = offsetof(struct config_service, count)

#define NUMBER(of, member) .type = &config_type_number, .number = config_value_##of, MEMBER(member)

#define TEXT(of, member)   .type = &config_type_text, .check = of, MEMBER(member)

#define VALUE(of, member)  .type = &config_type_##of, MEMBER(member)

#define RLIMIT(resource, unit)                                                                     \
	LIST(rlimit, exec.rlimits, exec.n_rlimits),                                                \
		.tag = (resource), .number = config_value_##unit, .needs = CONFIG_NEEDS_PROGRAM

#define RULES	     LIST(rule, admission.rules, admission.n_rules)

#define SENSOR_NEEDS (CONFIG_NEEDS_CONNECTIONS | CONFIG_NEEDS_NOBODY | CONFIG_NEEDS_ADDRESSES)

#define SECONDS(n)   (UINT64_C(1000000) * (n))
#define HOURS(n)     SECONDS(UINT64_C(3600) * (n))

#define MAX_BUFFER   (UINT64_C(1) << 30)
#define MAX_RLIMIT   (UINT64_C(1) << 62)

static const char *const unavailable_choices[] = {
	[CONFIG_UNAVAILABLE_WAIT] = "wait",
	[CONFIG_UNAVAILABLE_REFUSE] = "refuse",
	[CONFIG_UNAVAILABLE_RESET] = "reset",
	NULL,
};

static const char *const balance_choices[] = {
	[CONFIG_BALANCE_LEAST] = "least",
	[CONFIG_BALANCE_ROUND_ROBIN] = "round_robin",
	[CONFIG_BALANCE_SOURCE] = "source",
	NULL,
};

static const char *const takeover_choices[] = {
	[CONFIG_TAKEOVER_SHARE] = "share",
	[CONFIG_TAKEOVER_NEWEST] = "newest",
	NULL,
};

static const char *const deliver_choices[] = {
	[CONFIG_DELIVER_CONNECTION] = "connection",
	[CONFIG_DELIVER_LISTENER] = "listener",
	[CONFIG_DELIVER_PASS] = "pass",
	NULL,
};

static const char *const log_address_choices[] = {
	[CONFIG_LOG_ADDRESS_FULL] = "full",
	[CONFIG_LOG_ADDRESS_PREFIX] = "prefix",
	[CONFIG_LOG_ADDRESS_HASH] = "hash",
	[CONFIG_LOG_ADDRESS_NONE] = "none",
	NULL,
};

/* The index is has_postfix_attributes. */
static const char *const attributes_choices[] = {"none", "postfix", NULL};

/* source_bits_v4 and the one after it */
static const uint32_t initial_prefix[] = {32, 64};
_Static_assert(offsetof(struct config_admission, source_bits_v6) ==
		       offsetof(struct config_admission, source_bits_v4) + sizeof(uint32_t),
	"per_source_prefix is stored into both at once");

#define ON_SUCCESS                                                                                 \
	(CONFIG_LOG_HOST | CONFIG_LOG_PID | CONFIG_LOG_DURATION | CONFIG_LOG_EXIT |                \
		CONFIG_LOG_TRAFFIC)
#define ON_FAILURE (CONFIG_LOG_HOST | CONFIG_LOG_REASON)
static const uint32_t initial_on_failure = ON_FAILURE;

const char *const config_sections[CONFIG_N_SECTIONS] = {
	"providers", "park", "pass", "exec", "exec.rlimit", "socket"};

/* clang-format off */
const struct config_key config_keys[CONFIG_N_KEYS] = {
	{ NULL, "disable", NUMBER(boolean, is_disabled) },
	{ NULL, "listen", .is_required = true, LIST(listen, listen, n_listen) },
	{ NULL, "deliver", .choices = deliver_choices, NUMBER(choice, deliver) },
	{ NULL, "instances", .needs = CONFIG_NEEDS_CONNECTIONS,
	  .least = 1, .most = 1u << 20, .initial = 1024, NUMBER(number, instances) },
	{ NULL, "unavailable", .needs = CONFIG_NEEDS_CONNECTIONS,
	  .choices = unavailable_choices, NUMBER(choice, unavailable) },
	{ NULL, "claim_timeout", .needs = CONFIG_NEEDS_CONNECTIONS,
	  .least = 100000, .most = HOURS(1), .initial = SECONDS(10),
	  NUMBER(duration, claim_timeout_usec) },
	{ NULL, "only_from", .needs = CONFIG_NEEDS_ADDRESSES, .tag = true, RULES,
	  .given_offset = offsetof(struct config_service, admission.has_only_from) },
	{ NULL, "no_access", .needs = CONFIG_NEEDS_ADDRESSES, .tag = false, RULES },
	{ NULL, "access_times", .needs = CONFIG_NEEDS_CONNECTIONS,
	  LIST(hours, admission.hours, admission.n_hours) },
	{ NULL, "per_source", .needs = CONFIG_NEEDS_CONNECTIONS | CONFIG_NEEDS_PROVIDERS | CONFIG_NEEDS_ADDRESSES,
	  .most = 1u << 20, NUMBER(number, admission.per_source) },
	{ NULL, "per_source_prefix", .type = &config_type_prefix, .initial_bytes = initial_prefix,
	  .offset = offsetof(struct config_service, admission.source_bits_v4),
	  .size = sizeof(initial_prefix) },
	{ NULL, "cps", .needs = CONFIG_NEEDS_CONNECTIONS, VALUE(cps, admission.cps) },
	{ NULL, "rate", .needs = CONFIG_NEEDS_CONNECTIONS, VALUE(rate, admission.rate) },
	{ NULL, "per_source_rate", .needs = CONFIG_NEEDS_CONNECTIONS | CONFIG_NEEDS_ADDRESSES,
	  VALUE(rate, admission.per_source_rate) },
	{ NULL, "max_load", .needs = CONFIG_NEEDS_CONNECTIONS,
	  .most = 100u * 10000, NUMBER(load, admission.max_load_percent) },
	{ NULL, "sensor", .needs = SENSOR_NEEDS, NUMBER(boolean, admission.is_sensor) },
	{ NULL, "deny_time", .least = SECONDS(1), .most = HOURS(24 * 365), .initial = HOURS(1),
	  NUMBER(deny_time, admission.deny_time_usec) },
	{ NULL, "refused_to", .needs = CONFIG_NEEDS_CONNECTIONS, TEXT(NULL, admission.refused_to),
	  .place_offset = offsetof(struct config_service, admission.refused_to_place) },
	{ NULL, "log_on_success", .most = ON_SUCCESS, .type = &config_type_set,
	  .number = config_value_log_item, MEMBER(log.on_success) },
	{ NULL, "log_on_failure", .most = ON_FAILURE, .type = &config_type_set,
	  .number = config_value_log_item, MEMBER(log.on_failure), .initial_bytes = &initial_on_failure },
	{ NULL, "log_address", .choices = log_address_choices, NUMBER(choice, log.address) },
	{ NULL, "log_type", VALUE(log, log.type) },

	{ "providers", "users", .needs = CONFIG_NEEDS_PROVIDERS, .is_account = true,
	  .number = config_value_user, LIST(ids, providers.accounts.users, providers.accounts.n_users) },
	{ "providers", "groups", .needs = CONFIG_NEEDS_PROVIDERS, .is_account = true,
	  .number = config_value_group, LIST(ids, providers.accounts.groups, providers.accounts.n_groups) },
	{ "providers", "max", .needs = CONFIG_NEEDS_PROVIDERS,
	  .least = 1, .most = 4096, .initial = 16, NUMBER(number, providers.max) },
	{ "providers", "balance", .needs = CONFIG_NEEDS_PROVIDERS,
	  .choices = balance_choices, NUMBER(choice, providers.balance) },
	{ "providers", "takeover", .needs = CONFIG_NEEDS_PROVIDERS,
	  .choices = takeover_choices, NUMBER(choice, providers.takeover) },
	{ "providers", "forward", .needs = CONFIG_NEEDS_CONNECTIONS | CONFIG_NEEDS_PROVIDERS,
	  LIST(texts, providers.forward, providers.n_forward),
	  .place_offset = offsetof(struct config_service, providers.forward_place) },
	{ "providers", "set_peer", .needs = CONFIG_NEEDS_PROVIDERS,
	  NUMBER(boolean, providers.may_set_peer) },

	{ "park", "max", .needs = CONFIG_NEEDS_CONNECTIONS,
	  .most = 1u << 20, .initial = 1u << 20, NUMBER(number, park.max) },
	{ "park", "timeout", .needs = CONFIG_NEEDS_CONNECTIONS,
	  .least = SECONDS(1), .most = HOURS(24), .initial = SECONDS(300),
	  NUMBER(duration, park.timeout_usec) },

	{ "pass", "path", .needs = CONFIG_NEEDS_PASS, TEXT(config_check_socket_path, pass.path) },
	{ "pass", "type", .needs = CONFIG_NEEDS_PASS,
	  .initial = SOCK_STREAM, NUMBER(socket_type, pass.type) },
	{ "pass", "attributes", .needs = CONFIG_NEEDS_PASS, .choices = attributes_choices,
	  NUMBER(choice, pass.has_postfix_attributes) },

	{ "exec", "program", .needs = CONFIG_NEEDS_PROVIDERS,
	  TEXT(config_check_path, exec.program) },
	{ "exec", "name", .needs = CONFIG_NEEDS_PROGRAM, TEXT(NULL, exec.name) },
	{ "exec", "args", .needs = CONFIG_NEEDS_PROGRAM, LIST(texts, exec.args, exec.n_args) },
	{ "exec", "env", .needs = CONFIG_NEEDS_PROGRAM,
	  .check = config_check_variable, LIST(texts, exec.env, exec.n_env) },
	{ "exec", "pass_env", .needs = CONFIG_NEEDS_PROGRAM, .check = config_check_variable_name,
	  LIST(texts, exec.pass_env, exec.n_pass_env) },
	{ "exec", "user", .needs = CONFIG_NEEDS_PROGRAM, .is_account = true,
	  TEXT(config_check_user, exec.user) },
	{ "exec", "group", .needs = CONFIG_NEEDS_PROGRAM, .is_account = true,
	  TEXT(config_check_group, exec.group) },
	{ "exec", "groups", .needs = CONFIG_NEEDS_PROGRAM,
	  .initial = true, NUMBER(boolean, exec.has_groups) },
	{ "exec", "umask", .needs = CONFIG_NEEDS_PROGRAM,
	  .most = 0777, .initial = UINT32_MAX, NUMBER(octal, exec.umask) },
	{ "exec", "nice", .needs = CONFIG_NEEDS_PROGRAM, NUMBER(nice, exec.nice) },
	{ "exec", "no_new_privs", .needs = CONFIG_NEEDS_PROGRAM,
	  NUMBER(boolean, exec.no_new_privs) },
	{ "exec", "chroot", .needs = CONFIG_NEEDS_PROGRAM, TEXT(config_check_path, exec.chroot) },
	{ "exec", "directory", .needs = CONFIG_NEEDS_PROGRAM,
	  TEXT(config_check_path, exec.directory) },
	{ "exec", "banner", .needs = CONFIG_NEEDS_PROGRAM, TEXT(config_check_path, exec.banner) },

	{ "exec.rlimit", "as", .most = MAX_RLIMIT, RLIMIT(RLIMIT_AS, size) },
	{ "exec.rlimit", "cpu", .least = SECONDS(1), .most = HOURS(24 * 365),
	  RLIMIT(RLIMIT_CPU, cpu_time) },
	{ "exec.rlimit", "core", .most = MAX_RLIMIT, RLIMIT(RLIMIT_CORE, size) },
	{ "exec.rlimit", "data", .most = MAX_RLIMIT, RLIMIT(RLIMIT_DATA, size) },
	{ "exec.rlimit", "fsize", .most = MAX_RLIMIT, RLIMIT(RLIMIT_FSIZE, size) },
	{ "exec.rlimit", "memlock", .most = MAX_RLIMIT, RLIMIT(RLIMIT_MEMLOCK, size) },
	{ "exec.rlimit", "nofile", .least = 3, .most = INT32_MAX, RLIMIT(RLIMIT_NOFILE, number) },
	{ "exec.rlimit", "nproc", .most = INT32_MAX, RLIMIT(RLIMIT_NPROC, number) },
	{ "exec.rlimit", "rss", .most = MAX_RLIMIT, RLIMIT(RLIMIT_RSS, size) },
	{ "exec.rlimit", "stack", .most = MAX_RLIMIT, RLIMIT(RLIMIT_STACK, size) },

	{ "socket", "backlog", .least = 1, .most = 65535, .initial = 4096, NUMBER(number, socket.backlog) },
	{ "socket", "nodelay", NUMBER(boolean, socket.nodelay) },
	{ "socket", "keepalive", NUMBER(boolean, socket.keepalive) },
	{ "socket", "v6only", NUMBER(boolean, socket.v6only) },
	{ "socket", "freebind", NUMBER(boolean, socket.freebind) },
	{ "socket", "transparent", .needs = CONFIG_NEEDS_ADDRESSES,
	  NUMBER(boolean, socket.transparent) },
	{ "socket", "broadcast", .needs = CONFIG_NEEDS_UDP, NUMBER(boolean, socket.broadcast) },
	{ "socket", "defer_accept", .needs = CONFIG_NEEDS_TCP,
	  .most = HOURS(1), NUMBER(duration, socket.defer_accept_usec) },
	{ "socket", "receive_buffer", .most = MAX_BUFFER, NUMBER(size, socket.receive_buffer) },
	{ "socket", "send_buffer", .most = MAX_BUFFER, NUMBER(size, socket.send_buffer) },
	{ "socket", "mode", .needs = CONFIG_NEEDS_UNIX,
	  .most = 0777, .initial = 0666, NUMBER(octal, socket.mode) },
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

/* Append a number to an array. Returns false with a sentence in `why`, also if it is bad. */
static bool add_id(uint32_t **ids, size_t *n, bool is_good, uint64_t id, char *why)
{
	uint32_t *added = is_good ? array_add(ids, n, sizeof(*added)) : NULL;

	if (added)
		*added = (uint32_t)id;
	else if (is_good)
		(void)snprintf(why, CONFIG_WHY_SIZE, "out of memory");
	return added;
}

static bool parse_monitor_user(struct config *config, const char *text, char *why)
{
	struct config_accounts *monitors = &config->monitors;
	uint64_t id = 0;
	bool is_good = config_value_user(NULL, text, &id, why);

	return add_id(&monitors->users, &monitors->n_users, is_good, id, why);
}

static bool parse_monitor_group(struct config *config, const char *text, char *why)
{
	struct config_accounts *monitors = &config->monitors;
	uint64_t id = 0;
	bool is_good = config_value_group(NULL, text, &id, why);

	return add_id(&monitors->groups, &monitors->n_groups, is_good, id, why);
}

static bool parse_sandbox(struct config *config, const char *text, char *why)
{
	static const struct config_key key = {.name = "sandbox"};
	uint64_t value;

	if (!config_value_boolean(&key, text, &value, why))
		return false;
	config->has_sandbox = value;
	return true;
}

const struct config_global config_globals[CONFIG_N_GLOBALS] = {
	{NULL, "run_dir", false, parse_run_dir},
	{NULL, "user", false, parse_user},
	{NULL, "log", false, parse_log},
	{NULL, "sandbox", false, parse_sandbox},
	{"monitors", "users", true, parse_monitor_user},
	{"monitors", "groups", true, parse_monitor_group},
};
