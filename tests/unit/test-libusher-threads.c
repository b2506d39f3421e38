/* SPDX-License-Identifier: MIT */
/* libusher: waiting, and several threads on one registration. The clock is the real one. */
#include "fake-usherd.h"
#include "test.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define N_THREADS     4
#define N_CONNECTIONS 800

static struct usher *new_waiting(void)
{
	struct usher *u;

	assert_int_equal(usher_new(&u, "test", NULL), 0);
	return u;
}

/* What the threads of a test share. Asserting is for the main thread only: they report. */
struct crew {
	struct usher *usher;
	pthread_t threads[N_THREADS];
	pthread_barrier_t all_have_one;
	atomic_uint n_served;
	atomic_int failure; /* the first unexpected result */
};

static void crew_start(struct crew *crew, void *(*run)(void *crew))
{
	for (size_t i = 0; i < N_THREADS; i++)
		assert_int_equal(pthread_create(&crew->threads[i], NULL, run, crew), 0);
}

static void crew_join(struct crew *crew)
{
	for (size_t i = 0; i < N_THREADS; i++)
		assert_int_equal(pthread_join(crew->threads[i], NULL), 0);
	assert_int_equal(crew->failure, 0);
}

static void crew_fail(struct crew *crew, int r)
{
	int none = 0;

	atomic_compare_exchange_strong(&crew->failure, &none, r ? r : -EIO);
}

/* Serve until drained. */
static void *serve(void *userdata)
{
	struct crew *crew = userdata;
	struct usher_connection connection;
	int r;

	while ((r = usher_accept(crew->usher, &connection, 0)) == 0) {
		if (send(connection.fd, "x", 1, MSG_NOSIGNAL) != 1)
			crew_fail(crew, -errno);
		r = usher_close(crew->usher, &connection);
		if (r < 0)
			crew_fail(crew, r);
		crew->n_served++;
	}
	if (r != -ESHUTDOWN)
		crew_fail(crew, r);
	return NULL;
}

static void register_crew(void)
{
	fake_accept();
	fake_welcome();
}

/* Read claims and releases until all were released. */
static void expect_all_released(size_t n_expected)
{
	uint64_t claimed = 0;
	size_t n_released = 0;

	while (n_released < n_expected) {
		fake_receive();
		if (fake.message->header.type == WIRE_CLAIM) {
			assert_true(fake.message->claim.sequence > claimed);
			claimed = fake.message->claim.sequence;
			continue;
		}
		assert_int_equal(fake.message->header.type, WIRE_RELEASE);
		n_released += wire_n_records(fake.message, fake.size);
	}
	assert_int_equal(n_released, n_expected);
	assert_int_equal(claimed, fake.sequence);
}

static void assert_served(int client)
{
	char byte = 0;

	wait_readable(client);
	assert_int_equal(recv(client, &byte, 1, 0), 1);
	assert_int_equal(byte, 'x');
	assert_eof(client);
}

static void test_waits_for_usherd_and_for_a_connection(void **state)
{
	struct crew crew = {.usher = new_waiting()};
	int client;

	(void)state;
	fake_stop();
	crew_start(&crew, serve);
	fake_start();
	register_crew();
	client = fake_give_one();
	assert_served(client);
	expect_all_released(1);
	usher_drain(crew.usher);
	fake_expect(WIRE_DRAIN);
	fake_send_draining(WIRE_DRAINING_ASKED);
	crew_join(&crew);
	usher_free(crew.usher);
}

static void test_threads_share_the_work(void **state)
{
	struct crew crew = {.usher = new_waiting()};
	int clients[16];

	(void)state;
	crew_start(&crew, serve);
	register_crew();
	for (size_t i = 0; i < N_CONNECTIONS / 16; i++) {
		fake_give(16, clients, NULL);
		expect_all_released(16);
		for (size_t j = 0; j < 16; j++)
			assert_served(clients[j]);
	}
	assert_int_equal(usher_holding(crew.usher), 0);
	usher_drain(crew.usher);
	fake_expect(WIRE_DRAIN);
	fake_send_draining(WIRE_DRAINING_ASKED);
	crew_join(&crew);
	assert_int_equal(crew.n_served, N_CONNECTIONS);
	usher_free(crew.usher);
}

/* Forward every connection with the bytes it came with, until drained. */
static void *forward(void *userdata)
{
	struct crew *crew = userdata;
	struct usher_connection connection;
	int r;

	while ((r = usher_accept(crew->usher, &connection, 0)) == 0) {
		r = usher_forward(
			crew->usher, &connection, "mailbox", connection.data, connection.data_size);
		if (r < 0)
			crew_fail(crew, r);
		crew->n_served++;
	}
	if (r != -ESHUTDOWN)
		crew_fail(crew, r);
	return NULL;
}

/* Read claims and FORWARDs until these were forwarded, each with its own number as its bytes. */
static void expect_all_forwarded(uint64_t first, uint64_t last)
{
	uint64_t claimed = 0, n = 0;

	while (n <= last - first) {
		uint64_t id;

		fake_receive();
		if (fake.message->header.type == WIRE_CLAIM) {
			claimed = fake.message->claim.sequence;
			continue;
		}
		assert_int_equal(fake.message->header.type, WIRE_FORWARD);
		id = fake.message->forward.id;
		assert_in_range(id, first, last);
		assert_true(id <= claimed);
		assert_int_equal(wire_n_records(fake.message, fake.size), sizeof(id));
		assert_memory_equal(fake.message->forward.data, &id, sizeof(id));
		n++;
	}
}

