/* SPDX-License-Identifier: MIT */
/*
 * Who serves a service of inetd.conf or xinetd.conf: a program that usher-exec(8) runs, or one of
 * usher's own services in place of those that inetd had inside.
 */
#pragma once

#include "translation.h"

/*
 * exec { program, name }. `name` is argv[0] as it is written there; it is only said when it is not
 * the last part of `program` anyway. NULL: it is that.
 */
void program_assign(struct translation *translation, struct translation_service *service,
	struct translation_place place, const char *program, const char *name);

/* exec { args }, from argv[1] on; without any nothing is said. */
void program_assign_args(struct translation *translation, struct translation_service *service,
	struct translation_place place, char *const *args, size_t n);

/* Is this one of those that usher-basic(8) and usher-tcpmux(8) serve? */
bool program_is_builtin(const char *name);

/* It is one of them: let the user register who runs them. */
void program_assign_builtin(struct translation *translation, struct translation_service *service,
	const struct translation_facts *facts, struct translation_place place);
