/* SPDX-License-Identifier: MIT */
/*
 * bench-answer: bench-direct for servers that start a process for each connection, which is its
 * descriptor 0.
 *
 *   bench-answer -w echo|daytime
 *
 * The less there is to start, the better for these servers: it is linked statically, and does
 * without getopt().
 */
#include "answer.h"

#include <stdlib.h>
#include <unistd.h>

int main(int argc, char *argv[])
{
	enum work work;

	if (argc != 3 || work_parse(argv[2], &work) < 0)
		return 2;
	answer(STDIN_FILENO, work);
	return EXIT_SUCCESS;
}
