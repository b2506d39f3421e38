/* SPDX-License-Identifier: MIT */
/*
 * Every message of the rendezvous protocol, and every way for it to be malformed.
 *
 * A sample is a valid message of each type, the longest one where records follow. Malformed
 * messages are samples with one field changed (a table), with another length, another sender, or
 * random bytes. Messages are checked in a heap block of exactly their size, so that a sanitizer
 * sees any over-read.
 */
#include "test.h"
#include "wire.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define N_ELEMENTS(array) (sizeof(array) / sizeof((array)[0]))

/* What usher-protocol(7) says of each type, independently of the rules in wire.c. */
static const struct type {
	uint16_t type;
	const char *name;
	enum wire_sender sender;
	size_t fixed_size, record_size, min_records, max_records;
	size_t min_fds, max_fds;
} types[] = {
	{WIRE_HELLO, "HELLO", WIRE_FROM_PROVIDER, 88, 0, 0, 0},
	{WIRE_WELCOME, "WELCOME", WIRE_FROM_USHERD, 80, 32, 0, 1024},
	{WIRE_REFUSED, "REFUSED", WIRE_FROM_USHERD, 272, 0, 0, 0},
	{WIRE_CONNECTIONS, "CONNECTIONS", WIRE_FROM_USHERD, 8, 56, 1, 16, 0, 16},
	{WIRE_LISTENERS, "LISTENERS", WIRE_FROM_USHERD, 8, 32, 0, 16, 0, 16},
	{WIRE_CLAIM, "CLAIM", WIRE_FROM_PROVIDER, 16, 0, 0, 0},
	{WIRE_RELEASE, "RELEASE", WIRE_FROM_PROVIDER, 8, 8, 1, 512},
	{WIRE_CREDIT, "CREDIT", WIRE_FROM_PROVIDER, 24, 0, 0, 0},
	{WIRE_DECLINE, "DECLINE", WIRE_FROM_PROVIDER, 24, 0, 0, 0},
	{WIRE_FORWARD, "FORWARD", WIRE_FROM_PROVIDER, 104, 1, 0, 32768, 1, 1},
	{WIRE_STATUS, "STATUS", WIRE_FROM_PROVIDER, 264, 0, 0, 0},
	{WIRE_DRAIN, "DRAIN", WIRE_FROM_PROVIDER, 8, 0, 0, 0},
	{WIRE_DRAINING, "DRAINING", WIRE_FROM_USHERD, 16, 0, 0, 0},
	{WIRE_FORWARDED, "FORWARDED", WIRE_FROM_USHERD, 136, 1, 0, 32768, 0, 1},
};

static size_t largest_size(const struct type *type)
{
	return type->fixed_size + type->max_records * type->record_size;
}

static const struct type *find_type(uint16_t number)
{
	size_t i = 0;

	while (types[i].type != number) {
		i++;
		assert_true(i < N_ELEMENTS(types));
	}
	return &types[i];
}

static const struct wire_address ipv4_sample = {
	.family = AF_INET,
	.port = 0x3412,
	.address = {192, 0, 2, 7},
};

static const struct wire_address ipv6_sample = {
	.family = AF_INET6,
	.port = 0x3412,
	.scope_id = 3,
	.address = {0xfe, 0x80, [15] = 1},
};

static void fill_welcome(struct wire_welcome *welcome, size_t n_records)
{
	welcome->version = 1;
	welcome->n_listeners = (uint32_t)n_records;
	wire_set_text(welcome->service, sizeof(welcome->service), "daytime");
	for (size_t i = 0; i < n_records; i++)
		welcome->listeners[i] = (struct wire_listener){
			.type = SOCK_STREAM,
			.address = i % 2 ? ipv4_sample : ipv6_sample,
		};
}

static void fill_listeners(struct wire_listeners *message, size_t n_records)
{
	for (size_t i = 0; i < n_records; i++)
		message->listeners[i] = (struct wire_listener){
			.type = i % 2 ? SOCK_DGRAM : SOCK_STREAM,
			.index = (uint32_t)(10 * i),
			.address = i % 2 ? ipv6_sample : ipv4_sample,
		};
}

