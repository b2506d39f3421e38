/* SPDX-License-Identifier: MIT */
/* The kinds of messages: see log-messages.h. New identifiers come from `systemd-id128 new`. */
#include "log-messages.h"

#include <stdlib.h>
#include <string.h>

struct kind {
	const char *word;
	const char *id;
	bool is_each; /* not limited */
};

/* By reason, in the order of strcmp(3). */
static const struct kind reasons[] = {
	{"accept-failed", "1b122fcda1b349d9a357525202722ae8"},
	{"claim-timeout", "eab94eeaff764150ab89872e15108656"},
	{"config", "c3713ae157124456b06998db73c384c2", .is_each = true},
	{"cps", "faf74b3bf3d74acebad73446c1251c4c"},
	{"denied-full", "9f66ba5379dd437eb2261f2639eef2bf"},
	{"drained", "74362d8760914fc5a03a03d1bbc57fd5", .is_each = true},
	{"dump", "2b5631de584f461997e4ebadaa2990ad"},
	{"filter-failed", "fc1068091f5744e4a9c33b86a8022523"},
	{"forward-loop", "f38978a2ead4498fb4c724300be30580"},
	{"forward-refused", "959e746be44947e482a3c7ae97a8e12e"},
	{"gone", "6193cef7458c472985e39350261f6036"},
	{"holding", "38c99fa2ea0d4c14be50cb577f6ac920"},
	{"lent", "953ba49cda184ec288def9ceacc69621"},
	{"lent-damaged", "c409a7802ca74c11835df169c6398d61"},
	{"listen-failed", "4abf80f93fb640d4b4f57cd5ac964611"},
	{"log-failed", "b330163578d741618e28ea405525d012", .is_each = true},
	{"log-hard-limit", "0bc68c1f147b4e73aff6274235da7e36", .is_each = true},
	{"log-soft-limit", "f1b89cbcfb464f9abc391ad9f037596d", .is_each = true},
	{"loop-failed", "ba0bdc2c45f04f12ad2336aa429a516c", .is_each = true},
	{"max-providers", "0adeb9786b4d4602a2b5efeb63409760"},
	{"max_load", "f740e32c6b144dcfb582263af49450a1"},
	{"messages-dropped", "fc1c53853efc4368834c45c8a9832d99", .is_each = true},
	{"more", "372182cea8a64707a950103a1cb820e4", .is_each = true},
	{"no-hello", "70067e0ba07d4a6f8880152f90ed5039"},
	{"no-key", "ef804a48b9e54d76a5eb6f1a57318889", .is_each = true},
	{"no-memory", "a32c837dc0e64141a6fa8324653b2c0b"},
	{"not-registered", "fefaa38819b948ab82051d115dc27905"},
	{"orphaned-channel", "be5d9212ec9642e8b7ed361d0d96b67a"},
	{"park-failed", "5115c80753c04b75a94969c40d512b07"},
	{"park-full", "db1f6094f2f1444b9db40f722f17786d"},
	{"park-timeout", "1c512bdb130a4d2aa47fbc2365cc05df"},
	{"paused", "d6535af469c04912aff4c3f665e8a74f", .is_each = true},
	{"protocol", "9701851b98dc49fcab4263844335ab30"},
	{"rate", "74d2e275755b498eace1a3e8ad0be410"},
	{"receiver-absent", "4b70c7ce935f4656aa3517f1cb3ff662"},
	{"receiver-full", "9d4913f285e94daa855258f02352b279"},
	{"receiver-ready", "c9782850bbae46968125e8c25820c9c2"},
	{"registered", "1a1aec94df3b438183a6951ba9c30eb5"},
	{"reload-failed", "c67b44c8ffa84988a6e2864f52a2389a", .is_each = true},
	{"reloaded", "5e4fc9550fbb415485e21ce7b8e8603c", .is_each = true},
	{"rendezvous-failed", "beb97c67f0e845abbd7ffefc6eb9ec71"},
	{"replaced", "3e0996af1caf478c94cc5005b0619b52"},
	{"resumed", "25f29aa165774a3ba9991173cbd4faf4", .is_each = true},
	{"sandbox", "879f2f0df1bb4f9eb926dd0350a3e233", .is_each = true},
	{"service-removed", "66583533370e471c9a23b750a6b1dd76", .is_each = true},
	{"signal", "c3d712c537e04d0c941ab6482f6b2ced"},
	{"sources-full", "c26c80a50e1948b794e4bffe3ac2bc65"},
	{"start-failed", "d7275b03f910410e81391704ad74bff1", .is_each = true},
	{"started", "e51b998397dc4263b2ce15893af20e04", .is_each = true},
	{"stopping", "fa65ee11fc6b4b94925ab5e3824191a1", .is_each = true},
	{"supervisor-failed", "e7abd93f1c4449d8b5b5e0eb2aa31905", .is_each = true},
	{"takes-no-listeners", "c5a2f824d0b14fe4a9bcc4ba630fabe0"},
	{"unknown-socket", "aa90992271d547fba346b25475be5990", .is_each = true},
	{"upgrade-failed", "da6431d3728e45a4802efcadca22372e", .is_each = true},
	{"upgraded", "e1d898f285f741ff991a0a256c8488f9", .is_each = true},
	{"upgrading", "533621b23ec24c62918a397ab79c49ee", .is_each = true},
};

/* By event, likewise. */
static const struct kind events[] = {
	{"end", "bd7c1b6bf24f45178bd09c0e78862a69", .is_each = true},
	{"refused", "ae588b6462a149ebadce545c61aafefd"},
	{"start", "5a1bace9a6d9430e9e3c7d66f1394a62", .is_each = true},
};

static int compare(const void *word, const void *kind)
{
	return strcmp(word, ((const struct kind *)kind)->word);
}

static const struct kind *find(const struct kind *kinds, size_t n, const char *word)
{
	return word ? bsearch(word, kinds, n, sizeof(*kinds), compare) : NULL;
}

static const struct kind *find_reason(const char *reason)
{
	return find(reasons, sizeof(reasons) / sizeof(*reasons), reason);
}

static const struct kind *find_event(const char *event)
{
	return find(events, sizeof(events) / sizeof(*events), event);
}

const char *log_messages_id(const struct log_about *about)
{
	const struct kind *kind = about->event	      ? find_event(about->event)
				  : about->n_more > 0 ? find_reason("more")
						      : find_reason(about->reason);

	return kind ? kind->id : NULL;
}

bool log_messages_is_limited(const struct log_about *about)
{
	const struct kind *kind =
		about->event ? find_event(about->event) : find_reason(about->reason);

	return (about->event || about->reason) && !(kind && kind->is_each);
}
