/* SPDX-License-Identifier: MIT */
/*
 * dispatch as plain arrays: what it ought to be after each event that it was told.
 *
 * The model does not foresee whom dispatch chooses: do_actions() checks that the choice was allowed
 * and follows it. Everything else is foreseen, and compare() looks whether it came so.
 */
#pragma once

#include "dispatch.h"
#include "test.h"

#define MAX_INSTANCES 150
#define MAX_MEMBERS   8

/* A connection as the model sees it. */
struct connection {
	struct handoff *handoff;
	uint64_t id;
	uint64_t sequence;
	uint64_t entered_usec, given_usec;
	int number;	      /* in place of a descriptor */
	enum handoff_end end; /* of those in `to_end` */
};

struct connections {
	struct connection items[MAX_INSTANCES];
	size_t n;
};

/* A provider as the model sees it. */
struct member {
	struct dispatch_provider *p;
	enum provider_state state;
	bool is_standby;
	int64_t credit;
	uint32_t weight, n_foreign;
	uint64_t last_sequence, claimed_sequence, unclaimed_since, n_served;
	uint32_t n_in_outbox; /* given and not sent yet */
	struct connections unclaimed, claimed;
};

struct model {
	struct dispatch *d;
	uint64_t random;
	uint64_t now_usec;
	enum dispatch_balance balance;
	uint32_t instances;
	bool is_paused;
	struct connections waiting;
	struct connections parked;
	struct connections to_close; /* claimed by the event just told */
	struct connections to_end;   /* over by the event just told, in this order */
	struct member members[MAX_MEMBERS];
	size_t n_members;
	struct dispatch_totals totals;
	uint64_t n_refused, n_upgrades;
	uint64_t *ids; /* all that ever were given */
	uint64_t n_ids;
	int last_number;
};

/* A number below `limit`. */
uint64_t random_below(struct model *m, uint64_t limit);

/* Lists: put in before the place `at`, or at the end; take out of the place `at`. */
void insert(struct connections *list, size_t at, struct connection c);
void append(struct connections *list, struct connection c);
struct connection take(struct connections *list, size_t at);

/* One that was taken out of another list is over. */
void end_connection(struct model *m, struct connection c, enum handoff_end end);

/* What the model expects of the whole. */
bool is_leaving(const struct member *member);
int64_t expected_credit(const struct model *m);
int64_t expected_instances_left(const struct model *m);
int64_t expected_room(const struct model *m);

/* Take note of what dispatch wants done, if it may. */
void do_actions(struct model *m);

/* Everything that dispatch.h shows is as the model has it. */
void compare(const struct model *m);
