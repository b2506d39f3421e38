/* SPDX-License-Identifier: MIT */
/*
 * The request "metrics": see server-private.h.
 *
 * With thousands of services the text is long, and making it at once would keep everybody waiting.
 * So it is made in parts, each of what is so at its time. A reload between two parts cuts it off:
 * who asks sees that the object has no end, and asks again.
 */
#include "server-private.h"

#include "metrics.h"
#include <stdlib.h>

struct answering {
	const struct server *server;
	struct metrics_cursor cursor;
	uint64_t n_reloads; /* when it began */
	bool has_begun, has_ended;
};

/* Begin the object, write `plain` as a part of its text, and end it if that was all. */
static void write_json(struct answering *answering, const struct text *plain, struct text *json)
{
	if (!answering->has_begun)
		text_add(json, "{\"content_type\":\"" METRICS_CONTENT_TYPE "\",\"text\":\"");
	answering->has_begun = true;
	text_add_escaped(json, plain->bytes, plain->size);
	if (answering->has_ended)
		text_add(json, "\"}\n");
}

static char *next_part(void *userdata, size_t *ret_size)
{
	struct answering *answering = userdata;
	const struct status_source source = server_status_source(answering->server);
	struct text plain = {0}, json = {0};

	if (answering->has_ended || answering->n_reloads != answering->server->n_reloads)
		return NULL;
	answering->has_ended = !metrics_write(&plain, &answering->cursor, &source);
	write_json(answering, &plain, &json);
	free(plain.bytes);
	if (plain.is_short || json.is_short) {
		free(json.bytes);
		return NULL;
	}
	*ret_size = json.size;
	return json.bytes;
}

static const struct control_parts parts = {.next = next_part, .done = free};

json_t *server_answer_metrics(struct server *server, const char *unused, int client_fd)
{
	struct answering *answering = malloc(sizeof(*answering));

	(void)unused;
	if (!answering)
		return NULL;
	*answering = (struct answering){.server = server, .n_reloads = server->n_reloads};
	control_answer_in_parts(server->control, client_fd, &parts, answering);
	return NULL;
}
