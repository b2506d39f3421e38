/* SPDX-License-Identifier: MIT */
/*
 * The programs of the configuration, as values: what `usherd --programs` prints (usherd(8),
 * "Programs"), with all that a connection needs made ready beforehand.
 *
 * Invariant: a program does not change, but for the room at the end of its environment, which
 * belongs to the connection that is being started. Whoever uses one holds a reference.
 */
#pragma once

#include "child.h"
#include "environment.h"
#include "identity.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Most bytes of a banner. */
#define PROGRAM_MAX_BANNER 65536

/* A sentence about what is wrong with one. */
#define PROGRAM_WHY_SIZE 384

struct program {
	unsigned int n_references;
	char *service;
	json_t *json; /* that it was made of, and that the texts below are of */
	const char *path;
	const char **argv;
	char **env; /* n_env of them, then room for ENVIRONMENT_MAX and a NULL */
	size_t n_env;
	struct child_limit *limits;
	size_t n_limits;
	struct identity identity;
	bool has_umask;
	mode_t umask;
	bool has_nice;
	int nice; /* the value to be */
	const char *chroot, *directory;
	char *banner; /* its text; NULL: none */
	size_t banner_size;
	uint32_t instances;
	bool has_connections, has_lent; /* of which kinds are the service's listeners */
	bool is_host_logged, is_pid_logged, is_duration_logged, is_exit_logged;
};

/* All of them. */
struct programs {
	char *run_dir;
	struct program **list; /* one reference of each */
	size_t n;
	struct program_failure { /* services whose program cannot be run as configured */
		char *service;
		char why[PROGRAM_WHY_SIZE];
	} * failures;
	size_t n_failures;
};

/*
 * From the JSON of `usherd --programs`, with what its names stand for now (users, groups, variables
 * of this process, the contents of banners). `limits` is for all programs that have none of their
 * own of a kind: n_limits of them.
 *
 * Returns 0 with *ret, to be freed by programs_done(), or -EINVAL with a sentence in `why`
 * (PROGRAM_WHY_SIZE): this is not that JSON; or -ENOMEM.
 */
int programs_parse(struct programs *ret, json_t *json, const struct child_limit *limits,
	size_t n_limits, char *why);

/* One that is all zero is allowed. */
void programs_done(struct programs *programs);

/* The one of that service, or NULL. */
struct program *programs_find(const struct programs *programs, const char *service);

/* Another reference. Returns `program`. */
struct program *program_ref(struct program *program);

/* NULL is allowed. Returns NULL. */
struct program *program_unref(struct program *program);

/* Would both run the same in the same way, as far as the configuration says? */
bool program_equal(const struct program *a, const struct program *b);
