/* SPDX-License-Identifier: MIT */
/* Jobs of the threads that make processes: each is done once, in the loop, and leaves nothing. */
#include "run.h"
#include "spawner.h"
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define N_JOBS	  300
#define N_THREADS 4

static const char *witness; /* its path */
static char name[] = "witness", *argv_of_all[] = {name, NULL}, *no_environment[] = {NULL};

struct one {
	struct spawn_job job;
	int fds[2];
	unsigned int n_done;
};

static unsigned int n_all_done;

/* What happens to a child before it is the program; -1: the next one is stopped over and over. */
static volatile int n_to_stop;

/* The child shares our memory, so getpid(3) may be of no use. */
int __wrap_chdir(const char *path);
__attribute__((no_sanitize("address"))) int __wrap_chdir(const char *path)
{
	while (n_to_stop != 0) {
		n_to_stop -= n_to_stop > 0;
		(void)syscall(SYS_kill, syscall(SYS_getpid), SIGSTOP);
	}
	return (int)syscall(SYS_chdir, path);
}

static void on_done(struct spawn_job *job, void *userdata)
{
	struct one *one = userdata;

	assert_ptr_equal(job, &one->job);
	one->n_done++;
	n_all_done++;
	close(one->fds[1]);
}

/* Every third one cannot be executed. */
static bool is_wrong(size_t i)
{
	return i % 3 == 2;
}

static void submit(struct spawner *spawner, struct one *one, size_t i)
{
	*one = (struct one){
		.job = {.plan = {.path = is_wrong(i) ? "/none" : witness,
				.argv = argv_of_all,
				.envp = no_environment,
				.directory = "/"},
			.on_done = on_done,
			.userdata = one},
	};
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, one->fds), 0);
	one->job.plan.fd = one->fds[1];
	spawner_submit(spawner, &one->job);
}

/* The client sees what the program says, and then the end: nobody else has its socket. */
static void finish(struct one *one, size_t i)
{
	char text[65536];
	ssize_t n;
	size_t size = 0;
	siginfo_t info;

	assert_int_equal(one->n_done, 1);
	while ((n = read(one->fds[0], text + size, sizeof(text) - size)) > 0)
		size += (size_t)n;
	assert_int_equal(n, 0);
	close(one->fds[0]);
	if (is_wrong(i)) {
		assert_int_equal(one->job.error, -ENOENT);
		assert_int_equal(one->job.step, CHILD_EXECUTE);
		assert_int_equal(size, 0);
		return;
	}
	assert_int_equal(one->job.error, 0);
	assert_non_null(memmem(text, size, "\nfds=0 1 2 \n", 12));
	assert_non_null(memmem(text, size, "\nsignals=\n", 10));
	assert_int_equal(waitid(P_PID, (id_t)one->job.pid, &info, WEXITED), 0);
	close(one->job.pidfd);
}

static void test_each_job_is_done_once(void **state)
{
	struct one *jobs = calloc(N_JOBS, sizeof(*jobs));
	struct spawner *spawner;
	sd_event *event;

	(void)state;
	assert_non_null(jobs);
	n_all_done = 0;
	assert_int_equal(sd_event_new(&event), 0);
	assert_int_equal(spawner_new(&spawner, event, N_THREADS), 0);
	for (size_t i = 0; i < N_JOBS; i++)
		submit(spawner, &jobs[i], i);
	assert_int_equal(n_all_done, 0); /* only in the loop */
	while (n_all_done < N_JOBS)
		assert_true(sd_event_run(event, UINT64_MAX) >= 0);
	assert_null(spawner_free(spawner));
	sd_event_unref(event);
	assert_int_equal(n_all_done, N_JOBS);
	for (size_t i = 0; i < N_JOBS; i++)
		finish(&jobs[i], i);
	assert_int_equal(waitid(P_ALL, 0, &(siginfo_t){0}, WEXITED | WNOHANG), -1);
	free(jobs);
}

static void test_the_end_waits_for_what_was_submitted(void **state)
{
	struct one jobs[20];
	struct spawner *spawner;
	sd_event *event;

	(void)state;
	n_all_done = 0;
	assert_int_equal(sd_event_new(&event), 0);
	assert_int_equal(spawner_new(&spawner, event, 1), 0);
	for (size_t i = 0; i < 20; i++)
		submit(spawner, &jobs[i], i);
	spawner_free(spawner);
	assert_int_equal(n_all_done, 20);
	sd_event_unref(event);
	for (size_t i = 0; i < 20; i++)
		finish(&jobs[i], i);
	assert_null(spawner_free(NULL));
}

