/* SPDX-License-Identifier: MIT */
/*
 * The closer, on connections of which one side set SO_LINGER and the other reads nothing.
 *
 * Their close(2) takes an hour, far longer than a test may: what waits for it fails.
 */
#include "closer.h"
#include "fd.h"
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define LONG_ENOUGH_USEC (30 * UINT64_C(1000000))
#define AN_HOUR		 3600

static bool has_no_close_range, has_no_timer;
static int gated_fd = -EBADF; /* its close waits for `gate` */
static sem_t gate, ticks_stopped;
static pid_t closing_thread;

int __wrap_close_range(unsigned int first, unsigned int last, int flags);
int __real_close_range(unsigned int first, unsigned int last, int flags);
int __wrap_close_range(unsigned int first, unsigned int last, int flags)
{
	if (!has_no_close_range)
		return __real_close_range(first, last, flags);
	errno = ENOSYS;
	return -1;
}

int __wrap_timer_create(clockid_t id, struct sigevent *event, timer_t *ret);
int __real_timer_create(clockid_t id, struct sigevent *event, timer_t *ret);
int __wrap_timer_create(clockid_t id, struct sigevent *event, timer_t *ret)
{
	closing_thread = gettid();
	if (!has_no_timer)
		return __real_timer_create(id, event, ret);
	errno = EAGAIN;
	return -1;
}

int __wrap_timer_settime(
	timer_t timer, int flags, const struct itimerspec *value, struct itimerspec *old);
int __real_timer_settime(
	timer_t timer, int flags, const struct itimerspec *value, struct itimerspec *old);
int __wrap_timer_settime(
	timer_t timer, int flags, const struct itimerspec *value, struct itimerspec *old)
{
	int r = __real_timer_settime(timer, flags, value, old);

	if (value->it_value.tv_nsec == 0)
		sem_post(&ticks_stopped);
	return r;
}

int __wrap_close(int fd);
int __real_close(int fd);
int __wrap_close(int fd)
{
	if (fd == gated_fd)
		sem_wait(&gate);
	return __real_close(fd);
}

struct connection {
	int server_fd;
	int client_fd;
	size_t n_sent; /* bytes */
};

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

/* A connection over TCP on loopback. */
static void connection_open(struct connection *c)
{
	static const int small = 4096;
	struct sockaddr_in address = {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof(address);
	_cleanup_close_ int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	c->client_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(c->client_fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	assert_int_equal(bind(listener, (struct sockaddr *)&address, length), 0);
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &length), 0);
	assert_int_equal(connect(c->client_fd, (struct sockaddr *)&address, length), 0);
	c->server_fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	assert_true(c->server_fd >= 0);
}

static void set_linger(int fd, int seconds)
{
	struct linger linger = {.l_onoff = 1, .l_linger = seconds};

	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), 0);
}

/* More data on its way than the client has room for. */
static void connection_open_lingering(struct connection *c, int seconds)
{
	char data[4096] = {0};
	ssize_t n;

	connection_open(c);
	set_linger(c->server_fd, seconds);
	for (c->n_sent = 0; (n = write(c->server_fd, data, sizeof(data))) > 0;)
		c->n_sent += (size_t)n;
	assert_int_equal(errno, EAGAIN);
}

/* The client reads at last: everything has come, then the end. */
static void connection_check_all_arrived(struct connection *c)
{
	char data[65536];
	size_t n_received = 0;
	ssize_t n;

	while ((n = read(c->client_fd, data, sizeof(data))) > 0)
		n_received += (size_t)n;
	assert_int_equal(n, 0);
	assert_int_equal(n_received, c->n_sent);
	c->client_fd = close_fd(c->client_fd);
}

