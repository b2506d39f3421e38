/* SPDX-License-Identifier: MIT */
/*
 * Columns for people: cells aligned by the width that a terminal gives them, colours where wanted.
 *
 * A table is used in two turns over the same rows: fit every row, then print every row. Texts must
 * have gone through text_copy() first: what reaches the terminal is printable. Needs
 * setlocale(LC_CTYPE).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#define TABLE_MAX_COLUMNS 9
#define TABLE_CELL_SIZE	  512

enum colour {
	COLOUR_NONE,
	COLOUR_BOLD,
	COLOUR_GREEN,
	COLOUR_YELLOW,
	COLOUR_RED,
};

struct table_cell {
	char text[TABLE_CELL_SIZE];
	enum colour colour;
};

struct table_column {
	const char *title;
	bool is_number; /* at the right of its column */
};

struct table {
	const struct table_column *columns;
	size_t n_columns;
	size_t indent;
	bool has_colours;
	size_t width[TABLE_MAX_COLUMNS];
};

/* Copy at most `size` - 1 bytes of `from`, whole characters. What is not printable in this locale
 * becomes
 * '?': nothing that a peer calls itself moves the cursor. */
void text_copy(char *to, size_t size, const char *from);

/* How many columns of a terminal a printable text takes. */
size_t text_width(const char *text);

/* Shorten a printable text to at most `width` columns, whole characters. Returns `text`. */
char *text_cut(char *text, size_t width);

/* Begin a table that is as wide as its titles; `columns` has to stay. */
void table_init(struct table *table, const struct table_column *columns, size_t n_columns,
	size_t indent, bool has_colours);

/* Make the columns wide enough for this row. */
void table_fit(struct table *table, const struct table_cell *row);

/* To stdout. The last column is not padded. */
void table_print(const struct table *table, const struct table_cell *row);

void table_print_titles(const struct table *table);

/* Print `text` to stdout, in `colour` if `has_colours`. */
void colour_print(const char *text, enum colour colour, bool has_colours);
