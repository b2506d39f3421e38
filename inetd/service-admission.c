/* SPDX-License-Identifier: MIT */
/*
 * Who may come in, carried out: admission.h decides.
 *
 * Who has to wait waits in the backlog: the listeners are not polled until a timer says that the
 * limit is over. It is asked only when a client is there, so that a pause begins with the one that
 * was too much and not with the last one that was not. Who is refused is reset, or given to
 * `refused_to`.
 */
#include "service-private.h"

#include "forwarded.h"
#include "log.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

#define SECOND UINT64_C(1000000)

/* The same is said so often. */
#define TELL_USEC (60 * SECOND)

/* No later than this after its time a limit is over. */
#define ACCURACY_USEC 1000

static int on_limit_over(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct service *s = userdata;

	(void)source, (void)usec;
	s->limit.reason = ADMISSION_ADMITTED;
	service_settle(s);
	return 0;
}

int service_admission_init(struct service *s)
{
	uint8_t key[SIPHASH_KEY_SIZE];
	int r;

	if (getrandom(key, sizeof(key), 0) != (ssize_t)sizeof(key))
		return -errno;
	r = admission_new(&s->admission, key);
	if (r >= 0)
		r = sd_event_add_time(s->event, &s->limit.timer, CLOCK_MONOTONIC, 0, ACCURACY_USEC,
			on_limit_over, s);
	if (r >= 0)
		r = sd_event_source_set_enabled(s->limit.timer, SD_EVENT_OFF);
	return r;
}

void service_admission_done(struct service *s)
{
	sd_event_source_disable_unref(s->limit.timer);
	admission_free(s->admission);
}

static void count(struct handoff *h, void *userdata)
{
	struct service *s = userdata;

	h->source = admission_count(s->admission, &h->peer, service_now(s));
}

void service_count_sources(struct service *s)
{
	dispatch_visit_unclaimed(s->dispatch, count, s);
	for (struct provider *p = s->providers; p; p = p->next)
		for (struct handoff *h = p->record ? p->record->claimed.first : NULL; h;
			h = h->next)
			count(h, s);
}

void service_admission_configure(struct service *s, const struct config_admission *config)
{
	s->limit.reason = ADMISSION_ADMITTED; /* the next client finds out whether it goes on */
	(void)sd_event_source_set_enabled(s->limit.timer, SD_EVENT_OFF);
	if (admission_configure(s->admission, config))
		service_count_sources(s);
}

static void wait_until(struct service *s, enum admission_reason reason, uint64_t until_usec)
{
	s->limit.reason = reason;
	s->limit.until_usec = until_usec;
	/* These only fail for an event loop that has ended. */
	(void)sd_event_source_set_time(s->limit.timer, until_usec);
	(void)sd_event_source_set_enabled(s->limit.timer, SD_EVENT_ONESHOT);
}

void service_admission_restore(struct service *s, const struct saved_service *saved)
{
	uint64_t until_usec = admission_restore(s->admission, &saved->admission, service_now(s));

	if (until_usec > service_now(s)) /* counted and said already */
		wait_until(s, ADMISSION_CPS, until_usec);
	for (size_t i = 0; i < saved->n_sources; i++)
		admission_restore_source(s->admission, &saved->sources[i].network,
			&saved->sources[i].bucket, service_now(s));
}

/* May it be said, or was it only just? */
static bool may_tell(struct service *s, uint64_t *told_usec)
{
	uint64_t now_usec = service_now(s);

	if (*told_usec > 0 && now_usec < *told_usec + TELL_USEC)
		return false;
	*told_usec = now_usec;
	return true;
}

/* Waiting. */

static uint32_t read_load_percent(void)
{
	double load;

	return getloadavg(&load, 1) == 1 ? (uint32_t)(100 * load) : 0;
}

static uint32_t load_percent(struct service *s)
{
	uint64_t now_usec = service_now(s);

	if (!admission_asks_load(s->admission))
		return 0;
	if (now_usec >= s->load.read_usec + SECOND || s->load.read_usec == 0) {
		s->load.percent = read_load_percent();
		s->load.read_usec = now_usec;
	}
	return s->load.percent;
}

