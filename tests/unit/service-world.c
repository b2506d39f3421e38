/* SPDX-License-Identifier: MIT */
/* A service with clients and providers: see service-world.h. */
#include "service-world.h"

#include "fd.h"
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

union wire_message heard;

void begin(struct world *w)
{
	static char name[] = "echo";

	*w = (struct world){
		.config =
			{
				.name = name,
				.instances = 1024,
				.providers = {.max = 16},
				.claim_timeout_usec = 10 * UINT64_C(1000000),
				.park = {.max = 1024, .timeout_usec = 300 * UINT64_C(1000000)},
				.socket = {.backlog = 256},
			},
	};
}

static void on_ended(struct service *s, void *userdata)
{
	struct world *w = userdata;

	assert_ptr_equal(s, w->service);
	w->n_ended++;
}

/* To itself only, under any name but that of no service. */
static int on_forward(struct service *s, const char *to, struct handoff *h, void *userdata)
{
	struct world *w = userdata;

	assert_ptr_equal(s, w->service);
	assert_int_equal(h->listener, WIRE_NO_LISTENER);
	return strcmp(to, "none") == 0 ? -ENOENT : service_take_forwarded(s, h);
}

static const struct service_events events = {.on_ended = on_ended, .on_forward = on_forward};

static struct listener *open_listener(const struct world *w, const char *text)
{
	struct address *parsed, bound;
	struct listener *listener;
	char why[256];
	size_t n;
	int fd;

	assert_int_equal(address_parse(text, &parsed, &n, why, sizeof(why)), 0);
	assert_int_equal(listener_bind(parsed, &w->config.socket, false, &fd, &bound), 0);
	assert_int_equal(listener_new(&listener, loop, parsed, &bound, &w->config.socket, fd), 0);
	free(parsed);
	return listener;
}

void open_service_on(struct world *w, const char *text)
{
	struct listener **listeners = calloc(1, sizeof(struct listener *));

	assert_non_null(listeners);
	assert_int_equal(service_new(&w->service, loop, &w->config, in_folder("."), w->inherited,
				 &events, w),
		0);
	listeners[0] = open_listener(w, text);
	service_configure(w->service, &w->config, listeners, 1);
}

void open_service(struct world *w)
{
	char text[ADDRESS_TEXT_MAX];

	snprintf(text, sizeof(text), "unix:%s", in_folder("listener"));
	open_service_on(w, text);
}

void reconfigure(struct world *w, size_t n_more)
{
	size_t n;
	struct listener *const *old = intake_listeners(service_intake(w->service), &n);
	struct listener **listeners = calloc(n + n_more, sizeof(*listeners));

	assert_non_null(listeners);
	for (size_t i = 0; i < n + n_more; i++)
		listeners[i] = i < n ? old[i] : open_listener(w, "tcp:127.0.0.1:0");
	service_configure(w->service, &w->config, listeners, n + n_more);
}

void end_service(struct world *w)
{
	size_t n;
	struct listener *const *listeners = intake_listeners(service_intake(w->service), &n);
	struct listener *only = listeners[0];

	assert_int_equal(n, 1);
	service_end(w->service);
	listener_free(only);
}

void end(struct world *w)
{
	w->service = service_free(w->service);
	while (w->n_clients > 0)
		close_fd(w->clients[--w->n_clients]);
}

struct listener *listener_of(const struct world *w)
{
	size_t n;
	struct listener *const *listeners = intake_listeners(service_intake(w->service), &n);

	assert_true(n > 0);
	return listeners[0];
}

const struct provider *provider_of(const struct world *w, unsigned int number)
{
	for (const struct provider *p = service_providers(w->service); p; p = p->next)
		if (p->number == number)
			return p;
	return NULL;
}

size_t client(struct world *w, char letter)
{
	const struct address *bound = listener_bound(listener_of(w));
	int fd = socket(bound->sockaddr.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0 && w->n_clients < MAX_CLIENTS);
	assert_int_equal(connect(fd, &bound->sockaddr, bound->length), 0);
	assert_int_equal(send(fd, &letter, 1, MSG_NOSIGNAL), 1);
	w->clients[w->n_clients] = fd;
	return w->n_clients++;
}

