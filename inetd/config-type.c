/* SPDX-License-Identifier: MIT */
/*
 * What a key of usher.conf(5) can be, and the common types: numbers, texts, lists of both.
 * Those of listeners, admission, programs and logging are in files of their own.
 *
 * Everything that is done with a value goes through its type, so a key is one line of the schema.
 */
#include "config-private.h"

#include "array.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

void *config_member(const struct config_service *service, size_t offset)
{
	return (void *)((uintptr_t)service + offset);
}

/* An array as the members of a service have it. */
struct array {
	void *first;
	size_t n;
};

static struct array array_of(const struct config_key *key, const struct config_service *service)
{
	struct array array;

	memcpy(&array.first, config_member(service, key->offset), sizeof(array.first));
	memcpy(&array.n, config_member(service, key->count_offset), sizeof(array.n));
	return array;
}

static void *element_of(const struct config_key *key, const struct array *array, size_t i)
{
	return (char *)array->first + i * key->type->element_size;
}

/* Append one element, of which there is nothing but its bytes. Returns whether there was memory. */
static bool append(
	const struct config_key *key, struct config_service *service, const void *element)
{
	void *added = array_add(config_member(service, key->offset),
		config_member(service, key->count_offset), key->type->element_size);

	if (added)
		memcpy(added, element, key->type->element_size);
	return added;
}

static bool append_all(const struct config_key *key, struct config_service *service,
	const struct array *array, char *why)
{
	for (size_t i = 0; i < array->n; i++) {
		if (append(key, service, element_of(key, array, i)))
			continue;
		for (; key->type->done && i < array->n; i++)
			key->type->done(element_of(key, array, i));
		*why = '\0';
		return false;
	}
	return true;
}

static bool take_expanded(const struct config_key *key, const struct config_input *input,
	struct config_service *service, char *why)
{
	struct array array;
	bool is_done;

	if (!key->type->expand(key, input, &array.first, &array.n, why))
		return false;
	is_done = append_all(key, service, &array, why);
	free(array.first);
	return is_done;
}

static bool take_element(const struct config_key *key, const struct config_input *input,
	struct config_service *service, char *why)
{
	max_align_t element[8] = {0};
	struct array array = {element, 1};

	assert(key->type->element_size <= sizeof(element));
	return key->type->parse(key, input, element, why) && append_all(key, service, &array, why);
}

bool config_type_take(const struct config_key *key, const struct config_input *input,
	struct config_service *service, char *why)
{
	*why = '\0';
	if (key->type->expand)
		return take_expanded(key, input, service, why);
	if (key->type->element_size > 0)
		return take_element(key, input, service, why);
	return key->type->parse(key, input, config_member(service, key->offset), why);
}

static bool copy_element(
	const struct config_key *key, struct config_service *to, const void *element)
{
	struct array array;

	if (!append(key, to, element))
		return false;
	array = array_of(key, to);
	return !key->type->copy || key->type->copy(element_of(key, &array, array.n - 1));
}

static bool copy_array(
	const struct config_key *key, struct config_service *to, const struct config_service *from)
{
	struct array array = array_of(key, from);

	for (size_t i = 0; i < array.n; i++) {
		const void *element = element_of(key, &array, i);

		if (key->type->is_own && !key->type->is_own(key, element))
			continue;
		if (!copy_element(key, to, element))
			return false;
	}
	return true;
}

bool config_type_copy(
	const struct config_key *key, struct config_service *to, const struct config_service *from)
{
	if (key->type->element_size > 0)
		return copy_array(key, to, from);
	memcpy(config_member(to, key->offset), config_member(from, key->offset), key->size);
	return !key->type->copy || key->type->copy(config_member(to, key->offset));
}

static void store(void *member, size_t size, uint64_t value)
{
	switch (size) {
	case sizeof(bool):
		*(bool *)member = value != 0;
		break;
	case sizeof(uint32_t):
		*(uint32_t *)member = (uint32_t)value;
		break;
	default:
		assert(size == sizeof(uint64_t));
		*(uint64_t *)member = value;
	}
}

