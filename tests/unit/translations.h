/* SPDX-License-Identifier: MIT */
/* Files of inetd and xinetd for tests, and what becomes of them. */
#pragma once

#include "compat/translation.h"

/* This system has IPv6, the user usher-basic and no rules of hosts_access(5), whatever it is. */
extern struct translation_facts translations_facts;

/* What translations_facts reads in place of files: pairs of names and texts, ended by NULL. */
extern const char *const *translations_files;

/* Translate `text`, a file called "f", and expect this usher.conf, and these warnings, each a line
 * "f:LINE: sentence". */
void check_inetd(const char *text, const char *expected, const char *warnings);
void check_xinetd(const char *text, const char *expected, const char *warnings);

/* The same for a folder of translations_files. */
void check_xinetd_folder(const char *folder, const char *expected, const char *warnings);

/* Expect that nothing is left of the text but one warning, in which `part` occurs. */
void check_inetd_refuses(const char *text, const char *part);
void check_xinetd_refuses(const char *text, const char *part);
