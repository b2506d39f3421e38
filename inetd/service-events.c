/* SPDX-License-Identifier: MIT */
/*
 * What a service says to those who follow events, besides what becomes of its connections, which
 * service-account.c says to them and to the log.
 */
#include "service-private.h"

static bool is_followed(const struct service *s)
{
	return s->followers && events_are_followed(s->followers);
}

void service_tell(const struct service *s, const char *event, const char *reason)
{
	if (is_followed(s))
		events_tell(s->followers,
			&(struct log_about){.event = event, .service = s->name, .reason = reason});
}

void service_tell_provider(
	const struct service *s, const struct provider *p, const char *event, const char *reason)
{
	if (is_followed(s))
		events_tell(s->followers, &(struct log_about){.event = event,
						  .service = s->name,
						  .provider = p->name[0] == '\0' ? NULL : p->name,
						  .provider_pid = p->pid,
						  .provider_uid = p->uid,
						  .reason = reason});
}

void service_on_draining(struct provider *p, void *userdata)
{
	static const char *const reasons[] = {
		[WIRE_DRAINING_ASKED] = "asked",
		[WIRE_DRAINING_ENDING] = "ending",
		[WIRE_DRAINING_REPLACED] = "replaced",
		[WIRE_DRAINING_ADMINISTRATOR] = "administrator",
	};

	service_tell_provider(userdata, p, "draining", reasons[p->draining_reason]);
}