static void log_limit_begun(const struct service *s, enum admission_reason reason)
{
	const struct log_about about = {.service = s->name, .reason = admission_word(reason)};
	const struct config_admission *config = &s->config.admission;

	if (reason == ADMISSION_CPS)
		log_write(LOG_NOTICE, &about,
			"%s: more than %u connections came within a second, see cps: clients wait "
			"in the backlog for %u seconds. If so many are usual, raise it",
			s->name, config->cps.count,
			(unsigned int)(config->cps.pause_usec / SECOND));
	else if (reason == ADMISSION_RATE)
		log_write(LOG_NOTICE, &about,
			"%s: more than %u connections came within %u seconds, see rate: clients "
			"wait in the backlog until it is their turn. If so many are usual, raise "
			"it",
			s->name, config->rate.count,
			(unsigned int)(config->rate.period_usec / SECOND));
	else
		log_write(LOG_NOTICE, &about,
			"%s: the load average is %u.%02u, see max_load: clients wait in the "
			"backlog until it is lower",
			s->name, s->load.percent / 100, s->load.percent % 100);
}

static void begin_limit(struct service *s, enum admission_reason reason, uint64_t until_usec)
{
	wait_until(s, reason, until_usec);
	s->n_turned[reason]++;
	service_tell(s, "delayed", admission_word(reason));
	if (may_tell(s, &s->told.usec[reason]))
		log_limit_begun(s, reason);
}

bool service_may_accept(struct service *s)
{
	enum admission_reason reason;
	uint64_t until_usec;

	if (s->limit.reason != ADMISSION_ADMITTED)
		return false;
	if (!admission_is_limited(s->admission))
		return true;
	reason = admission_ready(s->admission, load_percent(s), service_now(s), &until_usec);
	if (reason != ADMISSION_ADMITTED)
		begin_limit(s, reason, until_usec);
	return reason == ADMISSION_ADMITTED;
}

/* Refusing. */

static uint32_t minute_of_day(time_t now)
{
	struct tm local;

	(void)localtime_r(&now, &local);
	return (uint32_t)(60 * local.tm_hour + local.tm_min);
}

/* The minute of the day, by the clock on the wall. */
static uint32_t minute_now(struct service *s)
{
	time_t now;

	if (!admission_asks_minute(s->admission))
		return 0;
	now = time(NULL);
	if (now / 60 != s->minute.of_time) {
		s->minute.of_time = now / 60;
		s->minute.of_day = minute_of_day(now);
	}
	return s->minute.of_day;
}

static struct denied *denied_of(const struct service *s)
{
	return s->events->get_denied ? s->events->get_denied(s->userdata) : NULL;
}

/* Everybody is admitted: what is not configured costs nothing. */
static bool is_open_to_all(const struct service *s)
{
	const struct denied *denied = denied_of(s);

	return !admission_is_limited(s->admission) && (!denied || denied_is_empty(denied));
}

static enum admission_reason ask(
	struct service *s, const struct wire_address *peer, uint32_t *ret_source)
{
	struct admission_client client = {.peer = peer};
	enum admission_reason reason;
	uint64_t n_before;

	*ret_source = 0;
	if (is_open_to_all(s))
		return ADMISSION_ADMITTED;
	client.denied = denied_of(s);
	client.minute = minute_now(s);
	client.now_usec = service_now(s);
	n_before = admission_n_unremembered(s->admission);
	reason = admission_ask(s->admission, &client, ret_source);
	if (admission_n_unremembered(s->admission) > n_before &&
		may_tell(s, &s->told.unremembered_usec))
		log_write(LOG_WARNING,
			&(struct log_about){.service = s->name, .reason = "sources-full"},
			"%s: %u sources are remembered, which is the maximum: others are not, and "
			"per_source_rate does not hold for them. A shorter time in it, or a "
			"shorter per_source_prefix, makes them fewer",
			s->name, admission_n_sources(s->admission));
	return reason;
}

