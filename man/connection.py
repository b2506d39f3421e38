#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The picture of README.md: the way of one connection, from left to right and from top to bottom, as SVG.

    man/connection.py >man/connection.svg

Whoever takes part has a column; what happens is a row, in the order of time.
"""

import xml.etree.ElementTree as ET

TITLE = "The way of one connection"
DESCRIPTION = ("A client connects and waits in the kernel's backlog; usherd accepts the connection, decides whether it may "
               "come in and who gets it, and hands the socket over; the provider claims it, usherd closes its copy, and "
               "the bytes go between client and provider directly; release says that it is over.")
COLUMNS = (
    ("client", "anywhere"),
    ("kernel", "the backlog of a port"),
    ("usherd", "reads and writes no byte"),
    ("provider", "a running process"),
)
CLIENT, KERNEL, USHERD, PROVIDER = range(4)

# An arrow from one column to another with words above it, or words in a column.
ROWS = (
    ("arrow", CLIENT, KERNEL, "connect"),
    ("words", KERNEL, "waits, as long as", "nobody has credit"),
    ("arrow", KERNEL, USHERD, "accept"),
    ("words", USHERD, "admission: may it come in?", "dispatch: who gets it?"),
    ("arrow", USHERD, PROVIDER, "hand-off (SCM_RIGHTS)"),
    ("arrow", PROVIDER, USHERD, "claim: I have it"),
    ("words", USHERD, "closes its copy,", "and is out of the way"),
    ("bytes", CLIENT, PROVIDER, "bytes, directly"),
    ("arrow", PROVIDER, USHERD, "release: it is over"),
)

COLUMN_WIDTH = 230
EDGE = 110  # from the border to the middle of the outer columns
TOP = 100  # where the first row begins
ROW_HEIGHT = 46
LINE_HEIGHT = 18
BOX_WIDTH, BOX_HEIGHT = 190, 58
GAP = 7  # between the tip of an arrow and the line of its column
STYLE = """
text { font: 14px system-ui, sans-serif; fill: #1f2328; text-anchor: middle }
.name { font-weight: 600; font-size: 16px }
.quiet { fill: #59636e; font-size: 13px }
.page { fill: #ffffff }
.box { fill: #f6f8fa; stroke: #a3adb8 }
.life { stroke: #a3adb8; stroke-dasharray: 3 4 }
.arrow { stroke: #0969da; stroke-width: 2 }
.tip { fill: #0969da }
.bytes { stroke-width: 5 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .quiet { fill: #9198a1 }
  .page { fill: #0d1117 }
  .box { fill: #161b22; stroke: #5b6570 }
  .life { stroke: #5b6570 }
  .arrow { stroke: #4493f8 }
  .tip { fill: #4493f8 }
}
"""


def middle(column):
    return EDGE + column * COLUMN_WIDTH


def add(parent, tag, text=None, **attributes):
    element = ET.SubElement(parent, tag, {name.rstrip("_"): str(value) for name, value in attributes.items()})
    element.text = text
    return element


def add_text(svg, x, y, text, kind=None):
    add(svg, "text", text, x=x, y=y, **({"class_": kind} if kind else {}))


def add_column(svg, column, bottom):
    name, what = COLUMNS[column]
    x = middle(column)
    add(svg, "line", x1=x, x2=x, y1=16 + BOX_HEIGHT, y2=bottom, class_="life")
    add(svg, "rect", x=x - BOX_WIDTH // 2, y=16, width=BOX_WIDTH, height=BOX_HEIGHT, rx=8, class_="box")
    add_text(svg, x, 40, name, "name")
    add_text(svg, x, 60, what, "quiet")


def add_tip(svg, x, y, towards):
    add(svg, "path", d=f"M{x} {y} l{-12 * towards} -6 v12 z", class_="tip")


def add_arrow(svg, y, start, end, words, is_both_ways=False):
    towards = 1 if end > start else -1
    x1, x2 = middle(start) + GAP * towards, middle(end) - GAP * towards
    room = 10 * towards  # the line ends below the tip
    add(svg, "line", x1=x1 + room * is_both_ways, x2=x2 - room, y1=y, y2=y,
        class_="arrow bytes" if is_both_ways else "arrow")
    add_tip(svg, x2, y, towards)
    if is_both_ways:
        add_tip(svg, x1, y, -towards)
    add_text(svg, (x1 + x2) // 2, y - 9, words)


def add_words(svg, y, column, *lines):
    """On a ground of its own: the line of the column goes on behind it."""
    height = LINE_HEIGHT * len(lines) + 10
    top = y - height // 2 - 6
    add(svg, "rect", x=middle(column) - BOX_WIDTH // 2, y=top, width=BOX_WIDTH, height=height, rx=6, class_="page")
    for number, line in enumerate(lines):
        add_text(svg, middle(column), top + LINE_HEIGHT * (number + 1), line, "quiet")


def draw():
    width, height = 2 * EDGE + (len(COLUMNS) - 1) * COLUMN_WIDTH, TOP + len(ROWS) * ROW_HEIGHT + 24
    svg = ET.Element("svg", {
        "xmlns": "http://www.w3.org/2000/svg", "viewBox": f"0 0 {width} {height}", "width": str(width),
        "height": str(height), "role": "img"})
    add(svg, "title", TITLE)
    add(svg, "desc", DESCRIPTION)
    add(svg, "style", STYLE)
    add(svg, "rect", width="100%", height="100%", rx=8, class_="page")
    for column in range(len(COLUMNS)):
        add_column(svg, column, height - 16)
    for number, (kind, *row) in enumerate(ROWS):
        y = TOP + number * ROW_HEIGHT + ROW_HEIGHT // 2
        if kind == "words":
            add_words(svg, y, *row)
        else:
            add_arrow(svg, y, *row, is_both_ways=kind == "bytes")
    ET.indent(svg)
    return ET.tostring(svg, encoding="unicode")


if __name__ == "__main__":
    print(draw())
