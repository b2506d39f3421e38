/* SPDX-License-Identifier: MIT */
/* Who may come in, when, how many and how often: what of usher.conf(5) is of struct
 * config_admission. */
#include "config-private.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MINUTES_OF_DAY 1440u
#define DAY_USEC       UINT64_C(86400000000)
#define SECOND_USEC    UINT64_C(1000000)

/* A name is a rule without a network until config_resolve(). */
static int find_networks(const char *text, struct network **ret, size_t *ret_n, char *why)
{
	int r = network_parse(text, ret, ret_n, why, CONFIG_WHY_SIZE);

	if (r <= 0)
		return r;
	if (*text == '.') {
		config_refuse(why,
			"'%s' is a domain, which cannot be decided without asking DNS for each "
			"client, expected its networks, or names of hosts",
			text);
		return -EINVAL;
	}
	*ret = calloc(1, sizeof(**ret));
	*ret_n = 1;
	return *ret ? 0 : -ENOMEM;
}

static void free_rules(struct config_rule *rules, size_t n)
{
	for (size_t i = 0; rules && i < n; i++)
		free(rules[i].text);
	free(rules);
}

static struct config_rule *make_rules(const struct config_key *key,
	const struct config_input *input, const struct network *networks, size_t n)
{
	struct config_rule *rules = calloc(n, sizeof(*rules));

	for (size_t i = 0; rules && i < n; i++) {
		rules[i] = (struct config_rule){
			.network = networks[i],
			.is_allowed = key->tag,
			.text = strdup(input->text),
			.place = input->place,
		};
		if (!rules[i].text) {
			free_rules(rules, i);
			return NULL;
		}
	}
	return rules;
}

static bool expand_rule(const struct config_key *key, const struct config_input *input, void **ret,
	size_t *ret_n, char *why)
{
	char sentence[CONFIG_WHY_SIZE];
	struct network *networks;
	int r = find_networks(input->text, &networks, ret_n, sentence);

	if (r < 0)
		return r == -ENOMEM ? false : config_refuse(why, "%s: %.480s", key->name, sentence);
	*ret = make_rules(key, input, networks, *ret_n);
	free(networks);
	return *ret;
}

static bool is_own_rule(const struct config_key *key, const void *element)
{
	const struct config_rule *rule = element;

	return rule->is_allowed == key->tag;
}

static bool copy_rule(void *element)
{
	struct config_rule *rule = element;

	rule->text = strdup(rule->text);
	return rule->text;
}

static void free_rule(void *element)
{
	struct config_rule *rule = element;

	free(rule->text);
}

static bool is_equal_rule(const void *a, const void *b)
{
	const struct config_rule *one = a, *other = b;

	return one->is_allowed == other->is_allowed &&
	       network_compare(&one->network, &other->network) == 0;
}

/* "8:00" or "08:00", up to "24:00". Returns what follows, or NULL. */
static const char *read_time(const char *text, uint32_t *ret)
{
	uint32_t hour = 0;
	const char *at = text;

	for (; isdigit((unsigned char)*at) && at - text < 2; at++)
		hour = 10 * hour + (uint32_t)(*at - '0');
	if (at == text || *at != ':' || !isdigit((unsigned char)at[1]) ||
		!isdigit((unsigned char)at[2]) || at[1] > '5')
		return NULL;
	*ret = 60 * hour + 10 * (uint32_t)(at[1] - '0') + (uint32_t)(at[2] - '0');
	return *ret <= MINUTES_OF_DAY ? at + 3 : NULL;
}

static bool parse_hours(
	const struct config_key *key, const struct config_input *input, void *ret, char *why)
{
	struct config_hours hours = {0};
	const char *at = read_time(input->text, &hours.first);

	if (at && *at == '-')
		at = read_time(at + 1, &hours.last);
	else
		at = NULL;
	if (!at || *at || hours.first == hours.last || hours.first == MINUTES_OF_DAY)
		return config_refuse(why,
			"%s: bad time '%s', expected a beginning and an end that differ, as in "
			"08:00-18:00 or 22:00-06:00",
			key->name, input->text);
	*(struct config_hours *)ret = hours;
	return true;
}

static bool refuse_count(
	const struct config_key *key, const char *expected, size_t n_texts, char *why)
{
	return config_refuse(why, "%s has %zu value%s, expected %s", key->name, n_texts,
		n_texts == 1 ? "" : "s", expected);
}

static bool parse_rate_count(
	const struct config_key *key, const char *text, uint32_t *ret, char *why)
{
	const struct config_key limits = {.name = key->name, .least = 1, .most = 1000000};
	uint64_t value;

	if (!config_value_number(&limits, text, &value, why))
		return false;
	*ret = (uint32_t)value;
	return true;
}

