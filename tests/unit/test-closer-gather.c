/* SPDX-License-Identifier: MIT */
/*
 * What the closer does under load: it lets sockets gather and closes them together.
 *
 * They gather for an hour here, far longer than a test may take, so that no machine is too slow:
 * what waits for that time fails.
 */
#include "closer.h"
#include "fd.h"
#include "test.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define LONG_ENOUGH_USEC (30 * UINT64_C(1000000))
#define AN_HOUR		 3600

static sem_t gathering; /* posted when that begins */
static int64_t usec_to_gather;
static atomic_int n_batches;

static int64_t usec_until(const struct timespec *when)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (when->tv_sec - now.tv_sec) * INT64_C(1000000) +
	       (when->tv_nsec - now.tv_nsec) / 1000;
}

int __wrap_pthread_cond_timedwait(
	pthread_cond_t *condition, pthread_mutex_t *lock, const struct timespec *deadline);
int __real_pthread_cond_timedwait(
	pthread_cond_t *condition, pthread_mutex_t *lock, const struct timespec *deadline);
int __wrap_pthread_cond_timedwait(
	pthread_cond_t *condition, pthread_mutex_t *lock, const struct timespec *deadline)
{
	const struct timespec later = {.tv_sec = deadline->tv_sec + AN_HOUR};

	usec_to_gather = usec_until(deadline);
	sem_post(&gathering);
	return __real_pthread_cond_timedwait(condition, lock, &later);
}

int __wrap_timer_settime(
	timer_t timer, int flags, const struct itimerspec *value, struct itimerspec *old);
int __real_timer_settime(
	timer_t timer, int flags, const struct itimerspec *value, struct itimerspec *old);
int __wrap_timer_settime(
	timer_t timer, int flags, const struct itimerspec *value, struct itimerspec *old)
{
	if (value->it_value.tv_nsec > 0)
		n_batches++;
	return __real_timer_settime(timer, flags, value, old);
}

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

static void give(int fd)
{
	closer_close(fd);
	closer_flush();
}

static void open_many(int fds[], size_t n)
{
	for (size_t i = 0; i < n; i++)
		assert_true((fds[i] = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3)) >= 3);
}

/* Takes `fd`, which comes first, and is closed at once. */
static void start_and_give_first(int fd)
{
	assert_int_equal(sem_init(&gathering, 0, 0), 0);
	assert_int_equal(closer_start(), 0);
	give(fd);
	sem_wait(&gathering);
	assert_false(is_open(fd));
	assert_true(usec_to_gather <= CLOSER_GATHER_USEC);
	n_batches = 0;
}

static void test_sockets_gather_and_are_closed_together(void **state)
{
	enum { N = 10 };
	int fds[N];

	(void)state;
	open_many(fds, N);
	start_and_give_first(fds[0]);
	for (size_t i = 1; i < N; i++) {
		give(fds[i]);
		assert_true(is_open(fds[i]));
	}
	assert_true(closer_wait(LONG_ENOUGH_USEC));
	for (size_t i = 1; i < N; i++)
		assert_false(is_open(fds[i]));
	assert_int_equal(n_batches, 1);
	assert_true(closer_stop(LONG_ENOUGH_USEC));
}

static void test_stop_closes_what_gathers(void **state)
{
	int fds[2];

	(void)state;
	open_many(fds, 2);
	start_and_give_first(fds[0]);
	give(fds[1]);
	assert_true(closer_stop(LONG_ENOUGH_USEC));
	assert_false(is_open(fds[1]));
}

static void test_sixteenth_of_few_descriptors_does_not_gather(void **state)
{
	struct pollfd others[2];
	struct rlimit limit, low;
	int fds[5];

	(void)state;
	open_many(fds, 1);
	test_socketpair(fds + 1);
	test_socketpair(fds + 3);
	others[0] = (struct pollfd){.fd = fds[2]};
	others[1] = (struct pollfd){.fd = fds[4]};
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	low = (struct rlimit){.rlim_cur = 32, .rlim_max = limit.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	start_and_give_first(fds[0]);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	give(fds[1]);
	give(fds[3]);
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(poll(&others[i], 1, -1), 1);
		assert_int_equal(others[i].revents, POLLHUP);
		close_fd(others[i].fd);
	}
	assert_true(closer_stop(LONG_ENOUGH_USEC));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_test(test_sockets_gather_and_are_closed_together),
		check_test(test_stop_closes_what_gathers),
		check_test(test_sixteenth_of_few_descriptors_does_not_gather),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
