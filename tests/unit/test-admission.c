/* SPDX-License-Identifier: MIT */
/*
 * Admission: each rule and each limit by itself, in which order they are asked, and a million
 * questions against a simple model.
 */
#include "admission.h"
#include "random.h"
#include "test.h"

#include <string.h>
#include <sys/socket.h>

#define SECOND UINT64_C(1000000)
#define START  (1000 * SECOND)
#define MINUTE (12 * 60)

static const uint8_t key[SIPHASH_KEY_SIZE] = "any key will do";

/* A service in the test's hands. */
struct world {
	struct config_admission config;
	struct config_rule rules[8];
	struct config_hours hours[4];
	struct admission *admission;
	struct denied *denied;
	uint64_t now_usec;
	uint32_t minute, load;
};

static void begin(struct world *w)
{
	*w = (struct world){
		.config = {.source_bits_v4 = 32, .source_bits_v6 = 64, .deny_time_usec = SECOND},
		.now_usec = START,
		.minute = MINUTE,
	};
	w->config.rules = w->rules;
	w->config.hours = w->hours;
	assert_int_equal(admission_new(&w->admission, key), 0);
	assert_int_equal(denied_new(&w->denied, 100, key), 0);
}

static void end(struct world *w)
{
	admission_free(w->admission);
	denied_free(w->denied);
}

static bool configure(struct world *w)
{
	return admission_configure(w->admission, &w->config);
}

static struct network network(const char *text)
{
	struct network *networks, first;
	char why[256];
	size_t n;

	assert_int_equal(network_parse(text, &networks, &n, why, sizeof(why)), 0);
	first = networks[0];
	free(networks);
	return first;
}

static void add_rule(struct world *w, const char *text)
{
	bool is_allowed = *text == '+';

	w->rules[w->config.n_rules++] =
		(struct config_rule){.network = network(text + 1), .is_allowed = is_allowed};
	w->config.has_only_from |= is_allowed;
}

static struct wire_address peer_of(const char *text)
{
	struct wire_address peer = {.family = AF_UNIX};
	struct network whole;

	if (strcmp(text, "unix") == 0)
		return peer;
	if (strncmp(text, "mapped:", 7) == 0) { /* as a provider may say it */
		whole = network(text + 7);
		peer.family = AF_INET6;
		peer.address[10] = peer.address[11] = 0xff;
		memcpy(&peer.address[12], whole.address, 4);
		return peer;
	}
	whole = network(text);
	peer.family = whole.family;
	memcpy(peer.address, whole.address, sizeof(peer.address));
	return peer;
}

static uint32_t last_source;

static enum admission_reason ask_address(struct world *w, const struct wire_address *peer)
{
	const struct admission_client client = {
		.peer = peer, .denied = w->denied, .minute = w->minute, .now_usec = w->now_usec};

	return admission_ask(w->admission, &client, &last_source);
}

static struct admission_outlook explain(const struct world *w, const struct wire_address *peer)
{
	const struct admission_client client = {
		.peer = peer, .denied = w->denied, .minute = w->minute, .now_usec = w->now_usec};
	struct admission_outlook outlook;

	admission_explain(w->admission, &client, w->load, &outlook);
	return outlook;
}

/* The word of what becomes of that client. */
static const char *ask(struct world *w, const char *text)
{
	const struct wire_address peer = peer_of(text);

	return admission_word(ask_address(w, &peer));
}

/* The word of what holds clients back now, and until when. */
static const char *wait_for(struct world *w, uint64_t *ret_until_usec)
{
	*ret_until_usec = 0;
	return admission_word(admission_ready(w->admission, w->load, w->now_usec, ret_until_usec));
}

static const char *ready(struct world *w)
{
	uint64_t until_usec;

	return wait_for(w, &until_usec);
}

static void test_everybody_without_rules(void **state)
{
	struct world w;

	(void)state;
	begin(&w);
	assert_string_equal(ask(&w, "192.0.2.1"), "admitted"); /* before any configuration, too */
	configure(&w);
	assert_string_equal(ask(&w, "192.0.2.1"), "admitted");
	assert_string_equal(ask(&w, "2001:db8::1"), "admitted");
	assert_string_equal(ask(&w, "unix"), "admitted");
	assert_string_equal(ready(&w), "admitted");
	assert_int_equal(last_source, 0);
	assert_int_equal(admission_n_sources(w.admission), 0);
	end(&w);
}

