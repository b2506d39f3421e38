/* SPDX-License-Identifier: MIT */
/*
 * A reload whose configuration has names: see server-private.h.
 *
 * The loop turns on meanwhile: threads ask (names.h), and the reload goes on when all have answered
 * or the time is over. Until then the old configuration is in force.
 */
#include "server-private.h"

#include "fd.h"
#include "names.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>

struct server_lookup {
	struct names *names;
	struct server_loaded loaded;
	sd_event_source *answered, *deadline;
	bool is_wanted_again;
};

/* What was loaded and who waits for it are not freed. */
static void lookup_free(struct server_lookup *lookup)
{
	sd_event_source_disable_unref(lookup->answered);
	sd_event_source_disable_unref(lookup->deadline);
	names_free(lookup->names);
	free(lookup);
}

/* All have answered, or the time is over. */
static void finish(struct server *server)
{
	struct server_lookup *lookup = server->lookup;
	struct server_loaded loaded = lookup->loaded;
	bool is_wanted_again = lookup->is_wanted_again;
	json_t *answer;

	names_close(lookup->names);
	loaded.error = config_resolve(loaded.config, lookup->names, &loaded.errors);
	lookup_free(lookup);
	server->lookup = NULL;
	answer = server_reloaded(server, &loaded);
	if (loaded.client_fd >= 0)
		(void)control_answer(server->control, loaded.client_fd, answer);
	else
		json_decref(answer);
	if (is_wanted_again)
		json_decref(server_reload(server, -EBADF, false));
}

static int on_answered(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	(void)source, (void)fd, (void)revents;
	finish(userdata);
	return 0;
}

static int on_deadline(sd_event_source *source, uint64_t usec, void *userdata)
{
	(void)source, (void)usec;
	finish(userdata);
	return 0;
}

int server_look_up(struct server *server, struct names *names, const struct server_loaded *loaded)
{
	struct server_lookup *lookup = calloc(1, sizeof(*lookup));
	int r;

	if (!lookup)
		return -ENOMEM;
	r = sd_event_add_io(
		server->event, &lookup->answered, names_fd(names), EPOLLIN, on_answered, server);
	if (r >= 0)
		r = sd_event_add_time_relative(server->event, &lookup->deadline, CLOCK_MONOTONIC,
			NAMES_TIMEOUT_USEC, 0, on_deadline, server);
	if (r < 0) {
		lookup_free(lookup);
		return r;
	}
	lookup->names = names;
	lookup->loaded = *loaded;
	if (loaded->client_fd >= 0)
		control_give_away(server->control, loaded->client_fd);
	names_start(names);
	server->lookup = lookup;
	return 0;
}

void server_look_up_again(struct server *server)
{
	server->lookup->is_wanted_again = true;
}

void server_forget_lookup(struct server *server)
{
	struct server_lookup *lookup = server->lookup;

	if (!lookup)
		return;
	config_free(lookup->loaded.config);
	config_errors_done(&lookup->loaded.errors);
	close_fd(lookup->loaded.client_fd);
	lookup_free(lookup);
	server->lookup = NULL;
}
