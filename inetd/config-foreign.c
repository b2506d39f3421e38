/* SPDX-License-Identifier: MIT */
/*
 * Files of inetd and xinetd as part of usher.conf(5): compat/ translates them, and their services
 * are drafts like those of service {}.
 *
 * Whoever wrote them did not write them for us: what is wrong with one service costs that service,
 * and not the configuration.
 */
#include "config-private.h"

#include "compat/facts.h"
#include "compat/inetd-conf.h"
#include "compat/xinetd-conf.h"
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void config_foreign_add_file(struct config_foreign *foreign, enum config_foreign_type type,
	const char *path, struct config_place place, struct config_errors *errors)
{
	struct config_foreign_file *file =
		config_array_add(&foreign->files, &foreign->n_files, sizeof(*file), errors);
	const char *slash = strrchr(place.file, '/');
	int length = slash && *path != '/' ? (int)(slash - place.file) + 1 : 0;

	if (!file)
		return;
	*file = (struct config_foreign_file){.type = type, .place = place};
	if (asprintf(&file->path, "%.*s%s", length, place.file, path) < 0) {
		foreign->n_files--;
		errors->is_out_of_memory = true;
	}
}

/* The text of a source; the rest of it is freed. */
static char *take_text(struct config_source *source)
{
	char *text = source->text;

	source->text = NULL;
	config_source_done(source);
	return text;
}

/* For an include of xinetd: the same checks as of any other file. */
static char *read_included(const char *file, char *why, size_t why_size)
{
	struct config_errors errors = {0};
	struct config_source source;

	if (config_source_read_plain(file, &source, &errors)) {
		config_errors_done(&errors);
		return take_text(&source);
	}
	/* "FILE: is ..." */
	(void)snprintf(why, why_size, "%s",
		errors.n_lines > 0 ? errors.lines[0] + strlen(file) + strlen(": ")
				   : strerror(ENOMEM));
	config_errors_done(&errors);
	return NULL;
}

/* Packages make inetd.conf and remove it, as that of the super-server that was there before does
 * when it is purged: with no service in it, it is no reason not to start. */
static bool is_missing(const char *path)
{
	return faccessat(AT_FDCWD, path, F_OK, AT_EACCESS) < 0 && errno == ENOENT;
}

/* Returns whether the file could be read. */
static bool translate_file(struct translation *translation, const struct config_foreign_file *file,
	const struct translation_facts *facts, struct config_errors *errors)
{
	struct config_source source;
	int r;

	if (file->type == CONFIG_FOREIGN_XINETD_D) {
		r = xinetd_conf_translate_folder(translation, file->path, facts);
		if (r < 0)
			config_errors_add(errors, file->place,
				"xinetd_d(\"%s\"): the folder cannot be read: %s, expected one "
				"that can",
				file->path, strerror(-r));
		return r == 0;
	}
	if (is_missing(file->path)) {
		config_warnings_add(errors, file->place,
			"%s is not there, and offers nothing: make it, or remove this line",
			file->path);
		return false;
	}
	if (!config_source_read_plain(file->path, &source, errors))
		return false;
	if (file->type == CONFIG_FOREIGN_INETD_CONF)
		inetd_conf_translate(translation, file->path, source.text, facts);
	else
		xinetd_conf_translate(translation, file->path, source.text, facts);
	config_source_done(&source);
	return true;
}

/* The files of a translation become those of the configuration, which keeps their names. */
static void take_files(
	struct config *config, const struct translation *translation, struct config_errors *errors)
{
	for (size_t i = 0; i < translation->n_files; i++) {
		char **name =
			config_array_add(&config->files, &config->n_files, sizeof(*name), errors);

		if (!name)
			return;
		*name = strdup(translation->files[i]);
		if (*name)
			continue;
		config->n_files--;
		errors->is_out_of_memory = true;
	}
}

/* The same place, by a name that lives as long as the configuration. */
static struct config_place place_of(const struct config *config, struct translation_place place)
{
	for (size_t i = config->n_files; i-- > 0;)
		if (strcmp(config->files[i], place.file) == 0)
			return (struct config_place){config->files[i], place.line};
	return (struct config_place){config->files[0], 0};
}

static const struct config_key *find_key(const struct translation_assignment *assignment)
{
	const char *section = assignment->section ? assignment->section : "";

	for (size_t i = 0; i < CONFIG_N_KEYS; i++)
		if (strcmp(config_keys[i].name, assignment->key) == 0 &&
			strcmp(config_keys[i].section ? config_keys[i].section : "", section) == 0)
			return &config_keys[i];
	return NULL;
}

