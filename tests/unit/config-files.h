/* SPDX-License-Identifier: MIT */
/*
 * Configurations for tests: small files in a folder of their own, which is the working directory
 * while the tests run.
 */
#pragma once

#include "config.h"

/* Setup and teardown of a group of tests: make the folder and go there; leave and remove it. */
int config_files_begin(void **state);
int config_files_end(void **state);

/* Write a file (mode 0644, whatever the umask) in place of an earlier one; folders are made. */
void write_config(const char *file, const char *text);

/* The text of a file, allocated. */
char *read_text(const char *file);

/* Load a configuration in which nothing is wrong, from c.conf with this text, or from a file. */
struct config *load_text(const char *text);
struct config *load_file(const char *file);

/* Load `file`, and expect these errors, each line ended by a newline. */
void check_errors_of_file(const char *file, uint64_t fd_limit, const char *expected);

/* The same for c.conf with this text. */
void check_errors(const char *text, const char *expected);
