/* SPDX-License-Identifier: MIT */
/* A text that grows at its end: see text.h. */
#include "text.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_ROOM 4096
#define MAX_DIGITS 20 /* of UINT64_MAX */

/* Returns whether there is room for `size` bytes more. */
static bool make_room(struct text *text, size_t size)
{
	size_t room = text->room > 0 ? text->room : FIRST_ROOM;
	char *bytes;

	if (text->is_short)
		return false;
	if (text->room - text->size >= size)
		return true;
	while (room - text->size < size)
		room *= 2;
	bytes = realloc(text->bytes, room);
	text->is_short = !bytes;
	if (!bytes)
		return false;
	text->bytes = bytes;
	text->room = room;
	return true;
}

static void add_bytes(struct text *text, const char *bytes, size_t size)
{
	if (size == 0 || !make_room(text, size))
		return;
	memcpy(text->bytes + text->size, bytes, size);
	text->size += size;
}

void text_add(struct text *text, const char *string)
{
	add_bytes(text, string, strlen(string));
}

void text_add_number(struct text *text, uint64_t n)
{
	char digits[MAX_DIGITS], *digit = digits + sizeof(digits);

	do
		*--digit = (char)('0' + n % 10);
	while ((n /= 10) > 0);
	add_bytes(text, digit, (size_t)(digits + sizeof(digits) - digit));
}

void text_add_seconds(struct text *text, uint64_t usec)
{
	char fraction[] = ".000000";
	size_t size = strlen(fraction);
	uint64_t rest = usec % 1000000;

	text_add_number(text, usec / 1000000);
	for (char *digit = fraction + size - 1; *digit != '.'; digit--, rest /= 10)
		*digit = (char)('0' + rest % 10);
	while (size > 0 && (fraction[size - 1] == '0' || fraction[size - 1] == '.'))
		size--;
	add_bytes(text, fraction, size);
}

static bool is_plain(char byte)
{
	return byte >= ' ' && byte < 0x7f && byte != '\\' && byte != '"';
}

static void add_escaped_byte(struct text *text, char byte)
{
	switch (byte) {
	case '\\':
	case '"':
		add_bytes(text, (const char[]){'\\', byte}, 2);
		break;
	case '\n':
		add_bytes(text, "\\n", 2);
		break;
	default:
		add_bytes(text, "?", 1);
		break;
	}
}

void text_add_escaped(struct text *text, const char *bytes, size_t size)
{
	size_t n;

	for (size_t i = 0; i < size; i += n) {
		for (n = 0; i + n < size && is_plain(bytes[i + n]); n++)
			;
		add_bytes(text, bytes + i, n);
		if (i + n < size)
			add_escaped_byte(text, bytes[i + n++]);
	}
}
