/* SPDX-License-Identifier: MIT */
/* A service where time stands still: see service-moment.h. */
#include "service-moment.h"

#include "loop.h"
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

static uint64_t now_usec;
unsigned int n_accepted, n_accepts_in_vain, n_accept_errors;

int __wrap_sd_event_now(sd_event *event, clockid_t clock, uint64_t *ret);
int __real_accept4(int fd, struct sockaddr *address, socklen_t *length, int flags);
int __wrap_accept4(int fd, struct sockaddr *address, socklen_t *length, int flags);

int __wrap_sd_event_now(sd_event *event, clockid_t clock, uint64_t *ret)
{
	(void)event, (void)clock;
	*ret = now_usec;
	return 0;
}

/* Not the rendezvous. */
static bool is_for_clients(int fd)
{
	int type = 0;

	(void)getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &(socklen_t){sizeof(type)});
	return type == SOCK_STREAM;
}

int __wrap_accept4(int fd, struct sockaddr *address, socklen_t *length, int flags)
{
	int accepted;

	if (!is_for_clients(fd))
		return __real_accept4(fd, address, length, flags);
	if (n_accept_errors > 0) {
		n_accept_errors--;
		errno = EMFILE;
		return -1;
	}
	accepted = __real_accept4(fd, address, length, flags);
	n_accepted += accepted >= 0;
	n_accepts_in_vain += accepted < 0;
	return accepted;
}

void begin_with(struct world *w, struct peer peers[], size_t n, int32_t how_many)
{
	loop_hurry = 0;
	now_usec = UINT64_C(1) << 50; /* a time of day that does not come: nor do deadlines */
	n_accepted = n_accepts_in_vain = n_accept_errors = 0;
	begin(w);
	open_service(w);
	for (size_t i = 0; i < n; i++)
		join(w, &peers[i], how_many);
}

void end_with(struct world *w, struct peer peers[], size_t n)
{
	dispatch_check(service_dispatch(w->service));
	for (size_t i = 0; i < n; i++)
		leave(&peers[i]);
	end(w);
	assert_int_equal(turn_while_ready(), 0);
}

void client_at(struct world *w, size_t i, char letter)
{
	size_t n;
	struct listener *const *listeners = intake_listeners(service_intake(w->service), &n);
	const struct address *bound = listener_bound(listeners[i]);
	int fd = socket(bound->sockaddr.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0 && w->n_clients < MAX_CLIENTS);
	assert_int_equal(connect(fd, &bound->sockaddr, bound->length), 0);
	assert_int_equal(send(fd, &letter, 1, MSG_NOSIGNAL), 1);
	w->clients[w->n_clients++] = fd;
}

bool is_moment_running(const struct world *w)
{
	int enabled = SD_EVENT_OFF;

	if (w->service->pace.timer)
		(void)sd_event_source_get_enabled(w->service->pace.timer, &enabled);
	return enabled != SD_EVENT_OFF;
}

void advance(uint64_t usec)
{
	now_usec += usec;
}

void ring(struct world *w)
{
	assert_true(is_moment_running(w));
	assert_true(sd_event_source_set_time(w->service->pace.timer, 0) >= 0);
	(void)turn_while_ready();
}

void end_moment(struct world *w)
{
	advance(MOMENT_USEC);
	ring(w);
}

void become_quiet(struct world *w)
{
	for (int i = 0; is_moment_running(w); i++) {
		assert_true(i < 4);
		end_moment(w);
	}
	advance(MOMENT_USEC);
	assert_int_equal(intake_n_deferred(service_intake(w->service)), 0);
	for (const struct provider *p = service_providers(w->service); p; p = p->next)
		assert_false(p->is_paced);
}

void expect_together(struct peer *p, const char *letters)
{
	expect(p, WIRE_CONNECTIONS);
	assert_int_equal(strlen(p->letters), strlen(letters));
	expect_connections(p, letters);
}

void expect_deferred(const struct world *w, struct peer *p, unsigned int n)
{
	(void)turn_while_ready();
	expect_nothing(p);
	assert_int_equal(n_accepted, w->n_clients - n);
	assert_int_equal(intake_n_deferred(service_intake(w->service)) > 0, n > 0);
}
