/* SPDX-License-Identifier: MIT */
/* Aligned columns: see table.h. */
#include "table.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>
#include <wctype.h>

#define GAP 2 /* blanks between columns */

/*
 * Nobody sees these, but they make one text look like another: writing direction, zero width, line
 * ends, tags. iswprint(3) allows most of them.
 */
static const struct {
	wchar_t first, last;
} format_characters[] = {
	{0xad, 0xad},
	{0x61c, 0x61c},
	{0x180e, 0x180e},
	{0x200b, 0x200f},
	{0x2028, 0x202e},
	{0x2060, 0x206f},
	{0xfeff, 0xfeff},
	{0xfff9, 0xfffb},
	{0xe0000, 0xe007f},
};

static bool is_format_character(wchar_t character)
{
	for (size_t i = 0; i < sizeof(format_characters) / sizeof(format_characters[0]); i++)
		if (character >= format_characters[i].first &&
			character <= format_characters[i].last)
			return true;
	return false;
}

/* Bytes of the character at `text` in this locale, or 0 if it is none that can be printed. */
static size_t printable_length(const char *text, int *ret_width)
{
	mbstate_t state = {0};
	wchar_t character;
	size_t n = mbrtowc(&character, text, MB_CUR_MAX, &state);

	if (n == 0 || n > MB_CUR_MAX) /* the end, or an error: (size_t)-1 or -2 */
		return 0;
	*ret_width = wcwidth(character);
	if (!iswprint(character) || *ret_width < 0 || is_format_character(character))
		return 0;
	return n;
}

void text_copy(char *to, size_t size, const char *from)
{
	size_t length = 0;

	while (*from) {
		int width;
		size_t n = printable_length(from, &width);
		const char *piece = n > 0 ? from : "?";
		size_t piece_length = n > 0 ? n : 1;

		if (length + piece_length >= size)
			break;
		memcpy(to + length, piece, piece_length);
		length += piece_length;
		from += piece_length;
	}
	to[length] = '\0';
}

size_t text_width(const char *text)
{
	size_t total = 0, n;
	int width;

	for (; (n = printable_length(text, &width)) > 0; text += n)
		total += (size_t)width;
	return total;
}

char *text_cut(char *text, size_t width)
{
	char *end = text;
	size_t n;
	int taken;

	for (; (n = printable_length(end, &taken)) > 0 && (size_t)taken <= width; end += n)
		width -= (size_t)taken;
	*end = '\0';
	return text;
}

static size_t max_size(size_t a, size_t b)
{
	return a > b ? a : b;
}

void table_init(struct table *table, const struct table_column *columns, size_t n_columns,
	size_t indent, bool has_colours)
{
	assert(n_columns <= TABLE_MAX_COLUMNS);
	*table = (struct table){.columns = columns,
		.n_columns = n_columns,
		.indent = indent,
		.has_colours = has_colours};
	for (size_t i = 0; i < n_columns; i++)
		table->width[i] = text_width(columns[i].title);
}

void table_fit(struct table *table, const struct table_cell *row)
{
	for (size_t i = 0; i < table->n_columns; i++)
		table->width[i] = max_size(table->width[i], text_width(row[i].text));
}

void colour_print(const char *text, enum colour colour, bool has_colours)
{
	static const char *const sequences[] = {
		[COLOUR_BOLD] = "\033[1m",
		[COLOUR_GREEN] = "\033[32m",
		[COLOUR_YELLOW] = "\033[33m",
		[COLOUR_RED] = "\033[31m",
	};

	if (has_colours && colour != COLOUR_NONE)
		printf("%s%s\033[0m", sequences[colour], text);
	else
		printf("%s", text);
}

static void print_cell(const struct table *table, size_t i, const char *text, enum colour colour)
{
	int padding = (int)(table->width[i] - text_width(text));
	bool is_number = table->columns[i].is_number, is_last = i + 1 == table->n_columns;

	if (is_number)
		printf("%*s", padding, "");
	colour_print(text, colour, table->has_colours);
	if (!is_number && !is_last)
		printf("%*s", padding, "");
	printf("%*s", is_last ? 0 : GAP, "");
}

void table_print(const struct table *table, const struct table_cell *row)
{
	printf("%*s", (int)table->indent, "");
	for (size_t i = 0; i < table->n_columns; i++)
		print_cell(table, i, row[i].text, row[i].colour);
	putchar('\n');
}

void table_print_titles(const struct table *table)
{
	printf("%*s", (int)table->indent, "");
	for (size_t i = 0; i < table->n_columns; i++)
		print_cell(table, i, table->columns[i].title, COLOUR_BOLD);
	putchar('\n');
}
