# SPDX-License-Identifier: MIT
"""What was found: as a table, in text and in Markdown, as a plot (plot.py), and as JSON.

The results are a dictionary, and results.json is that dictionary:

  version, date    text
  machine          words and numbers by name
  versions         of the programs that usher was compared with, by name
  direct           by load, what the direct server had, in words
  noise            by name, the range of the quotients of the reference (the direct server, or the
                   first usher where usher is compared with itself) and itself
  rows             a list of dictionaries:
    row            its short name, for the command line; title: in words
    figure         what is to be reached, in words; target, sense (">=", "<="): the same
    value          what was found; low, high: its range; None if nothing was found
    reached        True or False, None if nothing was found or nothing is to be reached, or if it
                   would be reached but connections failed or a program was missing (see the note)
    unit, note     text, may be empty
    details        anything; where servers are compared, for the plot, among it
                   {"load": "busy" or another, "servers": {name: {"rate_ratio": n, "cpu_ratio": n}}}
"""

import json

import plot

REACHED = {True: "yes", False: "NO", None: "-"}
COLUMNS = ("row", "figure", "found", "range", "reached")
INTRODUCTION = """\
Rates and processor times are quotients: to a server that accepts and answers by itself,
immediately before and after, unless a row says to what else. A value with a range is the median of
several, and the range is that of the half of them which is next to it; one without was found once.
What the server that accepts by itself is to itself, in the same way, is the noise; in the rows that
compare usher with usher, what the first one is to itself. Where connections failed, or a program
was missing, nothing is reached."""
HOW_TO = """\
To find them again, on a machine that does nothing else:

    meson setup build --buildtype=release && ninja -C build
    tests/bench/run -C build

HACKING.md, "Speed", says how it is measured."""


def format_number(number):
    """Three digits at least: 0.950, 12.3, 60,123."""
    if abs(number) >= 99.95:
        return f"{number:,.0f}"
    return f"{number:#.3g}" if number else "0"


def _cells(row):
    """The cells of a row that both tables have, as text."""
    found, bounds = "-", ""
    if row["value"] is not None:
        found = f"{format_number(row['value'])} {row['unit']}".strip()
        if row["low"] != row["high"]:
            bounds = f"{format_number(row['low'])} to {format_number(row['high'])}"
    return row["row"], row["figure"], found, bounds, REACHED[row["reached"]]


def print_table(results):
    """The rows in columns, each with its title, and its note below it."""
    table = [(*COLUMNS, "title"), *((*_cells(row), row["title"]) for row in results["rows"])]
    widths = [max(map(len, column)) for column in zip(*table)]
    notes = ["", *(row["note"] for row in results["rows"])]
    for cells, note in zip(table, notes):
        print("  ".join(cell.ljust(width) for cell, width in zip(cells, widths)).rstrip())
        if note:
            print(f"{'':{widths[0]}}  {note}")
    print()
    for title in ("direct", "noise", "versions", "machine"):
        facts = ", ".join(f"{name} {_fact(value)}" for name, value in results[title].items())
        print(f"{title}: {facts or '-'}")


def _fact(value):
    if isinstance(value, (list, tuple)):
        return " to ".join(map(_fact, value))
    return format_number(value) if isinstance(value, float) else str(value)


def _markdown_table(heads, rows):
    for cells in (heads, ["---"] * len(heads), *rows):
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _markdown(results):
    """The lines of the whole page."""
    facts = {"usher": results["version"], "date": results["date"], **results["machine"],
             **results["versions"],
             **{f"direct server: {name}": text for name, text in results["direct"].items()},
             **{f"noise: {name}": bounds for name, bounds in results["noise"].items()}}
    rows = [(row["title"], *_cells(row), row["note"]) for row in results["rows"]]
    yield f"# What a connection costs with usher {results['version']}\n"
    yield f"![{plot.DESCRIPTION}](plot.svg)\n"
    yield f"{INTRODUCTION}\n"
    yield from _markdown_table(("work", *COLUMNS, "note"), rows)
    yield ""
    yield from _markdown_table(("", ""), [(name, _fact(value)) for name, value in facts.items()])
    yield f"\n{HOW_TO}"


def write(results, folder):
    """Write results.json, table.md and plot.svg into the folder, which is made if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    (folder / "table.md").write_text("\n".join(_markdown(results)) + "\n")
    (folder / "plot.svg").write_text(plot.draw(results))
