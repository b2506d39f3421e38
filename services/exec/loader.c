/* SPDX-License-Identifier: MIT */
/* See loader.h. The end of usherd is the end of the pipe: the loop watches that and a deadline. */
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
	int fd;
	sd_event_source *io, *deadline;
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

/* Returns its exit status, or -1: it was killed. */
static int wait_end(struct loader *loader)
{
	int status = 0;

	while (waitpid(loader->pid, &status, 0) < 0 && errno == EINTR)
		;
	loader->pid = 0;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* Forget what was read; begin again if that was wanted meanwhile. */
static void finish(struct loader *loader, json_t *json, const char *why, int exit_status)
{
	bool is_wanted_again = loader->is_wanted_again;

	free(loader->text);
	loader->text = NULL;
	loader->size = loader->room = 0;
	loader->is_wanted_again = false;
	loader->on_loaded(json, why, exit_status, loader->userdata);
	json_decref(json);
	if (is_wanted_again)
		loader_start(loader);
}

/* `read_error`: why the pipe could not be read to its end, or 0. */
static void conclude(struct loader *loader, int read_error)
{
	char why[WHY_SIZE];
	json_error_t error;
	json_t *json = NULL;
	int status;

	loader->deadline = sd_event_source_disable_unref(loader->deadline);
	close_pipe(loader);
	status = wait_end(loader);
	if (read_error)
		(void)snprintf(why, sizeof(why), "cannot read from %s: %s", loader->usherd,
			strerror(read_error));
	else if (status < 0)
		(void)snprintf(why, sizeof(why), "'%s --programs' was killed", loader->usherd);
	else if (status > 0)
		(void)snprintf(why, sizeof(why), "'%s --programs' has ended with status %d%s",
			loader->usherd, status,
			status == EX_CONFIG ? ": correct what it has complained about" : "");
	else
		json = json_loadb(loader->text, loader->size, JSON_REJECT_DUPLICATES, &error);
	if (status == 0 && !read_error && !json)
		(void)snprintf(why, sizeof(why), "'%s --programs' prints no JSON: %s",
			loader->usherd, error.text);
	finish(loader, json, json ? NULL : why, status > 0 ? status : json ? 0 : EX_OSERR);
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
	if (error)
		(void)kill(loader->pid, SIGKILL);
	if (error || n == 0)
		conclude(loader, error);
	else
		loader->size += (size_t)n;
	return 0;
}

static int on_deadline(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct loader *loader = userdata;

	(void)source, (void)usec;
	(void)kill(loader->pid, SIGKILL);
	conclude(loader, ETIMEDOUT);
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
	int r = sd_event_add_io(
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
	(void)fcntl(loader->fd, F_SETFL, O_NONBLOCK);
	r = watch(loader);
	if (r >= 0)
		r = run_usherd(loader, fds[1]);
	(void)close(fds[1]);
	return r;
}

void loader_start(struct loader *loader)
{
	char why[WHY_SIZE];
	int r;

	if (loader->fd >= 0) {
		loader->is_wanted_again = true;
		return;
	}
	r = begin(loader);
	if (r >= 0)
		return;
	loader->deadline = sd_event_source_disable_unref(loader->deadline);
	close_pipe(loader);
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
	if (loader->pid > 0) {
		(void)kill(loader->pid, SIGKILL);
		(void)wait_end(loader);
	}
	free(loader->text);
	free(loader);
	return NULL;
}
