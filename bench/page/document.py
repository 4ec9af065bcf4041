# SPDX-License-Identifier: MIT
"""The page. Whatever is text in a run is escaped on its way here."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from bench import report
from bench.measures import BY_NAME
from bench.page import plots, style
from bench.results import Result, Row, Run, Verdict

KINDS = {True: "good", False: "bad", None: "doubt"}
STATES = {True: "reached", False: "missed", None: "not measured"}
POLICY = "default-src 'none'; style-src 'unsafe-inline'"
"""The browser itself keeps the promise that nothing is fetched."""
READING = """CPU is the time that all processes of a proxy take for one request, in microseconds
(for large bodies, for one MiB): user, in its own code, and system, in the kernel. Ratios are ours
to theirs, turn by turn, so that noise hits both alike: a dot is the median, the line goes from the
least to the largest turn, and an open dot says that some turn said otherwise. Point at a mark for
its figures."""


def html(run: Run) -> str:
    """All of it, one file."""
    ours = escape(run.results[0].rows[0].peer) if run.results else "fastproxy"
    parts = [
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
        '<meta name="viewport" content="width=device-width,initial-scale=1">',
        f"<title>{ours}: benchmark of {escape(run.machine.date)}</title>",
        f"<style>{style.of_page()}</style></head><body><main>",
        *head(run, ours),
        *targets(run),
        *overview(run),
    ]
    for result in run.results:
        parts += section(run, result)
    parts.append("</main></body></html>")
    return "\n".join(parts) + "\n"


def head(run: Run, ours: str) -> Iterator[str]:
    """What, where, when; and where to go."""
    machine, plan = run.machine, run.plan
    others = ", ".join(escape(one) for one in plots.peers(run)) or "nobody else"
    yield f'<p class="muted">{escape(machine.date)}</p><h1>{ours}, measured</h1>'
    yield f'<p class="muted">Beside {others}: on one machine, in turn, in one run.</p>'
    every = [one.reached for result in run.results for one in result.verdicts]
    tiles = [
        f'<div class="box tile"><b class="{KINDS[state]}">{every.count(state)}</b>targets '
        f"{STATES[state]}</div>"
        for state in KINDS
        if state in every
    ]
    if tiles:
        yield f'<div class="tiles">{"".join(tiles)}</div>'
    facts = [
        machine.cpu, f"{machine.cpus} CPUs", f"Linux {machine.kernel}", f"Python {machine.python}",
        f"load {machine.load_average:.2f} before", f"{plan.pairs} turns of {plan.seconds:g} s each",
    ]  # fmt: skip
    facts += [f"{name} {version}" for name, version in report.versions(run).items()]
    yield '<div class="chips">' + "".join(f"<span>{escape(one)}</span>" for one in facts) + "</div>"
    yield f'<p class="muted">{READING}</p>'
    yield remarks(run.notes)
    names = [escape(one.scenario.name) for one in run.results]
    yield "<nav>" + "".join(f'<a href="#{name}">{name}</a>' for name in names) + "</nav>"


def remarks(lines: list[str]) -> str:
    found = "".join(f"<li>{escape(one)}</li>" for one in lines)
    return f'<ul class="muted">{found}</ul>' if found else ""


def state(one: Verdict) -> str:
    mark = {True: "✓", False: "✗", None: "?"}[one.reached]
    return f'<span class="state {KINDS[one.reached]}">{mark} {STATES[one.reached]}</span>'


def found_at(one: Verdict) -> str:
    """With digits enough to tell 0.801 from 0.8."""
    return "" if one.found is None else f"{one.found:,.4g}"


def targets(run: Run) -> Iterator[str]:
    """All of them in one table: missed ones first."""
    every = [(one, result.scenario.name) for result in run.results for one in result.verdicts]
    if not every:
        return
    yield '<h2 id="targets">Targets</h2><div class="box table"><table class="words">'
    yield "<tr><th>scenario</th><th>what must be</th><th>found</th><th></th></tr>"
    for one, name in sorted(every, key=lambda pair: (False, None, True).index(pair[0].reached)):
        link = f'<a href="#{escape(name)}">{escape(name)}</a>'
        cells = f'<td>{link}</td><td>{escape(one.text)}</td><td class="figure">{found_at(one)}</td>'
        yield f"<tr>{cells}<td>{state(one)}</td></tr>"
    yield "</table></div>"


def overview(run: Run) -> Iterator[str]:
    found = plots.against(run)
    if found:
        yield '<h2 id="peers">Against each peer</h2>'
        yield '<p class="muted">Every scenario as a ratio; of what, its own section says.</p>'
        yield figures(found)


def figures(found: list[plots.Plot]) -> str:
    inner = "".join(f"<figure>{one.drawing.render()}</figure>" for one in found)
    return f'<div class="charts">{inner}</div>' if found else ""


def section(run: Run, result: Result) -> Iterator[str]:
    """One scenario."""
    name = escape(result.scenario.name)
    yield f'<section id="{name}"><h2>{name}</h2>'
    yield f'<p class="muted">{escape(result.scenario.text)}</p>'
    if any(row.samples for row in result.rows):
        yield figures(list(plots.scenario(run, result)))
        yield from table(result)
    else:
        names = ", ".join(escape(row.name) for row in result.rows)
        yield f"<p>right answers from {names}; nothing was timed</p>"
    for one in result.verdicts:
        found = f" ({found_at(one)})" if found_at(one) else ""
        yield f"<p>{state(one)} {escape(one.text)}{found}</p>"
    yield remarks(result.notes)
    yield "</section>"


def table(result: Result) -> Iterator[str]:
    """The same as in the terminal."""
    yield '<div class="box table"><table><tr>'
    columns = ["proxy", *report.columns(result)]
    for name, title in zip(columns, report.heads(result), strict=True):
        hint = f' title="{escape(BY_NAME[name].text)}"' if name in BY_NAME else ""
        yield f"<th{hint}>{escape(title)}</th>"
    yield "</tr>"
    for row in result.rows:
        yield f"<tr{' class=ours' if row is result.rows[0] else ''}>"
        for name, cell in zip(columns, report.cells(result, row), strict=True):
            yield f"<td{shade(result, row) if name == 'ratio' else ''}>{escape(cell)}</td>"
        yield "</tr>"
    yield "</table></div>"


def shade(result: Result, row: Row) -> str:
    """The class of a ratio."""
    ratio = result.ratio(row.name)
    if row is result.rows[0] or ratio is None:
        return ""
    more = BY_NAME[result.scenario.figure].more_is_better
    return f' class="{KINDS[ratio >= 1 if more else ratio <= 1]}"'
