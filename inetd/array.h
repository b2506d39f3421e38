/* SPDX-License-Identifier: MIT */
/*
 * Arrays that grow at their end, as a pointer to the first element and a count: the room is not
 * written down anywhere, because it is always the next power of two.
 *
 * It knows nothing of what the elements own.
 *
 * Invariant: an array that only array_add() has made longer has room for as many elements as the
 * next power of two of its count says. It may become shorter by counting less.
 */
#pragma once

#include <stddef.h>

/*
 * Make room for one more element of `element_size` bytes. `array` is the address of the pointer to
 * the first one, which is from malloc(3), or NULL while *n is 0. Returns the new element, zeroed,
 * and counts it in *n; or NULL without memory, when nothing has changed.
 */
void *array_add(void *array, size_t *n, size_t element_size);
