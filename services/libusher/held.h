/* SPDX-License-Identifier: MIT */
/*
 * The connections this process has: the table behind the ids that usher_accept() returns.
 *
 * usherd's own ids may repeat after its restart, so the application gets handles that are the
 * library's: an index with a counter, so that one used twice is found out. A released connection
 * keeps its place until usherd was told, which is why a release needs no memory and cannot fail for
 * lack of it. Private to libusher; sends nothing, locks nothing.
 *
 * Invariant: every slot is free, held or released, and in the list that says so.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct held_slot {
	uint64_t wire_id; /* what usherd calls the connection on its channel */
	uint32_t channel; /* number of the channel on which it came */
	uint32_t counter; /* how often the slot was used: the upper half of the handle */
	uint32_t next;	  /* in the list of free or released slots */
	bool is_held;
	void *message; /* from malloc(3), freed when it is held no longer; may be NULL */
};

/* Zero-initialise; free with held_done(). */
struct held {
	struct held_slot *slots;
	uint32_t n_slots;
	uint32_t n_held;
	uint32_t n_free, first_free;
	uint32_t n_released, first_released; /* over, and usherd does not know yet */
};

void held_done(struct held *held);

/* Make room for `n` more connections (1 to 65,536). Returns 0 or -ENOMEM. */
int held_reserve(struct held *held, uint32_t n);

/*
 * Add a connection, for which room was reserved. Takes `message`, from malloc(3) or NULL: what is
 * to be kept as long as the connection is held. Returns its handle, which is never 0.
 */
uint64_t held_add(struct held *held, uint64_t wire_id, uint32_t channel, void *message);

/* The connection of that handle, until anything else is told; NULL: it is not held. */
const struct held_slot *held_find(const struct held *held, uint64_t handle);

/* What usherd calls it on the channel of this number: id 0 for those of earlier ones. */
uint64_t held_wire_id(const struct held_slot *slot, uint32_t channel);

/* The connection is over. Returns 0, or -EINVAL: no such connection is held. */
int held_release(struct held *held, uint64_t handle);

/* The held connection is somebody else's, and usherd knows. */
void held_give_on(struct held *held, uint64_t handle);

/*
 * Name up to `max` released connections by their held_wire_id(). Returns how many; they stay
 * released until held_forget().
 */
size_t held_peek_released(const struct held *held, uint32_t channel, uint64_t *ret_ids, size_t max);

/* usherd knows about the first `n` released connections, or never will. */
void held_forget(struct held *held, size_t n);
