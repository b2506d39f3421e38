/* SPDX-License-Identifier: MIT */
/*
 * A service from the inside: for the service*.c files alone, each of which is one part of it.
 *
 * service-settle.c carries out what dispatch decides, service-accept.c decides when connections are
 * accepted and providers listened to, service-admission.c whose, service-filter.c lets the kernel
 * decide where sockets are lent, service-providers.c lets providers register and leave,
 * service-lend.c says to whom the sockets are lent, service-pass.c gives connections to a receiver
 * that is no provider, service-parking.c keeps what nobody can take, service-forward.c passes on
 * what providers forward, service-client.c says who a client is, service-account.c says to the log
 * and to followers what becomes of connections, service-events.c to these what happens besides,
 * service.c makes, changes and ends the whole, service-save.c and
 * service-restore.c hand it on to the next usherd.
 *
 * Invariant: every event, in whatever part, ends in service_settle().
 */
#pragma once

#include "account.h"
#include "admission.h"
#include "events.h"
#include "parking.h"
#include "service.h"

struct service {
	sd_event *event;
	struct config_service config; /* its arrays belong to the server's struct config */
	char *name;

	struct intake *intake;
	struct rendezvous *rendezvous; /* NULL while ending */
	struct dispatch *dispatch;
	struct parking *parking;
	struct account *account;
	struct admission *admission;

	struct provider *providers;
	struct provider *dirty; /* those with something in the outbox */
	unsigned int n_providers, n_registered, last_number;
	struct provider *borrower; /* to whom what is for lending is lent; NULL: nobody */
	bool is_unfiltered;	   /* what is to be lent lets in whom it must not: nobody gets it */
	bool is_lending_new;	   /* somebody has to be told something, or may be the borrower */

	bool is_full;	/* as dispatch said */
	bool is_paused; /* by the administrator */
	bool is_settling;
	bool is_ending;
	sd_event_source *claim_timer;
	sd_event_source *parking_timer; /* a deadline, or to try again */
	sd_event_source *unparking;	/* deferred: somebody can take what is parked */
	sd_event_source *ended;

	struct service_pace {		   /* see service-accept.c */
		sd_event_source *timer;	   /* NULL until it is first needed */
		uint64_t accepted_usec;	   /* when the last ones were */
		struct provider *provider; /* the one that is paced, see provider_set_paced() */
		bool has_deferred;	   /* some were, in this moment or at its start */
	} pace;

	bool is_short_of_descriptors; /* to take parked ones out: until the parking timer */
	bool is_parking_refused;      /* those that wait could not be parked: until the timer */
	uint64_t retry_usec;	      /* when either is tried again; 0: it need not be */
	struct service_parking_log {  /* what was logged since the last time that nobody waited */
		bool full, timeout, failure;
	} logged;

	struct service_limit {		      /* for which clients wait now */
		enum admission_reason reason; /* ADMISSION_ADMITTED: none */
		uint64_t until_usec;
		sd_event_source *timer;
	} limit;
	struct service_load { /* as it was read last */
		uint64_t read_usec;
		uint32_t percent;
	} load;
	struct service_minute { /* the last one that was asked for */
		int64_t of_time;
		uint32_t of_day;
	} minute;
	uint64_t n_turned[ADMISSION_N_REASONS]; /* refused; or how often clients had to wait */
	struct service_told {			/* when it was said last; 0: never */
		uint64_t usec[ADMISSION_N_REASONS], unremembered_usec, denied_usec;
	} told;

	size_t n_forwarded_bytes; /* of connections that wait or are unclaimed */
	uint64_t n_forwards_refused;

	struct service_pass *pass; /* see service-pass.c; NULL: it never passed anything */

	struct events *followers; /* who follow what happens; NULL: nobody can */
	const struct service_events *events;
	void *userdata;
};

/* As service_new(), without a rendezvous. */
int service_make(struct service **ret, sd_event *event, const struct config_service *config,
	struct inheritance *inherited, const struct service_events *events, void *userdata);

/* CLOCK_MONOTONIC of this turn, µs. */
uint64_t service_now(const struct service *s);

/*
 * Carry out what dispatch wants, send the outboxes, give what could not be sent to somebody else,
 * park what nobody takes, and make the listeners agree with the outcome. Within itself it does
 * nothing. Frees no provider.
 */
void service_settle(struct service *s);

/* Do what dispatch wants now, short of sending the outboxes. */
void service_carry_out(struct service *s);

/* A connection that is no more ours: forget what it brought with it. */
void service_forget_forwarded(struct service *s, struct handoff *h);

/* For intake_new(). */
void service_on_connections(struct listener *l, void *userdata);

/*
 * Somebody may be able to take connections that were deferred: accept them. Returns whether there
 * were any, which are not sent yet.
 */
bool service_accept_deferred(struct service *s);

/* Hear at once what the providers say, if not before the end of the moment. */
void service_end_pacing(struct service *s);

/* When a connection is accepted, as the protocol says it. */
uint64_t service_realtime_ns(void);

/* For rendezvous_new(). */
void service_on_peer(int fd, const struct rendezvous_peer *peer, void *userdata);

extern const struct provider_events service_provider_events;

/* Tell all registered providers of changed listeners. */
void service_welcome_again(struct service *s);

/*
 * Choose the borrower and tell those who have to know; and what clients meet where nobody borrows.
 * Part of settling.
 */
void service_lend(struct service *s);

/* usherd ends: nobody keeps a socket that does not go on living in the service manager's store. */
void service_take_back(struct service *s);

/* The provider is leaving: somebody else gets what was lent to it. */
void service_end_borrowing(struct service *s, const struct provider *p);

/* Admission as part of a new service. Returns 0 or a negative errno. */
int service_admission_init(struct service *s);
void service_admission_done(struct service *s);

