/* SPDX-License-Identifier: MIT */
/* May this client come in now: see admission.h. */
#include "admission.h"

#include "sources.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* How long a load that is too high is believed. */
#define LOAD_USEC UINT64_C(1000000)

struct admission {
	const struct config_admission *config; /* never NULL */
	struct rules rules;
	struct sources *sources;
	bool is_counting, is_limited;
	struct sources_limits limits;
	uint32_t bits_v4, bits_v6; /* of `sources` */
	struct bucket cps, rate;
	struct bucket_rate cps_rate, rate_rate;
	uint64_t paused_until_usec;
};

static const struct config_admission nothing = {.source_bits_v4 = 32, .source_bits_v6 = 64};

const char *admission_word(enum admission_reason reason)
{
	static const char *const words[] = {
		[ADMISSION_ADMITTED] = "admitted",
		[ADMISSION_DENIED] = "denied",
		[ADMISSION_NO_ACCESS] = "no_access",
		[ADMISSION_ONLY_FROM] = "only_from",
		[ADMISSION_ACCESS_TIMES] = "access_times",
		[ADMISSION_SENSOR] = "sensor",
		[ADMISSION_PER_SOURCE] = "per_source",
		[ADMISSION_PER_SOURCE_RATE] = "per_source_rate",
		[ADMISSION_CPS] = "cps",
		[ADMISSION_RATE] = "rate",
		[ADMISSION_MAX_LOAD] = "max_load",
	};

	return words[reason];
}

int admission_new(struct admission **ret, const uint8_t key[SIPHASH_KEY_SIZE])
{
	struct admission *admission = calloc(1, sizeof(*admission));

	if (!admission)
		return -ENOMEM;
	if (sources_new(&admission->sources, SOURCES_MAX_REMEMBERED, key) < 0) {
		free(admission);
		return -ENOMEM;
	}
	(void)admission_configure(admission, NULL);
	*ret = admission;
	return 0;
}

struct admission *admission_free(struct admission *admission)
{
	if (!admission)
		return NULL;
	rules_done(&admission->rules);
	sources_free(admission->sources);
	free(admission);
	return NULL;
}

static struct bucket_rate rate_of(const struct config_rate *rate)
{
	return bucket_rate(rate->count, rate->period_usec);
}

/* Returns whether what was counted is forgotten. */
static bool replace_sources(struct admission *admission)
{
	const struct config_admission *config = admission->config;
	bool was_counting = admission->is_counting;

	admission->is_counting = config->per_source > 0 || config->per_source_rate.count > 0;
	if (admission->is_counting == was_counting &&
		config->source_bits_v4 == admission->bits_v4 &&
		config->source_bits_v6 == admission->bits_v6)
		return false;
	admission->bits_v4 = config->source_bits_v4;
	admission->bits_v6 = config->source_bits_v6;
	sources_reset(admission->sources, admission->bits_v4, admission->bits_v6);
	return true;
}

static bool has_limits(const struct admission *admission)
{
	const struct config_admission *config = admission->config;

	return config->has_only_from || config->n_rules > 0 || config->n_hours > 0 ||
	       config->is_sensor || config->per_source > 0 || config->max_load_percent > 0 ||
	       admission->limits.rate.interval_nsec > 0 || admission->cps_rate.interval_nsec > 0 ||
	       admission->rate_rate.interval_nsec > 0;
}

bool admission_configure(struct admission *admission, const struct config_admission *config)
{
	uint64_t pause_usec;

	admission->config = config ? config : &nothing;
	pause_usec = admission->config->cps.pause_usec;
	rules_done(&admission->rules);
	rules_init(&admission->rules, admission->config->rules, admission->config->n_rules);
	admission->cps_rate = rate_of(&admission->config->cps);
	admission->rate_rate = rate_of(&admission->config->rate);
	if (admission->cps_rate.interval_nsec == 0 || pause_usec == 0)
		admission->paused_until_usec = 0;
	admission->limits = (struct sources_limits){
		.max_connections = admission->config->per_source,
		.rate = rate_of(&admission->config->per_source_rate),
	};
	admission->is_limited = has_limits(admission);
	return replace_sources(admission);
}

bool admission_is_limited(const struct admission *admission)
{
	return admission->is_limited;
}

/* When the pause that runs is over. Where pauses were longer before a reload or an upgrade, this
 * one ends earlier, too. */
static uint64_t limited_pause(const struct admission *admission, uint64_t now_usec)
{
	uint64_t latest_usec = now_usec + admission->config->cps.pause_usec;

	return admission->paused_until_usec < latest_usec ? admission->paused_until_usec
							  : latest_usec;
}

