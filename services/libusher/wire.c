/* SPDX-License-Identifier: MIT */
/*
 * What a well-formed message is. See wire.h for the contract and usher-protocol(7) for the reasons.
 *
 * The rules are a table with one row for each type; the functions it names look at single fields
 * and return NULL or the sentence for the log. Nothing here keeps state.
 */
#include "wire.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

/* The layout is a promise to programs in other languages: usher-protocol(7) has these numbers. */
_Static_assert(sizeof(struct wire_header) == 8, "header");
_Static_assert(sizeof(struct wire_address) == 24, "address");
_Static_assert(sizeof(struct wire_hello) == 88, "HELLO");
_Static_assert(sizeof(struct wire_listener) == 32, "record of WELCOME");
_Static_assert(sizeof(struct wire_welcome) == 80, "WELCOME");
_Static_assert(sizeof(struct wire_refused) == 272, "REFUSED");
_Static_assert(sizeof(struct wire_connection) == 56, "record of CONNECTIONS");
_Static_assert(sizeof(struct wire_connections) == 8, "CONNECTIONS");
_Static_assert(sizeof(struct wire_listeners) == 8, "LISTENERS");
_Static_assert(sizeof(struct wire_claim) == 16, "CLAIM");
_Static_assert(sizeof(struct wire_release) == 8, "RELEASE");
_Static_assert(sizeof(struct wire_credit) == 24, "CREDIT");
_Static_assert(sizeof(struct wire_decline) == 24, "DECLINE");
_Static_assert(sizeof(struct wire_status) == 264, "STATUS");
_Static_assert(sizeof(struct wire_drain) == 8, "DRAIN");
_Static_assert(sizeof(struct wire_draining) == 16, "DRAINING");
_Static_assert(sizeof(struct wire_forward) == 104, "FORWARD");
_Static_assert(sizeof(struct wire_forwarded) == 136, "FORWARDED");

/* The longest messages of each side. */
_Static_assert(WIRE_MAX_FROM_PROVIDER >= sizeof(struct wire_release) + WIRE_MAX_RELEASES * 8,
	"FORWARD is longer than RELEASE");
_Static_assert(WIRE_MAX_FROM_USHERD >= sizeof(struct wire_welcome) +
					       WIRE_MAX_LISTENERS * sizeof(struct wire_listener),
	"FORWARDED is longer than WELCOME");
_Static_assert(WIRE_MAX_FROM_USHERD >= WIRE_MAX_FROM_PROVIDER, "union wire_message has room");

static const char reserved_not_zero[] = "a reserved field is not zero";
static const char sequence_is_zero[] = "a sequence is 0";

size_t wire_character_length(const char *text)
{
	static const uint32_t lowest[] = {[2] = 0xa0, [3] = 0x800, [4] = 0x10000};
	const uint8_t first = (uint8_t)text[0];
	size_t length;
	uint32_t code;

	if (first < 0x80)
		return first >= 0x20 && first != 0x7f;
	if (first < 0xc0 || first >= 0xf8)
		return 0;
	length = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
	code = first & (0xffu >> (length + 1));
	for (size_t i = 1; i < length; i++) {
		if (((uint8_t)text[i] & 0xc0) != 0x80)
			return 0;
		code = code << 6 | ((uint8_t)text[i] & 0x3f);
	}
	if (code < lowest[length] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff))
		return 0;
	return length;
}

static bool is_zero(const void *bytes, size_t size)
{
	const uint8_t *at = bytes;

	for (size_t i = 0; i < size; i++)
		if (at[i] != 0)
			return false;
	return true;
}

static const char *check_text(const char *field, size_t size)
{
	size_t length = strnlen(field, size);

	if (length == size)
		return "a text is not terminated";
	if (!is_zero(field + length, size - length))
		return "a text is followed by other bytes than zeros";
	for (size_t at = 0, n; at < length; at += n) {
		n = wire_character_length(field + at);
		if (n == 0)
			return "a text has control characters or is not UTF-8";
	}
	return NULL;
}

