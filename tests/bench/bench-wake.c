/* SPDX-License-Identifier: MIT */
/*
 * What it costs to wake a process on another processor: the unit that a hand-off is to be measured
 * in, because it is most of it and differs between machines by a factor of five.
 *
 *     bench-wake CPU OTHER_CPU
 *
 * Two processes, one on each, send a byte to and fro on two pipes. Prints the microseconds of one
 * way.
 */
#include <err.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#define N_WARM_UP     100
#define N_ROUND_TRIPS 5000

static void stay_on(const char *cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET((size_t)atoi(cpu), &set);
	if (sched_setaffinity(0, sizeof(set), &set) < 0)
		err(EX_OSERR, "cannot run on processor %s", cpu);
}

static double now_us(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

/* Until the other end is closed. */
static void answer(int from, int to)
{
	char byte;

	while (read(from, &byte, 1) == 1 && write(to, &byte, 1) == 1)
		;
}

static void ask(int to, int from, int n)
{
	char byte = 0;

	for (int i = 0; i < n; i++)
		if (write(to, &byte, 1) != 1 || read(from, &byte, 1) != 1)
			err(EX_OSERR, "cannot use a pipe");
}

int main(int argc, char *argv[])
{
	int to[2], from[2];
	double begin_us;
	pid_t pid;

	if (argc != 3)
		errx(EX_USAGE, "usage: bench-wake CPU OTHER_CPU");
	if (pipe(to) < 0 || pipe(from) < 0)
		err(EX_OSERR, "cannot make a pipe");
	pid = fork();
	if (pid < 0)
		err(EX_OSERR, "cannot fork");
	if (pid == 0) {
		(void)close(to[1]);
		stay_on(argv[2]);
		answer(to[0], from[1]);
		return 0;
	}
	stay_on(argv[1]);
	ask(to[1], from[0], N_WARM_UP);
	begin_us = now_us();
	ask(to[1], from[0], N_ROUND_TRIPS);
	printf("%.2f\n", (now_us() - begin_us) / (2.0 * N_ROUND_TRIPS));
	return 0;
}
