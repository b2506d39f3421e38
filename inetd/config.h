/* SPDX-License-Identifier: MIT */
/*
 * usher.conf(5) as one immutable value.
 *
 * Reads files and the user and service databases; opens no socket, changes nothing, logs nothing:
 * what is wrong comes back as lines "FILE:LINE: what is wrong, what was expected".
 *
 * Invariant: a struct config that config_load() returned can be carried out as far as can be known
 * without touching a socket. A file with any error gives no struct config at all.
 */
#pragma once

#include "address.h"
#include "network.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define CONFIG_MAX_SERVICES   16384
#define CONFIG_MAX_FILE_BYTES (16u << 20)
#define CONFIG_MAX_LISTENERS                                                                       \
	1024 /* of one service: what its WELCOME can list (usher-protocol(7)) */
#define CONFIG_MAX_ERRORS 100

enum config_log {
	CONFIG_LOG_JOURNAL, /* with a fall-back to stderr where there is no journal */
	CONFIG_LOG_SYSLOG,
	CONFIG_LOG_STDERR,
	CONFIG_LOG_FILE,
};

/* What clients meet while no provider is registered. */
enum config_unavailable {
	CONFIG_UNAVAILABLE_WAIT,   /* they wait in the kernel's backlog */
	CONFIG_UNAVAILABLE_REFUSE, /* the kernel refuses them: ECONNREFUSED; not for unix: */
	CONFIG_UNAVAILABLE_RESET,  /* accepted and reset at once */
};

enum config_balance {
	CONFIG_BALANCE_LEAST,	    /* who has the least in hand for its weight */
	CONFIG_BALANCE_ROUND_ROBIN, /* in turn */
	CONFIG_BALANCE_SOURCE,	    /* the same one for all connections of a client */
};

/* What becomes of those that are registered when another one registers. */
enum config_takeover {
	CONFIG_TAKEOVER_SHARE,	/* they share */
	CONFIG_TAKEOVER_NEWEST, /* they are told to drain */
};

/* What providers get of a service's stream listeners. Datagram sockets are always lent. */
enum config_deliver {
	CONFIG_DELIVER_CONNECTION, /* accepted connections */
	CONFIG_DELIVER_LISTENER,   /* the listening sockets themselves: inetd's "wait" */
	CONFIG_DELIVER_PASS,	   /* accepted connections, to a receiver that has bound a socket */
};

/* What is written of a client's address. */
enum config_log_address {
	CONFIG_LOG_ADDRESS_FULL,
	CONFIG_LOG_ADDRESS_PREFIX, /* the network that `per_source_prefix` makes of it */
	CONFIG_LOG_ADDRESS_HASH,   /* by a key that no restart keeps */
	CONFIG_LOG_ADDRESS_NONE,
};

/* log_on_success and log_on_failure, as sets of these: xinetd.conf(5). */
enum config_log_item {
	CONFIG_LOG_HOST = 1 << 0,     /* the client's address */
	CONFIG_LOG_PID = 1 << 1,      /* of the provider, or of the program */
	CONFIG_LOG_DURATION = 1 << 2, /* when it is over: how long it took */
	CONFIG_LOG_EXIT = 1 << 3,     /* when it is over: that it is, and how a program ended */
	CONFIG_LOG_TRAFFIC = 1 << 4,  /* when it is over: bytes, where somebody counts them */
	CONFIG_LOG_REASON = 1 << 5,   /* of failures: which rule */
};

/* Where something was written. `line` 0: the file as a whole. */
struct config_place {
	const char *file; /* owned by struct config */
	int line;
};

/* Users, and members of groups. */
struct config_accounts {
	uid_t *users;
	size_t n_users;
	gid_t *groups;
	size_t n_groups;
};

struct config_providers {
	struct config_accounts accounts; /* who may register, besides root and usherd's own user */
	uint32_t max;			 /* registered at once, 1 to 4096; default 16 */
	enum config_balance balance;
	enum config_takeover takeover;
	char **forward; /* names of services that these providers may forward connections to; the
			   service's own: they may hand connections back */
	size_t n_forward;
	struct config_place forward_place; /* of the list; no file: there is none */
	bool may_set_peer; /* a FORWARD of these providers may say what the client's address is;
			      default false */
};

