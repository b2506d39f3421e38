/* SPDX-License-Identifier: MIT */
/*
 * The signals that administrators send, those of inetd and xinetd too: see server-private.h and
 * usherd(8), "SIGNALS".
 *
 * Invariant: no signal ends usherd but those that are there to end it.
 */
#include "server-private.h"

#include "log.h"
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

static int on_reload(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata)
{
	(void)source, (void)info;
	json_decref(server_reload(userdata, -EBADF, false));
	return 0;
}

static int on_stop(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata)
{
	struct server *server = userdata;

	(void)source, (void)info;
	return sd_event_exit(server->event, 0);
}

/* As `usherctl status --json` prints it, from malloc; NULL: out of memory. */
static char *format_status(const struct server *server)
{
	json_t *status = server_status(server);
	char *text = status ? json_dumps(status, JSON_INDENT(2) | JSON_ENSURE_ASCII) : NULL;
	char *line = text ? realloc(text, strlen(text) + sizeof("\n")) : NULL;

	json_decref(status);
	if (!line)
		free(text);
	return line ? strcat(line, "\n") : NULL;
}

static int on_dump(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata)
{
	struct server *server = userdata;
	char *text = format_status(server);
	int r = text ? dump_write(server->dump, text) : -ENOMEM;

	(void)source, (void)info;
	if (r < 0)
		log_write(LOG_ERR, &(struct log_about){.reason = "dump", .error = r},
			"cannot write the state: %s",
			r == -EBUSY ? "the last one is still being written" : strerror(-r));
	return 0;
}

static int on_unused(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata)
{
	(void)source, (void)userdata;
	log_write(LOG_NOTICE, &(struct log_about){.reason = "signal"},
		"signal %u (%s) from process %u is ignored, see SIGNALS in usherd(8)",
		info->ssi_signo, strsignal((int)info->ssi_signo), info->ssi_pid);
	return 0;
}

/* What has a meaning, and what others would end us by because inetd or xinetd give it one. */
static const struct {
	int number;
	sd_event_signal_handler_t handler;
} actions[] = {
	{SIGHUP, on_reload},
	{SIGTERM, on_stop},
	{SIGINT, on_stop},
	{SIGQUIT, on_stop},
	{SIGUSR1, on_dump},
	{SIGUSR2, on_unused},
	{SIGALRM, on_unused},
	{SIGIO, on_unused},
	{SIGVTALRM, on_unused},
	{SIGPROF, on_unused},
	{SIGPWR, on_unused},
};

/* SIGXFSZ: a file of the log may not be written any longer, which write(2) says, too. */
static void ignore_others(void)
{
	static const int ignored[] = {SIGXFSZ, SIGSTKFLT};

	for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
		(void)signal(ignored[i], SIG_IGN);
	for (int number = SIGRTMIN; number <= SIGRTMAX; number++)
		(void)signal(number, SIG_IGN);
}

int server_watch_signals(struct server *server)
{
	const size_t n = sizeof(actions) / sizeof(actions[0]);
	sigset_t mask;
	int r = 0;

	ignore_others();
	sigemptyset(&mask);
	for (size_t i = 0; i < n; i++)
		sigaddset(&mask, actions[i].number);
	if (sigprocmask(SIG_BLOCK, &mask, NULL) < 0)
		return -errno;
	for (size_t i = 0; i < n && r >= 0; i++)
		r = sd_event_add_signal(
			server->event, NULL, actions[i].number, actions[i].handler, server);
	return r;
}
