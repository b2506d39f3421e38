/* SPDX-License-Identifier: MIT */
/* See loader.h. The loop watches three things: the end of the pipe, the end of usherd, which may
 * come first or later, and a deadline for both. While there is a deadline the caller is not told
 * yet. */
#include "loader.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#define FIRST_ROOM 65536
#define WHY_SIZE   256

struct loader {
	sd_event *event;
	const char *usherd, *config;
	loader_on_loaded on_loaded;
	void *userdata;
	pid_t pid; /* 0: none runs */
	int pidfd;
	int exit_status; /* -1: it was killed */
	int fd;		 /* the pipe; -1: nothing more comes */
	int read_error;	 /* an errno: why it was not read to its end */
	sd_event_source *io, *end, *deadline;
	char *text;
	size_t size, room;
	bool is_wanted_again;
};

static void close_pipe(struct loader *loader)
{
	loader->io = sd_event_source_disable_unref(loader->io);
	if (loader->fd >= 0)
		(void)close(loader->fd);
	loader->fd = -1;
}

static void close_pidfd(struct loader *loader)
{
	loader->end = sd_event_source_disable_unref(loader->end);
	if (loader->pidfd >= 0)
		(void)close(loader->pidfd);
	loader->pidfd = -1;
}

/* Forget what was read. */
static void finish(struct loader *loader, json_t *json, const char *why, int exit_status)
{
	loader->deadline = sd_event_source_disable_unref(loader->deadline);
	free(loader->text);
	loader->text = NULL;
	loader->size = loader->room = 0;
	loader->on_loaded(json, why, exit_status, loader->userdata);
	json_decref(json);
}

/* Begin again if that was wanted meanwhile. */
static void go_on(struct loader *loader)
{
	bool is_wanted_again = loader->is_wanted_again;

	loader->is_wanted_again = false;
	if (is_wanted_again)
		loader_start(loader);
}

/* It has ended, and nothing more comes. */
static void conclude(struct loader *loader)
{
	int status = loader->exit_status;
	char why[WHY_SIZE];
	json_error_t error;
	json_t *json = NULL;

	if (loader->read_error)
		(void)snprintf(why, sizeof(why), "cannot read from %s: %s", loader->usherd,
			strerror(loader->read_error));
	else if (status < 0)
		(void)snprintf(why, sizeof(why), "'%s --programs' was killed", loader->usherd);
	else if (status > 0)
		(void)snprintf(why, sizeof(why), "'%s --programs' has ended with status %d%s",
			loader->usherd, status,
			status == EX_CONFIG ? ": correct what it has complained about" : "");
	else
		json = json_loadb(loader->text, loader->size, JSON_REJECT_DUPLICATES, &error);
	if (status == 0 && !loader->read_error && !json)
		(void)snprintf(why, sizeof(why), "'%s --programs' prints no JSON: %s",
			loader->usherd, error.text);
	finish(loader, json, json ? NULL : why, status > 0 ? status : json ? 0 : EX_OSERR);
	go_on(loader);
}

/* Returns 0, or an errno. */
static int make_room(struct loader *loader)
{
	size_t room = loader->room ? 2 * loader->room : FIRST_ROOM;
	char *text;

	if (loader->size < loader->room)
		return 0;
	if (room > LOADER_MAX_SIZE)
		return EFBIG;
	text = realloc(loader->text, room);
	if (!text)
		return ENOMEM;
	loader->text = text;
	loader->room = room;
	return 0;
}

static int on_readable(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct loader *loader = userdata;
	int error = make_room(loader);
	ssize_t n = 0;

	(void)source, (void)events;
	if (!error) {
		n = read(fd, loader->text + loader->size, loader->room - loader->size);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return 0;
		error = n < 0 ? errno : 0;
	}
	if (n > 0) {
		loader->size += (size_t)n;
		return 0;
	}
	loader->read_error = error;
	close_pipe(loader);
	if (loader->pid == 0)
		conclude(loader);
	else if (error)
		(void)kill(loader->pid, SIGKILL);
	return 0;
}

/* Whose end was told already has been killed. */
static int on_ended(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct loader *loader = userdata;
	siginfo_t info = {0};

	(void)source, (void)fd, (void)events;
	if (waitid(P_PID, (id_t)loader->pid, &info, WEXITED | WNOHANG) < 0 || info.si_pid == 0)
		return 0;
	close_pidfd(loader);
	loader->pid = 0;
	loader->exit_status = info.si_code == CLD_EXITED ? info.si_status : -1;
	if (!loader->deadline)
		go_on(loader);
	else if (loader->fd < 0)
		conclude(loader);
	return 0;
}

