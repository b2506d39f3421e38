/* SPDX-License-Identifier: MIT */
/*
 * What one usherd leaves to the next when it is upgraded in place, as a value: everything that is
 * not in the configuration and not in the kernel's hands.
 *
 * The old process fills it (service-save.c), writes it as JSON into a sealed memfd_create(2) and
 * executes the program; the new one reads it and adopts what it says (service-restore.c). Numbers
 * of descriptors are part of it: they stay what they are. The format has a number. A reader knows
 * its own and the one before, where members that are new in its own are zero.
 *
 * Here nothing is adopted: reading a state opens, closes and changes nothing.
 */
#pragma once

#include "address.h"
#include "admission.h"
#include "connection.h"
#include "dispatch.h"
#include "network.h"
#include "wire.h"
#include <jansson.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Of what is written. Format 0 knows no parking, no standby and no forwarding, format 1 no lending
 * and no admission.
 */
#define SUCCESSION_FORMAT 2

/* Which descriptor has the state, for the program that is executed. */
#define SUCCESSION_VARIABLE "USHER_STATE_FD"

/* What a program says of a state that it can go on from: `usherctl upgrade` looks for it. */
#define SUCCESSION_ACCEPTED "can go on from the state of usherd"

struct saved_listener {
	int fd;
	uint32_t number; /* in the service manager's store (fdstore.h), here and below */
	char address[ADDRESS_TEXT_MAX]; /* as bound: address_format() */
	bool is_for_lending;
};

struct saved_lot {
	int fd;
	uint32_t number;
};

struct saved_forwarded {
	char from[WIRE_NAME_SIZE];
	struct connection_mark mark;
	uint8_t *data;
	size_t size;
};

/* One that waits or is unclaimed. */
struct saved_handoff {
	int fd;
	uint64_t id, sequence, accepted_ns;
	bool has_listener; /* it came in on a listener of its service */
	uint32_t n_hops;
	uint64_t parked_usec, entered_usec, given_usec; /* as in struct handoff */
	struct wire_address peer;
	struct saved_forwarded *forwarded; /* at most one */
	size_t n_forwarded;
};

/* One that a provider has claimed. */
struct saved_claim {
	uint64_t id, sequence, accepted_ns;
	uint32_t n_hops;
	struct wire_address peer;
};

struct saved_provider {
	int fd;
	uint32_t pid, uid, number;
	char name[WIRE_NAME_SIZE], status[WIRE_STATUS_SIZE];
	bool may_forward;
	bool owes_welcome, owes_draining;
	bool takes_listeners, owes_listeners, is_borrower;
	uint32_t draining_reason; /* enum wire_draining_reason */
	bool is_standby;
	bool is_pass;	/* no process that has registered: one place of a receiver, and `fd` the
			   channel over which the unclaimed connection was sent (pass.h) */
	uint32_t state; /* enum provider_state */
	uint32_t weight, n_foreign, n_turns, place;
	int64_t credit;
	uint64_t last_sequence, claimed_sequence, unclaimed_since, n_served;
	struct saved_handoff *unclaimed;
	size_t n_unclaimed;
	struct saved_claim *claimed;
	size_t n_claimed;
};

/* A process that is connected to the rendezvous and has not said HELLO. */
struct saved_stranger {
	int fd;
	uint32_t pid, uid;
	bool may_forward;
};

/* How fast a source has come. */
struct saved_source {
	struct network network;
	struct bucket bucket;
};

struct saved_service {
	char name[WIRE_NAME_SIZE];
	bool is_ending, is_paused;
	uint32_t instances, max_providers; /* these four are for one that is ending */
	uint32_t max_parked;
	uint64_t claim_timeout_usec, park_timeout_usec;
	int rendezvous_fd; /* -EBADF: it is ending */
	uint32_t rendezvous_number;
	uint32_t n_registered; /* since the start: the number of the last provider */
	uint64_t n_reset, n_forwards_refused;
	uint64_t n_turned[ADMISSION_N_REASONS]; /* as service_n_turned() */
	struct admission_state admission;
	struct saved_source *sources;
	size_t n_sources;
	uint64_t id_limit;
	struct dispatch_totals totals;
	struct saved_listener *listeners;
	size_t n_listeners;
	struct saved_lot *lots; /* oldest first */
	size_t n_lots;
	struct saved_provider *providers; /* in the order of registration */
	size_t n_providers;
	struct saved_stranger *strangers;
	size_t n_strangers;
	struct saved_handoff *waiting; /* oldest first */
	size_t n_waiting;
};

/* A network that is refused everywhere. */
struct saved_denial {
	struct network network;
	uint64_t until_usec; /* CLOCK_MONOTONIC; 0: for as long as usherd runs */
};

struct succession {
	uint32_t format;
	char version[32]; /* of the usherd that wrote it */
	char config_path[PATH_MAX];
	uint64_t started_usec; /* CLOCK_MONOTONIC */
	uint32_t n_upgrades;   /* since then, this one included */
	bool is_sandboxed;     /* sandbox_is_entered(): the next one is in it, too */
	int lock_fd;	       /* of run_dir */
	int control_fd;
	int client_fd; /* usherctl, who waits for the answer; -EBADF in what is only tried */
	struct saved_service *services;
	size_t n_services;
	struct saved_denial *denials;
	size_t n_denials;
};

/* As JSON. A new reference, or NULL when out of memory. */
json_t *succession_json(const struct succession *succession);

/*
 * Read what succession_json() has made, here or in an earlier version.
 *
 * Returns 0 with *ret (free with succession_free()); -EINVAL with a sentence in `why`, of at least
 * 256 bytes, that says what is wrong and where; -ENOMEM.
 */
int succession_parse(struct succession **ret, const json_t *json, char *why, size_t why_size);

/* Descriptors in it are not closed. NULL is allowed. Returns NULL. */
struct succession *succession_free(struct succession *succession);

/* Close the descriptors that were not taken out of it. */
void succession_close(struct succession *succession);

/*
 * Have `program` executed with `argv` in the place of this process: it gets the state, and every
 * descriptor in it. Does not return if that succeeds. Returns -ENOMEM, or the negative errno of
 * memfd_create(2), write(2), fcntl(2) or execve(2); then everything is as it was before.
 */
int succession_execute(struct succession *succession, const char *program, char *const *argv);

/*
 * What an earlier usherd has left to this process: read it, and make its descriptors close-on-exec.
 *
 * Returns 1 with *ret (succession_free()); 0: nothing, this is an ordinary start; -EINVAL with a
 * sentence in `why`, -ENOMEM. Clears the environment variable.
 */
int succession_receive(struct succession **ret, char *why, size_t why_size);
