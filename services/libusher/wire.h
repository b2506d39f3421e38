/* SPDX-License-Identifier: MIT */
/*
 * The rendezvous protocol, version 1, as C structures: usher-protocol(7) is the authority.
 *
 * One SOCK_SEQPACKET datagram is one message. Integers are in the host's byte order, naturally
 * aligned; reserved fields and the bytes after a text's NUL are zero, and checked. This file knows
 * layouts and what a well-formed message is. It sends nothing (fdpass.h) and decides nothing.
 *
 * Invariant: what wire_check() accepted can be read through its struct without another look at the
 * length.
 */
#pragma once

#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#define WIRE_VERSION		 1

#define WIRE_MAX_CONNECTIONS	 16   /* records of CONNECTIONS or LISTENERS, and so descriptors */
#define WIRE_MAX_RELEASES	 512  /* ids of one RELEASE message */
#define WIRE_MAX_LISTENERS	 1024 /* records of WELCOME: listeners of one service */
#define WIRE_NO_LISTENER	 UINT32_MAX /* of a connection whose listener is no more */
#define WIRE_MAX_CREDIT		 (1 << 20)  /* and the least is minus that */
#define WIRE_MAX_WEIGHT		 1000
#define WIRE_MAX_ERROR		 4095 /* of REFUSED: the kernel has no larger errno */
#define WIRE_NAME_SIZE		 64   /* with the NUL */
#define WIRE_REASON_SIZE	 256  /* with the NUL */
#define WIRE_STATUS_SIZE	 256  /* with the NUL */

#define WIRE_MAX_FORWARDED_BYTES 32768 /* that a forwarded connection brings with it */

enum wire_type {
	WIRE_HELLO = 1,
	WIRE_WELCOME = 2,
	WIRE_REFUSED = 3,
	WIRE_CONNECTIONS = 4,
	WIRE_LISTENERS = 5,
	WIRE_CLAIM = 6,
	WIRE_RELEASE = 7,
	WIRE_CREDIT = 8,
	WIRE_DECLINE = 9,
	WIRE_FORWARD = 10,
	WIRE_STATUS = 11,
	WIRE_DRAIN = 12,
	WIRE_DRAINING = 13,
	WIRE_FORWARDED = 14,
};

enum wire_sender {
	WIRE_FROM_PROVIDER,
	WIRE_FROM_USHERD,
};

/* Every message begins so. In version 1 only HELLO and LISTENERS have flags: all others are zero.
 */
struct wire_header {
	uint16_t type;	   /* enum wire_type */
	uint16_t flags;	   /* WIRE_HELLO_..., WIRE_LISTENERS_... */
	uint32_t reserved; /* zero */
};

/*
 * An address of AF_INET or AF_INET6, or only the family (everything else zero) for others, whose
 * socket knows more (getpeername(2)).
 */
struct wire_address {
	uint16_t family;     /* AF_INET, AF_INET6, AF_UNIX, ... */
	uint16_t port;	     /* network byte order */
	uint32_t scope_id;   /* AF_INET6: interface index of a link-local address, else zero */
	uint8_t address[16]; /* network byte order; AF_INET: the first 4 bytes, the rest zero */
};

/* In the header of HELLO: it wants connections only while no other provider can take them. */
#define WIRE_HELLO_STANDBY 0x1u

/* In the header of HELLO: it takes listening and datagram sockets, and understands LISTENERS. */
#define WIRE_HELLO_TAKES_LISTENERS 0x2u

struct wire_hello {
	struct wire_header header;
	uint16_t version_lowest;
	uint16_t version_highest;
	int32_t credit;	  /* how many connections it takes now, 0 to WIRE_MAX_CREDIT */
	uint32_t weight;  /* share of the load relative to others, 1 to WIRE_MAX_WEIGHT */
	uint32_t holding; /* connections in service from an earlier channel, 0 to WIRE_MAX_CREDIT */
	char name[WIRE_NAME_SIZE]; /* for humans; may be empty */
};

