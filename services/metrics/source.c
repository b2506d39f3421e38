/* SPDX-License-Identifier: MIT */
/* The page with the metrics: see source.h. */
#include "source.h"

#include <errno.h>
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Room for an answer at first, and how much is read before others have their turn. */
#define FIRST_ROOM (64u << 10)

static void end_asking(struct source *source)
{
	source->timer.at_ms = NO_DEADLINE;
	if (source->fd >= 0) {
		loop_unwatch(source->loop, &source->watch, source->fd);
		(void)close(source->fd);
	}
	source->fd = -1;
	free(source->answer);
	source->answer = NULL;
	source->size = source->room = 0;
}

/* `page` (taken) is what there is to be said, for a while. */
static void conclude(struct source *source, struct page *page)
{
	end_asking(source);
	(void)page_leave(source->page);
	source->page = page;
	source->until_ms = monotonic_ms() + SOURCE_AGAIN_MS;
	source->on_page(source, page);
}

/* Say why there are no metrics, to who asks and to the administrator. */
static void fail(struct source *source, const char *what, const char *why)
{
	char sentence[SAY_SIZE];

	(void)snprintf(sentence, sizeof(sentence), "%s: %s", what, why);
	say_once(&source->said, "%s", sentence);
	conclude(source, page_say(HTTP_UNAVAILABLE, sentence));
}

/* What goes into the head of an answer must not end there. */
static bool is_type(const char *type)
{
	size_t length = type ? strlen(type) : 0;

	for (size_t i = 0; i < length; i++)
		if (type[i] < ' ' || type[i] > '~')
			return false;
	return length > 0 && length <= PAGE_TYPE_MAX;
}

/* {"content_type": ..., "text": ...} or {"error": ...}. */
static void take_answer(struct source *source)
{
	json_t *json = json_loadb(source->answer, source->size, 0, NULL);
	const char *error = json_string_value(json_object_get(json, "error"));
	const char *type = json_string_value(json_object_get(json, "content_type"));
	const json_t *text = json_object_get(json, "text");

	if (error)
		fail(source, "usherd does not tell", error);
	else if (!is_type(type) || !json_is_string(text))
		fail(source, "the answer of usherd is not understood",
			"it was cut off, or is of an usherd without metrics");
	else
		conclude(source,
			page_new(HTTP_OK, type, json_string_value(text), json_string_length(text)));
	json_decref(json);
}

/* Returns whether there is room for more. */
static bool make_room(struct source *source)
{
	size_t room = source->room > 0 ? 2 * source->room : FIRST_ROOM;
	char *answer;

	if (source->size < source->room)
		return true;
	answer = room <= SOURCE_MAX_ANSWER ? realloc(source->answer, room) : NULL;
	if (!answer)
		return false;
	source->answer = answer;
	source->room = room;
	return true;
}

static void on_answer(struct watch *watch, uint32_t events)
{
	struct source *source = (struct source *)watch;
	ssize_t n;

	(void)events;
	if (!make_room(source)) {
		fail(source, "the answer of usherd is too long", "there is no memory for it");
		return;
	}
	n = recv(source->fd, source->answer + source->size, source->room - source->size, 0);
	if (n > 0)
		source->size += (size_t)n;
	else if (n == 0 || errno == ECONNRESET) /* the end, too: it has not read the request */
		take_answer(source);
	else if (errno != EAGAIN && errno != EINTR)
		fail(source, "usherd does not answer", strerror(errno));
}

static void on_deadline(struct timer *timer, int64_t now_ms)
{
	struct source *source =
		(struct source *)(void *)((char *)timer - offsetof(struct source, timer));

	(void)now_ms;
	fail(source, "usherd did not answer in time", "what it does is in its log");
}

int source_init(
	struct source *source, struct loop *loop, const char *run_dir, source_on_page *on_page)
{
	size_t room = sizeof(source->address.sun_path);

	*source = (struct source){
		.watch.on_event = on_answer,
		.timer = {.on_time = on_deadline, .at_ms = NO_DEADLINE},
		.loop = loop,
		.on_page = on_page,
		.address.sun_family = AF_UNIX,
		.fd = -1,
	};
	if (snprintf(source->address.sun_path, room, "%s/control.sock", run_dir) >= (int)room)
		return -ENAMETOOLONG;
	loop_add_timer(loop, &source->timer);
	return 0;
}

/* With SOCK_NONBLOCK connecting does not wait: it fails if the backlog is full (unix(7)). */
static int open_connection(struct source *source)
{
	static const char request[] = "metrics\n";

	source->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (source->fd < 0)
		return -errno;
	if (connect(source->fd, (const struct sockaddr *)&source->address,
		    sizeof(source->address)) < 0)
		return -errno;
	/* Who is refused is answered before he has asked. */
	if (send(source->fd, request, strlen(request), MSG_NOSIGNAL) < 0 && errno != EPIPE)
		return -errno;
	return loop_watch(source->loop, &source->watch, source->fd, EPOLLIN);
}

static void ask(struct source *source)
{
	int r;

	source->n_asked++;
	source->timer.at_ms = monotonic_ms() + SOURCE_PATIENCE_MS;
	r = open_connection(source);
	if (r < 0)
		fail(source, source->address.sun_path, strerror(-r));
}

void source_want(struct source *source)
{
	if (monotonic_ms() < source->until_ms)
		source->on_page(source, source->page);
	else if (source->fd < 0)
		ask(source);
}

void source_done(struct source *source)
{
	end_asking(source);
	source->page = page_leave(source->page);
	loop_remove_timer(source->loop, &source->timer);
}
