/* SPDX-License-Identifier: MIT */
/*
 * Accepting and its errors: which are one connection's, which stop the polling, and for how long.
 *
 * accept4(2) is wrapped to fail as often and with what a test says.
 */
#include "acceptor.h"
#include "fd.h"
#include "loop.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/resource.h>

#define N_ELEMENTS(array) (sizeof(array) / sizeof((array)[0]))
#define MAX_PASSED_OVER	  64 /* as in acceptor.c */
#define FOR_EVER	  1000000

static int fault_error, n_faults, n_accept_calls;

int __real_accept4(int fd, struct sockaddr *address, socklen_t *length, int flags);
int __wrap_accept4(int fd, struct sockaddr *address, socklen_t *length, int flags);

int __wrap_accept4(int fd, struct sockaddr *address, socklen_t *length, int flags)
{
	n_accept_calls++;
	if (n_faults > 0) {
		n_faults--;
		errno = fault_error;
		return -1;
	}
	return __real_accept4(fd, address, length, flags);
}

static void fail_with(int error, int how_often)
{
	fault_error = error;
	n_faults = how_often;
	n_accept_calls = 0;
}

/* An acceptor on a loopback port, and what its callback did. */
struct scene {
	int fd;
	struct sockaddr_in address;
	struct acceptor *acceptor;
	int n_calls;	/* of the callback */
	int n_per_call; /* how often it accepts */
	int n_accepted;
	int last_result;
	struct sockaddr_storage last_peer;
	int last_fd; /* the one accepted last, open */
};

static void on_connections(void *userdata)
{
	struct scene *s = userdata;

	s->n_calls++;
	for (int i = 0; i < s->n_per_call; i++) {
		int fd;

		s->last_result = acceptor_accept(s->acceptor, &fd, &s->last_peer);
		if (s->last_result < 0)
			return;
		close_fd(s->last_fd);
		s->last_fd = fd;
		s->n_accepted++;
	}
}

static void begin(struct scene *s)
{
	socklen_t length = sizeof(s->address);

	*s = (struct scene){.n_per_call = 1, .last_fd = -EBADF};
	s->address = (struct sockaddr_in){
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	s->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(s->fd, (struct sockaddr *)&s->address, length), 0);
	assert_int_equal(getsockname(s->fd, (struct sockaddr *)&s->address, &length), 0);
	assert_int_equal(listen(s->fd, 64), 0);
	assert_int_equal(acceptor_new(&s->acceptor, loop, s->fd, on_connections, s), 0);
	fail_with(0, 0);
}

static void end(struct scene *s)
{
	acceptor_free(s->acceptor);
	close_fd(s->fd);
	close_fd(s->last_fd);
}

static int client(const struct scene *s)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (const struct sockaddr *)&s->address, sizeof(s->address)), 0);
	return fd;
}

/* A client has connected and the acceptor was told, with accept4() about to fail. */
static int client_meets(struct scene *s, int error, int how_often)
{
	int fd = client(s);

	fail_with(error, how_often);
	s->n_calls = 0;
	assert_int_equal(acceptor_set_paused(s->acceptor, false), 0);
	turn_until(s->n_calls > 0);
	return fd;
}

static void test_a_new_acceptor_is_paused(void **state)
{
	_cleanup_close_ int fd = -EBADF;
	struct scene s;

	(void)state;
	begin(&s);
	fd = client(&s);
	assert_int_equal(turn_while_ready(), 0);
	assert_int_equal(acceptor_set_paused(s.acceptor, false), 0);
	turn_until(s.n_accepted == 1);
	end(&s);
}

static void test_pausing_leaves_clients_in_the_backlog(void **state)
{
	_cleanup_close_ int first = -EBADF, second = -EBADF;
	struct scene s;

	(void)state;
	begin(&s);
	first = client_meets(&s, 0, 0);
	assert_int_equal(acceptor_set_paused(s.acceptor, true), 0);
	second = client(&s);
	assert_int_equal(turn_while_ready(), 0);
	assert_int_equal(s.n_accepted, 1);
	assert_int_equal(acceptor_set_paused(s.acceptor, false), 0);
	turn_until(s.n_accepted == 2);
	end(&s);
}

