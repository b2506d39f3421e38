/* SPDX-License-Identifier: MIT */
/*
 * The state of an usherd as a value: read, written again, and refused with the place of what is
 * wrong. The stored states in states/ are what usherd writes now, and wrote before.
 */
#include "succession.h"
#include "test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static json_t *load_state(const char *name)
{
	json_error_t error;
	char path[512];
	json_t *json;

	snprintf(path, sizeof(path), "%s/tests/unit/states/%s.json", getenv("SOURCE_DIR"), name);
	json = json_load_file(path, 0, &error);
	if (!json)
		fail_msg("%s:%d: %s", path, error.line, error.text);
	return json;
}

static struct succession *parse(const json_t *json)
{
	struct succession *succession = NULL;
	char why[256] = "";

	if (succession_parse(&succession, json, why, sizeof(why)) < 0)
		fail_msg("%s", why);
	return succession;
}

static struct succession *parse_state(const char *name)
{
	json_t *json = load_state(name);
	struct succession *succession = parse(json);

	json_decref(json);
	return succession;
}

static void test_the_present_format_is_written_as_it_was_read(void **state)
{
	json_t *json = load_state("format-2"), *again;
	struct succession *succession = parse(json);

	(void)state;
	again = succession_json(succession);
	assert_true(json_equal(json, again));
	succession_free(succession);
	json_decref(again);
	json_decref(json);
}

static void test_every_member_of_the_present_format(void **state)
{
	struct succession *succession = parse_state("format-2");
	const struct saved_service *service = &succession->services[0];
	const struct saved_provider *provider = &service->providers[0];
	const struct saved_handoff *unclaimed = &provider->unclaimed[0];

	(void)state;
	assert_int_equal(succession->client_fd, -EBADF);
	assert_int_equal(succession->lock_fd, 5);
	assert_true(succession->is_sandboxed);
	assert_string_equal(service->name, "one");
	assert_true(service->is_paused);
	assert_int_equal(service->totals.n_expired, 1);
	assert_int_equal(service->totals.waiting_time.sum_usec, 150);
	assert_int_equal(service->totals.handoff_time.counts[1], 5);
	assert_int_equal(unclaimed->entered_usec, 1900000);
	assert_int_equal(unclaimed->given_usec, 2000000);
	assert_int_equal(service->admission.cps.full_nsec, 3000000000);
	assert_int_equal(service->admission.rate.full_nsec, 4000000000);
	assert_int_equal(service->admission.paused_until_usec, 6000000);
	assert_int_equal(service->n_sources, 1);
	assert_int_equal(service->sources[0].network.n_bits, 32);
	assert_int_equal(service->sources[0].bucket.full_nsec, 7000000000);
	assert_int_equal(service->lots[0].number, 3);
	assert_string_equal(service->listeners[0].address, "tcp:127.0.0.1:8007");
	assert_int_equal(provider->credit, -14);
	assert_int_equal(provider->draining_reason, WIRE_DRAINING_ADMINISTRATOR);
	assert_true(provider->is_standby && provider->may_forward && provider->owes_draining);
	assert_true(provider->takes_listeners && provider->is_borrower);
	assert_false(provider->owes_listeners);
	assert_true(service->listeners[0].is_for_lending);
	assert_int_equal(unclaimed->n_forwarded, 1);
	assert_int_equal(unclaimed->forwarded->size, 5);
	assert_memory_equal(unclaimed->forwarded->data, "hello", 5);
	assert_int_equal(unclaimed->forwarded->mark.n_read, 5);
	assert_int_equal(unclaimed->peer.family, AF_INET);
	assert_int_equal(provider->claimed[0].n_hops, 1);
	assert_int_equal(service->waiting[0].n_forwarded, 0);
	assert_int_equal(service->waiting[0].parked_usec, 5000000);
	succession_free(succession);
}

/* Nor does every state of this format have all its members. */
static void test_what_may_lack_is_zero(void **state)
{
	static const char *const members[] = {"cps_full_nsec", "rate_full_nsec",
		"paused_until_usec", "sources", "waiting_time", "handoff_time"};
	json_t *json = load_state("format-2");
	json_t *service = json_array_get(json_object_get(json, "services"), 0);
	json_t *provider = json_array_get(json_object_get(service, "providers"), 0);
	json_t *handoff = json_array_get(json_object_get(service, "waiting"), 0);
	struct succession *succession;

	(void)state;
	for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++)
		assert_int_equal(json_object_del(service, members[i]), 0);
	assert_int_equal(json_object_del(handoff, "entered_usec"), 0);
	assert_int_equal(json_object_del(handoff, "given_usec"), 0);
	assert_int_equal(json_object_del(provider, "place"), 0);
	assert_int_equal(json_object_del(json, "is_sandboxed"), 0);
	succession = parse(json);
	assert_false(succession->is_sandboxed);
	assert_int_equal(succession->services[0].admission.cps.full_nsec, 0);
	assert_int_equal(succession->services[0].admission.paused_until_usec, 0);
	assert_int_equal(succession->services[0].n_sources, 0);
	assert_int_equal(succession->services[0].totals.handoff_time.sum_usec, 0);
	assert_int_equal(succession->services[0].waiting[0].entered_usec, 0);
	assert_int_equal(succession->services[0].providers[0].place, 0);
	succession_free(succession);
	json_decref(json);
}

