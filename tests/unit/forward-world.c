/* SPDX-License-Identifier: MIT */
/* See forward-world.h. */
#include "forward-world.h"
#include "fd.h"

#include <arpa/inet.h>
#include <string.h>
#include <sys/socket.h>

#define N_ELEMENTS(array) (sizeof(array) / sizeof((array)[0]))

static char own_name[] = "echo", other[] = "other", none[] = "none";
static char *targets[] = {own_name, other, none};

void begin_forwarding(struct world *w)
{
	begin(w);
	w->config.providers.forward = targets;
	w->config.providers.n_forward = N_ELEMENTS(targets);
}

void open_forwarding(struct world *w)
{
	begin_forwarding(w);
	open_service_on(w, ANY_PORT);
}

const struct dispatch_totals *totals_of(const struct world *w)
{
	return dispatch_totals(service_dispatch(w->service));
}

void serve_one(struct world *w, struct peer *p, const char *letter)
{
	join(w, p, 10);
	p->keeps_last = true;
	clients(w, letter);
	expect_connections(p, letter);
	claim(p, p->last_sequence);
	(void)turn_while_ready();
}

void expect_forwarded(struct peer *p, const char *letter)
{
	expect(p, WIRE_FORWARDED);
	assert_string_equal(p->letters, letter);
	memset(p->letters, 0, sizeof(p->letters));
}

void check_data(const struct peer *p, const char *bytes)
{
	assert_int_equal(p->received.size, sizeof(struct wire_forwarded) + strlen(bytes));
	assert_memory_equal(heard.forwarded.data, bytes, strlen(bytes));
}

void forward_as_from(struct peer *p, uint64_t id, const char *address)
{
	union wire_message m;

	forward_message(&m, id, "other");
	m.forward.peer.family = AF_INET;
	m.forward.peer.port = htons(4711);
	assert_int_equal(inet_pton(AF_INET, address, m.forward.peer.address), 1);
	assert_int_equal(fdpass_send(p->fd, &m, sizeof(m.forward), &p->last_fd, 1), 0);
	p->last_fd = close_fd(p->last_fd);
}