static void test_only_from(void **state)
{
	struct world w;

	(void)state;
	begin(&w);
	add_rule(&w, "+192.0.2.0/24");
	configure(&w);
	assert_string_equal(ask(&w, "192.0.2.1"), "admitted");
	assert_string_equal(ask(&w, "mapped:192.0.2.1"), "admitted");
	assert_string_equal(ask(&w, "198.51.100.1"), "only_from");
	assert_string_equal(ask(&w, "mapped:198.51.100.1"), "only_from");
	assert_string_equal(ask(&w, "2001:db8::1"), "only_from");
	assert_string_equal(ask(&w, "unix"), "admitted");
	end(&w);
}

static void test_only_from_nobody(void **state)
{
	struct world w;

	(void)state;
	begin(&w);
	w.config.has_only_from = true;
	configure(&w);
	assert_string_equal(ask(&w, "192.0.2.1"), "only_from");
	assert_string_equal(ask(&w, "unix"), "admitted");
	end(&w);
}

static void test_no_access(void **state)
{
	struct world w;

	(void)state;
	begin(&w);
	add_rule(&w, "-192.0.2.0/24");
	add_rule(&w, "-2001:db8::/32");
	configure(&w);
	assert_string_equal(ask(&w, "192.0.2.1"), "no_access");
	assert_string_equal(ask(&w, "mapped:192.0.2.1"), "no_access");
	assert_string_equal(ask(&w, "2001:db8:1::1"), "no_access");
	assert_string_equal(ask(&w, "198.51.100.1"), "admitted");
	assert_string_equal(ask(&w, "2001:db9::1"), "admitted");
	end(&w);
}

/* No address can be what the client of another family has. */
static void test_addresses_of_other_families(void **state)
{
	const struct wire_address peer = {.family = AF_VSOCK};
	struct world w;

	(void)state;
	begin(&w);
	add_rule(&w, "-0.0.0.0/0");
	w.config.per_source = 1;
	configure(&w);
	assert_int_equal(ask_address(&w, &peer), ADMISSION_ADMITTED);
	assert_int_equal(last_source, 0);
	add_rule(&w, "+192.0.2.1");
	configure(&w);
	assert_int_equal(ask_address(&w, &peer), ADMISSION_ONLY_FROM);
	end(&w);
}

static void test_rule_is_told(void **state)
{
	const struct wire_address peer = peer_of("mapped:192.0.2.1"), other = peer_of("192.0.3.1");
	struct world w;

	(void)state;
	begin(&w);
	add_rule(&w, "-192.0.2.0/24");
	configure(&w);
	assert_ptr_equal(admission_rule(w.admission, &peer), &w.rules[0]);
	assert_null(admission_rule(w.admission, &other));
	end(&w);
}

static const char *ask_at(struct world *w, uint32_t minute)
{
	w->minute = minute;
	return ask(w, "192.0.2.1");
}

static void test_access_times(void **state)
{
	struct world w;

	(void)state;
	begin(&w);
	w.hours[0] = (struct config_hours){.first = 8 * 60, .last = 18 * 60};
	w.hours[1] = (struct config_hours){.first = 20 * 60, .last = 24 * 60};
	w.config.n_hours = 2;
	configure(&w);
	assert_true(admission_asks_minute(w.admission));
	assert_string_equal(ask_at(&w, 0), "access_times");
	assert_string_equal(ask_at(&w, 8 * 60 - 1), "access_times");
	assert_string_equal(ask_at(&w, 8 * 60), "admitted");
	assert_string_equal(ask_at(&w, 18 * 60 - 1), "admitted");
	assert_string_equal(ask_at(&w, 18 * 60), "access_times");
	assert_string_equal(ask_at(&w, 24 * 60 - 1), "admitted");
	assert_string_equal(ask(&w, "unix"), "admitted");
	end(&w);
}

static void test_access_times_over_midnight(void **state)
{
	struct world w;

	(void)state;
	begin(&w);
	w.hours[0] = (struct config_hours){.first = 22 * 60, .last = 6 * 60};
	w.config.n_hours = 1;
	configure(&w);
	assert_string_equal(ask_at(&w, 22 * 60 - 1), "access_times");
	assert_string_equal(ask_at(&w, 22 * 60), "admitted");
	assert_string_equal(ask_at(&w, 0), "admitted");
	assert_string_equal(ask_at(&w, 6 * 60 - 1), "admitted");
	assert_string_equal(ask_at(&w, 6 * 60), "access_times");
	assert_string_equal(ask(&w, "unix"), "admitted");
	end(&w);
}

