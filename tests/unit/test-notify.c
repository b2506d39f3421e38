/* SPDX-License-Identifier: MIT */
/* Messages to a service manager that is ours: one that reads, one that stalls, one that is gone. */
#include "fd.h"
#include "notify.h"
#include "test.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
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

struct manager {
	char folder[64];
	struct sockaddr_un address;
	int fd;
};

static void manager_start(struct manager *m)
{
	strcpy(m->folder, "/tmp/usher-test-notify-XXXXXX");
	assert_non_null(mkdtemp(m->folder));
	m->address = (struct sockaddr_un){.sun_family = AF_UNIX};
	snprintf(m->address.sun_path, sizeof(m->address.sun_path), "%s/notify", m->folder);
	m->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_true(m->fd >= 0);
	assert_int_equal(bind(m->fd, (struct sockaddr *)&m->address, sizeof(m->address)), 0);
	setenv("NOTIFY_SOCKET", m->address.sun_path, 1);
}

static void manager_end(struct manager *m)
{
	unsetenv("NOTIFY_SOCKET");
	m->fd = close_fd(m->fd);
	unlink(m->address.sun_path);
	rmdir(m->folder);
}

/* Wait for the next message. */
static const char *manager_next(struct manager *m)
{
	static char text[4096];
	ssize_t n = recv(m->fd, text, sizeof(text) - 1, 0);

	assert_true(n > 0);
	text[n] = '\0';
	return text;
}

/* Nothing more can be sent to the manager. Returns how many messages it has to read first. */
static size_t manager_stall(struct manager *m)
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	size_t n = 0;

	while (sendto(fd, "#", 1, 0, (struct sockaddr *)&m->address, sizeof(m->address)) == 1)
		n++;
	assert_int_equal(errno, EAGAIN);
	return n;
}

static void manager_recover(struct manager *m, size_t n)
{
	while (n--)
		assert_string_equal(manager_next(m), "#");
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

static void test_stalled_manager_blocks_nobody_and_drops_are_counted(void **state)
{
	uint64_t n_before = notify_n_dropped(), n_dropped;
	size_t n_in_front;
	struct manager manager;

	(void)state;
	manager_start(&manager);
	n_in_front = manager_stall(&manager);
	for (int i = 0; i < 100; i++)
		notify_send("STATUS=%d", i);
	n_dropped = notify_n_dropped() - n_before;
	assert_in_range(n_dropped, 100 - 17, 100 - 16); /* 16 wait; the thread may hold one more */
	manager_recover(&manager, n_in_front);
	for (uint64_t i = 0; i < 100 - n_dropped; i++) {
		char expected[32];

		snprintf(expected, sizeof(expected), "STATUS=%u", (unsigned int)i);
		if (i < 16)
			assert_string_equal(manager_next(&manager), expected);
		else
			assert_non_null(strstr(manager_next(&manager), "STATUS="));
	}
	notify_stop(LONG_ENOUGH_USEC);
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
	clock_gettime(CLOCK_MONOTONIC, &begin);
	notify_stop(50000);
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

static void test_manager_that_went_away_is_survived(void **state)
{
	struct manager manager;

	(void)state;
	manager_start(&manager);
	manager.fd = close_fd(manager.fd);
	assert_true(notify_send("READY=1"));
	notify_stop(LONG_ENOUGH_USEC);
	manager_end(&manager);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_test(test_messages_come_in_order),
		check_test(test_no_manager_no_thread),
		check_test(test_stalled_manager_blocks_nobody_and_drops_are_counted),
		check_test(test_pings_leave_room_for_what_matters),
		check_test(test_stop_gives_up_at_its_deadline),
		check_test(test_longest_message_fits_and_longer_is_dropped),
		check_test(test_manager_that_went_away_is_survived),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