struct wire_listener {
	uint32_t type;		     /* SOCK_STREAM, ... */
	uint32_t index;		     /* of LISTENERS: its place in WELCOME; in WELCOME zero */
	struct wire_address address; /* as bound */
};

/* In WELCOME: FORWARD may be sent on this channel. */
#define WIRE_WELCOME_MAY_FORWARD 0x1u

/*
 * The answer to HELLO. It comes again whenever the listeners of the service changed, or the flags:
 * the index in a CONNECTIONS record counts in the latest WELCOME before it.
 */
struct wire_welcome {
	struct wire_header header;
	uint16_t version; /* chosen */
	uint16_t flags;	  /* WIRE_WELCOME_...; a flag that was set stays */
	uint32_t n_listeners;
	char service[WIRE_NAME_SIZE];
	struct wire_listener listeners[];
};

struct wire_refused {
	struct wire_header header;
	uint32_t error;		       /* errno, positive */
	uint32_t reserved;	       /* zero */
	char reason[WIRE_REASON_SIZE]; /* one sentence for the provider's administrator */
};

struct wire_connection {
	uint64_t sequence;    /* counts the connections of this channel from 1, no gaps */
	uint64_t id;	      /* names the connection in RELEASE; never 0 */
	uint64_t accepted_ns; /* when, CLOCK_REALTIME */
	uint32_t listener;    /* index in WELCOME, or WIRE_NO_LISTENER */
	uint32_t reserved;    /* zero */
	struct wire_address peer;
};

/* As many records as descriptors were sent: the first record belongs to the first descriptor. */
struct wire_connections {
	struct wire_header header;
	struct wire_connection connections[];
};

/* In the header of LISTENERS: these come to those of the message before; another one follows. */
#define WIRE_LISTENERS_MORE	0x1u
#define WIRE_LISTENERS_FOLLOWED 0x2u

/*
 * The sockets that are lent to the provider from now on, instead of those that were: as many
 * records as descriptors were sent, in the order of their indices. None: nothing is lent. More than
 * WIRE_MAX_CONNECTIONS need several messages, of which all but the first have WIRE_LISTENERS_MORE
 * and all but the last WIRE_LISTENERS_FOLLOWED: with the last one all of them hold.
 */
struct wire_listeners {
	struct wire_header header;
	struct wire_listener listeners[];
};

/*
 * One connection that a provider has forwarded, with its descriptor. Otherwise as a record of
 * CONNECTIONS, and counted by the same sequence.
 */
struct wire_forwarded {
	struct wire_header header;
	struct wire_connection connection; /* WIRE_NO_LISTENER if it is from another service */
	char from[WIRE_NAME_SIZE];	   /* the service whose provider forwarded it last */
	uint32_t n_hops;		   /* how often it was forwarded, at least 1 */
	uint32_t reserved;		   /* zero */
	uint8_t data[];			   /* what was read of it already */
};

/* All connections up to this sequence that were not declined are the provider's now. */
struct wire_claim {
	struct wire_header header;
	uint64_t sequence;
};

/* These connections are over. Each gives one credit back. Id 0: one of those in `holding`. */
struct wire_release {
	struct wire_header header;
	uint64_t ids[];
};

/* `credit` more are welcome, counted from after the connection `sequence` (0: from the first). */
struct wire_credit {
	struct wire_header header;
	uint64_t sequence;
	int32_t credit; /* negative: one more than so many releases must come before the next one */
	uint32_t reserved;
};

/*
 * The descriptors of these unclaimed connections (both ends included) did not arrive, or the
 * provider does not want them: usherd gives its own copies to somebody else. Their credit is not
 * given back, and what credit is left is withdrawn: CREDIT grants anew when there is room again.
 */
struct wire_decline {
	struct wire_header header;
	uint64_t first;
	uint64_t last;
};

/*
 * This claimed connection, whose descriptor comes along, is another service's from now on, or
 * somebody else's of the same service. It gives its credit back, but handing it back to the same
 * service withdraws what credit is left, as DECLINE does.
 */
