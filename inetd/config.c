/* SPDX-License-Identifier: MIT */
/*
 * Loading a configuration: see config.h. The work is done by the files that config-private.h lists;
 * here are its beginning, its end, and what they share.
 */
#include "config-private.h"

#include "array.h"
#include "build-config.h"
#include "wire.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_USER "usher"

/* Standard streams, event loop, control socket, who asks and follows there, journal, connections in
 * hand. */
#define RESERVED_FDS	256

#define FDS_OF_PROVIDER 2 /* its channel and its pidfd */

void *config_array_add(void *array, size_t *n, size_t element_size, struct config_errors *errors)
{
	void *added = array_add(array, n, element_size);

	errors->is_out_of_memory |= !added;
	return added;
}

/* Names of files may have any bytes: they must not be able to draw on a terminal, or spoil JSON. */
static void replace_unprintable(char *text)
{
	for (size_t length; *text; text += length) {
		length = wire_character_length(text);
		if (length > 0)
			continue;
		*text = '?';
		length = 1;
	}
}

__attribute__((format(printf, 2, 0))) static char *format_line(
	struct config_place place, const char *format, va_list args, bool is_warning)
{
	const char *mark = is_warning ? "warning: " : "";
	char *sentence, *line;
	int r = vasprintf(&sentence, format, args);

	if (r < 0)
		return NULL;
	if (!place.file)
		return sentence;
	r = place.line > 0 ? asprintf(&line, "%s:%d: %s%s", place.file, place.line, mark, sentence)
			   : asprintf(&line, "%s: %s%s", place.file, mark, sentence);
	free(sentence);
	return r < 0 ? NULL : line;
}

/* Append a line to errors or to warnings. */
__attribute__((format(printf, 3, 0))) static void add_line(struct config_errors *errors,
	struct config_place place, const char *format, va_list args, bool is_warning)
{
	char ***lines = is_warning ? &errors->warnings : &errors->lines, **line;
	size_t *n_lines = is_warning ? &errors->n_warnings : &errors->n_lines;

	if (*n_lines > CONFIG_MAX_ERRORS)
		return;
	line = config_array_add(lines, n_lines, sizeof(*line), errors);
	if (!line)
		return;
	if (*n_lines > CONFIG_MAX_ERRORS)
		*line = strdup(is_warning ? "There are more warnings, which are not shown."
					  : "There are more errors, which are not shown.");
	else
		*line = format_line(place, format, args, is_warning);
	if (*line) {
		replace_unprintable(*line);
	} else {
		(*n_lines)--;
		errors->is_out_of_memory = true;
	}
}

void config_errors_add(
	struct config_errors *errors, struct config_place place, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	add_line(errors, place, format, args, false);
	va_end(args);
}

void config_warnings_add(
	struct config_errors *errors, struct config_place place, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	add_line(errors, place, format, args, true);
	va_end(args);
}

static void free_lines(char **lines, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(lines[i]);
	free(lines);
}

void config_errors_done(struct config_errors *errors)
{
	free_lines(errors->lines, errors->n_lines);
	free_lines(errors->warnings, errors->n_warnings);
	*errors = (struct config_errors){0};
}

static void free_services(struct config *config)
{
	for (size_t i = 0; i < config->n_services; i++) {
		config_service_done(config->services[i]);
		free(config->services[i]);
	}
	free(config->services);
}

struct config *config_free(struct config *config)
{
	if (!config)
		return NULL;
	free_services(config);
	for (size_t i = 0; i < config->n_files; i++)
		free(config->files[i]);
	free(config->files);
	free(config->run_dir);
	free(config->user);
	free(config->log_file);
	free(config->monitors.users);
	free(config->monitors.groups);
	free(config);
	return NULL;
}

/* Fill in what the files did not say. */
static void set_defaults(struct config *config, struct config_errors *errors)
{
	char why[CONFIG_WHY_SIZE];

	if (!config->run_dir)
		config->run_dir = strdup(USHER_RUN_DIR);
	if (!config->user &&
		config_value_account(DEFAULT_USER, &config->uid, &config->gid, &config->user, why))
		config->is_user_known = true;
	else if (!config->user)
		config->user = strdup(DEFAULT_USER);
	if (!config->run_dir || !config->user)
		errors->is_out_of_memory = true;
}

int config_load(
	const char *path, uint64_t fd_limit, struct config **ret, struct config_errors *errors)
{
	struct config *config = calloc(1, sizeof(*config));
	struct config_foreign foreign = {0};

	if (!config)
		return -ENOMEM;
	config->uid = (uid_t)-1;
	config->gid = (gid_t)-1;
	config->has_sandbox = true;
	config_parse(path, config, &foreign, errors);
	if (!errors->is_out_of_memory)
		set_defaults(config, errors);
	if (!errors->is_out_of_memory)
		config_foreign_join(&foreign, config, fd_limit, errors);
	config_foreign_done(&foreign);
	if (errors->is_out_of_memory || errors->n_lines > 0) {
		config_free(config);
		return errors->is_out_of_memory ? -ENOMEM : -EINVAL;
	}
	*ret = config;
	return 0;
}

static int compare_name(const void *name, const void *element)
{
	return strcmp(name, (*(const struct config_service *const *)element)->name);
}

const struct config_service *config_find_service(const struct config *config, const char *name)
{
	struct config_service **found =
		config->n_services == 0 ? NULL
					: bsearch(name, config->services, config->n_services,
						  sizeof(*config->services), compare_name);

	return found ? *found : NULL;
}

uint64_t config_n_fds(const struct config *config)
{
	uint64_t n = RESERVED_FDS;

	for (size_t i = 0; i < config->n_services; i++) {
		const struct config_service *service = config->services[i];

		if (!service->is_disabled)
			n += config_most_listeners(service) + 1 +
			     (service->log.type.type == CONFIG_LOG_TYPE_FILE) +
			     (uint64_t)service->providers.max * FDS_OF_PROVIDER;
	}
	return n;
}
