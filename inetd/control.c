/* SPDX-License-Identifier: MIT */
/*
 * The control socket: see control.h. A client is read until its line is complete, then written to
 * until its answer is sent, then closed.
 */
#include "control.h"

#include "acceptor.h"
#include "closer.h"
#include "fd.h"
#include "fdpass.h"
#include "log.h"
#include "peer.h"
#include "unixsocket.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sysexits.h>
#include <unistd.h>

#define BUDGET 8 /* clients accepted in one turn */

/* Monitors get no more of the places than this. */
#define MAX_MONITORS (CONTROL_MAX_CLIENTS / 2)

static const struct config_accounts nobody;

/* What somebody who connects may do. */
enum rank {
	RANK_STRANGER, /* nothing */
	RANK_MONITOR,  /* look */
	RANK_OWNER,    /* everything */
};

struct client {
	struct control *control;
	struct client *next, *previous;
	int fd;
	sd_event_source *io;
	sd_event_source *deadline;
	bool is_monitor;
	size_t n_read;
	char request[CONTROL_MAX_REQUEST + 1]; /* and a NUL */
	char *answer;			       /* NULL until the request is complete */
	size_t answer_length;
	size_t n_sent;
	const struct control_parts *parts; /* of which `answer` is one, or NULL */
	void *parts_userdata;
};

struct control {
	sd_event *event;
	int fd;
	char *path;
	struct unixsocket_file file;
	struct acceptor *acceptor;
	control_on_request on_request;
	void *userdata;
	uint64_t timeout_usec;
	const struct config_accounts *monitors;
	struct client *clients;
	size_t n_clients, n_monitors;
};

/* Adding to epoll may fail for memory: the next client that goes tries again. */
static void look_for_places(struct control *control)
{
	(void)acceptor_set_paused(control->acceptor, control->n_clients >= CONTROL_MAX_CLIENTS);
}

/* Changing the events of a source that epoll already has needs no memory: it cannot fail. */
static void set_events(sd_event_source *io, uint32_t events)
{
	(void)sd_event_source_set_io_events(io, events);
}

static struct client *client_free(struct client *client)
{
	struct control *control = client->control;

	if (client->previous)
		client->previous->next = client->next;
	else
		control->clients = client->next;
	if (client->next)
		client->next->previous = client->previous;
	control->n_monitors -= client->is_monitor;
	control->n_clients--;
	look_for_places(control);

	sd_event_source_disable_unref(client->deadline);
	sd_event_source_disable_unref(client->io);
	closer_close(client->fd);
	free(client->answer);
	if (client->parts)
		client->parts->done(client->parts_userdata);
	free(client);
	return NULL;
}

static json_t *error_object(const char *sentence, int exit_status)
{
	return json_pack("{s:s, s:i}", "error", sentence, "exit_status", exit_status);
}

/*
 * The answer to the request, which is complete: a line, all that the client sends, or all that
 * fits.
 */
static json_t *client_ask(struct client *client)
{
	struct control *control = client->control;
	char *end = memchr(client->request, '\n', client->n_read);

	if (!end && client->n_read == CONTROL_MAX_REQUEST)
		return error_object("the request is too long", EX_USAGE);
	if (!end)
		end = client->request + client->n_read;
	*end = '\0';
	if (end == client->request || strlen(client->request) != (size_t)(end - client->request))
		return error_object("the request is not a line of text", EX_USAGE);
	return control->on_request(client->request, client->fd, control->userdata);
}

/* Begin to send `answer`, which is taken. Returns false if there is none: out of memory. */
static bool client_answer(struct client *client, json_t *answer)
{
	client->answer = answer ? json_dumps(answer, JSON_COMPACT) : NULL;
	json_decref(answer);
	if (!client->answer)
		return false;
	client->answer_length = strlen(client->answer);
	client->answer[client->answer_length++] = '\n'; /* in the place of the NUL */
	set_events(client->io, EPOLLOUT);
	return true;
}

/* Begin to send the next part. Returns false if there is none. */
static bool client_next_part(struct client *client)
{
	free(client->answer);
	client->n_sent = 0;
	client->answer = client->parts->next(client->parts_userdata, &client->answer_length);
	set_events(client->io, EPOLLOUT);
	return client->answer;
}

