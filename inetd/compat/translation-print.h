/* SPDX-License-Identifier: MIT */
/* A translation as text, in the syntax of usher.conf(5). */
#pragma once

#include "translation.h"
#include <stdio.h>

/*
 * Write all services, with the comments that stood before them. The file that results says the same
 * to usherd as the one that was translated. Errors are those of the stream: ferror(3).
 */
void translation_print(const struct translation *translation, FILE *stream);

/* One value, in quotes, such that usher.conf's reader gets the same bytes. */
void translation_print_text(const char *text, FILE *stream);
