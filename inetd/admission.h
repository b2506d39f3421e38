/* SPDX-License-Identifier: MIT */
/*
 * May this client come in now? The rules and limits of one service.
 *
 * Pure: no input and output, and the clock is passed in. There are two questions. Before a
 * connection is accepted: may one be accepted now, or when? Nobody is refused by that, clients wait
 * in the backlog. And when the client's address is known: is it admitted? Who is not is refused.
 *
 * What is asked of whom: cps, rate and max_load hold for everybody; denied clients, the rules,
 * access_times and sources for all but AF_UNIX, whom the file's mode admits; sources and rules know
 * only AF_INET and AF_INET6.
 *
 * Invariant: every connection that was admitted with a source is counted as one of it until
 * admission_left(), and no limit lasts longer than its own time.
 */
#pragma once

#include "bucket.h"
#include "config.h"
#include "denied.h"
#include "rules.h"
#include "siphash.h"
#include "wire.h"
#include <stdbool.h>
#include <stdint.h>

/* Why somebody is refused, or has to wait. */
enum admission_reason {
	ADMISSION_ADMITTED,
	/* Refused. In this order it is asked. */
	ADMISSION_DENIED,	   /* it has touched a sensor */
	ADMISSION_NO_ACCESS,	   /* by a rule of no_access */
	ADMISSION_ONLY_FROM,	   /* by no rule, and only_from is given */
	ADMISSION_ACCESS_TIMES,	   /* not at this time of the day */
	ADMISSION_SENSOR,	   /* it touches a sensor now: the caller denies its network */
	ADMISSION_PER_SOURCE,	   /* its source has as many connections as one may have */
	ADMISSION_PER_SOURCE_RATE, /* its source comes too fast */
	/* Waiting. */
	ADMISSION_CPS,
	ADMISSION_RATE,
	ADMISSION_MAX_LOAD,
	ADMISSION_N_REASONS,
};

struct admission;

/* The short stable word of a reason, for filters and counters: "no_access". */
const char *admission_word(enum admission_reason reason);

/*
 * Everybody is admitted until admission_configure(). `key` is random. Returns 0 with *ret (free
 * with admission_free()) or -ENOMEM.
 */
int admission_new(struct admission **ret, const uint8_t key[SIPHASH_KEY_SIZE]);

/* NULL is allowed. Returns NULL. */
struct admission *admission_free(struct admission *admission);

/*
 * Take other rules and limits, which must live until the next call: NULL is none. A pause or a rate
 * goes on as far as the new ones still know it.
 *
 * Returns true if sources are other networks now, or are counted from now on, or no more: then all
 * that were counted are forgotten, and the caller counts each connection anew (admission_count()).
 */
bool admission_configure(struct admission *admission, const struct config_admission *config);

/*
 * Is anything configured that admission_ready(), or admission_ask() without `denied`, could refuse,
 * or that counts? If not they need not be asked.
 */
bool admission_is_limited(const struct admission *admission);

/*
 * May the connection of a client who is there be accepted now? `load_percent` is the load average,
 * in hundredths, and looked at only if admission_asks_load() says so.
 *
 * Returns ADMISSION_ADMITTED, or why not with *ret_until_usec: then the answer may be another one.
 */
enum admission_reason admission_ready(struct admission *admission, uint32_t load_percent,
	uint64_t now_usec, uint64_t *ret_until_usec);
bool admission_asks_load(const struct admission *admission);

/* What is to be known of a client that was accepted. */
struct admission_client {
	const struct wire_address *peer;
	const struct denied *denied; /* NULL: nobody is */
	uint32_t minute;	     /* of the day, local time; see admission_asks_minute() */
	uint64_t now_usec;
};

/*
 * Is this one admitted? If so *ret_source is for admission_left(), 0 if it is not counted. It is
 * refused with ADMISSION_PER_SOURCE, too, when there is no memory to count it.
 */
enum admission_reason admission_ask(
	struct admission *admission, const struct admission_client *client, uint32_t *ret_source);
bool admission_asks_minute(const struct admission *admission);

/* What would become of the next client, and why. */
struct admission_outlook {
	enum admission_reason wait; /* as admission_ready() would answer: ADMISSION_ADMITTED: now */
	uint64_t wait_until_usec;
	enum admission_reason answer; /* as admission_ask() would */
	/* What is asked for that. */
	uint64_t denied_until_usec;	/* 0: it is not */
	const struct config_rule *rule; /* that decides; NULL: none matches */
	enum admission_reason by_rules; /* ADMISSION_ADMITTED, _NO_ACCESS or _ONLY_FROM */
	bool is_time;			/* for access_times */
	bool is_counted;		/* as one of a source, which now has */
	uint32_t n_connections;
	uint64_t source_ready_usec; /* when it is not too fast: now_usec or earlier is now */
};

/*
 * What would become of this client, if it came now? Changes nothing, and counts nothing: the
 * answers are those of admission_ready() and admission_ask() as long as there is memory.
 */
void admission_explain(const struct admission *admission, const struct admission_client *client,
	uint32_t load_percent, struct admission_outlook *ret);

/* The rule that admission_ask() would go by; NULL: none matches. */
const struct config_rule *admission_rule(
	const struct admission *admission, const struct wire_address *peer);

/* All rules, for packetfilter_make(). */
const struct rules *admission_rules(const struct admission *admission);

/*
 * Count a connection without asking: it was admitted earlier. Returns its source, 0: it is not
 * counted.
 */
uint32_t admission_count(
	struct admission *admission, const struct wire_address *peer, uint64_t now_usec);

/* A connection is over. `source` may be 0. */
void admission_left(struct admission *admission, uint32_t source, uint64_t now_usec);

/* What goes on in an upgrade in place, besides the sources. */
struct admission_state {
	struct bucket cps, rate;
	uint64_t paused_until_usec; /* by cps; earlier than now: it is not */
};

void admission_save(const struct admission *admission, struct admission_state *ret);

/* The sources of whom it is known how fast they came: as sources_next(). */
uint32_t admission_next_source(const struct admission *admission, uint32_t last, uint64_t now_usec,
	struct network *ret_network, struct bucket *ret_bucket);

/*
 * Go on from there, as far as the present limits know it; the sources after their connections were
 * counted. Returns until when nobody is accepted, because a pause goes on: `now_usec` or earlier is
 * that none does.
 */
uint64_t admission_restore(
	struct admission *admission, const struct admission_state *state, uint64_t now_usec);
void admission_restore_source(struct admission *admission, const struct network *network,
	const struct bucket *bucket, uint64_t now_usec);

/*
 * The network that is denied for what `peer` did. Returns false: it has none, as of AF_UNIX.
 */
bool admission_network(
	const struct admission *admission, const struct wire_address *peer, struct network *ret);

/* How many sources are known now, and how many could not be remembered (sources.h). */
uint32_t admission_n_sources(const struct admission *admission);
uint64_t admission_n_unremembered(const struct admission *admission);