static void test_the_previous_format_is_read(void **state)
{
	struct succession *succession = parse_state("format-1");
	const struct saved_service *service = &succession->services[0];
	const struct saved_provider *provider = &service->providers[0];

	(void)state;
	assert_int_equal(provider->credit, -14);
	assert_true(provider->owes_draining);
	/* What it does not know. */
	assert_false(provider->takes_listeners || provider->owes_listeners);
	assert_false(provider->is_borrower || service->listeners[0].is_for_lending);
	succession_free(succession);
}

static void test_the_first_format_is_read(void **state)
{
	struct succession *succession = parse_state("format-0");
	const struct saved_service *service = &succession->services[0];
	const struct saved_provider *provider = &service->providers[0];

	(void)state;
	assert_int_equal(service->totals.n_accepted, 12);
	assert_int_equal(provider->last_sequence, 11);
	assert_int_equal(provider->unclaimed[0].fd, 11);
	assert_int_equal(provider->claimed[0].id, 2097153);
	assert_int_equal(provider->claimed[0].sequence, 10);
	/* What it does not know. */
	assert_int_equal(service->n_lots, 0);
	assert_int_equal(service->totals.n_parked, 0);
	assert_false(service->is_paused || provider->is_standby || provider->may_forward);
	assert_int_equal(provider->unclaimed[0].n_forwarded, 0);
	assert_int_equal(provider->claimed[0].n_hops, 0);
	succession_free(succession);
}

/* The part of `json` at the end of the path, "services.0.name", and its last word in `ret_last`. */
static json_t *find_parent(json_t *json, const char *path, char ret_last[64])
{
	char word[64];
	int n;

	while (sscanf(path, "%63[^.]%n", word, &n) == 1 && path[n] == '.') {
		json = json_is_array(json) ? json_array_get(json, (size_t)atoi(word))
					   : json_object_get(json, word);
		path += n + 1;
	}
	strcpy(ret_last, word);
	return json;
}

/* Replace what is at `path` by `value`, which is given away (NULL: take it out). */
static void put(json_t *json, const char *path, json_t *value)
{
	char last[64];
	json_t *parent = find_parent(json, path, last);
	int r;

	assert_non_null(parent);
	if (json_is_array(parent))
		r = value ? json_array_set_new(parent, (size_t)atoi(last), value)
			  : json_array_remove(parent, (size_t)atoi(last));
	else
		r = value ? json_object_set_new(parent, last, value)
			  : json_object_del(parent, last);
	assert_int_equal(r, 0);
}

static void check_refused(const char *path, json_t *value, const char *expected)
{
	json_t *json = load_state("format-2");
	struct succession *succession = NULL;
	char why[256] = "";

	put(json, path, value);
	assert_int_equal(succession_parse(&succession, json, why, sizeof(why)), -EINVAL);
	assert_null(succession);
	assert_string_equal(why, expected);
	json_decref(json);
}

static void test_what_is_wrong_is_named_with_its_place(void **state)
{
	(void)state;
	check_refused("services.0.providers.0.credit", NULL,
		"services[0].providers[0].credit: is missing");
	check_refused("services.0.providers.0.credit", json_string("14"),
		"services[0].providers[0].credit: is not a whole number");
	check_refused("services.0.providers.0.uid", json_integer(-1),
		"services[0].providers[0].uid: is -1, and not from 0 to 4294967295");
	check_refused("services.0.providers.0.state", json_integer(5),
		"services[0].providers[0].state: is 5, and not from 0 to 4");
	check_refused("services.0.instances", json_integer(1 << 21),
		"services[0].instances: is 2097152, and not from 0 to 1048576");
	check_refused("services.0.is_ending", json_integer(1),
		"services[0].is_ending: is not true or false");
	check_refused("services.0.name", json_null(), "services[0].name: is not a text");
	check_refused("services.0.name",
		json_string("a-name-that-is-longer-than-any-service-may-have-as-its-name-12345"),
		"services[0].name: is too long");
	check_refused(
		"services.0.listeners", json_object(), "services[0].listeners: is not a list");
	check_refused("services.0.listeners.0", json_array(),
		"services[0].listeners[0]: is not an object");
	check_refused("services.0.colour", json_integer(1), "services[0].colour: is not known");
	check_refused("lock_fd", json_integer(2), "lock_fd: is 2, and not from 3 to 2147483647");
}

