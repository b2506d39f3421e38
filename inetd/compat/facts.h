/* SPDX-License-Identifier: MIT */
/*
 * What the readers of inetd.conf and xinetd.conf have to know of this system, looked up: the only
 * part of compat/ that looks at anything.
 */
#pragma once

#include "translation.h"

/*
 * Everything of *ret but read_file, which is the caller's: he knows which files he trusts. Texts
 * are static.
 */
void facts_look_up(struct translation_facts *ret);

/*
 * The names in a folder, without those that begin with a dot, in the order of strcmp(3). Returns 0
 * with *ret_names, to be freed with its elements, and *ret_n; or a negative errno of scandir(3).
 */
int facts_list_folder(const char *folder, char ***ret_names, size_t *ret_n);
