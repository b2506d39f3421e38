/* SPDX-License-Identifier: MIT */
/*
 * Rules as a program for packets: see packetfilter.h.
 *
 * Jumps only go forwards, and conditional ones at most 255 instructions far. So the program is made
 * from its end to its beginning: where a jump goes to is known when it is made, and what has become
 * too far is made once more nearby. A place is the number of an instruction counted from the end,
 * beginning with 1.
 *
 * An address is looked at as words of 32 bits, from the first to the last. What is to be said about
 * one word is a list of segments: from this value on it is that verdict, or it depends on the words
 * that follow.
 */
#include "packetfilter.h"

#include <errno.h>
#include <linux/if_ether.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#define MAX_WORDS 4

/* How far a jump may go, and two more that may have to be made before it. */
#define FAR 253

/* So many values are asked for one after the other, before the segments are split. */
#define MAX_IN_A_ROW 8

/* Where the source address is in the header of its protocol: RFC 791, 3.1; RFC 8200, 3. */
#define IPV4_SOURCE 12
#define IPV6_SOURCE 8

/* Places that are verdicts, wherever they are. */
enum { KEPT_OUT = PACKETFILTER_MAX + 1, LET_IN };

struct span {
	uint32_t words[MAX_WORDS];
	uint32_t verdict;
};

struct segment {
	uint32_t first; /* until the next one's */
	uint32_t verdict;
	size_t low, high; /* the spans that decide, if high > 0 */
};

struct maker {
	struct sock_filter code[PACKETFILTER_MAX]; /* the last instruction first */
	uint32_t n;				   /* may be more than there is room for */
	uint32_t near[2];			   /* the nearest of both verdicts; 0: none */
	const struct span *spans;
	uint32_t n_words, source; /* of this family: how many words, and where they begin */
	bool is_out_of_memory;
};

/* Put an instruction before all others. Returns its place. */
static uint32_t put(struct maker *m, struct sock_filter instruction)
{
	if (m->n < PACKETFILTER_MAX)
		m->code[m->n] = instruction;
	return ++m->n;
}

/* A place that can be jumped to from here, and does what `place` does. */
static uint32_t near(struct maker *m, uint32_t place)
{
	uint32_t *verdict;

	if (place != KEPT_OUT && place != LET_IN)
		return m->n - place <= FAR ? place
					   : put(m, (struct sock_filter)BPF_STMT(
							    BPF_JMP | BPF_JA, m->n - place));
	verdict = &m->near[place == LET_IN];
	if (*verdict == 0 || m->n - *verdict > FAR)
		*verdict = put(m, (struct sock_filter)BPF_STMT(
					  BPF_RET | BPF_K, place == LET_IN ? UINT32_MAX : 0));
	return *verdict;
}

/* "If the word is equal to `value` (or at least that): `then`, else `other`." Returns its place. */
static uint32_t put_jump(
	struct maker *m, uint16_t condition, uint32_t value, uint32_t then, uint32_t other)
{
	then = near(m, then);
	other = near(m, other);
	return put(m, (struct sock_filter)BPF_JUMP(BPF_JMP | condition | BPF_K, value,
			      (uint8_t)(m->n - then), (uint8_t)(m->n - other)));
}

static uint32_t put_load(struct maker *m, uint32_t offset)
{
	return put(m, (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offset));
}

static uint32_t put_spans(struct maker *m, size_t low, size_t high, uint32_t word);

/* What is to be done about one segment of a word. */
static uint32_t put_leaf(struct maker *m, const struct segment *segment, uint32_t word)
{
	return segment->high > 0 ? put_spans(m, segment->low, segment->high, word + 1)
				 : segment->verdict;
}

/* Is it one value only? `end`: nothing comes after it. */
static bool is_single(const struct segment *segment, const struct segment *end)
{
	if (segment + 1 == end)
		return segment->first == UINT32_MAX;
	return segment[1].first == segment->first + 1;
}

/*
 * Are these a few values in one verdict for all others? Returns how many, with the verdict, or more
 * than MAX_IN_A_ROW.
 */
static size_t count_singles(
	const struct segment *segments, size_t n, const struct segment *end, uint32_t *ret_verdict)
{
	uint32_t verdict = 0;
	size_t n_singles = 0;

	for (size_t i = 0; i < n; i++) {
		bool is_plain = segments[i].high == 0 && !is_single(&segments[i], end);

		if (!is_plain) {
			n_singles++;
			if (!is_single(&segments[i], end))
				return MAX_IN_A_ROW + 1;
		} else if (verdict != 0 && verdict != segments[i].verdict) {
			return MAX_IN_A_ROW + 1;
		} else {
			verdict = segments[i].verdict;
		}
	}
	*ret_verdict = verdict;
	return verdict != 0 ? n_singles : MAX_IN_A_ROW + 1;
}

static uint32_t put_row(struct maker *m, const struct segment *segments, size_t n,
	const struct segment *end, uint32_t verdict, uint32_t word)
{
	uint32_t place = verdict;

	for (size_t i = n; i-- > 0;)
		if (is_single(&segments[i], end))
			place = put_jump(m, BPF_JEQ, segments[i].first,
				put_leaf(m, &segments[i], word), place);
	return place;
}

/* The word is loaded. `end` is that of all segments of this word. */
static uint32_t put_segments(struct maker *m, const struct segment *segments, size_t n,
	const struct segment *end, uint32_t word)
{
	uint32_t verdict, right, left;

	if (n == 1)
		return put_leaf(m, segments, word);
	if (count_singles(segments, n, end, &verdict) <= MAX_IN_A_ROW)
		return put_row(m, segments, n, end, verdict, word);
	right = put_segments(m, segments + n / 2, n - n / 2, end, word);
	left = put_segments(m, segments, n / 2, end, word);
	return put_jump(m, BPF_JGE, segments[n / 2].first, right, left);
}