/* One message after the other is given away with its connection while others are forwarded. */
static void test_threads_forward_what_was_forwarded_to_them(void **state)
{
	struct crew crew = {.usher = new_waiting()};
	int clients[16];

	(void)state;
	fake.welcome_flags = WIRE_WELCOME_MAY_FORWARD;
	crew_start(&crew, forward);
	register_crew();
	for (uint64_t first = 1; first < N_CONNECTIONS; first += 16) {
		for (uint64_t i = 0; i < 16; i++)
			clients[i] =
				fake_give_forwarded(&(uint64_t){first + i}, sizeof(uint64_t), NULL);
		expect_all_forwarded(first, first + 15);
		for (size_t i = 0; i < 16; i++)
			close(clients[i]);
	}
	assert_int_equal(usher_holding(crew.usher), 0);
	usher_drain(crew.usher);
	fake_expect(WIRE_DRAIN);
	fake_send_draining(WIRE_DRAINING_ASKED);
	crew_join(&crew);
	assert_int_equal(crew.n_served, N_CONNECTIONS);
	usher_free(crew.usher);
}

/* Take one connection and keep it until everybody has one. */
static void *serve_together(void *userdata)
{
	struct crew *crew = userdata;
	struct usher_connection connection;
	int r = usher_accept(crew->usher, &connection, 0);

	if (r < 0) {
		crew_fail(crew, r);
		return NULL;
	}
	pthread_barrier_wait(&crew->all_have_one);
	usher_close(crew->usher, &connection);
	return NULL;
}

/* One thread receives the message with all of them, and then is busy. */
static void test_queued_connections_wake_idle_threads(void **state)
{
	struct crew crew = {.usher = new_waiting()};
	int clients[N_THREADS];

	(void)state;
	pthread_barrier_init(&crew.all_have_one, NULL, N_THREADS);
	crew_start(&crew, serve_together);
	register_crew();
	fake_give(N_THREADS, clients, NULL);
	crew_join(&crew);
	assert_false(is_readable(usher_fd(crew.usher))); /* nobody is woken in vain */
	for (size_t i = 0; i < N_THREADS; i++)
		assert_eof(clients[i]);
	expect_all_released(N_THREADS);
	pthread_barrier_destroy(&crew.all_have_one);
	usher_free(crew.usher);
}

/* Serve one connection, and then be busy with the next until somebody else is there. */
static void *serve_two_slowly(void *userdata)
{
	struct crew *crew = userdata;
	struct usher_connection connection;

	for (int i = 0; i < 2; i++) {
		int r = usher_accept(crew->usher, &connection, 0);

		if (r < 0)
			crew_fail(crew, r);
		if (i == 1)
			pthread_barrier_wait(&crew->all_have_one);
		usher_close(crew->usher, &connection);
	}
	return NULL;
}

/* Who may wait in usher_accept() may be long away from it, though more are queued. */
static void test_releases_of_a_waiting_service_are_not_collected(void **state)
{
	struct crew crew = {.usher = new_waiting()};
	pthread_t thread;
	int clients[3];

	(void)state;
	pthread_barrier_init(&crew.all_have_one, NULL, 2);
	assert_int_equal(pthread_create(&thread, NULL, serve_two_slowly, &crew), 0);
	register_crew();
	fake_give(3, clients, NULL);
	fake_expect_claim(3);
	fake_expect_release((const uint64_t[]){1}, 1);
	pthread_barrier_wait(&crew.all_have_one);
	fake_expect_release((const uint64_t[]){2}, 1);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(crew.failure, 0);
	pthread_barrier_destroy(&crew.all_have_one);
	usher_free(crew.usher);
	for (size_t i = 0; i < 3; i++)
		assert_eof(clients[i]);
}

static void test_threads_survive_restarts_of_usherd(void **state)
{
	struct crew crew = {.usher = new_waiting()};
	unsigned int n_given = 0;
	int clients[16];

	(void)state;
	crew_start(&crew, serve);
	for (int restarts = 0; restarts < 5; restarts++) {
		register_crew();
		fake_give(16, clients, NULL);
		n_given += 16;
		fake_stop(); /* claims and releases unread */
		fake_start();
		for (size_t i = 0; i < 16; i++)
			assert_served(clients[i]);
	}
	fake_stop(); /* so that draining needs no answer */
	usher_drain(crew.usher);
	crew_join(&crew);
	assert_int_equal(crew.n_served, n_given);
	usher_free(crew.usher);
}

static void on_signal(int number)
{
	(void)number;
}

static void test_signal_interrupts_the_wait(void **state)
{
	struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART}, old;
	const struct itimerspec often = {{.tv_nsec = 10000000}, {.tv_nsec = 10000000}};
	struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
	struct usher *u = new_waiting();
	struct usher_connection connection;
	timer_t timer;

	(void)state;
	assert_int_equal(sigaction(SIGUSR1, &action, &old), 0);
	assert_int_equal(timer_create(CLOCK_MONOTONIC, &event, &timer), 0);
	assert_int_equal(timer_settime(timer, 0, &often, NULL), 0);
	assert_int_equal(usher_accept(u, &connection, 0), -EINTR);
	timer_delete(timer);
	assert_int_equal(sigaction(SIGUSR1, &old, NULL), 0);
	usher_free(u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_fake_running(test_waits_for_usherd_and_for_a_connection),
		check_fake_running(test_threads_share_the_work),
		check_fake_running(test_threads_forward_what_was_forwarded_to_them),
		check_fake_running(test_queued_connections_wake_idle_threads),
		check_fake_running(test_releases_of_a_waiting_service_are_not_collected),
		check_fake_running(test_threads_survive_restarts_of_usherd),
		check_fake_running(test_signal_interrupts_the_wait),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
