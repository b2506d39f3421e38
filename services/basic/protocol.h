/* SPDX-License-Identifier: MIT */
/*
 * The five protocols, TCP parts: what happens in the conversations that common/connection.h has
 * with clients. protocol.c has the table; nothing outside it knows what echo is.
 */
#pragma once

#include "connection.h"

/* The protocols in the order of their ports; the last entry's name is NULL. */
extern const struct conversation protocols[];

/* The protocol of that name, or NULL. */
const struct conversation *protocol_find(const char *name);
