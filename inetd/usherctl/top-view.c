/* SPDX-License-Identifier: MIT */
/*
 * How it looks: see top-view.h. From the top:
 *
 *     usherd 0.1.0, pid 4711, up 3 h 12 min
 *     3 services, 12 in service, 0 waiting; accepted 1.2k/s, refused 0/s, released 1.2k/s
 *     a problem, or that the display is held
 *     SERVICE  STATE  ACC/S  ...
 *     the list
 *     the most important keys
 */
#include "top-view.h"

#include "status.h"
#include "table.h"
#include "top-text.h"

#include <errno.h>
#include <langinfo.h>
#include <ncurses.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEAD_LINES    4 /* with the titles */
#define FOOT_LINES    1
#define TEXT_SIZE     256
#define MAX_NAME      40 /* columns */
#define MAX_BAR	      40
#define ESCAPE_MSEC   100 /* after Esc: what a slow line needs to bring the rest of a key */
#define UTF8_FILLED   "\342\226\210"
#define UTF8_EMPTY    "\342\226\221"
#define LOW_CREDIT    0.1 /* of the capacity: red below */
#define MEDIUM_CREDIT 0.5 /* yellow below */

enum column {
	NAME,
	STATE,
	ACCEPTED,
	REFUSED,
	RELEASED,
	IN_SERVICE,
	CREDIT,
	MEDIAN,
	P99,
	N_COLUMNS,
};

/* Where not all fit, those of the highest ranks go first. */
static const struct {
	const char *title;
	int width; /* at least */
	int rank;
	bool is_number;
} columns[N_COLUMNS] = {
	[NAME] = {"SERVICE", 12, 0, false},
	[STATE] = {"STATE", 9, 3, false},
	[ACCEPTED] = {"ACC/S", 5, 1, true},
	[REFUSED] = {"REF/S", 5, 6, true},
	[RELEASED] = {"REL/S", 5, 7, true},
	[IN_SERVICE] = {"IN SERVICE", 10, 2, true},
	[CREDIT] = {"CREDIT", 10, 4, false},
	[MEDIAN] = {"MEDIAN", 6, 8, true},
	[P99] = {"P99", 5, 5, true},
};

static const struct {
	int code;
	enum top_key key;
} keys[] = {
	{'q', TOP_KEY_QUIT},
	{'?', TOP_KEY_HELP},
	{'h', TOP_KEY_HELP},
	{' ', TOP_KEY_HOLD},
	{'s', TOP_KEY_SORT},
	{'\n', TOP_KEY_TOGGLE},
	{'\r', TOP_KEY_TOGGLE},
	{KEY_ENTER, TOP_KEY_TOGGLE},
	{KEY_UP, TOP_KEY_UP},
	{KEY_DOWN, TOP_KEY_DOWN},
	{KEY_PPAGE, TOP_KEY_PAGE_UP},
	{KEY_NPAGE, TOP_KEY_PAGE_DOWN},
};

static const char *const help[] = {
	"q             quit",
	"s             another order",
	"space         hold the display, go on",
	"Up, Down      select a line",
	"PgUp, PgDn    select a line a page away",
	"Enter         show the providers of the selected service, or no more",
	"?             these keys",
	"",
	"CREDIT: the filled part is what the providers would take now",
	"MEDIAN, P99: from giving connections to a provider until it claims them",
};

/* NULL if it is of a type that has no screen, or an unknown one. */
static SCREEN *open_terminal(void)
{
	SCREEN *terminal = newterm(NULL, stdout, stdin);

	/* ncurses takes what can't move its cursor, like "dumb", and writes all over it. */
	if (!terminal || tigetstr("cup"))
		return terminal;
	endwin();
	delscreen(terminal);
	return NULL;
}