static void fill_connections(struct wire_connections *message, size_t n_records)
{
	for (size_t i = 0; i < n_records; i++)
		message->connections[i] = (struct wire_connection){
			.sequence = 100 + i,
			.id = UINT64_C(0x1122334455667788) + i,
			.accepted_ns = UINT64_C(1763700000000000000),
			.listener = 1,
			.peer = i % 2 ? ipv6_sample : ipv4_sample,
		};
}

static void fill_forward(struct wire_forward *forward, size_t n_bytes)
{
	forward->id = 5;
	forward->peer = ipv6_sample;
	wire_set_text(forward->service, sizeof(forward->service), "mailbox");
	memset(forward->data, 'x', n_bytes);
}

static void fill_forwarded(struct wire_forwarded *forwarded, size_t n_bytes)
{
	forwarded->connection = (struct wire_connection){
		.sequence = 100,
		.id = 1,
		.listener = WIRE_NO_LISTENER,
		.peer = ipv4_sample,
	};
	forwarded->n_hops = 1;
	wire_set_text(forwarded->from, sizeof(forwarded->from), "login");
	memset(forwarded->data, 'x', n_bytes);
}

/* A valid message of that type with as many records. Returns its size. */
static size_t make_sample(const struct type *type, size_t n_records, union wire_message *ret)
{
	memset(ret, 0, sizeof(*ret));
	ret->header.type = type->type;
	switch (type->type) {
	case WIRE_HELLO:
		ret->hello.version_lowest = 1;
		ret->hello.version_highest = 3;
		ret->hello.credit = 100;
		ret->hello.weight = 2;
		ret->hello.holding = 5;
		wire_set_text(ret->hello.name, sizeof(ret->hello.name), "test-wire");
		break;
	case WIRE_WELCOME:
		fill_welcome(&ret->welcome, n_records);
		break;
	case WIRE_REFUSED:
		ret->refused.error = EACCES;
		wire_set_text(ret->refused.reason, sizeof(ret->refused.reason), "Not you.");
		break;
	case WIRE_CONNECTIONS:
		fill_connections(&ret->connections, n_records);
		break;
	case WIRE_LISTENERS:
		fill_listeners(&ret->listeners, n_records);
		break;
	case WIRE_CLAIM:
		ret->claim.sequence = 7;
		break;
	case WIRE_RELEASE:
		for (size_t i = 0; i < n_records; i++)
			ret->release.ids[i] = i;
		break;
	case WIRE_CREDIT:
		ret->credit.sequence = 7;
		ret->credit.credit = -3;
		break;
	case WIRE_DECLINE:
		ret->decline.first = 8;
		ret->decline.last = 9;
		break;
	case WIRE_FORWARD:
		fill_forward(&ret->forward, n_records);
		break;
	case WIRE_STATUS:
		wire_set_text(ret->status.text, sizeof(ret->status.text), "3 jobs, 2 à faire");
		break;
	case WIRE_DRAINING:
		ret->draining.reason = WIRE_DRAINING_REPLACED;
		break;
	case WIRE_FORWARDED:
		fill_forwarded(&ret->forwarded, n_records);
		break;
	default: /* DRAIN is nothing but its header. */
		break;
	}
	return type->fixed_size + n_records * type->record_size;
}

/* wire_check() on a copy of exactly `size` bytes. Returns NULL if it is accepted, else the reason.
 */
static const char *check_exactly(
	const union wire_message *message, size_t size, size_t n_fds, enum wire_sender sender)
{
	void *copy = malloc(size > 0 ? size : 1);
	const char *why = NULL;
	int r;

	assert_non_null(copy);
	memcpy(copy, message, size);
	r = wire_check(copy, size, n_fds, sender, &why);
	free(copy);
	assert_int_equal(r, why ? -EBADMSG : 0);
	return why;
}

/* Fail, naming the case, unless the reason is the expected one (NULL: accepted). */
static void assert_verdict(const char *case_name, const char *why, const char *expected)
{
	if (!why && !expected)
		return;
	if (!why || !expected || strcmp(why, expected) != 0)
		fail_msg("%s: %s, expected: %s", case_name, why ? why : "accepted",
			expected ? expected : "accepted");
}

