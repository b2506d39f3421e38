/* SPDX-License-Identifier: MIT */
/*
 * A service as a whole: what clients meet while nobody, or nobody with credit, serves them; claims
 * that do not come; errors of accepting.
 *
 * accept4(2) is wrapped to fail, reallocarray(3) to have no memory.
 */
#include "fd.h"
#include "loop.h"
#include "service-world.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>

static int accept_error, n_accept_errors;
static int n_shutdown_errors;
static bool has_no_memory;

int __real_accept4(int fd, struct sockaddr *address, socklen_t *length, int flags);
int __wrap_accept4(int fd, struct sockaddr *address, socklen_t *length, int flags);
void *__real_reallocarray(void *old, size_t n, size_t size);
void *__wrap_reallocarray(void *old, size_t n, size_t size);

int __real_shutdown(int fd, int how);
int __wrap_shutdown(int fd, int how);

/* As of a listener that can't be made to refuse for now. */
int __wrap_shutdown(int fd, int how)
{
	if (how == SHUT_RD && n_shutdown_errors > 0) {
		n_shutdown_errors--;
		errno = ENOBUFS;
		return -1;
	}
	return __real_shutdown(fd, how);
}

int __wrap_accept4(int fd, struct sockaddr *address, socklen_t *length, int flags)
{
	if (n_accept_errors > 0) {
		n_accept_errors--;
		errno = accept_error;
		return -1;
	}
	return __real_accept4(fd, address, length, flags);
}

void *__wrap_reallocarray(void *old, size_t n, size_t size)
{
	if (has_no_memory) {
		errno = ENOMEM;
		return NULL;
	}
	return __real_reallocarray(old, n, size);
}

