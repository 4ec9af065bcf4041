#!/usr/bin/env python3
"""What gcov counted, by source file: a table, and a page that shows the lines.

    ci/coverage_report.py TREE PAGE

TREE was built with FASTPROXY_COVERAGE=1 and its tests were run. A line counts as reached if any
of the extensions reached it (rooms are compiled into each). Written to PAGE: every file with its
lines, those never reached in red.
"""

from __future__ import annotations

import html
import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

KINDS = (".pxd", ".pxi", ".pyx", ".h")
# Windows of the tests, and what setup.py writes.
LEFT_OUT = ("probe.pxi", "_probe.pyx", "_layout.pxi")
Counts = dict[str, dict[int, int]]

STYLE = """
body { font: 14px sans-serif; margin: 2em }
table { border-collapse: collapse } td { padding: 0 1em 0 0 }
pre { font-size: 12px; line-height: 1.3 } .no { background: #fcc } .yes { background: #efe }
summary { cursor: pointer; font-family: monospace }
"""


def read_counts(tree: Path) -> Counts:
    """{file: {line: how often}} over all extensions. Cython's own lines are left out."""
    counts: Counts = defaultdict(lambda: defaultdict(int))
    notes = sorted(tree.glob("build/temp*/**/*.gcda"))
    if not notes:
        raise SystemExit(f"{tree}: nothing was counted")
    for note in notes:
        command = ["gcov", "--json-format", "--stdout", str(note)]
        run = subprocess.run(command, cwd=tree, capture_output=True, text=True, check=True)
        for document in run.stdout.splitlines():
            for one in json.loads(document)["files"]:
                name = one["file"].removeprefix(f"{tree}/")
                if not name.startswith("fastproxy/") or not name.endswith(KINDS):
                    continue
                if name.endswith(LEFT_OUT):
                    continue
                for line in one["lines"]:
                    counts[name][line["line_number"]] += line["count"]
    return counts


def keep_code(tree: Path, counts: Counts) -> Counts:
    """Without lines where no code of ours stands: Cython books its epilogues on `cdef` lines."""
    kept: Counts = {}
    for name, lines in sorted(counts.items()):
        source = (tree / name).read_text().splitlines()
        kept[name] = {
            number: count
            for number, count in lines.items()
            if number <= len(source)
            and not source[number - 1].lstrip().startswith(("cdef ", "def ", "cdef\t", "#", '"""'))
        }
    return {name: lines for name, lines in kept.items() if lines}


def table(counts: Counts) -> str:
    rows = []
    for name, lines in counts.items():
        rows.append((name, len(lines), sum(1 for count in lines.values() if count)))
    rows.append(("all", sum(row[1] for row in rows), sum(row[2] for row in rows)))
    return "\n".join(
        f"{name:44} {reached:6} of {lines:6} {100 * reached / lines:6.1f} %"
        for name, lines, reached in rows
    )


def page(tree: Path, counts: Counts) -> str:
    parts = [f"<!DOCTYPE html><title>Line coverage</title><style>{STYLE}</style>"]
    parts += [f"<h1>Line coverage</h1><pre>{html.escape(table(counts))}</pre>"]
    for name, lines in counts.items():
        missing = sum(1 for count in lines.values() if not count)
        parts.append(f"<details><summary>{name}: {missing} not reached</summary><pre>")
        for number, text in enumerate((tree / name).read_text().splitlines(), 1):
            kind = "" if number not in lines else "yes" if lines[number] else "no"
            shown = f"{number:5} {lines.get(number, ''):>10}  {html.escape(text)}"
            parts.append(f'<span class="{kind}">{shown}</span>\n' if kind else f"{shown}\n")
        parts.append("</pre></details>")
    return "".join(parts)


def main() -> None:
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    tree, target = Path(sys.argv[1]).resolve(), Path(sys.argv[2])
    counts = keep_code(tree, read_counts(tree))
    target.write_text(page(tree, counts))
    print(table(counts))
    print(f"lines: {target}")


if __name__ == "__main__":
    main()
