/* SPDX-License-Identifier: MIT */
/* Many listeners in a service that is full at each single connection: who of them is polled. */
#include "fd.h"
#include "intake.h"
#include "loop.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#define MANY 40
#define FEW  3

struct scene {
	struct intake *intake;
	struct listener **listeners;
	size_t n_listeners;
	bool is_always_full; /* each connection is as much as there is room for */
	uint32_t n_accepted[MANY], n_woken;
	int clients[4 * MANY];
	size_t n_clients;
};

static void on_connections(struct listener *l, void *userdata)
{
	struct scene *s = userdata;
	struct wire_address peer;
	int fd;

	assert_int_equal(intake_state(s->intake), INTAKE_SERVING);
	s->n_woken++;
	if (intake_accept(s->intake, l, &fd, &peer) < 0)
		return;
	close_fd(fd);
	s->n_accepted[listener_index(l)]++;
	if (s->is_always_full)
		intake_set_state(s->intake, INTAKE_FULL);
}

static const struct config_socket options = {.backlog = 16};

static struct listener *new_listener(void)
{
	struct address *address, bound;
	struct listener *l;
	char why[256];
	size_t n;
	int fd;

	assert_int_equal(address_parse("tcp:127.0.0.1:0", &address, &n, why, sizeof(why)), 0);
	assert_int_equal(listener_bind(address, &options, false, &fd, &bound), 0);
	assert_int_equal(listener_new(&l, loop, address, &bound, &options, fd), 0);
	free(address);
	return l;
}

/* Open. */
static void begin(struct scene *s, size_t n_listeners)
{
	static const struct intake_events events = {.on_connections = on_connections};

	*s = (struct scene){.n_listeners = n_listeners};
	s->listeners = calloc(n_listeners, sizeof(struct listener *));
	for (size_t i = 0; i < n_listeners; i++)
		s->listeners[i] = new_listener();
	assert_int_equal(intake_new(&s->intake, loop, "one", &events, s), 0);
	intake_set_state(s->intake, INTAKE_SERVING);
	intake_replace(s->intake, s->listeners, n_listeners, &options, false);
}

static void end(struct scene *s)
{
	for (size_t i = 0; i < s->n_clients; i++)
		close_fd(s->clients[i]);
	intake_free(s->intake);
}

/* A client connects, and waits. */
static void come(struct scene *s, size_t i)
{
	struct sockaddr_storage address;
	socklen_t length = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(getsockname(listener_fd(s->listeners[i]), (void *)&address, &length), 0);
	assert_int_equal(connect(fd, (void *)&address, length), 0);
	s->clients[s->n_clients++] = fd;
}

static size_t n_in(const struct scene *s, enum listener_state state)
{
	size_t n = 0;

	for (size_t i = 0; i < s->n_listeners; i++)
		n += listener_state(s->listeners[i]) == state;
	return n;
}

static void test_few_are_all_switched(void **state)
{
	struct scene s;

	(void)state;
	begin(&s, FEW);
	intake_set_state(s.intake, INTAKE_FULL);
	assert_int_equal(n_in(&s, LISTENER_PAUSED), FEW);
	intake_set_state(s.intake, INTAKE_SERVING);
	assert_int_equal(n_in(&s, LISTENER_OPEN), FEW);
	end(&s);
}

static void test_of_many_those_that_wake_us(void **state)
{
	struct scene s;

	(void)state;
	begin(&s, MANY);
	intake_set_state(s.intake, INTAKE_FULL);
	assert_int_equal(n_in(&s, LISTENER_OPEN), MANY);
	come(&s, 7);
	come(&s, 7);
	assert_in_range(turn_while_ready(), 1, 2);
	intake_set_state(s.intake, INTAKE_LIMITED);
	assert_int_equal(n_in(&s, LISTENER_PAUSED), 1);
	assert_int_equal(listener_state(s.listeners[7]), LISTENER_PAUSED);
	assert_int_equal(s.n_woken, 0);
	intake_set_state(s.intake, INTAKE_SERVING);
	assert_int_equal(n_in(&s, LISTENER_OPEN), MANY);
	turn_until(s.n_accepted[7] == 2);
	end(&s);
}

