/* SPDX-License-Identifier: MIT */
/* Where services log their connections: see reload-destinations.h. */
#include "reload-destinations.h"

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

/* What can be shared comes together; else in the order of the services. */
static int compare_wishes(const void *a, const void *b)
{
	const struct config_log_type *one = &((const struct wish *)a)->config->log.type;
	const struct config_log_type *other = &((const struct wish *)b)->config->log.type;
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

/* Returns 0, also if that was added to the errors; or -ENOMEM. */
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
	config_errors_add(errors, (struct config_place){.file = config->file, .line = config->line},
		"service '%s' cannot log to %s: %s; usherd, as uid %u, must be able to write to the "
		"file and to its folder",
		config->name, type->path, reason_of(r), geteuid());
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

		if (i > 0 && compare_wishes(&wishes[i - 1], &wishes[i]) == 0)
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