int top_view_begin(struct top_view *view)
{
	const char *no_color = getenv("NO_COLOR");
	SCREEN *terminal = open_terminal();

	if (!terminal)
		return -EINVAL;
	*view = (struct top_view){
		.terminal = terminal, .is_utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0};
	cbreak();
	noecho();
	nonl();
	keypad(stdscr, true);
	nodelay(stdscr, true);
	set_escdelay(ESCAPE_MSEC);
	curs_set(0);
	view->has_colours = !(no_color && *no_color) && has_colors() && start_color() == OK &&
			    use_default_colors() == OK;
	if (view->has_colours) {
		init_pair(COLOUR_GREEN, COLOR_GREEN, -1);
		init_pair(COLOUR_YELLOW, COLOR_YELLOW, -1);
		init_pair(COLOUR_RED, COLOR_RED, -1);
	}
	return 0;
}

void top_view_end(struct top_view *view)
{
	top_list_done(&view->list);
	endwin();
	delscreen(view->terminal);
}

enum top_key top_view_read_key(void)
{
	int code;

	/* KEY_RESIZE is among those that mean nothing: what follows is drawn anew. */
	while ((code = getch()) != ERR)
		for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
			if (keys[i].code == code)
				return keys[i].key;
	return TOP_KEY_NONE;
}

size_t top_view_height(void)
{
	return LINES > HEAD_LINES + FOOT_LINES ? (size_t)(LINES - HEAD_LINES - FOOT_LINES) : 0;
}

/* At most to the edge: what is longer would go on in the next line. */
static void draw_text(int y, int x, const char *text, chtype attributes)
{
	char cut[TEXT_SIZE * 4];

	if (x >= COLS || y >= LINES)
		return;
	(void)snprintf(cut, sizeof(cut), "%s", text);
	attron(attributes);
	mvaddstr(y, x, text_cut(cut, (size_t)(COLS - x)));
	attroff(attributes);
}

static chtype colour_attributes(const struct top_view *view, enum colour colour)
{
	if (colour == COLOUR_BOLD)
		return A_BOLD;
	return view->has_colours && colour != COLOUR_NONE ? (chtype)COLOR_PAIR(colour) : A_NORMAL;
}

static void draw_head(const json_t *status)
{
	const char *version = json_string_value(json_object_get(status, "version"));
	char text[TEXT_SIZE], version_text[32], uptime[64];

	text_copy(version_text, sizeof(version_text), version ? version : "-");
	(void)snprintf(text, sizeof(text), "usherd %s, pid %" JSON_INTEGER_FORMAT ", %s",
		version_text, json_integer_value(json_object_get(status, "pid")),
		status_uptime(json_integer_value(json_object_get(status, "uptime_seconds")), uptime,
			sizeof(uptime)));
	draw_text(0, 0, text, A_BOLD);
}

static void draw_sums(const struct top_model *model)
{
	const struct top_row *all = &model->all;
	char text[TEXT_SIZE], numbers[5][TOP_TEXT_SIZE];

	(void)snprintf(text, sizeof(text),
		"%zu service%s, %s in service, %s waiting; %s/s accepted, %s/s refused, %s/s "
		"released",
		model->n_services, model->n_services == 1 ? "" : "s",
		top_text_count(all->in_service, numbers[0]),
		top_text_count(all->waiting, numbers[1]), top_text_rate(all->accepted, numbers[2]),
		top_text_rate(all->refused, numbers[3]), top_text_rate(all->released, numbers[4]));
	draw_text(1, 0, text, A_NORMAL);
}

/* What the user should know about what is shown. */
static void draw_notice(const struct top_view *view, const struct top_sample *sample)
{
	char text[TEXT_SIZE * 3];

	if (view->is_held)
		draw_text(2, 0, "held: space goes on", A_BOLD);
	if (view->is_held || !*sample->problem)
		return;
	(void)snprintf(text, sizeof(text), "%s; asking again", sample->problem);
	draw_text(2, 0, text, A_BOLD | colour_attributes(view, COLOUR_RED));
}

