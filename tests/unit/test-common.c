/* SPDX-License-Identifier: MIT */
/* What services have in common besides enrolments: the loop, timers, arguments, shares. */
#include "arguments.h"
#include "process.h"
#include "program.h"
#include "stub-usher.h"
#include "talk.h"
#include "test.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

struct party {
	struct watch watch; /* first */
	struct party *other;
	int fd;
	unsigned int n_events;
};

/* Ends both: the other's event was returned by the same epoll_wait(2). */
static void on_event(struct watch *watch, uint32_t events)
{
	struct party *party = (struct party *)watch;

	(void)events;
	party->n_events++;
	loop_unwatch(&talk.loop, &party->watch, party->fd);
	loop_unwatch(&talk.loop, &party->other->watch, party->other->fd);
}

static void test_event_of_one_that_was_ended_is_forgotten(void **state)
{
	struct party a = {.watch.on_event = on_event, .fd = eventfd(1, EFD_CLOEXEC)};
	struct party b = {.watch.on_event = on_event, .fd = eventfd(1, EFD_CLOEXEC), .other = &a};

	(void)state;
	a.other = &b;
	talk_begin();
	assert_int_equal(loop_watch(&talk.loop, &a.watch, a.fd, EPOLLIN), 0);
	assert_int_equal(loop_watch(&talk.loop, &b.watch, b.fd, EPOLLIN), 0);
	talk_until_quiet();
	assert_int_equal(a.n_events + b.n_events, 1);
	close(a.fd);
	close(b.fd);
	talk_end();
}

static unsigned int n_rings;

static void on_time(struct timer *timer, int64_t now_ms)
{
	n_rings++;
	timer->at_ms = n_rings < 3 ? now_ms : NO_DEADLINE;
}

static void test_timer_that_is_due_ends_the_wait(void **state)
{
	struct timer never = {.on_time = on_time, .at_ms = NO_DEADLINE};
	struct timer due = {.on_time = on_time};

	(void)state;
	talk_begin();
	due.at_ms = monotonic_ms();
	n_rings = 0;
	loop_add_timer(&talk.loop, &never);
	loop_add_timer(&talk.loop, &due);
	for (int i = 0; i < 3; i++)
		assert_int_equal(loop_turn(&talk.loop), 0);
	assert_int_equal(n_rings, 3);
	loop_remove_timer(&talk.loop, &due);
	loop_remove_timer(&talk.loop, &never);
	talk_end();
}

/* The status of a parse, or -1: go on. */
static int parse(struct arguments *a, const char *first, const char *second)
{
	char zero[] = "usher-test", one[32], two[32];
	char *argv[] = {zero, one, two, NULL};
	int status = -2;

	(void)snprintf(one, sizeof(one), "%s", first);
	(void)snprintf(two, sizeof(two), "%s", second);
	*a = (struct arguments){.program = "usher-test", .help = "help"};
	optind = 0;
	return arguments_begin(a, &status, 3, argv) ? -1 : status;
}

static void test_credit_is_taken_or_refused(void **state)
{
	static const char *const bad[] = {
		"0", "-1", "1048577", "x", "1x", "", "99999999999999999999"};
	struct arguments a;

	(void)state;
	talk_begin();
	assert_int_equal(parse(&a, "-c1048576", "word"), -1);
	assert_int_equal(a.credit, 1048576);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(parse(&a, "-c", bad[i]), EX_USAGE);
	}
	talk_end();
}

static void test_descriptors_are_shared(void **state)
{
	(void)state;
	assert_int_equal(process_share(1000, 1, 1, 500), 500);
	assert_int_equal(process_share(1024, 1, 1, 10000), 1000);
	assert_int_equal(process_share(1024, 1, 5, 10000), 200);
	assert_int_equal(process_share(16 + 2 * 8 + 100, 2, 1, 10000), 50);
	assert_int_equal(process_share(10, 4, 1, 100), 1);
}

static void test_what_is_said_has_no_control_characters(void **state)
{
	(void)state;
	talk_begin();
	say("one\ntwo\x1b[0m\x7f");
	assert_said("usher-test: one?two?[0m?\n");
	talk_end();
}

static void fail_in_a_talk(void **state)
{
	(void)state;
	talk_begin();
	say("said before it fails");
	assert_true(false);
}

/* In a process of its own, which says what it has to say to `fd`. */
static pid_t start_failing(int fd)
{
	static const struct CMUnitTest tests[] = {check_test(fail_in_a_talk)};
	pid_t pid = fork();

	if (pid != 0)
		return pid;
	dup2(fd, STDOUT_FILENO);
	dup2(fd, STDERR_FILENO);
	_exit(cmocka_run_group_tests(tests, NULL, NULL));
}

static void test_failure_in_a_talk_is_seen(void **state)
{
	char text[4096];
	size_t length = 0;
	ssize_t n;
	int fds[2], status;
	pid_t pid;

	(void)state;
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	pid = start_failing(fds[1]);
	assert_true(pid > 0);
	close(fds[1]);
	while ((n = read(fds[0], text + length, sizeof(text) - 1 - length)) > 0)
		length += (size_t)n;
	text[length] = '\0';
	close(fds[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, W_EXITCODE(1, 0));
	assert_non_null(strstr(text, "usher-test: said before it fails"));
	assert_non_null(strstr(text, "was leaked"));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		check_test(test_event_of_one_that_was_ended_is_forgotten),
		check_test(test_timer_that_is_due_ends_the_wait),
		check_test(test_credit_is_taken_or_refused),
		check_test(test_descriptors_are_shared),
		check_test(test_what_is_said_has_no_control_characters),
		check_test(test_failure_in_a_talk_is_seen),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
