/* SPDX-License-Identifier: MIT */
/* What is written about a connection: see account-record.h. */
#include "account-record.h"

#include "network.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char *format_full(const struct sockaddr_storage *peer, char *buffer)
{
	if (peer->ss_family == AF_VSOCK)
		return strcpy(buffer, "vsock");
	return address_format_host((const struct sockaddr *)peer, buffer);
}

static const char *format_prefix(
	const struct account_policy *policy, const struct wire_address *peer, char *buffer)
{
	const struct network network =
		network_of(peer, peer->family == AF_INET ? policy->bits_v4 : policy->bits_v6);

	_Static_assert(ACCOUNT_PEER_MAX >= NETWORK_TEXT_MAX, "a network must have room");
	return network_format(&network, buffer);
}

/* Of family and address alone: the port of a client is another one each time. */
static const char *format_hash(
	const struct account_policy *policy, const struct wire_address *peer, char *buffer)
{
	struct {
		uint16_t family;
		uint8_t address[sizeof(peer->address)];
	} hashed = {.family = peer->family};

	memcpy(hashed.address, peer->address, sizeof(hashed.address));
	(void)snprintf(buffer, ACCOUNT_PEER_MAX, "%016" PRIx64,
		siphash_of(policy->hash_key, &hashed, sizeof(hashed)));
	return buffer;
}

const char *account_format_peer(
	const struct account_policy *policy, const struct wire_address *peer, char *buffer)
{
	struct sockaddr_storage storage;
	struct wire_address unmapped; /* a provider may have said something else */

	if (policy->address == CONFIG_LOG_ADDRESS_NONE)
		return NULL;
	(void)wire_address_to_sockaddr(peer, &storage);
	wire_address_from_sockaddr(&unmapped, (const struct sockaddr *)&storage);
	if (policy->address == CONFIG_LOG_ADDRESS_FULL ||
		(unmapped.family != AF_INET && unmapped.family != AF_INET6))
		return format_full(&storage, buffer);
	return policy->address == CONFIG_LOG_ADDRESS_PREFIX
		       ? format_prefix(policy, &unmapped, buffer)
		       : format_hash(policy, &unmapped, buffer);
}

bool account_is_wanted(const struct account_policy *policy, enum account_event event)
{
	switch (event) {
	case ACCOUNT_START:
		return policy->on_success & (CONFIG_LOG_HOST | CONFIG_LOG_PID);
	case ACCOUNT_END:
		return policy->on_success & (CONFIG_LOG_EXIT | CONFIG_LOG_DURATION);
	case ACCOUNT_REFUSED:
		return policy->on_failure & (CONFIG_LOG_HOST | CONFIG_LOG_REASON);
	case ACCOUNT_PARKED:
		break;
	}
	return false;
}

static const char *const event_names[] = {
	[ACCOUNT_START] = "start",
	[ACCOUNT_END] = "end",
	[ACCOUNT_REFUSED] = "refused",
	[ACCOUNT_PARKED] = "parked",
};

struct log_about account_describe(
	const struct account_policy *policy, const struct account_fact *fact, char *peer)
{
	bool is_refused = fact->event == ACCOUNT_REFUSED, is_end = fact->event == ACCOUNT_END;
	uint32_t items = is_refused ? policy->on_failure : policy->on_success;
	struct log_about about = {
		.event = event_names[fact->event],
		.service = fact->service,
		.listener = fact->listener,
		.connection = fact->connection,
	};

	if ((items & CONFIG_LOG_HOST) && fact->peer)
		about.peer = account_format_peer(policy, fact->peer, peer);
	if (items & CONFIG_LOG_PID) {
		about.provider = fact->provider;
		about.provider_pid = fact->provider_pid;
		about.provider_uid = fact->provider_uid;
	}
	if (items & (is_refused ? CONFIG_LOG_REASON : CONFIG_LOG_EXIT))
		about.reason = fact->reason;
	if (is_end && (items & CONFIG_LOG_DURATION)) {
		about.has_duration = true;
		about.duration_usec = fact->duration_usec;
	}
	return about;
}
