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

/* Nobody leads clients to a service that is not there. */
static void forget_name(const struct config_foreign *foreign, const char *name)
{
	for (size_t i = 0; i < foreign->n_services; i++) {
		struct config_service *service = foreign->services[i];
		struct config_providers *providers = &service->providers;
		size_t n = 0;

		for (size_t j = 0; j < providers->n_forward; j++) {
			if (strcmp(providers->forward[j], name) == 0)
				free(providers->forward[j]);
			else
				providers->forward[n++] = providers->forward[j];
		}
		providers->n_forward = n;
		if (!service->admission.refused_to ||
			strcmp(service->admission.refused_to, name) != 0)
			continue;
		free(service->admission.refused_to);
		service->admission.refused_to = NULL;
	}
}

/* Leave the service with this number out, because of an error. A disabled one is not missed. */
static void leave_out(struct config_foreign *foreign, size_t number, const char *line,
	struct config_errors *errors)
{
	struct config_service *service = foreign->services[number];

	if (!service->is_disabled)
		config_warnings_add(errors, (struct config_place){0},
			"%s; service '%s' is left out", line, service->name);
	foreign->n_services--;
	memmove(foreign->services + number, foreign->services + number + 1,
		(foreign->n_services - number) * sizeof(struct config_service *));
	forget_name(foreign, service->name);
	config_service_done(service);
	free(service);
}

/* Leave out the first service that an error is about. Returns whether there was one. */
static bool leave_one_out(struct config_foreign *foreign, const struct config_errors *found,
	struct config_errors *errors)
{
	for (size_t i = 0; i < found->n_lines; i++)
		for (size_t j = 0; j < foreign->n_services; j++) {
			if (!is_about_service(found->lines[i], foreign->services[j]))
				continue;
			leave_out(foreign, j, found->lines[i], errors);
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

/* Leave out those whose name is taken: config_check() would not know who had it first. */
static void leave_twins_out(struct config_foreign *foreign, struct config_service *const *own,
	size_t n_own, struct config_errors *errors)
{
	for (size_t i = 0; i < foreign->n_services;) {
		const struct config_service *service = foreign->services[i];
		const struct config_service *first = find_name(own, n_own, service->name);
		char *line;

		if (!first)
			first = find_name(foreign->services, i, service->name);
		if (!first) {
			i++;
		} else if (asprintf(&line, "%s:%d: service '%s'" CONFIG_SECOND_TIME, service->file,
				   service->line, service->name, first->file, first->line) < 0) {
			errors->is_out_of_memory = true;
			return;
		} else {
			leave_out(foreign, i, line, errors);
			free(line);
		}
	}
}

/* Put the services of both one after the other: config_check() goes by the order of writing. */
static bool put_together(struct config *config, struct config_service *const *own, size_t n_own,
	const struct config_foreign *foreign)
{
	size_t n = n_own + foreign->n_services;
	struct config_service **services = calloc(n + 1, sizeof(struct config_service *));

	if (!services)
		return false;
	for (size_t i = 0; i < n; i++)
		services[i] = i < n_own ? own[i] : foreign->services[i - n_own];
	free(config->services);
	config->services = services;
	config->n_services = n;
	return true;
}

/* They are the configuration's now. */
static void hand_over(struct config_foreign *foreign)
{
	free(foreign->services);
	foreign->services = NULL;
	foreign->n_services = 0;
}

/* What was found stays an error. */
static void move_errors(struct config_errors *errors, struct config_errors *found)
{
	for (size_t i = 0; i < found->n_lines; i++)
		config_errors_add(errors, (struct config_place){0}, "%s", found->lines[i]);
	for (size_t i = 0; i < found->n_warnings; i++)
		config_warnings_add(errors, (struct config_place){0}, "%s", found->warnings[i]);
	errors->is_out_of_memory |= found->is_out_of_memory;
}

static void join(struct config_foreign *foreign, struct config *config, uint64_t fd_limit,
	struct config_service *const *own, size_t n_own, struct config_errors *errors)
{
	for (bool is_settled = false; !is_settled;) {
		struct config_errors found = {0};

		if (!put_together(config, own, n_own, foreign)) {
			errors->is_out_of_memory = true;
			return;
		}
		config_check(config, fd_limit, &found);
		is_settled = found.is_out_of_memory || !leave_one_out(foreign, &found, errors);
		if (is_settled)
			move_errors(errors, &found);
		config_errors_done(&found);
	}
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
	leave_twins_out(foreign, own, n_own, errors);
	join(foreign, config, fd_limit, own, n_own, errors);
	if (config->services) {
		hand_over(foreign);
		free(own);
	} else {
		config->services = own;
	}
}