static void test_per_source(void **state)
{
	struct world w;
	uint32_t first;

	(void)state;
	begin(&w);
	w.config.per_source = 2;
	configure(&w);
	assert_string_equal(ask(&w, "192.0.2.1"), "admitted");
	first = last_source;
	assert_int_not_equal(first, 0);
	assert_string_equal(ask(&w, "mapped:192.0.2.1"), "admitted");
	assert_int_equal(last_source, first);
	assert_string_equal(ask(&w, "192.0.2.1"), "per_source");
	assert_string_equal(ask(&w, "192.0.2.2"), "admitted");
	admission_left(w.admission, first, w.now_usec);
	assert_string_equal(ask(&w, "192.0.2.1"), "admitted");
	assert_string_equal(ask(&w, "192.0.2.1"), "per_source");
	assert_string_equal(ask(&w, "unix"), "admitted");
	assert_int_equal(last_source, 0);
	assert_int_equal(admission_n_sources(w.admission), 2);
	end(&w);
}

static void test_per_source_rate(void **state)
{
	struct world w;

	(void)state;
	begin(&w);
	w.config.per_source_rate = (struct config_rate){.count = 2, .period_usec = SECOND};
	configure(&w);
	for (int i = 0; i < 2; i++) {
		assert_string_equal(ask(&w, "192.0.2.1"), "admitted");
		admission_left(w.admission, last_source, w.now_usec);
	}
	assert_string_equal(ask(&w, "192.0.2.1"), "per_source_rate");
	assert_string_equal(ask(&w, "192.0.2.2"), "admitted");
	w.now_usec += SECOND / 2;
	assert_string_equal(ask(&w, "192.0.2.1"), "admitted");
	assert_string_equal(ask(&w, "192.0.2.1"), "per_source_rate");
	end(&w);
}

static void test_sources_by_prefix_and_counted_anew(void **state)
{
	const struct wire_address peer = peer_of("192.0.2.1"), neighbour = peer_of("192.0.2.9");
	struct world w;

	(void)state;
	begin(&w);
	w.config.per_source = 2;
	assert_true(configure(&w));
	assert_false(configure(&w));
	assert_string_equal(ask(&w, "192.0.2.1"), "admitted");
	assert_string_equal(ask(&w, "192.0.2.9"), "admitted");
	w.config.per_source = 3;
	assert_false(configure(&w));
	assert_int_equal(admission_n_sources(w.admission), 2);
	w.config.source_bits_v4 = 24;
	assert_true(configure(&w));
	assert_int_equal(admission_n_sources(w.admission), 0);
	assert_int_equal(admission_count(w.admission, &peer, w.now_usec),
		admission_count(w.admission, &neighbour, w.now_usec));
	assert_string_equal(ask(&w, "192.0.2.77"), "admitted");
	assert_string_equal(ask(&w, "192.0.2.77"), "per_source");
	w.config.per_source = 0;
	assert_true(configure(&w));
	assert_int_equal(admission_count(w.admission, &peer, w.now_usec), 0);
	end(&w);
}

static void test_sensor_and_denied(void **state)
{
	const struct wire_address peer = peer_of("192.0.2.1"), local = peer_of("unix");
	struct world sensor, other;
	struct network network_found;

	(void)state;
	begin(&sensor);
	begin(&other);
	sensor.config.is_sensor = true;
	add_rule(&sensor, "-198.51.100.1");
	configure(&sensor);
	configure(&other);
	assert_string_equal(ask(&sensor, "198.51.100.1"), "no_access"); /* the monitoring */
	assert_string_equal(ask(&sensor, "192.0.2.1"), "sensor");
	assert_string_equal(ask(&sensor, "unix"), "admitted");
	assert_true(admission_network(sensor.admission, &peer, &network_found));
	assert_false(admission_network(sensor.admission, &local, &network_found));
	assert_int_equal(denied_add(other.denied, &network_found, START + SECOND, START), 0);
	assert_string_equal(ask(&other, "192.0.2.1"), "denied");
	assert_string_equal(ask(&other, "mapped:192.0.2.1"), "denied");
	assert_string_equal(ask(&other, "192.0.2.2"), "admitted");
	assert_string_equal(ask(&other, "unix"), "admitted");
	other.now_usec += SECOND;
	assert_string_equal(ask(&other, "192.0.2.1"), "admitted");
	end(&sensor);
	end(&other);
}