/* Nobody is passed over: as many of each as there were turns. */
static void test_each_has_its_turn(void **state)
{
	struct scene s;

	(void)state;
	begin(&s, MANY);
	s.is_always_full = true;
	intake_set_state(s.intake, INTAKE_FULL);
	for (size_t i = 0; i < 3 * MANY; i++)
		come(&s, i % MANY);
	turn_while_ready();
	assert_int_equal(n_in(&s, LISTENER_PAUSED), MANY);
	for (uint32_t round = 1; round <= 3; round++) {
		for (size_t i = 0; i < MANY; i++) {
			intake_set_state(s.intake, INTAKE_SERVING);
			turn_while_ready();
		}
		for (size_t i = 0; i < MANY; i++)
			assert_int_equal(s.n_accepted[i], round);
	}
	assert_int_equal(s.n_woken, 3 * MANY);
	end(&s);
}

/* Where there is room for all, all have their turn without any event but the first. */
static void test_all_are_let_go(void **state)
{
	struct scene s;

	(void)state;
	begin(&s, MANY);
	intake_set_state(s.intake, INTAKE_FULL);
	for (size_t i = 0; i < MANY; i++)
		come(&s, i);
	turn_while_ready();
	for (size_t i = 0; i < MANY; i += 2) /* these have left again */
		s.clients[i] = close_fd(s.clients[i]);
	intake_set_state(s.intake, INTAKE_SERVING);
	turn_while_ready();
	assert_int_equal(n_in(&s, LISTENER_OPEN), MANY);
	for (size_t i = 1; i < MANY; i += 2)
		assert_int_equal(s.n_accepted[i], 1);
	end(&s);
}

/* Pausing is for longer, and strict. What was held is open afterwards, too. */
static void test_paused_by_the_administrator(void **state)
{
	struct scene s;

	(void)state;
	begin(&s, MANY);
	intake_set_state(s.intake, INTAKE_FULL);
	come(&s, 3);
	turn_while_ready();
	intake_set_state(s.intake, INTAKE_PAUSED);
	assert_int_equal(n_in(&s, LISTENER_PAUSED), MANY);
	intake_set_state(s.intake, INTAKE_FULL);
	assert_int_equal(n_in(&s, LISTENER_PAUSED), MANY);
	intake_set_state(s.intake, INTAKE_SERVING);
	turn_while_ready();
	assert_int_equal(n_in(&s, LISTENER_OPEN), MANY);
	assert_int_equal(s.n_accepted[3], 1);
	end(&s);
}

/* A reload in between. */
static void test_other_listeners(void **state)
{
	struct listener **old;
	struct scene s;

	(void)state;
	begin(&s, MANY);
	intake_set_state(s.intake, INTAKE_FULL);
	for (size_t i = 0; i < MANY; i++)
		come(&s, i);
	turn_while_ready();
	intake_set_state(s.intake, INTAKE_SERVING);
	old = s.listeners;
	s.listeners = calloc(1, sizeof(struct listener *));
	s.listeners[0] = old[MANY - 1];
	s.n_listeners = 1;
	for (size_t i = 0; i + 1 < MANY; i++)
		listener_free(old[i]);
	intake_replace(s.intake, s.listeners, 1, &options, false);
	turn_while_ready();
	assert_int_equal(s.n_accepted[0], 1);
	assert_int_equal(n_in(&s, LISTENER_OPEN), 1);
	end(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_loop_test(test_few_are_all_switched),
		check_loop_test(test_of_many_those_that_wake_us),
		check_loop_test(test_each_has_its_turn),
		check_loop_test(test_all_are_let_go),
		check_loop_test(test_paused_by_the_administrator),
		check_loop_test(test_other_listeners),
	};

	return cmocka_run_group_tests_name("intake", tests, NULL, NULL);
}
