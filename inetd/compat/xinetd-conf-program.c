/* SPDX-License-Identifier: MIT */
/* What a service of xinetd.conf runs, as whom and with what: see xinetd-conf-private.h. */
#include "xinetd-conf-private.h"

#include "program.h"

#include <string.h>

/* Lists that are the same here and there. */
static void add_list(struct xinetd_service *service, enum xinetd_key from, const char *key)
{
	const struct xinetd_attribute *attribute = &service->attributes[from];
	struct translation *translation = service->conf->translation;
	struct translation_assignment *assignment;

	if (attribute->n_values == 0)
		return;
	assignment =
		translation_assign(translation, service->service, "exec", key, attribute->place);
	for (size_t i = 0; i < attribute->n_values; i++)
		translation_add_text(translation, assignment, "%s", attribute->values[i]);
}

/* Bytes with K or M, seconds, a number, or UNLIMITED. */
static void add_limit(struct xinetd_service *service, enum xinetd_key from, const char *key)
{
	struct translation *translation = service->conf->translation;
	const char *text = xinetd_service_value(service, from), *unit = "";
	size_t length;
	struct translation_assignment *assignment;

	if (!text)
		return;
	length = strlen(text);
	if (strcmp(text, "UNLIMITED") == 0) {
		xinetd_service_assign(service, "exec.rlimit", key, from, "unlimited");
		return;
	}
	if (from == XINETD_RLIMIT_CPU)
		unit = "s";
	else if (strchr("kK", text[length - 1]))
		unit = "KiB";
	else if (strchr("mM", text[length - 1]))
		unit = "MiB";
	if (*unit && *unit != 's')
		length--;
	assignment = translation_assign(
		translation, service->service, "exec.rlimit", key, service->attributes[from].place);
	translation_add_text(translation, assignment, "%.*s%s", (int)length, text, unit);
}

static void add_limits(struct xinetd_service *service)
{
	add_limit(service, XINETD_RLIMIT_AS, "as");
	add_limit(service, XINETD_RLIMIT_CPU, "cpu");
	add_limit(service, XINETD_RLIMIT_DATA, "data");
	add_limit(service, XINETD_RLIMIT_FILES, "nofile");
	add_limit(service, XINETD_RLIMIT_RSS, "rss");
	add_limit(service, XINETD_RLIMIT_STACK, "stack");
}

static void add_text(struct xinetd_service *service, enum xinetd_key from, const char *key)
{
	const char *text = xinetd_service_value(service, from);

	if (text)
		xinetd_service_assign(service, "exec", key, from, text);
}

/* As whom, and with what. */
static bool add_circumstances(struct xinetd_service *service)
{
	if (!service->attributes[XINETD_USER].is_given)
		return xinetd_service_refuse(
			service, service->entry->place, "there is no user, expected a name");
	add_text(service, XINETD_USER, "user");
	add_text(service, XINETD_GROUP, "group");
	translation_assign_text(service->conf->translation, service->service, "exec", "groups",
		service->entry->place,
		xinetd_service_is(service, XINETD_GROUPS, "yes") ? "true" : "false");
	add_text(service, XINETD_UMASK, "umask");
	add_text(service, XINETD_NICE, "nice");
	add_list(service, XINETD_ENV, "env");
	add_list(service, XINETD_PASSENV, "pass_env");
	add_limits(service);
	return true;
}

/* With NAMEINARGS the first of server_args is argv[0]. */
static bool add_server(struct xinetd_service *service)
{
	const struct xinetd_attribute *args = &service->attributes[XINETD_SERVER_ARGS];
	const char *server = xinetd_service_value(service, XINETD_SERVER);
	bool has_name = xinetd_service_has(service, XINETD_FLAGS, "NAMEINARGS");
	struct translation *translation = service->conf->translation;
	struct translation_assignment *assignment;

	if (!server || *server != '/')
		return xinetd_service_refuse(service, service->entry->place,
			"server is '%s', expected the absolute path of a program",
			server ? server : "");
	if (has_name && args->n_values == 0)
		return xinetd_service_refuse(service, service->entry->place,
			"it has the flag NAMEINARGS, expected a name in server_args");
	program_assign(translation, service->service, service->attributes[XINETD_SERVER].place,
		server, has_name ? args->values[0] : NULL);
	if (args->n_values <= has_name)
		return add_circumstances(service);
	assignment = translation_assign(translation, service->service, "exec", "args", args->place);
	for (size_t i = has_name; i < args->n_values; i++)
		translation_add_text(translation, assignment, "%s", args->values[i]);
	return add_circumstances(service);
}