static union wire_message sample; /* too large for a stack frame's taste */

/* The first `size` bytes of the sample, sent by whom and with what they should be. */
static const char *check_sample(const struct type *type, size_t size)
{
	return check_exactly(&sample, size, type->min_fds, type->sender);
}

static void test_every_sample_is_accepted(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(types); i++)
		for (size_t n = types[i].min_records; n <= types[i].max_records; n++) {
			size_t size = make_sample(&types[i], n, &sample);

			assert_verdict(types[i].name, check_sample(&types[i], size), NULL);
			assert_int_equal(wire_n_records(&sample, size), n);
		}
}

static void test_every_other_length_is_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(types); i++) {
		const struct type *t = &types[i];
		size_t most = largest_size(t) + 2 * t->record_size + 1;

		make_sample(t, t->max_records, &sample);
		for (size_t size = 0; size <= most && size <= sizeof(sample); size++) {
			const char *expected = "the length of the message does not fit its type";
			bool is_whole =
				t->record_size == 0
					? size == t->fixed_size
					: size >= t->fixed_size + t->min_records * t->record_size &&
						  size <= largest_size(t) &&
						  (size - t->fixed_size) % t->record_size == 0;

			if (size < 8)
				expected = "the message is shorter than a header";
			else if (is_whole && t->type == WIRE_WELCOME && size != largest_size(t))
				expected = "the number of listeners does not fit the length";
			else if (is_whole)
				expected = NULL;
			assert_verdict(t->name, check_sample(t, size), expected);
		}
	}
}

static void test_one_record_too_many_is_refused(void **state)
{
	union wire_message *larger = malloc(sizeof(*larger) + sizeof(struct wire_listener));

	(void)state;
	assert_non_null(larger);
	for (size_t i = 0; i < N_ELEMENTS(types); i++) {
		const struct type *t = &types[i];
		size_t size = make_sample(t, t->max_records, &sample);
		const char *why = NULL;

		if (t->record_size == 0)
			continue;
		if (t->type == WIRE_WELCOME)
			sample.welcome.n_listeners++;
		memcpy(larger, &sample, size);
		memcpy(larger->bytes + size, sample.bytes + t->fixed_size, t->record_size);
		assert_int_equal(
			wire_check(larger, size + t->record_size, t->min_fds, t->sender, &why),
			-EBADMSG);
		assert_verdict(t->name, why, "the length of the message does not fit its type");
	}
	free(larger);
}

static void test_the_wrong_sender_is_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(types); i++) {
		size_t size = make_sample(&types[i], types[i].max_records, &sample);
		enum wire_sender other =
			types[i].sender == WIRE_FROM_USHERD ? WIRE_FROM_PROVIDER : WIRE_FROM_USHERD;

		assert_verdict(types[i].name, check_exactly(&sample, size, types[i].min_fds, other),
			"only the other side sends messages of this type");
	}
}

static void test_unknown_types_are_refused(void **state)
{
	(void)state;
	for (uint32_t number = 0; number <= UINT16_MAX; number++) {
		bool is_known = strcmp(wire_type_name((uint16_t)number), "unknown") != 0;

		memset(&sample, 0, sizeof(sample));
		sample.header.type = (uint16_t)number;
		if (is_known)
			assert_string_equal(wire_type_name((uint16_t)number),
				find_type((uint16_t)number)->name);
		else
			assert_verdict("unknown type",
				check_exactly(&sample, 8, 0, WIRE_FROM_PROVIDER),
				"the type of the message is unknown");
	}
}

static void test_each_type_carries_its_descriptors_and_no_others(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(types); i++) {
		size_t size = make_sample(&types[i], types[i].max_records, &sample);

		for (size_t n_fds = 0; n_fds <= 17; n_fds++) {
			const char *expected = NULL;

			if (n_fds < types[i].min_fds)
				expected = "the message lacks its descriptor";
			else if (n_fds > types[i].max_fds)
				expected = "the message carries more descriptors than it may";
			assert_verdict(types[i].name,
				check_exactly(&sample, size, n_fds, types[i].sender), expected);
		}
	}
}

