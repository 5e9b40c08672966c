"""The figures as bars: one panel a scenario, an SVG written by hand. It brings its own ground, light or dark as the
reader's screen is, so that it can be read on both."""

from html import escape

from report import median_of

WIDTH, MARGIN, GAP = 470, 20, 26
LABEL, VALUE, ROW, TITLE = 150, 70, 19, 44
COLUMNS = 2
PEERS = ("direct", "nginx", "haproxy", "envoy", "pingora", "fastapi")

STYLE = """
text { font: 12px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif }
.title { font-weight: 600; font-size: 13px } .head { font-weight: 600; font-size: 15px }
.ground { fill: #ffffff } .text { fill: #24292f } .faint { fill: #57606a }
.bar { fill: #9aa4ae } .ours { fill: #0969da }
@media (prefers-color-scheme: dark) {
.ground { fill: #0d1117 } .text { fill: #e6edf3 } .faint { fill: #9198a1 }
.bar { fill: #59636e } .ours { fill: #4493f8 }
}"""


def bars(section):
    """(name, value) of everybody who has one."""
    values = [(name, median_of(section.rounds, name, section.plotted.key)) for name in section.names]
    return [(name, value) for name, value in values if value]


def panel(section, left, top):
    """One scenario; gives its elements."""
    column, values = section.plotted, bars(section)
    most = max(value for _, value in values)
    merit = "more is better" if column.better else "less is better"
    parts = [
        text(left, top + 14, section.what, "title text"),
        text(left, top + 31, f"{column.heading}; {merit}", "faint"),
    ]
    room = WIDTH - LABEL - VALUE
    for number, (name, value) in enumerate(values):
        y = top + TITLE + number * ROW
        kind = "bar" if name.startswith(PEERS) else "ours"
        length = max(1.0, room * value / most)
        parts.append(text(left + LABEL - 8, y + 12, name, "text", "end"))
        parts.append(
            f'<rect class="{kind}" x="{left + LABEL}" y="{y + 2}" width="{length:.1f}" height="{ROW - 6}" rx="2"/>'
        )
        parts.append(text(left + LABEL + length + 6, y + 12, f"{value:,.{column.digits}f}", "text"))
    return parts


def text(x, y, words, kind, anchor="start"):
    return f'<text class="{kind}" x="{x:.1f}" y="{y}" text-anchor="{anchor}">{escape(words)}</text>'


def height_of(section):
    return TITLE + len(bars(section)) * ROW + GAP


def plot(heading, below, sections):
    """The whole picture. Each panel goes where there is most room."""
    sections = [section for section in sections if bars(section)]
    heights = [MARGIN + 52] * COLUMNS
    parts = []
    for section in sections:
        column = heights.index(min(heights))
        parts += panel(section, MARGIN + column * (WIDTH + GAP), heights[column])
        heights[column] += height_of(section)
    width, height = 2 * MARGIN + COLUMNS * WIDTH + (COLUMNS - 1) * GAP, max(heights) + MARGIN - GAP
    head = [text(MARGIN, MARGIN + 14, heading, "head text"), text(MARGIN, MARGIN + 33, below, "faint")]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}"',
            f'viewBox="0 0 {width} {height}">',
            f"<style>{STYLE}\n</style>",
            f'<rect class="ground" width="{width}" height="{height}"/>',
            *head,
            *parts,
            "</svg>\n",
        ]
    )
