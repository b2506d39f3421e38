/* SPDX-License-Identifier: MIT */
/* Connections put into kernel queues and taken out again: in this process, and by the next one. */
#include "fd.h"
#include "fdpass.h"
#include "fdstore.h"
#include "forwarded.h"
#include "manager.h"
#include "notify.h"
#include "parking-world.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define LONG_ENOUGH_USEC (30 * UINT64_C(1000000))
#define N_MANY		 1000
#define N_PER_LOT	 555 /* see parking.h */
#define STRANGER	 65533

static size_t count_lots(const struct parking *parking)
{
	uint32_t number;
	size_t n = 0;
	int fd;

	while (parking_lot(parking, n, &fd, &number))
		n++;
	return n;
}

static void test_thousand_are_taken_out_as_they_were_put_in(void **state)
{
	struct parking *parking = make();
	size_t n_before = test_count_fds();
	static int clients[N_MANY];

	(void)state;
	for (uint32_t i = 0; i < N_MANY; i++)
		clients[i] = put_one(parking, i);
	assert_int_equal(parking_n(parking), N_MANY);
	assert_int_equal(test_count_fds() - n_before, N_MANY + 2 * count_lots(parking));
	for (uint32_t i = 0; i < N_MANY; i++)
		take_one(parking, i, clients[i]);
	assert_empty(parking);
	assert_int_equal(test_count_fds(), n_before);
	parking_free(parking);
}

static void test_new_ones_go_behind_the_old_ones(void **state)
{
	struct parking *parking = make();
	int clients[6];

	(void)state;
	for (uint32_t i = 0; i < 3; i++)
		clients[i] = put_one(parking, i);
	take_one(parking, 0, clients[0]);
	for (uint32_t i = 3; i < 6; i++)
		clients[i] = put_one(parking, i);
	for (uint32_t i = 1; i < 6; i++)
		take_one(parking, i, clients[i]);
	assert_empty(parking);
	parking_free(parking);
}

static void test_who_is_put_in_again_keeps_its_time(void **state)
{
	struct parking *parking = make();
	uint64_t parked_usec;
	struct handoff h;

	(void)state;
	close_fd(put_one(parking, 5));
	assert_int_equal(parking_take(parking, &h), 0);
	assert_int_equal(h.parked_usec, 1005);
	assert_int_equal(parking_put(parking, &h, 2000), 0);
	close_fd(h.fd);
	assert_true(parking_oldest(parking, &parked_usec));
	assert_int_equal(parked_usec, 1005);
	parking_free(parking);
}

static void test_forwarded_ones_keep_all_that_goes_with_them(void **state)
{
	static const size_t sizes[] = {0, 1, 4096, WIRE_MAX_FORWARDED_BYTES};
	static uint8_t data[WIRE_MAX_FORWARDED_BYTES];
	struct parking *parking = make();

	(void)state;
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 31 % 251);
	for (uint32_t i = 0; i < 4; i++) {
		struct handoff h = make_handoff(STDIN_FILENO, i);

		h.forwarded = forwarded_new("login.service", data, sizes[i]);
		h.forwarded->mark = (struct connection_mark){.n_read = 5 + i, .n_written = 6 + i};
		assert_int_equal(parking_put(parking, &h, 0), 0);
		forwarded_free(h.forwarded);
	}
	for (uint32_t i = 0; i < 4; i++) {
		struct handoff h;

		assert_int_equal(parking_take(parking, &h), 0);
		assert_string_equal(h.forwarded->from, "login.service");
		assert_int_equal(h.forwarded->mark.n_read, 5 + i);
		assert_int_equal(h.forwarded->mark.n_written, 6 + i);
		assert_int_equal(h.forwarded->size, sizes[i]);
		assert_memory_equal(h.forwarded->data, data, sizes[i]);
		h.forwarded = forwarded_free(h.forwarded);
		assert_is_handoff(&h, i);
		close_fd(h.fd);
	}
	parking_free(parking);
}

static void test_full_lot_is_followed_by_another(void **state)
{
	enum { N = 2 * N_PER_LOT + 1 };
	struct parking *parking = make();

	(void)state;
	for (uint32_t i = 0; i < N; i++) {
		struct handoff h = make_handoff(STDIN_FILENO, i);

		assert_int_equal(parking_put(parking, &h, i), 0);
	}
	assert_in_range(count_lots(parking), 3, N / 100); /* wmem_max may be small here */
	for (uint32_t i = 0; i < N; i++) {
		struct handoff h;

		assert_int_equal(parking_take(parking, &h), 0);
		assert_is_handoff(&h, i);
		close_fd(h.fd);
	}
	assert_empty(parking);
	assert_int_equal(count_lots(parking), 0);
	parking_free(parking);
}

