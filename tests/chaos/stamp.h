/* SPDX-License-Identifier: MIT */
/*
 * What the chaos test's clients and providers write down about every connection, so that each can
 * be accounted for afterwards (tests/chaos/ledger.py reads it).
 *
 * A client has a number, and a loopback address of its own that says the number: so a provider
 * knows whose connection it holds before a byte of it was read, and no port is ever short.
 *
 * Both write into files that are mapped (MAP_SHARED): what was written stays when the process is
 * killed, and one store is one stamp, whole or not there.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* 127.1.0.0 and what follows: up to STAMP_MAX_CLIENT clients. */
#define STAMP_FIRST_ADDRESS 0x7f010000u
#define STAMP_MAX_CLIENT    0xfe0000u

/* What a client says first, and again for each further answer. */
struct stamp_request {
	uint32_t client;
	uint32_t n_answers_left; /* this one included; after the last the provider hangs up */
};

/* What it is told. */
struct stamp_answer {
	uint32_t client;
	uint32_t process; /* the provider's */
};

/* How it went for a client. */
enum stamp_outcome {
	STAMP_NOT_STARTED,
	STAMP_ANSWERED, /* all of it, then the end */
	STAMP_REFUSED,	/* ECONNREFUSED */
	STAMP_RESET,	/* ECONNRESET before the last answer */
	STAMP_CLOSED,	/* the end before the last answer */
	STAMP_SILENT,	/* no answer and no end in time */
	STAMP_WRONG,	/* somebody else's answer, or more than was asked for */
};

/* The clients' file has one for each, by number. */
struct stamp_result {
	uint32_t outcome;      /* enum stamp_outcome */
	uint32_t latency_usec; /* from connect(2) to the first answer */
	uint64_t ended_usec;   /* CLOCK_MONOTONIC */
};

/* What a provider does with a connection. */
enum stamp_event {
	STAMP_REGISTERS = 1, /* says HELLO; of no client */
	STAMP_CLAIMS,	     /* is about to claim it */
	STAMP_TAKES,	     /* libusher has given it to the program */
	STAMP_SERVES,	     /* is about to give the last answer */
	STAMP_MIXES_UP,	     /* the bytes on it were another client's */
};

/* The providers' file, of all processes together. */
struct stamp_log {
	_Atomic uint64_t n;	   /* may exceed what there is room for */
	_Atomic uint64_t stamps[]; /* client << 32 | process << 8 | event */
};

/*
 * Map a file that was made with its final size, for reading and writing. Returns its size in bytes,
 * or ends the program with a message.
 */
size_t stamp_map(const char *path, void **ret);

/* End the program with a message: errno of `error` (positive or negative) and what was tried. */
void stamp_fail(const char *what, int error) __attribute__((noreturn));