static bool client_answer_or_log(struct client *client)
{
	json_t *answer = client_ask(client);

	if (client->fd < 0 || client->parts) { /* control_give_away(), or what comes in parts */
		json_decref(answer);
		return client->parts && client_next_part(client);
	}
	if (client_answer(client, answer))
		return true;
	log_write(LOG_ERR, &(struct log_about){.reason = "no-memory", .error = ENOMEM},
		"cannot answer usherctl: out of memory");
	return false;
}

/*
 * Returns false if the client is done with. Anybody may connect, and send descriptors: recv(2)
 * would close them at once, and wait if they linger.
 */
static bool client_receive(struct client *client)
{
	struct fdpass_received received;
	int r = fdpass_receive(client->fd, client->request + client->n_read,
		CONTROL_MAX_REQUEST - client->n_read, FDPASS_MAX_RECEIVED, &received);

	if (r < 0)
		return r == -EAGAIN;
	while (received.n_fds > 0)
		closer_close_received(received.fds[--received.n_fds]);
	client->n_read += received.size;
	if (client->n_read == 0)
		return false;
	if (received.size > 0 && client->n_read < CONTROL_MAX_REQUEST &&
		!memchr(client->request, '\n', client->n_read))
		return true;
	return client_answer_or_log(client);
}

/* Returns false if the client is done with. */
static bool client_send(struct client *client)
{
	ssize_t n = send(client->fd, client->answer + client->n_sent,
		client->answer_length - client->n_sent, MSG_NOSIGNAL);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	client->n_sent += (size_t)n;
	return client->n_sent < client->answer_length ||
	       (client->parts && client_next_part(client));
}

static int on_client(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct client *client = userdata;

	(void)source, (void)fd, (void)events;
	if (!(client->answer ? client_send(client) : client_receive(client)))
		client_free(client);
	return 0;
}

static int on_deadline(sd_event_source *source, uint64_t usec, void *userdata)
{
	(void)source, (void)usec;
	client_free(userdata);
	return 0;
}

/* Takes `fd`, also on failure. */
static int client_new(struct control *control, int fd, bool is_monitor, struct client **ret)
{
	struct client *client = malloc(sizeof(*client));
	int r;

	if (!client) {
		close_fd(fd);
		return -ENOMEM;
	}
	*client = (struct client){
		.control = control, .fd = fd, .is_monitor = is_monitor, .next = control->clients};
	if (client->next)
		client->next->previous = client;
	control->clients = client;
	control->n_monitors += is_monitor;
	control->n_clients++;
	look_for_places(control);

	r = sd_event_add_io(control->event, &client->io, fd, EPOLLIN, on_client, client);
	if (r >= 0)
		r = sd_event_add_time_relative(control->event, &client->deadline, CLOCK_MONOTONIC,
			control->timeout_usec, 0, on_deadline, client);
	if (r < 0) {
		client_free(client);
		return r;
	}
	*ret = client;
	return 0;
}

static enum rank rank_of(const struct control *control, int fd)
{
	enum rank rank = RANK_STRANGER;
	struct peer_process peer;

	if (peer_read(&peer, fd) < 0)
		return RANK_STRANGER;
	if (peer_is_own(&peer))
		rank = RANK_OWNER;
	else if (peer_is_among(&peer, control->monitors))
		rank = RANK_MONITOR;
	peer_done(&peer);
	return rank;
}

/* Say at once why there is no answer: who gets none takes no place away from those who do. Takes
 * `fd`. */
static void turn_away(int fd, const char *sentence, int exit_status)
{
	json_t *answer = error_object(sentence, exit_status);
	char *text = answer ? json_dumps(answer, JSON_COMPACT) : NULL;

	json_decref(answer);
	if (text) /* it fits into a new socket */
		(void)dprintf(fd, "%s\n", text);
	free(text);
	closer_close(fd); /* and with it the descriptors in what it has said already */
}

