/* SPDX-License-Identifier: MIT */
/* account-record: which items are written, and how a client appears. */
#include "account-record.h"
#include "log-record.h"
#include "test.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define ALL_ITEMS                                                                                  \
	(CONFIG_LOG_HOST | CONFIG_LOG_PID | CONFIG_LOG_DURATION | CONFIG_LOG_EXIT |                \
		CONFIG_LOG_TRAFFIC | CONFIG_LOG_REASON)

static struct wire_address ipv4(const char *text)
{
	struct wire_address address = {.family = AF_INET, .port = htons(40000)};

	assert_int_equal(inet_pton(AF_INET, text, address.address), 1);
	return address;
}

static struct wire_address ipv6(const char *text, uint32_t scope_id)
{
	struct wire_address address = {
		.family = AF_INET6, .port = htons(40000), .scope_id = scope_id};

	assert_int_equal(inet_pton(AF_INET6, text, address.address), 1);
	return address;
}

/* "-": nothing. */
static const char *shown(const struct account_policy *policy, struct wire_address address)
{
	static char buffer[ACCOUNT_PEER_MAX];
	const char *text = account_format_peer(policy, &address, buffer);

	return text ? text : "-";
}

static void test_full_addresses(void **state)
{
	const struct account_policy policy = {.address = CONFIG_LOG_ADDRESS_FULL};

	(void)state;
	assert_string_equal(shown(&policy, ipv4("192.0.2.1")), "192.0.2.1");
	assert_string_equal(shown(&policy, ipv6("2001:db8::1", 0)), "2001:db8::1");
	assert_string_equal(shown(&policy, ipv6("fe80::1", 3)), "fe80::1%3");
	assert_string_equal(shown(&policy, ipv6("::ffff:192.0.2.1", 0)), "192.0.2.1");
}

static void test_prefixes(void **state)
{
	struct account_policy policy = {
		.address = CONFIG_LOG_ADDRESS_PREFIX, .bits_v4 = 24, .bits_v6 = 56};

	(void)state;
	assert_string_equal(shown(&policy, ipv4("192.0.2.1")), "192.0.2.0/24");
	assert_string_equal(shown(&policy, ipv6("::ffff:192.0.2.1", 0)), "192.0.2.0/24");
	assert_string_equal(shown(&policy, ipv6("2001:db8:1:2ff::1", 0)), "2001:db8:1:200::/56");
	assert_string_equal(shown(&policy, ipv6("fe80::1", 3)), "fe80::/56");
	policy.bits_v4 = policy.bits_v6 = 0;
	assert_string_equal(shown(&policy, ipv4("192.0.2.1")), "0.0.0.0/0");
	assert_string_equal(shown(&policy, ipv6("2001:db8::1", 0)), "::/0");
}

/* A client is the same one whatever its port, and another one under another key. */
static void test_hashes(void **state)
{
	struct account_policy policy = {.address = CONFIG_LOG_ADDRESS_HASH, .hash_key = "sixteen"};
	struct wire_address one = ipv4("192.0.2.1"), same = one;
	char text[ACCOUNT_PEER_MAX];

	(void)state;
	same.port = htons(1);
	strcpy(text, shown(&policy, one));
	assert_int_equal(strlen(text), 16);
	assert_int_equal(strspn(text, "0123456789abcdef"), 16);
	assert_string_equal(shown(&policy, same), text);
	assert_string_equal(shown(&policy, ipv6("::ffff:192.0.2.1", 0)), text);
	assert_string_not_equal(shown(&policy, ipv4("192.0.2.2")), text);
	assert_string_not_equal(shown(&policy, ipv6("c000:201::", 0)), text); /* the same bytes */
	policy.hash_key[15]++;
	assert_string_not_equal(shown(&policy, one), text);
}

static void test_no_addresses(void **state)
{
	const struct account_policy policy = {.address = CONFIG_LOG_ADDRESS_NONE};

	(void)state;
	assert_string_equal(shown(&policy, ipv4("192.0.2.1")), "-");
	assert_string_equal(shown(&policy, ipv6("2001:db8::1", 0)), "-");
	assert_string_equal(shown(&policy, (struct wire_address){.family = AF_UNIX}), "-");
}

static void test_other_families_have_only_a_name(void **state)
{
	static const enum config_log_address modes[] = {
		CONFIG_LOG_ADDRESS_FULL, CONFIG_LOG_ADDRESS_PREFIX, CONFIG_LOG_ADDRESS_HASH};

	(void)state;
	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		const struct account_policy policy = {.address = modes[i], .bits_v6 = 64};

		assert_string_equal(
			shown(&policy, (struct wire_address){.family = AF_UNIX}), "unix");
		assert_string_equal(
			shown(&policy, (struct wire_address){.family = AF_VSOCK}), "vsock");
		assert_string_equal(
			shown(&policy, (struct wire_address){.family = AF_UNSPEC}), "unknown");
	}
}

