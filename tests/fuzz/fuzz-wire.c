/* SPDX-License-Identifier: MIT */
/* Whatever arrives on a channel, of either side: wire_check() reads nothing beyond it, and what it
 * accepts can be read through its struct. libFuzzer calls this. */
#include "wire.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Touch every record, so that the sanitizer sees a length that is wrong. */
static uint64_t read_records(const union wire_message *message, size_t size)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < wire_n_records(message, size); i++) {
		if (message->header.type == WIRE_RELEASE)
			sum += message->release.ids[i];
		else if (message->header.type == WIRE_WELCOME)
			sum += message->welcome.listeners[i].address.port;
		else
			sum += message->connections.connections[i].peer.port;
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
