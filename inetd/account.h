/* SPDX-License-Identifier: MIT */
/*
 * What is written about each connection of one service: log_on_success, log_on_failure,
 * log_address, log_type.
 *
 * It knows what is wanted and where it goes; what happened it is told. Writing, and how often the
 * refusals are written that strangers cause, is the log's (log.h).
 *
 * Invariant: nothing is written that is not wanted.
 */
#pragma once

#include "account-record.h"
#include "config.h"
#include "events.h"
#include "log-destination.h"

struct account;

/* Of `service`, whose name must live as long, as must `followers` (NULL: nobody can follow), who
 * are told whatever becomes of its connections, in the form that log_address allows. Writes nothing
 * yet. Returns 0 with *ret (free with account_free()) or -ENOMEM. */
int account_new(struct account **ret, const char *service, struct events *followers);

/* NULL is allowed. Returns NULL. */
struct account *account_free(struct account *account);

/* Take what `config` says, and as much of it as a prefix is; nothing of it is kept. */
void account_configure(struct account *account, const struct config_service_log *config,
	unsigned int bits_v4, unsigned int bits_v6);

/* Where it goes: a reference, which is taken; NULL: where all messages go. */
void account_set_destination(struct account *account, struct log_destination *destination);

/* Is anything to be written, or told, about such an event? Else nothing need be found out about it.
 */
bool account_wants(const struct account *account, enum account_event event);

/* Write it, if it is wanted; tell it to who follows. The members event and service of *fact are
 * completed. `reason` of a refusal must be a constant. */
void account_write(struct account *account, struct account_fact *fact);
