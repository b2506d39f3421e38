/* SPDX-License-Identifier: MIT */
/* A running program: see run.h. Its pidfd is what the loop watches. */
#include "run.h"

#include "say.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* What is needed until it runs. */
struct launch {
	struct spawn_job job;
	struct environment environment;
	char peer[ENVIRONMENT_TEXT_SIZE]; /* "": no client, or nobody wants to know */
	char *envp[];
};

static int64_t monotonic_usec(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* Fields as usherd has them in its log, so that one expression finds both. What the service does
 * not want is missing. */
static void report_end(const struct run *run, const siginfo_t *info)
{
	const struct command *command = run->command;
	char how[32] = "", duration[48] = "";

	if (!command->is_exit_logged && !command->is_duration_logged)
		return;
	if (command->is_exit_logged)
		(void)snprintf(how, sizeof(how), " %s=%d",
			info->si_code == CLD_EXITED ? "exit" : "signal", info->si_status);
	if (command->is_duration_logged)
		(void)snprintf(duration, sizeof(duration), " duration_usec=%" PRId64,
			monotonic_usec() - run->started_usec);
	say("event=end service=%s pid=%d%s%s", command->service, run->pid, how, duration);
}

static void report_start(const struct run *run)
{
	const struct command *command = run->command;
	const char *peer = run->launch->peer;

	if (command->is_pid_logged || peer[0] != '\0')
		say("event=start service=%s%s%s pid=%d", command->service,
			peer[0] != '\0' ? " peer=" : "", peer, run->pid);
}

static int on_pidfd(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct run *run = userdata;
	siginfo_t info = {0};

	(void)source, (void)fd, (void)events;
	if (waitid(P_PID, (id_t)run->pid, &info, WEXITED | WNOHANG) < 0 || info.si_pid == 0)
		return 0;
	report_end(run, &info);
	run->events->on_ended(
		run, info.si_code == CLD_EXITED && info.si_status == 0, run->userdata);
	return 0;
}

static void fill_plan(
	struct child_plan *plan, const struct command *command, char *const *envp, int fd)
{
	union {
		const char **from;
		char *const *to;
	} argv = {.from = command->argv};

	*plan = (struct child_plan){
		.path = command->path,
		.argv = argv.to,
		.envp = envp,
		.fd = fd,
		.limits = command->limits,
		.n_limits = command->n_limits,
		.nice = command->nice,
		.has_nice = command->has_nice,
		.has_umask = command->has_umask,
		.umask = command->umask,
		.no_new_privs = command->no_new_privs,
		.chroot = command->chroot,
		.directory = command->directory,
		.has_identity = command->identity.is_changed,
		.uid = command->identity.uid,
		.gid = command->identity.gid,
		.groups = command->identity.groups,
		.n_groups = command->identity.n_groups,
	};
}

/* Once the loop has ended nobody waits for anything, and programs go on. */
static int watch(struct run *run)
{
	if (sd_event_get_state(run->event) == SD_EVENT_FINISHED)
		return 0;
	return sd_event_add_io(run->event, &run->io, run->pidfd, EPOLLIN, on_pidfd, run);
}

/* A child whose end could not be waited for must not be there. */
static void end_child(const struct run *run)
{
	siginfo_t info;

	(void)kill(run->pid, SIGKILL);
	while (waitid(P_PID, (id_t)run->pid, &info, WEXITED) < 0 && errno == EINTR)
		;
}

static void on_spawned(struct spawn_job *job, void *userdata)
{
	struct run *run = userdata;
	int r = job->error;
	enum child_step step = r < 0 ? job->step : CHILD_CLONE;

	if (r >= 0) {
		run->pid = job->pid;
		run->pidfd = job->pidfd;
		r = watch(run);
		if (r < 0)
			end_child(run);
		else
			report_start(run);
	}
	free(run->launch);
	run->launch = NULL;
	run->events->on_started(run, r < 0 ? r : 0, step, run->userdata);
}

/* Several may be started at once: each has its own variables. */
static struct launch *launch_new(const struct command *command, int fd, const struct run_ends *ends)
{
	size_t room = command->n_env + ENVIRONMENT_MAX + 1;
	struct launch *launch = calloc(1, sizeof(*launch) + room * sizeof(launch->envp[0]));

	if (!launch)
		return NULL;
	memcpy(launch->envp, command->env, command->n_env * sizeof(launch->envp[0]));
	if (ends) {
		(void)environment_make(&launch->environment, launch->envp + command->n_env,
			ends->remote, ends->local);
		if (command->is_host_logged)
			(void)endpoint_format(ends->remote, launch->peer);
	}
	fill_plan(&launch->job.plan, command, launch->envp, fd);
	return launch;
}

int run_new(struct run **ret, sd_event *event, struct spawner *spawner, struct command *command,
	int fd, const struct run_ends *ends, const struct run_events *events, void *userdata)
{
	struct launch *launch = launch_new(command, fd, ends);
	struct run *run = malloc(sizeof(*run));

	if (!launch || !run) {
		free(launch);
		free(run);
		return -ENOMEM;
	}
	*run = (struct run){
		.command = command_ref(command),
		.event = event,
		.events = events,
		.userdata = userdata,
		.launch = launch,
		.pidfd = -EBADF,
		.started_usec = monotonic_usec(),
	};
	launch->job.on_done = on_spawned;
	launch->job.userdata = run;
	spawner_submit(spawner, &launch->job);
	*ret = run;
	return 0;
}

struct run *run_free(struct run *run)
{
	assert(!run->launch);
	sd_event_source_disable_unref(run->io);
	if (run->pidfd >= 0)
		(void)close(run->pidfd);
	command_unref(run->command);
	free(run);
	return NULL;
}
