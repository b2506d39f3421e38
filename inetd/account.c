/* SPDX-License-Identifier: MIT */
/* What is written about the connections of a service: see account.h. */
#include "account.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

struct account {
	const char *service;
	struct account_policy policy;
	struct log_destination *destination;
	struct events *followers; /* NULL: nobody can follow */
};

int account_new(struct account **ret, const char *service, struct events *followers)
{
	struct account *account = calloc(1, sizeof(*account));

	if (!account)
		return -ENOMEM;
	*account = (struct account){.service = service, .followers = followers};
	*ret = account;
	return 0;
}

struct account *account_free(struct account *account)
{
	if (!account)
		return NULL;
	log_destination_unref(account->destination);
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
	log_write(LOG_ERR,
		&(struct log_about){
			.service = account->service, .reason = "no-key", .error = errno},
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
	if (!account_is_wanted(&account->policy, fact->event))
		return;
	about = account_describe(&account->policy, fact, peer);
	log_write_event(account->destination,
		fact->event == ACCOUNT_REFUSED ? LOG_NOTICE : LOG_INFO, &about);
}