static uint64_t now_msec(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void test_lingering_close_waits_without_the_closer(void **state)
{
	struct connection c;
	uint64_t begin;

	(void)state;
	connection_open_lingering(&c, 1);
	begin = now_msec();
	c.server_fd = closer_close(c.server_fd);
	assert_true(now_msec() - begin >= 900);
	connection_check_all_arrived(&c);
}

static void test_lingering_closes_delay_nobody_and_lose_nothing(void **state)
{
	enum { N = 16 };
	struct connection connections[N];
	int fds[N];

	(void)state;
	assert_int_equal(closer_start(), 0);
	for (size_t i = 0; i < N; i++) {
		connection_open_lingering(&connections[i], AN_HOUR);
		fds[i] = connections[i].server_fd;
	}
	for (size_t i = 0; i < N; i++) {
		assert_int_equal(closer_close(fds[i]), -EBADF);
		if (i % 3 == 0)
			closer_flush();
	}
	closer_stop(LONG_ENOUGH_USEC);
	for (size_t i = 0; i < N; i++)
		assert_false(is_open(fds[i]));
	for (size_t i = 0; i < N; i++)
		connection_check_all_arrived(&connections[i]);
}

static void test_abortive_close_stays_abortive(void **state)
{
	struct connection c;
	char byte;

	(void)state;
	connection_open(&c);
	set_linger(c.server_fd, 0);
	assert_int_equal(closer_start(), 0);
	closer_close(c.server_fd);
	closer_stop(LONG_ENOUGH_USEC);
	assert_int_equal(read(c.client_fd, &byte, 1), -1);
	assert_int_equal(errno, ECONNRESET);
	close_fd(c.client_fd);
}

static void test_socket_of_somebody_else_stays_as_it_is(void **state)
{
	struct linger linger;
	socklen_t length = sizeof(linger);
	struct connection c;
	int copy;

	(void)state;
	connection_open_lingering(&c, AN_HOUR);
	copy = fcntl(c.server_fd, F_DUPFD_CLOEXEC, 0);
	assert_int_equal(closer_start(), 0);
	closer_close(c.server_fd);
	closer_stop(LONG_ENOUGH_USEC);
	assert_int_equal(getsockopt(copy, SOL_SOCKET, SO_LINGER, &linger, &length), 0);
	assert_int_equal(linger.l_onoff, 1);
	assert_int_equal(linger.l_linger, AN_HOUR);
	set_linger(copy, 0);
	close_fd(copy);
	close_fd(c.client_fd);
}

/* Close all but every third of many neighbours, in an order of no kind. */
static void check_neighbours(void)
{
	enum { N = 600, STEP = 7 }; /* two without a common factor, and more than one batch */
	int fds[N];

	for (int i = 0; i < N; i++)
		assert_true((fds[i] = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3)) >= 3);
	assert_int_equal(closer_start(), 0);
	for (int i = 0, k = 0; i < N; i++, k = (k + STEP) % N)
		if (k % 3 != 0)
			closer_close(fds[k]);
	closer_stop(LONG_ENOUGH_USEC);
	for (int i = 0; i < N; i++)
		assert_int_equal(is_open(fds[i]), i % 3 == 0);
	for (int i = 0; i < N; i += 3)
		close_fd(fds[i]);
}

static void test_neighbours_that_were_not_given_stay_open(void **state)
{
	(void)state;
	check_neighbours();
}

static void test_kernel_without_close_range(void **state)
{
	(void)state;
	has_no_close_range = true;
	check_neighbours();
	has_no_close_range = false;
}

static void test_no_timer_can_be_had(void **state)
{
	(void)state;
	has_no_timer = true;
	check_neighbours();
	has_no_timer = false;
}

/* Also after a signal that came when they had stopped. */
static void test_ticks_run_for_each_batch_and_stop(void **state)
{
	struct connection c;

	(void)state;
	assert_int_equal(sem_init(&ticks_stopped, 0, 0), 0);
	assert_int_equal(closer_start(), 0);
	for (int i = 0; i < 3; i++) {
		connection_open_lingering(&c, AN_HOUR);
		closer_close(c.server_fd);
		closer_flush();
		sem_wait(&ticks_stopped);
		assert_int_equal(tgkill(getpid(), closing_thread, SIGRTMIN), 0);
		connection_check_all_arrived(&c);
	}
	assert_true(closer_stop(LONG_ENOUGH_USEC));
}

static void test_hundred_thousand_closes_leave_no_descriptor(void **state)
{
	size_t n_before = test_count_fds();

	(void)state;
	assert_int_equal(closer_start(), 0);
	for (int i = 0; i < 100000; i++) {
		int fd;

		while ((fd = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3)) < 0) {
			assert_int_equal(errno, EMFILE); /* the closer is behind */
			closer_flush();
			sched_yield();
		}
		closer_close(fd);
		if (i % 16 == 0)
			closer_flush();
	}
	closer_stop(LONG_ENOUGH_USEC);
	assert_int_equal(test_count_fds(), n_before);
}

static void test_no_room_closes_directly(void **state)
{
	struct rlimit limit, low;
	int fds[9];

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	for (size_t i = 0; i < 9; i++)
		assert_true((fds[i] = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3)) >= 3);
	low = (struct rlimit){.rlim_cur = 8, .rlim_max = limit.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	assert_int_equal(closer_start(), 0);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	for (size_t i = 0; i < 9; i++)
		closer_close(fds[i]);
	assert_true(is_open(fds[8]));
	closer_flush();
	for (size_t i = 0; i < 9; i++)
		assert_false(is_open(fds[i]));
	closer_stop(LONG_ENOUGH_USEC);
}