static void test_rows_and_bytes_are_checked_too(void **state)
{
	static const char claim[] = "services[0].providers[0].claimed[0]";
	char expected[128];

	(void)state;
	snprintf(expected, sizeof(expected), "%s.n_hops: is missing", claim);
	check_refused("services.0.providers.0.claimed.0.4", NULL, expected);
	snprintf(expected, sizeof(expected), "%s: is not a list", claim);
	check_refused("services.0.providers.0.claimed.0", json_object(), expected);
	snprintf(expected, sizeof(expected), "%s.peer: has not the right length", claim);
	check_refused("services.0.providers.0.claimed.0.3", json_string("02"), expected);
	check_refused("services.0.providers.0.unclaimed.0.forwarded.0.data", json_string("6g"),
		"services[0].providers[0].unclaimed[0].forwarded[0].data: has other characters "
		"than 0-9 and a-f");
	check_refused("services.0.providers.0.unclaimed.0.forwarded.0.data", json_string("6"),
		"services[0].providers[0].unclaimed[0].forwarded[0].data: has not the right "
		"length");
}

static void test_a_row_with_too_many_values(void **state)
{
	json_t *json = load_state("format-2"), *row;
	struct succession *succession = NULL;
	char why[256] = "", last[64];

	(void)state;
	row = find_parent(json, "services.0.providers.0.claimed.0.4", last);
	json_array_append_new(row, json_integer(0));
	assert_int_equal(succession_parse(&succession, json, why, sizeof(why)), -EINVAL);
	assert_string_equal(why, "services[0].providers[0].claimed[0]: has too many values");
	json_decref(json);
}

static void test_a_connection_was_forwarded_by_one_service_last(void **state)
{
	json_t *json = load_state("format-2"), *list;
	struct succession *succession = NULL;
	char why[256] = "", last[64];

	(void)state;
	list = find_parent(json, "services.0.providers.0.unclaimed.0.forwarded.0", last);
	json_array_append(list, json_array_get(list, 0));
	assert_int_equal(succession_parse(&succession, json, why, sizeof(why)), -EINVAL);
	assert_string_equal(why, "services[0].providers[0].unclaimed[0].forwarded: is too long");
	json_decref(json);
}

static void test_members_of_a_later_format_are_unknown_in_an_earlier_one(void **state)
{
	json_t *json = load_state("format-0");
	struct succession *succession = NULL;
	char why[256] = "";

	(void)state;
	put(json, "services.0.is_paused", json_true());
	assert_int_equal(succession_parse(&succession, json, why, sizeof(why)), -EINVAL);
	assert_string_equal(why, "services[0].is_paused: is not known");
	json_decref(json);
}

static void test_formats_that_are_not_known(void **state)
{
	(void)state;
	check_refused("format", NULL, "this is not the state of an usherd: it has no format");
	check_refused(
		"format", json_string("1"), "this is not the state of an usherd: it has no format");
	check_refused("format", json_integer(3),
		"the state of usherd 0.1.0 has the format 3, and this one reads 0 to 2: restart it instead of upgrading");
	check_refused("format", json_integer(-1),
		"the state of usherd 0.1.0 has the format -1, and this one reads 0 to 2: restart it instead of upgrading");
}

/* How execve(2) and the environment carry it is seen in the integration tests. */

static void check_not_received(const char *variable, const char *expected)
{
	struct succession *succession = NULL;
	char why[256] = "";

	assert_int_equal(setenv(SUCCESSION_VARIABLE, variable, 1), 0);
	assert_int_equal(succession_receive(&succession, why, sizeof(why)), -EINVAL);
	assert_string_equal(why, expected);
	assert_null(getenv(SUCCESSION_VARIABLE));
}

static void test_an_ordinary_start_has_no_state(void **state)
{
	struct succession *succession = NULL;
	char why[256] = "";

	(void)state;
	unsetenv(SUCCESSION_VARIABLE);
	assert_int_equal(succession_receive(&succession, why, sizeof(why)), 0);
	assert_null(succession);
}

static void test_a_descriptor_that_is_no_sealed_file_is_refused(void **state)
{
	char number[16];
	int fds[2];

	(void)state;
	test_socketpair(fds);
	snprintf(number, sizeof(number), "%d", fds[0]);
	check_not_received(number, "USHER_STATE_FD names no sealed file");
	assert_int_equal(close(fds[1]), 0); /* the other one is closed */
	check_not_received(number, "USHER_STATE_FD names no sealed file");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_test(test_the_present_format_is_written_as_it_was_read),
		check_test(test_every_member_of_the_present_format),
		check_test(test_what_may_lack_is_zero),
		check_test(test_the_previous_format_is_read),
		check_test(test_the_first_format_is_read),
		check_test(test_what_is_wrong_is_named_with_its_place),
		check_test(test_rows_and_bytes_are_checked_too),
		check_test(test_a_row_with_too_many_values),
		check_test(test_a_connection_was_forwarded_by_one_service_last),
		check_test(test_members_of_a_later_format_are_unknown_in_an_earlier_one),
		check_test(test_formats_that_are_not_known),
		check_test(test_an_ordinary_start_has_no_state),
		check_test(test_a_descriptor_that_is_no_sealed_file_is_refused),
	};

	return cmocka_run_group_tests_name("succession", tests, NULL, NULL);
}