/* When a pause is over that runs, or begins now because it was too much; now or earlier: none. */
static uint64_t next_pause(const struct admission *admission, uint64_t now_usec)
{
	uint64_t until_usec = limited_pause(admission, now_usec);

	if (until_usec > now_usec ||
		bucket_ready(&admission->cps, &admission->cps_rate, now_usec) <= now_usec)
		return until_usec;
	return now_usec + admission->config->cps.pause_usec;
}

/* Before that nobody is accepted. */
static uint64_t end_of_cps(const struct admission *admission, uint64_t now_usec)
{
	uint64_t ready_usec = bucket_ready(&admission->cps, &admission->cps_rate, now_usec);
	uint64_t until_usec = next_pause(admission, now_usec);

	return until_usec > ready_usec ? until_usec : ready_usec;
}

bool admission_asks_load(const struct admission *admission)
{
	return admission->config->max_load_percent > 0;
}

static enum admission_reason find_limit(const struct admission *admission, uint32_t load_percent,
	uint64_t now_usec, uint64_t *ret_until_usec)
{
	if (admission->cps_rate.interval_nsec > 0) {
		*ret_until_usec = end_of_cps(admission, now_usec);
		if (*ret_until_usec > now_usec)
			return ADMISSION_CPS;
	}
	*ret_until_usec = bucket_ready(&admission->rate, &admission->rate_rate, now_usec);
	if (*ret_until_usec > now_usec)
		return ADMISSION_RATE;
	*ret_until_usec = now_usec + LOAD_USEC;
	if (admission_asks_load(admission) && load_percent > admission->config->max_load_percent)
		return ADMISSION_MAX_LOAD;
	return ADMISSION_ADMITTED;
}

enum admission_reason admission_ready(struct admission *admission, uint32_t load_percent,
	uint64_t now_usec, uint64_t *ret_until_usec)
{
	if (admission->cps_rate.interval_nsec > 0)
		admission->paused_until_usec = next_pause(admission, now_usec);
	return find_limit(admission, load_percent, now_usec, ret_until_usec);
}

bool admission_asks_minute(const struct admission *admission)
{
	return admission->config->n_hours > 0;
}

static bool is_time(const struct config_admission *config, uint32_t minute)
{
	for (size_t i = 0; i < config->n_hours; i++) {
		const struct config_hours *hours = &config->hours[i];
		bool is_after = minute >= hours->first, is_before = minute < hours->last;

		/* Over midnight it is one of two parts of the day, else it is both. */
		if (hours->first > hours->last ? is_after || is_before : is_after && is_before)
			return true;
	}
	return config->n_hours == 0;
}

static bool is_inet(const struct wire_address *peer)
{
	return peer->family == AF_INET || peer->family == AF_INET6;
}

/* IPv4-mapped is IPv4: what accept4(2) says is so already, what a provider says need not be. */
static struct wire_address plain(const struct wire_address *peer)
{
	static const uint8_t prefix[12] = {[10] = 0xff, [11] = 0xff};
	struct wire_address v4 = {.family = AF_INET, .port = peer->port};

	if (peer->family != AF_INET6 || memcmp(peer->address, prefix, sizeof(prefix)) != 0)
		return *peer;
	memcpy(v4.address, peer->address + sizeof(prefix), 4);
	return v4;
}

static enum admission_reason ask_rules(
	const struct admission *admission, const struct wire_address *peer)
{
	const struct config_rule *rule = is_inet(peer) ? rules_find(&admission->rules, peer) : NULL;

	if (rule)
		return rule->is_allowed ? ADMISSION_ADMITTED : ADMISSION_NO_ACCESS;
	return admission->config->has_only_from ? ADMISSION_ONLY_FROM : ADMISSION_ADMITTED;
}

/* What follows from an answer of sources.h. */
static enum admission_reason reason_of(int answer)
{
	if (answer == SOURCES_TOO_FAST)
		return ADMISSION_PER_SOURCE_RATE;
	return answer == 0 ? ADMISSION_ADMITTED : ADMISSION_PER_SOURCE;
}

static enum admission_reason ask_sources(struct admission *admission,
	const struct wire_address *peer, uint64_t now_usec, uint32_t *ret_source)
{
	return reason_of(
		sources_enter(admission->sources, peer, &admission->limits, now_usec, ret_source));
}

/* All that is asked of an address but how many come from its source. */
static enum admission_reason ask_address(const struct admission *admission,
	const struct admission_client *client, const struct wire_address *peer)
{
	enum admission_reason reason;

	if (client->denied && is_inet(peer) && denied_has(client->denied, peer, client->now_usec))
		return ADMISSION_DENIED;
	reason = ask_rules(admission, peer);
	if (reason != ADMISSION_ADMITTED)
		return reason;
	if (!is_time(admission->config, client->minute))
		return ADMISSION_ACCESS_TIMES;
	return admission->config->is_sensor ? ADMISSION_SENSOR : ADMISSION_ADMITTED;
}