static void test_more_descriptors_than_records_are_refused(void **state)
{
	(void)state;
	for (size_t i = 1; i < 32; i++) {
		uint16_t type = i < 16 ? WIRE_CONNECTIONS : WIRE_LISTENERS;
		size_t n = i % 16, size = make_sample(find_type(type), n, &sample);

		assert_verdict("as many", check_exactly(&sample, size, n, WIRE_FROM_USHERD), NULL);
		assert_verdict("one more", check_exactly(&sample, size, n + 1, WIRE_FROM_USHERD),
			"the message carries more descriptors than it may");
	}
}

/* A member of the largest sample, by its name in union wire_message: where it is, how wide it is.
 */
#define AT(member)                                                                                 \
	offsetof(union wire_message, member), sizeof(((union wire_message *)NULL)->member)

#define RESERVED       "a reserved field is not zero"
#define CREDIT_RANGE   "the credit is out of range"
#define NOT_TERMINATED "a text is not terminated"
#define DIRTY_TAIL     "a text is followed by other bytes than zeros"
#define DIRTY_IPV4     "an IPv4 address is followed by other bytes than zeros"
#define OTHER_FAMILY   "an address of another family than IPv4 and IPv6 has more than its family"

/* One field of a sample set to `value`, and what is said of it (NULL: accepted). */
static const struct mutation {
	const char *name;
	uint16_t type;
	size_t offset, width;
	int64_t value;
	const char *expected;
} mutations[] = {
	{"lowest version 0", WIRE_HELLO, AT(hello.version_lowest), 0,
		"the range of versions is empty or begins with 0"},
	{"versions backwards", WIRE_HELLO, AT(hello.version_lowest), 4,
		"the range of versions is empty or begins with 0"},
	{"one version", WIRE_HELLO, AT(hello.version_lowest), 3, NULL},
	{"versions to come", WIRE_HELLO, AT(hello.version_highest), UINT16_MAX, NULL},
	{"credit below 0", WIRE_HELLO, AT(hello.credit), -1, CREDIT_RANGE},
	{"least credit", WIRE_HELLO, AT(hello.credit), 0, NULL},
	{"most credit", WIRE_HELLO, AT(hello.credit), 1048576, NULL},
	{"too much credit", WIRE_HELLO, AT(hello.credit), 1048577, CREDIT_RANGE},
	{"weight 0", WIRE_HELLO, AT(hello.weight), 0, "the weight is out of range"},
	{"most weight", WIRE_HELLO, AT(hello.weight), 1000, NULL},
	{"too much weight", WIRE_HELLO, AT(hello.weight), 1001, "the weight is out of range"},
	{"most held", WIRE_HELLO, AT(hello.holding), 1048576, NULL},
	{"too many held", WIRE_HELLO, AT(hello.holding), 1048577,
		"the number of connections held is out of range"},
	{"standby", WIRE_HELLO, AT(header.flags), 1, NULL},
	{"takes listeners", WIRE_HELLO, AT(header.flags), 2, NULL},
	{"standby that takes listeners", WIRE_HELLO, AT(header.flags), 3, NULL},
	{"unknown flag", WIRE_HELLO, AT(header.flags), 4, RESERVED},
	{"standby and an unknown flag", WIRE_HELLO, AT(header.flags), 5, RESERVED},
	{"empty name", WIRE_HELLO, AT(hello.name), 0, NULL},
	{"bell in the name", WIRE_HELLO, AT(hello.name[0]), 7,
		"a text has control characters or is not UTF-8"},
	{"dirt after the name", WIRE_HELLO, AT(hello.name[62]), 'x', DIRTY_TAIL},

	{"version 0", WIRE_WELCOME, AT(welcome.version), 0,
		"the version chosen is not spoken here"},
	{"version 2", WIRE_WELCOME, AT(welcome.version), 2,
		"the version chosen is not spoken here"},
	{"may forward", WIRE_WELCOME, AT(welcome.flags), 1, NULL},
	{"unknown flag after the version", WIRE_WELCOME, AT(welcome.flags), 2, RESERVED},
	{"flag of the header", WIRE_WELCOME, AT(header.flags), 1, RESERVED},
	{"one listener less", WIRE_WELCOME, AT(welcome.n_listeners), 1023,
		"the number of listeners does not fit the length"},
	{"one listener more", WIRE_WELCOME, AT(welcome.n_listeners), 1025,
		"the number of listeners does not fit the length"},
	{"very many listeners", WIRE_WELCOME, AT(welcome.n_listeners), -1,
		"the number of listeners does not fit the length"},
	{"no service name", WIRE_WELCOME, AT(welcome.service[0]), 0, "the service has no name"},
	{"dirt after the service name", WIRE_WELCOME, AT(welcome.service[63]), 'x', DIRTY_TAIL},
	{"listener of type 0", WIRE_WELCOME, AT(welcome.listeners[0].type), 0,
		"the type of a listener is unknown"},
	{"listener of datagrams", WIRE_WELCOME, AT(welcome.listeners[0].type), SOCK_DGRAM, NULL},
	{"listener of packets", WIRE_WELCOME, AT(welcome.listeners[0].type), SOCK_SEQPACKET, NULL},
	{"listener with socket flags", WIRE_WELCOME, AT(welcome.listeners[1023].type),
		SOCK_STREAM | SOCK_CLOEXEC, "the type of a listener is unknown"},
	{"reserved in the first listener", WIRE_WELCOME, AT(welcome.listeners[0].index), 1,
		RESERVED},
	{"reserved in the last listener", WIRE_WELCOME, AT(welcome.listeners[1023].index), 1,
		RESERVED},
	{"address of the last listener", WIRE_WELCOME,
		AT(welcome.listeners[1023].address.address[15]), 1, DIRTY_IPV4},

	{"error 0", WIRE_REFUSED, AT(refused.error), 0, "the error is out of range"},
	{"largest error", WIRE_REFUSED, AT(refused.error), 4095, NULL},
	{"error too large", WIRE_REFUSED, AT(refused.error), 4096, "the error is out of range"},
	{"negative error", WIRE_REFUSED, AT(refused.error), -EACCES, "the error is out of range"},
	{"reserved after the error", WIRE_REFUSED, AT(refused.reserved), 1, RESERVED},
	{"dirt after the reason", WIRE_REFUSED, AT(refused.reason[255]), 'x', DIRTY_TAIL},

	{"sequence 0", WIRE_CONNECTIONS, AT(connections.connections[0].sequence), 0,
		"a sequence is 0"},
	{"gap after the first", WIRE_CONNECTIONS, AT(connections.connections[0].sequence), 99,
		"the sequences of the connections have a gap"},
	{"sequence again", WIRE_CONNECTIONS, AT(connections.connections[15].sequence), 114,
		"the sequences of the connections have a gap"},
	{"sequences wrap", WIRE_CONNECTIONS, AT(connections.connections[0].sequence), -1,
		"the sequences of the connections have a gap"},
	{"id 0", WIRE_CONNECTIONS, AT(connections.connections[15].id), 0,
		"a connection has the id 0"},
	{"long ago", WIRE_CONNECTIONS, AT(connections.connections[0].accepted_ns), 0, NULL},
	{"last listener", WIRE_CONNECTIONS, AT(connections.connections[0].listener), 1023, NULL},
	{"listener too large", WIRE_CONNECTIONS, AT(connections.connections[0].listener), 1024,
		"the listener of a connection is out of range"},
	{"listener that is no more", WIRE_CONNECTIONS, AT(connections.connections[0].listener),
		UINT32_MAX, NULL},
	{"listener before that", WIRE_CONNECTIONS, AT(connections.connections[15].listener),
		UINT32_MAX - 1, "the listener of a connection is out of range"},
	{"reserved in the first connection", WIRE_CONNECTIONS,
		AT(connections.connections[0].reserved), 1, RESERVED},
	{"reserved in the last connection", WIRE_CONNECTIONS,
		AT(connections.connections[15].reserved), 1, RESERVED},
	{"scope of an IPv4 address", WIRE_CONNECTIONS, AT(connections.connections[0].peer.scope_id),
		1, DIRTY_IPV4},
	{"fifth byte of an IPv4 address", WIRE_CONNECTIONS,
		AT(connections.connections[0].peer.address[4]), 1, DIRTY_IPV4},
	{"last byte of an IPv4 address", WIRE_CONNECTIONS,
		AT(connections.connections[0].peer.address[15]), 1, DIRTY_IPV4},
	{"port of a unix socket", WIRE_CONNECTIONS, AT(connections.connections[0].peer.family),
		AF_UNIX, OTHER_FAMILY},
	{"unknown family", WIRE_CONNECTIONS, AT(connections.connections[15].peer.family), 0,
		OTHER_FAMILY},

	{"more listeners", WIRE_LISTENERS, AT(header.flags), 1, NULL},
	{"listeners that are followed", WIRE_LISTENERS, AT(header.flags), 3, NULL},
	{"unknown flag of listeners", WIRE_LISTENERS, AT(header.flags), 4, RESERVED},
	{"lent of type 0", WIRE_LISTENERS, AT(listeners.listeners[0].type), 0,
		"the type of a listener is unknown"},
	{"lent packets", WIRE_LISTENERS, AT(listeners.listeners[0].type), SOCK_SEQPACKET, NULL},
	{"last index", WIRE_LISTENERS, AT(listeners.listeners[15].index), 1023, NULL},
	{"index too large", WIRE_LISTENERS, AT(listeners.listeners[15].index), 1024,
		"the index of a listener is out of range"},
	{"index again", WIRE_LISTENERS, AT(listeners.listeners[15].index), 140,
		"the listeners are not in the order of their indices"},
	{"indices backwards", WIRE_LISTENERS, AT(listeners.listeners[1].index), 21,
		"the listeners are not in the order of their indices"},
	{"address of the last lent one", WIRE_LISTENERS,
		AT(listeners.listeners[14].address.address[15]), 1, DIRTY_IPV4},

	{"claim of 0", WIRE_CLAIM, AT(claim.sequence), 0, "a sequence is 0"},
	{"largest claim", WIRE_CLAIM, AT(claim.sequence), -1, NULL},

	{"credit from the beginning", WIRE_CREDIT, AT(credit.sequence), 0, NULL},
	{"most negative credit", WIRE_CREDIT, AT(credit.credit), -1048576, NULL},
	{"too negative credit", WIRE_CREDIT, AT(credit.credit), -1048577, CREDIT_RANGE},
	{"smallest integer", WIRE_CREDIT, AT(credit.credit), INT32_MIN, CREDIT_RANGE},
	{"most credit", WIRE_CREDIT, AT(credit.credit), 1048576, NULL},
	{"too much credit", WIRE_CREDIT, AT(credit.credit), 1048577, CREDIT_RANGE},
	{"reserved after the credit", WIRE_CREDIT, AT(credit.reserved), 1, RESERVED},

	{"decline from 0", WIRE_DECLINE, AT(decline.first), 0, "a sequence is 0"},
	{"decline of one", WIRE_DECLINE, AT(decline.first), 9, NULL},
	{"decline backwards", WIRE_DECLINE, AT(decline.first), 10,
		"the range of sequences is empty"},

	{"one of those held before", WIRE_FORWARD, AT(forward.id), 0, NULL},
	{"back to the own service", WIRE_FORWARD, AT(forward.service), 0, NULL},
	{"escape in the service", WIRE_FORWARD, AT(forward.service[0]), 0x1b,
		"a text has control characters or is not UTF-8"},
	{"dirt after the service", WIRE_FORWARD, AT(forward.service[63]), 'x', DIRTY_TAIL},
	{"peer as it was", WIRE_FORWARD, AT(forward.peer), 0, NULL},
	{"peer of no family with a port", WIRE_FORWARD, AT(forward.peer.family), 0, OTHER_FAMILY},
	{"any byte", WIRE_FORWARD, AT(forward.data[0]), 0xff, NULL},

	{"asked for", WIRE_DRAINING, AT(draining.reason), 0, NULL},
	{"last reason", WIRE_DRAINING, AT(draining.reason), 3, NULL},
	{"unknown reason", WIRE_DRAINING, AT(draining.reason), 4,
		"the reason of draining is out of range"},
	{"reserved after the reason", WIRE_DRAINING, AT(draining.reserved), 1, RESERVED},

	{"sequence 0 of a forwarded one", WIRE_FORWARDED, AT(forwarded.connection.sequence), 0,
		"a sequence is 0"},
	{"last sequence", WIRE_FORWARDED, AT(forwarded.connection.sequence), -1, NULL},
	{"id 0 of a forwarded one", WIRE_FORWARDED, AT(forwarded.connection.id), 0,
		"a connection has the id 0"},
	{"peer of a forwarded one", WIRE_FORWARDED, AT(forwarded.connection.peer.address[15]), 1,
		DIRTY_IPV4},
	{"forwarded by nobody", WIRE_FORWARDED, AT(forwarded.from[0]), 0,
		"the service that forwarded a connection has no name"},
	{"dirt after the forwarder", WIRE_FORWARDED, AT(forwarded.from[63]), 'x', DIRTY_TAIL},
	{"no hop", WIRE_FORWARDED, AT(forwarded.n_hops), 0, "a connection was forwarded 0 times"},
	{"many hops", WIRE_FORWARDED, AT(forwarded.n_hops), -1, NULL},
	{"reserved after the hops", WIRE_FORWARDED, AT(forwarded.reserved), 1, RESERVED},
	{"any byte of a forwarded one", WIRE_FORWARDED, AT(forwarded.data[32767]), 0xff, NULL},

	{"line break in the status", WIRE_STATUS, AT(status.text[0]), '\n',
		"a text has control characters or is not UTF-8"},
	{"dirt after the status", WIRE_STATUS, AT(status.text[255]), 'x', DIRTY_TAIL},
};