static void test_order_of_reasons(void **state)
{
	const struct network denied = network("192.0.2.1");
	struct world w;

	(void)state;
	begin(&w);
	add_rule(&w, "-192.0.2.0/24");
	w.config.per_source = 1;
	w.config.n_hours = 1; /* never */
	configure(&w);
	assert_int_equal(denied_add(w.denied, &denied, DENIED_FOREVER, START), 0);
	assert_string_equal(ask(&w, "192.0.2.1"), "denied");
	assert_string_equal(ask(&w, "192.0.2.2"), "no_access");
	assert_string_equal(ask(&w, "192.0.3.1"), "access_times");
	assert_int_equal(admission_n_sources(w.admission), 0); /* who is refused is not counted */
	end(&w);
}

/* Accept what may be accepted now. Returns how many it were. */
static int accept_all(struct world *w)
{
	int n = 0;

	while (n < 100000 && strcmp(ready(w), "admitted") == 0 &&
		strcmp(ask(w, "192.0.2.1"), "admitted") == 0)
		n++;
	return n;
}

static void test_cps_pauses_and_goes_on(void **state)
{
	struct world w;
	uint64_t until_usec;

	(void)state;
	begin(&w);
	w.config.cps = (struct config_rate){
		.count = 200, .period_usec = SECOND, .pause_usec = 10 * SECOND};
	configure(&w);
	assert_int_equal(accept_all(&w), 200);
	assert_string_equal(wait_for(&w, &until_usec), "cps");
	assert_int_equal(until_usec, START + 10 * SECOND);
	w.now_usec = START + 10 * SECOND - 1;
	assert_string_equal(wait_for(&w, &until_usec), "cps");
	assert_int_equal(until_usec, START + 10 * SECOND);
	w.now_usec++;
	assert_int_equal(accept_all(&w), 200);
	assert_string_equal(wait_for(&w, &until_usec), "cps");
	assert_int_equal(until_usec, START + 20 * SECOND);
	end(&w);
}

/* Within the limit nothing ever waits, also not after the last token was taken. */
static void test_cps_within_the_limit(void **state)
{
	struct world w;

	(void)state;
	begin(&w);
	w.config.cps = (struct config_rate){
		.count = 200, .period_usec = SECOND, .pause_usec = 10 * SECOND};
	configure(&w);
	for (int i = 0; i < 200; i++)
		ask(&w, "192.0.2.1");
	for (int i = 0; i < 1000; i++) {
		w.now_usec += SECOND / 200;
		assert_string_equal(ready(&w), "admitted");
		assert_string_equal(ask(&w, "192.0.2.1"), "admitted");
	}
	end(&w);
}

/* Others who are refused do not make anybody wait. */
static void test_refused_clients_take_no_token(void **state)
{
	struct world w;

	(void)state;
	begin(&w);
	add_rule(&w, "-198.51.100.1");
	w.config.cps =
		(struct config_rate){.count = 1, .period_usec = SECOND, .pause_usec = SECOND};
	w.config.rate = (struct config_rate){.count = 1, .period_usec = SECOND};
	configure(&w);
	for (int i = 0; i < 1000; i++)
		assert_string_equal(ask(&w, "198.51.100.1"), "no_access");
	assert_string_equal(ready(&w), "admitted");
	end(&w);
}

static void test_other_cps_after_a_reload(void **state)
{
	struct world w;
	uint64_t until_usec;

	(void)state;
	begin(&w);
	w.config.cps = (struct config_rate){
		.count = 1, .period_usec = SECOND, .pause_usec = 1000 * SECOND};
	configure(&w);
	assert_int_equal(accept_all(&w), 1);
	w.config.cps.pause_usec = 2 * SECOND;
	configure(&w);
	assert_string_equal(wait_for(&w, &until_usec), "cps");
	assert_int_equal(until_usec, START + 2 * SECOND);
	w.config.cps.count = 0;
	configure(&w);
	assert_string_equal(ready(&w), "admitted");
	end(&w);
}

/* What an upgrade in place leaves of it. */
static uint64_t upgrade(struct world *w)
{
	struct admission *old = w->admission;
	struct admission_state saved;
	struct network network;
	struct bucket bucket;
	uint64_t until_usec;

	admission_save(old, &saved);
	assert_int_equal(admission_new(&w->admission, key), 0);
	configure(w);
	until_usec = admission_restore(w->admission, &saved, w->now_usec);
	for (uint32_t i = 0;
		(i = admission_next_source(old, i, w->now_usec, &network, &bucket)) > 0;)
		admission_restore_source(w->admission, &network, &bucket, w->now_usec);
	admission_free(old);
	return until_usec;
}

