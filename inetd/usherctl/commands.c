/* SPDX-License-Identifier: MIT */
/* The commands of usherctl, except upgrade: see commands.h. */
#include "commands.h"

#include "build-config.h"
#include "config.h"
#include "control.h"
#include "request.h"
#include "status.h"
#include "table.h"
#include "units.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

static bool is_named(const json_t *service, char **names)
{
	const char *name = json_string_value(json_object_get(service, "name"));

	for (; name && *names; names++)
		if (strcmp(name, *names) == 0)
			return true;
	return false;
}

/* Leave only the services of these names in `services`. */
static void keep_named(json_t *services, char **names)
{
	for (size_t i = json_array_size(services); i-- > 0;)
		if (!is_named(json_array_get(services, i), names))
			json_array_remove(services, i);
}

static bool has_service(const json_t *services, char *name)
{
	char *names[] = {name, NULL};

	for (size_t i = 0; i < json_array_size(services); i++)
		if (is_named(json_array_get(services, i), names))
			return true;
	return false;
}

/* Is every name that of a service? Those that are not are reported. */
static bool are_all_known(const json_t *services, char **names)
{
	bool are_known = true;

	for (; *names; names++) {
		if (has_service(services, *names))
			continue;
		fprintf(stderr,
			"usherctl: no service '%s' is running; 'usherctl status' lists those that "
			"are\n",
			*names);
		are_known = false;
	}
	return are_known;
}

/* no-color.org: any NO_COLOR that is not empty. */
static bool are_colours_wanted(void)
{
	const char *no_color = getenv("NO_COLOR"), *terminal = getenv("TERM");

	return isatty(STDOUT_FILENO) && !(no_color && *no_color) && terminal &&
	       strcmp(terminal, "dumb") != 0;
}

static int print_status(const struct options *options, json_t *status, char **names)
{
	json_t *services = json_object_get(status, "services");

	if (!are_all_known(services, names))
		return EXIT_FAILURE;
	if (*names) {
		keep_named(services, names);
		json_object_del(status, "disabled");
	}
	units_add(status);
	if (options->is_json)
		return request_print_json(status);
	status_print(status, are_colours_wanted());
	return 0;
}

int command_status(const struct options *options, char **arguments)
{
	json_t *status;
	int r = request_ask(options, "status", &status);

	if (r > 0)
		return r;
	r = print_status(options, status, arguments);
	json_decref(status);
	return r;
}

/* Returns the exit status. */
static int print_text(const json_t *metrics)
{
	const json_t *text = json_object_get(metrics, "text");

	if (!json_is_string(text)) {
		fprintf(stderr, "usherctl: the answer of usherd has no text\n");
		return EXIT_FAILURE;
	}
	(void)fwrite(json_string_value(text), 1, json_string_length(text), stdout);
	return 0;
}

int command_metrics(const struct options *options, char **arguments)
{
	json_t *metrics;
	int r = request_ask(options, "metrics", &metrics);

	(void)arguments;
	if (r > 0)
		return r;
	r = options->is_json ? request_print_json(metrics) : print_text(metrics);
	json_decref(metrics);
	return r;
}

/*
 * Returns 0 with *ret, to be freed with config_free(); else a negative errno. What is wrong is in
 * *errors. Limits of descriptors are left to usherd: its own are others than ours. With `is_whole`
 * names are looked up.
 */
static int load(const char *path, bool is_whole, struct config **ret, struct config_errors *errors)
{
	struct config *config = NULL;
	int r = config_load(path, 0, &config, errors);

	if (r >= 0 && is_whole)
		r = config_resolve_now(config, errors);
	if (r >= 0)
		*ret = config;
	else
		config_free(config);
	return r;
}

/* Returns the exit status for a result of load(), whose errors are printed. */
static int report_load(const char *path, int r, const struct config_errors *errors)
{
	for (size_t i = 0; i < errors->n_lines; i++)
		fprintf(stderr, "%s\n", errors->lines[i]);
	if (r >= 0)
		return 0;
	if (r == -EINVAL)
		return EX_CONFIG;
	fprintf(stderr, "usherctl: %s: %s\n", path, strerror(-r));
	return EXIT_FAILURE;
}