static const char *check_address(const struct wire_address *address)
{
	switch (address->family) {
	case AF_INET:
		if (address->scope_id != 0 || !is_zero(address->address + 4, 12))
			return "an IPv4 address is followed by other bytes than zeros";
		return NULL;
	case AF_INET6:
		if (IN6_IS_ADDR_V4MAPPED((const struct in6_addr *)(const void *)address->address))
			return "an IPv4 address is written as IPv6";
		return NULL;
	default:
		if (!is_zero(&address->port, sizeof(*address) - sizeof(address->family)))
			return "an address of another family than IPv4 and IPv6 has more than its "
			       "family";
		return NULL;
	}
}

static bool is_socket_type(uint32_t type)
{
	return type == SOCK_STREAM || type == SOCK_DGRAM || type == SOCK_SEQPACKET;
}

static const char *check_hello(const union wire_message *message)
{
	const struct wire_hello *hello = &message->hello;

	if (hello->version_lowest == 0 || hello->version_lowest > hello->version_highest)
		return "the range of versions is empty or begins with 0";
	if (hello->credit < 0 || hello->credit > WIRE_MAX_CREDIT)
		return "the credit is out of range";
	if (hello->weight == 0 || hello->weight > WIRE_MAX_WEIGHT)
		return "the weight is out of range";
	if (hello->holding > WIRE_MAX_CREDIT)
		return "the number of connections held is out of range";
	return check_text(hello->name, sizeof(hello->name));
}

static const char *check_welcome(const union wire_message *message)
{
	const struct wire_welcome *welcome = &message->welcome;

	if (welcome->version != WIRE_VERSION)
		return "the version chosen is not spoken here";
	if ((welcome->flags & ~WIRE_WELCOME_MAY_FORWARD) != 0)
		return reserved_not_zero;
	if (welcome->service[0] == '\0')
		return "the service has no name";
	return check_text(welcome->service, sizeof(welcome->service));
}

static const char *check_listener(const struct wire_listener *listener)
{
	if (!is_socket_type(listener->type))
		return "the type of a listener is unknown";
	return check_address(&listener->address);
}

static const char *check_welcome_listeners(const union wire_message *message, size_t n_records)
{
	const struct wire_listener *listeners = message->welcome.listeners;
	const char *why = NULL;

	if (message->welcome.n_listeners != n_records)
		return "the number of listeners does not fit the length";
	for (size_t i = 0; i < n_records && !why; i++)
		why = listeners[i].index != 0 ? reserved_not_zero : check_listener(&listeners[i]);
	return why;
}

static const char *check_lent_listeners(const union wire_message *message, size_t n_records)
{
	const struct wire_listener *listeners = message->listeners.listeners;
	const char *why = NULL;

	for (size_t i = 0; i < n_records && !why; i++) {
		if (listeners[i].index >= WIRE_MAX_LISTENERS)
			why = "the index of a listener is out of range";
		else if (i > 0 && listeners[i].index <= listeners[i - 1].index)
			why = "the listeners are not in the order of their indices";
		else
			why = check_listener(&listeners[i]);
	}
	return why;
}

static const char *check_refused(const union wire_message *message)
{
	const struct wire_refused *refused = &message->refused;

	if (refused->error == 0 || refused->error > WIRE_MAX_ERROR)
		return "the error is out of range";
	if (refused->reserved != 0)
		return reserved_not_zero;
	return check_text(refused->reason, sizeof(refused->reason));
}

static const char *check_connection(const struct wire_connection *connection, uint64_t sequence)
{
	if (connection->sequence == 0)
		return sequence_is_zero;
	if (connection->sequence != sequence)
		return "the sequences of the connections have a gap";
	if (connection->id == 0)
		return "a connection has the id 0";
	if (connection->listener >= WIRE_MAX_LISTENERS && connection->listener != WIRE_NO_LISTENER)
		return "the listener of a connection is out of range";
	if (connection->reserved != 0)
		return reserved_not_zero;
	return check_address(&connection->peer);
}

