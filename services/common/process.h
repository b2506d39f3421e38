/* SPDX-License-Identifier: MIT */
/* What a service asks of its own process before it begins. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>

/* Standard streams that are closed would lend their numbers to connections: /dev/null instead. */
void process_open_streams(void);

/*
 * Nobody of the same user can look into this process, or take its descriptors; it costs core dumps.
 * Not in a sanitizer build, whose leak checker must look into it.
 */
void process_close_to_others(void);

/*
 * Be `user`, with its groups, if root has started this (NULL: stay who it is), have no capability,
 * and gain nothing by execve(2); and process_close_to_others(). Who stays root keeps what root has:
 * without it even a rendezvous that is for root is closed to it. For services that need no rights
 * at all; to be called while there is one thread. Returns 0, or an exit status after telling what
 * is wrong.
 */
int process_give_up_rights(const char *user);

/*
 * Where to say, with process_tell_ready(), that this program is ready: a descriptor above 2 that it
 * was started with, and that is to be ours. It is closed in programs that are executed. Returns
 * false, after telling, if `text` is none.
 */
bool process_take_notify_fd(const char *text);

/* Say so as s6 wants it: a newline, then the end. Only the first call does anything. */
void process_tell_ready(void);

/* Raise the soft limit of descriptors to the hard one. Returns how many there may be. */
rlim_t process_raise_descriptors(void);

/*
 * How many connections each of `n_services` registrations may hold when a connection takes
 * `n_descriptors_each` of `n_descriptors` in all: an equal share, 1 to `most`.
 */
uint32_t process_share(
	rlim_t n_descriptors, size_t n_services, unsigned int n_descriptors_each, uint32_t most);

/*
 * Raise the limit of descriptors, and say how many connections to hold for each of `n_services`
 * that take so many descriptors for one: `wanted`, or without a wish, 0, what there is room for.
 */
uint32_t process_credit(uint32_t wanted, size_t n_services, unsigned int n_descriptors_each);
