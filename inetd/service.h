/* SPDX-License-Identifier: MIT */
/*
 * One service as it runs: its listeners, rendezvous and providers around one dispatch.
 *
 * It carries out what dispatch decides, and makes the listeners agree with whether anybody can
 * serve. What the configuration changed is decided by reload; here it is only carried out.
 */
#pragma once

#include "config.h"
#include "dispatch.h"
#include "intake.h"
#include "listener.h"
#include "provider.h"
#include "rendezvous.h"
#include <systemd/sd-event.h>

struct service;

/* The service has ended (see service_end()) and may be freed now. */
typedef void (*service_on_ended)(struct service *s, void *userdata);

/*
 * Make the service and its rendezvous run_dir/NAME.sock. `config` must outlive it, or be replaced
 * by service_configure(). Returns 0 with *ret (free with service_free()), -ENOMEM, or the errors of
 * unixsocket_listen().
 */
int service_new(struct service **ret, sd_event *event, const struct config_service *config,
	const char *run_dir, service_on_ended on_ended, void *userdata);

/*
 * Close everything: providers keep what was sent to them, connections that wait are reset. NULL is
 * allowed. Returns NULL.
 */
struct service *service_free(struct service *s);

/*
 * Take a configuration, the first or another one, and the listeners for it in place of those it
 * had: `listeners` (from malloc) and what is in it are the service's from now on; the old ones are
 * the caller's. Providers stay registered and are told if the listeners have changed. Cannot fail:
 * what can't be carried out is logged.
 */
void service_configure(struct service *s, const struct config_service *config,
	struct listener **listeners, size_t n_listeners);

/*
 * The service is no longer configured: its listeners are the caller's, nobody can register any
 * more. What was accepted is still served; then the providers are told, and on_ended is called (not
 * from within this function).
 */
void service_end(struct service *s);

const char *service_name(const struct service *s);
const struct config_service *service_config(const struct service *s);
bool service_is_ending(const struct service *s);

/* For status. */
const struct intake *service_intake(const struct service *s);
const struct dispatch *service_dispatch(const struct service *s);
const struct provider *service_providers(const struct service *s);
const struct rendezvous *service_rendezvous(const struct service *s); /* NULL while ending */
