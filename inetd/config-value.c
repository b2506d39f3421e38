/* SPDX-License-Identifier: MIT */
/*
 * One value of usher.conf(5): a text becomes a number, or a sentence says why not. Nothing here
 * looks outside.
 */
#include "config-private.h"

#include <assert.h>
#include <confuse.h>
#include <ctype.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What a message shows of a kind of values. */
#define MAX_EXAMPLES 4

struct unit {
	const char *name;
	uint64_t factor;
};

/* Microseconds. */
static const struct unit durations[] = {
	{"h", UINT64_C(3600000000)},
	{"min", UINT64_C(60000000)},
	{"s", UINT64_C(1000000)},
	{"ms", UINT64_C(1000)},
	{NULL},
};

/* Bytes. */
static const struct unit sizes[] = {
	{"GiB", UINT64_C(1) << 30},
	{"MiB", UINT64_C(1) << 20},
	{"KiB", UINT64_C(1) << 10},
	{"", 1},
	{NULL},
};

bool config_refuse(char *why, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	(void)vsnprintf(why, CONFIG_WHY_SIZE, format, args);
	va_end(args);
	return false;
}

bool config_value_boolean(const struct config_key *key, const char *text, uint64_t *ret, char *why)
{
	int value = cfg_parse_boolean(text);

	if (value < 0)
		return config_refuse(why, "%s is '%s', expected true or false", key->name, text);
	*ret = (uint64_t)value;
	return true;
}

/* The digits that `text` begins with. Returns what follows them, NULL if there are none. */
static const char *read_digits(const char *text, uint64_t *ret)
{
	char *end;

	if (!isdigit((unsigned char)*text))
		return NULL;
	*ret = strtoull(text, &end, 10); /* UINT64_MAX when it is too large */
	return end;
}

bool config_value_number(const struct config_key *key, const char *text, uint64_t *ret, char *why)
{
	uint64_t value = 0;
	const char *end = read_digits(text, &value);

	if (!end || *end || value < key->least || value > key->most)
		return config_refuse(why,
			"%s is '%s', expected a number from %" PRIu64 " to %" PRIu64, key->name,
			text, key->least, key->most);
	*ret = value;
	return true;
}

static const struct unit *find_unit(const struct unit *units, const char *name)
{
	for (; units->name; units++)
		if (strcmp(units->name, name) == 0)
			return units;
	return NULL;
}

/* As an administrator would write it, in the largest unit that fits. */
static const char *format_with_unit(
	const struct unit *units, uint64_t value, char *buffer, size_t size)
{
	while (units[1].name && (value == 0 || value % units->factor != 0))
		units++;
	(void)snprintf(buffer, size, "%" PRIu64 "%s", value / units->factor, units->name);
	return buffer;
}

/* Digits and a unit, within the limits of the key. */
static bool read_with_unit(
	const struct config_key *key, const struct unit *units, const char *text, uint64_t *ret)
{
	uint64_t number = 0;
	const char *end = read_digits(text, &number);
	const struct unit *unit = end ? find_unit(units, end) : NULL;

	if (!unit || number > key->most / unit->factor || number * unit->factor < key->least)
		return false;
	*ret = number * unit->factor;
	return true;
}

/* "", or ", as in " and those of the examples that the key takes. */
static const char *format_examples(const struct config_key *key, const struct unit *units,
	const char *const *examples, char *buffer, size_t size)
{
	const char *taken[MAX_EXAMPLES];
	size_t n = 0, length = 0;
	uint64_t value;

	for (size_t i = 0; i < MAX_EXAMPLES; i++)
		if (read_with_unit(key, units, examples[i], &value))
			taken[n++] = examples[i];
	*buffer = '\0';
	for (size_t i = 0; i < n; i++)
		length += (size_t)snprintf(buffer + length, size - length, "%s%s",
			i == 0	    ? ", as in "
			: i + 1 < n ? ", "
				    : " or ",
			taken[i]);
	assert(length < size);
	return buffer;
}

