/* SPDX-License-Identifier: MIT */
/* Structures as JSON and back: see succession-table.h. */
#include "succession-table.h"

#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Pointers and counts of lists are copied, because their types differ from table to table. */
static void *pointer_at(const void *value, size_t offset)
{
	void *pointer;

	memcpy(&pointer, (const char *)value + offset, sizeof(pointer));
	return pointer;
}

static size_t count_at(const void *value, size_t offset)
{
	size_t n;

	memcpy(&n, (const char *)value + offset, sizeof(n));
	return n;
}

static void set_list(const struct table_member *member, void *value, void *pointer, size_t n)
{
	memcpy((char *)value + member->offset, &pointer, sizeof(pointer));
	memcpy((char *)value + member->n_offset, &n, sizeof(n));
}

/* Writing. */

static json_t *write_hex(const uint8_t *bytes, size_t n)
{
	static const char digits[] = "0123456789abcdef";
	char *text = malloc(2 * n + 1);
	json_t *json;

	if (!text)
		return NULL;
	for (size_t i = 0; i < n; i++) {
		text[2 * i] = digits[bytes[i] >> 4];
		text[2 * i + 1] = digits[bytes[i] & 15];
	}
	json = json_stringn_nocheck(text, 2 * n);
	free(text);
	return json;
}

static json_t *write_list(const struct table *table, const char *items, size_t n)
{
	json_t *array = json_array();

	for (size_t i = 0; i < n; i++)
		if (json_array_append_new(array, table_write(table, items + i * table->size)) < 0) {
			json_decref(array);
			return NULL;
		}
	return array;
}

static json_t *write_member(const struct table_member *member, const void *value)
{
	const void *field = (const char *)value + member->offset;

	switch (member->type) {
	case TABLE_BOOL:
		return json_boolean(*(const bool *)field);
	case TABLE_UINT32:
		return json_integer(*(const uint32_t *)field);
	case TABLE_UINT64:
		return json_integer((json_int_t)(*(const uint64_t *)field));
	case TABLE_INT64:
		return json_integer(*(const int64_t *)field);
	case TABLE_FD:
		return *(const int *)field < 0 ? json_null() : json_integer(*(const int *)field);
	case TABLE_TEXT:
		return json_string(field);
	case TABLE_BYTES:
		return write_hex(field, member->size);
	case TABLE_DATA:
		return write_hex(
			pointer_at(value, member->offset), count_at(value, member->n_offset));
	case TABLE_LIST:
		return write_list(member->items, pointer_at(value, member->offset),
			count_at(value, member->n_offset));
	}
	return NULL;
}

json_t *table_write(const struct table *table, const void *value)
{
	json_t *json = table->is_row ? json_array() : json_object();
	int r = json ? 0 : -1;

	for (size_t i = 0; i < table->n_members && r == 0; i++) {
		json_t *member = write_member(&table->members[i], value);

		r = table->is_row ? json_array_append_new(json, member)
				  : json_object_set_new(json, table->members[i].name, member);
	}
	if (r == 0)
		return json;
	json_decref(json);
	return NULL;
}

/* Reading. */

/* Where in the whole something stands: "services[3].name", from the inside to the outside. */
struct place {
	const struct place *parent;
	const char *name;
	size_t index; /* of an item */
	bool is_item;
};

struct reader {
	unsigned int format;
	char *why;
	size_t why_size;
};

static void append(struct reader *reader, const char *text)
{
	size_t length = strlen(reader->why);

	(void)snprintf(reader->why + length, reader->why_size - length, "%s", text);
}

static void append_place(struct reader *reader, const struct place *place)
{
	char index[32];

	if (!place)
		return;
	append_place(reader, place->parent);
	if (place->is_item) {
		(void)snprintf(index, sizeof(index), "[%zu]", place->index);
		append(reader, index);
	} else {
		append(reader, *reader->why ? "." : "");
		append(reader, place->name);
	}
}

/* Returns -EINVAL. */
static int complain(struct reader *reader, const struct place *place, const char *sentence)
{
	*reader->why = '\0';
	append_place(reader, place);
	append(reader, *reader->why ? ": " : "the state ");
	append(reader, sentence);
	return -EINVAL;
}

static int read_number(struct reader *reader, const struct place *place, const json_t *json,
	int64_t min, uint64_t max, int64_t *ret)
{
	char sentence[96];
	json_int_t number = json_integer_value(json);

	if (!json_is_integer(json))
		return complain(reader, place, "is not a whole number");
	if (number < min || (number > 0 && (uint64_t)number > max)) {
		(void)snprintf(sentence, sizeof(sentence), "is %lld, and not from %lld to %llu",
			(long long)number, (long long)min, (unsigned long long)max);
		return complain(reader, place, sentence);
	}
	*ret = number;
	return 0;
}

