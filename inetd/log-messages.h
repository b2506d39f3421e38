/* SPDX-License-Identifier: MIT */
/*
 * The kinds of messages: which identifier (MESSAGE_ID=) each has in the journal, and which of them
 * are limited.
 *
 * A kind is the reason of a message, or the word of an event, so that the identifier follows from
 * what is said anyway. packaging/systemd/usher.catalog explains each to the administrator,
 * usherd(8) lists them, and tests/checks compares all with what the sources say. Identifiers are
 * for good: what means something else gets a new one. systemd's own (sd-messages.h) are about units
 * and the machine, and none is exactly what usherd has to say.
 *
 * Pure. Part of the room `log`.
 */
#pragma once

#include "log-terms.h"

/* 32 hexadecimal digits, or NULL: it has no reason, or one that is not known. */
const char *log_messages_id(const struct log_about *about);

/*
 * Can somebody else cause as many messages of this reason as he likes? Not limited is what usherd
 * itself and its administrator do, and what limits itself.
 */
bool log_messages_is_limited(const struct log_about *about);