void config_type_set_initial(const struct config_key *key, struct config_service *service)
{
	if (key->type == &config_type_number)
		store(config_member(service, key->offset), key->size, key->initial);
	else if (key->initial_bytes)
		memcpy(config_member(service, key->offset), key->initial_bytes, key->size);
}

static uint64_t load(const void *member, size_t size)
{
	return size == sizeof(bool)	  ? *(const bool *)member
	       : size == sizeof(uint32_t) ? *(const uint32_t *)member
					  : *(const uint64_t *)member;
}

bool config_type_is_initial(const struct config_key *key, const struct config_service *service)
{
	return key->type == &config_type_number &&
	       load(config_member(service, key->offset), key->size) == key->initial;
}

static void done_with(const struct config_key *key, struct config_service *service)
{
	void *member = config_member(service, key->offset);
	struct array array;

	if (key->type->element_size == 0) {
		if (key->type->done)
			key->type->done(member);
		return;
	}
	array = array_of(key, service);
	for (size_t i = 0; key->type->done && i < array.n; i++)
		key->type->done(element_of(key, &array, i));
	free(array.first);
	/* Several keys may have it */
	memset(member, 0, sizeof(array.first));
	memset(config_member(service, key->count_offset), 0, sizeof(array.n));
}

void config_service_done(struct config_service *service)
{
	for (size_t i = 0; i < CONFIG_N_KEYS; i++)
		done_with(&config_keys[i], service);
	free(service->name);
}

void config_type_reset(const struct config_key *key, struct config_service *service)
{
	done_with(key, service);
	if (key->type->element_size == 0)
		memset(config_member(service, key->offset), 0, key->size);
	if (key->given_offset)
		*(bool *)config_member(service, key->given_offset) = false;
	config_type_set_initial(key, service);
}

static bool parse_number(
	const struct config_key *key, const struct config_input *input, void *ret, char *why)
{
	uint64_t value;

	if (!key->number(key, input->text, &value, why))
		return false;
	store(ret, key->size, value);
	return true;
}

static bool parse_id(
	const struct config_key *key, const struct config_input *input, void *ret, char *why)
{
	uint64_t value;

	if (!key->number(key, input->text, &value, why))
		return false;
	*(uint32_t *)ret = (uint32_t)value;
	return true;
}

static bool parse_set(
	const struct config_key *key, const struct config_input *input, void *ret, char *why)
{
	uint64_t value;

	if (!key->number(key, input->text, &value, why))
		return false;
	*(uint32_t *)ret |= (uint32_t)value;
	return true;
}

static bool parse_text(
	const struct config_key *key, const struct config_input *input, void *ret, char *why)
{
	char **text = ret, *copy;

	if (key->check && !key->check(key, input->text, why))
		return false;
	copy = strdup(input->text);
	if (!copy)
		return false;
	free(*text);
	*text = copy;
	return true;
}

static bool copy_text(void *element)
{
	char **text = element;

	if (!*text)
		return true;
	*text = strdup(*text);
	return *text;
}

static void free_text(void *element)
{
	char **text = element;

	free(*text);
	*text = NULL;
}

static bool is_equal_text(const void *a, const void *b)
{
	const char *one = *(const char *const *)a, *other = *(const char *const *)b;

	return one && other ? strcmp(one, other) == 0 : one == other;
}

const struct config_type config_type_number = {.parse = parse_number};

const struct config_type config_type_ids = {
	.is_list = true,
	.element_size = sizeof(uint32_t),
	.parse = parse_id,
};

const struct config_type config_type_set = {.is_list = true, .parse = parse_set};

const struct config_type config_type_text = {
	.parse = parse_text,
	.copy = copy_text,
	.done = free_text,
	.is_equal = is_equal_text,
};

const struct config_type config_type_texts = {
	.is_list = true,
	.element_size = sizeof(char *),
	.parse = parse_text,
	.copy = copy_text,
	.done = free_text,
	.is_equal = is_equal_text,
};
