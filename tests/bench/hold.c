/* SPDX-License-Identifier: MIT */
/* See hold.h. atexit(3) and handlers of the deadly signals continue what is held. */
#include "hold.h"

#include <assert.h>
#include <errno.h>
#include <glob.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATIENCE_MS 10000

static pid_t held[HOLD_MAX];
static volatile sig_atomic_t n_held;

void hold_continue(void)
{
	while (n_held > 0)
		(void)kill(held[--n_held], SIGCONT);
}

static void on_deadly_signal(int number)
{
	hold_continue();
	(void)raise(number); /* ends it now: SA_RESETHAND */
}

static void prepare_ends(void)
{
	const struct sigaction action = {.sa_handler = on_deadly_signal, .sa_flags = SA_RESETHAND};
	const int deadly[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGABRT, SIGPIPE};

	for (size_t i = 0; i < sizeof(deadly) / sizeof(deadly[0]); i++)
		(void)sigaction(deadly[i], &action, NULL);
	(void)atexit(hold_continue);
}

/* proc(5): the state is behind the name, which is in parentheses and may contain some. Stopped,
 * also below a debugger, or ended. */
static bool is_thread_stopped(const char *stat_path)
{
	FILE *file = fopen(stat_path, "re");
	char line[512] = "";
	const char *name_end;

	if (!file)
		return true; /* it has ended */
	(void)!fgets(line, sizeof(line), file);
	(void)fclose(file);
	name_end = strrchr(line, ')');
	return !name_end || strchr("TtXZ", name_end[2]);
}

static bool is_stopped(pid_t pid)
{
	char pattern[64];
	glob_t threads;
	bool are_stopped = true;

	(void)snprintf(pattern, sizeof(pattern), "/proc/%d/task/*/stat", (int)pid);
	if (glob(pattern, 0, NULL, &threads) != 0)
		return true;
	for (size_t i = 0; i < threads.gl_pathc; i++)
		are_stopped = are_stopped && is_thread_stopped(threads.gl_pathv[i]);
	globfree(&threads);
	return are_stopped;
}

int hold_stop(pid_t pid)
{
	assert(n_held < HOLD_MAX);
	if (n_held == 0)
		prepare_ends();
	held[n_held] = pid;
	n_held++; /* before it is stopped: this process may end at any moment */
	if (kill(pid, SIGSTOP) < 0) {
		n_held--;
		return errno == ESRCH ? 0 : -errno;
	}
	for (int i = 0; i < PATIENCE_MS; i++) {
		if (is_stopped(pid))
			return 0;
		(void)poll(NULL, 0, 1);
	}
	return -ETIMEDOUT;
}
