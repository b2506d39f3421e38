/* SPDX-License-Identifier: MIT */
/* See program.h. */
#include "program.h"
#include "process.h"
#include "say.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sysexits.h>
#include <unistd.h>

/* The first signal lets open connections finish, the second does not. */
static void on_signal(struct watch *watch, uint32_t events)
{
	struct program *p =
		(struct program *)(void *)((char *)watch - offsetof(struct program, signal_watch));
	struct signalfd_siginfo info;
	struct enrolment *e;

	(void)events;
	if (read(p->signal_fd, &info, sizeof(info)) < 0)
		return;
	p->stop_timer.at_ms =
		monotonic_ms() + (p->stop_timer.at_ms == NO_DEADLINE ? PROGRAM_STOP_MS : 0);
	TAILQ_FOREACH(e, &p->enrolments, link)
	enrolment_drain(e);
}

/* It has only to wake the loop up: see is_finished(). */
static void on_stop_time(struct timer *timer, int64_t now_ms)
{
	(void)timer, (void)now_ms;
}

/*
 * A descriptor for signals, because epoll_pwait(2) looks at them only when it finds no event: under
 * load that may be never.
 */
static int open_signals(struct program *p)
{
	sigset_t signals;

	(void)signal(SIGPIPE, SIG_IGN);
	sigemptyset(&signals);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGTERM);
	if (sigprocmask(SIG_BLOCK, &signals, NULL) < 0)
		return -errno;
	p->signal_fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
	if (p->signal_fd < 0)
		return -errno;
	p->signal_watch.on_event = on_signal;
	return loop_watch(&p->loop, &p->signal_watch, p->signal_fd, EPOLLIN);
}

int program_begin(struct program *p)
{
	int r;

	*p = (struct program){.signal_fd = -1};
	TAILQ_INIT(&p->enrolments);
	if (geteuid() == 0)
		say("runs as root and need not: --user=USER has it become another user");
	r = loop_init(&p->loop);
	if (r == 0)
		r = open_signals(p);
	p->stop_timer = (struct timer){.on_time = on_stop_time, .at_ms = NO_DEADLINE};
	loop_add_timer(&p->loop, &p->stop_timer);
	if (r == 0)
		return 0;
	say("cannot start: %s", strerror(-r));
	return EX_OSERR;
}

int program_enrol(struct program *p, struct enrolment *e, const char *name, uint32_t credit,
	enrolment_on_connection *on_connection, enrolment_on_lent *on_lent)
{
	int r = enrolment_init(e, &p->loop, name, credit, on_connection, on_lent);

	if (r == 0) {
		TAILQ_INSERT_TAIL(&p->enrolments, e, link);
		return 0;
	}
	say("cannot register for '%s': %s", name, strerror(-r));
	return r == -EINVAL || r == -ENAMETOOLONG ? EX_USAGE : EX_OSERR;
}

/* After a signal every service is drained; usherd may drain them too, without a deadline. */
static bool is_finished(const struct program *p)
{
	const struct enrolment *e;

	TAILQ_FOREACH(e, &p->enrolments, link)
	if (!enrolment_is_finished(e))
		return monotonic_ms() >= p->stop_timer.at_ms;
	return true;
}

int program_run(struct program *p)
{
	process_tell_ready();
	while (!is_finished(p)) {
		int r = loop_turn(&p->loop);

		if (r == 0)
			continue;
		say("cannot wait for events: %s", strerror(-r));
		return EX_OSERR;
	}
	return 0;
}

void program_end(struct program *p)
{
	struct enrolment *e;

	while ((e = TAILQ_FIRST(&p->enrolments))) {
		TAILQ_REMOVE(&p->enrolments, e, link);
		enrolment_done(e);
	}
	if (p->signal_fd >= 0)
		(void)close(p->signal_fd);
	loop_done(&p->loop);
}