/* Whoever touched the sensor is refused everywhere. */
static void deny(struct service *s, const struct wire_address *peer)
{
	uint64_t time_usec = s->config.admission.deny_time_usec, now_usec = service_now(s);
	uint64_t until_usec =
		time_usec < DENIED_FOREVER - now_usec ? now_usec + time_usec : DENIED_FOREVER;
	struct denied *denied = denied_of(s);
	struct network network;

	if (!denied || !admission_network(s->admission, peer, &network))
		return;
	if (denied_add(denied, &network, until_usec, now_usec) < 0 &&
		may_tell(s, &s->told.denied_usec))
		log_write(LOG_WARNING,
			&(struct log_about){.service = s->name, .reason = "denied-full"},
			"%s: %u networks are denied, which is the maximum: others who touch a "
			"sensor are not. A shorter deny_time, or a shorter per_source_prefix of "
			"the sensors, makes them fewer",
			s->name, denied_n(denied, now_usec));
}

/* Returns -EACCES if it is not to be had. */
static int give_to_refused_to(struct service *s, struct handoff *h)
{
	const char *to = s->config.admission.refused_to;

	if (!to || h->is_refused)
		return -EACCES;
	h->is_refused = true;
	h->listener = WIRE_NO_LISTENER;
	return s->events->on_forward(s, to, h, s->userdata);
}

/* One that was accepted here, and has brought nothing with it. */
static int give_accepted_to_refused_to(struct service *s, int fd, const struct wire_address *peer)
{
	struct handoff h = {
		.fd = fd,
		.n_hops = 1,
		.accepted_ns = service_realtime_ns(),
		.peer = *peer,
	};
	int r;

	if (!s->config.admission.refused_to)
		return -EACCES;
	h.forwarded = forwarded_new(s->name, NULL, 0);
	if (!h.forwarded)
		return -ENOMEM;
	r = give_to_refused_to(s, &h);
	if (r < 0)
		h.forwarded = forwarded_free(h.forwarded);
	return r;
}

static void refused(struct service *s, uint32_t listener, const struct wire_address *peer,
	enum admission_reason reason)
{
	s->n_turned[reason]++;
	service_account_refused(s, listener, peer, admission_word(reason));
	if (reason == ADMISSION_SENSOR)
		deny(s, peer);
}

bool service_admit(struct service *s, const struct listener *l, int fd,
	const struct wire_address *peer, uint32_t *ret_source)
{
	enum admission_reason reason = ask(s, peer, ret_source);

	if (reason == ADMISSION_ADMITTED)
		return true;
	refused(s, listener_index(l), peer, reason);
	if (reason == ADMISSION_SENSOR || give_accepted_to_refused_to(s, fd, peer) < 0)
		intake_reset(s->intake, fd);
	return false;
}

int service_admit_forwarded(struct service *s, struct handoff *h)
{
	enum admission_reason reason;

	if (h->is_refused) { /* by another service: this one is there to tell it so */
		h->source = admission_count(s->admission, &h->peer, service_now(s));
		return 0;
	}
	reason = ask(s, &h->peer, &h->source);
	if (reason == ADMISSION_ADMITTED)
		return 0;
	refused(s, WIRE_NO_LISTENER, &h->peer, reason);
	if (reason == ADMISSION_SENSOR || give_to_refused_to(s, h) < 0)
		return -EACCES;
	return SERVICE_GIVEN_ON;
}

void service_left(struct service *s, const struct handoff *h)
{
	if (h->source > 0)
		admission_left(s->admission, h->source, service_now(s));
}

enum admission_reason service_limit(const struct service *s, uint64_t *ret_until_usec)
{
	*ret_until_usec = s->limit.until_usec;
	return s->limit.reason;
}

void service_explain(
	const struct service *s, const struct wire_address *peer, struct admission_outlook *ret)
{
	const struct admission_client client = {
		.peer = peer,
		.denied = denied_of(s),
		.minute = minute_of_day(time(NULL)),
		.now_usec = service_now(s),
	};

	admission_explain(s->admission, &client, read_load_percent(), ret);
	if (s->limit.reason != ADMISSION_ADMITTED)
		ret->wait = service_limit(s, &ret->wait_until_usec);
}

uint64_t service_n_turned(const struct service *s, enum admission_reason reason)
{
	return s->n_turned[reason];
}

uint32_t service_n_sources(const struct service *s)
{
	return admission_n_sources(s->admission);
}