static void test_every_field_out_of_its_range_is_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(mutations); i++) {
		const struct mutation *m = &mutations[i];
		const struct type *type = find_type(m->type);
		size_t size = make_sample(type, type->max_records, &sample);

		/* Little or big endian: the value is written as an integer of the field's width. */
		if (m->width == 8)
			memcpy(sample.bytes + m->offset, &m->value, 8);
		else if (m->width == 4)
			memcpy(sample.bytes + m->offset, &(uint32_t){(uint32_t)m->value}, 4);
		else if (m->width == 2)
			memcpy(sample.bytes + m->offset, &(uint16_t){(uint16_t)m->value}, 2);
		else
			memset(sample.bytes + m->offset, (uint8_t)m->value, m->width);
		assert_verdict(m->name, check_sample(type, size), m->expected);
	}
}

static void test_flags_and_reserved_of_every_header_are_checked(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(types); i++)
		for (size_t at = 2; at < 8; at++) {
			size_t size = make_sample(&types[i], types[i].max_records, &sample);

			sample.bytes[at] = 0x80;
			assert_verdict(types[i].name, check_sample(&types[i], size), RESERVED);
		}
}

static void test_sequences_may_not_wrap(void **state)
{
	size_t size = make_sample(find_type(WIRE_CONNECTIONS), 2, &sample);

	(void)state;
	sample.connections.connections[0].sequence = UINT64_MAX;
	sample.connections.connections[1].sequence = 0;
	assert_verdict(
		"wrap", check_exactly(&sample, size, 0, WIRE_FROM_USHERD), "a sequence is 0");
}

