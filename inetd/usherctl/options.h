/* SPDX-License-Identifier: MIT */
/* What the user has said before the command: see main.c. */
#pragma once

#include <stdbool.h>

struct options {
	const char *run_dir; /* of the usherd to talk to */
	bool is_json;
	unsigned int interval_msec; /* of top; 0: not said */
	unsigned int count;	    /* of top: how many times; 0: until it is ended */
	const char *type; /* of files to convert: "inetd" or "xinetd"; NULL: as they look */
};
