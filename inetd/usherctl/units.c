/* SPDX-License-Identifier: MIT */
/* See units.h. */
#include "units.h"

#include <stdlib.h>
#include <systemd/sd-login.h>

static json_t *find_unit(pid_t pid)
{
	char *unit = NULL;
	json_t *json = pid > 0 && sd_pid_get_unit(pid, &unit) >= 0 ? json_string(unit) : NULL;

	free(unit);
	return json ? json : json_null();
}

static void add_unit(json_t *provider)
{
	pid_t pid = (pid_t)json_integer_value(json_object_get(provider, "pid"));

	if (!json_object_get(provider, "unit"))
		(void)json_object_set_new(provider, "unit", find_unit(pid));
}

void units_add(json_t *status)
{
	json_t *service, *provider;
	size_t i, j;

	json_array_foreach(json_object_get(status, "services"), i, service) json_array_foreach(
		json_object_get(service, "providers"), j, provider) add_unit(provider);
}