static void test_ipv4_mapped_address_is_refused(void **state)
{
	size_t size = make_sample(find_type(WIRE_CONNECTIONS), 1, &sample);
	struct wire_address *peer = &sample.connections.connections[0].peer;

	(void)state;
	*peer = (struct wire_address){
		.family = AF_INET6, .address = {[10] = 0xff, 0xff, 192, 0, 2, 7}};
	assert_verdict("mapped", check_exactly(&sample, size, 0, WIRE_FROM_USHERD),
		"an IPv4 address is written as IPv6");
}

static void test_other_families_are_nothing_but_their_family(void **state)
{
	size_t size = make_sample(find_type(WIRE_CONNECTIONS), 1, &sample);
	struct wire_address *peer = &sample.connections.connections[0].peer;

	(void)state;
	*peer = (struct wire_address){.family = AF_UNIX};
	assert_verdict("clean", check_exactly(&sample, size, 0, WIRE_FROM_USHERD), NULL);
	for (size_t at = 2; at < sizeof(*peer); at++) {
		*peer = (struct wire_address){.family = AF_UNIX};
		((uint8_t *)peer)[at] = 1;
		assert_verdict(
			"dirty", check_exactly(&sample, size, 0, WIRE_FROM_USHERD), OTHER_FAMILY);
	}
}

