/* SPDX-License-Identifier: MIT */
/* See tally.h. */
#include "tally.h"

#include <string.h>

static void tally_on_time(struct timer *timer, int64_t now_ms)
{
	struct tally *t = (struct tally *)timer;
	char text[TALLY_SIZE];
	bool is_busy = t->format(t, text, sizeof(text));

	t->timer.at_ms = is_busy ? now_ms + TALLY_MS : NO_DEADLINE;
	if (strcmp(text, t->told) == 0)
		return;
	memcpy(t->told, text, sizeof(text));
	(void)usher_set_status(t->enrolment->usher, text);
}

void tally_init(struct tally *t, struct enrolment *enrolment, tally_format *format)
{
	*t = (struct tally){
		.timer = {.on_time = tally_on_time, .at_ms = NO_DEADLINE},
		.enrolment = enrolment,
		.format = format,
	};
	loop_add_timer(enrolment->loop, &t->timer);
}

void tally_touch(struct tally *t)
{
	if (t->timer.at_ms == NO_DEADLINE)
		t->timer.at_ms = monotonic_ms() + TALLY_MS;
}

void tally_done(struct tally *t)
{
	loop_remove_timer(t->enrolment->loop, &t->timer);
}
