/* SPDX-License-Identifier: MIT */
/*
 * For the sandbox*.c files alone: sandbox.c puts the parts together, sandbox-seccomp.c has the list
 * of system calls, sandbox-landlock.c guards files.
 */
#pragma once

#include "sandbox.h"

/* From now on no thread of this process makes other system calls. Returns 0 or a negative errno,
 * -EOPNOTSUPP where there is no such thing. */
int sandbox_filter_system_calls(void);

/* From now on this thread, and those that it makes, write and execute files only where `sandbox`
 * says. Returns the same. */
int sandbox_guard_files(const struct sandbox *sandbox);
