/* SPDX-License-Identifier: MIT */
/*
 * What the kernel knows of an accepted connection whose other copy a provider had.
 *
 * Asks, changes nothing. usherd itself never reads a byte of it, so whatever was read or written
 * since accept4(2) was the provider's doing.
 */
#pragma once

#include <stdbool.h>

/*
 * Has nobody read from or written to this TCP connection, and is the client still there? Only to be
 * asked when the provider can do nothing more with its copy. For other sockets the kernel can't
 * say; the answer is then yes.
 */
bool connection_is_untouched(int fd);