static const char *check_connections(const union wire_message *message, size_t n_records)
{
	const struct wire_connection *connections = message->connections.connections;
	const char *why = NULL;

	for (size_t i = 0; i < n_records && !why; i++)
		why = check_connection(&connections[i], connections[0].sequence + i);
	return why;
}

static const char *check_forwarded(const union wire_message *message)
{
	const struct wire_forwarded *forwarded = &message->forwarded;
	const char *why = check_connection(&forwarded->connection, forwarded->connection.sequence);

	if (why)
		return why;
	if (forwarded->from[0] == '\0')
		return "the service that forwarded a connection has no name";
	if (forwarded->n_hops == 0)
		return "a connection was forwarded 0 times";
	if (forwarded->reserved != 0)
		return reserved_not_zero;
	return check_text(forwarded->from, sizeof(forwarded->from));
}

static const char *check_claim(const union wire_message *message)
{
	return message->claim.sequence == 0 ? sequence_is_zero : NULL;
}

static const char *check_credit(const union wire_message *message)
{
	const struct wire_credit *credit = &message->credit;

	if (credit->credit < -WIRE_MAX_CREDIT || credit->credit > WIRE_MAX_CREDIT)
		return "the credit is out of range";
	return credit->reserved != 0 ? reserved_not_zero : NULL;
}

static const char *check_decline(const union wire_message *message)
{
	if (message->decline.first == 0)
		return sequence_is_zero;
	return message->decline.first > message->decline.last ? "the range of sequences is empty"
							      : NULL;
}

static const char *check_forward(const union wire_message *message)
{
	const char *why = check_text(message->forward.service, sizeof(message->forward.service));

	return why ? why : check_address(&message->forward.peer);
}

static const char *check_status(const union wire_message *message)
{
	return check_text(message->status.text, sizeof(message->status.text));
}

static const char *check_draining(const union wire_message *message)
{
	if (message->draining.reason > WIRE_DRAINING_ADMINISTRATOR)
		return "the reason of draining is out of range";
	return message->draining.reserved != 0 ? reserved_not_zero : NULL;
}

