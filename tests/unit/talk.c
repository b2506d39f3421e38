/* SPDX-License-Identifier: MIT */
/* See talk.h. */
#include "talk.h"
#include "stub-usher.h"
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

struct talk talk;
static uint64_t last_id;

int __wrap_clock_gettime(clockid_t id, struct timespec *ret);
int __wrap_clock_gettime(clockid_t id, struct timespec *ret)
{
	(void)id;
	*ret = talk.now;
	return 0;
}

static void restore_stderr(void)
{
	dup2(talk.real_stderr, STDERR_FILENO);
	close(talk.real_stderr);
	talk.real_stderr = -EBADF;
}

/* Of a test that has failed: what was said, and nobody has read, may say why. */
static void show_output(void)
{
	char said[4096];
	ssize_t n;

	if (talk.real_stderr < 0)
		return;
	restore_stderr();
	while ((n = read(talk.output_fd, said, sizeof(said))) > 0)
		print_error("%.*s", (int)n, said);
}

void talk_begin(void)
{
	int fds[2];

	stub_begin();
	talk = (struct talk){.now.tv_sec = 1000};
	last_id = 0;
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	talk.real_stderr = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	test_at_end(show_output);
	assert_int_equal(dup2(fds[1], STDERR_FILENO), STDERR_FILENO);
	close(fds[1]);
	talk.output_fd = fds[0];
	assert_int_equal(fcntl(talk.output_fd, F_SETFL, O_NONBLOCK), 0);
	say_as("usher-test");
	assert_int_equal(loop_init(&talk.loop), 0);
}

void talk_end(void)
{
	loop_done(&talk.loop);
	restore_stderr();
	close(talk.output_fd);
	stub_end();
}

int talk_connect(struct enrolment *e, enrolment_on_connection *on_connection, const char *data)
{
	struct usher_connection accepted = {.id = ++last_id};
	int fds[2];

	assert_int_equal(
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
	accepted.fd = fds[0];
	if (data) {
		accepted.data = data;
		accepted.data_size = strlen(data);
	}
	stub.n_held++;
	assert_int_equal(on_connection(e, &accepted), 0);
	return fds[1];
}

/* loop_turn() alone would wait when there is nothing. */
void talk_until_quiet(void)
{
	struct epoll_event event;

	while (epoll_wait(talk.loop.epoll_fd, &event, 1, 0) > 0)
		assert_int_equal(loop_turn(&talk.loop), 0);
}

static bool is_readable(int fd)
{
	struct pollfd readable = {.fd = fd, .events = POLLIN};

	return poll(&readable, 1, 0) == 1;
}

/* The loop too is a descriptor: readable while it has events. */
void talk_wait(int fd)
{
	struct pollfd both[] = {
		{.fd = fd, .events = POLLIN}, {.fd = talk.loop.epoll_fd, .events = POLLIN}};

	while (!is_readable(fd)) {
		assert_in_range(poll(both, 2, -1), 1, 2);
		talk_until_quiet();
	}
}

void talk_until(bool (*is_so)(void))
{
	struct pollfd events = {.fd = talk.loop.epoll_fd, .events = POLLIN};

	while (!is_so()) {
		assert_int_equal(poll(&events, 1, -1), 1);
		talk_until_quiet();
	}
}

void talk_later(int64_t ms)
{
	struct timer *timer, *next;
	int64_t ns = talk.now.tv_nsec + ms % 1000 * 1000000;

	talk.now.tv_sec += ms / 1000 + ns / 1000000000;
	talk.now.tv_nsec = ns % 1000000000;
	for (timer = TAILQ_FIRST(&talk.loop.timers); timer; timer = next) {
		next = TAILQ_NEXT(timer, link);
		if (timer->at_ms <= monotonic_ms())
			timer->on_time(timer, monotonic_ms());
	}
	talk_until_quiet();
}

void talk_send(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
	talk_until_quiet();
}

static size_t read_some(int fd, char *text, size_t size, bool *ret_is_over)
{
	size_t n_read = 0;
	ssize_t n;

	talk_until_quiet();
	while (n_read < size - 1 && (n = recv(fd, text + n_read, size - 1 - n_read, 0)) > 0) {
		n_read += (size_t)n;
		talk_until_quiet();
	}
	*ret_is_over = n_read < size - 1 && n == 0;
	if (n_read < size - 1 && n < 0)
		assert_int_equal(errno, EAGAIN);
	text[n_read] = '\0';
	return n_read;
}

void assert_gets(int fd, const char *text)
{
	static char got[1 << 20];
	bool is_over;

	(void)read_some(fd, got, sizeof(got), &is_over);
	assert_string_equal(got, text);
	assert_false(is_over);
}

void assert_gets_end(int fd, const char *text)
{
	static char got[1 << 20];
	bool is_over;

	(void)read_some(fd, got, sizeof(got), &is_over);
	assert_string_equal(got, text);
	assert_true(is_over);
	close(fd);
	talk_until_quiet();
}

void assert_said(const char *expected)
{
	char said[4096] = "";
	ssize_t n = read(talk.output_fd, said, sizeof(said) - 1);

	if (n < 0)
		assert_int_equal(errno, EAGAIN);
	assert_string_equal(said, expected);
}
