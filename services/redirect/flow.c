/* SPDX-License-Identifier: MIT */
/* See flow.h. */
#include "flow.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* What a pipe holds by default: pipe(7). */
#define CHUNK 65536

static int spare[FLOW_SPARE_PIPES][2];
static size_t n_spare;

void flow_init(struct flow *f)
{
	*f = (struct flow){.pipe_fds = {-1, -1}};
}

static void close_pipe(int fds[2])
{
	(void)close(fds[0]);
	(void)close(fds[1]);
}

static int take_pipe(struct flow *f)
{
	if (f->pipe_fds[0] >= 0)
		return 0;
	if (n_spare == 0)
		return pipe2(f->pipe_fds, O_CLOEXEC | O_NONBLOCK) < 0 ? -errno : 0;
	memcpy(f->pipe_fds, spare[--n_spare], sizeof(f->pipe_fds));
	return 0;
}

/* An empty one is as good as new. */
static void leave_pipe(struct flow *f)
{
	if (f->pipe_fds[0] < 0)
		return;
	if (f->n_in_pipe == 0 && n_spare < FLOW_SPARE_PIPES)
		memcpy(spare[n_spare++], f->pipe_fds, sizeof(f->pipe_fds));
	else
		close_pipe(f->pipe_fds);
	f->pipe_fds[0] = f->pipe_fds[1] = -1;
}

void flow_close_spare(void)
{
	while (n_spare > 0)
		close_pipe(spare[--n_spare]);
}

void flow_done(struct flow *f)
{
	leave_pipe(f);
}

bool flow_wants_input(const struct flow *f)
{
	return !f->is_ended && f->n_in_pipe == 0;
}

bool flow_wants_output(const struct flow *f)
{
	return f->n_in_pipe > 0;
}

/* Returns how many bytes, 0 at the end; -EAGAIN: none now. */
static ssize_t splice_some(int from_fd, int to_fd, size_t size)
{
	ssize_t n = splice(from_fd, NULL, to_fd, NULL, size, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);

	if (n < 0)
		return errno == EINTR ? -EAGAIN : -errno;
	return n;
}

static int take_input(struct flow *f, int from_fd)
{
	ssize_t n;
	int r = take_pipe(f);

	if (r < 0)
		return r;
	n = splice_some(from_fd, f->pipe_fds[1], CHUNK);
	if (n == -EAGAIN)
		return 0;
	if (n < 0)
		return (int)n;
	f->is_ended = n == 0;
	f->n_in_pipe = (size_t)n;
	return 0;
}

static int give_output(struct flow *f, int to_fd)
{
	ssize_t n = splice_some(f->pipe_fds[0], to_fd, f->n_in_pipe);

	if (n == -EAGAIN)
		return 0;
	if (n < 0)
		return (int)n;
	f->n_in_pipe -= (size_t)n;
	f->n_bytes += (size_t)n;
	return 0;
}

/* A receiver that is gone already has no half to be ended. */
static int end_output(struct flow *f, int to_fd)
{
	f->is_over = true;
	return shutdown(to_fd, SHUT_WR) < 0 && errno != ENOTCONN ? -errno : 0;
}

int flow_step(struct flow *f, int from_fd, int to_fd)
{
	int r = 0;

	if (flow_wants_input(f))
		r = take_input(f, from_fd);
	if (r == 0 && flow_wants_output(f))
		r = give_output(f, to_fd);
	if (r == 0 && f->is_ended && !f->is_over && f->n_in_pipe == 0)
		r = end_output(f, to_fd);
	if (f->n_in_pipe == 0)
		leave_pipe(f);
	return r;
}