struct wire_forward {
	struct wire_header header;
	uint64_t id;		      /* 0: one of those in `holding` */
	char service[WIRE_NAME_SIZE]; /* empty: this channel's own */
	struct wire_address peer;     /* what the client's address is; all zero: as it was */
	uint8_t data[];		      /* what was read of it already */
};

struct wire_status {
	struct wire_header header;
	char text[WIRE_STATUS_SIZE]; /* UTF-8, no control characters; may be empty */
};

/* "Send me no more." */
struct wire_drain {
	struct wire_header header;
};

/* Why a provider gets no more connections on this channel. */
enum wire_draining_reason {
	WIRE_DRAINING_ASKED = 0,	 /* it said DRAIN */
	WIRE_DRAINING_ENDING = 1,	 /* the service or usherd ends; either may be back */
	WIRE_DRAINING_REPLACED = 2,	 /* a newer provider has taken over: for good */
	WIRE_DRAINING_ADMINISTRATOR = 3, /* usherctl drain: for good */
};

/* "You get no more." */
struct wire_draining {
	struct wire_header header;
	uint32_t reason;   /* enum wire_draining_reason */
	uint32_t reserved; /* zero */
};

#define WIRE_MAX_FROM_PROVIDER (sizeof(struct wire_forward) + WIRE_MAX_FORWARDED_BYTES)
#define WIRE_MAX_FROM_USHERD   (sizeof(struct wire_forwarded) + WIRE_MAX_FORWARDED_BYTES)

/* Room for any message of either side, aligned for all of them. */
union wire_message {
	struct wire_header header;
	struct wire_hello hello;
	struct wire_welcome welcome;
	struct wire_refused refused;
	struct wire_connections connections;
	struct wire_listeners listeners;
	struct wire_forwarded forwarded;
	struct wire_claim claim;
	struct wire_release release;
	struct wire_credit credit;
	struct wire_decline decline;
	struct wire_forward forward;
	struct wire_status status;
	struct wire_drain drain;
	struct wire_draining draining;
	uint8_t bytes[WIRE_MAX_FROM_USHERD];
};

/* The name of a message type for logs ("HELLO"), "unknown" for others. Static text. */
const char *wire_type_name(uint16_t type);

/*
 * Is this a well-formed message of that sender? Checks type, length, reserved fields, texts, ranges
 * that need no state (versions in order, credit, weight, sequences not 0 and in order) and that
 * `n_fds` is what the type carries. Texts are UTF-8 without control characters, C0 and C1. For
 * CONNECTIONS, LISTENERS and FORWARDED `n_fds` may be less than were sent: the rest was lost on the
 * way (see fdpass.h). FORWARD carries exactly one: count the one that was lost, if one was.
 *
 * `size` is the number of bytes received. Returns 0, or -EBADMSG and a static clause in *ret_why
 * for a log line ("the length of the message does not fit its type").
 */
int wire_check(const union wire_message *message, size_t size, size_t n_fds,
	enum wire_sender sender, const char **ret_why);

/*
 * How many trailing records a checked message of `size` bytes has: listeners, connections, ids, or
 * bytes of `data`.
 */
size_t wire_n_records(const union wire_message *message, size_t size);

/*
 * Convert addresses. An IPv4-mapped IPv6 address becomes AF_INET. A family that does not fit
 * becomes a wire address with nothing but the family, and the other way.
 */
void wire_address_from_sockaddr(struct wire_address *ret, const struct sockaddr *sockaddr);
socklen_t wire_address_to_sockaddr(
	const struct wire_address *address, struct sockaddr_storage *ret);

/*
 * Copy a text into a fixed field: cut at the size without splitting a UTF-8 character, invalid
 * bytes and control characters replaced by '?', the rest of the field zeroed.
 */
void wire_set_text(char *field, size_t field_size, const char *text);

/*
 * Length of the UTF-8 character at the start of a NUL-terminated text: 0 if it is no character
 * (RFC 3629), or a control character (U+0000 to U+001F, U+007F to U+009F): those steer terminals.
 */
size_t wire_character_length(const char *text);
