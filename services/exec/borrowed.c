/* SPDX-License-Identifier: MIT */
/* Sockets that are lent: see borrowed.h. A socket is known by its inode, because it may come back
 * with another descriptor while a program still uses it. */
#include "borrowed.h"

#include "loop.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* Pauses after programs that fail, ... */
#define FIRST_PAUSE_MS	 100
#define LONGEST_PAUSE_MS 10000

/* ... and after others: the first N_BRIEF are short. */
#define BRIEF_PAUSE_MS 10
#define N_BRIEF	       100

struct borrowed {
	TAILQ_ENTRY(borrowed) link;
	struct borrowing *all;
	int fd; /* the registration's; -1: it was taken back, and a program still uses it */
	ino_t inode;
	bool is_listed; /* while borrowing_refresh() compares */
	sd_event_source *io, *timer;
	struct run *run; /* NULL: none runs */
	unsigned int n_quick;
	struct said said;
};

int64_t borrowed_pause_ms(unsigned int n_quick, bool is_success)
{
	unsigned int n_doublings = n_quick < 8 ? n_quick - 1 : 7;

	assert(n_quick > 0);
	if (is_success)
		return n_quick <= N_BRIEF ? BRIEF_PAUSE_MS : FIRST_PAUSE_MS;
	return FIRST_PAUSE_MS << n_doublings < LONGEST_PAUSE_MS ? FIRST_PAUSE_MS << n_doublings
								: LONGEST_PAUSE_MS;
}

static void unwatch(struct borrowed *one)
{
	one->io = sd_event_source_disable_unref(one->io);
	one->timer = sd_event_source_disable_unref(one->timer);
}

static void borrowed_free(struct borrowed *one)
{
	unwatch(one);
	if (one->run)
		run_free(one->run);
	TAILQ_REMOVE(&one->all->sockets, one, link);
	free(one);
}

/* usherd lends it non-blocking, but its program runs already, and has got it blocking. */
static void make_blocking(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags >= 0 && flags & O_NONBLOCK)
		(void)fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
}

static bool is_readable(const struct borrowed *one)
{
	struct pollfd watched = {.fd = one->fd, .events = POLLIN};

	return poll(&watched, 1, 0) == 1 && watched.revents & POLLIN;
}

static void watch(struct borrowed *one)
{
	(void)sd_event_source_set_enabled(one->io, SD_EVENT_ON);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	(void)source, (void)usec;
	watch(userdata);
	return 0;
}

/* One episode is said once: it is over when a program leaves nothing to read. */
static void say_pause(struct borrowed *one, int64_t pause_ms)
{
	const struct command *command = one->all->command;

	if (pause_ms >= FIRST_PAUSE_MS)
		say_once(&one->said,
			"%s: %s ends at once, again and again, and leaves its socket unread: it is "
			"started with pauses",
			command->service, command->path);
}

static void go_on(struct borrowed *one, bool was_quick, bool is_success)
{
	int64_t pause_ms;

	if (!was_quick || !is_readable(one)) {
		one->n_quick = 0;
		one->said.words[0] = '\0';
		watch(one);
		return;
	}
	one->n_quick++;
	pause_ms = borrowed_pause_ms(one->n_quick, is_success);
	say_pause(one, pause_ms);
	(void)sd_event_source_set_time_relative(one->timer, 1000 * (uint64_t)pause_ms);
	(void)sd_event_source_set_enabled(one->timer, SD_EVENT_ONESHOT);
}

/* Its program is over, or there was none. */
static void finish_run(struct borrowed *one, bool was_quick, bool is_success)
{
	struct borrowing *b = one->all;

	one->run = run_free(one->run);
	if (one->fd < 0)
		borrowed_free(one);
	else
		go_on(one, was_quick, is_success);
	if (borrowing_is_idle(b))
		b->on_idle(b->userdata);
}

static void on_run_ended(struct run *run, bool is_success, void *userdata)
{
	finish_run(userdata, monotonic_ms() - run->started_usec / 1000 < BORROWED_QUICK_MS,
		is_success);
}

static void on_run_started(struct run *run, int error, enum child_step step, void *userdata)
{
	struct borrowed *one = userdata;

	(void)close(run->connection.fd);
	if (error == 0)
		return;
	say_once(&one->all->failed, "%s: cannot run %s: %s: %s: %s", run->command->service,
		run->command->path, child_step_name(step), strerror(-error),
		child_step_remedy(step));
	finish_run(one, true, false);
}

/* With a descriptor of its own, because the socket may be taken back before it runs. */
static int start_program(struct borrowed *one)
{
	static const struct run_events events = {on_run_started, on_run_ended};
	struct borrowing *b = one->all;
	int fd = fcntl(one->fd, F_DUPFD_CLOEXEC, 0), r;

	if (fd < 0)
		return -errno;
	r = run_new(&one->run, b->event, b->spawner, b->command, fd, NULL, &events, one);
	if (r < 0)
		(void)close(fd);
	else
		one->run->connection.fd = fd;
	return r;
}

