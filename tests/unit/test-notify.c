/* SPDX-License-Identifier: MIT */
/* Messages to a service manager that is ours: one that reads, one that stalls, one that is gone. */
#include "fd.h"
#include "manager.h"
#include "notify.h"
#include "test.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define LONG_ENOUGH_USEC (30 * UINT64_C(1000000))

static int n_threads_made;

int __real_pthread_create(
	pthread_t *ret, const pthread_attr_t *attributes, void *(*run)(void *), void *userdata);
int __wrap_pthread_create(
	pthread_t *ret, const pthread_attr_t *attributes, void *(*run)(void *), void *userdata);
int __wrap_pthread_create(
	pthread_t *ret, const pthread_attr_t *attributes, void *(*run)(void *), void *userdata)
{
	n_threads_made++;
	return __real_pthread_create(ret, attributes, run, userdata);
}

static void test_messages_come_in_order(void **state)
{
	struct manager manager;

	(void)state;
	manager_start(&manager);
	assert_true(notify_send("RELOADING=1\nMONOTONIC_USEC=%d", 42));
	assert_true(notify_send("READY=1"));
	notify_alive();
	assert_string_equal(manager_next(&manager), "RELOADING=1\nMONOTONIC_USEC=42");
	assert_string_equal(manager_next(&manager), "READY=1");
	assert_true(notify_send("STOPPING=1"));
	notify_stop(LONG_ENOUGH_USEC);
	if (strcmp(manager_next(&manager), "WATCHDOG=1") == 0) /* unless READY still waited */
		assert_string_equal(manager_next(&manager), "STOPPING=1");
	manager_end(&manager);
}

static void test_no_manager_no_thread(void **state)
{
	int n_before = n_threads_made;
	uint64_t n_dropped = notify_n_dropped();

	(void)state;
	unsetenv("NOTIFY_SOCKET");
	assert_true(notify_send("READY=1"));
	notify_alive();
	assert_int_equal(n_threads_made, n_before);
	assert_int_equal(notify_n_dropped(), n_dropped);
	notify_stop(0);
}

/* Until its end, which is soon: nobody reads what waits. */
static void stop_without_manager(struct manager *m)
{
	m->fd = close_fd(m->fd);
	assert_true(notify_stop(LONG_ENOUGH_USEC));
	manager_end(m);
}

static void test_stalled_manager_blocks_nobody_and_drops_are_counted(void **state)
{
	enum { N_TOO_MANY = 100 };
	uint64_t n_before = notify_n_dropped();
	struct manager manager;
	int n_refused = 0;

	(void)state;
	manager_start(&manager);
	(void)manager_stall(&manager);
	for (int i = 0; i < NOTIFY_MAX_QUEUED + N_TOO_MANY; i++)
		n_refused += !notify_send("STATUS=%d", i);
	assert_in_range(n_refused, N_TOO_MANY - 1, N_TOO_MANY); /* the thread may hold one more */
	assert_int_equal(notify_n_dropped() - n_before, n_refused);
	stop_without_manager(&manager);
	assert_int_equal(notify_n_dropped() - n_before, NOTIFY_MAX_QUEUED + N_TOO_MANY);
}

static void test_descriptor_comes_with_its_text_and_in_order(void **state)
{
	struct manager manager;
	int fds[2], received_fd;
	char byte;

	(void)state;
	manager_start(&manager);
	test_socketpair(fds);
	assert_true(notify_send("STATUS=before"));
	assert_true(notify_send_fd(fds[0], "FDSTORE=1\nFDNAME=%s", "x"));
	assert_true(notify_send("STATUS=after"));
	assert_true(notify_wait(LONG_ENOUGH_USEC));
	fds[0] = close_fd(fds[0]);
	assert_string_equal(manager_next(&manager), "STATUS=before");
	assert_string_equal(manager_next_with_fd(&manager, &received_fd), "FDSTORE=1\nFDNAME=x");
	assert_string_equal(manager_next(&manager), "STATUS=after");
	assert_int_equal(write(received_fd, "!", 1), 1);
	assert_int_equal(read(fds[1], &byte, 1), 1);
	close_fd(received_fd);
	close_fd(fds[1]);
	assert_true(notify_stop(LONG_ENOUGH_USEC));
	manager_end(&manager);
}