/* Take other rules and limits, which must live until the next call; NULL: none. */
void service_admission_configure(struct service *s, const struct config_admission *config);

/*
 * Have the kernel carry out the rules for what is lent: after every change of rules or listeners,
 * and when a provider has had it.
 */
void service_filter(struct service *s);

/*
 * Nobody is to wait in what is about to be lent who has come before the kernel carried out the
 * rules: those who are there are asked as ever, and handed over as connections, or parked.
 */
void service_screen(struct service *s);

/* Accept who waits in the backlog now, whether anybody has credit or not. Returns how many. */
uint32_t service_accept_all(struct service *s, struct listener *l);

/* Count the sources of all connections that there are, instead of those so far. */
void service_count_sources(struct service *s);

/* After that: a pause by cps and what is known of how fast clients came go on. */
void service_admission_restore(struct service *s, const struct saved_service *saved);

/*
 * A client is there: may it be accepted now? If not, clients wait, and the next service_settle()
 * has the listeners unpolled until the limit is over.
 */
bool service_may_accept(struct service *s);

/*
 * A client was accepted. Returns true with *ret_source if it may come in; else it was refused, and
 * `fd` is taken.
 */
bool service_admit(struct service *s, const struct listener *l, int fd,
	const struct wire_address *peer, uint32_t *ret_source);

/*
 * The same for one that another service's provider has forwarded. Returns 0 with h->source;
 * SERVICE_GIVEN_ON: it was taken, by the service that the refused ones are given to; -EACCES: it is
 * refused, and nothing was taken.
 */
#define SERVICE_GIVEN_ON 1
int service_admit_forwarded(struct service *s, struct handoff *h);

/* A connection is no more here: its source has one less. */
void service_left(struct service *s, const struct handoff *h);

/*
 * For dispatch: who is at the other end of this connection? 0 where `balance` does not ask.
 * service_identify_clients(): of all that may still be given, after every change of that.
 */
uint64_t service_client(const struct service *s, int fd, const struct wire_address *peer);
void service_identify_clients(struct service *s);

/* Parking as part of a new service. Returns 0 or a negative errno. */
int service_parking_init(struct service *s, struct inheritance *inherited);

/*
 * At the end of the service: what waits is left in the service manager's store, if it is there and
 * the service may come back, else reset.
 */
void service_parking_done(struct service *s);

/* Park what waits, but for a small batch that is about to be sent. */
void service_park(struct service *s);

/* Be called when parked ones can be given, have waited for too long, or can be tried again. */
void service_watch_parking(struct service *s);

/*
 * To those who follow events: something about the service, or about one of its providers. `reason`
 * may be NULL. Costs one look if nobody follows.
 */
void service_tell(const struct service *s, const char *event, const char *reason);
void service_tell_provider(
	const struct service *s, const struct provider *p, const char *event, const char *reason);

/* For struct provider_events. */
void service_on_draining(struct provider *p, void *userdata);

/*
 * For the log and those who follow events, if it is wanted: a provider has claimed *h; it is over;
 * it is parked; or a client was turned away, at the listener of that index (or WIRE_NO_LISTENER),
 * for `reason`, a constant that usherd(8) explains.
 */
void service_account_start(const struct service *s, const struct handoff *h);
void service_account_end(const struct service *s, const struct handoff *h);
void service_account_parked(const struct service *s, const struct handoff *h);
void service_account_refused(const struct service *s, uint32_t listener,
	const struct wire_address *peer, const char *reason);

/* For intake_new(): clients that were reset because nobody serves. */
void service_on_reset(struct listener *l, const struct wire_address *peer, void *userdata);

/* For struct provider_events. */
void service_on_forward(struct provider *p, const struct wire_forward *forward, size_t n_bytes,
	struct handoff *h, void *userdata);

/*
 * Passing (deliver = "pass"). service_pass_configure() takes s->config: begins with a receiver,
 * goes on, or ends with it, when those that are under way are read. Returns 0 or -ENOMEM.
 * service_pass_open() has the receiver get connections, if that is new: at the beginning of
 * settling.
 */
int service_pass_configure(struct service *s);
void service_pass_open(struct service *s);

/* Does it pass connections now? Then no process may register. */
bool service_is_passing(const struct service *s);

/* Send a connection that was given to the receiver: to a dispatch_provider without userdata. */
void service_pass_give(struct service *s, struct handoff *h);

/* Take back what could not be sent. Returns whether there was any. */
bool service_pass_flush(struct service *s);

/* Log once that the receiver reads nothing for longer than the claim timeout. */
void service_pass_check(struct service *s, uint64_t usec);

/*
 * Write down a list of connections, which begins with `first` and has `n`, into *ret (malloc); as
 * many as could be saved are there, also on failure. Returns 0 or -ENOMEM.
 */
int service_save_handoffs(
	const struct handoff *first, uint32_t n, struct saved_handoff **ret, size_t *ret_n);

/*
 * For an upgrade in place: those that are under way, each as a provider of its own, of which there
 * are service_pass_n(); ret[0] to ret[*ret_n - 1] are filled, also on failure. Returns 0 or
 * -ENOMEM. service_pass_restore() takes up such a one; its connection is then to be restored and
 * told to service_pass_restored(). Returns 0 with *ret, or a negative errno.
 */
size_t service_pass_n(const struct service *s);
int service_pass_save(const struct service *s, struct saved_provider *ret, size_t *ret_n);
int service_pass_restore(
	struct service *s, struct saved_provider *saved, struct dispatch_provider **ret);
void service_pass_restored(struct service *s, struct dispatch_provider *record);

/* At the end of the service, as it leaves its providers. */
void service_pass_abandon(struct service *s);