/* One row for each type; a type without a name is unknown. */
static const struct rule {
	const char *name;
	enum wire_sender sender;
	size_t fixed_size;
	const char *(*check_fields)(const union wire_message *message);
	struct {
		size_t size, min, max;
		const char *(*check)(const union wire_message *message, size_t n_records);
		bool has_fds; /* one for each record */
	} record;
	struct {
		size_t min, max; /* besides those of the records */
	} fds;
	uint16_t flags; /* that may be set in the header */
} rules[] = {
	[WIRE_HELLO] = {"HELLO", WIRE_FROM_PROVIDER, sizeof(struct wire_hello), check_hello,
		.flags = WIRE_HELLO_STANDBY | WIRE_HELLO_TAKES_LISTENERS},
	[WIRE_WELCOME] = {"WELCOME", WIRE_FROM_USHERD, sizeof(struct wire_welcome), check_welcome,
		.record = {sizeof(struct wire_listener), 0, WIRE_MAX_LISTENERS,
			check_welcome_listeners}},
	[WIRE_REFUSED] = {"REFUSED", WIRE_FROM_USHERD, sizeof(struct wire_refused), check_refused},
	[WIRE_CONNECTIONS] = {"CONNECTIONS", WIRE_FROM_USHERD, sizeof(struct wire_connections),
		.record = {sizeof(struct wire_connection), 1, WIRE_MAX_CONNECTIONS,
			check_connections, true}},
	[WIRE_LISTENERS] = {"LISTENERS", WIRE_FROM_USHERD, sizeof(struct wire_listeners),
		.record = {sizeof(struct wire_listener), 0, WIRE_MAX_CONNECTIONS,
			check_lent_listeners, true},
		.flags = WIRE_LISTENERS_MORE | WIRE_LISTENERS_FOLLOWED},
	[WIRE_FORWARDED] = {"FORWARDED", WIRE_FROM_USHERD, sizeof(struct wire_forwarded),
		check_forwarded, .record = {1, 0, WIRE_MAX_FORWARDED_BYTES}, .fds = {0, 1}},
	[WIRE_CLAIM] = {"CLAIM", WIRE_FROM_PROVIDER, sizeof(struct wire_claim), check_claim},
	[WIRE_RELEASE] = {"RELEASE", WIRE_FROM_PROVIDER, sizeof(struct wire_release),
		.record = {sizeof(uint64_t), 1, WIRE_MAX_RELEASES}},
	[WIRE_CREDIT] = {"CREDIT", WIRE_FROM_PROVIDER, sizeof(struct wire_credit), check_credit},
	[WIRE_DECLINE] = {"DECLINE", WIRE_FROM_PROVIDER, sizeof(struct wire_decline),
		check_decline},
	[WIRE_FORWARD] = {"FORWARD", WIRE_FROM_PROVIDER, sizeof(struct wire_forward), check_forward,
		.record = {1, 0, WIRE_MAX_FORWARDED_BYTES}, .fds = {1, 1}},
	[WIRE_STATUS] = {"STATUS", WIRE_FROM_PROVIDER, sizeof(struct wire_status), check_status},
	[WIRE_DRAIN] = {"DRAIN", WIRE_FROM_PROVIDER, sizeof(struct wire_drain)},
	[WIRE_DRAINING] = {"DRAINING", WIRE_FROM_USHERD, sizeof(struct wire_draining),
		check_draining},
};

/* The row of that type, or NULL. */
static const struct rule *find_rule(uint16_t type)
{
	if (type >= sizeof(rules) / sizeof(rules[0]) || !rules[type].name)
		return NULL;
	return &rules[type];
}

const char *wire_type_name(uint16_t type)
{
	const struct rule *rule = find_rule(type);

	return rule ? rule->name : "unknown";
}

/* Does the length fit the type, with a number of records that is allowed? */
static bool is_size_right(const struct rule *rule, size_t size)
{
	size_t n_records;

	if (rule->record.size == 0)
		return size == rule->fixed_size;
	if (size < rule->fixed_size || (size - rule->fixed_size) % rule->record.size != 0)
		return false;
	n_records = (size - rule->fixed_size) / rule->record.size;
	return n_records >= rule->record.min && n_records <= rule->record.max;
}

static const char *check_fds(const struct rule *rule, size_t n_records, size_t n_fds)
{
	if (n_fds > rule->fds.max + (rule->record.has_fds ? n_records : 0))
		return "the message carries more descriptors than it may";
	return n_fds < rule->fds.min ? "the message lacks its descriptor" : NULL;
}

static const char *check_body(
	const struct rule *rule, const union wire_message *message, size_t n_records)
{
	const char *why = NULL;

	if (rule->check_fields)
		why = rule->check_fields(message);
	if (!why && rule->record.check)
		why = rule->record.check(message, n_records);
	return why;
}

static const char *check_message(
	const union wire_message *message, size_t size, size_t n_fds, enum wire_sender sender)
{
	const struct rule *rule;
	const char *why;
	size_t n_records;

	if (size < sizeof(message->header))
		return "the message is shorter than a header";
	rule = find_rule(message->header.type);
	if (!rule)
		return "the type of the message is unknown";
	if (rule->sender != sender)
		return "only the other side sends messages of this type";
	if (!is_size_right(rule, size))
		return "the length of the message does not fit its type";
	if ((message->header.flags & ~rule->flags) != 0 || message->header.reserved != 0)
		return reserved_not_zero;
	n_records = wire_n_records(message, size);
	why = check_fds(rule, n_records, n_fds);
	return why ? why : check_body(rule, message, n_records);
}

