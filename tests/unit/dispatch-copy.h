/* SPDX-License-Identifier: MIT */
/*
 * An upgrade in place as dispatch sees it: a new dispatch is made what the old one was, through
 * what dispatch.h shows and nothing else.
 */
#pragma once

#include "dispatch.h"
#include <stddef.h>

/*
 * Replace *d, and each of the `n` providers, which are all that are registered, in the order of
 * their registration. To be called when there is nothing to do or to send. The old dispatch is
 * freed; hand-offs are other ones then, with the same ids.
 */
void replace_dispatch(struct dispatch **d, enum dispatch_balance balance, uint32_t instances,
	struct dispatch_provider *providers[], size_t n);