static void test_pause_goes_on_after_an_upgrade(void **state)
{
	struct world w;
	uint64_t until_usec;

	(void)state;
	begin(&w);
	w.config.cps = (struct config_rate){
		.count = 1, .period_usec = SECOND, .pause_usec = 1000 * SECOND};
	configure(&w);
	assert_int_equal(accept_all(&w), 1);
	ready(&w);
	w.now_usec += 10 * SECOND;
	assert_int_equal(upgrade(&w), START + 1000 * SECOND);
	assert_string_equal(wait_for(&w, &until_usec), "cps");
	assert_int_equal(until_usec, START + 1000 * SECOND);
	w.config.cps.pause_usec = 5 * SECOND; /* the file says so now */
	assert_int_equal(upgrade(&w), w.now_usec + 5 * SECOND);
	w.config.cps.count = 0;
	assert_true(upgrade(&w) <= w.now_usec);
	assert_string_equal(ready(&w), "admitted");
	end(&w);
}

static void test_rates_go_on_after_an_upgrade(void **state)
{
	struct world w;

	(void)state;
	begin(&w);
	w.config.rate = (struct config_rate){.count = 9, .period_usec = SECOND};
	w.config.per_source_rate = (struct config_rate){.count = 4, .period_usec = SECOND};
	configure(&w);
	assert_int_equal(accept_all(&w), 4);
	assert_true(upgrade(&w) <= w.now_usec);
	assert_string_equal(ask(&w, "192.0.2.1"), "per_source_rate");
	for (int i = 0; i < 4; i++)
		assert_string_equal(ask(&w, "192.0.2.2"), "admitted");
	assert_string_equal(ask(&w, "192.0.2.3"), "admitted");
	assert_string_equal(ready(&w), "rate");
	w.config.source_bits_v4 = 24; /* other sources */
	upgrade(&w);
	assert_string_equal(ask(&w, "192.0.2.1"), "admitted");
	end(&w);
}

static void test_rate_waits_for_the_next_token(void **state)
{
	struct world w;
	uint64_t until_usec;

	(void)state;
	begin(&w);
	w.config.rate = (struct config_rate){.count = 10, .period_usec = SECOND};
	configure(&w);
	assert_int_equal(accept_all(&w), 10);
	assert_string_equal(wait_for(&w, &until_usec), "rate");
	assert_int_equal(until_usec, START + SECOND / 10);
	w.now_usec = until_usec;
	assert_int_equal(accept_all(&w), 1);
	w.now_usec += SECOND;
	assert_int_equal(accept_all(&w), 10);
	assert_string_equal(ask(&w, "unix"), "admitted"); /* it takes one, too: in advance */
	end(&w);
}

static void test_max_load(void **state)
{
	struct world w;
	uint64_t until_usec;

	(void)state;
	begin(&w);
	configure(&w);
	assert_false(admission_asks_load(w.admission));
	w.load = 100000;
	assert_string_equal(ready(&w), "admitted");
	w.config.max_load_percent = 250;
	configure(&w);
	assert_true(admission_asks_load(w.admission));
	w.load = 250;
	assert_string_equal(ready(&w), "admitted");
	w.load = 251;
	assert_string_equal(wait_for(&w, &until_usec), "max_load");
	assert_int_equal(until_usec, START + SECOND);
	end(&w);
}

static void test_no_configuration_any_more(void **state)
{
	struct world w;

	(void)state;
	begin(&w);
	add_rule(&w, "-0.0.0.0/0");
	configure(&w);
	assert_string_equal(ask(&w, "192.0.2.1"), "no_access");
	(void)admission_configure(w.admission, NULL);
	assert_string_equal(ask(&w, "192.0.2.1"), "admitted");
	end(&w);
}

/* Clients without an address are asked for nothing; those that are mapped are who they are. */
static void test_explaining_other_families(void **state)
{
	const struct wire_address plain = peer_of("192.0.2.1"),
				  mapped = peer_of("mapped:192.0.2.1"), local = peer_of("unix");
	struct world w;

	(void)state;
	begin(&w);
	add_rule(&w, "-192.0.2.0/24");
	w.config.per_source = 1;
	configure(&w);
	assert_int_equal(explain(&w, &plain).answer, ADMISSION_NO_ACCESS);
	assert_int_equal(explain(&w, &mapped).answer, ADMISSION_NO_ACCESS);
	assert_ptr_equal(explain(&w, &mapped).rule, &w.rules[0]);
	assert_int_equal(explain(&w, &local).answer, ADMISSION_ADMITTED);
	assert_false(explain(&w, &local).is_counted);
	end(&w);
}