static void print_name(const struct top_line *line, char *text)
{
	const struct top_row *provider = line->provider;
	char name[TEXT_SIZE / 2];

	text_copy(name, sizeof(name), provider ? provider->name : line->service->name);
	if (!provider)
		(void)snprintf(text, TEXT_SIZE, "%s", name);
	else if (*name)
		(void)snprintf(
			text, TEXT_SIZE, "%4" JSON_INTEGER_FORMAT " %s", provider->number, name);
	else
		(void)snprintf(text, TEXT_SIZE,
			"%4" JSON_INTEGER_FORMAT " pid %" JSON_INTEGER_FORMAT, provider->number,
			provider->pid);
}

/* "8/1024"; of a provider only how many it has. */
static void print_in_service(const struct top_row *row, char *text)
{
	char numbers[2][TOP_TEXT_SIZE];

	(void)snprintf(text, TEXT_SIZE, "%s%s%s", top_text_count(row->in_service, numbers[0]),
		row->number > 0 ? "" : "/",
		row->number > 0 ? "" : top_text_count(row->instances, numbers[1]));
}

static void print_bar(const struct top_row *row, size_t width, bool is_utf8, char *text)
{
	size_t n_filled = top_text_bar(row->credit, row->capacity, width);
	char *end = text;

	if (row->capacity == 0) {
		(void)snprintf(text, TEXT_SIZE, "-");
		return;
	}
	for (size_t i = 0; i < width; i++)
		end = stpcpy(end, i < n_filled ? (is_utf8 ? UTF8_FILLED : "#")
					       : (is_utf8 ? UTF8_EMPTY : "."));
}

static enum colour credit_colour(const struct top_row *row)
{
	double share = row->capacity > 0 ? (double)row->credit / (double)row->capacity : 0;

	if (row->capacity == 0)
		return COLOUR_NONE;
	return share < LOW_CREDIT      ? COLOUR_RED
	       : share < MEDIUM_CREDIT ? COLOUR_YELLOW
				       : COLOUR_GREEN;
}

/* The text of a cell, and its colour. */
static enum colour print_cell(enum column column, const struct top_line *line, size_t width,
	bool is_utf8, char text[TEXT_SIZE])
{
	const struct top_row *row = line->provider ? line->provider : line->service;
	double rates[N_COLUMNS] = {
		[ACCEPTED] = row->accepted, [REFUSED] = row->refused, [RELEASED] = row->released};

	switch (column) {
	case NAME:
		print_name(line, text);
		return line->provider ? COLOUR_NONE : COLOUR_BOLD;
	case STATE:
		text_copy(text, TEXT_SIZE, row->state);
		return status_state_colour(text);
	case IN_SERVICE:
		print_in_service(row, text);
		return COLOUR_NONE;
	case CREDIT:
		print_bar(row, width, is_utf8, text);
		return credit_colour(row);
	case MEDIAN:
	case P99:
		top_text_seconds(
			column == P99 ? row->p99_seconds : row->median_seconds, is_utf8, text);
		break;
	default:
		top_text_rate(rates[column], text);
		break;
	}
	if (line->provider && strcmp(text, "-") == 0)
		*text = '\0'; /* no provider has it */
	return column == REFUSED && row->refused > 0 ? COLOUR_YELLOW : COLOUR_NONE;
}

static int widest_name(const struct top_list *list)
{
	int widest = columns[NAME].width;
	char text[TEXT_SIZE];

	for (size_t i = 0; i < list->n_lines; i++) {
		int width;

		print_name(&list->lines[i], text);
		width = (int)text_width(text);
		widest = width > widest ? width : widest;
	}
	return widest < MAX_NAME ? widest : MAX_NAME;
}