/* An error has to be taken off. A hang-up stays: a program has shut the socket down, for all who
 * have it, and there would be something to read without end. */
static void on_broken(struct borrowed *one, uint32_t events)
{
	int error;

	(void)getsockopt(one->fd, SOL_SOCKET, SO_ERROR, &error, &(socklen_t){sizeof(error)});
	if (!(events & EPOLLHUP))
		return;
	say_once(&one->said,
		"%s: a socket that is lent was shut down, probably by its program: correct the "
		"program, disable the service, reload, enable it and reload",
		one->all->command->service);
	(void)sd_event_source_set_enabled(one->io, SD_EVENT_OFF);
	(void)sd_event_source_set_time_relative(one->timer, 1000 * (uint64_t)LONGEST_PAUSE_MS);
	(void)sd_event_source_set_enabled(one->timer, SD_EVENT_ONESHOT);
}

/* Only what can be read is something to start a program for. */
static int on_readable(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct borrowed *one = userdata;
	int r;

	(void)fd;
	if (!(events & EPOLLIN) || events & EPOLLHUP) {
		on_broken(one, events);
		return 0;
	}
	(void)sd_event_source_set_enabled(source, SD_EVENT_OFF);
	r = start_program(one);
	if (r < 0) {
		say_once(&one->all->failed, "%s: cannot serve a socket that is lent: %s",
			one->all->command->service, strerror(-r));
		go_on(one, true, false);
	}
	return 0;
}

static int open_watch(struct borrowed *one)
{
	sd_event *event = one->all->event;
	int r = sd_event_add_io(event, &one->io, one->fd, EPOLLIN, on_readable, one);

	if (r >= 0)
		r = sd_event_add_time_relative(
			event, &one->timer, CLOCK_MONOTONIC, 0, 0, on_timer, one);
	if (r >= 0)
		r = sd_event_source_set_enabled(one->timer, SD_EVENT_OFF);
	if (r >= 0 && one->run)
		r = sd_event_source_set_enabled(one->io, SD_EVENT_OFF);
	return r;
}

static struct borrowed *find_socket(struct borrowing *b, ino_t inode)
{
	struct borrowed *one;

	TAILQ_FOREACH(one, &b->sockets, link)
	{
		if (one->inode == inode)
			return one;
	}
	return NULL;
}

static struct borrowed *add_socket(struct borrowing *b, ino_t inode)
{
	struct borrowed *one = malloc(sizeof(*one));

	if (!one)
		return NULL;
	*one = (struct borrowed){.all = b, .fd = -1, .inode = inode};
	TAILQ_INSERT_TAIL(&b->sockets, one, link);
	return one;
}

/* The descriptor is still open, for this moment. */
static void give_back(struct borrowed *one)
{
	unwatch(one);
	one->fd = -1;
	if (!one->run)
		borrowed_free(one);
}

/* Returns 0 or a negative errno: then nobody serves it. */
static int take_socket(struct borrowing *b, int fd)
{
	struct borrowed *one;
	struct stat status;
	int r = 0;

	if (fstat(fd, &status) < 0)
		return -errno;
	one = find_socket(b, status.st_ino);
	if (!one)
		one = add_socket(b, status.st_ino);
	if (!one)
		return -ENOMEM;
	one->is_listed = true;
	if (one->run)
		make_blocking(fd);
	if (one->fd == fd)
		return 0;
	unwatch(one);
	one->fd = fd;
	r = open_watch(one);
	if (r < 0)
		give_back(one); /* its program goes on */
	return r;
}

static void drop_unlisted(struct borrowing *b)
{
	struct borrowed *one = TAILQ_FIRST(&b->sockets), *next;

	for (; one; one = next) {
		next = TAILQ_NEXT(one, link);
		if (!one->is_listed)
			give_back(one);
	}
}

void borrowing_init(struct borrowing *b, sd_event *event, struct spawner *spawner,
	struct usher *usher, void (*on_idle)(void *userdata), void *userdata)
{
	*b = (struct borrowing){
		.event = event,
		.spawner = spawner,
		.usher = usher,
		.on_idle = on_idle,
		.userdata = userdata,
	};
	TAILQ_INIT(&b->sockets);
}

void borrowing_refresh(struct borrowing *b)
{
	struct borrowed *one;
	struct usher_lent lent;

	TAILQ_FOREACH(one, &b->sockets, link)
	{
		one->is_listed = false;
	}
	for (size_t i = 0; usher_lent(b->usher, i, &lent) == 0; i++) {
		int r = take_socket(b, lent.fd);

		if (r < 0)
			say("%s: cannot serve a socket that is lent: %s", b->command->service,
				strerror(-r));
	}
	drop_unlisted(b);
}

bool borrowing_is_idle(const struct borrowing *b)
{
	const struct borrowed *one;

	TAILQ_FOREACH(one, &b->sockets, link)
	{
		if (one->run)
			return false;
	}
	return true;
}

void borrowing_done(struct borrowing *b)
{
	struct borrowed *one;

	while ((one = TAILQ_FIRST(&b->sockets)))
		borrowed_free(one);
}
