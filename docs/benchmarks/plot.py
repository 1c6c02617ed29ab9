#!/usr/bin/env python3
"""Draws the pictures of benchmarks.md from results/*.json, as `crates/bench/compare scale` and `compare load` write them.

  plot.py [RESULTS_DIR [OUTPUT_DIR]]
"""
import json
import math
import sys
from html import escape
from pathlib import Path

HERE = Path(__file__).resolve().parent
WIDTH, HEIGHT = 760, 440
LEFT, RIGHT, TOP, BOTTOM = 66, 20, 74, 56

# By name, so that a system keeps its colour in every picture: on light, on dark.
COLOURS = {
    "ours": ("#c2410c", "#fb923c"),
    "GatewayWorker": ("#6d28d9", "#a78bfa"),
    "uWebSockets": ("#0369a1", "#38bdf8"),
    "raw epoll": ("#57606a", "#9aa4af"),
}
SPARE = [("#15803d", "#4ade80"), ("#a16207", "#facc15"), ("#be185d", "#f472b6")]


class Axis:
    """Values to places; logarithmic with ticks at 1, 2 and 5, or linear from 0."""

    def __init__(self, values, start, end, log):
        self.start, self.end, self.log = start, end, log
        low, high = min(values), max(values)
        if log:
            self.low, self.high = math.log10(low) - 0.04, math.log10(high) + 0.04
        else:
            self.low, self.high = 0.0, high * 1.08

    def place(self, value):
        at = math.log10(value) if self.log else value
        return self.start + (at - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self):
        if self.log:
            decades = range(math.floor(self.low), math.ceil(self.high) + 1)
            steps = (1, 2, 5) if self.high - self.low < 3 else (1,)
            every = [step * 10.0**decade for decade in decades for step in steps]
            return [value for value in every if self.low <= math.log10(value) <= self.high]
        rough = self.high / 5
        unit = 10.0 ** math.floor(math.log10(rough))
        step = next(step * unit for step in (1, 2, 5, 10) if step * unit >= rough)
        return [step * count for count in range(int(self.high / step) + 1)]


def number(value):
    if value >= 1_000_000:
        return f"{value / 1e6:g} M"
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:g}"


def dash(dashed):
    return ' class="dash"' if dashed else ""


def style(names):
    spare = iter(SPARE)
    pairs = [COLOURS.get(name) or next(spare, SPARE[-1]) for name in names]
    light = "".join(f".s{i}{{--c:{pair[0]}}}" for i, pair in enumerate(pairs))
    dark = "".join(f".s{i}{{--c:{pair[1]}}}" for i, pair in enumerate(pairs))
    return (
        "<style>"
        ":root{--ink:#1f2328;--faint:#59636e;--grid:#d8dee4;--back:#fff}"
        f"{light}"
        "@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--faint:#9198a1;--grid:#30363d;--back:#0d1117}"
        f"{dark}}}"
        "text{font:13px system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif;fill:var(--faint)}"
        ".title{font-size:16px;font-weight:600;fill:var(--ink)}.name{fill:var(--ink)}"
        ".back{fill:var(--back)}.grid{stroke:var(--grid)}"
        "path{fill:none;stroke:var(--c);stroke-width:2;stroke-linejoin:round}.dash{stroke-dasharray:6 4}"
        "circle{fill:var(--c);stroke:var(--c);stroke-width:1.5}.open{fill:var(--back)}"
        "</style>"
    )


def picture(title, note, x_label, y_label, series, x_log, y_log, styles=()):
    """`series`: (name, dashed, [(x, y, open)]). `styles`: what solid and dashed lines mean."""
    points = [point for _, _, line in series for point in line]
    x = Axis([point[0] for point in points], LEFT, WIDTH - RIGHT, x_log)
    y = Axis([point[1] for point in points], HEIGHT - BOTTOM, TOP, y_log)
    names = list(dict.fromkeys(name for name, _, _ in series))
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        f"<title>{escape(title)}</title>", style(names),
        f'<rect class="back" width="{WIDTH}" height="{HEIGHT}" rx="6"/>',
        f'<text class="title" x="{LEFT}" y="26">{escape(title)}</text>',
    ]
    for value in y.ticks():
        at = y.place(value)
        out.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
        out.append(f'<text x="{LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">{number(value)}</text>')
    for value in x.ticks():
        at = x.place(value)
        out.append(f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="{HEIGHT - BOTTOM}" y2="{HEIGHT - BOTTOM + 5}"/>')
        out.append(f'<text x="{at:.1f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{number(value)}</text>')
    middle = (TOP + HEIGHT - BOTTOM) / 2
    out.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 12}" text-anchor="middle">{escape(x_label)}</text>')
    out.append(f'<text transform="translate(16 {middle}) rotate(-90)" text-anchor="middle">{escape(y_label)}</text>')
    for name, dashed, line in series:
        places = [(x.place(a), y.place(b), hollow) for a, b, hollow in line]
        way = "L".join(f"{a:.1f} {b:.1f}" for a, b, _ in places)
        out.append(f'<g class="s{names.index(name)}"><path{dash(dashed)} d="M{way}"/>')
        for a, b, hollow in places:
            kind = ' class="open"' if hollow else ""
            out.append(f'<circle{kind} cx="{a:.1f}" cy="{b:.1f}" r="3"/>')
        out.append("</g>")
    at = LEFT
    for index, name in enumerate(names):
        out.append(f'<g class="s{index}"><path d="M{at} 46h18"/></g><text class="name" x="{at + 24}" y="50">{escape(name)}</text>')
        at += 44 + 8 * len(name)
    for text, dashed in styles:
        colour = 'style="--c:var(--faint)"'
        out.append(f'<g {colour}><path{dash(dashed)} d="M{at} 46h26"/></g><text x="{at + 32}" y="50">{escape(text)}</text>')
        at += 48 + 8 * len(text)
    if note:
        out.append(f'<text x="{WIDTH - RIGHT}" y="26" text-anchor="end">{escape(note)}</text>')
    return "\n".join(out + ["</svg>"]) + "\n"


def scale(found):
    series = [
        (name, False, [(point["clients"], point["cpu_per_delivery"], False) for point in line])
        for name, line in found["systems"].items()
    ]
    return picture("Cost of a delivery against the number of clients", found["case"], "clients",
                   "µs of CPU per delivery", series, x_log=True, y_log=False)


def load(found):
    """A hollow point: the load generator had a whole core to do, so it may be what took the time."""
    series = [
        (name, dashed, [(point["rate"], point[key] / 1000, point.get("generator_cpu", 0) >= 95) for point in line])
        for name, line in found["systems"].items()
        for key, dashed in (("latency_p50", False), ("latency_p99", True))
    ]
    return picture("Latency against offered load", found["case"] + "; hollow: the generator was at its limit",
                   "echoes offered a second, to each system up to its highest rate", "ms from due to back", series,
                   x_log=True, y_log=True, styles=[("p50", False), ("p99", True)])


def main():
    results = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "results"
    output = Path(sys.argv[2]) if len(sys.argv) > 2 else HERE
    for name, draw in (("scale", scale), ("load", load)):
        file = results / f"{name}.json"
        if file.exists():
            (output / f"{name}.svg").write_text(draw(json.loads(file.read_text())))
            print(output / f"{name}.svg")


if __name__ == "__main__":
    main()