static void test_free_ends_what_is_parked(void **state)
{
	struct parking *parking = make();
	int client = put_one(parking, 0);
	char byte;

	(void)state;
	assert_int_equal(read(client, &byte, 1), -1);
	assert_int_equal(errno, EAGAIN);
	assert_null(parking_free(parking));
	assert_int_equal(read(client, &byte, 1), 0);
	close_fd(client);
	assert_null(parking_free(NULL));
}

static void test_looking_at_the_oldest_takes_nothing(void **state)
{
	struct parking *parking = make();
	int client = put_one(parking, 5);
	size_t n_before = test_count_fds();
	uint64_t parked_usec;

	(void)state;
	for (int i = 0; i < 3; i++) {
		assert_true(parking_oldest(parking, &parked_usec));
		assert_int_equal(parked_usec, 1005);
	}
	assert_int_equal(test_count_fds(), n_before);
	take_one(parking, 5, client);
	parking_free(parking);
}

/* The lots of `from`, whose writing ends and counts are lost with it, go to a new one. */
static struct parking *inherit(struct parking *from)
{
	struct parking *to = make();
	int fds[8];
	uint32_t number;
	size_t n = 0;

	for (; parking_lot(from, n, &fds[n], &number); n++)
		fds[n] = dup(fds[n]);
	parking_free(from);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(parking_adopt(to, fds[i], 0), 0);
	return to;
}

static void test_adopted_lots_are_counted_and_come_first(void **state)
{
	struct parking *parking = make();
	size_t n_before = test_count_fds();
	int clients[6];

	(void)state;
	for (uint32_t i = 0; i < 4; i++)
		clients[i] = put_one(parking, i);
	parking = inherit(parking);
	assert_int_equal(parking_n(parking), 4);
	assert_int_equal(test_count_fds() - n_before, 4 + 1);
	take_one(parking, 0, clients[0]);
	for (uint32_t i = 4; i < 6; i++)
		clients[i] = put_one(parking, i);
	assert_int_equal(parking_n(parking), 5);
	for (uint32_t i = 1; i < 6; i++)
		take_one(parking, i, clients[i]);
	assert_empty(parking);
	assert_int_equal(test_count_fds(), n_before);
	parking_free(parking);
}

static void test_lot_that_is_inherited_twice_keeps_its_count(void **state)
{
	struct parking *parking = make();
	int clients[10];

	(void)state;
	for (uint32_t i = 0; i < 10; i++)
		clients[i] = put_one(parking, i);
	parking = inherit(inherit(parking));
	assert_int_equal(parking_n(parking), 10);
	for (uint32_t i = 0; i < 10; i++)
		take_one(parking, i, clients[i]);
	parking_free(parking);
}

/* Another process, which parks those whose ends are in `servers` and waits for its own end. */
static pid_t start_parking_process(const int *servers)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		struct parking *parking;
		uint32_t i;

		if (parking_new(&parking, "one") < 0)
			_exit(1);
		for (i = 0; i < N_MANY; i++) {
			struct handoff h = make_handoff(servers[i], i);

			if (parking_put(parking, &h, 1000 + i) < 0)
				_exit(2);
		}
		notify_send("READY=1");
		for (;;)
			pause();
	}
	return pid;
}

/* The next message is of a lot that shall be stored: *ret_fd; or says READY=1: false. */
static bool next_stored(struct manager *m, int *ret_fd)
{
	const char prefix[] = "FDSTORE=1\nFDPOLL=0\nFDNAME=";
	struct pollfd poll_fd = {.fd = m->fd, .events = POLLIN};
	char text[512], service[WIRE_NAME_SIZE];
	struct fdpass_received received;
	enum fdstore_kind kind;
	uint32_t number;

	assert_int_equal(poll(&poll_fd, 1, -1), 1);
	assert_int_equal(fdpass_receive(m->fd, text, sizeof(text) - 1, 1, &received), 0);
	text[received.size] = '\0';
	if (received.n_fds == 0)
		return false;
	assert_memory_equal(text, prefix, strlen(prefix));
	assert_true(fdstore_parse_name(text + strlen(prefix), &kind, &number, service));
	assert_int_equal(kind, FDSTORE_PARKING);
	assert_string_equal(service, "one");
	*ret_fd = received.fds[0];
	return true;
}

