/* SPDX-License-Identifier: MIT */
/*
 * What usherd tells the service manager: sd_notify(3), which blocks while the manager stalls, in a
 * thread of its own.
 *
 * Messages are sent in the order given. Without NOTIFY_SOCKET in the environment nothing happens,
 * and there is no thread. Not for messages with descriptors. All functions are for the event loop's
 * thread.
 *
 * Invariant: none of these functions but notify_stop() waits for the manager, and that one only for
 * as long as it is told.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* Longer messages are not sent, but counted as dropped: half an assignment is none. */
#define NOTIFY_MAX_BYTES 1023

/*
 * Queue "NAME=value" lines, separated by newlines. Returns false if they were dropped: too many
 * wait already.
 */
bool notify_send(const char *format, ...) __attribute__((format(printf, 1, 2)));

/*
 * Queue WATCHDOG=1, unless something else still waits. So a stalled manager's queue keeps its room
 * for what must not be lost, and when the manager goes on it hears of us all the same.
 */
void notify_alive(void);

/* How many messages were dropped since the start. */
uint64_t notify_n_dropped(void);

/* Send what is queued, waiting at most `timeout_usec`; the rest is lost. */
void notify_stop(uint64_t timeout_usec);
