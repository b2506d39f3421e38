/* SPDX-License-Identifier: MIT */
/*
 * One service as it runs: its listeners, rendezvous and providers around one dispatch.
 *
 * It carries out what dispatch decides, and makes the listeners agree with whether anybody can
 * serve. What the configuration changed is decided by reload; here it is only carried out.
 */
#pragma once

#include "admission.h"
#include "config.h"
#include "denied.h"
#include "dispatch.h"
#include "events.h"
#include "inheritance.h"
#include "intake.h"
#include "listener.h"
#include "log-destination.h"
#include "provider.h"
#include "rendezvous.h"
#include "succession.h"
#include <systemd/sd-event.h>

struct service;

struct service_events {
	/* The service has ended (see service_end()) and may be freed now. */
	void (*on_ended)(struct service *s, void *userdata);
	/*
	 * A provider of `s` gives *h on to the service `to`, which it may, or *h was refused and
	 * `to` can tell it so: call
	 * service_take_forwarded() for that. Returns what that returned, or -ENOENT: no service of
	 * that name runs. Nothing was taken when it is negative.
	 */
	int (*on_forward)(struct service *s, const char *to, struct handoff *h, void *userdata);
	/* What sensors remember, which all services share. NULL: nothing. */
	struct denied *(*get_denied)(void *userdata);
	/* Who follow what happens to its connections and providers. NULL: nobody can. */
	struct events *(*get_followers)(void *userdata);
};

/*
 * Make the service with its rendezvous run_dir/NAME.sock. `config` must outlive it, or be replaced
 * by service_configure(); `events` is static. What an earlier usherd left of this service is taken
 * out of `inherited` (NULL: nothing): its rendezvous, and the connections it had parked.
 *
 * Returns 0 with *ret (free with service_free()), -ENOMEM, or the errors of unixsocket_listen().
 */
int service_new(struct service **ret, sd_event *event, const struct config_service *config,
	const char *run_dir, struct inheritance *inherited, const struct service_events *events,
	void *userdata);

/*
 * Close everything: providers keep what was sent to them. Connections that wait are parked if the
 * service manager keeps them for the next usherd (fdstore_freeze()), else reset. NULL is allowed.
 * Returns NULL.
 */
struct service *service_free(struct service *s);

/*
 * Take a configuration, the first or another one, and the listeners for it in place of those it
 * had: `listeners` (from malloc) and what is in it are the service's from now on; the old ones are
 * the caller's. Providers stay registered and are told if the listeners have changed. Cannot fail:
 * what can't be carried out is logged.
 */
void service_configure(struct service *s, const struct config_service *config,
	struct listener **listeners, size_t n_listeners);

/* Where what is said about its connections goes: a reference, which is taken; NULL: where all
 * messages go. Before service_configure(). */
void service_set_destination(struct service *s, struct log_destination *destination);

/*
 * The service is no longer configured: its listeners are the caller's, nobody can register any
 * more. What was accepted is still served; then the providers are told, and on_ended is called (not
 * from within this function).
 */
void service_end(struct service *s);

/*
 * A connection that a provider of another service has forwarded, or that another service has
 * refused (h->is_refused): h->fd, h->forwarded, h->peer and h->accepted_ns count. It is offered to
 * the providers of this service, or parked. The rules and limits of this service hold for it, but
 * for those that make clients wait; for one that was refused only `instances` does.
 *
 * Returns 0 with h->fd and h->forwarded taken, or a negative errno with nothing taken: -ESHUTDOWN
 * (the service is ending), -EACCES (it is refused), -ENOBUFS (it holds as many forwarded bytes as
 * it may), -EUSERS (`instances` is reached), -EOPNOTSUPP (something was read of it, which its
 * receiver could not be given).
 */
int service_take_forwarded(struct service *s, struct handoff *h);

/*
 * Tell providers on the administrator's behalf that they get no more: the one of that number, or
 * all of that name, or all (NULL). Returns how many were told; those that are leaving already are
 * not.
 */
unsigned int service_drain(struct service *s, const char *provider);

/*
 * While paused, clients wait in the backlog, whoever is registered. What was accepted is still
 * handed over.
 */
void service_set_paused(struct service *s, bool is_paused);
bool service_is_paused(const struct service *s);

/*
 * For an upgrade in place. service_save() writes down all that the next usherd has to know, into
 * *ret (freed as part of a struct succession, also on failure); it may be called at any time
 * between two events. Returns 0 or -ENOMEM.
 *
 * The next usherd makes the service with service_new(), holds it, configures it, restores it and
 * lets it go on: between service_hold() and service_go_on() it decides nothing. service_restore()
 * takes descriptors out of *saved, tells providers if the listeners are others now, and returns 0,
 * -ENOMEM, or -EINVAL: connections contradict each other.
 *
 * A service that was ending has no configuration any more: service_new_ending() makes it of what
 * was saved, held, and returns as service_new().
 *
 * service_check() says beforehand, without descriptors, whether service_restore() would find that
 * connections contradict each other: 0, -EINVAL or -ENOMEM.
 */
int service_check(const struct saved_service *saved);
int service_save(const struct service *s, struct saved_service *ret);
void service_hold(struct service *s);
int service_restore(struct service *s, struct saved_service *saved);
void service_go_on(struct service *s);
int service_new_ending(struct service **ret, sd_event *event, const struct saved_service *saved,
	struct inheritance *inherited, const struct service_events *events, void *userdata);

const char *service_name(const struct service *s);
const struct config_service *service_config(const struct service *s);
bool service_is_ending(const struct service *s);

/* For status. */
/* For what clients wait now, and until when, CLOCK_MONOTONIC; ADMISSION_ADMITTED: nothing. */
enum admission_reason service_limit(const struct service *s, uint64_t *ret_until_usec);
/* What admission_explain() says of this client, at this moment and load; but that a limit for which
 * clients wait already is one. */
void service_explain(
	const struct service *s, const struct wire_address *peer, struct admission_outlook *ret);
/* How many were refused for that reason; or how often clients had to wait for it. */
uint64_t service_n_turned(const struct service *s, enum admission_reason reason);
uint32_t service_n_sources(const struct service *s);
const struct intake *service_intake(const struct service *s);
const struct dispatch *service_dispatch(const struct service *s);
const struct provider *service_providers(const struct service *s);
const struct provider *service_borrower(const struct service *s); /* NULL: nothing is lent */
/* Are all its listeners for lending, if it has any? */
bool service_only_lends(const struct service *s);
const struct rendezvous *service_rendezvous(const struct service *s); /* NULL while ending */
/* Connections that its providers gave on and nobody took: they were reset. */
uint64_t service_n_forwards_refused(const struct service *s);

/* The receiver of a service that passes its connections (deliver = "pass"). */
struct service_receiver {
	const char *path;  /* the service's */
	const char *state; /* "unreached", "ready", "full" or "absent" */
	/* The next client will show whether it is there: it was not reached yet, or not again. */
	bool is_unreached;
	uint64_t n_in_flight; /* sent, and not read yet */
	uint64_t n_passed;    /* read by it; this and the next one since this process began */
	uint64_t n_unread;    /* not read before it was gone */
};

/* Returns false if it has none. */
bool service_pass_report(const struct service *s, struct service_receiver *ret);
