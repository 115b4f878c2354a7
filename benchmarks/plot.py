"""A chart of measured speeds: a row for each file of results, prefill left and decode right.

    python benchmarks/plot.py 135m.json 1b.json docs/images/speed.svg

Takes what `decoder.py --json` and `compare.py --json` write. Needs matplotlib: the dependency group
"bench".
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from executorch_webgpu.report import Report, Timings

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Of colours that colour-blind readers tell apart (Okabe and Ito).
_COLOURS = ("#0072B2", "#56B4E9", "#E69F00", "#009E73", "#CC79A7", "#D55E00")

_PANELS = {"prefill": "tokens in the prompt", "decode": "position in the context"}

# Width of all bars of one length, of the distance between two lengths.
_WIDTH = 0.8


def read_results(data: Mapping[str, Any]) -> list[Report]:
    """Reports of a file with one report or with several."""
    return [Report.from_json(report) for report in data.get("reports", [data])]


def by_label(reports: Sequence[Report], name: str) -> dict[str, dict[int, Timings]]:
    """Measurements called `name` by the report's label and by length, shortest first."""
    found = {
        report.label: {t.tokens: t for t in report.timings if t.name == name} for report in reports
    }
    return {label: dict(sorted(row.items())) for label, row in found.items() if row}


def short(rate: float) -> str:
    """A number that fits over a bar: 41.2k for 41,234."""
    return f"{rate / 1000:.3g}k" if rate >= 1000 else f"{rate:.3g}"


def draw(axes: Axes, rows: Mapping[str, Mapping[int, Timings]], colours: Mapping[str, str]) -> None:
    """Bars of median tokens per second, with whiskers from the slowest to the fastest call."""
    lengths = sorted({tokens for row in rows.values() for tokens in row})
    width = _WIDTH / max(len(rows), 1)
    for i, (label, row) in enumerate(rows.items()):
        places = [lengths.index(n) + (i + 0.5) * width - _WIDTH / 2 for n in row]
        rates = [t.rate for t in row.values()]
        below = [t.rate - t.spread[0] for t in row.values()]
        above = [t.spread[1] - t.rate for t in row.values()]
        style: dict[str, Any] = {"color": colours[label], "label": label}
        whiskers: dict[str, Any] = {"elinewidth": 0.8, "capsize": 2, "ecolor": "#444444"}
        axes.bar(places, rates, width * 0.92, yerr=[below, above], error_kw=whiskers, **style)
        over: dict[str, Any] = {"xytext": (0, 3), "textcoords": "offset points", "ha": "center"}
        over["fontsize"] = min(8, 26 / len(rows))  # a bar's width
        for place, timings in zip(places, row.values(), strict=True):
            axes.annotate(short(timings.rate), (place, timings.spread[1]), **over)
    axes.set_xticks(range(len(lengths)), [f"{n:,}" for n in lengths])
    axes.yaxis.set_major_formatter(lambda rate, _: f"{rate:,.0f}")
    axes.set_ylabel("tokens per second")
    axes.spines[["top", "right"]].set_visible(False)


def plot(results: Mapping[str, Sequence[Report]], path: Path) -> None:
    """Write the chart of the results, by title."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    # The same results give the same file.
    matplotlib.rcParams |= {"svg.hashsalt": "0", "svg.fonttype": "none", "font.size": 8}
    labels = dict.fromkeys(report.label for reports in results.values() for report in reports)
    colours = {label: _COLOURS[i % len(_COLOURS)] for i, label in enumerate(labels)}
    size = (9, 2.9 * len(results))
    figure, grid = plt.subplots(len(results), 2, figsize=size, squeeze=False, layout="constrained")
    for row, (title, reports) in zip(grid, results.items(), strict=True):
        for axes, (name, axis) in zip(row, _PANELS.items(), strict=True):
            draw(axes, by_label(reports, name), colours)
            axes.set_title(f"{title}: {name}")
            axes.set_xlabel(axis)
    handles = [plt.Rectangle((0, 0), 1, 1, color=colour) for colour in colours.values()]
    columns = min(3, len(colours))
    figure.legend(handles, colours, loc="outside lower center", ncols=columns, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None, "Creator": None})
    plt.close(figure)


def main(
    files: Annotated[list[Path], typer.Argument(help="Results, then the .svg to write.")],
    title: Annotated[
        list[str] | None, typer.Option(help="Of each file's row, in order; else its name.")
    ] = None,
) -> None:
    """Draw results as an SVG."""
    *sources, output = files
    if not sources or output.suffix != ".svg":
        raise typer.BadParameter("give files of results, then the .svg to write")
    titles = [*(title or []), *(source.stem for source in sources[len(title or []) :])]
    results = {
        name: read_results(json.loads(source.read_text()))
        for name, source in zip(titles, sources, strict=True)
    }
    plot(results, output)


if __name__ == "__main__":
    typer.run(main)