/* However often it is asked for: what counts goes on as if nobody had asked. */
static void test_explaining_takes_nothing(void **state)
{
	const struct wire_address peer = peer_of("192.0.2.1");
	struct world w;

	(void)state;
	begin(&w);
	w.config.per_source = 1;
	w.config.cps =
		(struct config_rate){.count = 1, .period_usec = SECOND, .pause_usec = SECOND};
	configure(&w);
	for (int i = 0; i < 10; i++)
		assert_int_equal(explain(&w, &peer).answer, ADMISSION_ADMITTED);
	assert_int_equal(admission_n_sources(w.admission), 0);
	assert_string_equal(ready(&w), "admitted");
	assert_string_equal(ask(&w, "192.0.2.1"), "admitted");
	assert_int_equal(explain(&w, &peer).answer, ADMISSION_PER_SOURCE);
	assert_int_equal(explain(&w, &peer).wait, ADMISSION_CPS); /* and begins no pause: */
	w.now_usec += SECOND;
	assert_string_equal(ready(&w), "admitted");
	end(&w);
}

static void test_every_reason_has_a_word(void **state)
{
	(void)state;
	for (int i = 0; i < ADMISSION_N_REASONS; i++)
		for (int j = 0; j < i; j++)
			assert_string_not_equal(admission_word((enum admission_reason)i),
				admission_word((enum admission_reason)j));
}

/*
 * The model: as many clients as can be counted in an array, and limits looked at one by one, in
 * the plainest way. Time is in whole intervals, so that tokens are whole numbers.
 */

#define N_CLIENTS 24
#define N_EVENTS  1000000

struct model {
	struct world w;
	uint64_t random;
	uint32_t n_now[N_CLIENTS], source[N_CLIENTS];
	uint64_t denied_until_usec[N_CLIENTS];
	uint64_t cps_level, rate_level, paused_until_usec; /* levels in µs of interval */
	uint64_t level[N_CLIENTS];
	uint64_t n_of_reason[ADMISSION_N_REASONS];
};

static struct wire_address client_of(uint32_t i)
{
	return (struct wire_address){.family = AF_INET, .address = {10, 0, 0, (uint8_t)i}};
}

static uint64_t capacity(const struct config_rate *rate)
{
	return rate->count > 0 ? rate->period_usec / rate->count * rate->count : 0;
}

static uint64_t interval(const struct config_rate *rate)
{
	return rate->count > 0 ? rate->period_usec / rate->count : 0;
}

static void fill_up(uint64_t *level, const struct config_rate *rate, uint64_t usec)
{
	*level += usec;
	if (*level > capacity(rate))
		*level = capacity(rate);
}

static void let_pass(struct model *m, uint64_t usec)
{
	m->w.now_usec += usec;
	fill_up(&m->cps_level, &m->w.config.cps, usec);
	fill_up(&m->rate_level, &m->w.config.rate, usec);
	for (uint32_t i = 0; i < N_CLIENTS; i++)
		fill_up(&m->level[i], &m->w.config.per_source_rate, usec);
}

static enum admission_reason expected_ready(struct model *m)
{
	const struct config_admission *config = &m->w.config;

	if (config->cps.count > 0) {
		if (m->w.now_usec >= m->paused_until_usec && m->cps_level < interval(&config->cps))
			m->paused_until_usec = m->w.now_usec + config->cps.pause_usec;
		if (m->w.now_usec < m->paused_until_usec || m->cps_level < interval(&config->cps))
			return ADMISSION_CPS;
	}
	if (config->rate.count > 0 && m->rate_level < interval(&config->rate))
		return ADMISSION_RATE;
	return config->max_load_percent > 0 && m->w.load > config->max_load_percent
		       ? ADMISSION_MAX_LOAD
		       : ADMISSION_ADMITTED;
}

static bool is_hour(const struct model *m)
{
	bool is_any = m->w.config.n_hours == 0;

	for (size_t i = 0; i < m->w.config.n_hours; i++)
		for (uint32_t minute = m->w.hours[i].first; minute != m->w.hours[i].last;
			minute = (minute + 1) % 1440)
			is_any |= minute == m->w.minute;
	return is_any;
}

static enum admission_reason expected_answer(const struct model *m, uint32_t i)
{
	const struct config_admission *config = &m->w.config;
	const struct wire_address peer = client_of(i);
	const struct config_rule *best = NULL;