/* Takes `fd`. Returns 0 or a negative errno: there is not enough of something. */
static int receive_client(struct control *control, int fd)
{
	enum rank rank = rank_of(control, fd);
	struct client *client;

	if (rank == RANK_STRANGER)
		turn_away(fd,
			"permission denied: only root, the user of usherd and monitors are "
			"answered, see monitors in usher.conf(5)",
			EX_NOPERM);
	else if (rank == RANK_MONITOR && control->n_monitors == MAX_MONITORS)
		turn_away(fd, "too many monitors ask at the same time; try again", EX_TEMPFAIL);
	else
		return client_new(control, fd, rank == RANK_MONITOR, &client);
	return 0;
}

static void on_connections(void *userdata)
{
	struct control *control = userdata;
	struct sockaddr_storage unused;

	for (int i = 0; i < BUDGET && control->n_clients < CONTROL_MAX_CLIENTS; i++) {
		_cleanup_close_ int fd = -EBADF;

		if (acceptor_accept(control->acceptor, &fd, &unused) < 0)
			return;
		if (receive_client(control, take_fd(&fd)) < 0)
			acceptor_retry_later(control->acceptor);
	}
}

/* Bind the path, unless the socket was inherited. */
static int open_socket(struct control *control)
{
	if (!control->path)
		return -ENOMEM;
	if (control->fd >= 0)
		return fcntl(control->fd, F_SETFD, FD_CLOEXEC) < 0 ? -errno : 0;
	return unixsocket_listen(control->path, SOCK_STREAM, 0666, SOMAXCONN, &control->fd);
}

int control_new(struct control **ret, sd_event *event, const char *path, int inherited_fd,
	control_on_request on_request, void *userdata)
{
	struct control *control = malloc(sizeof(*control));
	int r;

	if (!control) {
		close_fd(inherited_fd);
		return -ENOMEM;
	}
	*control = (struct control){
		.event = sd_event_ref(event),
		.fd = inherited_fd,
		.path = strdup(path),
		.on_request = on_request,
		.userdata = userdata,
		.timeout_usec = CONTROL_TIMEOUT_USEC,
		.monitors = &nobody,
	};
	r = open_socket(control);
	if (r >= 0) {
		control->file = unixsocket_identify(path);
		r = acceptor_new(&control->acceptor, event, control->fd, on_connections, control);
	}
	if (r >= 0)
		r = acceptor_set_paused(control->acceptor, false);
	if (r < 0) {
		control_free(control);
		return r;
	}
	*ret = control;
	return 0;
}

void control_set_timeout(struct control *control, uint64_t timeout_usec)
{
	control->timeout_usec = timeout_usec;
}

void control_set_monitors(struct control *control, const struct config_accounts *monitors)
{
	control->monitors = monitors;
}

int control_fd(const struct control *control)
{
	return control->fd;
}

int control_answer(struct control *control, int client_fd, json_t *answer)
{
	struct client *client;
	int r;

	(void)fcntl(client_fd, F_SETFD, FD_CLOEXEC); /* of a bad one epoll complains, too */
	r = client_new(control, client_fd, false, &client);
	if (r < 0) {
		json_decref(answer);
		return r;
	}
	if (client_answer(client, answer))
		return 0;
	client_free(client);
	return -ENOMEM;
}

static struct client *find_client(const struct control *control, int fd)
{
	struct client *client = control->clients;

	while (client->fd != fd)
		client = client->next;
	return client;
}

bool control_may_change(const struct control *control, int client_fd)
{
	return !find_client(control, client_fd)->is_monitor;
}

bool control_may_look(const struct control *control, int fd)
{
	return rank_of(control, fd) != RANK_STRANGER;
}

void control_give_away(struct control *control, int client_fd)
{
	struct client *client = find_client(control, client_fd);

	/* epoll must forget it now: it stays open */
	client->io = sd_event_source_disable_unref(client->io);
	client->fd = -EBADF;
}

void control_answer_in_parts(
	struct control *control, int client_fd, const struct control_parts *parts, void *userdata)
{
	struct client *client = find_client(control, client_fd);

	client->parts = parts;
	client->parts_userdata = userdata;
}

struct control *control_free(struct control *control)
{
	if (!control)
		return NULL;
	while (control->clients)
		client_free(control->clients);
	acceptor_free(control->acceptor);
	sd_event_unref(control->event);
	if (control->fd >= 0)
		unixsocket_unlink(control->path, &control->file);
	closer_close(control->fd);
	free(control->path);
	free(control);
	return NULL;
}
