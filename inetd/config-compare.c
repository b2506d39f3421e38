/* SPDX-License-Identifier: MIT */
/* Do two configurations of a service say the same? See config.h. */
#include "config-private.h"

#include <stddef.h>
#include <string.h>

static bool is_equal_value(
	const struct config_type *type, size_t size, const void *a, const void *b)
{
	return type->is_equal ? type->is_equal(a, b) : memcmp(a, b, size) == 0;
}

static bool is_equal_array(const struct config_key *key, const struct config_service *a,
	const struct config_service *b)
{
	size_t n = *(const size_t *)config_member(a, key->count_offset);
	const char *one, *other;

	if (n != *(const size_t *)config_member(b, key->count_offset))
		return false;
	memcpy(&one, config_member(a, key->offset), sizeof(one));
	memcpy(&other, config_member(b, key->offset), sizeof(other));
	for (size_t at = 0; at < n * key->type->element_size; at += key->type->element_size)
		if (!is_equal_value(key->type, key->type->element_size, one + at, other + at))
			return false;
	return true;
}

static bool is_equal_key(const struct config_key *key, const struct config_service *a,
	const struct config_service *b)
{
	/* An empty list can mean something else than none. */
	if (key->given_offset && *(const bool *)config_member(a, key->given_offset) !=
					 *(const bool *)config_member(b, key->given_offset))
		return false;
	return key->type->element_size > 0
		       ? is_equal_array(key, a, b)
		       : is_equal_value(key->type, key->size, config_member(a, key->offset),
				 config_member(b, key->offset));
}

bool config_service_equal(const struct config_service *a, const struct config_service *b)
{
	for (size_t i = 0; i < CONFIG_N_KEYS; i++)
		if (config_keys[i].offset != offsetof(struct config_service, is_disabled) &&
			!is_equal_key(&config_keys[i], a, b))
			return false;
	return true;
}
