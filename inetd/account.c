/* SPDX-License-Identifier: MIT */
/* What is written about the connections of a service: see account.h. */
#include "account.h"

#include "account-limit.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

struct account {
	const char *service;
	sd_event *event;
	struct account_policy policy;
	struct log_destination *destination;
	struct events *followers; /* NULL: nobody can follow */
	struct account_limit limit;
	sd_event_source *timer; /* for counts that are due; NULL until it is first needed */
	uint64_t due_usec;	/* when it ends; UINT64_MAX: never */
};

int account_new(
	struct account **ret, sd_event *event, const char *service, struct events *followers)
{
	struct account *account = calloc(1, sizeof(*account));

	if (!account)
		return -ENOMEM;
	*account = (struct account){.service = service,
		.event = sd_event_ref(event),
		.followers = followers,
		.due_usec = UINT64_MAX};
	*ret = account;
	return 0;
}

static void write_count(struct account *account, const char *reason, uint64_t n_more)
{
	log_write_event(account->destination, LOG_NOTICE,
		&(struct log_about){.event = "refused",
			.service = account->service,
			.reason = reason,
			.n_more = n_more});
}

/* Those that are due at `now_usec`. */
static void write_counts(struct account *account, uint64_t now_usec)
{
	const char *reason;
	uint64_t n_more;

	while (account_limit_take(&account->limit, now_usec, &reason, &n_more))
		write_count(account, reason, n_more);
}

struct account *account_free(struct account *account)
{
	if (!account)
		return NULL;
	write_counts(account, UINT64_MAX);
	log_destination_unref(account->destination);
	sd_event_source_disable_unref(account->timer);
	sd_event_unref(account->event);
	free(account);
	return NULL;
}

/*
 * The key of this start, the same for all services. Early after the machine has started this waits
 * until there is one: getrandom(2). Returns false if there is none.
 */
static bool copy_hash_key(uint8_t ret[SIPHASH_KEY_SIZE])
{
	static uint8_t key[SIPHASH_KEY_SIZE];
	static bool is_drawn;

	if (!is_drawn)
		is_drawn = getrandom(key, sizeof(key), 0) == (ssize_t)sizeof(key);
	memcpy(ret, key, sizeof(key));
	return is_drawn;
}

void account_configure(struct account *account, const struct config_service_log *config,
	unsigned int bits_v4, unsigned int bits_v6)
{
	account->policy = (struct account_policy){
		.on_success = config->on_success,
		.on_failure = config->on_failure,
		.address = config->address,
		.bits_v4 = bits_v4,
		.bits_v6 = bits_v6,
	};
	if (config->address != CONFIG_LOG_ADDRESS_HASH || copy_hash_key(account->policy.hash_key))
		return;
	account->policy.address = CONFIG_LOG_ADDRESS_NONE;
	log_write(LOG_ERR, &(struct log_about){.service = account->service, .error = errno},
		"%s: cannot draw a key for log_address = hash: %s; no addresses are logged",
		account->service, strerror(errno));
}

void account_set_destination(struct account *account, struct log_destination *destination)
{
	log_destination_unref(account->destination);
	account->destination = destination;
}

static bool is_followed(const struct account *account)
{
	return account->followers && events_are_followed(account->followers);
}

bool account_wants(const struct account *account, enum account_event event)
{
	return is_followed(account) || account_is_wanted(&account->policy, event);
}

static uint64_t now(const struct account *account)
{
	uint64_t usec = 0;

	(void)sd_event_now(account->event, CLOCK_MONOTONIC, &usec);
	return usec;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata);

/* Be called when the next count is due. Without memory for that the next refusal tries again. */
static void watch_counts(struct account *account)
{
	uint64_t next = account_limit_next(&account->limit);

	if (next == account->due_usec)
		return;
	if (!account->timer && sd_event_add_time(account->event, &account->timer, CLOCK_MONOTONIC,
				       next, 0, on_timer, account) < 0)
		return;
	account->due_usec = next;
	(void)sd_event_source_set_time(account->timer, next);
	(void)sd_event_source_set_enabled(
		account->timer, next == UINT64_MAX ? SD_EVENT_OFF : SD_EVENT_ONESHOT);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct account *account = userdata;

	(void)source, (void)usec;
	account->due_usec = UINT64_MAX;
	write_counts(account, now(account));
	watch_counts(account);
	return 0;
}

/* Returns false if this one is counted instead. */
static bool is_within_limit(struct account *account, const struct account_fact *fact)
{
	if (fact->event != ACCOUNT_REFUSED ||
		account_limit_allows(&account->limit, fact->reason, now(account)))
		return true;
	watch_counts(account);
	return false;
}

/* Everything, but of the address no more than may be written. */
static void tell(const struct account *account, const struct account_fact *fact)
{
	struct account_policy policy = account->policy;
	char peer[ACCOUNT_PEER_MAX];
	struct log_about about;

	policy.on_success = policy.on_failure = ACCOUNT_EVERYTHING;
	about = account_describe(&policy, fact, peer);
	events_tell(account->followers, &about);
}

void account_write(struct account *account, struct account_fact *fact)
{
	char peer[ACCOUNT_PEER_MAX];
	struct log_about about;

	fact->service = account->service;
	if (is_followed(account))
		tell(account, fact);
	if (!account_is_wanted(&account->policy, fact->event) || !is_within_limit(account, fact))
		return;
	about = account_describe(&account->policy, fact, peer);
	log_write_event(account->destination,
		fact->event == ACCOUNT_REFUSED ? LOG_NOTICE : LOG_INFO, &about);
}