static bool refuse_with_units(const struct config_key *key, const struct unit *units,
	const char *what, const char *const *examples, const char *text, char *why)
{
	char least[32], most[32], as_in[64];
	bool has_unit = text[strspn(text, "0123456789")] != '\0';

	return config_refuse(why, "%s is '%s'%s, expected %s from %s to %s%s", key->name, text,
		has_unit || !*text || find_unit(units, "") ? "" : ", which has no unit", what,
		format_with_unit(units, key->least, least, sizeof(least)),
		format_with_unit(units, key->most, most, sizeof(most)),
		format_examples(key, units, examples, as_in, sizeof(as_in)));
}

bool config_value_duration(const struct config_key *key, const char *text, uint64_t *ret, char *why)
{
	static const char *const examples[MAX_EXAMPLES] = {"500ms", "5s", "2min", "1h"};

	return read_with_unit(key, durations, text, ret) ||
	       refuse_with_units(key, durations, "a duration", examples, text, why);
}

bool config_value_size(const struct config_key *key, const char *text, uint64_t *ret, char *why)
{
	static const char *const examples[MAX_EXAMPLES] = {"4096", "64KiB", "8MiB", "1GiB"};

	return read_with_unit(key, sizes, text, ret) ||
	       refuse_with_units(key, sizes, "a number of bytes", examples, text, why);
}

bool config_value_seconds(const struct config_key *key, const char *text, uint64_t *ret, char *why)
{
	char with_unit[32];

	if (text[strspn(text, "0123456789")] == '\0' && strlen(text) < sizeof(with_unit) - 1) {
		(void)snprintf(with_unit, sizeof(with_unit), "%ss", text);
		return config_value_duration(key, with_unit, ret, why);
	}
	return config_value_duration(key, text, ret, why);
}

bool config_value_octal(const struct config_key *key, const char *text, uint64_t *ret, char *why)
{
	size_t n_digits = strspn(text, "01234567");
	uint64_t value = strtoull(text, NULL, 8); /* UINT64_MAX when it is too large */

	if (n_digits == 0 || text[n_digits] != '\0' || value > key->most)
		return config_refuse(why,
			"%s is '%s', expected octal digits from 0 to %04" PRIo64 ", as in 022",
			key->name, text, key->most);
	*ret = value;
	return true;
}

bool config_value_nice(const struct config_key *key, const char *text, uint64_t *ret, char *why)
{
	bool is_negative = *text == '-';
	uint64_t value = 0;
	const char *end = read_digits(text + is_negative, &value);

	if (!end || *end || value > (is_negative ? 20 : 19))
		return config_refuse(
			why, "%s is '%s', expected a number from -20 to 19", key->name, text);
	*ret = is_negative ? -value : value;
	return true;
}

bool config_value_choice(const struct config_key *key, const char *text, uint64_t *ret, char *why)
{
	char expected[128] = "";
	size_t length = 0;

	for (size_t i = 0; key->choices[i]; i++) {
		if (strcmp(text, key->choices[i]) == 0) {
			*ret = i;
			return true;
		}
		length += (size_t)snprintf(expected + length, sizeof(expected) - length, "%s%s",
			i == 0		      ? ""
			: key->choices[i + 1] ? ", "
					      : " or ",
			key->choices[i]);
		assert(length < sizeof(expected));
	}
	return config_refuse(why, "%s is '%s', expected %s", key->name, text, expected);
}

bool config_value_socket_type(
	const struct config_key *key, const char *text, uint64_t *ret, char *why)
{
	static const struct {
		const char *name;
		int type;
	} types[] = {{"stream", SOCK_STREAM}, {"seqpacket", SOCK_SEQPACKET}, {"dgram", SOCK_DGRAM}};

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		if (strcmp(text, types[i].name) != 0)
			continue;
		*ret = (uint64_t)types[i].type;
		return true;
	}
	return config_refuse(
		why, "%s is '%s', expected stream, seqpacket or dgram", key->name, text);
}
