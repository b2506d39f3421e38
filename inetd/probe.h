/* SPDX-License-Identifier: MIT */
/*
 * Places at which a tracer (bpftrace, perf, SystemTap) can look at connections: usherd(8),
 * "Probes".
 *
 * Not a log: nobody is told anything unless he asks the kernel for it. A place is a no-operation
 * with a note in the file that says where its arguments are (<sys/sdt.h>, of SystemTap); where that
 * is missing, or with -Dprobes=disabled, it is nothing at all.
 *
 * Names, arguments and their order are an interface: new arguments come last. `connection` is the
 * number that is logged, too (struct handoff, id). Texts are good for the time of the call. What
 * has several places must have the same arguments at each, none of them a constant: perf(1) cannot
 * take them together otherwise.
 *
 * Invariant: what nobody traces costs no more than having its arguments at hand.
 */
#pragma once

#include "build-config.h"

#include <stdint.h>
#include <sys/types.h>

#ifdef USHER_HAS_PROBES
#include <sys/sdt.h>
#else
#define DTRACE_PROBE2(provider, name, a, b)	  ((void)(a), (void)(b))
#define DTRACE_PROBE3(provider, name, a, b, c)	  ((void)(a), (void)(b), (void)(c))
#define DTRACE_PROBE4(provider, name, a, b, c, d) ((void)(a), (void)(b), (void)(c), (void)(d))
#endif

/* A client was accepted, and let in. `listener`: its place among those of the service. */
static inline void probe_accept(const char *service, uint64_t connection, uint32_t listener, int fd)
{
	DTRACE_PROBE4(usher, accept, service, connection, listener, fd);
}

/* A client is turned away, or given to refused_to. `listener`: WIRE_NO_LISTENER if not known. */
static inline void probe_refuse(const char *service, uint32_t listener, const char *reason)
{
	DTRACE_PROBE3(usher, refuse, service, listener, reason);
}

/* A connection is sent to the provider `pid`; once more if the channel was full. */
static inline void probe_handoff(const char *service, uint64_t connection, pid_t pid)
{
	DTRACE_PROBE3(usher, handoff, service, connection, pid);
}

/* The same to a receiver, of whom nothing is known. */
static inline void probe_pass(const char *service, uint64_t connection)
{
	DTRACE_PROBE2(usher, pass, service, connection);
}

/* It is the provider's own from now on. */
static inline void probe_claim(const char *service, uint64_t connection)
{
	DTRACE_PROBE2(usher, claim, service, connection);
}

/* It counts no more. */
static inline void probe_release(const char *service, uint64_t connection, const char *reason)
{
	DTRACE_PROBE3(usher, release, service, connection, reason);
}

/* It waits in a queue of the kernel. When it is taken out it has another number. */
static inline void probe_park(const char *service, uint64_t connection, uint32_t n_parked)
{
	DTRACE_PROBE3(usher, park, service, connection, n_parked);
}

/* A process has registered. */
static inline void probe_register(const char *service, pid_t pid, int32_t credit)
{
	DTRACE_PROBE3(usher, register, service, pid, credit);
}
