/* SPDX-License-Identifier: MIT */
/* The messages to the service manager: see notify.h. */
#include "notify.h"

#include "background.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <systemd/sd-daemon.h>

#define QUEUE_MAX 16

struct message {
	char text[NOTIFY_MAX_BYTES + 1];
};

static struct background *thread;
static bool is_stopped; /* without an end of the thread in time */
static uint64_t n_dropped;

/* By the thread. A manager that does not listen is its own loss. */
static void send_all(const void *items, size_t n, void *unused)
{
	const struct message *messages = items;

	(void)unused;
	for (size_t i = 0; i < n; i++)
		(void)sd_notify(0, messages[i].text);
}

static const struct background_task task = {
	.name = "usherd-notify",
	.item_size = sizeof(struct message),
	.capacity = QUEUE_MAX,
	.n_at_once = 1,
	.work = send_all,
};

static bool has_manager(void)
{
	return getenv("NOTIFY_SOCKET") != NULL;
}

static bool push(const struct message *message)
{
	return !is_stopped && (thread || background_new(&thread, &task, NULL) == 0) &&
	       background_push(thread, message, 1);
}

bool notify_send(const char *format, ...)
{
	struct message message;
	va_list arguments;
	int length;

	if (!has_manager())
		return true;
	va_start(arguments, format);
	length = vsnprintf(message.text, sizeof(message.text), format, arguments);
	va_end(arguments);
	if (length >= 0 && (size_t)length < sizeof(message.text) && push(&message))
		return true;
	n_dropped++;
	return false;
}

void notify_alive(void)
{
	if (!thread || background_n_queued(thread) == 0)
		(void)notify_send("WATCHDOG=1");
}

uint64_t notify_n_dropped(void)
{
	return n_dropped;
}

void notify_stop(uint64_t timeout_usec)
{
	thread = background_free(thread, timeout_usec);
	is_stopped = thread != NULL;
}