static int read_unsigned(struct reader *reader, const struct place *place, const json_t *json,
	const struct table_member *member, void *field)
{
	uint64_t max = member->type == TABLE_UINT32 ? UINT32_MAX : INT64_MAX;
	int64_t number = 0;
	int r = read_number(reader, place, json, 0, member->max ? member->max : max, &number);

	if (r < 0)
		return r;
	if (member->type == TABLE_UINT32)
		*(uint32_t *)field = (uint32_t)number;
	else
		*(uint64_t *)field = (uint64_t)number;
	return 0;
}

static int read_fd(struct reader *reader, const struct place *place, const json_t *json, int *ret)
{
	int64_t number = -EBADF;
	int r = json_is_null(json)
			? 0
			: read_number(reader, place, json, STDERR_FILENO + 1, INT32_MAX, &number);

	if (r >= 0)
		*ret = (int)number;
	return r;
}

static int read_text(struct reader *reader, const struct place *place, const json_t *json,
	char *ret, size_t size)
{
	size_t length = json_string_length(json);

	if (!json_is_string(json))
		return complain(reader, place, "is not a text");
	if (length >= size)
		return complain(reader, place, "is too long");
	memcpy(ret, json_string_value(json), length);
	return 0;
}

static int digit_value(char digit)
{
	if (digit >= '0' && digit <= '9')
		return digit - '0';
	return digit >= 'a' && digit <= 'f' ? digit - 'a' + 10 : -1;
}

static int read_digits(struct reader *reader, const struct place *place, const json_t *json,
	uint8_t *ret, size_t n)
{
	const char *text = json_string_value(json);

	for (size_t i = 0; i < n; i++) {
		int high = digit_value(text[2 * i]), low = digit_value(text[2 * i + 1]);

		if (high < 0 || low < 0)
			return complain(reader, place, "has other characters than 0-9 and a-f");
		ret[i] = (uint8_t)(high << 4 | low);
	}
	return 0;
}

static int read_bytes(struct reader *reader, const struct place *place, const json_t *json,
	uint8_t *ret, size_t size)
{
	if (!json_is_string(json))
		return complain(reader, place, "is not a text");
	if (json_string_length(json) != 2 * size)
		return complain(reader, place, "has not the right length");
	return read_digits(reader, place, json, ret, size);
}

static int read_data(struct reader *reader, const struct place *place, const json_t *json,
	const struct table_member *member, void *ret)
{
	size_t length = json_string_length(json);
	uint8_t *data;

	if (!json_is_string(json))
		return complain(reader, place, "is not a text");
	if (length % 2 != 0 || (member->max > 0 && length / 2 > member->max))
		return complain(reader, place, "has not the right length");
	data = malloc(length / 2 + 1);
	if (!data)
		return -ENOMEM;
	set_list(member, ret, data, length / 2);
	return read_digits(reader, place, json, data, length / 2);
}

static int read_struct(struct reader *reader, const struct place *place, const struct table *table,
	const json_t *json, void *ret);

/* What was read before a failure is part of *ret, so that table_done() frees it. */
static int read_list(struct reader *reader, const struct place *place, const json_t *json,
	const struct table_member *member, void *ret)
{
	const struct table *table = member->items;
	size_t n = json_array_size(json);
	char *items;
	int r = 0;

	if (!json_is_array(json))
		return complain(reader, place, "is not a list");
	if (member->max > 0 && n > member->max)
		return complain(reader, place, "is too long");
	items = calloc(n + 1, table->size);
	if (!items)
		return -ENOMEM;
	set_list(member, ret, items, n);
	for (size_t i = 0; i < n && r >= 0; i++)
		r = read_struct(reader,
			&(struct place){.parent = place, .index = i, .is_item = true}, table,
			json_array_get(json, i), items + i * table->size);
	return r;
}

static int read_member(struct reader *reader, const struct place *place, const json_t *json,
	const struct table_member *member, void *ret)
{
	void *field = (char *)ret + member->offset;

	switch (member->type) {
	case TABLE_BOOL:
		if (!json_is_boolean(json))
			return complain(reader, place, "is not true or false");
		*(bool *)field = json_is_true(json);
		return 0;
	case TABLE_UINT32:
	case TABLE_UINT64:
		return read_unsigned(reader, place, json, member, field);
	case TABLE_INT64:
		return read_number(reader, place, json, INT64_MIN, INT64_MAX, field);
	case TABLE_FD:
		return read_fd(reader, place, json, field);
	case TABLE_TEXT:
		return read_text(reader, place, json, field, member->size);
	case TABLE_BYTES:
		return read_bytes(reader, place, json, field, member->size);
	case TABLE_DATA:
		return read_data(reader, place, json, member, ret);
	case TABLE_LIST:
		return read_list(reader, place, json, member, ret);
	}
	return -EINVAL;
}