/* usher-redirect(8) does it for one client, as a program. */
static bool add_redirect(struct xinetd_service *service)
{
	const struct xinetd_attribute *redirect = &service->attributes[XINETD_REDIRECT];
	struct translation *translation = service->conf->translation;
	struct translation_assignment *args;

	if (service->is_dgram || service->is_wait)
		return xinetd_service_refuse(service, redirect->place,
			"redirect is for connections, expected socket_type = stream and wait = no");
	program_assign(translation, service->service, redirect->place,
		service->conf->facts->redirect_program, NULL);
	args = translation_assign(translation, service->service, "exec", "args", redirect->place);
	translation_add_text(translation, args, "--inetd");
	translation_add_text(translation, args, "%s", redirect->values[0]);
	translation_add_text(translation, args, "%s", redirect->values[1]);
	return add_circumstances(service);
}

static bool add_builtin(struct xinetd_service *service)
{
	static const char *const inspections[] = {"servers", "services", "xadmin"};
	const char *name = service->entry->name;

	for (size_t i = 0; i < sizeof(inspections) / sizeof(inspections[0]); i++)
		if (strcmp(name, inspections[i]) == 0)
			return xinetd_service_refuse(service, service->entry->place,
				"xinetd's service '%s' is 'usherctl status' here", name);
	if (!program_is_builtin(name))
		return xinetd_service_refuse(service, service->entry->place,
			"usher has no internal service '%s', expected echo, discard, chargen, "
			"daytime, time or tcpmux",
			name);
	program_assign_builtin(service->conf->translation, service->service, service->conf->facts,
		service->entry->place);
	return true;
}

/* What every client gets first is written by whoever runs the program. */
static void add_banner(struct xinetd_service *service)
{
	struct translation *translation = service->conf->translation;
	bool has_both = service->attributes[XINETD_BANNER].is_given &&
			service->attributes[XINETD_BANNER_SUCCESS].is_given;
	enum xinetd_key from = service->attributes[XINETD_BANNER_SUCCESS].is_given
				       ? XINETD_BANNER_SUCCESS
				       : XINETD_BANNER;

	if (!service->attributes[from].is_given)
		return;
	if (service->service->is_builtin || service->is_wait || service->is_dgram) {
		translation_warn(translation, service->attributes[from].place,
			"%s is not carried out: only programs that get a connection (wait = no) "
			"have banners",
			xinetd_entry_key_name(from));
		return;
	}
	if (has_both)
		translation_warn(translation, service->attributes[XINETD_BANNER].place,
			"banner is not carried out beside banner_success: put both into one file");
	add_text(service, from, "banner");
}

/* Who serves it, if it is not a sensor. */
static bool add_server_kind(struct xinetd_service *service)
{
	if (service->is_builtin)
		return add_builtin(service);
	return service->attributes[XINETD_REDIRECT].is_given ? add_redirect(service)
							     : add_server(service);
}

bool xinetd_service_add_program(struct xinetd_service *service)
{
	bool is_sensor = xinetd_service_has(service, XINETD_FLAGS, "SENSOR");

	if (is_sensor && (service->is_dgram || service->is_wait))
		return xinetd_service_refuse(service, service->attributes[XINETD_FLAGS].place,
			"it is a SENSOR, expected socket_type = stream and wait = no");
	if (is_sensor)
		return true;
	if (!add_server_kind(service))
		return false;
	add_banner(service);
	return true;
}