static void test_text_may_fill_its_field_but_for_the_nul(void **state)
{
	const struct {
		uint16_t type;
		size_t offset, width;
	} fields[] = {
		{WIRE_HELLO, AT(hello.name)},
		{WIRE_WELCOME, AT(welcome.service)},
		{WIRE_REFUSED, AT(refused.reason)},
		{WIRE_FORWARD, AT(forward.service)},
		{WIRE_FORWARDED, AT(forwarded.from)},
		{WIRE_STATUS, AT(status.text)},
	};

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(fields); i++) {
		const struct type *type = find_type(fields[i].type);
		size_t size = make_sample(type, type->max_records, &sample);

		memset(sample.bytes + fields[i].offset, 'x', fields[i].width - 1);
		assert_verdict(type->name, check_sample(type, size), NULL);
		sample.bytes[fields[i].offset + fields[i].width - 1] = 'x';
		assert_verdict(type->name, check_sample(type, size), NOT_TERMINATED);
	}
}

/* The pseudo-random numbers are the same in every run (Marsaglia's xorshift64). */
static uint64_t random_state = UINT64_C(0x9e3779b97f4a7c15);

static uint64_t next_random(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

/* Sum every byte of what an accepted message promises: a sanitizer objects if one is not there. */
static uint64_t read_all(const union wire_message *message, size_t size)
{
	const struct type *type = find_type(message->header.type);
	size_t promised = type->fixed_size + wire_n_records(message, size) * type->record_size;
	uint64_t sum = 0;

	for (size_t i = 0; i < promised; i++)
		sum += message->bytes[i];
	return sum;
}

static void fuzz_once(void)
{
	const struct type *type = &types[next_random() % N_ELEMENTS(types)];
	size_t n_records = next_random() % (type->max_records + 1);
	size_t size = make_sample(type, n_records, &sample);
	uint64_t n_changes = next_random() % 4;
	union wire_message *copy;
	const char *why = NULL;

	for (uint64_t i = 0; i < n_changes; i++)
		sample.bytes[next_random() % size] = (uint8_t)next_random();
	if (next_random() % 4 == 0)
		size = next_random() % (size + 1);
	copy = malloc(size > 0 ? size : 1);
	assert_non_null(copy);
	memcpy(copy, &sample, size);
	if (wire_check(copy, size, type->min_fds, type->sender, &why) == 0)
		assert_int_not_equal(read_all(copy, size), 0);
	else
		assert_non_null(why);
	free(copy);
}

static void test_random_messages_are_never_read_beyond_their_end(void **state)
{
	(void)state;
	for (int i = 0; i < 20000; i++)
		fuzz_once();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_test(test_every_sample_is_accepted),
		check_test(test_every_other_length_is_refused),
		check_test(test_one_record_too_many_is_refused),
		check_test(test_the_wrong_sender_is_refused),
		check_test(test_unknown_types_are_refused),
		check_test(test_each_type_carries_its_descriptors_and_no_others),
		check_test(test_more_descriptors_than_records_are_refused),
		check_test(test_every_field_out_of_its_range_is_refused),
		check_test(test_flags_and_reserved_of_every_header_are_checked),
		check_test(test_sequences_may_not_wrap),
		check_test(test_ipv4_mapped_address_is_refused),
		check_test(test_other_families_are_nothing_but_their_family),
		check_test(test_text_may_fill_its_field_but_for_the_nul),
		check_test(test_random_messages_are_never_read_beyond_their_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
