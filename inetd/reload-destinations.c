/* SPDX-License-Identifier: MIT */
/* Where services log their connections: see reload-destinations.h. */
#include "reload-destinations.h"

#include "sandbox.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A service that does not log where all messages go. */
struct wish {
	const struct config_service *config;
	size_t index; /* in the list of services */
};

static int compare_numbers(uint64_t a, uint64_t b)
{
	return a < b ? -1 : a > b;
}

/* 0: they can share it. */
static int compare_types(const struct config_log_type *one, const struct config_log_type *other)
{
	int r = compare_numbers(one->type, other->type);

	if (r == 0 && one->type == CONFIG_LOG_TYPE_FILE)
		r = strcmp(one->path, other->path);
	if (r == 0)
		r = compare_numbers(one->soft_bytes, other->soft_bytes);
	if (r == 0)
		r = compare_numbers(one->hard_bytes, other->hard_bytes);
	if (r == 0)
		r = compare_numbers((uint64_t)one->facility, (uint64_t)other->facility);
	return r != 0 ? r : compare_numbers((uint64_t)one->level, (uint64_t)other->level);
}

/* What can be shared comes together: those of usher.conf, where it has to be possible, and then in
 * the order of the services. */
static int compare_wishes(const void *a, const void *b)
{
	const struct wish *one = a, *other = b;
	int r = compare_types(&one->config->log.type, &other->config->log.type);

	if (r == 0)
		r = compare_numbers(one->config->is_foreign, other->config->is_foreign);
	return r != 0 ? r : compare_numbers(one->index, other->index);
}

static const char *reason_of(int error)
{
	switch (error) {
	case -EINVAL:
	case -ENXIO:
	case -EISDIR:
		return "it is no regular file";
	case -ELOOP:
		return "it is a symbolic link";
	default:
		return strerror(-error);
	}
}

/* A file of xinetd was made for root, who wrote there: without it there is no harm but that. */
static void report(const struct config_service *config, int error, struct config_errors *errors)
{
	const struct config_place place = {.file = config->file, .line = config->line};
	const char *path = config->log.type.path;

	if (config->is_foreign)
		config_warnings_add(errors, place,
			"service '%s' cannot log to %s: %s; who names this file logs where usherd does until a "
			"reload finds that usherd, as uid %u, can write to the file and to its "
			"folder: name a file in a folder of this user (LogsDirectory= of "
			"systemd.exec(5)), or give him both (chown(1))%s",
			config->name, path, reason_of(error), geteuid(), sandbox_hint(error));
	else
		config_errors_add(errors, place,
			"service '%s' cannot log to %s: %s; usherd, as uid %u, must be able to "
			"write to the file and to its folder%s",
			config->name, path, reason_of(error), geteuid(), sandbox_hint(error));
}

/* Returns 0, also if it cannot be opened, which was reported; or -ENOMEM. */
static int open_destination(const struct config_service *config, struct log_destination **ret,
	struct config_errors *errors)
{
	const struct config_log_type *type = &config->log.type;
	int r = type->type == CONFIG_LOG_TYPE_SYSLOG
			? log_destination_new_syslog(ret, type->facility, type->level)
			: log_destination_new_file(
				  ret, type->path, type->soft_bytes, type->hard_bytes);

	if (r >= 0 || r == -ENOMEM)
		return r;
	report(config, r, errors);
	return 0;
}

static size_t collect_wishes(
	const struct config_service *const *configs, size_t n, struct wish *wishes)
{
	size_t n_wishes = 0;

	for (size_t i = 0; i < n; i++)
		if (configs[i]->log.type.type != CONFIG_LOG_TYPE_COMMON)
			wishes[n_wishes++] = (struct wish){.config = configs[i], .index = i};
	qsort(wishes, n_wishes, sizeof(*wishes), compare_wishes);
	return n_wishes;
}

/* As much as could be opened is in `destinations`, also on failure. */
static int grant(const struct wish *wishes, size_t n, struct log_destination **destinations,
	struct config_errors *errors)
{
	for (size_t i = 0; i < n; i++) {
		struct log_destination **ret = &destinations[wishes[i].index];
		int r = 0;

		if (i > 0 && compare_types(&wishes[i - 1].config->log.type,
				     &wishes[i].config->log.type) == 0)
			*ret = log_destination_ref(destinations[wishes[i - 1].index]);
		else
			r = open_destination(wishes[i].config, ret, errors);
		if (r < 0)
			return r;
	}
	return 0;
}

int reload_open_destinations(const struct config_service *const *configs, size_t n,
	struct log_destination ***ret, struct config_errors *errors)
{
	struct log_destination **destinations = calloc(n + 1, sizeof(struct log_destination *));
	struct wish *wishes = calloc(n + 1, sizeof(*wishes));
	int r = -ENOMEM;

	if (destinations && wishes)
		r = grant(wishes, collect_wishes(configs, n, wishes), destinations, errors);
	for (size_t i = 0; r < 0 && destinations && i < n; i++)
		log_destination_unref(destinations[i]);
	if (r < 0)
		free(destinations);
	else
		*ret = destinations;
	free(wishes);
	return r;
}
