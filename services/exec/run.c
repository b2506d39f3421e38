/* SPDX-License-Identifier: MIT */
/* A running program: see run.h. Its pidfd is what the loop watches. */
#include "run.h"

#include "loop.h"
#include "say.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

/* " exit=0 duration=0.123s", as the service wants it. */
static void report_end(const struct run *run, const siginfo_t *info)
{
	const struct command *command = run->command;
	int64_t ms = monotonic_ms() - run->started_ms;
	char how[32] = "", duration[48] = "";

	if (!command->is_exit_logged && !command->is_duration_logged)
		return;
	if (command->is_exit_logged)
		(void)snprintf(how, sizeof(how), " %s=%d",
			info->si_code == CLD_EXITED ? "exit" : "signal", info->si_status);
	if (command->is_duration_logged)
		(void)snprintf(duration, sizeof(duration), " duration=%lld.%03llds",
			(long long)ms / 1000, (long long)ms % 1000);
	say("%s: ended pid=%d%s%s", command->service, run->pid, how, duration);
}

static void report_start(const struct run *run, const char *from)
{
	const struct command *command = run->command;
	bool is_from = command->is_host_logged && from;

	if (command->is_pid_logged || is_from)
		say("%s: started pid=%d%s%s", command->service, run->pid, is_from ? " from=" : "",
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

static void fill_plan(struct child_plan *plan, const struct command *command, int fd)
{
	union {
		const char **from;
		char *const *to;
	} argv = {.from = command->argv};

	*plan = (struct child_plan){
		.path = command->path,
		.argv = argv.to,
		.envp = command->env,
		.fd = fd,
		.limits = command->limits,
		.n_limits = command->n_limits,
		.nice = command->nice,
		.has_nice = command->has_nice,
		.has_umask = command->has_umask,
		.umask = command->umask,
		.chroot = command->chroot,
		.directory = command->directory,
		.has_identity = command->identity.is_changed,
		.uid = command->identity.uid,
		.gid = command->identity.gid,
		.groups = command->identity.groups,
		.n_groups = command->identity.n_groups,
	};
}

static int start(struct run *run, int fd, char *const *variables, enum child_step *ret_step)
{
	struct command *command = run->command;
	struct child_plan plan;
	size_t n = command->n_env;

	for (size_t i = 0; variables && variables[i]; i++)
		command->env[n++] = variables[i];
	command->env[n] = NULL;
	fill_plan(&plan, command, fd);
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

int run_new(struct run **ret, sd_event *event, struct command *command, int fd,
	char *const *variables, const char *from, enum child_step *ret_step)
{
	struct run *run = malloc(sizeof(*run));
	int r;

	*ret_step = CHILD_CLONE;
	if (!run)
		return -ENOMEM;
	*run = (struct run){
		.command = command_ref(command), .pidfd = -EBADF, .started_ms = monotonic_ms()};
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
	command_unref(run->command);
	free(run);
	return NULL;
}