/* Connections that were accepted and that nobody can take now. */
struct config_park {
	uint32_t max; /* at once, 0 (they are reset) to 1,048,576, which is the default: as many as
			 `instances` */
	uint64_t timeout_usec; /* 1 s to 24 h; then they are reset; default 5 min, as RFC 5321,
				  4.5.3.2.1, has a client wait for a greeting */
};

/* Accepted connections go to a receiver that has bound a socket of its own (`deliver = "pass"`). */
struct config_pass {
	char *path;		     /* absolute; NULL: none given */
	int type;		     /* SOCK_STREAM (default), SOCK_SEQPACKET or SOCK_DGRAM */
	bool has_postfix_attributes; /* `attributes = "postfix"`; SOCK_STREAM only */
};

/* At most `count` in `period_usec`, after a while of less. `count` 0: as many as come. */
struct config_rate {
	uint32_t count;	      /* 1 to 1,000,000 */
	uint64_t period_usec; /* 1 s to 24 h */
	uint64_t pause_usec;  /* of cps: how long nobody comes in when it was too many; else 0 */
};

/* A network, or a single address, of only_from or no_access. */
struct config_rule {
	struct network network;
	bool is_allowed; /* from only_from */
	char *text;	 /* as it was written, for messages and `usherctl explain` */
	struct config_place place;
};

/* From the first minute to before the last one of a day, local time: 0 to 1440. */
struct config_hours {
	uint32_t first, last; /* first > last: over midnight */
};

/* Who may come in, when, how many and how often: admission.h carries it out. Not for unix: clients,
 * whom the file's mode admits, except for cps, rate and max_load. */
struct config_admission {
	struct config_rule *rules; /* the most specific one decides; of two alike no_access */
	size_t n_rules;
	bool has_only_from;	    /* it was given, maybe empty: who matches no rule is refused */
	struct config_hours *hours; /* access_times; none: always */
	size_t n_hours;
	struct config_rate cps;		    /* beyond it: clients wait in the backlog for `pause` */
	struct config_rate rate;	    /* beyond it: clients wait in the backlog */
	struct config_rate per_source_rate; /* beyond it: refused */
	uint32_t per_source;		    /* connections at once; 0: no limit */
	uint32_t source_bits_v4, source_bits_v6; /* per_source_prefix; default 32 and 64 */
	uint32_t max_load_percent; /* of a load average of 1.0, by getloadavg(3); 0: no limit */
	bool is_sensor;		   /* whoever connects is refused everywhere for deny_time */
	uint64_t deny_time_usec;   /* UINT64_MAX: until usherd ends; default 1 h */
	char *refused_to; /* the service that refused clients are given to (a banner); NULL: reset
			   */
	struct config_place refused_to_place;
};

/* Resource limits of a program: setrlimit(2). RLIM_INFINITY is "unlimited". */
struct config_rlimit {
	int resource; /* RLIMIT_AS, ... */
	uint64_t value;
};

/* A classic inetd program, which usher-exec(8) runs. usherd itself only checks it. */
struct config_exec {
	char *program; /* absolute path; NULL: no exec {} */
	char *name;    /* argv[0]; NULL: the last part of `program` */
	char **args;   /* from argv[1] */
	size_t n_args;
	char **env; /* "NAME=value" */
	size_t n_env;
	char **pass_env; /* names of usher-exec's own variables */
	size_t n_pass_env;
	char *user;	   /* a name; NULL: as usher-exec */
	char *group;	   /* a name; NULL: the user's own */
	bool has_groups;   /* the user's supplementary groups too; default true */
	uint32_t umask;	   /* octal when written; UINT32_MAX: as usher-exec */
	int32_t nice;	   /* added; -20 to 19 */
	bool no_new_privs; /* set-user-ID programs do nothing for it: prctl(2) */
	struct config_rlimit *rlimits;
	size_t n_rlimits;
	char *chroot;	 /* NULL: none */
	char *directory; /* NULL: "/" */
	char *banner;	 /* a file whose contents the client gets first; NULL: none */
};

