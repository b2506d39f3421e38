/* SPDX-License-Identifier: MIT */
/*
 * What is written about a connection, and in which form its client appears.
 *
 * Pure: facts go in, the fields of an event (struct log_about) come out. Part of the room
 * `account`.
 *
 * Invariant: nothing of an address is in the outcome that log_address does not allow.
 */
#pragma once

#include "address.h"
#include "config.h"
#include "log.h"
#include "siphash.h"
#include "wire.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum account_event {
	ACCOUNT_START,	 /* a provider has the connection from now on */
	ACCOUNT_END,	 /* and has it no more */
	ACCOUNT_REFUSED, /* the client was turned away, or reset, before any provider had it */
	ACCOUNT_PARKED,	 /* it waits, accepted, until somebody can take it: never written */
};

/* All of enum config_log_item. */
#define ACCOUNT_EVERYTHING UINT32_MAX

/* What an administrator wants to read. */
struct account_policy {
	uint32_t on_success, on_failure; /* sets of enum config_log_item */
	enum config_log_address address;
	unsigned int bits_v4, bits_v6; /* of a prefix: 0 to 32, 0 to 128 */
	uint8_t hash_key[SIPHASH_KEY_SIZE];
};

/* What happened. What is not known is NULL or zero. Texts are the caller's, and not copied. */
struct account_fact {
	enum account_event event;
	const char *service;
	const char *listener; /* as address_format() writes it */
	const struct wire_address *peer;
	uint64_t connection; /* struct handoff, id */
	const char *provider;
	pid_t provider_pid;
	uid_t provider_uid;
	const char *reason;	/* why it was refused, or how it ended */
	uint64_t duration_usec; /* ACCOUNT_END */
};

/* Room for account_format_peer(). */
#define ACCOUNT_PEER_MAX ADDRESS_TEXT_MAX

/*
 * The client as the policy allows: "192.0.2.1", "192.0.2.0/24", 16 hexadecimal digits that are the
 * same for the same address as long as the key is; other families by name only: "unix", "vsock",
 * "unknown". IPv4-mapped is IPv4. Returns `buffer` (ACCOUNT_PEER_MAX bytes), or NULL: not at all.
 */
const char *account_format_peer(
	const struct account_policy *policy, const struct wire_address *peer, char *buffer);

/* Is anything to be written about such an event? */
bool account_is_wanted(const struct account_policy *policy, enum account_event event);

/*
 * The fields of an event that is wanted. It points to the texts of *fact and into `peer`
 * (ACCOUNT_PEER_MAX bytes).
 */
struct log_about account_describe(
	const struct account_policy *policy, const struct account_fact *fact, char *peer);