static void test_an_accepted_socket_does_not_block_and_is_closed_on_exec(void **state)
{
	_cleanup_close_ int fd = -EBADF;
	struct sockaddr_in own;
	socklen_t length = sizeof(own);
	struct scene s;

	(void)state;
	begin(&s);
	fd = client_meets(&s, 0, 0);
	assert_true(fcntl(s.last_fd, F_GETFL) & O_NONBLOCK);
	assert_true(fcntl(s.last_fd, F_GETFD) & FD_CLOEXEC);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&own, &length), 0);
	assert_memory_equal(&s.last_peer, &own, sizeof(own));
	end(&s);
}

static void test_nobody_waits(void **state)
{
	struct sockaddr_storage unused;
	struct scene s;
	int fd;

	(void)state;
	begin(&s);
	assert_int_equal(acceptor_accept(s.acceptor, &fd, &unused), -EAGAIN);
	assert_false(acceptor_is_retrying(s.acceptor));
	end(&s);
}

static void test_errors_of_one_connection_are_passed_over(void **state)
{
	static const int errors[] = {EINTR, ECONNABORTED, EPROTO, ENETDOWN, ENOPROTOOPT, EHOSTDOWN,
		ENONET, EHOSTUNREACH, EOPNOTSUPP, ENETUNREACH, EPERM};
	struct scene s;

	(void)state;
	begin(&s);
	for (size_t i = 0; i < N_ELEMENTS(errors); i++) {
		_cleanup_close_ int fd = client_meets(&s, errors[i], 1);

		assert_true(fd >= 0);
		assert_int_equal(s.last_result, 0);
		assert_int_equal(n_accept_calls, 2);
		assert_int_equal(s.n_accepted, i + 1);
		assert_false(acceptor_is_retrying(s.acceptor));
	}
	end(&s);
}

static void test_as_many_errors_as_are_passed_over(void **state)
{
	_cleanup_close_ int fd = -EBADF;
	struct scene s;

	(void)state;
	begin(&s);
	fd = client_meets(&s, ECONNABORTED, MAX_PASSED_OVER - 1);
	assert_int_equal(s.n_accepted, 1);
	assert_false(acceptor_is_retrying(s.acceptor));
	end(&s);
}

static void test_endless_errors_of_single_connections_stop_the_polling(void **state)
{
	_cleanup_close_ int fd = -EBADF;
	struct scene s;

	(void)state;
	begin(&s);
	fd = client_meets(&s, ECONNABORTED, FOR_EVER);
	assert_int_equal(s.last_result, -ECONNABORTED);
	assert_int_equal(n_accept_calls, MAX_PASSED_OVER);
	assert_true(acceptor_is_retrying(s.acceptor));
	assert_int_equal(turn_while_ready(), 0);
	end(&s);
}

static void test_errors_that_stay_stop_the_polling_until_the_timer(void **state)
{
	static const int errors[] = {EMFILE, ENFILE, ENOBUFS, ENOMEM, EIO};
	struct scene s;

	(void)state;
	loop_hurry = 10;
	for (size_t i = 0; i < N_ELEMENTS(errors); i++) {
		_cleanup_close_ int fd = -EBADF;
		unsigned int n_turns = 0;

		begin(&s);
		fd = client_meets(&s, errors[i], 1);
		assert_int_equal(s.last_result, -errors[i]);
		assert_int_equal(n_accept_calls, 1);
		assert_true(acceptor_is_retrying(s.acceptor));
		assert_int_equal(loop_last_delay_usec, 100000);
		for (; s.n_accepted == 0; n_turns++)
			turn();
		assert_int_equal(n_turns, 2); /* the timer, and the connection */
		assert_false(acceptor_is_retrying(s.acceptor));
		end(&s);
	}
}

static void test_the_pause_doubles_up_to_a_second_until_one_is_accepted(void **state)
{
	static const uint64_t delays[] = {100000, 200000, 400000, 800000, 1000000, 1000000};
	_cleanup_close_ int first = -EBADF, second = -EBADF;
	struct scene s;

	(void)state;
	loop_hurry = 1000;
	begin(&s);
	first = client_meets(&s, EMFILE, N_ELEMENTS(delays));
	for (int i = 0; i < (int)N_ELEMENTS(delays); i++) {
		turn_until(s.n_calls == i + 1);
		assert_int_equal(loop_last_delay_usec, delays[i]);
	}
	turn_until(s.n_accepted == 1);
	second = client_meets(&s, EMFILE, 1);
	assert_int_equal(loop_last_delay_usec, 100000);
	end(&s);
}