int wire_check(const union wire_message *message, size_t size, size_t n_fds,
	enum wire_sender sender, const char **ret_why)
{
	const char *why = check_message(message, size, n_fds, sender);

	if (!why)
		return 0;
	*ret_why = why;
	return -EBADMSG;
}

size_t wire_n_records(const union wire_message *message, size_t size)
{
	const struct rule *rule = find_rule(message->header.type);

	if (!rule || rule->record.size == 0)
		return 0;
	assert(size >= rule->fixed_size);
	return (size - rule->fixed_size) / rule->record.size;
}

static void from_ipv4(struct wire_address *ret, const struct sockaddr *sockaddr)
{
	struct sockaddr_in ipv4;

	memcpy(&ipv4, sockaddr, sizeof(ipv4));
	ret->port = ipv4.sin_port;
	memcpy(ret->address, &ipv4.sin_addr, sizeof(ipv4.sin_addr));
}

static void from_ipv6(struct wire_address *ret, const struct sockaddr *sockaddr)
{
	struct sockaddr_in6 ipv6;

	memcpy(&ipv6, sockaddr, sizeof(ipv6));
	ret->port = ipv6.sin6_port;
	if (IN6_IS_ADDR_V4MAPPED(&ipv6.sin6_addr)) {
		ret->family = AF_INET;
		memcpy(ret->address, &ipv6.sin6_addr.s6_addr[12], 4);
	} else {
		ret->scope_id = ipv6.sin6_scope_id;
		memcpy(ret->address, &ipv6.sin6_addr, sizeof(ipv6.sin6_addr));
	}
}

void wire_address_from_sockaddr(struct wire_address *ret, const struct sockaddr *sockaddr)
{
	*ret = (struct wire_address){.family = sockaddr->sa_family};
	if (sockaddr->sa_family == AF_INET)
		from_ipv4(ret, sockaddr);
	else if (sockaddr->sa_family == AF_INET6)
		from_ipv6(ret, sockaddr);
}

static socklen_t to_ipv4(const struct wire_address *address, struct sockaddr_storage *ret)
{
	struct sockaddr_in ipv4 = {.sin_family = AF_INET, .sin_port = address->port};

	memcpy(&ipv4.sin_addr, address->address, sizeof(ipv4.sin_addr));
	memcpy(ret, &ipv4, sizeof(ipv4));
	return sizeof(ipv4);
}

static socklen_t to_ipv6(const struct wire_address *address, struct sockaddr_storage *ret)
{
	struct sockaddr_in6 ipv6 = {
		.sin6_family = AF_INET6,
		.sin6_port = address->port,
		.sin6_scope_id = address->scope_id,
	};

	memcpy(&ipv6.sin6_addr, address->address, sizeof(ipv6.sin6_addr));
	memcpy(ret, &ipv6, sizeof(ipv6));
	return sizeof(ipv6);
}

socklen_t wire_address_to_sockaddr(const struct wire_address *address, struct sockaddr_storage *ret)
{
	*ret = (struct sockaddr_storage){.ss_family = address->family};
	if (address->family == AF_INET)
		return to_ipv4(address, ret);
	if (address->family == AF_INET6)
		return to_ipv6(address, ret);
	return sizeof(ret->ss_family);
}

void wire_set_text(char *field, size_t field_size, const char *text)
{
	size_t at = 0;

	memset(field, 0, field_size);
	while (*text != '\0') {
		size_t length = wire_character_length(text);
		bool is_clean = length > 0;

		if (!is_clean)
			length = 1;
		if (at + length >= field_size)
			break;
		if (is_clean)
			memcpy(field + at, text, length);
		else
			field[at] = '?';
		at += length;
		text += length;
	}
}
