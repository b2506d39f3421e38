/* SPDX-License-Identifier: MIT */
/*
 * A text that grows at its end.
 *
 * For texts of very many short pieces, where printf(3) would take most of the time. Running out of
 * memory is noted in the text, and asked for once, at its end.
 *
 * Invariant: nothing is added to a text that is short of something.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Zero-initialise. */
struct text {
	char *bytes; /* from malloc(3), without a NUL; the caller's in the end */
	size_t size, room;
	bool is_short; /* something could not be added: there was no memory */
};

void text_add(struct text *text, const char *string);

/* In decimal. */
void text_add_number(struct text *text, uint64_t n);

/* µs in seconds, exactly, with no more digits than that needs: "0.00003", "0", "12.5". */
void text_add_seconds(struct text *text, uint64_t usec);

/*
 * `size` bytes, with a backslash before backslashes and quotation marks, and as "\n" a line end: as
 * the labels of Prometheus and the texts of JSON want it. Every other control character, and every
 * byte that is not ASCII, becomes '?'.
 */
void text_add_escaped(struct text *text, const char *bytes, size_t size);
