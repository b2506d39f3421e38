/* SPDX-License-Identifier: MIT */
/* usherctl convert: inetd.conf and xinetd.conf as usher.conf. */
#pragma once

#include "options.h"

/* As the commands of commands.h. */
int command_convert(const struct options *options, char **arguments);
