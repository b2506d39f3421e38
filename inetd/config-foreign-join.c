/* SPDX-License-Identifier: MIT */
/*
 * Services of inetd.conf and xinetd.conf beside those of usher.conf: see config_foreign_join().
 *
 * config_check() says what does not go together, and where. What it says about the place of a
 * foreign service costs that service; then it is asked again, because others may have needed it.
 */
#include "config-private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What was said, behind "FILE:LINE: ", and the place. Files have names that begin alike. */
static struct config_place split_line(
	const struct config *config, const char *line, const char **ret_sentence)
{
	static const char warning[] = "warning: ";
	struct config_place place = {.file = config->files[0]};
	size_t longest = 0;

	*ret_sentence = line;
	for (size_t i = 0; i < config->n_files; i++) {
		size_t length = strlen(config->files[i]);
		int number = 0, n = 0;

		if (length <= longest || strncmp(line, config->files[i], length) != 0 ||
			sscanf(line + length, ":%d: %n", &number, &n) < 1 || n == 0)
			continue;
		longest = length;
		place = (struct config_place){config->files[i], number};
		*ret_sentence = line + length + n;
	}
	if (strncmp(*ret_sentence, warning, strlen(warning)) == 0)
		*ret_sentence += strlen(warning);
	return place;
}

void config_foreign_warn(const struct config *config, const char *line, const char *left_out,
	struct config_errors *errors)
{
	const char *sentence;
	struct config_place place = split_line(config, line, &sentence);

	if (left_out)
		config_warnings_add(
			errors, place, "%s; service '%s' is left out", sentence, left_out);
	else
		config_warnings_add(errors, place, "%s", sentence);
}

/* Does an error, "FILE:LINE: ...", speak of that place? */
static bool is_about(const char *line, const char *file, int number)
{
	size_t length = strlen(file);
	char text[32];

	(void)snprintf(text, sizeof(text), ":%d: ", number);
	return strncmp(line, file, length) == 0 && strncmp(line + length, text, strlen(text)) == 0;
}

static bool is_about_service(const char *line, const struct config_service *service)
{
	if (is_about(line, service->file, service->line))
		return true;
	for (size_t i = 0; i < service->n_listen; i++)
		if (is_about(line, service->listen[i].file, service->listen[i].line))
			return true;
	return false;
}

static void forget_in(struct config_service *service, const char *name)
{
	struct config_providers *providers = &service->providers;
	size_t n = 0;

	for (size_t j = 0; j < providers->n_forward; j++) {
		if (strcmp(providers->forward[j], name) == 0)
			free(providers->forward[j]);
		else
			providers->forward[n++] = providers->forward[j];
	}
	providers->n_forward = n;
	if (!service->admission.refused_to || strcmp(service->admission.refused_to, name) != 0)
		return;
	free(service->admission.refused_to);
	service->admission.refused_to = NULL;
}

/*
 * Leave the service with this number out, because of an error. A disabled one is not missed.
 * Nobody leads clients to it any more, but who says so in usher.conf.
 */
static void leave_out(struct config_service **services, size_t *n, size_t number,
	const struct config *config, const char *line, struct config_errors *errors)
{
	struct config_service *service = services[number];

	if (!service->is_disabled)
		config_foreign_warn(config, line, service->name, errors);
	--*n;
	memmove(services + number, services + number + 1,
		(*n - number) * sizeof(struct config_service *));
	for (size_t i = 0; i < *n; i++)
		if (services[i]->is_foreign)
			forget_in(services[i], service->name);
	config_service_done(service);
	free(service);
}

void config_foreign_leave_out(
	struct config *config, size_t number, const char *line, struct config_errors *errors)
{
	leave_out(config->services, &config->n_services, number, config, line, errors);
}

/* Leave out the first service that an error is about. Returns whether there was one. */
static bool leave_one_out(struct config_foreign *foreign, const struct config *config,
	const struct config_errors *found, struct config_errors *errors)
{
	for (size_t i = 0; i < found->n_lines; i++)
		for (size_t j = 0; j < foreign->n_services; j++) {
			if (!is_about_service(found->lines[i], foreign->services[j]))
				continue;
			leave_out(foreign->services, &foreign->n_services, j, config,
				found->lines[i], errors);
			return true;
		}
	return false;
}

static const struct config_service *find_name(
	struct config_service *const *services, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(services[i]->name, name) == 0)
			return services[i];
	return NULL;
}

/* What is disabled in usher.conf, as its examples are, does not keep out what these files offer. */
static bool gives_way(const struct config_service *own, const struct config_foreign *foreign)
{
	const struct config_service *other = NULL;

	if (own->is_disabled)
		other = find_name(foreign->services, foreign->n_services, own->name);
	return other && !other->is_disabled;
}

