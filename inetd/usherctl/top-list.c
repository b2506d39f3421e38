/* SPDX-License-Identifier: MIT */
/* Order, selection and place: see top-list.h. */
#include "top-list.h"

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *top_order_name(enum top_order order)
{
	static const char *const names[TOP_N_ORDERS] = {
		[TOP_BY_NAME] = "name",
		[TOP_BY_ACCEPTED] = "accepted",
		[TOP_BY_REFUSED] = "refused",
		[TOP_BY_IN_SERVICE] = "in service",
		[TOP_BY_LATENCY] = "latency",
	};

	return names[order];
}

/* The largest comes first. What is not known is less than everything. */
static double sort_value(const struct top_row *row, enum top_order order)
{
	double values[TOP_N_ORDERS] = {
		[TOP_BY_ACCEPTED] = row->accepted,
		[TOP_BY_REFUSED] = row->refused,
		[TOP_BY_IN_SERVICE] = (double)row->in_service,
		[TOP_BY_LATENCY] = row->p99_seconds,
	};

	return isnan(values[order]) ? -1 : values[order];
}

/* For qsort_r(): equals stay in the order of the model, whose rows are one array. */
static int compare_services(const void *a, const void *b, void *userdata)
{
	const struct top_row *one = *(const struct top_row *const *)a;
	const struct top_row *other = *(const struct top_row *const *)b;
	const enum top_order *order = userdata;
	double value = sort_value(one, *order), other_value = sort_value(other, *order);

	if (value != other_value)
		return value > other_value ? -1 : 1;
	return one < other ? -1 : one > other;
}

static bool is_opened(const struct top_list *list, const struct top_row *service)
{
	return *list->opened && strcmp(list->opened, service->name) == 0;
}

static size_t count_lines(const struct top_list *list, const struct top_model *model)
{
	size_t n = model->n_services;

	for (size_t i = 0; i < model->n_services; i++)
		if (is_opened(list, &model->services[i]))
			n += model->services[i].n_providers;
	return n;
}

static void add_lines(struct top_list *list, const struct top_row *service)
{
	list->lines[list->n_lines++] = (struct top_line){service, NULL};
	for (size_t i = 0; is_opened(list, service) && i < service->n_providers; i++)
		list->lines[list->n_lines++] = (struct top_line){service, &service->providers[i]};
}

static bool is_selected(const struct top_list *list, const struct top_line *line)
{
	return strcmp(line->service->name, list->selected_name) == 0 &&
	       (line->provider ? line->provider->number : 0) == list->selected_number;
}

static void remember_selected(struct top_list *list)
{
	const struct top_line *line = list->n_lines > 0 ? &list->lines[list->selected] : NULL;

	if (!line)
		return;
	(void)snprintf(list->selected_name, TOP_NAME_SIZE, "%s", line->service->name);
	list->selected_number = line->provider ? line->provider->number : 0;
}

/* Where what was selected is now; if it has gone, what took its place. */
static void find_selected(struct top_list *list)
{
	size_t i = 0;

	while (i < list->n_lines && !is_selected(list, &list->lines[i]))
		i++;
	if (i < list->n_lines)
		list->selected = i;
	else if (list->selected >= list->n_lines)
		list->selected = list->n_lines > 0 ? list->n_lines - 1 : 0;
	remember_selected(list);
}

int top_list_update(struct top_list *list, const struct top_model *model)
{
	const struct top_row **services = calloc(model->n_services + 1, sizeof(*services));
	struct top_line *lines = calloc(count_lines(list, model) + 1, sizeof(*lines));
	int r = services && lines ? 0 : -ENOMEM;

	free(list->lines);
	list->lines = lines;
	list->n_lines = 0;
	for (size_t i = 0; r == 0 && i < model->n_services; i++)
		services[i] = &model->services[i];
	if (r == 0) {
		qsort_r(services, model->n_services, sizeof(*services), compare_services,
			&list->order);
		for (size_t i = 0; i < model->n_services; i++)
			add_lines(list, services[i]);
	}
	find_selected(list);
	free(services);
	return r;
}

void top_list_done(struct top_list *list)
{
	free(list->lines);
	*list = (struct top_list){0};
}

void top_list_move(struct top_list *list, int by)
{
	size_t distance = (size_t)abs(by), last = list->n_lines > 0 ? list->n_lines - 1 : 0;

	if (by < 0)
		list->selected -= distance < list->selected ? distance : list->selected;
	else
		list->selected +=
			distance < last - list->selected ? distance : last - list->selected;
	remember_selected(list);
}

void top_list_toggle(struct top_list *list)
{
	if (list->n_lines == 0)
		return;
	if (is_opened(list, list->lines[list->selected].service))
		*list->opened = '\0';
	else
		(void)snprintf(list->opened, TOP_NAME_SIZE, "%s", list->selected_name);
	list->selected_number = 0; /* a provider is no line any more */
}

void top_list_fit(struct top_list *list, size_t height)
{
	if (list->first + height > list->n_lines)
		list->first = list->n_lines > height ? list->n_lines - height : 0;
	if (list->selected < list->first)
		list->first = list->selected;
	if (height > 0 && list->selected >= list->first + height)
		list->first = list->selected - height + 1;
}
