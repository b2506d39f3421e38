/* SPDX-License-Identifier: MIT */
/* Connections to be parked, each with a number, by which it is known again. */
#pragma once

#include "parking.h"
#include "test.h"

/* A parking of service "one", with nothing in it. */
struct parking *make(void);

/* What is parked as the `i`th. */
struct handoff make_handoff(int fd, uint32_t i);

/* Has it come back as it was put in? */
void assert_is_handoff(const struct handoff *h, uint32_t i);

/* A new connection is put in, as the `i`th. Returns the client's end. */
int put_one(struct parking *parking, uint32_t i);

/* The oldest is the `i`th, and its client's end is `client_fd`, which is closed. */
void take_one(struct parking *parking, uint32_t i, int client_fd);

/* There is nothing, by all that can be asked. */
void assert_empty(struct parking *parking);