/* Wait until nobody has the other end any more. */
static void wait_hangup(int fd)
{
	struct pollfd poll_fd = {.fd = fd};

	while (poll(&poll_fd, 1, -1) < 0)
		assert_int_equal(errno, EINTR);
	assert_int_equal(poll_fd.revents, POLLHUP);
}

static void test_received_file_that_cannot_be_closed_holds_up_no_socket(void **state)
{
	int fds[4], r;

	(void)state;
	assert_int_equal(sem_init(&gate, 0, 0), 0);
	gated_fd = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
	test_socketpair(fds); /* higher numbers: one thread would close them later */
	test_socketpair(fds + 2);
	assert_int_equal(closer_start(), 0);
	assert_int_equal(closer_close_received(gated_fd), -EBADF);
	assert_int_equal(closer_close_received(fds[0]), -EBADF);
	assert_int_equal(closer_close(fds[2]), -EBADF);
	closer_flush();
	wait_hangup(fds[1]);
	wait_hangup(fds[3]);
	assert_true(is_open(gated_fd));
	assert_false(closer_wait(20000));
	assert_false(closer_stop(50000));
	assert_int_equal(closer_start(), -EBUSY);

	sem_post(&gate);
	do
		r = closer_start();
	while (r == -EBUSY && sched_yield() == 0);
	assert_int_equal(r, 0);
	assert_false(is_open(gated_fd));
	assert_true(closer_stop(LONG_ENOUGH_USEC));
	gated_fd = -EBADF;
	close_fd(fds[1]);
	close_fd(fds[3]);
}

static void test_received_files_are_closed(void **state)
{
	enum { N = 100 };
	int fds[N];

	(void)state;
	assert_int_equal(closer_start(), 0);
	for (int i = 0; i < N; i++) {
		assert_true((fds[i] = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3)) >= 3);
		assert_int_equal(closer_close_received(fds[i]), -EBADF);
	}
	assert_int_equal(closer_close_received(-EBADF), -EBADF);
	assert_true(closer_wait(LONG_ENOUGH_USEC));
	for (int i = 0; i < N; i++)
		assert_false(is_open(fds[i]));
	assert_true(closer_stop(LONG_ENOUGH_USEC));
}

static void test_closes_directly_while_not_open(void **state)
{
	int fds[2];

	(void)state;
	test_socketpair(fds);
	assert_int_equal(closer_close(fds[0]), -EBADF);
	assert_false(is_open(fds[0]));
	assert_int_equal(closer_start(), 0);
	closer_stop(LONG_ENOUGH_USEC);
	assert_int_equal(closer_close(fds[1]), -EBADF);
	assert_false(is_open(fds[1]));
}

static void test_close_of_no_descriptor(void **state)
{
	(void)state;
	assert_int_equal(closer_close(-EBADF), -EBADF);
	assert_int_equal(closer_start(), 0);
	assert_int_equal(closer_close(-EBADF), -EBADF);
	closer_flush();
	closer_stop(LONG_ENOUGH_USEC);
}

static void test_stop_gives_up_at_its_deadline(void **state)
{
	uint64_t begin;
	int r;

	(void)state;
	assert_int_equal(sem_init(&gate, 0, 0), 0);
	gated_fd = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
	assert_int_equal(closer_start(), 0);
	closer_close(gated_fd);
	begin = now_msec();
	closer_stop(50000);
	assert_in_range(now_msec() - begin, 49, 10000);
	assert_int_equal(closer_start(), -EBUSY);

	sem_post(&gate);
	do
		r = closer_start();
	while (r == -EBUSY && sched_yield() == 0);
	assert_int_equal(r, 0);
	closer_stop(LONG_ENOUGH_USEC);
	gated_fd = -EBADF;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_test(test_lingering_close_waits_without_the_closer),
		check_test(test_lingering_closes_delay_nobody_and_lose_nothing),
		check_test(test_abortive_close_stays_abortive),
		check_test(test_socket_of_somebody_else_stays_as_it_is),
		check_test(test_neighbours_that_were_not_given_stay_open),
		check_test(test_kernel_without_close_range),
		check_test(test_no_timer_can_be_had),
		check_test(test_ticks_run_for_each_batch_and_stop),
		check_test(test_hundred_thousand_closes_leave_no_descriptor),
		check_test(test_no_room_closes_directly),
		check_test(test_received_file_that_cannot_be_closed_holds_up_no_socket),
		check_test(test_received_files_are_closed),
		check_test(test_closes_directly_while_not_open),
		check_test(test_close_of_no_descriptor),
		check_test(test_stop_gives_up_at_its_deadline),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
