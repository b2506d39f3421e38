/* SPDX-License-Identifier: MIT */
/*
 * Numbers as `usherctl top` shows them: in few columns of a terminal. Pure.
 *
 * A text has at most TOP_TEXT_WIDTH columns, whatever the number; NAN is "-".
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TOP_TEXT_WIDTH 5
#define TOP_TEXT_SIZE  16 /* bytes of one */

/* "0", "0.4", "17", "1.2k", "83M". Returns `text`. */
char *top_text_rate(double number, char text[TOP_TEXT_SIZE]);

/* As it is up to 9999, then as a rate. Returns `text`. */
char *top_text_count(uint64_t number, char text[TOP_TEXT_SIZE]);

/* "84µs", "1.2ms", "31s"; without `is_utf8` "84us". Returns `text`. */
char *top_text_seconds(double seconds, bool is_utf8, char text[TOP_TEXT_SIZE]);

/*
 * How many of `width` columns of a bar are filled by `part` of `whole`, at most all. Neither none
 * nor all if not: a bar is empty only if nothing is left, and full only if all is.
 */
size_t top_text_bar(uint64_t part, uint64_t whole, size_t width);
