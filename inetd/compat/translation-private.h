/* SPDX-License-Identifier: MIT */
/*
 * What the files of translation.c share, and nobody else includes:
 *
 *   translation.c            building a translation
 *   translation-finish.c     bringing it together: the order, tcpmux, what refused clients get
 *   translation-addresses.c  two services that have one address
 *   translation-names.c      services that have one name: joined, or called otherwise
 *
 * Without memory all of them set the translation's flag.
 */
#pragma once

#include "translation.h"

/* "tcp:0.0.0.0:finger" is "tcp:0.0.0.0:79": the same for the same address. To be freed; NULL: no
 * memory. */
char *translation_address_key(const char *text);

/* Of two services on one address one loses it, with a warning. */
void translation_settle_addresses(struct translation *translation);

/*
 * Give every service a name of its own, or join it to one that is alike; those that run have the
 * first choice of names. Those that do not stay become NULL. `named` has room for all services.
 */
void translation_settle_names(struct translation *translation, struct translation_service **named);

/* The one of the first `n` that has this name, or NULL. */
struct translation_service *translation_find_service(
	struct translation_service *const *services, size_t n, const char *name);

/* Call it NAME-SUFFIX, NAME-SUFFIX-2, ...: the first that none of the `n` others has. */
void translation_rename(struct translation *translation, struct translation_service *service,
	struct translation_service *const *others, size_t n);
