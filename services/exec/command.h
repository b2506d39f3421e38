/* SPDX-License-Identifier: MIT */
/*
 * The programs of the configuration, as values: what `usherd --programs` prints (usherd(8),
 * "Programs"), with all that a connection needs made ready beforehand.
 *
 * Invariant: a command does not change. Whoever uses one holds a reference.
 */
#pragma once

#include "child.h"
#include "identity.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Most bytes of a banner. */
#define COMMAND_MAX_BANNER 65536

/* A sentence about what is wrong with one. */
#define COMMAND_WHY_SIZE 384

struct command {
	unsigned int n_references;
	char *service;
	json_t *json; /* that it was made of, and that the texts below are of */
	const char *path;
	const char **argv;
	char **env; /* all but the variables of a connection */
	size_t n_env;
	struct child_limit *limits;
	size_t n_limits;
	struct identity identity;
	bool has_umask;
	mode_t umask;
	bool has_nice;
	int nice; /* the value to be */
	bool no_new_privs;
	const char *chroot, *directory;
	char *banner; /* its text; NULL: none */
	size_t banner_size;
	uint32_t instances;
	bool has_connections, has_lent; /* of which kinds are the service's listeners */
	bool is_host_logged, is_pid_logged, is_duration_logged, is_exit_logged;
};

/* A service whose program cannot be run as it is configured. */
struct command_failure {
	char *service;
	char why[COMMAND_WHY_SIZE];
};

/* All of them. */
struct commands {
	char *run_dir;
	struct command **list; /* one reference of each */
	size_t n;
	struct command_failure *failures;
	size_t n_failures;
};

/*
 * From the JSON of `usherd --programs`, with what its names stand for now (users, groups, variables
 * of this process, the contents of banners). `limits` is for all programs that have none of their
 * own of a kind: n_limits of them.
 *
 * Returns 0 with *ret, to be freed by commands_done(), or -EINVAL with a sentence in `why`
 * (COMMAND_WHY_SIZE): this is not that JSON; or -ENOMEM.
 */
int commands_parse(struct commands *ret, json_t *json, const struct child_limit *limits,
	size_t n_limits, char *why);

/* One that is all zero is allowed. */
void commands_done(struct commands *commands);

/* The one of that service, or NULL. */
struct command *commands_find(const struct commands *commands, const char *service);

/* Another reference. Returns `command`. */
struct command *command_ref(struct command *command);

/* NULL is allowed. Returns NULL. */
struct command *command_unref(struct command *command);

/* Would both run the same in the same way, as far as the configuration says? */
bool command_equal(const struct command *a, const struct command *b);
