/* SPDX-License-Identifier: MIT */
/*
 * The names that clients may ask for, and the services of usherd that they mean. What is not here
 * cannot be reached, whatever usherd has (CVE-2012-0862 is what happens otherwise).
 *
 * Pure. Invariant: no two names are alike but for upper and lower case, and none is HELP.
 */
#pragma once

#include "request.h"

#include <stdbool.h>
#include <stddef.h>

/* Most names: what a machine offers fits into a screen or two. */
#define DIRECTORY_MAX 1024

/* What the administrator has written for one name. */
struct directory_entry {
	char name[REQUEST_NAME_MAX + 1];
	char service[REQUEST_NAME_MAX + 1];
	bool is_announced; /* we answer "+" ourselves (TCPMUXPLUS); else the service does */
};

/* Zero-initialise. */
struct directory {
	struct directory_entry *entries;
	size_t n;
	char *help; /* the names, each with CR LF */
	size_t help_size;
};

/*
 * Add "NAME", "NAME=SERVICE", "+NAME" or "+NAME=SERVICE". Without SERVICE the name is its own.
 *
 * Returns 0; -EINVAL: it is no name, HELP, or not that of a service; -EEXIST; -E2BIG: more than
 * DIRECTORY_MAX; -ENOMEM. The directory is as before then.
 */
int directory_add(struct directory *d, const char *text);

/* The entry of that name in upper or lower case, or NULL. */
const struct directory_entry *directory_find(const struct directory *d, const char *name);

/* Does the client ask for the names? */
bool directory_is_help(const char *name);

void directory_done(struct directory *d);