	if (m->denied_until_usec[i] > m->w.now_usec)
		return ADMISSION_DENIED;
	for (size_t k = 0; k < config->n_rules; k++)
		if (network_contains(&config->rules[k].network, &peer) &&
			(!best || config->rules[k].network.n_bits > best->network.n_bits ||
				(config->rules[k].network.n_bits == best->network.n_bits &&
					!config->rules[k].is_allowed)))
			best = &config->rules[k];
	if (best && !best->is_allowed)
		return ADMISSION_NO_ACCESS;
	if (!best && config->has_only_from)
		return ADMISSION_ONLY_FROM;
	if (!is_hour(m))
		return ADMISSION_ACCESS_TIMES;
	if (config->is_sensor)
		return ADMISSION_SENSOR;
	if (config->per_source > 0 && m->n_now[i] >= config->per_source)
		return ADMISSION_PER_SOURCE;
	return config->per_source_rate.count > 0 && m->level[i] < interval(&config->per_source_rate)
		       ? ADMISSION_PER_SOURCE_RATE
		       : ADMISSION_ADMITTED;
}

/* It is taken in the plainest way, too: not below nothing. */
static void take(uint64_t *level, const struct config_rate *rate)
{
	*level -= *level < interval(rate) ? *level : interval(rate);
}

/* What was foretold of who is answered now. */
static void check_outlook(const struct model *m, const struct admission_outlook *outlook,
	enum admission_reason reason, uint32_t i)
{
	uint64_t denied_usec = m->denied_until_usec[i];

	assert_int_equal(outlook->answer, reason);
	assert_int_equal(outlook->denied_until_usec, denied_usec > m->w.now_usec ? denied_usec : 0);
	assert_int_equal(outlook->is_time, is_hour(m));
	if (outlook->is_counted)
		assert_int_equal(outlook->n_connections, m->n_now[i]);
	if (reason == ADMISSION_NO_ACCESS)
		assert_false(outlook->rule->is_allowed);
	if (reason == ADMISSION_ONLY_FROM)
		assert_null(outlook->rule);
	if (reason == ADMISSION_PER_SOURCE_RATE)
		assert_true(outlook->source_ready_usec > m->w.now_usec);
}

static void come(struct model *m, uint32_t i)
{
	const struct wire_address peer = client_of(i);
	struct admission_outlook outlook = explain(&m->w, &peer);
	enum admission_reason expected = expected_ready(m), reason;
	uint64_t until_usec;

	reason = admission_ready(m->w.admission, m->w.load, m->w.now_usec, &until_usec);
	assert_int_equal(reason, expected);
	assert_int_equal(outlook.wait, reason);
	m->n_of_reason[reason] += reason != ADMISSION_ADMITTED;
	if (reason != ADMISSION_ADMITTED) {
		assert_int_equal(outlook.wait_until_usec, until_usec);
		assert_true(until_usec > m->w.now_usec);
		return;
	}
	expected = expected_answer(m, i);
	reason = ask_address(&m->w, &peer);
	assert_int_equal(reason, expected);
	check_outlook(m, &outlook, reason, i);
	m->n_of_reason[reason]++;
	if (reason == ADMISSION_SENSOR) {
		struct network whole = network_of(&peer, 32);

		m->denied_until_usec[i] = m->w.now_usec + SECOND;
		assert_int_equal(
			denied_add(m->w.denied, &whole, m->denied_until_usec[i], m->w.now_usec), 0);
	}
	if (reason != ADMISSION_ADMITTED)
		return;
	take(&m->cps_level, &m->w.config.cps);
	take(&m->rate_level, &m->w.config.rate);
	take(&m->level[i], &m->w.config.per_source_rate);
	m->source[i] = last_source;
	m->n_now[i]++;
}

static void go(struct model *m, uint32_t i)
{
	if (m->n_now[i] == 0)
		return;
	m->n_now[i]--;
	admission_left(m->w.admission, m->source[i], m->w.now_usec);
}

/* Nobody notices. */
static void upgrade_all(struct model *m)
{
	struct admission *old = m->w.admission;
	struct admission_state saved;
	struct network network;
	struct bucket bucket;

	admission_save(old, &saved);
	assert_int_equal(admission_new(&m->w.admission, key), 0);
	configure(&m->w);
	for (uint32_t i = 0; i < N_CLIENTS; i++) {
		const struct wire_address peer = client_of(i);

		for (uint32_t n = 0; n < m->n_now[i]; n++)
			m->source[i] = admission_count(m->w.admission, &peer, m->w.now_usec);
	}
	(void)admission_restore(m->w.admission, &saved, m->w.now_usec);
	for (uint32_t i = 0;
		(i = admission_next_source(old, i, m->w.now_usec, &network, &bucket)) > 0;)
		admission_restore_source(m->w.admission, &network, &bucket, m->w.now_usec);
	admission_free(old);
}