static void take_assignment(const struct config *config, struct config_draft *draft,
	const struct translation_assignment *assignment, struct config_errors *errors)
{
	const struct config_key *key = find_key(assignment);
	struct config_place place = place_of(config, assignment->place);

	assert(key); /* a test translates all that there is */
	if (assignment->n_texts == 0)
		config_draft_take(draft, key, NULL, place, false, errors);
	for (size_t i = 0; i < assignment->n_texts; i++)
		config_draft_take(draft, key, assignment->texts[i], place, i > 0, errors);
}

/* Warn of what were errors, had they been in usher.conf; warnings stay such. What is wrong with a
 * name of services(5) is found at both of its addresses, and said once. */
static void soften(const struct config *config, struct config_errors *errors,
	const struct config_errors *found, const char *name)
{
	errors->is_out_of_memory |= found->is_out_of_memory;
	for (size_t i = 0; i < found->n_warnings; i++)
		config_foreign_warn(config, found->warnings[i], NULL, errors);
	for (size_t i = 0; i < found->n_lines; i++)
		if (i == 0 || strcmp(found->lines[i], found->lines[i - 1]) != 0)
			config_foreign_warn(config, found->lines[i], name, errors);
}

static void keep_service(
	struct config_foreign *foreign, struct config_draft *draft, struct config_errors *errors)
{
	struct config_service *service = malloc(sizeof(*service));
	struct config_service **slot =
		config_array_add(&foreign->services, &foreign->n_services, sizeof(*slot), errors);

	if (!service || !slot) {
		errors->is_out_of_memory = true;
		foreign->n_services -= slot != NULL;
		free(service);
		return;
	}
	*service = draft->service;
	service->is_foreign = true;
	*slot = service;
	*draft = (struct config_draft){0};
}

static void add_service(struct config_foreign *foreign, const struct config *config,
	const struct translation_service *service, const struct config_draft *defaults,
	struct config_errors *errors)
{
	struct config_draft draft = {.is_foreign = true};
	struct config_errors found = {0};

	for (size_t i = 0; i < service->n_assignments; i++)
		take_assignment(config, &draft, &service->assignments[i], &found);
	config_draft_close(&draft, service->name, place_of(config, service->place), &found);
	config_draft_complete(&draft, defaults, &found);
	if (found.n_lines == 0 && !found.is_out_of_memory)
		keep_service(foreign, &draft, errors);
	if (!service->is_disabled || found.is_out_of_memory)
		soften(config, errors, &found, service->name);
	config_errors_done(&found);
	config_draft_clear(&draft);
}

static void add_warnings(const struct config *config, const struct translation *translation,
	struct config_errors *errors)
{
	for (size_t i = 0; i < translation->n_warnings; i++) {
		const struct translation_warning *warning = &translation->warnings[i];

		if (!warning->is_idle)
			config_warnings_add(
				errors, place_of(config, warning->place), "%s", warning->sentence);
	}
}

static void read_file(struct config_foreign *foreign, const struct config_foreign_file *file,
	struct config *config, const struct config_draft *defaults, struct config_errors *errors)
{
	struct translation translation = {0};
	struct translation_facts facts;

	facts_look_up(&facts);
	facts.read_file = read_included;
	if (translate_file(&translation, file, &facts, errors)) {
		translation_finish(&translation);
		take_files(config, &translation, errors);
		errors->is_out_of_memory |= translation.is_out_of_memory;
		add_warnings(config, &translation, errors);
	}
	for (size_t i = 0; i < translation.n_services && !errors->is_out_of_memory; i++)
		add_service(foreign, config, translation.services[i], defaults, errors);
	translation_done(&translation);
}

void config_foreign_read(struct config_foreign *foreign, struct config *config,
	const struct config_draft *defaults, struct config_errors *errors)
{
	for (size_t i = 0; i < foreign->n_files && !errors->is_out_of_memory; i++)
		read_file(foreign, &foreign->files[i], config, defaults, errors);
}

void config_foreign_done(struct config_foreign *foreign)
{
	for (size_t i = 0; i < foreign->n_services; i++) {
		config_service_done(foreign->services[i]);
		free(foreign->services[i]);
	}
	for (size_t i = 0; i < foreign->n_files; i++)
		free(foreign->files[i].path);
	free(foreign->services);
	free(foreign->files);
	*foreign = (struct config_foreign){0};
}
