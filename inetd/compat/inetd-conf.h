/* SPDX-License-Identifier: MIT */
/*
 * inetd.conf, as the inetds that are still in use read it, translated into usher.conf's words.
 *
 * Opens nothing. A line that cannot be carried out costs that line: a warning says why, and the
 * others are read on, as inetd does.
 *
 * Sources: inetd(8) of Debian's openbsd-inetd 0.20221205 (sizes, unix, tcp46, user.group), of GNU
 * inetutils 2.4 (tcpmux/, tcp6only), of FreeBSD (nowait/max-child/..., login class, tcp/ttcp) and
 * of NetBSD 10 (stream,max:filter, wait:max, quotes), and inetd.c of the last two, for what their
 * manuals leave open:
 *
 *   comments     '#' as the first character of a line, nowhere else (all)
 *   continuation a line that begins with a blank continues the one before that is no comment (all)
 *   quotes       '...' and "..." anywhere in a word, a backslash is one (NetBSD; FreeBSD at the
 *                beginning of a word; OpenBSD has none). A quote without an end is a character
 *   arguments    all that there are. OpenBSD and NetBSD drop those after the 20th
 *   addresses    HOST:SERVICE, several with commas; "HOST:" alone changes the default; "*:" resets
 *                it. IPv6 in brackets (OpenBSD, NetBSD)
 *   twice        of two lines with the same address the later one counts (all)
 *
 * Where they contradict each other this is Debian's openbsd-inetd:
 *
 *   tcp, udp     IPv4 and IPv6, by two sockets, so that programs never see IPv4-mapped addresses.
 *                (FreeBSD, NetBSD and inetutils: IPv4 only)
 *   tcp6, udp6   IPv6 only. (inetutils: IPv4 too, which is tcp46 here)
 *   nowait.40    40 a minute; beyond it clients wait. Without it there is no limit: those of the
 *                inetds (256 or 40 a minute, then nothing for ten minutes) are the complaint that
 *                people have of them.
 */
#pragma once

#include "translation.h"

/*
 * Append what `text`, of the file called `file`, says. translation_finish() is left to the caller.
 */
void inetd_conf_translate(struct translation *translation, const char *file, const char *text,
	const struct translation_facts *facts);
