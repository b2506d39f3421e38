/* SPDX-License-Identifier: MIT */
/* Keys and time: see top-screen.h. */
#include "top-screen.h"

#include "top-list.h"
#include "top-view.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

struct screen {
	struct top_sample *sample;
	struct top_view view;
	uint64_t next_usec; /* when to ask usherd again */
	unsigned int n_asked;
	bool is_over;
};

/* Returns false and says so if this is none that can be used. */
static bool begin(struct screen *screen)
{
	const char *term = getenv("TERM");

	if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO)) {
		fprintf(stderr, "usherctl: top needs a terminal; 'usherctl --json top' prints the "
				"same as lines of JSON\n");
		return false;
	}
	if (top_view_begin(&screen->view) == 0)
		return true;
	fprintf(stderr,
		"usherctl: top cannot use a terminal of the type '%s': set TERM to what it is\n",
		term ? term : "");
	return false;
}

static void update(struct screen *screen)
{
	if (top_list_update(&screen->view.list, &screen->sample->model) < 0)
		(void)snprintf(screen->sample->problem, sizeof(screen->sample->problem), "%s",
			strerror(ENOMEM));
}

static void ask(struct screen *screen)
{
	screen->next_usec = top_sample_now() + (uint64_t)top_sample_interval(screen->sample) * 1000;
	top_sample_ask(screen->sample);
	update(screen);
	screen->n_asked++;
	screen->is_over = screen->n_asked == screen->sample->options->count;
}

static void press(struct screen *screen, enum top_key key)
{
	struct top_view *view = &screen->view;
	int page = (int)top_view_height();

	if (view->is_help && key != TOP_KEY_NONE && key != TOP_KEY_QUIT) {
		view->is_help = false;
		return;
	}
	switch (key) {
	case TOP_KEY_NONE:
		break;
	case TOP_KEY_QUIT:
		screen->is_over = true;
		break;
	case TOP_KEY_HELP:
		view->is_help = true;
		break;
	case TOP_KEY_HOLD:
		view->is_held = !view->is_held;
		break;
	case TOP_KEY_SORT:
		view->list.order = (view->list.order + 1) % TOP_N_ORDERS;
		update(screen);
		break;
	case TOP_KEY_TOGGLE:
		top_list_toggle(&view->list);
		update(screen);
		break;
	case TOP_KEY_UP:
		top_list_move(&view->list, -1);
		break;
	case TOP_KEY_DOWN:
		top_list_move(&view->list, 1);
		break;
	case TOP_KEY_PAGE_UP:
		top_list_move(&view->list, -page);
		break;
	case TOP_KEY_PAGE_DOWN:
		top_list_move(&view->list, page);
		break;
	}
}

/* Wait for a key, another size of the terminal, or until it is time to ask. */
static void wait_for_news(struct screen *screen)
{
	struct pollfd terminal = {.fd = STDIN_FILENO, .events = POLLIN};
	uint64_t now_usec = top_sample_now();
	int msec = screen->next_usec > now_usec ? (int)((screen->next_usec - now_usec + 999) / 1000)
						: 0;
	enum top_key key;
	int r = poll(&terminal, 1, screen->view.is_held ? -1 : msec);

	if (r == 0 || (r < 0 && errno != EINTR))
		return;
	if (terminal.revents & (POLLHUP | POLLERR | POLLNVAL))
		screen->is_over = true; /* and nobody is left to press q */
	while ((key = top_view_read_key()) != TOP_KEY_NONE)
		press(screen, key);
}

int top_screen_run(struct top_sample *sample)
{
	struct screen screen = {.sample = sample};

	if (!begin(&screen))
		return EX_USAGE;
	screen.next_usec = top_sample_now() + (uint64_t)top_sample_interval(sample) * 1000;
	update(&screen);
	while (!screen.is_over) {
		top_view_draw(&screen.view, sample);
		wait_for_news(&screen);
		if (!screen.view.is_held && !screen.is_over && top_sample_now() >= screen.next_usec)
			ask(&screen);
	}
	top_view_end(&screen.view);
	return 0;
}