/* A signal for the process is not lost in a thread. */
static void test_threads_take_no_signals(void **state)
{
	struct spawner *spawner;
	sigset_t some, before, pending;
	sd_event *event;

	(void)state;
	sigemptyset(&some);
	sigaddset(&some, SIGTERM);
	assert_int_equal(sd_event_new(&event), 0);
	assert_int_equal(spawner_new(&spawner, event, N_THREADS), 0);
	assert_int_equal(sigprocmask(SIG_BLOCK, &some, &before), 0);
	assert_int_equal(kill(getpid(), SIGTERM), 0);
	assert_int_equal(sigpending(&pending), 0);
	assert_int_equal(sigismember(&pending, SIGTERM), 1);
	assert_int_equal(sigtimedwait(&some, NULL, &(struct timespec){0}), SIGTERM);
	assert_int_equal(sigprocmask(SIG_SETMASK, &before, NULL), 0);
	spawner_free(spawner);
	sd_event_unref(event);
}

/* One user can stop what is to become his program, and that must not stop all others. */
static void test_a_child_that_is_stopped_goes_on(void **state)
{
	struct one one;
	struct spawner *spawner;
	sd_event *event;

	(void)state;
	n_all_done = 0;
	n_to_stop = 2;
	assert_int_equal(sd_event_new(&event), 0);
	assert_int_equal(spawner_new(&spawner, event, 1), 0);
	submit(spawner, &one, 0);
	while (n_all_done < 1)
		assert_true(sd_event_run(event, UINT64_MAX) >= 0);
	spawner_free(spawner);
	sd_event_unref(event);
	assert_int_equal(n_to_stop, 0);
	finish(&one, 0);
}

/* In the loop, and at the end without it. */
static void test_a_child_that_is_stopped_for_good_is_killed(void **state)
{
	(void)state;
	for (int has_loop = 0; has_loop <= 1; has_loop++) {
		struct one one;
		struct spawner *spawner;
		sd_event *event;

		n_all_done = 0;
		n_to_stop = -1;
		assert_int_equal(sd_event_new(&event), 0);
		assert_int_equal(spawner_new(&spawner, event, 1), 0);
		submit(spawner, &one, 0);
		while (has_loop && n_all_done < 1)
			assert_true(sd_event_run(event, UINT64_MAX) >= 0);
		spawner_free(spawner);
		sd_event_unref(event);
		n_to_stop = 0;
		assert_int_equal(n_all_done, 1);
		assert_int_equal(one.job.error, -ETIME);
		assert_int_equal(one.job.step, CHILD_EXECUTE);
		assert_int_equal(waitid(P_ALL, 0, &(siginfo_t){0}, WEXITED | WNOHANG), -1);
		close(one.fds[0]);
	}
}

static void on_started(struct run *run, int error, enum child_step step, void *userdata)
{
	(void)run, (void)step;
	assert_int_equal(error, 0);
	++*(unsigned int *)userdata;
}

static void on_ended(struct run *run, bool is_success, void *userdata)
{
	(void)run, (void)is_success, (void)userdata;
	fail();
}

/* usher-exec ends while it is made: who was connected to it stays so. */
static void test_a_program_that_starts_last_goes_on(void **state)
{
	static const struct run_events events = {on_started, on_ended};
	const char *arguments[] = {name, NULL};
	char *environment[] = {NULL};
	struct command command = {.n_references = 2,
		.path = witness,
		.argv = arguments,
		.env = environment,
		.directory = "/"};
	struct spawner *spawner;
	unsigned int n_started = 0;
	siginfo_t info;
	struct run *run;
	sd_event *event;
	int fds[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	assert_int_equal(sd_event_new(&event), 0);
	assert_int_equal(spawner_new(&spawner, event, 1), 0);
	assert_int_equal(sd_event_exit(event, 0), 0);
	assert_int_equal(sd_event_loop(event), 0);
	assert_int_equal(
		run_new(&run, event, spawner, &command, fds[1], NULL, &events, &n_started), 0);
	spawner_free(spawner);
	assert_int_equal(n_started, 1);
	assert_int_equal(waitid(P_PID, (id_t)run->pid, &info, WEXITED), 0);
	assert_int_equal(info.si_code, CLD_EXITED);
	run_free(run);
	sd_event_unref(event);
	close(fds[0]);
	close(fds[1]);
}

int main(int argc, char *argv[])
{
	const struct CMUnitTest tests[] = {
		check_test(test_each_job_is_done_once),
		check_test(test_the_end_waits_for_what_was_submitted),
		check_test(test_threads_take_no_signals),
		check_test(test_a_program_that_starts_last_goes_on),
		check_test(test_a_child_that_is_stopped_goes_on),
		check_test(test_a_child_that_is_stopped_for_good_is_killed),
	};

	assert_int_equal(argc, 2);
	witness = realpath(argv[1], NULL); /* a program is started in "/" */
	assert_non_null(witness);
	child_init();
	return cmocka_run_group_tests_name("exec: spawner", tests, NULL, NULL);
}