/* Told at once: not even who is killed always ends soon. */
static int on_deadline(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct loader *loader = userdata;
	char why[WHY_SIZE];

	(void)source, (void)usec;
	close_pipe(loader);
	if (loader->pid > 0)
		(void)kill(loader->pid, SIGKILL);
	(void)snprintf(why, sizeof(why), "'%s --programs' has not ended in %llu seconds",
		loader->usherd, (unsigned long long)LOADER_MAX_USEC / 1000000);
	finish(loader, NULL, why, EX_OSERR);
	if (loader->pid == 0)
		go_on(loader);
	return 0;
}

/* With /dev/null as its input, the pipe as its output, and signals as they usually are. */
static int run_usherd(struct loader *loader, int output_fd)
{
	const char *arguments[] = {
		"usherd", "--programs", loader->config ? "-c" : NULL, loader->config, NULL};
	union {
		const char **from;
		char *const *to;
	} argv = {.from = arguments};
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	sigset_t none;
	int r;

	sigemptyset(&none);
	(void)posix_spawnattr_init(&attributes);
	(void)posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
	(void)posix_spawnattr_setsigmask(&attributes, &none);
	r = posix_spawn_file_actions_init(&actions);
	if (r == 0)
		r = posix_spawn_file_actions_addopen(
			&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	if (r == 0)
		r = posix_spawn_file_actions_adddup2(&actions, output_fd, STDOUT_FILENO);
	if (r == 0)
		r = posix_spawn(
			&loader->pid, loader->usherd, &actions, &attributes, argv.to, environ);
	(void)posix_spawn_file_actions_destroy(&actions);
	(void)posix_spawnattr_destroy(&attributes);
	return -r;
}

static int watch(struct loader *loader)
{
	int r;

	loader->pidfd = (int)syscall(SYS_pidfd_open, loader->pid, 0);
	if (loader->pidfd < 0)
		return -errno;
	r = sd_event_add_io(loader->event, &loader->end, loader->pidfd, EPOLLIN, on_ended, loader);
	if (r >= 0)
		r = sd_event_add_io(
			loader->event, &loader->io, loader->fd, EPOLLIN, on_readable, loader);
	if (r >= 0)
		r = sd_event_add_time_relative(loader->event, &loader->deadline, CLOCK_MONOTONIC,
			LOADER_MAX_USEC, 0, on_deadline, loader);
	return r;
}

static int begin(struct loader *loader)
{
	int fds[2], r;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	loader->fd = fds[0];
	loader->read_error = 0;
	(void)fcntl(loader->fd, F_SETFL, O_NONBLOCK);
	r = run_usherd(loader, fds[1]);
	(void)close(fds[1]);
	return r < 0 ? r : watch(loader);
}

/* Nobody watches it: it is waited for, which is not long after SIGKILL. */
static void end_usherd(struct loader *loader)
{
	siginfo_t info;

	if (loader->pid == 0)
		return;
	(void)kill(loader->pid, SIGKILL);
	while (waitid(P_PID, (id_t)loader->pid, &info, WEXITED) < 0 && errno == EINTR)
		;
	loader->pid = 0;
}

void loader_start(struct loader *loader)
{
	char why[WHY_SIZE];
	int r;

	if (loader->fd >= 0 || loader->pid > 0) {
		loader->is_wanted_again = true;
		return;
	}
	r = begin(loader);
	if (r >= 0)
		return;
	close_pipe(loader);
	close_pidfd(loader);
	end_usherd(loader);
	(void)snprintf(why, sizeof(why), "cannot run %s: %s", loader->usherd, strerror(-r));
	finish(loader, NULL, why, EX_OSERR);
}

int loader_new(struct loader **ret, sd_event *event, const char *usherd, const char *config,
	loader_on_loaded on_loaded, void *userdata)
{
	struct loader *loader = malloc(sizeof(*loader));

	if (!loader)
		return -ENOMEM;
	*loader = (struct loader){
		.event = event,
		.usherd = usherd,
		.config = config,
		.on_loaded = on_loaded,
		.userdata = userdata,
		.fd = -1,
		.pidfd = -1,
	};
	*ret = loader;
	return 0;
}

struct loader *loader_free(struct loader *loader)
{
	if (!loader)
		return NULL;
	sd_event_source_disable_unref(loader->deadline);
	close_pipe(loader);
	close_pidfd(loader);
	end_usherd(loader);
	free(loader->text);
	free(loader);
	return NULL;
}
