/* SPDX-License-Identifier: MIT */
/* SipHash-2-4: see siphash.h. The constants are those of the paper, section 2.1. */
#include "siphash.h"

#define N_ROUNDS       2 /* for each word */
#define N_FINAL_ROUNDS 4

static uint64_t load_word(const uint8_t *bytes, size_t size)
{
	uint64_t word = 0;

	for (size_t i = 0; i < size; i++)
		word |= (uint64_t)bytes[i] << (8 * i);
	return word;
}

static uint64_t rotate(uint64_t word, unsigned int n_bits)
{
	return word << n_bits | word >> (64 - n_bits);
}

static void turn(uint64_t v[4], int n_rounds)
{
	for (int i = 0; i < n_rounds; i++) {
		v[0] += v[1];
		v[2] += v[3];
		v[1] = rotate(v[1], 13) ^ v[0];
		v[3] = rotate(v[3], 16) ^ v[2];
		v[0] = rotate(v[0], 32);
		v[2] += v[1];
		v[0] += v[3];
		v[1] = rotate(v[1], 17) ^ v[2];
		v[3] = rotate(v[3], 21) ^ v[0];
		v[2] = rotate(v[2], 32);
	}
}

static void take_word(uint64_t v[4], uint64_t word)
{
	v[3] ^= word;
	turn(v, N_ROUNDS);
	v[0] ^= word;
}

uint64_t siphash_of(const uint8_t key[SIPHASH_KEY_SIZE], const void *data, size_t size)
{
	const uint8_t *bytes = data;
	uint64_t k0 = load_word(key, 8), k1 = load_word(key + 8, 8);
	uint64_t v[4] = {k0 ^ UINT64_C(0x736f6d6570736575), k1 ^ UINT64_C(0x646f72616e646f6d),
		k0 ^ UINT64_C(0x6c7967656e657261), k1 ^ UINT64_C(0x7465646279746573)};
	size_t at = 0;

	for (; size - at >= 8; at += 8)
		take_word(v, load_word(bytes + at, 8));
	take_word(v, load_word(bytes + at, size - at) | (uint64_t)size << 56);
	v[2] ^= 0xff;
	turn(v, N_FINAL_ROUNDS);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}