static struct config_rate some_rate(struct model *m, uint64_t pause_usec)
{
	return (struct config_rate){
		.count = random_of(&m->random, 2) ? 0 : 1u << random_of(&m->random, 6),
		.period_usec = 64 * SECOND / 16,
		.pause_usec = pause_usec,
	};
}

/* All is new: the rates are, too, because how much is left of one is not part of the model. */
static void restart(struct model *m)
{
	for (uint32_t i = 0; i < N_CLIENTS; i++)
		while (m->n_now[i] > 0)
			go(m, i);
	m->w.now_usec += 100 * SECOND;
	m->w.config = (struct config_admission){
		.rules = m->w.rules,
		.n_rules = random_of(&m->random, 8),
		.has_only_from = random_of(&m->random, 3) == 0,
		.hours = m->w.hours,
		.n_hours = random_of(&m->random, 3),
		.cps = some_rate(m, random_of(&m->random, 5 * SECOND)),
		.rate = some_rate(m, 0),
		.per_source_rate = some_rate(m, 0),
		.per_source = (uint32_t)random_of(&m->random, 4),
		.source_bits_v4 = 32,
		.source_bits_v6 = 64,
		.max_load_percent = random_of(&m->random, 4) ? 0 : 100,
		.is_sensor = random_of(&m->random, 8) == 0,
	};
	for (size_t i = 0; i < 8; i++) {
		const struct wire_address some =
			client_of((uint32_t)random_of(&m->random, N_CLIENTS));

		m->w.rules[i] = (struct config_rule){
			.network = network_of(&some, 26 + (unsigned int)random_of(&m->random, 7)),
			.is_allowed = random_of(&m->random, 2),
		};
	}
	for (size_t i = 0; i < 2; i++)
		m->w.hours[i] = (struct config_hours){(uint32_t)random_of(&m->random, 1440),
			(uint32_t)random_of(&m->random, 1440)};
	configure(&m->w);
	let_pass(m, 100 * SECOND);
}

static void test_a_million_events_as_the_model_says(void **state)
{
	struct model m = {.random = random_seed(20261126)};

	(void)state;
	begin(&m.w);
	for (int i = 0; i < N_EVENTS; i++) {
		uint32_t client = (uint32_t)random_of(&m.random, N_CLIENTS);

		if (i % 1000 == 0)
			restart(&m);
		else if (i % 100 == 0)
			upgrade_all(&m);
		if (random_of(&m.random, 4) == 0)
			let_pass(&m, random_of(&m.random, SECOND / 4));
		m.w.minute = (uint32_t)random_of(&m.random, 1440);
		m.w.load = (uint32_t)random_of(&m.random, 150);
		if (random_of(&m.random, 100) < 40)
			go(&m, client);
		else
			come(&m, client);
	}
	for (int i = 0; i < ADMISSION_N_REASONS; i++) {
		printf("# %s: %" PRIu64 "\n", admission_word((enum admission_reason)i),
			m.n_of_reason[i]);
		assert_true(m.n_of_reason[i] > 1000);
	}
	end(&m.w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_test(test_everybody_without_rules),
		check_test(test_only_from),
		check_test(test_only_from_nobody),
		check_test(test_no_access),
		check_test(test_addresses_of_other_families),
		check_test(test_rule_is_told),
		check_test(test_access_times),
		check_test(test_access_times_over_midnight),
		check_test(test_per_source),
		check_test(test_per_source_rate),
		check_test(test_sources_by_prefix_and_counted_anew),
		check_test(test_sensor_and_denied),
		check_test(test_order_of_reasons),
		check_test(test_cps_pauses_and_goes_on),
		check_test(test_cps_within_the_limit),
		check_test(test_refused_clients_take_no_token),
		check_test(test_other_cps_after_a_reload),
		check_test(test_pause_goes_on_after_an_upgrade),
		check_test(test_rates_go_on_after_an_upgrade),
		check_test(test_rate_waits_for_the_next_token),
		check_test(test_max_load),
		check_test(test_no_configuration_any_more),
		check_test(test_explaining_other_families),
		check_test(test_explaining_takes_nothing),
		check_test(test_every_reason_has_a_word),
		check_test(test_a_million_events_as_the_model_says),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
