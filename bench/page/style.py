# SPDX-License-Identifier: MIT
"""Colours and CSS. Charts name classes; a class names a colour; the mode says what that is."""

from __future__ import annotations

import re

LIGHT = {
    "page": "#f4f5f7", "card": "#ffffff", "text": "#1b2330", "muted": "#667085",
    "line": "#e4e7ec", "strong": "#98a2b3", "zone": "#e9f7ef", "row": "#2563eb12",
    "good": "#12824c", "bad": "#c8372d", "doubt": "#a15c07", "goal": "#e0a100",
    "ours": "#1d4ed8", "ours-soft": "#8fb4fb", "theirs": "#64748b", "theirs-soft": "#c3cbd7",
    "s0": "#1d4ed8", "s1": "#059669", "s2": "#d97706", "s3": "#7c3aed", "s4": "#db2777",
    "s5": "#0891b2", "s6": "#65a30d", "s7": "#92400e", "s8": "#dc2626", "s9": "#64748b",
}  # fmt: skip
DARK = {
    "page": "#0e1217", "card": "#171c24", "text": "#e6eaf0", "muted": "#94a0b3",
    "line": "#283040", "strong": "#5b677a", "zone": "#16291f", "row": "#7aa5ff1c",
    "good": "#41c98a", "bad": "#ff7b6e", "doubt": "#e9b04a", "goal": "#f2c14e",
    "ours": "#6b9dff", "ours-soft": "#2f56a8", "theirs": "#93a1b5", "theirs-soft": "#4a5669",
    "s0": "#6b9dff", "s1": "#34d399", "s2": "#fbb040", "s3": "#b794ff", "s4": "#f57fb9",
    "s5": "#38c8e8", "s6": "#a3d94b", "s7": "#d39a6a", "s8": "#ff7b6e", "s9": "#94a3b8",
}  # fmt: skip
SERIES = 10
"""Colours of curves: s0 (ours) to s9."""

CHARTS = """
.card{fill:var(--card)}
text{font-size:12px;fill:var(--text)}
.title{font-size:14px;font-weight:bold}
.own{font-weight:bold;fill:var(--ours)}
.small{font-size:10.5px;fill:var(--muted)}
.number{font-size:12px}
.number.good,.number.good-open{fill:var(--good)}
.number.bad,.number.bad-open{fill:var(--bad)}
line,path{fill:none}
.grid{stroke:var(--line);stroke-width:1}
.one{stroke:var(--strong);stroke-width:1.5}
.zone{fill:var(--zone)}
.goal{stroke:var(--goal);stroke-width:2}
.break{stroke:var(--card);stroke-width:3}
.whisker{stroke:var(--text);stroke-width:1.2;stroke-opacity:.65}
.good{stroke:var(--good);fill:var(--good);stroke-width:2}
.bad{stroke:var(--bad);fill:var(--bad);stroke-width:2}
.good-open{stroke:var(--good);fill:var(--card);stroke-width:2}
.bad-open{stroke:var(--bad);fill:var(--card);stroke-width:2}
text.good,text.bad,text.good-open,text.bad-open{stroke:none}
.ours{fill:var(--ours)}
.ours-soft{fill:var(--ours-soft)}
.theirs{fill:var(--theirs)}
.theirs-soft{fill:var(--theirs-soft)}
.curve{stroke-width:1.8;stroke-linejoin:round}
.curve.s0{stroke-width:3}
.hit{fill:transparent}
""" + "".join(
    f".curve.s{n},.key.s{n}{{stroke:var(--s{n})}}.dot.s{n}{{fill:var(--s{n})}}"
    for n in range(SERIES)
)
PAGE = """
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--text);line-height:1.5;
 font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",sans-serif}
main{max-width:1360px;margin:0 auto;padding:24px 16px 64px}
h1{font-size:28px;line-height:1.2;margin:8px 0 4px}
h2{font-size:20px;margin:44px 0 2px;scroll-margin-top:12px}
p{margin:4px 0;max-width:80ch}
.muted{color:var(--muted)}
a{color:var(--ours);text-decoration:none}
a:hover{text-decoration:underline}
.tiles,.charts,nav,.chips{display:flex;flex-wrap:wrap;gap:12px;margin:16px 0;align-items:flex-start}
.box,figure{background:var(--card);border:1px solid var(--line);border-radius:12px}
.tile{padding:12px 18px;min-width:120px}
.tile b{display:block;font-size:28px;line-height:1.1}
nav,.chips{gap:6px}
nav a,.chips span{background:var(--card);border:1px solid var(--line);border-radius:99px;
 padding:3px 11px;font-size:13px;white-space:nowrap}
figure{margin:0;flex:1 1 400px;max-width:660px;min-width:0;padding:4px}
figure svg{display:block;width:100%;height:auto}
svg .hit{pointer-events:all}
svg g:hover .hit{fill:var(--row)}
.table{overflow-x:auto;margin:12px 0}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums;font-size:14px}
th,td{padding:6px 12px;text-align:right;white-space:nowrap;border-top:1px solid var(--line)}
tr:first-child>th{border-top:0;color:var(--muted);font-weight:600;font-size:13px}
th:first-child,td:first-child,.words td,.words th{text-align:left}
.words td{white-space:normal}
.words td:first-child,.words td:last-child,.words td.figure{white-space:nowrap}
tr.ours td{font-weight:600}
tr.ours td:first-child{color:var(--ours)}
td.good,.state.good,b.good{color:var(--good)}
td.bad,.state.bad,b.bad{color:var(--bad)}
.state.doubt,b.doubt{color:var(--doubt)}
.state{font-weight:600;white-space:nowrap}
ul{margin:8px 0;padding-left:20px}
@media (max-width:600px){main{padding:12px 10px 40px}h1{font-size:24px}
 figure{flex-basis:100%}th,td{padding:5px 8px}.tile{flex:1;padding:10px 12px;min-width:90px}
 .words tr{display:flex;flex-wrap:wrap;border-top:1px solid var(--line);padding:6px 0}
 .words tr:first-child{display:none}.words td{border:0;padding:1px 10px}
 .words td:nth-child(1){flex:1}.words td:nth-child(2){order:1;flex:0 0 100%}}
@media print{body{background:#fff}figure,.box{break-inside:avoid}}
"""


def of_page() -> str:
    """Both modes, as the reader's system has it."""
    light, dark = (
        ":root{color-scheme:light dark;" + "".join(f"--{k}:{v};" for k, v in mode.items()) + "}"
        for mode in (LIGHT, DARK)
    )
    return f"{light}@media (prefers-color-scheme:dark){{{dark}}}{PAGE}{CHARTS}"


def of_file() -> str:
    """For a picture of its own: light, and without variables, which cairosvg does not know."""
    rules = re.sub(r"var\(--([\w-]+)\)", lambda found: LIGHT[found[1]], CHARTS)
    return "text{font-family:'DejaVu Sans',sans-serif}" + rules