enum admission_reason admission_ask(
	struct admission *admission, const struct admission_client *client, uint32_t *ret_source)
{
	const struct wire_address peer = plain(client->peer);
	enum admission_reason reason = ADMISSION_ADMITTED;
	uint32_t source = 0;

	if (peer.family != AF_UNIX)
		reason = ask_address(admission, client, &peer);
	if (reason == ADMISSION_ADMITTED && admission->is_counting && is_inet(&peer))
		reason = ask_sources(admission, &peer, client->now_usec, &source);
	if (reason != ADMISSION_ADMITTED)
		return reason;
	bucket_take(&admission->cps, &admission->cps_rate, client->now_usec);
	bucket_take(&admission->rate, &admission->rate_rate, client->now_usec);
	*ret_source = source;
	return reason;
}

static void explain_source(const struct admission *admission, const struct wire_address *peer,
	uint64_t now_usec, struct admission_outlook *ret)
{
	enum admission_reason reason = reason_of(sources_look(admission->sources, peer,
		&admission->limits, now_usec, &ret->n_connections, &ret->source_ready_usec));

	ret->is_counted = true;
	if (ret->answer == ADMISSION_ADMITTED)
		ret->answer = reason;
}

void admission_explain(const struct admission *admission, const struct admission_client *client,
	uint32_t load_percent, struct admission_outlook *ret)
{
	const struct wire_address peer = plain(client->peer);

	*ret = (struct admission_outlook){.is_time = is_time(admission->config, client->minute)};
	ret->wait = find_limit(admission, load_percent, client->now_usec, &ret->wait_until_usec);
	if (peer.family == AF_UNIX)
		return;
	ret->answer = ask_address(admission, client, &peer);
	ret->by_rules = ask_rules(admission, &peer);
	if (!is_inet(&peer))
		return;
	ret->rule = rules_find(&admission->rules, &peer);
	if (client->denied)
		ret->denied_until_usec = denied_until(client->denied, &peer, client->now_usec);
	if (admission->is_counting)
		explain_source(admission, &peer, client->now_usec, ret);
}

const struct config_rule *admission_rule(
	const struct admission *admission, const struct wire_address *peer)
{
	const struct wire_address address = plain(peer);

	return is_inet(&address) ? rules_find(&admission->rules, &address) : NULL;
}

const struct rules *admission_rules(const struct admission *admission)
{
	return &admission->rules;
}

uint32_t admission_count(
	struct admission *admission, const struct wire_address *peer, uint64_t now_usec)
{
	const struct wire_address address = plain(peer);
	uint32_t source;

	if (!admission->is_counting || !is_inet(&address) ||
		sources_enter(admission->sources, &address, NULL, now_usec, &source) != 0)
		return 0;
	return source;
}

void admission_left(struct admission *admission, uint32_t source, uint64_t now_usec)
{
	if (source > 0)
		sources_leave(admission->sources, source, now_usec);
}

void admission_save(const struct admission *admission, struct admission_state *ret)
{
	*ret = (struct admission_state){
		.cps = admission->cps,
		.rate = admission->rate,
		.paused_until_usec = admission->paused_until_usec,
	};
}

uint32_t admission_next_source(const struct admission *admission, uint32_t last, uint64_t now_usec,
	struct network *ret_network, struct bucket *ret_bucket)
{
	return sources_next(admission->sources, last, now_usec, ret_network, ret_bucket);
}

uint64_t admission_restore(
	struct admission *admission, const struct admission_state *state, uint64_t now_usec)
{
	admission->cps = state->cps;
	admission->rate = state->rate;
	if (admission->cps_rate.interval_nsec > 0)
		admission->paused_until_usec = state->paused_until_usec;
	admission->paused_until_usec = limited_pause(admission, now_usec);
	return admission->paused_until_usec;
}

void admission_restore_source(struct admission *admission, const struct network *network,
	const struct bucket *bucket, uint64_t now_usec)
{
	if (admission->is_counting)
		sources_restore(
			admission->sources, network, bucket, &admission->limits.rate, now_usec);
}

bool admission_network(
	const struct admission *admission, const struct wire_address *peer, struct network *ret)
{
	const struct wire_address address = plain(peer);

	if (!is_inet(&address))
		return false;
	*ret = network_of(&address, address.family == AF_INET ? admission->config->source_bits_v4
							      : admission->config->source_bits_v6);
	return true;
}

uint32_t admission_n_sources(const struct admission *admission)
{
	return sources_n(admission->sources);
}

uint64_t admission_n_unremembered(const struct admission *admission)
{
	return sources_n_unremembered(admission->sources);
}
