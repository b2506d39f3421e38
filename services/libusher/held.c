/* SPDX-License-Identifier: MIT */
/*
 * An array of slots with two lists through it, free and released. See held.h for the contract.
 *
 * The array only grows: to the most connections that were ever held at once.
 */
#include "held.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define MIN_SLOTS 64

void held_done(struct held *held)
{
	free(held->slots);
	*held = (struct held){0};
}

static void push_free(struct held *held, uint32_t index)
{
	held->slots[index].next = held->first_free;
	held->first_free = index;
	held->n_free++;
}

int held_reserve(struct held *held, uint32_t n)
{
	uint32_t n_slots = held->n_slots ? held->n_slots : MIN_SLOTS;
	struct held_slot *slots;

	if (held->n_free >= n)
		return 0;
	while (n_slots - (held->n_slots - held->n_free) < n) {
		if (n_slots > UINT32_MAX / 2)
			return -ENOMEM;
		n_slots *= 2;
	}
	slots = reallocarray(held->slots, n_slots, sizeof(*slots));
	if (!slots)
		return -ENOMEM;
	held->slots = slots;
	while (held->n_slots < n_slots) {
		slots[held->n_slots] = (struct held_slot){0};
		push_free(held, held->n_slots++);
	}
	return 0;
}

uint64_t held_add(struct held *held, uint64_t wire_id, uint32_t channel)
{
	uint32_t index = held->first_free;
	struct held_slot *slot;

	assert(held->n_free > 0);
	slot = &held->slots[index];
	held->first_free = slot->next;
	held->n_free--;
	held->n_held++;
	slot->wire_id = wire_id;
	slot->channel = channel;
	slot->is_held = true;
	if (++slot->counter == 0)
		slot->counter = 1; /* a handle is never 0 */
	return (uint64_t)slot->counter << 32 | index;
}

int held_release(struct held *held, uint64_t handle)
{
	uint32_t index = (uint32_t)handle;
	struct held_slot *slot;

	if (index >= held->n_slots)
		return -EINVAL;
	slot = &held->slots[index];
	if (!slot->is_held || slot->counter != handle >> 32)
		return -EINVAL;
	slot->is_held = false;
	slot->next = held->first_released;
	held->first_released = index;
	held->n_released++;
	held->n_held--;
	return 0;
}

size_t held_peek_released(const struct held *held, uint32_t channel, uint64_t *ret_ids, size_t max)
{
	size_t n = held->n_released < max ? held->n_released : max;
	uint32_t index = held->first_released;

	for (size_t i = 0; i < n; i++) {
		const struct held_slot *slot = &held->slots[index];

		ret_ids[i] = slot->channel == channel ? slot->wire_id : 0;
		index = slot->next;
	}
	return n;
}

void held_forget(struct held *held, size_t n)
{
	assert(n <= held->n_released);
	for (; n > 0; n--) {
		uint32_t index = held->first_released;

		held->first_released = held->slots[index].next;
		held->n_released--;
		push_free(held, index);
	}
}
