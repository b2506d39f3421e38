/* SPDX-License-Identifier: MIT */
/*
 * The screen of `usherctl top`: the only file that knows ncurses.
 *
 * It is drawn from what is known, and keeps nothing of its own but where the list is. Every text
 * that came from somewhere else goes through text_copy() first. Needs setlocale(LC_CTYPE).
 */
#pragma once

#include "top-list.h"
#include "top-sample.h"

#include <stdbool.h>

enum top_key {
	TOP_KEY_NONE, /* none is left, or one that means nothing here */
	TOP_KEY_QUIT,
	TOP_KEY_HELP,
	TOP_KEY_HOLD,
	TOP_KEY_SORT,
	TOP_KEY_TOGGLE,
	TOP_KEY_UP,
	TOP_KEY_DOWN,
	TOP_KEY_PAGE_UP,
	TOP_KEY_PAGE_DOWN,
};

struct top_view {
	struct top_list list;
	bool is_held; /* nothing new is asked for */
	bool is_help; /* keys are explained instead of the list */
	bool is_utf8;
	bool has_colours;
	void *terminal; /* ncurses' */
};

/* Take the terminal of standard input and output. Returns 0, or -EINVAL if ncurses does not know
 * its type, or it is one without a screen. */
int top_view_begin(struct top_view *view);

/* Give it back as it was, and free the list. */
void top_view_end(struct top_view *view);

/* Does not wait. */
enum top_key top_view_read_key(void);

/* Lines of the list that fit now. */
size_t top_view_height(void);

void top_view_draw(struct top_view *view, const struct top_sample *sample);
