/* SPDX-License-Identifier: MIT */
/*
 * The memory of hand-offs: it grows by chunks, and shrinks when the dispatch ends.
 *
 * Chunks never move, because pointers to hand-offs are everywhere.
 */
#include "dispatch-private.h"

#include <errno.h>
#include <stdlib.h>

/* The arrays have room for a power of two of chunks: when that is full, make it the next one. */
static int make_room(struct dispatch *d, uint32_t n_chunks)
{
	uint32_t n_room = n_chunks > 0 ? 2 * n_chunks : 1;
	struct handoff **chunks;
	struct dispatch_action *actions;

	if ((n_chunks & (n_chunks - 1)) != 0)
		return 0;
	chunks = reallocarray(d->chunks, n_room, sizeof(*chunks));
	if (!chunks)
		return -ENOMEM;
	d->chunks = chunks;
	actions = reallocarray(d->actions, (size_t)n_room * CHUNK_SIZE, sizeof(*actions));
	if (!actions)
		return -ENOMEM;
	d->actions = actions;
	return 0;
}

int dispatch_add_chunk(struct dispatch *d)
{
	uint32_t n_chunks = d->n_slots / CHUNK_SIZE;
	struct handoff *chunk;

	if (d->n_slots > SLOT_MASK || make_room(d, n_chunks) < 0)
		return -ENOMEM;
	chunk = calloc(CHUNK_SIZE, sizeof(*chunk));
	if (!chunk)
		return -ENOMEM;
	for (uint32_t i = 0; i < CHUNK_SIZE; i++) {
		chunk[i].id = d->first_ids | (d->n_slots + i);
		chunk[i].fd = -EBADF;
	}
	d->chunks[n_chunks] = chunk;
	d->n_slots += CHUNK_SIZE;
	return 0;
}

void dispatch_link_free(struct dispatch *d, uint32_t first)
{
	for (uint32_t i = d->n_slots; i-- > first;)
		if (slot_at(d, i)->state == HANDOFF_FREE)
			dispatch_free_handoff(d, slot_at(d, i));
}

bool dispatch_reserve(struct dispatch *d, uint64_t n)
{
	while (d->n_free < n) {
		if (dispatch_add_chunk(d) < 0)
			return false;
		dispatch_link_free(d, d->n_slots - CHUNK_SIZE);
	}
	return true;
}

void dispatch_free_slots(struct dispatch *d)
{
	for (uint32_t i = 0; i < d->n_slots / CHUNK_SIZE; i++)
		free(d->chunks[i]);
	free(d->chunks);
	free(d->actions);
}
