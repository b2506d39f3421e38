/* SPDX-License-Identifier: MIT */
/*
 * SipHash-2-4 (Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012): a hash under a
 * key, so that who does not know the key can neither foresee nor undo it.
 *
 * Pure: the key is the caller's.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define SIPHASH_KEY_SIZE 16

/* The hash of `size` bytes of `data`. */
uint64_t siphash_of(const uint8_t key[SIPHASH_KEY_SIZE], const void *data, size_t size);