/* Leave out those whose name is taken: config_check() would not know who had it first. */
static void leave_twins_out(struct config_foreign *foreign, const struct config *config,
	struct config_service *const *own, size_t n_own, struct config_errors *errors)
{
	for (size_t i = 0; i < foreign->n_services;) {
		const struct config_service *service = foreign->services[i];
		const struct config_service *first = find_name(own, n_own, service->name);
		char *line;

		if (first && gives_way(first, foreign))
			first = NULL;
		if (!first)
			first = find_name(foreign->services, i, service->name);
		if (!first) {
			i++;
		} else if (asprintf(&line, "%s:%d: service '%s'" CONFIG_SECOND_TIME, service->file,
				   service->line, service->name, first->file, first->line) < 0) {
			errors->is_out_of_memory = true;
			return;
		} else {
			leave_out(foreign->services, &foreign->n_services, i, config, line, errors);
			free(line);
		}
	}
}

/* Put the services of both one after the other: config_check() goes by the order of writing. */
static bool put_together(struct config *config, struct config_service *const *own, size_t n_own,
	const struct config_foreign *foreign)
{
	size_t max = n_own + foreign->n_services, n = 0;
	struct config_service **services = calloc(max + 1, sizeof(struct config_service *));

	if (!services)
		return false;
	for (size_t i = 0; i < n_own; i++)
		if (!gives_way(own[i], foreign))
			services[n++] = own[i];
	for (size_t i = 0; i < foreign->n_services; i++)
		services[n++] = foreign->services[i];
	free(config->services);
	config->services = services;
	config->n_services = n;
	return true;
}

/* They are the configuration's now, in the place of those that give way. */
static void hand_over(struct config_foreign *foreign, struct config_service **own, size_t n_own)
{
	for (size_t i = 0; i < n_own; i++) {
		if (!gives_way(own[i], foreign))
			continue;
		config_service_done(own[i]);
		free(own[i]);
	}
	free(own);
	free(foreign->services);
	foreign->services = NULL;
	foreign->n_services = 0;
}

/* Check it as it would be. Returns whether it is to be checked again, because a service is left out
 * now. */
static bool try_out(struct config_foreign *foreign, struct config *config, uint64_t fd_limit,
	struct config_errors *errors)
{
	struct config_errors found = {0};
	bool is_changed;

	config_check(config, fd_limit, &found);
	is_changed = !found.is_out_of_memory && leave_one_out(foreign, config, &found, errors);
	config_errors_done(&found);
	return is_changed;
}

/* Returns whether there was memory for a list of all services. */
static bool join(struct config_foreign *foreign, struct config *config, uint64_t fd_limit,
	struct config_service *const *own, size_t n_own, struct config_errors *errors)
{
	do
		if (!put_together(config, own, n_own, foreign))
			return false;
	while (try_out(foreign, config, fd_limit, errors));
	/* What is wrong now is wrong. */
	if (!put_together(config, own, n_own, foreign))
		return false;
	config_check(config, fd_limit, errors);
	return true;
}

void config_foreign_join(struct config_foreign *foreign, struct config *config, uint64_t fd_limit,
	struct config_errors *errors)
{
	struct config_service **own = config->services;
	size_t n_own = config->n_services;

	if (foreign->n_services == 0) {
		config_check(config, fd_limit, errors);
		return;
	}
	config->services = NULL;
	leave_twins_out(foreign, config, own, n_own, errors);
	if (join(foreign, config, fd_limit, own, n_own, errors)) {
		hand_over(foreign, own, n_own);
		return;
	}
	errors->is_out_of_memory = true;
	free(config->services);
	config->services = own;
	config->n_services = n_own;
}

static size_t number_of_file(const struct config *config, const char *file)
{
	size_t i = 0;

	while (i < config->n_files && strcmp(config->files[i], file) != 0)
		i++;
	return i;
}

static int compare_places(const void *a, const void *b, void *userdata)
{
	const struct config_service *one = *(const struct config_service *const *)a;
	const struct config_service *other = *(const struct config_service *const *)b;
	const struct config *config = userdata;
	size_t first = number_of_file(config, one->file);
	size_t second = number_of_file(config, other->file);

	return first != second ? (first > second) - (first < second)
			       : (one->line > other->line) - (one->line < other->line);
}

/* They are in the order of their names, and who comes first keeps an address. */
static void sort_by_place(struct config *config)
{
	if (config->n_services > 0)
		qsort_r(config->services, config->n_services, sizeof(*config->services),
			compare_places, config);
}

void config_foreign_join_again(struct config *config, struct config_errors *errors)
{
	struct config_foreign foreign = {0};
	size_t n = 0;

	foreign.services = calloc(config->n_services + 1, sizeof(struct config_service *));
	if (!foreign.services) {
		errors->is_out_of_memory = true;
		return;
	}
	sort_by_place(config);
	for (size_t i = 0; i < config->n_services; i++) {
		struct config_service *service = config->services[i];

		if (service->is_foreign)
			foreign.services[foreign.n_services++] = service;
		else
			config->services[n++] = service;
	}
	config->n_services = n;
	config_foreign_join(&foreign, config, 0, errors);
	config_foreign_done(&foreign);
}