/* Where log_on_success and log_on_failure go. */
struct config_log_type {
	enum {
		CONFIG_LOG_TYPE_COMMON, /* where all messages of usherd go */
		CONFIG_LOG_TYPE_SYSLOG,
		CONFIG_LOG_TYPE_FILE,
	} type;
	int facility, level;		 /* of syslog(3) */
	char *path;			 /* absolute */
	uint64_t soft_bytes, hard_bytes; /* warned at, and stopped at; 0: no limit */
};

struct config_service_log {
	uint32_t on_success; /* a set of enum config_log_item; default none */
	uint32_t on_failure; /* default host and reason */
	enum config_log_address address;
	struct config_log_type type;
};

struct config_socket {
	int backlog;	/* listen(2); 1 to 65535, the kernel caps it at net.core.somaxconn; default
			   4096 */
	bool nodelay;	/* TCP_NODELAY; default false */
	bool keepalive; /* SO_KEEPALIVE; default false */
	bool v6only;   /* IPV6_V6ONLY of an explicit IPv6 listener, or a wildcard one; default false
			*/
	bool freebind; /* IP_FREEBIND: bind to an address this machine does not have (yet) */
	bool transparent; /* IP_TRANSPARENT: take connections to addresses of others (tproxy) */
	bool broadcast;	  /* SO_BROADCAST, of udp: */
	uint64_t defer_accept_usec; /* TCP_DEFER_ACCEPT: wait for data so long; 0 (default): no */
	uint64_t receive_buffer;    /* SO_RCVBUF, bytes; 0: the kernel's default */
	uint64_t send_buffer;	    /* SO_SNDBUF, bytes; 0: the kernel's default */
	uint32_t mode;		    /* of unix: sockets, octal when written; default 0666 */
};

/* One place to listen, with where it was written. */
struct config_listen {
	struct address address;
	/*
	 * A name that is to be looked up, see config_resolve(). `address` has protocol and port,
	 * and which addresses are meant: tcp:PORT all, tcp:0.0.0.0:PORT and tcp:[::]:PORT those of
	 * one family. NULL: no name, or looked up already.
	 */
	char *host;
	const char *file; /* owned by the config */
	int line;
};

struct config_service {
	char *name; /* letters, digits, '.', '_', '-'; at most 63 bytes; not beginning with '.' */
	const char *file; /* owned by the config */
	int line;
	bool is_foreign;	      /* of a file of inetd or xinetd */
	bool is_disabled;	      /* `disable = true`: checked, shown, not run */
	struct config_listen *listen; /* ranges are one entry for each port */
	size_t n_listen;
	bool is_forward_only; /* `listen = {}`: connections come from other services' providers */
	uint32_t instances;   /* connections at once, 1 to 1,048,576; default 1024 */
	struct config_providers providers;
	enum config_deliver deliver;	     /* default connection */
	enum config_unavailable unavailable; /* default wait */
	uint64_t claim_timeout_usec;	     /* 100 ms to 1 h; default 10 s */
	struct config_park park;
	struct config_socket socket;
	struct config_admission admission;
	struct config_pass pass;
	struct config_exec exec;
	struct config_service_log log;
};

struct config {
	char *run_dir; /* absolute, no '/' at its end; default USHER_RUN_DIR of the build */
	char *user;    /* to become when started as root; default "usher" */
	uid_t uid;     /* of `user` */
	gid_t gid;
	bool is_user_known; /* the default user need not exist until it is needed */
	bool has_sandbox;   /* default true */
	enum config_log log;
	char *log_file;			  /* CONFIG_LOG_FILE: absolute path; else NULL */
	struct config_accounts monitors;  /* who may look, besides root and usherd's own user */
	struct config_service **services; /* sorted by name */
	size_t n_services;
	char **files; /* every file read, the first one first */
	size_t n_files;
};