static void test_thousand_outlive_a_kill_in_the_store(void **state)
{
	static int clients[N_MANY], servers[N_MANY];
	struct parking *parking = make();
	struct manager manager;
	size_t n_lots = 0;
	int lots[8];
	pid_t pid;

	(void)state;
	for (size_t i = 0; i < N_MANY; i++) {
		int fds[2];

		test_socketpair(fds);
		servers[i] = fds[0];
		clients[i] = fds[1];
	}
	manager_start(&manager);
	pid = start_parking_process(servers);
	for (size_t i = 0; i < N_MANY; i++)
		close_fd(servers[i]);
	while (next_stored(&manager, &lots[n_lots]))
		n_lots++;
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	for (size_t i = 0; i < n_lots; i++)
		assert_int_equal(parking_adopt(parking, lots[i], 0), 0);
	for (uint32_t i = 0; i < N_MANY; i++)
		take_one(parking, i, clients[i]);
	assert_empty(parking);
	parking_free(parking);
	manager_end(&manager);
}

static void test_what_is_no_lot_is_not_adopted(void **state)
{
	struct parking *parking = make();
	int fds[2];
	char byte;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	assert_int_equal(parking_adopt(parking, fds[0], 0), -EPROTOTYPE);
	assert_int_equal(read(fds[1], &byte, 1), 0);
	close_fd(fds[1]);
	assert_int_equal(parking_adopt(parking, socket(AF_INET, SOCK_STREAM, 0), 0), -EPROTOTYPE);
	assert_int_equal(parking_adopt(parking, dup(STDIN_FILENO), 0), -EPROTOTYPE);
	assert_empty(parking);
	parking_free(parking);
}

static void test_empty_lot_is_closed_at_once(void **state)
{
	struct parking *parking = make();
	int fds[2];
	char byte;

	(void)state;
	test_socketpair(fds);
	assert_int_equal(parking_adopt(parking, fds[0], 0), 0);
	assert_int_equal(read(fds[1], &byte, 1), 0);
	close_fd(fds[1]);
	test_socketpair(fds);
	close_fd(fds[1]);
	assert_int_equal(parking_adopt(parking, fds[0], 0), 0);
	assert_empty(parking);
	parking_free(parking);
}

/* Let this process have no more descriptors than it has. Returns the limit as it was. */
static struct rlimit limit_fds(void)
{
	int free_fd = dup(STDIN_FILENO);
	struct rlimit limit, low;

	close_fd(free_fd);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	low = (struct rlimit){.rlim_cur = (rlim_t)free_fd, .rlim_max = limit.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	return limit;
}

static void test_nothing_is_taken_at_the_descriptor_limit(void **state)
{
	struct parking *parking = make();
	int client = put_one(parking, 0);
	struct rlimit limit = limit_fds();
	struct handoff h;

	(void)state;
	for (int i = 0; i < 3; i++)
		assert_int_equal(parking_take(parking, &h), -EMFILE);
	assert_int_equal(parking_n(parking), 1);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	take_one(parking, 0, client);
	parking_free(parking);
}

static void test_nothing_is_put_when_no_lot_can_be_opened(void **state)
{
	struct parking *parking = make();
	struct handoff h = make_handoff(STDIN_FILENO, 0);
	struct rlimit limit = limit_fds();

	(void)state;
	assert_int_equal(parking_put(parking, &h, 0), -EMFILE);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	assert_empty(parking);
	parking_free(parking);
}

static void test_a_quarter_of_what_may_be_in_flight_is_left_to_others(void **state)
{
	enum { N_ALLOWED = 200 };
	struct parking *parking = make(), *other = make();
	struct handoff h = make_handoff(STDIN_FILENO, 0);
	struct rlimit limit, low;

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	low = (struct rlimit){.rlim_cur = N_ALLOWED, .rlim_max = limit.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	for (int i = 0; i < N_ALLOWED * 3 / 4; i++)
		assert_int_equal(parking_put(i % 2 ? parking : other, &h, 0), 0);
	assert_int_equal(parking_put(parking, &h, 0), -ETOOMANYREFS);
	assert_int_equal(parking_take(other, &h), 0);
	assert_int_equal(parking_put(parking, &h, 0), 0);
	close_fd(h.fd);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	parking_free(parking);
	parking_free(other);
}

/* As a user to whom the kernel's limit applies: returns what parking_put() says beyond it, and has
 * nothing left behind. */
static int put_beyond_limit(void)
{
	const struct rlimit low = {.rlim_cur = 40, .rlim_max = 40};
	struct handoff h = make_handoff(STDIN_FILENO, 0);
	struct parking *parking;
	int fds[2], r = parking_new(&parking, "one");

	if (r < 0 || setresuid(STRANGER, STRANGER, STRANGER) < 0 ||
		socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fds) < 0 ||
		setrlimit(RLIMIT_NOFILE, &low) < 0)
		return 1;
	while (r == 0)
		r = fdpass_send(fds[0], "x", 1, &h.fd, 1);
	if (r != -ETOOMANYREFS)
		return 2;
	r = parking_put(parking, &h, 0);
	return parking_n(parking) > 0 || count_lots(parking) > 0 ? 3 : -r;
}

static void test_kernel_counts_others_of_this_user_too(void **state)
{
	pid_t pid = fork();
	int status;

	(void)state;
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(put_beyond_limit());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), ETOOMANYREFS);
}