/* The line of an event of which everything is known; "-" if none is wanted. */
static const char *line_of(enum account_event event, uint32_t on_success, uint32_t on_failure)
{
	static char line[LOG_LINE_MAX];
	const struct account_policy policy = {.on_success = on_success, .on_failure = on_failure};
	const struct wire_address peer = ipv4("192.0.2.1");
	const struct account_fact fact = {
		.event = event,
		.service = "web",
		.listener = "tcp:80",
		.peer = &peer,
		.connection = 7,
		.provider = "worker",
		.provider_pid = 42,
		.provider_uid = 33,
		.reason = "why",
		.duration_usec = 1500000,
	};
	char text[LOG_RECORD_TEXT_MAX], buffer[ACCOUNT_PEER_MAX];
	struct log_record record;
	struct log_about about;

	if (!account_is_wanted(&policy, event))
		return "-";
	about = account_describe(&policy, &fact, buffer);
	log_record_init_event(&record, text, LOG_INFO, &about);
	log_record_format(&record, LOG_FORM_SENTENCE, line);
	return line;
}

#define ABOUT	 " service=web listener=tcp:80"
#define PROVIDER " provider=worker provider_pid=42 provider_uid=33"

static void test_items_of_a_start(void **state)
{
	(void)state;
	assert_string_equal(line_of(ACCOUNT_START, CONFIG_LOG_HOST, 0),
		"event=start" ABOUT " peer=192.0.2.1 connection=7");
	assert_string_equal(line_of(ACCOUNT_START, CONFIG_LOG_PID, 0),
		"event=start" ABOUT " connection=7" PROVIDER);
	assert_string_equal(line_of(ACCOUNT_START, ALL_ITEMS, 0),
		"event=start" ABOUT " peer=192.0.2.1 connection=7" PROVIDER " reason=why");
	assert_string_equal(
		line_of(ACCOUNT_START, ALL_ITEMS & ~(CONFIG_LOG_HOST | CONFIG_LOG_PID), 0), "-");
	assert_string_equal(line_of(ACCOUNT_START, 0, ALL_ITEMS), "-");
}

static void test_items_of_an_end(void **state)
{
	(void)state;
	assert_string_equal(line_of(ACCOUNT_END, CONFIG_LOG_DURATION, 0),
		"event=end" ABOUT " connection=7 duration_usec=1500000");
	assert_string_equal(line_of(ACCOUNT_END, CONFIG_LOG_EXIT, 0),
		"event=end" ABOUT " connection=7 reason=why");
	assert_string_equal(line_of(ACCOUNT_END, ALL_ITEMS, 0),
		"event=end" ABOUT " peer=192.0.2.1 connection=7" PROVIDER
		" reason=why duration_usec=1500000");
	assert_string_equal(
		line_of(ACCOUNT_END, ALL_ITEMS & ~(CONFIG_LOG_EXIT | CONFIG_LOG_DURATION), 0), "-");
	assert_string_equal(line_of(ACCOUNT_END, 0, ALL_ITEMS), "-");
}

static void test_items_of_a_refusal(void **state)
{
	(void)state;
	assert_string_equal(line_of(ACCOUNT_REFUSED, 0, CONFIG_LOG_HOST),
		"event=refused" ABOUT " peer=192.0.2.1 connection=7");
	assert_string_equal(line_of(ACCOUNT_REFUSED, 0, CONFIG_LOG_REASON),
		"event=refused" ABOUT " connection=7 reason=why");
	assert_string_equal(line_of(ACCOUNT_REFUSED, 0, CONFIG_LOG_HOST | CONFIG_LOG_REASON),
		"event=refused" ABOUT " peer=192.0.2.1 connection=7 reason=why");
	assert_string_equal(line_of(ACCOUNT_REFUSED, ALL_ITEMS, 0), "-");
}

static void test_what_is_not_known_is_not_said(void **state)
{
	const struct account_policy policy = {.on_success = ALL_ITEMS};
	const struct account_fact fact = {.event = ACCOUNT_END, .service = "web"};
	char buffer[ACCOUNT_PEER_MAX];
	struct log_about about = account_describe(&policy, &fact, buffer);

	(void)state;
	assert_null(about.peer);
	assert_null(about.provider);
	assert_null(about.reason);
	assert_int_equal(about.provider_pid, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_test(test_full_addresses),
		check_test(test_prefixes),
		check_test(test_hashes),
		check_test(test_no_addresses),
		check_test(test_other_families_have_only_a_name),
		check_test(test_items_of_a_start),
		check_test(test_items_of_an_end),
		check_test(test_items_of_a_refusal),
		check_test(test_what_is_not_known_is_not_said),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
