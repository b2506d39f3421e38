/* SPDX-License-Identifier: MIT */
/*
 * xinetd.conf and the files of xinetd.d, as xinetd 2.3.15 reads them, translated into usher.conf's
 * words.
 *
 * Opens nothing itself: what is included is read by the functions of the facts. What cannot be
 * carried out costs the service that it stands in, with a warning that says why; or only that
 * attribute, where nobody is let in who was kept out before.
 *
 * Sources: xinetd.conf(5); parse.c, parsesup.c, parsers.c, confparse.c and includedir.c of xinetd,
 * for what it leaves open:
 *
 *   comments   lines whose first character that is no blank is '#'; never after a value
 *   braces     each on a line of its own
 *   operators  have blanks on both sides; values are separated by blanks, and nothing quotes one
 *   includedir in the order of strcmp(3), without names that have a '.' or end with '~'
 *   defaults   one section. Its '=' adds; what it says of attributes with '+=' is where those of
 *              the services begin, and any other is theirs if they do not give it
 *   families   without the flags IPv4 and IPv6, and without an address, both, as Debian's xinetd
 *              (others: IPv4 only)
 *   twice      of an attribute without '+=' the first counts; of two services with one address too
 *
 * Unlike xinetd, defaults {} also holds for services that stand before it, and `disable = yes`
 * counts for a service that `enabled` lists, as the manual says.
 */
#pragma once

#include "translation.h"

/* Append what `text`, of the file called `file`, says. translation_finish() is left to the caller.
 */
void xinetd_conf_translate(struct translation *translation, const char *file, const char *text,
	const struct translation_facts *facts);

/* The same for all files of a folder, as includedir reads them. Returns 0 or a negative errno: the
 * folder cannot be read. */
int xinetd_conf_translate_folder(
	struct translation *translation, const char *folder, const struct translation_facts *facts);
