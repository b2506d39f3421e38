/* SPDX-License-Identifier: MIT */
/* A running program: see run.h. Its pidfd is what the loop watches. */
#include "run.h"

#include "report.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

/* " exit=0 duration=0.123s", as the service wants it. */
static void report_end(const struct run *run, const siginfo_t *info)
{
	const struct program *program = run->program;
	uint64_t usec = monotonic_usec() - run->started_usec;
	char how[32] = "", duration[48] = "";

	if (!program->is_exit_logged && !program->is_duration_logged)
		return;
	if (program->is_exit_logged)
		(void)snprintf(how, sizeof(how), " %s=%d",
			info->si_code == CLD_EXITED ? "exit" : "signal", info->si_status);
	if (program->is_duration_logged)
		(void)snprintf(duration, sizeof(duration), " duration=%llu.%03llus",
			(unsigned long long)usec / 1000000, (unsigned long long)usec / 1000 % 1000);
	report(program->service, "ended pid=%d%s%s", run->pid, how, duration);
}

static void report_start(const struct run *run, const char *from)
{
	const struct program *program = run->program;
	bool is_from = program->is_host_logged && from;

	if (program->is_pid_logged || is_from)
		report(program->service, "started pid=%d%s%s", run->pid, is_from ? " from=" : "",
			is_from ? from : "");
}

static int on_pidfd(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct run *run = userdata;
	siginfo_t info = {0};

	(void)source, (void)fd, (void)events;
	if (waitid(P_PID, (id_t)run->pid, &info, WEXITED | WNOHANG) < 0 || info.si_pid == 0)
		return 0;
	report_end(run, &info);
	run->on_ended(run, info.si_code == CLD_EXITED && info.si_status == 0, run->userdata);
	return 0;
}

static void fill_plan(struct child_plan *plan, const struct program *program, int fd)
{
	union {
		const char **from;
		char *const *to;
	} argv = {.from = program->argv};

	*plan = (struct child_plan){
		.path = program->path,
		.argv = argv.to,
		.envp = program->env,
		.fd = fd,
		.limits = program->limits,
		.n_limits = program->n_limits,
		.nice = program->nice,
		.has_nice = program->has_nice,
		.has_umask = program->has_umask,
		.umask = program->umask,
		.chroot = program->chroot,
		.directory = program->directory,
		.has_identity = program->identity.is_changed,
		.uid = program->identity.uid,
		.gid = program->identity.gid,
		.groups = program->identity.groups,
		.n_groups = program->identity.n_groups,
	};
}

static int start(struct run *run, int fd, char *const *variables, enum child_step *ret_step)
{
	struct program *program = run->program;
	struct child_plan plan;
	size_t n = program->n_env;

	for (size_t i = 0; variables && variables[i]; i++)
		program->env[n++] = variables[i];
	program->env[n] = NULL;
	fill_plan(&plan, program, fd);
	return child_spawn(&plan, &run->pid, &run->pidfd, ret_step);
}

/* A child whose end could not be waited for must not be there. */
static void end_child(const struct run *run)
{
	siginfo_t info;

	(void)kill(run->pid, SIGKILL);
	while (waitid(P_PID, (id_t)run->pid, &info, WEXITED) < 0 && errno == EINTR)
		;
}

int run_new(struct run **ret, sd_event *event, struct program *program, int fd,
	char *const *variables, const char *from, enum child_step *ret_step)
{
	struct run *run = malloc(sizeof(*run));
	int r;

	*ret_step = CHILD_CLONE;
	if (!run)
		return -ENOMEM;
	*run = (struct run){
		.program = program_ref(program), .pidfd = -EBADF, .started_usec = monotonic_usec()};
	r = start(run, fd, variables, ret_step);
	if (r >= 0) {
		r = sd_event_add_io(event, &run->io, run->pidfd, EPOLLIN, on_pidfd, run);
		if (r < 0)
			end_child(run);
	}
	if (r < 0) {
		run_free(run);
		return r;
	}
	report_start(run, from);
	*ret = run;
	return 0;
}

void run_set_callback(struct run *run,
	void (*on_ended)(struct run *run, bool is_success, void *userdata), void *userdata)
{
	run->on_ended = on_ended;
	run->userdata = userdata;
}

struct run *run_free(struct run *run)
{
	sd_event_source_disable_unref(run->io);
	if (run->pidfd >= 0)
		(void)close(run->pidfd);
	program_unref(run->program);
	free(run);
	return NULL;
}