static void test_copies_for_a_stalled_manager_are_few_and_are_closed(void **state)
{
	const rlim_t n_allowed = 400;
	struct rlimit limit, low;
	struct manager manager;
	size_t n_before;
	rlim_t n_sent = 0;

	(void)state;
	manager_start(&manager);
	(void)manager_stall(&manager);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	low = (struct rlimit){.rlim_cur = n_allowed, .rlim_max = limit.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	n_before = test_count_fds();
	while (notify_send_fd(STDIN_FILENO, "FDSTORE=1"))
		n_sent++;
	assert_int_equal(n_sent, n_allowed / 4);
	assert_in_range(test_count_fds() - n_before, n_sent, n_sent + 1); /* the thread's socket */
	assert_true(notify_send("STATUS=without a descriptor"));
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	stop_without_manager(&manager);
}

static void test_no_descriptor_is_free_for_a_copy(void **state)
{
	uint64_t n_dropped = notify_n_dropped();
	struct rlimit limit, none;
	struct manager manager;
	int free_fd;

	(void)state;
	manager_start(&manager);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	free_fd = dup(STDIN_FILENO);
	close_fd(free_fd);
	none = (struct rlimit){.rlim_cur = (rlim_t)free_fd, .rlim_max = limit.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	assert_false(notify_send_fd(STDIN_FILENO, "FDSTORE=1"));
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	assert_int_equal(notify_n_dropped(), n_dropped + 1);
	assert_true(notify_stop(LONG_ENOUGH_USEC));
	manager_end(&manager);
}

static void test_pings_leave_room_for_what_matters(void **state)
{
	uint64_t n_dropped = notify_n_dropped();
	size_t n_in_front, n_pings = 0;
	struct manager manager;

	(void)state;
	manager_start(&manager);
	n_in_front = manager_stall(&manager);
	for (int i = 0; i < 100; i++)
		notify_alive();
	assert_true(notify_send("READY=1"));
	assert_int_equal(notify_n_dropped(), n_dropped);
	manager_recover(&manager, n_in_front);
	while (strcmp(manager_next(&manager), "WATCHDOG=1") == 0)
		n_pings++;
	assert_in_range(n_pings, 1, 2);
	notify_stop(LONG_ENOUGH_USEC);
	manager_end(&manager);
}

static void test_stop_gives_up_at_its_deadline(void **state)
{
	struct timespec begin, end;
	uint64_t n_dropped = notify_n_dropped();
	size_t n_in_front;
	struct manager manager;

	(void)state;
	manager_start(&manager);
	n_in_front = manager_stall(&manager);
	assert_true(notify_send("STOPPING=1"));
	assert_false(notify_wait(20000));
	clock_gettime(CLOCK_MONOTONIC, &begin);
	assert_false(notify_stop(50000));
	clock_gettime(CLOCK_MONOTONIC, &end);
	assert_in_range(
		(end.tv_sec - begin.tv_sec) * 1000 + (end.tv_nsec - begin.tv_nsec) / 1000000, 49,
		10000);
	assert_false(notify_send("STATUS=too late"));
	assert_int_equal(notify_n_dropped(), n_dropped + 1);

	manager_recover(&manager, n_in_front);
	assert_string_equal(manager_next(&manager), "STOPPING=1");
	notify_stop(LONG_ENOUGH_USEC);
	manager_end(&manager);
}

static void test_longest_message_fits_and_longer_is_dropped(void **state)
{
	uint64_t n_dropped = notify_n_dropped();
	char text[NOTIFY_MAX_BYTES + 2];
	struct manager manager;

	(void)state;
	manager_start(&manager);
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	assert_false(notify_send("%s", text));
	assert_int_equal(notify_n_dropped(), n_dropped + 1);
	assert_true(notify_send("%s", text + 1));
	assert_string_equal(manager_next(&manager), text + 1);
	notify_stop(LONG_ENOUGH_USEC);
	manager_end(&manager);
}

static void test_manager_that_went_away_is_survived_and_counted(void **state)
{
	uint64_t n_dropped = notify_n_dropped();
	struct manager manager;

	(void)state;
	manager_start(&manager);
	assert_true(notify_send("READY=1"));
	assert_string_equal(manager_next(&manager), "READY=1");
	manager.fd = close_fd(manager.fd);
	assert_true(notify_send("STATUS=unheard"));
	assert_true(notify_stop(LONG_ENOUGH_USEC));
	assert_int_equal(notify_n_dropped(), n_dropped + 1);
	manager_end(&manager);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_test(test_messages_come_in_order),
		check_test(test_no_manager_no_thread),
		check_test(test_stalled_manager_blocks_nobody_and_drops_are_counted),
		check_test(test_descriptor_comes_with_its_text_and_in_order),
		check_test(test_copies_for_a_stalled_manager_are_few_and_are_closed),
		check_test(test_no_descriptor_is_free_for_a_copy),
		check_test(test_pings_leave_room_for_what_matters),
		check_test(test_stop_gives_up_at_its_deadline),
		check_test(test_longest_message_fits_and_longer_is_dropped),
		check_test(test_manager_that_went_away_is_survived_and_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