/*
 * Lines "FILE:LINE: ...", or "FILE: ..." about a file as a whole, collected while loading.
 * Zero-initialise; free with config_errors_done().
 */
struct config_errors {
	char **lines; /* at most CONFIG_MAX_ERRORS and a last one that says so; UTF-8 without
			 control characters */
	size_t n_lines;
	char **warnings; /* "FILE:LINE: warning: ...", of what does not keep the file from being
			    used */
	size_t n_warnings;
	bool is_out_of_memory; /* lines are missing */
};

/* Append "FILE:LINE: sentence"; control characters and what is not UTF-8 become '?'. Past
 * CONFIG_MAX_ERRORS only a remark. */
void config_errors_add(struct config_errors *errors, struct config_place place, const char *format,
	...) __attribute__((format(printf, 3, 4)));

/* The same for "FILE:LINE: warning: sentence": what of a file is not carried out, and what to do
 * about it. */
void config_warnings_add(struct config_errors *errors, struct config_place place,
	const char *format, ...) __attribute__((format(printf, 3, 4)));

/*
 * Read `path` and what it includes.
 *
 * Refused, each with a message of its own: a file that is not root's or the caller's, or is
 * writable by others; one that is larger than CONFIG_MAX_FILE_BYTES; control characters and what is
 * not UTF-8, except in comments; syntax errors; unknown options; an option given twice; values out
 * of range or of the wrong unit; users and groups that do not exist; uid and gid 65534 (every
 * unmapped user looks like it: user_namespaces(7)); two services of one name; a service without a
 * listener; two listeners that cannot both be bound, or one in run_dir, or a unix: one that would
 * have to refuse clients; one that gives clients to a service which is not there; a rendezvous path
 * run_dir/NAME.sock that does not fit sun_path; a file included twice or by itself; more
 * descriptors than `fd_limit` allows (0: do not check). Disabled services are checked like the
 * others, but conflict with nobody and need no descriptors.
 *
 * Not reentrant, and not for two threads at once: libconfuse is neither.
 *
 * Returns 0 with *ret (free with config_free()), -EINVAL with at least one line in *errors, or
 * -ENOMEM.
 */
int config_load(
	const char *path, uint64_t fd_limit, struct config **ret, struct config_errors *errors);

/*
 * The names of hosts and networks in listen, only_from and no_access of services that run. In what
 * config_load() returns those in rules are of the family AF_UNSPEC, which no client is in, and all
 * have to be looked up, which takes time: names.h. Returns 0, -EINVAL with a line in *errors (there
 * are too many), or -ENOMEM.
 */
struct names;
int config_add_names(
	const struct config *config, struct names *names, struct config_errors *errors);

/*
 * Replace these rules and places to listen by what the names have, after names_close(). A name
 * without any is a warning in a rule, and an error in listen, where what two names have can be in
 * each other's way besides: both cost a service of a file of inetd or xinetd only that service.
 *
 * Returns 0, -EINVAL with lines in *errors, or -ENOMEM; the configuration cannot be used then.
 */
int config_resolve(struct config *config, struct names *names, struct config_errors *errors);

/* The same at once, for the start: waits, at most NAMES_TIMEOUT_USEC. Returns 0 or what the two
 * return. */
int config_resolve_now(struct config *config, struct config_errors *errors);

/* NULL is allowed. Returns NULL. */
struct config *config_free(struct config *config);

void config_errors_done(struct config_errors *errors);

/* Do both say the same but for name, place and `disable`? Lists count in their order. */
bool config_service_equal(const struct config_service *a, const struct config_service *b);

/* At how many addresses it can listen: a name counts as NAMES_MAX_ADDRESSES (names.h). */
size_t config_most_listeners(const struct config_service *service);

/* The service of that name, or NULL. */
const struct config_service *config_find_service(const struct config *config, const char *name);

/*
 * How many descriptors this configuration needs: listeners, rendezvous, files that services log to,
 * two for each provider that may register (its channel and its pidfd), and a reserve for usherd
 * itself and connections in hand. It is what config_load() compares with its fd_limit.
 */
uint64_t config_n_fds(const struct config *config);