/* The errno that a further client of a TCP service meets when it connects; 0: it is connected. */
static int connect_error(const struct world *w)
{
	const struct address *bound = listener_bound(listener_of(w));
	_cleanup_close_ int fd = socket(bound->sockaddr.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	return connect(fd, &bound->sockaddr, bound->length) < 0 ? errno : 0;
}

static void check_intake(const struct world *w, enum intake_state intake, enum listener_state state)
{
	assert_int_equal(intake_state(service_intake(w->service)), intake);
	assert_int_equal(listener_state(listener_of(w)), state);
}

static const struct dispatch_provider *record_of(const struct world *w, unsigned int number)
{
	const struct provider *p = provider_of(w, number);

	assert_non_null(p);
	return p->record;
}

/* Nobody is registered. */

static void test_clients_wait_while_nobody_is_registered(void **state)
{
	struct world w;
	struct peer p;

	(void)state;
	begin(&w);
	open_service_on(&w, ANY_PORT);
	check_intake(&w, INTAKE_WAITING, LISTENER_PAUSED);
	clients(&w, "abc");
	assert_int_equal(turn_while_ready(), 0);
	join(&w, &p, 10);
	check_intake(&w, INTAKE_SERVING, LISTENER_OPEN);
	expect_connections(&p, "abc");
	leave(&p);
	turn_until(!service_providers(w.service));
	check_intake(&w, INTAKE_WAITING, LISTENER_PAUSED);
	end(&w);
}

static void test_clients_are_refused_while_nobody_is_registered(void **state)
{
	struct world w;
	struct peer p;

	(void)state;
	begin(&w);
	w.config.unavailable = CONFIG_UNAVAILABLE_REFUSE;
	open_service_on(&w, ANY_PORT);
	for (int i = 0; i < 3; i++) {
		check_intake(&w, INTAKE_REFUSING, LISTENER_REFUSING);
		assert_int_equal(connect_error(&w), ECONNREFUSED);
		join(&w, &p, 10);
		check_intake(&w, INTAKE_SERVING, LISTENER_OPEN);
		clients(&w, "a");
		expect_connections(&p, "a");
		claim(&p, 1);
		leave(&p);
		turn_until(!service_providers(w.service));
	}
	end(&w);
}

/* Let usherd accept and reset a client. */
static void check_resets(struct world *w)
{
	uint64_t n_before = intake_n_reset(service_intake(w->service));
	_cleanup_close_ int fd = silent_client(w);

	turn_until(intake_n_reset(service_intake(w->service)) > n_before);
	check_was_reset(fd);
}

static void test_clients_are_reset_while_nobody_is_registered(void **state)
{
	struct world w;
	struct peer p;

	(void)state;
	begin(&w);
	w.config.unavailable = CONFIG_UNAVAILABLE_RESET;
	open_service_on(&w, ANY_PORT);
	check_intake(&w, INTAKE_RESETTING, LISTENER_OPEN);
	check_resets(&w);
	join(&w, &p, 10);
	check_intake(&w, INTAKE_SERVING, LISTENER_OPEN);
	clients(&w, "b");
	expect_connections(&p, "b");
	leave(&p);
	turn_until(!service_providers(w.service));
	check_resets(&w);
	assert_int_equal(dispatch_totals(service_dispatch(w.service))->n_accepted, 1);
	end(&w);
}

/* Who drains serves nobody any more. */
static void test_draining_providers_are_nobody(void **state)
{
	struct world w;
	struct peer p;

	(void)state;
	begin(&w);
	w.config.unavailable = CONFIG_UNAVAILABLE_REFUSE;
	open_service_on(&w, ANY_PORT);
	join(&w, &p, 10);
	drain(&p);
	expect(&p, WIRE_DRAINING);
	check_intake(&w, INTAKE_REFUSING, LISTENER_REFUSING);
	leave(&p);
	end(&w);
}

static void test_a_reload_changes_what_clients_meet(void **state)
{
	struct world w;

	(void)state;
	begin(&w);
	open_service_on(&w, ANY_PORT);
	assert_int_equal(connect_error(&w), 0);
	w.config.unavailable = CONFIG_UNAVAILABLE_REFUSE;
	reconfigure(&w, 0);
	assert_int_equal(connect_error(&w), ECONNREFUSED);
	w.config.unavailable = CONFIG_UNAVAILABLE_RESET;
	reconfigure(&w, 0);
	check_resets(&w);
	w.config.unavailable = CONFIG_UNAVAILABLE_WAIT;
	reconfigure(&w, 0);
	check_intake(&w, INTAKE_WAITING, LISTENER_PAUSED);
	assert_int_equal(connect_error(&w), 0);
	end(&w);
}

/* Somebody is registered, but full. */

static void test_clients_wait_while_nobody_has_credit(void **state)
{
	struct world w;
	struct peer p;

	(void)state;
	begin(&w);
	w.config.unavailable = CONFIG_UNAVAILABLE_REFUSE; /* which is for nobody at all */
	open_service_on(&w, ANY_PORT);
	join(&w, &p, 0);
	check_intake(&w, INTAKE_FULL, LISTENER_PAUSED);
	clients(&w, "ab");
	assert_int_equal(turn_while_ready(), 0);
	credit(&p, 0, 1);
	expect_connections(&p, "a");
	check_intake(&w, INTAKE_FULL, LISTENER_PAUSED);
	expect_nothing(&p);
	leave(&p);
	end(&w);
}

static void test_no_more_instances_than_configured(void **state)
{
	struct world w;
	struct peer first, second;

	(void)state;
	begin(&w);
	w.config.instances = 2;
	open_service(&w);
	clients(&w, "abcd");
	join(&w, &first, 10);
	expect_connections(&first, "ab");
	join(&w, &second, 10);
	expect_nothing(&second);
	check_intake(&w, INTAKE_FULL, LISTENER_PAUSED);
	claim(&first, 2);
	expect_nothing(&second); /* claimed ones count */
	release(&first, first.last_id);
	expect_connections(&second, "c");
	expect_nothing(&first);
	w.config.instances = 3;
	reconfigure(&w, 0);
	(void)turn_while_ready();
	assert_int_equal(dispatch_totals(service_dispatch(w.service))->n_accepted, 4);
	leave(&first);
	leave(&second);
	end(&w);
}

static bool has_mail(const struct peer *p)
{
	return poll(&(struct pollfd){.fd = p->fd, .events = POLLIN}, 1, 0) == 1;
}

static void test_all_who_are_idle_get_theirs_before_anybody_claims(void **state)
{
	struct world w;
	struct peer peers[3];

	(void)state;
	begin(&w);
	open_service(&w);
	for (int i = 0; i < 3; i++)
		join(&w, &peers[i], 10);
	clients(&w, "abc");
	for (int i = 0; i < 3; i++)
		turn();
	for (int i = 0; i < 3; i++) {
		assert_true(has_mail(&peers[i]));
		leave(&peers[i]);
	}
	end(&w);
}

static void test_the_balance_is_the_configured_one(void **state)
{
	struct world w;
	struct peer first, second;

	(void)state;
	begin(&w);
	w.config.providers.balance = CONFIG_BALANCE_ROUND_ROBIN;
	open_service(&w);
	join(&w, &first, 100);
	clients(&w, "abc");
	expect_connections(&first, "abc");
	join(&w, &second, 100);
	clients(&w, "de"); /* in turn, whatever the first has in hand */
	expect_connections(&first, "d");
	expect_connections(&second, "e");
	w.config.providers.balance = CONFIG_BALANCE_LEAST;
	reconfigure(&w, 0);
	clients(&w, "fg");
	expect_connections(&second, "fg");
	leave(&first);
	leave(&second);
	end(&w);
}

/* Claims that do not come. */

static void test_who_does_not_claim_gets_no_more_until_it_does(void **state)
{
	struct world w;
	struct peer stuck, other;

	(void)state;
	begin(&w);
	w.config.claim_timeout_usec = 20000;
	open_service(&w);
	join(&w, &stuck, 10);
	clients(&w, "ab");
	expect_connections(&stuck, "ab");
	turn_until(record_of(&w, 1)->state == PROVIDER_STUCK);
	assert_int_equal(n_logged("has not claimed 2 connections for 20 ms: it gets no more"), 1);
	assert_int_equal(intake_state(service_intake(w.service)), INTAKE_FULL);

	join(&w, &other, 10);
	clients(&w, "cd");
	expect_connections(&other, "cd");
	claim(&other, 2);
	expect_nothing(&other); /* "a" and "b" are not its business: the first still lives */
	assert_true(is_connected(&w, 0));

	claim(&stuck, 1);
	turn_until(record_of(&w, 1)->state == PROVIDER_READY);
	drain(&other);
	clients(&w, "e");
	expect_connections(&stuck, "e");
	leave(&stuck);
	leave(&other);
	end(&w);
}

static void test_who_claims_in_time_is_not_stuck(void **state)
{
	struct world w;
	struct peer p;

	(void)state;
	begin(&w);
	w.config.claim_timeout_usec = 200000;
	open_service(&w);
	join(&w, &p, 10);
	clients(&w, "abcdefgh");
	expect_connections(&p, "abcdefgh");
	for (uint64_t i = 1; i <= 8; i++) { /* each claim begins the time anew */
		let_pass(40000);
		claim(&p, i);
	}
	(void)turn_while_ready();
	assert_int_equal(record_of(&w, 1)->state, PROVIDER_READY);
	assert_int_equal(n_logged("has not claimed"), 0);
	leave(&p);
	end(&w);
}

static void test_the_death_of_the_stuck_gives_its_connections_to_another(void **state)
{
	struct world w;
	struct peer stuck, other;

	(void)state;
	begin(&w);
	w.config.claim_timeout_usec = 20000;
	open_service(&w);
	join(&w, &stuck, 10);
	clients(&w, "ab");
	turn_until(record_of(&w, 1) && record_of(&w, 1)->state == PROVIDER_STUCK);
	join(&w, &other, 10);
	leave(&stuck);
	expect_connections(&other, "ab");
	leave(&other);
	end(&w);
}

/* Accepting fails. */

static void check_accept_failed(struct world *w, struct peer *p, int error, unsigned int n_episodes)
{
	accept_error = error;
	n_accept_errors = 3;
	clients(w, "a");
	turn_until(n_accept_errors == 2);
	assert_int_equal(listener_state(listener_of(w)), LISTENER_RETRYING);
	expect_connections(p, "a");
	assert_int_equal(n_logged("clients wait in the backlog"), n_episodes);
	assert_int_equal(listener_state(listener_of(w)), LISTENER_OPEN);
}

static void test_errors_of_accepting_are_logged_once_an_episode(void **state)
{
	struct world w;
	struct peer p;

	(void)state;
	loop_hurry = 100;
	begin(&w);
	open_service(&w);
	join(&w, &p, 10);
	check_accept_failed(&w, &p, EMFILE, 1);
	assert_int_equal(n_logged("raise LimitNOFILE= or lower the services' instances"), 1);
	check_accept_failed(&w, &p, ENOBUFS, 2);
	assert_int_equal(n_logged("raise LimitNOFILE= or lower the services' instances"), 1);
	leave(&p);
	end(&w);
}

static void test_without_memory_clients_wait_in_the_backlog(void **state)
{
	struct world w;
	struct peer p;

	(void)state;
	loop_hurry = 100;
	begin(&w);
	open_service(&w);
	join(&w, &p, 10);
	has_no_memory = true;
	clients(&w, "a");
	turn_until(listener_state(listener_of(&w)) == LISTENER_RETRYING);
	assert_int_equal(n_logged("Cannot allocate memory; clients wait in the backlog"), 1);
	has_no_memory = false;
	expect_connections(&p, "a");
	leave(&p);
	end(&w);
}

/* The rendezvous after a reload. */

static void test_a_reload_changes_who_can_connect(void **state)
{
	static uid_t users[] = {4711};
	struct world w;
	struct stat st;
	const char *path = in_folder("echo.sock");

	(void)state;
	begin(&w);
	open_service(&w);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	w.config.providers.accounts.users = users;
	w.config.providers.accounts.n_users = 1;
	reconfigure(&w, 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0666);
	w.config.providers.accounts.n_users = 0;
	w.config.providers.accounts.groups = users;
	w.config.providers.accounts.n_groups = 1;
	reconfigure(&w, 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0666);
	w.config.providers.accounts.n_groups = 0;
	reconfigure(&w, 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	end(&w);
}

static void test_a_reload_without_other_listeners_says_nothing(void **state)
{
	struct world w;
	struct peer p;

	(void)state;
	begin(&w);
	open_service(&w);
	join(&w, &p, 10);
	w.config.instances = 7;
	reconfigure(&w, 0);
	expect_nothing(&p);
	leave(&p);
	end(&w);
}

static void test_the_listener_index_counts_in_the_welcome(void **state)
{
	const struct wire_connection *connection = &heard.connections.connections[0];
	struct listener *const *listeners;
	_cleanup_close_ int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	const struct address *second;
	struct world w;
	struct peer p;
	size_t n;

	(void)state;
	begin(&w);
	open_service(&w);
	reconfigure(&w, 1);
	join(&w, &p, 10);
	listeners = intake_listeners(service_intake(w.service), &n);
	second = listener_bound(listeners[1]);
	assert_int_equal(connect(fd, &second->sockaddr, second->length), 0);
	assert_int_equal(send(fd, "t", 1, MSG_NOSIGNAL), 1);
	expect_connections(&p, "t");
	assert_int_equal(connection->listener, 1);
	assert_int_equal(connection->peer.family, AF_INET);
	clients(&w, "u");
	expect_connections(&p, "u");
	assert_int_equal(connection->listener, 0);
	leave(&p);
	end(&w);
}

/* As a reload that leaves these of the two listeners, in this order. */
static void reconfigure_to(struct world *w, struct listener *first, struct listener *second)
{
	struct listener **listeners = calloc(2, sizeof(struct listener *));

	assert_non_null(listeners);
	listeners[0] = first;
	listeners[1] = second;
	service_configure(w->service, &w->config, listeners, second ? 2 : 1);
}

static void test_unclaimed_connections_keep_their_listener_across_a_reload(void **state)
{
	const struct wire_connection *connection = &heard.connections.connections[0];
	struct listener *const *listeners, *local, *tcp;
	struct peer first, second, third;
	struct world w;
	size_t n;

	(void)state;
	begin(&w);
	open_service(&w);
	reconfigure(&w, 1);
	listeners = intake_listeners(service_intake(w.service), &n);
	local = listeners[0];
	tcp = listeners[1];

	join(&w, &first, 10);
	clients(&w, "a");
	expect_connections(&first, "a");
	assert_int_equal(connection->listener, 0);
	reconfigure_to(&w, tcp, local);
	expect(&first, WIRE_WELCOME);
	leave(&first);
	join(&w, &second, 10);
	expect_connections(&second, "a");
	assert_int_equal(connection->listener, 1);

	reconfigure_to(&w, tcp, NULL);
	listener_free(local);
	expect(&second, WIRE_WELCOME);
	leave(&second);
	join(&w, &third, 10);
	expect_connections(&third, "a");
	assert_int_equal(connection->listener, WIRE_NO_LISTENER);
	reconfigure_to(&w, tcp, NULL);
	leave(&third);
	end(&w);
}

static void test_a_listener_that_does_not_follow_is_tried_again(void **state)
{
	struct world w;
	struct peer p;

	(void)state;
	loop_hurry = 100;
	begin(&w);
	w.config.unavailable = CONFIG_UNAVAILABLE_REFUSE;
	n_shutdown_errors = 3;
	open_service_on(&w, "tcp:127.0.0.1:0");
	assert_int_equal(intake_state(service_intake(w.service)), INTAKE_REFUSING);
	assert_int_equal(listener_state(listener_of(&w)), LISTENER_PAUSED);
	turn_until(listener_state(listener_of(&w)) == LISTENER_REFUSING);
	assert_int_equal(n_logged("cannot change whether clients are let in"), 1);
	join(&w, &p, 10);
	assert_int_equal(listener_state(listener_of(&w)), LISTENER_OPEN);
	n_shutdown_errors = 1;
	leave(&p);
	turn_until(listener_state(listener_of(&w)) == LISTENER_REFUSING);
	assert_int_equal(n_logged("cannot change whether clients are let in"), 2);
	end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_loop_test(test_clients_wait_while_nobody_is_registered),
		check_loop_test(test_clients_are_refused_while_nobody_is_registered),
		check_loop_test(test_clients_are_reset_while_nobody_is_registered),
		check_loop_test(test_draining_providers_are_nobody),
		check_loop_test(test_a_reload_changes_what_clients_meet),
		check_loop_test(test_clients_wait_while_nobody_has_credit),
		check_loop_test(test_no_more_instances_than_configured),
		check_loop_test(test_all_who_are_idle_get_theirs_before_anybody_claims),
		check_loop_test(test_the_balance_is_the_configured_one),
		check_loop_test(test_who_does_not_claim_gets_no_more_until_it_does),
		check_loop_test(test_who_claims_in_time_is_not_stuck),
		check_loop_test(test_the_death_of_the_stuck_gives_its_connections_to_another),
		check_loop_test(test_errors_of_accepting_are_logged_once_an_episode),
		check_loop_test(test_without_memory_clients_wait_in_the_backlog),
		check_loop_test(test_a_reload_changes_who_can_connect),
		check_loop_test(test_a_reload_without_other_listeners_says_nothing),
		check_loop_test(test_the_listener_index_counts_in_the_welcome),
		check_loop_test(test_a_listener_that_does_not_follow_is_tried_again),
		check_loop_test(test_unclaimed_connections_keep_their_listener_across_a_reload),
	};

	return cmocka_run_group_tests_name("service", tests, NULL, NULL);
}
