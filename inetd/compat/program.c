/* SPDX-License-Identifier: MIT */
/* Who serves a service: see program.h. */
#include "program.h"

#include <string.h>

#define TCPMUX "tcpmux"

static const char *last_part(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

void program_assign(struct translation *translation, struct translation_service *service,
	struct translation_place place, const char *program, const char *name)
{
	translation_assign_text(translation, service, "exec", "program", place, program);
	if (name && strcmp(name, last_part(program)) != 0)
		translation_assign_text(translation, service, "exec", "name", place, name);
}

void program_assign_args(struct translation *translation, struct translation_service *service,
	struct translation_place place, char *const *args, size_t n)
{
	struct translation_assignment *assignment;

	if (n == 0)
		return;
	assignment = translation_assign(translation, service, "exec", "args", place);
	for (size_t i = 0; i < n; i++)
		translation_add_text(translation, assignment, "%s", args[i]);
}

bool program_is_builtin(const char *name)
{
	static const char *const names[] = {
		TCPMUX, "chargen", "daytime", "discard", "echo", "time"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(name, names[i]) == 0)
			return true;
	return false;
}

void program_assign_builtin(struct translation *translation, struct translation_service *service,
	const struct translation_facts *facts, struct translation_place place)
{
	const char *user =
		strcmp(service->name, TCPMUX) == 0 ? facts->tcpmux_user : facts->basic_user;

	service->is_builtin = true;
	if (user)
		translation_assign_text(translation, service, "providers", "users", place, user);
}