static void test_resuming_does_not_end_the_pause_early(void **state)
{
	_cleanup_close_ int fd = -EBADF;
	struct scene s;

	(void)state;
	begin(&s);
	fd = client_meets(&s, EMFILE, 1);
	assert_int_equal(acceptor_set_paused(s.acceptor, true), 0);
	assert_int_equal(acceptor_set_paused(s.acceptor, false), 0);
	assert_int_equal(turn_while_ready(), 0);
	assert_true(acceptor_is_retrying(s.acceptor));
	end(&s);
}

static void test_the_timer_does_not_resume_what_is_paused(void **state)
{
	_cleanup_close_ int fd = -EBADF;
	struct scene s;

	(void)state;
	loop_hurry = 100;
	begin(&s);
	fd = client_meets(&s, EMFILE, 1);
	assert_int_equal(acceptor_set_paused(s.acceptor, true), 0);
	turn_until(!acceptor_is_retrying(s.acceptor));
	assert_int_equal(turn_while_ready(), 0);
	assert_int_equal(s.n_accepted, 0);
	assert_int_equal(acceptor_set_paused(s.acceptor, false), 0);
	turn_until(s.n_accepted == 1);
	end(&s);
}

static void test_retrying_later_without_an_error(void **state)
{
	_cleanup_close_ int fd = -EBADF;
	struct scene s;

	(void)state;
	loop_hurry = 100;
	begin(&s);
	assert_int_equal(acceptor_set_paused(s.acceptor, false), 0);
	acceptor_retry_later(s.acceptor);
	fd = client(&s);
	assert_true(acceptor_is_retrying(s.acceptor));
	assert_int_equal(s.n_calls, 0);
	turn_until(s.n_accepted == 1);
	end(&s);
}

/* Open descriptors until there is none left; returns how many. */
static int take_all_descriptors(int fds[], size_t size)
{
	int n = 0;

	while ((size_t)n < size && (fds[n] = dup(STDERR_FILENO)) >= 0)
		n++;
	assert_int_equal(errno, EMFILE);
	assert_true(n > 0);
	return n;
}

static void test_at_a_real_descriptor_limit(void **state)
{
	struct rlimit before, low;
	_cleanup_close_ int fd = -EBADF;
	int fds[512], n;
	struct scene s;

	(void)state;
	loop_hurry = 10;
	begin(&s);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	low = (struct rlimit){.rlim_cur = 256, .rlim_max = before.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	fd = client(&s);
	n = take_all_descriptors(fds, N_ELEMENTS(fds));
	assert_int_equal(acceptor_set_paused(s.acceptor, false), 0);

	for (int episode = 1; episode <= 3; episode++) {
		unsigned int n_turns = 0;

		for (; s.n_calls < episode; n_turns++)
			turn();
		assert_true(n_turns <= 2);
		assert_int_equal(s.last_result, -EMFILE);
	}
	close_fd(fds[--n]);
	turn_until(s.n_accepted == 1);

	while (n > 0)
		close_fd(fds[--n]);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	end(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_loop_test(test_a_new_acceptor_is_paused),
		check_loop_test(test_pausing_leaves_clients_in_the_backlog),
		check_loop_test(test_an_accepted_socket_does_not_block_and_is_closed_on_exec),
		check_loop_test(test_nobody_waits),
		check_loop_test(test_errors_of_one_connection_are_passed_over),
		check_loop_test(test_as_many_errors_as_are_passed_over),
		check_loop_test(test_endless_errors_of_single_connections_stop_the_polling),
		check_loop_test(test_errors_that_stay_stop_the_polling_until_the_timer),
		check_loop_test(test_the_pause_doubles_up_to_a_second_until_one_is_accepted),
		check_loop_test(test_resuming_does_not_end_the_pause_early),
		check_loop_test(test_the_timer_does_not_resume_what_is_paused),
		check_loop_test(test_retrying_later_without_an_error),
		check_loop_test(test_at_a_real_descriptor_limit),
	};

	return cmocka_run_group_tests_name("acceptor", tests, NULL, NULL);
}
