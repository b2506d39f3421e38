/* SPDX-License-Identifier: MIT */
/* Programs as JSON: see programs.h. What jansson cannot allocate is NULL, which all that takes it
 * refuses in turn. */
#include "programs.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>

static json_t *text_or_null(const char *text)
{
	return text ? json_string(text) : json_null();
}

static json_t *texts(char *const *list, size_t n)
{
	json_t *json = json_array();

	for (size_t i = 0; i < n; i++)
		if (json_array_append_new(json, json_string(list[i])) < 0) {
			json_decref(json);
			return NULL;
		}
	return json;
}

static const struct {
	int resource;
	const char *name;
} rlimit_names[] = {
	{RLIMIT_AS, "as"},
	{RLIMIT_CORE, "core"},
	{RLIMIT_CPU, "cpu"},
	{RLIMIT_DATA, "data"},
	{RLIMIT_FSIZE, "fsize"},
	{RLIMIT_MEMLOCK, "memlock"},
	{RLIMIT_NOFILE, "nofile"},
	{RLIMIT_NPROC, "nproc"},
	{RLIMIT_RSS, "rss"},
	{RLIMIT_STACK, "stack"},
};

static const char *rlimit_name(int resource)
{
	size_t i = 0;

	while (rlimit_names[i].resource != resource) {
		i++;
		assert(i < sizeof(rlimit_names) / sizeof(rlimit_names[0]));
	}
	return rlimit_names[i].name;
}

/* An integer of JSON is signed here: who writes more than 2^63 means unlimited as well. */
static json_t *rlimit_value(uint64_t value)
{
	return value > INT64_MAX ? json_string("unlimited") : json_integer((json_int_t)value);
}

static json_t *rlimits(const struct config_exec *exec)
{
	json_t *json = json_object();

	for (size_t i = 0; i < exec->n_rlimits; i++) {
		const struct config_rlimit *limit = &exec->rlimits[i];

		if (json_object_set_new(
			    json, rlimit_name(limit->resource), rlimit_value(limit->value)) < 0) {
			json_decref(json);
			return NULL;
		}
	}
	return json;
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* The members that say what is run, and as whom. */
static json_t *describe_program(const struct config_exec *exec)
{
	json_t *umask = exec->umask == UINT32_MAX ? json_null() : json_integer(exec->umask);

	return json_pack(
		"{s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:b, s:o, s:i, s:b, s:o, s:o, s:s, s:o}",
		"program", exec->program, "name",
		exec->name ? exec->name : base_name(exec->program), "args",
		texts(exec->args, exec->n_args), "env", texts(exec->env, exec->n_env), "pass_env",
		texts(exec->pass_env, exec->n_pass_env), "user", text_or_null(exec->user), "group",
		text_or_null(exec->group), "groups", exec->has_groups, "umask", umask, "nice",
		(int)exec->nice, "no_new_privs", exec->no_new_privs, "rlimits", rlimits(exec),
		"chroot", text_or_null(exec->chroot), "directory",
		exec->directory ? exec->directory : "/", "banner", text_or_null(exec->banner));
}

static bool is_lent(const struct config_service *service, const struct config_listen *listen)
{
	return listen->address.type == SOCK_DGRAM || service->deliver == CONFIG_DELIVER_LISTENER;
}

static json_t *listeners(const struct config_service *service)
{
	json_t *json = json_array();
	char text[ADDRESS_TEXT_MAX];

	for (size_t i = 0; i < service->n_listen; i++) {
		const struct config_listen *listen = &service->listen[i];
		json_t *one = json_pack("{s:s, s:b}", "address",
			address_format(&listen->address, text), "lent", is_lent(service, listen));

		if (listen->host) /* nobody waits here until it is looked up */
			(void)json_object_set_new(one, "host", json_string(listen->host));
		if (json_array_append_new(json, one) < 0) {
			json_decref(json);
			return NULL;
		}
	}
	return json;
}

static json_t *log_items(uint32_t items)
{
	static const struct {
		uint32_t item;
		const char *name;
	} names[] = {
		{CONFIG_LOG_HOST, "host"},
		{CONFIG_LOG_PID, "pid"},
		{CONFIG_LOG_DURATION, "duration"},
		{CONFIG_LOG_EXIT, "exit"},
		{CONFIG_LOG_TRAFFIC, "traffic"},
	};
	json_t *json = json_array();

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (items & names[i].item)
			(void)json_array_append_new(json, json_string(names[i].name));
	return json;
}

static json_t *describe_service(const struct config_service *service)
{
	static const char *const addresses[] = {
		[CONFIG_LOG_ADDRESS_FULL] = "full",
		[CONFIG_LOG_ADDRESS_PREFIX] = "prefix",
		[CONFIG_LOG_ADDRESS_HASH] = "hash",
		[CONFIG_LOG_ADDRESS_NONE] = "none",
	};
	static const char *const delivers[] = {
		[CONFIG_DELIVER_CONNECTION] = "connection",
		[CONFIG_DELIVER_LISTENER] = "listener",
		[CONFIG_DELIVER_PASS] = "pass",
	};
	json_t *json = describe_program(&service->exec);
	json_t *rest = json_pack("{s:o, s:s, s:I, s:o, s:s}", "listeners", listeners(service),
		"deliver", delivers[service->deliver], "instances", (json_int_t)service->instances,
		"log_on_success", log_items(service->log.on_success), "log_address",
		addresses[service->log.address]);

	if (!json || json_object_update(json, rest) < 0) {
		json_decref(json);
		json = NULL;
	}
	json_decref(rest);
	return json;
}

json_t *programs_json(const struct config *config)
{
	json_t *services = json_object();

	for (size_t i = 0; i < config->n_services; i++) {
		const struct config_service *service = config->services[i];

		if (service->is_disabled || !service->exec.program)
			continue;
		if (json_object_set_new(services, service->name, describe_service(service)) < 0) {
			json_decref(services);
			return NULL;
		}
	}
	return json_pack("{s:s, s:o}", "run_dir", config->run_dir, "services", services);
}
