/* SPDX-License-Identifier: MIT */
/*
 * Whatever arrives on a channel, of either side: wire_check() reads nothing beyond it, and what it
 * accepts can be read through its struct. libFuzzer calls this.
 *
 * An input is one byte that says who sent the message and with how many descriptors, and the
 * message. Those with many fields that must be right are not found by chance: the fuzzer is given
 * one of each to begin with.
 */
#include "wire.h"

#include <stdlib.h>
#include <string.h>

#define N_ELEMENTS(array)	  (sizeof(array) / sizeof((array)[0]))
#define FIRST_BYTE(sender, n_fds) ((uint8_t)((n_fds) << 1 | ((sender) == WIRE_FROM_USHERD)))

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed);

static const struct wire_hello hello = {
	.header.type = WIRE_HELLO,
	.version_lowest = 1,
	.version_highest = 1,
	.credit = 16,
	.weight = 1,
	.name = "fuzz",
};

static const struct {
	struct wire_header header;
	uint16_t version, flags;
	uint32_t n_listeners;
	char service[WIRE_NAME_SIZE];
	struct wire_listener listener;
} welcome = {
	.header.type = WIRE_WELCOME,
	.version = 1,
	.n_listeners = 1,
	.service = "echo",
	.listener = {.type = SOCK_STREAM, .address = {.family = AF_INET, .port = 7}},
};

static const struct wire_refused refused = {
	.header.type = WIRE_REFUSED,
	.error = 13,
	.reason = "no",
};

static const struct {
	struct wire_header header;
	struct wire_connection connections[2];
} connections = {
	.header.type = WIRE_CONNECTIONS,
	.connections =
		{
			{.sequence = 1, .id = 1, .peer.family = AF_INET},
			{.sequence = 2, .id = 2, .peer.family = AF_INET6},
		},
};

static const struct {
	struct wire_header header;
	struct wire_listener listeners[2];
} listeners = {
	.header.type = WIRE_LISTENERS,
	.listeners =
		{
			{.type = SOCK_DGRAM, .address.family = AF_INET},
			{.type = SOCK_STREAM, .index = 1, .address.family = AF_INET6},
		},
};

static const struct wire_forward forward = {
	.header.type = WIRE_FORWARD,
	.id = 1,
	.service = "mailbox",
};

static const struct wire_forwarded forwarded = {
	.header.type = WIRE_FORWARDED,
	.connection = {.sequence = 1, .id = 1, .listener = WIRE_NO_LISTENER},
	.from = "login",
	.n_hops = 1,
};

static const struct {
	uint8_t first;
	size_t size;
	const void *message;
} samples[] = {
	{FIRST_BYTE(WIRE_FROM_PROVIDER, 0), sizeof(hello), &hello},
	{FIRST_BYTE(WIRE_FROM_USHERD, 0), sizeof(welcome), &welcome},
	{FIRST_BYTE(WIRE_FROM_USHERD, 0), sizeof(refused), &refused},
	{FIRST_BYTE(WIRE_FROM_USHERD, 2), sizeof(connections), &connections},
	{FIRST_BYTE(WIRE_FROM_USHERD, 2), sizeof(listeners), &listeners},
	{FIRST_BYTE(WIRE_FROM_PROVIDER, 1), sizeof(forward), &forward},
	{FIRST_BYTE(WIRE_FROM_USHERD, 1), sizeof(forwarded), &forwarded},
};

/* One of sixteen inputs is not made of an earlier one, but of a sample. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed)
{
	size_t i = seed / 16 % N_ELEMENTS(samples);

	if (seed % 16 == 0 && samples[i].size < max_size) {
		data[0] = samples[i].first;
		memcpy(data + 1, samples[i].message, samples[i].size);
		size = 1 + samples[i].size;
	}
	return LLVMFuzzerMutate(data, size, max_size);
}

/* Touch every record, so that the sanitizer sees a length that is wrong. */
static uint64_t read_records(const union wire_message *message, size_t size)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < wire_n_records(message, size); i++) {
		switch (message->header.type) {
		case WIRE_WELCOME:
			sum += message->welcome.listeners[i].address.port;
			break;
		case WIRE_CONNECTIONS:
			sum += message->connections.connections[i].peer.port;
			break;
		case WIRE_LISTENERS:
			sum += message->listeners.listeners[i].address.port;
			break;
		case WIRE_FORWARDED:
			sum += message->forwarded.data[i];
			break;
		case WIRE_RELEASE:
			sum += message->release.ids[i];
			break;
		case WIRE_FORWARD:
			sum += message->forward.data[i];
			break;
		default:
			__builtin_trap(); /* other types have no records */
		}
	}
	return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	union wire_message *message;
	const char *why;
	volatile uint64_t sum = 0;

	if (size < sizeof(struct wire_header) + 1 || size - 1 > sizeof(*message))
		return 0;
	message = malloc(size - 1); /* exactly: one byte more is found out */
	if (!message)
		return 0;
	memcpy(message, data + 1, size - 1);
	if (wire_check(message, size - 1, data[0] >> 1,
		    data[0] & 1 ? WIRE_FROM_USHERD : WIRE_FROM_PROVIDER, &why) >= 0)
		sum = sum + read_records(message, size - 1);
	free(message);
	return 0;
}