/* How wide each column is; 0 if it has no place. What is left over goes to names and bars. */
static void choose_widths(const struct top_list *list, int widths[N_COLUMNS])
{
	int left = COLS + 1, more;

	memset(widths, 0, N_COLUMNS * sizeof(*widths));
	for (int rank = 0; rank < N_COLUMNS; rank++)
		for (int i = 0; i < N_COLUMNS; i++)
			if (columns[i].rank == rank && columns[i].width + 1 <= left) {
				widths[i] = columns[i].width;
				left -= widths[i] + 1;
			} else if (columns[i].rank == rank) {
				left = 0; /* nor those of higher ranks */
			}
	if (widths[NAME] == 0)
		widths[NAME] = COLS;
	more = widest_name(list) - widths[NAME];
	more = more < left ? more : left;
	widths[NAME] += more > 0 ? more : 0;
	left -= more > 0 ? more : 0;
	if (widths[CREDIT] > 0)
		widths[CREDIT] += left < MAX_BAR - widths[CREDIT] ? left : MAX_BAR - widths[CREDIT];
}

static void draw_cell(int y, int x, int width, char *text, bool is_number, chtype attributes)
{
	int padding;

	text_cut(text, (size_t)width);
	padding = is_number ? width - (int)text_width(text) : 0;
	draw_text(y, x + padding, text, attributes);
}

static void draw_titles(const int widths[N_COLUMNS])
{
	mvhline(HEAD_LINES - 1, 0, ' ' | A_REVERSE, COLS);
	for (int i = 0, x = 0; i < N_COLUMNS; i++) {
		char title[TEXT_SIZE];

		if (widths[i] == 0)
			continue;
		(void)snprintf(title, sizeof(title), "%s", columns[i].title);
		draw_cell(HEAD_LINES - 1, x, widths[i], title, columns[i].is_number, A_REVERSE);
		x += widths[i] + 1;
	}
}

/* `mark`: A_REVERSE or A_NORMAL. */
static void draw_line(const struct top_view *view, int y, const struct top_line *line,
	const int *widths, chtype mark)
{
	mvhline(y, 0, ' ' | mark, COLS);
	for (int i = 0, x = 0; i < N_COLUMNS; i++) {
		char text[TEXT_SIZE];
		enum colour colour;

		if (widths[i] == 0)
			continue;
		colour = print_cell((enum column)i, line, (size_t)widths[i], view->is_utf8, text);
		draw_cell(y, x, widths[i], text, columns[i].is_number,
			colour_attributes(view, colour) | mark);
		x += widths[i] + 1;
	}
}

static void draw_list(struct top_view *view)
{
	struct top_list *list = &view->list;
	size_t height = top_view_height();
	int widths[N_COLUMNS];

	top_list_fit(list, height);
	choose_widths(list, widths);
	draw_titles(widths);
	for (size_t i = 0; i < height && list->first + i < list->n_lines; i++) {
		draw_line(view, HEAD_LINES + (int)i, &list->lines[list->first + i], widths,
			list->first + i == list->selected ? A_REVERSE : A_NORMAL);
	}
	if (list->n_lines == 0)
		draw_text(HEAD_LINES, 0, "usherd has no service", A_NORMAL);
}

static void draw_help(void)
{
	int n = (int)(sizeof(help) / sizeof(help[0]));

	for (int i = 0; i < n && 2 + i < LINES - FOOT_LINES; i++)
		draw_text(2 + i, 0, help[i], A_NORMAL);
}

static void draw_foot(const struct top_view *view)
{
	char text[TEXT_SIZE];

	(void)snprintf(text, sizeof(text), "q quit  ? help  s order: %s  space %s  Enter providers",
		top_order_name(view->list.order), view->is_held ? "go on" : "hold");
	draw_text(LINES - 1, 0, view->is_help ? "q quit  any other key: back" : text, A_NORMAL);
}

void top_view_draw(struct top_view *view, const struct top_sample *sample)
{
	erase();
	draw_head(sample->status);
	if (view->is_help) {
		draw_help();
	} else {
		draw_sums(&sample->model);
		draw_notice(view, sample);
		draw_list(view);
	}
	draw_foot(view);
	refresh();
}
