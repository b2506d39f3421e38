/* SPDX-License-Identifier: MIT */
/* Programs of usher.conf(5), and receivers: what of it is of struct config_exec and config_pass.
 * Whether a file is there is not looked at: usher-exec(8) has other rights than usherd. */
#include "config-private.h"

#include <ctype.h>
#include <limits.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/un.h>

static bool check_length(const struct config_key *key, const char *text, size_t most, char *why)
{
	return strlen(text) <= most || config_refuse(why, "%s has %zu bytes, expected at most %zu",
					       key->name, strlen(text), most);
}

bool config_check_path(const struct config_key *key, const char *text, char *why)
{
	if (*text != '/')
		return config_refuse(why, "%s is '%s', expected an absolute path", key->name, text);
	return check_length(key, text, PATH_MAX - 1, why);
}

bool config_check_socket_path(const struct config_key *key, const char *text, char *why)
{
	size_t most = sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1;

	return config_check_path(key, text, why) && check_length(key, text, most, why);
}

static size_t name_length(const char *text)
{
	size_t length = 0;

	while (isalnum((unsigned char)text[length]) || text[length] == '_')
		length++;
	return isdigit((unsigned char)*text) ? 0 : length;
}

bool config_check_variable(const struct config_key *key, const char *text, char *why)
{
	size_t length = name_length(text);

	return (length > 0 && text[length] == '=') ||
	       config_refuse(why,
		       "%s has '%s', expected a name of letters, digits and '_', '=' and a value, "
		       "as in LANG=C",
		       key->name, text);
}

bool config_check_variable_name(const struct config_key *key, const char *text, char *why)
{
	size_t length = name_length(text);

	return (length > 0 && text[length] == '\0') ||
	       config_refuse(why,
		       "%s has '%s', expected the name of a variable, of letters, digits and '_', "
		       "as in PATH",
		       key->name, text);
}

/* In the unit of setrlimit(2), for which the key has a function. */
static bool parse_rlimit(
	const struct config_key *key, const struct config_input *input, void *ret, char *why)
{
	struct config_rlimit limit = {.resource = key->tag, .value = RLIM_INFINITY};

	if (strcmp(input->text, "unlimited") != 0 &&
		!key->number(key, input->text, &limit.value, why)) {
		size_t length = strlen(why);

		strncat(why, ", or unlimited", CONFIG_WHY_SIZE - 1 - length);
		return false;
	}
	*(struct config_rlimit *)ret = limit;
	return true;
}

bool config_value_cpu_time(const struct config_key *key, const char *text, uint64_t *ret, char *why)
{
	uint64_t usec;

	if (!config_value_seconds(key, text, &usec, why))
		return false;
	*ret = usec / 1000000;
	return true;
}

static bool is_own_rlimit(const struct config_key *key, const void *element)
{
	const struct config_rlimit *limit = element;

	return limit->resource == key->tag;
}

static bool is_equal_rlimit(const void *a, const void *b)
{
	const struct config_rlimit *one = a, *other = b;

	return one->resource == other->resource && one->value == other->value;
}

const struct config_type config_type_rlimit = {
	.element_size = sizeof(struct config_rlimit),
	.parse = parse_rlimit,
	.is_own = is_own_rlimit,
	.is_equal = is_equal_rlimit,
};
