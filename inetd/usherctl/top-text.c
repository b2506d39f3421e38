/* SPDX-License-Identifier: MIT */
/* Numbers in few columns: see top-text.h. */
#include "top-text.h"

#include <math.h>
#include <stdio.h>

struct unit {
	double size;
	const char *name, *name_ascii;
};

#define ROUNDS_TO_TEN	   9.95
#define ROUNDS_TO_THOUSAND 999.5

/* In the first unit that leaves less than a thousand, or the last; `n` of them, ascending. */
static char *print_scaled(
	double number, const struct unit *units, size_t n, bool is_utf8, char text[TOP_TEXT_SIZE])
{
	size_t i = 0;
	double scaled;

	while (i + 1 < n && number / units[i].size >= ROUNDS_TO_THOUSAND)
		i++;
	scaled = fmin(number / units[i].size, 999);
	(void)snprintf(text, TOP_TEXT_SIZE, "%.*f%s", scaled < ROUNDS_TO_TEN && scaled > 0, scaled,
		is_utf8 ? units[i].name : units[i].name_ascii);
	return text;
}

char *top_text_rate(double number, char text[TOP_TEXT_SIZE])
{
	static const struct unit units[] = {
		{1, "", ""}, {1e3, "k", "k"}, {1e6, "M", "M"}, {1e9, "G", "G"}, {1e12, "T", "T"}};

	if (isnan(number) || number < 0)
		(void)snprintf(text, TOP_TEXT_SIZE, "-");
	else
		print_scaled(number, units, sizeof(units) / sizeof(units[0]), true, text);
	return text;
}

char *top_text_count(uint64_t number, char text[TOP_TEXT_SIZE])
{
	if (number >= 10000)
		return top_text_rate((double)number, text);
	(void)snprintf(text, TOP_TEXT_SIZE, "%u", (unsigned int)number);
	return text;
}

char *top_text_seconds(double seconds, bool is_utf8, char text[TOP_TEXT_SIZE])
{
	static const struct unit units[] = {
		{1e-6, "\302\265s", "us"}, {1e-3, "ms", "ms"}, {1, "s", "s"}};

	if (isnan(seconds) || seconds < 0)
		(void)snprintf(text, TOP_TEXT_SIZE, "-");
	else
		print_scaled(seconds, units, sizeof(units) / sizeof(units[0]), is_utf8, text);
	return text;
}

size_t top_text_bar(uint64_t part, uint64_t whole, size_t width)
{
	double share = whole > 0 ? fmin((double)part / (double)whole, 1) : 0;
	size_t n = (size_t)(share * (double)width + 0.5);

	if (part == 0 || width == 0)
		return 0;
	if (part < whole && n == width)
		return width > 1 ? width - 1 : width;
	return n > 0 ? n : 1;
}
