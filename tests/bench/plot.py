# SPDX-License-Identifier: MIT
"""The plot of the results: a line for each server, with its bars in three columns, as SVG.

The picture has a background of its own, light or dark as the reader's browser prefers, so that it
can be read on any page. usher is in colour, and a line in each column shows where the server is
that accepts by itself.
"""

import xml.etree.ElementTree as ET

TITLE = "What a connection costs"
SUBTITLE = "relative to a server that accepts by itself = 1"
DESCRIPTION = f"{TITLE}, {SUBTITLE}"
STYLE = """
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.title { font-size: 18px; font-weight: 600 }
.head, .usher { font-weight: 600 }
.quiet { fill: #59636e }
.page { fill: #ffffff }
.bar { fill: #a3adb8 }
.bar.usher { fill: #0969da }
.value { stroke: #ffffff; stroke-width: 5px; paint-order: stroke }
.one { stroke: #59636e; stroke-dasharray: 3 3 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .quiet { fill: #9198a1 }
  .page { fill: #0d1117 }
  .bar { fill: #5b6570 }
  .bar.usher { fill: #4493f8 }
  .value { stroke: #0d1117 }
  .one { stroke: #9198a1 }
}
"""

# Of each column: what is above it, which is better, the load, and the number of a server.
COLUMNS = (
    ("Rate, a queued burst", "more is better", "drained", "rate_ratio"),
    ("Rate, 64 clients", "more is better", "busy", "rate_ratio"),
    ("Processor time, 64 clients", "less is better", "busy", "cpu_ratio"),
)

MARGIN = 24
NAMES_WIDTH = 180
COLUMN_WIDTH = 230
BAR_MAX = 160  # the longest; its value is behind it
BAR_HEIGHT = 16
LINE_HEIGHT = 26
HEAD_HEIGHT = 128  # all that is above the first line
BASELINE = 13  # of a line's text, below the top of its bar
WIDTH = MARGIN + NAMES_WIDTH + len(COLUMNS) * COLUMN_WIDTH


def _collect(rows):
    """The numbers of each server under each load: {load: {server: numbers}}."""
    loads = {}
    for row in rows:
        for name, numbers in row["details"].get("servers", {}).items():
            loads.setdefault(row["details"]["load"], {}).setdefault(name, numbers)
    return loads


def _order(loads):
    """The names of all servers, the fastest first."""
    rates = {}
    for servers in loads.values():
        for name, numbers in servers.items():
            rates[name] = max(rates.get(name, 0), numbers["rate_ratio"])
    return sorted(rates, key=rates.get, reverse=True)


def _add_text(parent, x, y, text, kind=""):
    element = ET.SubElement(parent, "text", {"x": f"{x:.0f}", "y": f"{y:.0f}"})
    if kind:
        element.set("class", kind)
    element.text = text


def _add_bar(parent, x, y, width, value, kind):
    ET.SubElement(parent, "rect", {
        "x": f"{x:.0f}", "y": f"{y:.0f}", "width": f"{max(width, 1):.1f}",
        "height": str(BAR_HEIGHT), "class": f"bar {kind}".strip()})
    text = f"{value:.2f}" if value < 10 else f"{value:.0f}"
    _add_text(parent, x + width + 6, y + BASELINE, text, f"value {kind}".strip())


def _line_top(number):
    return HEAD_HEIGHT + number * LINE_HEIGHT


def _kind(name):
    return "usher" if name == "usher" else ""


def _add_column(svg, x, head, better, names, values):
    """`values`: by the names of those servers that have one."""
    group = ET.SubElement(svg, "g")
    _add_text(group, x, HEAD_HEIGHT - 36, head, "head")
    _add_text(group, x, HEAD_HEIGHT - 18, better, "quiet")
    scale = BAR_MAX / max([1, *values.values()])
    one = f"{x + scale:.1f}"
    ET.SubElement(group, "line", {
        "x1": one, "x2": one, "y1": str(HEAD_HEIGHT - 8), "y2": str(_line_top(len(names))),
        "class": "one"})
    for number, name in enumerate(names):
        if name in values:
            _add_bar(group, x, _line_top(number), values[name] * scale, values[name], _kind(name))


def _make_page(height):
    svg = ET.Element("svg", {
        "xmlns": "http://www.w3.org/2000/svg", "viewBox": f"0 0 {WIDTH} {height}",
        "width": str(WIDTH), "height": str(height), "role": "img"})
    ET.SubElement(svg, "title").text = DESCRIPTION
    ET.SubElement(svg, "style").text = STYLE
    ET.SubElement(svg, "rect", {"width": "100%", "height": "100%", "rx": "8", "class": "page"})
    return svg


def draw(results):
    """The text of the SVG file."""
    loads = _collect(results["rows"])
    names = _order(loads)
    svg = _make_page(_line_top(len(names)) + MARGIN)
    _add_text(svg, MARGIN, MARGIN + 14, TITLE, "title")
    _add_text(svg, MARGIN, MARGIN + 34,
              f"{SUBTITLE}; usher {results['version']}, {results['date']}", "quiet")
    for number, name in enumerate(names):
        _add_text(svg, MARGIN, _line_top(number) + BASELINE, name, _kind(name))
    for number, (head, better, load, value) in enumerate(COLUMNS):
        values = {name: numbers[value] for name, numbers in loads.get(load, {}).items()}
        _add_column(svg, MARGIN + NAMES_WIDTH + number * COLUMN_WIDTH, head, better, names, values)
    ET.indent(svg)
    return ET.tostring(svg, encoding="unicode") + "\n"
