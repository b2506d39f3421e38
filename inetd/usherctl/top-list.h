/* SPDX-License-Identifier: MIT */
/*
 * The list of `usherctl top`: which rows of a model in which order, which of them is selected, and
 * which is the first on the screen.
 *
 * Pure. What is selected and what is open is remembered by name and number, not by place: it stays
 * so when the order changes, or others come and go.
 */
#pragma once

#include "top-model.h"

#define TOP_NAME_SIZE 64 /* a name of a service and its NUL: usher.conf(5) */

enum top_order {
	TOP_BY_NAME, /* as usherd lists them */
	TOP_BY_ACCEPTED,
	TOP_BY_REFUSED,
	TOP_BY_IN_SERVICE,
	TOP_BY_LATENCY,
	TOP_N_ORDERS,
};

struct top_line {
	const struct top_row *service;
	const struct top_row *provider; /* of this service, or NULL: the service itself */
};

struct top_list {
	enum top_order order;
	struct top_line *lines;
	size_t n_lines;
	size_t selected, first;	    /* of lines, 0 if there are none */
	char opened[TOP_NAME_SIZE]; /* the service whose providers are shown; "" for none */
	char selected_name[TOP_NAME_SIZE];
	json_int_t selected_number;
};

/* Make the lines anew: there is another model, or other services are open, or another order. The
 * model has to stay until the next time. Returns 0, or -ENOMEM and the list is empty. */
int top_list_update(struct top_list *list, const struct top_model *model);

void top_list_done(struct top_list *list);

/* Select the line that is so many further down, or up: at most the last, or the first. */
void top_list_move(struct top_list *list, int by);

/* Show the providers of the selected service, or no more; update the list afterwards. */
void top_list_toggle(struct top_list *list);

/* Choose `first` so that the selected line is among `height` lines, and no place is wasted. */
void top_list_fit(struct top_list *list, size_t height);

/* "accepted" and so on. */
const char *top_order_name(enum top_order order);