/* What an older format has not, or may lack. */
static void set_absent(const struct table_member *member, void *ret)
{
	if (member->type == TABLE_FD)
		*(int *)(void *)((char *)ret + member->offset) = -EBADF;
}

static bool has_member(const struct table *table, unsigned int format, const char *name)
{
	for (size_t i = 0; i < table->n_members; i++)
		if (table->members[i].since <= format && strcmp(table->members[i].name, name) == 0)
			return true;
	return false;
}

static int refuse_unknown_members(
	struct reader *reader, const struct place *place, const struct table *table, json_t *json)
{
	for (void *i = json_object_iter(json); i; i = json_object_iter_next(json, i)) {
		const char *name = json_object_iter_key(i);

		if (!has_member(table, reader->format, name))
			return complain(reader, &(struct place){.parent = place, .name = name},
				"is not known");
	}
	return 0;
}

static int read_members(struct reader *reader, const struct place *place, const struct table *table,
	const json_t *json, void *ret)
{
	size_t column = 0;
	int r = 0;

	for (size_t i = 0; i < table->n_members && r >= 0; i++) {
		const struct table_member *member = &table->members[i];
		const struct place here = {.parent = place, .name = member->name};
		const json_t *value = table->is_row ? json_array_get(json, column)
						    : json_object_get(json, member->name);

		if (member->since > reader->format) {
			set_absent(member, ret);
			continue;
		}
		column++;
		if (!value && member->may_lack) {
			assert(!table->is_row);
			set_absent(member, ret);
			continue;
		}
		r = value ? read_member(reader, &here, value, member, ret)
			  : complain(reader, &here, "is missing");
	}
	if (r >= 0 && table->is_row && json_array_size(json) != column)
		r = complain(reader, place, "has too many values");
	return r;
}

static int read_struct(struct reader *reader, const struct place *place, const struct table *table,
	const json_t *json, void *ret)
{
	int r;

	if (table->is_row ? !json_is_array(json) : !json_is_object(json))
		return complain(
			reader, place, table->is_row ? "is not a list" : "is not an object");
	r = read_members(reader, place, table, json, ret);
	if (r >= 0 && !table->is_row)
		r = refuse_unknown_members(reader, place, table, (json_t *)(uintptr_t)json);
	return r;
}

int table_read(const struct table *table, unsigned int format, const json_t *json, void *ret,
	char *why, size_t why_size)
{
	struct reader reader = {.format = format, .why = why, .why_size = why_size};
	int r;

	memset(ret, 0, table->size);
	r = read_struct(&reader, NULL, table, json, ret);
	if (r < 0)
		table_done(table, ret);
	return r;
}

void table_done(const struct table *table, void *value)
{
	for (size_t i = 0; i < table->n_members; i++) {
		const struct table_member *member = &table->members[i];
		char *items;
		size_t n;

		if (member->type != TABLE_LIST && member->type != TABLE_DATA)
			continue;
		items = pointer_at(value, member->offset);
		n = count_at(value, member->n_offset);
		for (size_t j = 0; member->type == TABLE_LIST && j < n; j++)
			table_done(member->items, items + j * member->items->size);
		free(items);
		set_list(member, value, NULL, 0);
	}
}

static int visit_list(const struct table_member *member, void *value,
	int (*visit)(int *fd, void *userdata), void *userdata)
{
	char *items = pointer_at(value, member->offset);
	size_t n = count_at(value, member->n_offset);
	int r = 0;

	for (size_t i = 0; i < n && r >= 0; i++)
		r = table_visit_fds(
			member->items, items + i * member->items->size, visit, userdata);
	return r;
}

int table_visit_fds(const struct table *table, void *value, int (*visit)(int *fd, void *userdata),
	void *userdata)
{
	int r = 0;

	for (size_t i = 0; i < table->n_members && r >= 0; i++) {
		const struct table_member *member = &table->members[i];
		int *fd = (int *)(void *)((char *)value + member->offset);

		if (member->type == TABLE_FD && *fd >= 0)
			r = visit(fd, userdata);
		else if (member->type == TABLE_LIST)
			r = visit_list(member, value, visit, userdata);
	}
	return r;
}