void clients(struct world *w, const char *letters)
{
	for (; *letters; letters++)
		(void)client(w, *letters);
}

bool is_connected(const struct world *w, size_t i)
{
	char byte;

	return recv(w->clients[i], &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

int silent_client(const struct world *w)
{
	const struct address *bound = listener_bound(listener_of(w));
	int fd = socket(bound->sockaddr.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(connect(fd, &bound->sockaddr, bound->length), 0);
	return fd;
}

void check_was_reset(int fd)
{
	char byte;

	assert_int_equal(recv(fd, &byte, 1, 0), -1);
	assert_int_equal(errno, ECONNRESET);
}

uint32_t n_parked(const struct world *w)
{
	return dispatch_n_parked(service_dispatch(w->service));
}

void connect_peer(struct world *w, struct peer *p)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	*p = (struct peer){
		.fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0),
		.last_fd = -EBADF,
	};
	strcpy(address.sun_path, rendezvous_path(service_rendezvous(w->service)));
	assert_int_equal(connect(p->fd, (struct sockaddr *)&address, sizeof(address)), 0);
}

void say(struct peer *p, uint16_t type, union wire_message *message, size_t size)
{
	message->header = (struct wire_header){.type = type};
	assert_int_equal(fdpass_send(p->fd, message, size, NULL, 0), 0);
}

void say_hello_with(struct peer *p, int32_t how_many, uint16_t flags)
{
	const struct wire_hello hello = {
		.header = {.type = WIRE_HELLO, .flags = flags},
		.version_lowest = WIRE_VERSION,
		.version_highest = WIRE_VERSION,
		.credit = how_many,
		.weight = 1,
		.name = "tester",
	};

	assert_int_equal(fdpass_send(p->fd, &hello, sizeof(hello), NULL, 0), 0);
}

void say_hello(struct peer *p, int32_t how_many)
{
	say_hello_with(p, how_many, 0);
}

void join(struct world *w, struct peer *p, int32_t how_many)
{
	connect_peer(w, p);
	say_hello(p, how_many);
	expect(p, WIRE_WELCOME);
}

void join_as_standby(struct world *w, struct peer *p, int32_t how_many)
{
	connect_peer(w, p);
	say_hello_with(p, how_many, WIRE_HELLO_STANDBY);
	expect(p, WIRE_WELCOME);
}

void claim(struct peer *p, uint64_t sequence)
{
	union wire_message m = {.claim = {.sequence = sequence}};

	say(p, WIRE_CLAIM, &m, sizeof(m.claim));
}

void release(struct peer *p, uint64_t id)
{
	union wire_message m = {.bytes = {0}};

	m.release.ids[0] = id;
	say(p, WIRE_RELEASE, &m, sizeof(m.release) + sizeof(id));
}

void credit(struct peer *p, uint64_t sequence, int32_t how_many)
{
	union wire_message m = {.credit = {.sequence = sequence, .credit = how_many}};

	say(p, WIRE_CREDIT, &m, sizeof(m.credit));
}

void decline(struct peer *p, uint64_t first, uint64_t last)
{
	union wire_message m = {.decline = {.first = first, .last = last}};

	say(p, WIRE_DECLINE, &m, sizeof(m.decline));
}

void drain(struct peer *p)
{
	union wire_message m = {.bytes = {0}};

	say(p, WIRE_DRAIN, &m, sizeof(m.drain));
}

/* The letter of one that came; the test's is the last one that was kept. */
static void note_connection(struct peer *p, int *fd, const struct wire_connection *record)
{
	size_t n_letters = strlen(p->letters);

	assert_true(n_letters < sizeof(p->letters) - 1);
	assert_int_equal(recv(*fd, &p->letters[n_letters], 1, MSG_PEEK), 1);
	assert_int_equal(record->sequence, p->last_sequence + 1);
	p->last_sequence = record->sequence;
	p->last_id = record->id;
	if (p->keeps_last) {
		close_fd(p->last_fd);
		p->last_fd = take_fd(fd);
	}
}

static void note_connections(struct peer *p)
{
	bool is_forwarded = heard.header.type == WIRE_FORWARDED;

	assert_int_equal(
		is_forwarded ? 1 : wire_n_records(&heard, p->received.size), p->received.n_fds);
	for (size_t i = 0; i < p->received.n_fds; i++)
		note_connection(p, &p->received.fds[i],
			is_forwarded ? &heard.forwarded.connection
				     : &heard.connections.connections[i]);
	fdpass_close(&p->received, 0);
}

void forward_message(union wire_message *ret, uint64_t id, const char *service)
{
	memset(ret, 0, sizeof(ret->forward));
	ret->header.type = WIRE_FORWARD;
	ret->forward.id = id;
	wire_set_text(ret->forward.service, sizeof(ret->forward.service), service);
}

void forward(struct peer *p, uint64_t id, const char *service, const char *bytes)
{
	union wire_message m;
	size_t size = strlen(bytes);

	forward_message(&m, id, service);
	memcpy(m.forward.data, bytes, size);
	assert_int_equal(fdpass_send(p->fd, &m, sizeof(m.forward) + size, &p->last_fd, 1), 0);
	p->last_fd = close_fd(p->last_fd);
}

/* Returns whether there was a message, or the end. */
static bool has_heard(struct peer *p)
{
	const char *why;
	int r = fdpass_receive(p->fd, &heard, sizeof(heard), FDPASS_MAX, &p->received);

	if (r == -ECONNRESET) {
		p->was_reset = true;
		return has_heard(p);
	}
	if (r == -EAGAIN)
		return false;
	assert_int_equal(r, 0);
	if (p->received.size == 0)
		return true;
	if (wire_check(&heard, p->received.size, p->received.n_fds, WIRE_FROM_USHERD, &why) < 0)
		fail_msg("usherd broke the protocol: %s", why);
	if (heard.header.type == WIRE_CONNECTIONS || heard.header.type == WIRE_FORWARDED)
		note_connections(p);
	return true;
}

uint16_t hear(struct peer *p)
{
	turn_until(has_heard(p));
	return p->received.size == 0 ? 0 : heard.header.type;
}

void expect(struct peer *p, uint16_t type)
{
	uint16_t type_heard = hear(p);

	if (type_heard != type)
		fail_msg("heard %s, expected %s",
			type_heard ? wire_type_name(type_heard) : "the end",
			type ? wire_type_name(type) : "the end");
}

void expect_refused(struct peer *p, int error, const char *reason)
{
	expect(p, WIRE_REFUSED);
	assert_int_equal(heard.refused.error, error);
	assert_string_equal(heard.refused.reason, reason);
	expect_end(p);
}

void expect_end(struct peer *p)
{
	expect(p, 0);
	leave(p);
}

void expect_connections(struct peer *p, const char *letters)
{
	while (strlen(p->letters) < strlen(letters)) {
		uint16_t type = hear(p);

		if (type != WIRE_CONNECTIONS && type != WIRE_FORWARDED)
			fail_msg("heard %s, expected connections",
				type ? wire_type_name(type) : "the end");
	}
	assert_string_equal(p->letters, letters);
	memset(p->letters, 0, sizeof(p->letters));
}

void expect_draining(struct peer *p, enum wire_draining_reason reason)
{
	expect(p, WIRE_DRAINING);
	assert_int_equal(heard.draining.reason, reason);
}

void expect_nothing(struct peer *p)
{
	(void)turn_while_ready();
	if (has_heard(p))
		fail_msg("heard %s, expected nothing", wire_type_name(heard.header.type));
}

void leave(struct peer *p)
{
	p->fd = close_fd(p->fd);
	p->last_fd = close_fd(p->last_fd);
}

void make_narrow(const struct world *w, unsigned int number)
{
	const struct provider *p = provider_of(w, number);

	assert(p);
	assert_int_equal(setsockopt(p->fd, SOL_SOCKET, SO_SNDBUF, &(int){1}, sizeof(int)), 0);
}