static bool parse_cps(
	const struct config_key *key, const struct config_input *input, void *ret, char *why)
{
	const struct config_key pauses = {.name = key->name, .most = DAY_USEC};
	struct config_rate *rate = ret;

	rate->period_usec = SECOND_USEC;
	if (input->index == 0)
		return parse_rate_count(key, input->text, &rate->count, why);
	if (input->index > 1)
		return true; /* they are counted at the end */
	return config_value_seconds(&pauses, input->text, &rate->pause_usec, why);
}

static bool parse_rate(
	const struct config_key *key, const struct config_input *input, void *ret, char *why)
{
	const struct config_key periods = {
		.name = key->name, .least = SECOND_USEC, .most = DAY_USEC};
	struct config_rate *rate = ret;

	if (input->index == 0)
		return parse_rate_count(key, input->text, &rate->count, why);
	if (input->index > 1)
		return true;
	return config_value_duration(&periods, input->text, &rate->period_usec, why);
}

static bool finish_cps(const struct config_key *key, size_t n_texts, const void *member, char *why)
{
	(void)member;
	return n_texts == 0 || n_texts == 2 || /* {}: no limit, whatever the defaults say */
	       refuse_count(key, "how many a second, and how long to pause, as in {200, 10}",
		       n_texts, why);
}

static bool finish_rate(const struct config_key *key, size_t n_texts, const void *member, char *why)
{
	(void)member;
	return n_texts == 2 ||
	       refuse_count(key, "how many, and in how long, as in {256, \"1min\"}", n_texts, why);
}

static bool is_equal_rate(const void *a, const void *b)
{
	const struct config_rate *one = a, *other = b;

	return one->count == other->count && one->period_usec == other->period_usec &&
	       one->pause_usec == other->pause_usec;
}

static bool parse_prefix(
	const struct config_key *key, const struct config_input *input, void *ret, char *why)
{
	const struct config_key limits = {
		.name = key->name, .least = 1, .most = input->index == 0 ? 32 : 128};
	uint64_t value;

	if (input->index > 1)
		return true;
	if (!config_value_number(&limits, input->text, &value, why))
		return false;
	((uint32_t *)ret)[input->index] = (uint32_t)value;
	return true;
}

static bool finish_prefix(
	const struct config_key *key, size_t n_texts, const void *member, char *why)
{
	(void)member;
	return n_texts == 2 ||
	       refuse_count(key, "the bits of IPv4 and of IPv6, as in {24, 56}", n_texts, why);
}

bool config_value_deny_time(
	const struct config_key *key, const char *text, uint64_t *ret, char *why)
{
	if (strcmp(text, "forever") == 0) {
		*ret = UINT64_MAX;
		return true;
	}
	if (config_value_duration(key, text, ret, why))
		return true;
	(void)snprintf(why + strlen(why), CONFIG_WHY_SIZE - strlen(why), ", or forever");
	return false;
}

/* A decimal number in hundredths; further digits are left out. */
static bool read_hundredths(const char *text, uint64_t *ret)
{
	size_t n_digits = strspn(text, "0123456789");
	uint64_t value = 100 * strtoull(text, NULL, 10);

	if (n_digits == 0 || n_digits > 9)
		return false;
	text += n_digits;
	if (*text == '.')
		for (unsigned int weight = 10; isdigit((unsigned char)*++text); weight /= 10)
			value += weight * (unsigned int)(*text - '0');
	*ret = value;
	return *text == '\0';
}

bool config_value_load(const struct config_key *key, const char *text, uint64_t *ret, char *why)
{
	uint64_t percent;

	if (!read_hundredths(text, &percent) || percent > key->most)
		return config_refuse(why,
			"%s is '%s', expected a load average from 0 to %" PRIu64 ", as in 4.5",
			key->name, text, key->most / 100);
	*ret = percent;
	return true;
}

const struct config_type config_type_rule = {
	.is_list = true,
	.element_size = sizeof(struct config_rule),
	.expand = expand_rule,
	.is_own = is_own_rule,
	.copy = copy_rule,
	.done = free_rule,
	.is_equal = is_equal_rule,
};

const struct config_type config_type_hours = {
	.is_list = true,
	.element_size = sizeof(struct config_hours),
	.parse = parse_hours,
};

const struct config_type config_type_cps = {
	.is_list = true,
	.parse = parse_cps,
	.finish = finish_cps,
	.is_equal = is_equal_rate,
};

const struct config_type config_type_rate = {
	.is_list = true,
	.parse = parse_rate,
	.finish = finish_rate,
	.is_equal = is_equal_rate,
};

const struct config_type config_type_prefix = {
	.is_list = true,
	.parse = parse_prefix,
	.finish = finish_prefix,
};
