/* SPDX-License-Identifier: MIT */
/* What is said of a receiver, once in each episode of failures: see service-pass.h. */
#include "service-pass.h"

#include "log.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

/* So long without a failure, and the next one is logged again. */
#define EPISODE_USEC UINT64_C(10000000)

static void log_receiver(const struct service_pass *sp, int priority, const char *reason, int error,
	const char *what, const char *hint)
{
	const struct log_about about = {
		.service = sp->service->name, .reason = reason, .error = error};

	log_write(priority, &about, "%s: receiver %s %s%s%s%s", sp->service->name,
		sp->receiver.path, what, error == 0 ? "" : ": ", error == 0 ? "" : strerror(-error),
		hint);
}

static const char *hint_for(int error)
{
	switch (-error) {
	case EACCES:
	case EPERM:
		return " (usherd's user must be able to write to the socket and to enter its "
		       "folder)";
	case EPROTOTYPE:
		return " (it is bound with another type: see pass { type })";
	default:
		return "";
	}
}

void service_pass_log_failure(struct service_pass *sp, int error)
{
	uint64_t now_usec = service_now(sp->service);

	if (now_usec >= sp->logged.failed_usec + EPISODE_USEC)
		sp->logged = (struct service_pass_log){0};
	sp->logged.failed_usec = now_usec;
	if (sp->logged.failure)
		return;
	sp->logged.failure = true;
	if (sp->state == RECEIVER_FULL)
		log_receiver(sp, LOG_NOTICE, "receiver-full", error,
			"takes no more connections for now, clients wait", "");
	else if (error == 0)
		log_receiver(sp, LOG_WARNING, "receiver-absent", error,
			"went without reading what it was sent; usherd tries again", "");
	else
		log_receiver(sp, LOG_WARNING, "receiver-absent", error,
			"cannot be given connections, usherd tries again", hint_for(error));
}

void service_pass_log_success(struct service_pass *sp)
{
	if (sp->logged.failure && !sp->logged.recovery)
		log_receiver(sp, LOG_INFO, "receiver-ready", 0, "takes connections again", "");
	sp->logged.recovery = sp->logged.failure;
}

void service_pass_check(struct service *s, uint64_t usec)
{
	struct service_pass *sp = s->pass;
	unsigned int n = 0;
	char what[192];

	if (!sp || sp->logged.delay)
		return;
	service_pass_foreach (p, sp)
		n += p->pass && usec >= p->begun_usec + s->config.claim_timeout_usec;
	if (n == 0)
		return;
	sp->logged.delay = true;
	(void)snprintf(what, sizeof(what),
		"has not read %u connections for %u ms; at most %u are sent to it at once, others "
		"wait. If it hangs, restart it; if it is slow, run more of it",
		n, (unsigned int)(s->config.claim_timeout_usec / 1000), SERVICE_PASS_MAX);
	log_receiver(sp, LOG_WARNING, "claim-timeout", 0, what, "");
}