static void test_lots_are_in_the_store_while_they_hold_something(void **state)
{
	struct parking *parking = make();
	struct manager manager;
	char expected[128];
	uint32_t number;
	int client, fd;

	(void)state;
	manager_start(&manager);
	client = put_one(parking, 0);
	assert_true(parking_lot(parking, 0, &fd, &number));
	assert_int_not_equal(number, 0);
	snprintf(expected, sizeof(expected), "FDSTORE=1\nFDPOLL=0\nFDNAME=parking.%u.one", number);
	assert_string_equal(manager_next_with_fd(&manager, &fd), expected);
	close_fd(fd);
	take_one(parking, 0, client);
	snprintf(expected, sizeof(expected), "FDSTOREREMOVE=1\nFDNAME=parking.%u.one", number);
	assert_string_equal(manager_next(&manager), expected);

	parking_free(parking);
	assert_true(notify_stop(LONG_ENOUGH_USEC));
	manager_end(&manager);
}

static void test_adopted_lot_is_removed_under_its_number(void **state)
{
	struct parking *parking = make();
	struct manager manager;
	int fds[2];

	(void)state;
	manager_start(&manager);
	test_socketpair(fds);
	close_fd(fds[1]);
	assert_int_equal(parking_adopt(parking, fds[0], 4711), 0);
	assert_string_equal(manager_next(&manager), "FDSTOREREMOVE=1\nFDNAME=parking.4711.one");
	parking_free(parking);
	assert_true(notify_stop(LONG_ENOUGH_USEC));
	manager_end(&manager);
}

/* The last test: there is no way back from fdstore_freeze(). */
static void test_frozen_store_goes_on_holding_what_is_parked(void **state)
{
	struct parking *parking = make(), *next = make();
	struct manager manager;
	int client, fd;

	(void)state;
	manager_start(&manager);
	client = put_one(parking, 0);
	(void)manager_next_with_fd(&manager, &fd);
	fdstore_freeze();
	parking_free(parking);
	assert_true(notify_send("STATUS=next"));
	assert_string_equal(manager_next(&manager), "STATUS=next");
	assert_int_equal(parking_adopt(next, fd, 0), 0);
	take_one(next, 0, client);
	parking_free(next);
	assert_true(notify_stop(LONG_ENOUGH_USEC));
	manager_end(&manager);
}

/* A thousand connections have two thousand ends. */
static void raise_fd_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &limit);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_test(test_thousand_are_taken_out_as_they_were_put_in),
		check_test(test_new_ones_go_behind_the_old_ones),
		check_test(test_who_is_put_in_again_keeps_its_time),
		check_test(test_forwarded_ones_keep_all_that_goes_with_them),
		check_test(test_full_lot_is_followed_by_another),
		check_test(test_free_ends_what_is_parked),
		check_test(test_looking_at_the_oldest_takes_nothing),
		check_test(test_adopted_lots_are_counted_and_come_first),
		check_test(test_lot_that_is_inherited_twice_keeps_its_count),
		check_test(test_thousand_outlive_a_kill_in_the_store),
		check_test(test_what_is_no_lot_is_not_adopted),
		check_test(test_empty_lot_is_closed_at_once),
		check_test(test_nothing_is_taken_at_the_descriptor_limit),
		check_test(test_nothing_is_put_when_no_lot_can_be_opened),
		check_test(test_a_quarter_of_what_may_be_in_flight_is_left_to_others),
		check_test_if(test_is_root(), test_kernel_counts_others_of_this_user_too),
		check_test(test_lots_are_in_the_store_while_they_hold_something),
		check_test(test_adopted_lot_is_removed_under_its_number),
		check_test(test_frozen_store_goes_on_holding_what_is_parked),
	};

	raise_fd_limit();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
