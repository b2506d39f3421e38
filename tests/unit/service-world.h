/* SPDX-License-Identifier: MIT */
/*
 * A service with clients and providers, all in one process, around the loop of loop.h.
 *
 * A client writes one letter when it connects, so that a provider (which looks at it and leaves it
 * there) can say whom it got: expect_connections(&p, "abc"). What a provider here receives it
 * closes at once, unless it keeps the last one: from then on a client sees an end as soon as
 * usherd's own copy is closed.
 */
#pragma once

#include "fdpass.h"
#include "loop.h"
#include "service.h"
#include "wire.h"

#define MAX_CLIENTS 512
#define ANY_PORT    "tcp:127.0.0.1:0" /* for open_service_on() */

struct world {
	struct config_service config;  /* to be changed before open_service(), or reconfigure() */
	struct inheritance *inherited; /* NULL, or what open_service() takes from */
	struct service *service;
	int n_ended;
	int clients[MAX_CLIENTS];
	size_t n_clients;
};

/* A provider, as the test plays it. */
struct peer {
	int fd;
	bool was_reset; /* ECONNRESET came before the end */
	struct fdpass_received received;
	char letters[MAX_CLIENTS]; /* of all connections it got and nobody expected yet */
	uint64_t last_sequence;
	uint64_t last_id;
	bool keeps_last; /* the socket of the connection that came last, for forward() */
	int last_fd;
};

/* The message that was heard last, by whoever. */
extern union wire_message heard;

/* A configuration for a service "echo" with usual values. */
void begin(struct world *w);

/* Make the service, listening on a path in the test's folder; or on `text`. */
void open_service(struct world *w);
void open_service_on(struct world *w, const char *text);

/* As a reload that changes w->config and adds `n_more` listeners. */
void reconfigure(struct world *w, size_t n_more);

/* As a reload that removes the service. */
void end_service(struct world *w);

/* Close everything. */
void end(struct world *w);

/* The service's first listener, and the provider that registered as the `number`th, or NULL. */
struct listener *listener_of(const struct world *w);
const struct provider *provider_of(const struct world *w, unsigned int number);

/* A client connects, by the path or TCP; returns its index. */
size_t client(struct world *w, char letter);
void clients(struct world *w, const char *letters);

/* Does the client still have its connection? */
bool is_connected(const struct world *w, size_t i);

/* A client that sends nothing: closing its connection is no reset by itself. The caller's. */
int silent_client(const struct world *w);

/* Has this client been reset? */
void check_was_reset(int fd);

/* How many of the service's connections are parked. */
uint32_t n_parked(const struct world *w);

/* Connect to the rendezvous; and say HELLO; and wait for WELCOME. */
void connect_peer(struct world *w, struct peer *p);
void say_hello(struct peer *p, int32_t credit);
void say_hello_with(struct peer *p, int32_t credit, uint16_t flags);
void join(struct world *w, struct peer *p, int32_t credit);
void join_as_standby(struct world *w, struct peer *p, int32_t credit);

/* Send a message as it is; its header is completed from `type`. */
void say(struct peer *p, uint16_t type, union wire_message *message, size_t size);
void claim(struct peer *p, uint64_t sequence);
void release(struct peer *p, uint64_t id);
void credit(struct peer *p, uint64_t sequence, int32_t how_many);
void decline(struct peer *p, uint64_t first, uint64_t last);
void drain(struct peer *p);

/* FORWARD without data, to be completed and sent; or with p->last_fd, which is closed then. */
void forward_message(union wire_message *ret, uint64_t id, const char *service);
void forward(struct peer *p, uint64_t id, const char *service, const char *bytes);

/* Turn the loop until there is a message; returns its type, 0 for the end of the channel. */
uint16_t hear(struct peer *p);

/* Hear exactly this. */
void expect(struct peer *p, uint16_t type);
void expect_refused(struct peer *p, int error, const char *reason);
void expect_draining(struct peer *p, enum wire_draining_reason reason);
void expect_end(struct peer *p);

/* Hear CONNECTIONS and FORWARDED, in as many messages as they come, of exactly these. */
void expect_connections(struct peer *p, const char *letters);

/* Nothing happens any more, and nothing has come. */
void expect_nothing(struct peer *p);

/* Close the provider's end. */
void leave(struct peer *p);

/* Let usherd's side of the channel have room for a few messages only. */
void make_narrow(const struct world *w, unsigned int number);