/* "FILE: OK, 5 services, 2 disabled: chargen, time" */
static void print_summary(const char *path, const struct config *config)
{
	const char *separator = ": ";
	size_t n_disabled = 0;

	for (size_t i = 0; i < config->n_services; i++)
		n_disabled += config->services[i]->is_disabled;
	printf("%s: OK, %zu service%s", path, config->n_services,
		config->n_services == 1 ? "" : "s");
	if (n_disabled > 0)
		printf(", %zu disabled", n_disabled);
	for (size_t i = 0; i < config->n_services; i++) {
		if (!config->services[i]->is_disabled)
			continue;
		printf("%s%s", separator, config->services[i]->name);
		separator = ", ";
	}
	putchar('\n');
}

static int print_check(
	const char *path, int r, const struct config *config, const struct config_errors *errors)
{
	int status;

	for (size_t i = 0; i < errors->n_warnings; i++)
		fprintf(stderr, "%s\n", errors->warnings[i]);
	status = report_load(path, r, errors);
	if (status == 0)
		print_summary(path, config);
	return status;
}

static json_t *lines_json(char *const *lines, size_t n)
{
	json_t *array = json_array();

	for (size_t i = 0; i < n; i++)
		json_array_append_new(array, json_string(lines[i]));
	return array;
}

/* The names of those that are disabled, or are not. */
static json_t *names_json(const struct config *config, bool are_disabled)
{
	json_t *array = json_array();

	for (size_t i = 0; config && i < config->n_services; i++)
		if (config->services[i]->is_disabled == are_disabled)
			json_array_append_new(array, json_string(config->services[i]->name));
	return array;
}

static int print_check_json(int r, const struct config *config, const struct config_errors *errors)
{
	json_t *object = json_pack("{s:b, s:o, s:o, s:o, s:o}", "ok", r >= 0, "errors",
		lines_json(errors->lines, errors->n_lines), "warnings",
		lines_json(errors->warnings, errors->n_warnings), "services",
		names_json(config, false), "disabled", names_json(config, true));
	int status = request_print_json(object);

	json_decref(object);
	if (r == -EINVAL)
		return EX_CONFIG;
	return r < 0 ? EXIT_FAILURE : status;
}

int command_check(const struct options *options, char **arguments)
{
	const char *path = *arguments ? *arguments : USHER_CONFIG_FILE;
	struct config_errors errors = {0};
	struct config *config = NULL;
	int r = load(path, true, &config, &errors);
	int status = options->is_json ? print_check_json(r, config, &errors)
				      : print_check(path, r, config, &errors);

	config_errors_done(&errors);
	config_free(config);
	return status;
}

/* Check the file that the running usherd was started with, before usherd is asked to read it. */
static int check_running_config(const struct options *options)
{
	struct config_errors errors = {0};
	struct config *config = NULL;
	json_t *status;
	const char *path;
	int r = request_ask(options, "status", &status);

	if (r > 0)
		return r;
	path = json_string_value(json_object_get(status, "config"));
	path = path ? path : USHER_CONFIG_FILE;
	r = report_load(path, load(path, false, &config, &errors), &errors);
	if (r > 0)
		fprintf(stderr, "usherctl: usherd was not asked to reload: nothing was changed\n");
	config_errors_done(&errors);
	config_free(config);
	json_decref(status);
	return r;
}

int command_reload(const struct options *options, char **arguments)
{
	int r = check_running_config(options);

	(void)arguments;
	return r > 0 ? r : request_tell(options, "reload");
}

/* One request for each argument; those that come after one that failed are asked all the same. */
static int tell_each(const struct options *options, const char *verb, char **arguments)
{
	int status = 0;

	for (; *arguments; arguments++) {
		char request[2 * CONTROL_MAX_REQUEST]; /* what is cut is refused as too long */
		int r;

		snprintf(request, sizeof(request), "%s %s", verb, *arguments);
		r = request_tell(options, request);
		status = r > 0 ? r : status;
	}
	return status;
}

int command_drain(const struct options *options, char **arguments)
{
	return tell_each(options, "drain", arguments);
}

int command_pause(const struct options *options, char **arguments)
{
	return tell_each(options, "pause", arguments);
}

int command_resume(const struct options *options, char **arguments)
{
	return tell_each(options, "resume", arguments);
}
