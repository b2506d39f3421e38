/* SPDX-License-Identifier: MIT */
/* Why an address could not be bound, in an administrator's words: see reload-private.h. */
#include "reload-private.h"

#include "occupant.h"
#include "privilege.h"
#include "sandbox.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define MAX_SEARCHES 3 /* for who holds an address, in one reload */

void reload_add_error(struct reload *reload, const struct config_listen *listen, const char *why)
{
	char text[ADDRESS_TEXT_MAX];

	config_errors_add(reload->errors,
		(struct config_place){.file = listen->file, .line = listen->line},
		"cannot listen on %s: %s", address_format(&listen->address, text), why);
}

/*
 * An open listener that will be closed by this reload and now is in the way of `listen`, or NULL.
 */
static const struct open_listener *find_obstacle(const struct reload *reload,
	const struct config_listen *listen, const struct config_service *config)
{
	for (size_t i = 0; i < reload->n_open; i++) {
		const struct open_listener *o = &reload->open[i];

		if (address_conflicts(&listen->address, config->socket.v6only,
			    listener_configured(o->listener),
			    service_config(o->owner)->socket.v6only))
			return o;
	}
	return NULL;
}

/* Who holds the address, for the first few: looking through /proc takes a while each time. */
static void name_occupant(
	struct reload *reload, const struct address *address, char *why, size_t size)
{
	char occupant[OCCUPANT_TEXT_MAX] = "another process";

	if (reload->n_searches++ < MAX_SEARCHES) {
		privilege_raise(); /* /proc shows the descriptors of others to root only */
		(void)occupant_find(address, occupant, sizeof(occupant));
		privilege_lower();
	}
	snprintf(why, size, "the address is in use by %s", occupant);
}

/* What else an administrator can do about the kernel's having none of a family. */
static const char *family_hint_for(const struct address *address)
{
	return address->sockaddr.sa_family == AF_VSOCK
		       ? "; the kernel has no vsock: load its module (modprobe vsock)"
		       : "; the kernel has no IPv6: give an IPv4 address, or none";
}

static const char *right_hint_for(
	const struct address *address, const struct config_socket *options, int error)
{
	if (address->sockaddr.sa_family == AF_UNIX)
		return "; usherd's user must be able to write to the folder";
	if (error == -EPERM && options->transparent)
		return "; socket { transparent = true } needs root's rights at the start, or "
		       "CAP_NET_RAW";
	if (error == -EPERM && address->interface[0] != '\0')
		return "; before Linux 5.7 %INTERFACE needs root's rights at the start, or "
		       "CAP_NET_RAW";
	return "; ports below 1024 need root's rights at the start, or CAP_NET_BIND_SERVICE";
}

/* What else an administrator can do about an error of listener_bind(). */
static const char *hint_for(
	const struct address *address, const struct config_socket *options, int error)
{
	switch (-error) {
	case EADDRNOTAVAIL:
		return address->sockaddr.sa_family == AF_VSOCK
			       ? ""
			       : "; socket { freebind = true } binds it even if this machine does "
				 "not have it";
	case EACCES:
	case EPERM:
		return right_hint_for(address, options, error);
	case EAFNOSUPPORT:
		return family_hint_for(address);
	case EEXIST:
		return "; what is there is not a socket, so usherd leaves it alone";
	case ENODEV:
		return "; there is no such interface now (ip-link(8)): have usherd start after it";
	case EPROTONOSUPPORT:
	case ENOPROTOOPT:
		return address->protocol == 0 ? ""
					      : "; the kernel has no Multipath TCP (sysctl "
						"net.mptcp.enabled): give tcp: instead";
	default:
		return "";
	}
}

/* In an administrator's words. */
static void explain(struct reload *reload, const struct config_listen *listen,
	const struct config_service *config, int error, char *why, size_t size)
{
	const struct open_listener *obstacle = find_obstacle(reload, listen, config);
	char text[ADDRESS_TEXT_MAX];

	if (error == -EADDRINUSE && obstacle)
		snprintf(why, size,
			"usherd itself still listens on %s for service %s: remove that, reload, "
			"then add this and reload again; or restart",
			address_format(listener_configured(obstacle->listener), text),
			service_name(obstacle->owner));
	else if (error == -EADDRINUSE)
		name_occupant(reload, &listen->address, why, size);
	else
		snprintf(why, size, "%s%s%s", strerror(-error),
			hint_for(&listen->address, &config->socket, error),
			listen->address.sockaddr.sa_family == AF_UNIX ? sandbox_hint(error) : "");
}

void reload_explain_bind_failure(struct reload *reload, struct planned_service *planned,
	const struct config_listen *listen, int error)
{
	char text[ADDRESS_TEXT_MAX], why[512];

	explain(reload, listen, planned->config, error, why, sizeof(why));
	if (planned->service || !planned->config->is_foreign) {
		reload_add_error(reload, listen, why);
		return;
	}
	planned->is_left_out = true;
	config_warnings_add(reload->errors,
		(struct config_place){.file = listen->file, .line = listen->line},
		"service '%s' is left out until a reload finds that it can listen on %s: %s",
		planned->config->name, address_format(&listen->address, text), why);
}