struct segments {
	struct segment *items;
	size_t n;
};

/* One that begins where the last one does takes its place. */
static void add_segment(struct segments *segments, struct segment segment)
{
	if (segments->n > 0 && segments->items[segments->n - 1].first == segment.first)
		segments->n--;
	segments->items[segments->n++] = segment;
}

/* Does the span begin with the first of all addresses that have these words up to `word`? */
static bool begins_cleanly(const struct maker *m, size_t i, uint32_t word)
{
	for (uint32_t k = word + 1; k < m->n_words; k++)
		if (m->spans[i].words[k] != 0)
			return false;
	return true;
}

/*
 * The spans from `low` to before `high` as segments of a word: the first of them reaches into what
 * the words before it leave, the others begin in there.
 */
static void find_segments(
	const struct maker *m, size_t low, size_t high, uint32_t word, struct segments *ret)
{
	const struct span *spans = m->spans;

	add_segment(ret, (struct segment){.verdict = spans[low].verdict});
	for (size_t i = low + 1, next; i < high; i = next) {
		uint32_t value = spans[i].words[word];
		bool is_clean = begins_cleanly(m, i, word);

		for (next = i + 1; next < high && spans[next].words[word] == value;)
			next++;
		if (is_clean && next == i + 1) {
			add_segment(ret, (struct segment){value, spans[i].verdict, 0, 0});
			continue;
		}
		add_segment(ret, (struct segment){value, 0, is_clean ? i : i - 1, next});
		if (value < UINT32_MAX)
			add_segment(
				ret, (struct segment){value + 1, spans[next - 1].verdict, 0, 0});
	}
}

/* Decide by this word, and those that follow. Returns the place where it is loaded, or a verdict.
 */
static uint32_t put_spans(struct maker *m, size_t low, size_t high, uint32_t word)
{
	struct segments segments = {0};
	uint32_t place;

	if (high - low == 1)
		return m->spans[low].verdict;
	segments.items = calloc(2 * (high - low) + 1, sizeof(*segments.items));
	if (!segments.items) {
		m->is_out_of_memory = true;
		return KEPT_OUT;
	}
	find_segments(m, low, high, word, &segments);
	place = put_segments(m, segments.items, segments.n, segments.items + segments.n, word);
	free(segments.items);
	if (place == KEPT_OUT || place == LET_IN)
		return place;
	if (place != m->n)
		(void)put(m, (struct sock_filter)BPF_STMT(BPF_JMP | BPF_JA, m->n - place));
	return put_load(m, SKF_NET_OFF + m->source + 4 * word);
}

static uint32_t verdict_of(const struct config_rule *rule, bool has_only_from)
{
	if (!rule)
		return has_only_from ? KEPT_OUT : LET_IN;
	return rule->is_allowed ? LET_IN : KEPT_OUT;
}

/* Neighbours of one verdict become one. Returns how many there are. */
static size_t find_spans(
	const struct rules_span *from, size_t n_from, bool has_only_from, struct span *ret)
{
	size_t n = 0;

	for (size_t i = 0; i < n_from; i++) {
		uint32_t verdict = verdict_of(from[i].rule, has_only_from);

		if (n > 0 && ret[n - 1].verdict == verdict)
			continue;
		memcpy(ret[n].words, from[i].first, sizeof(ret[n].words));
		for (size_t k = 0; k < MAX_WORDS; k++)
			ret[n].words[k] = ntohl(ret[n].words[k]);
		ret[n++].verdict = verdict;
	}
	return n;
}

/* Decide about the addresses of a family. Returns the place, or a verdict. */
static uint32_t put_family(struct maker *m, const struct rules_span *from, size_t n_from,
	bool has_only_from, uint32_t n_words, uint32_t source)
{
	struct span *spans = calloc(n_from, sizeof(*spans));
	uint32_t place = KEPT_OUT;

	if (spans) {
		m->spans = spans;
		m->n_words = n_words;
		m->source = source;
		place = put_spans(m, 0, find_spans(from, n_from, has_only_from, spans), 0);
	} else {
		m->is_out_of_memory = true;
	}
	free(spans);
	return place;
}

static void put_all(struct maker *m, const struct rules *rules, bool has_only_from)
{
	uint32_t v6 = put_family(m, rules->v6, rules->n_v6, has_only_from, 4, IPV6_SOURCE);
	uint32_t v4 = put_family(m, rules->v4, rules->n_v4, has_only_from, 1, IPV4_SOURCE);
	uint32_t other = verdict_of(NULL, has_only_from);

	other = put_jump(m, BPF_JEQ, ETH_P_IPV6, v6, other);
	(void)put_jump(m, BPF_JEQ, ETH_P_IP, v4, other);
	(void)put_load(m, (uint32_t)(SKF_AD_OFF + SKF_AD_PROTOCOL));
}

int packetfilter_make(
	const struct rules *rules, bool has_only_from, struct sock_filter *program, size_t *ret_n)
{
	struct maker *m = rules->v4 ? calloc(1, sizeof(*m)) : NULL;
	int r = -ENOMEM;

	if (!m)
		return r;
	put_all(m, rules, has_only_from);
	if (!m->is_out_of_memory)
		r = m->n > PACKETFILTER_MAX ? -E2BIG : 0;
	for (size_t i = 0; i < m->n && r == 0; i++)
		program[i] = m->code[m->n - 1 - i];
	if (r == 0)
		*ret_n = m->n;
	free(m);
	return r;
}
