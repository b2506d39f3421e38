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
	for (uint32_t i = 0; i < held->n_slots; i++)
		free(held->slots[i].message);
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

uint64_t held_add(struct held *held, uint64_t wire_id, uint32_t channel, void *message)
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
	slot->message = message;
	if (++slot->counter == 0)
		slot->counter = 1; /* a handle is never 0 */
	return (uint64_t)slot->counter << 32 | index;
}

const struct held_slot *held_find(const struct held *held, uint64_t handle)
{
	uint32_t index = (uint32_t)handle;
	const struct held_slot *slot;

	if (index >= held->n_slots)
		return NULL;
	slot = &held->slots[index];
	return slot->is_held && slot->counter == handle >> 32 ? slot : NULL;
}

uint64_t held_wire_id(const struct held_slot *slot, uint32_t channel)
{
	return slot->channel == channel ? slot->wire_id : 0;
}

/* Take it from the application. Returns the slot's index, which is in neither list. */
static uint32_t end_holding(struct held *held, uint64_t handle)
{
	uint32_t index = (uint32_t)handle;
	struct held_slot *slot = &held->slots[index];

	free(slot->message);
	slot->message = NULL;
	slot->is_held = false;
	held->n_held--;
	return index;
}

int held_release(struct held *held, uint64_t handle)
{
	uint32_t index;

	if (!held_find(held, handle))
		return -EINVAL;
	index = end_holding(held, handle);
	held->slots[index].next = held->first_released;
	held->first_released = index;
	held->n_released++;
	return 0;
}

void held_give_on(struct held *held, uint64_t handle)
{
	push_free(held, end_holding(held, handle));
}

size_t held_peek_released(const struct held *held, uint32_t channel, uint64_t *ret_ids, size_t max)
{
	size_t n = held->n_released < max ? held->n_released : max;
	uint32_t index = held->first_released;

	for (size_t i = 0; i < n; i++) {
		const struct held_slot *slot = &held->slots[index];

		ret_ids[i] = held_wire_id(slot, channel);
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
