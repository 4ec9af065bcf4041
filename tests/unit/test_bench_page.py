"""The report as a page and as pictures: well-formed, whole, and nothing fetched from anywhere."""

from __future__ import annotations

import re
import struct
import sys
import zlib
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner

from bench import report
from bench.__main__ import main
from bench.page import axes, charts, document, plots, png, style, svg
from bench.results import Machine, Plan, Result, Row, Run, dump, judge, load
from bench.scenarios import ALL, OURS, Scenario

MACHINE = Machine("2026-11-22 12:00 UTC", "a CPU <fast> & cold", 2, "6.1", "3.11", 0.53)
VOID = {"meta", "rect", "line", "circle", "path"}
PEERS = {OURS: 10.0, "nginx": 14.0, "haproxy": 15.0, "proxy.py": 1000.0, "limit": 9.5}


def row(scenario: Scenario, name: str, peer: str) -> Row:
    """Three turns, each a bit different."""
    base = PEERS[peer]
    found = Row(name, peer, name[len(peer) + 1 :], f"1.{len(peer)}-{peer}", [])
    for factor in (1.0, 1.13, 0.94)[: 1 if scenario.method == "idle" else 3]:
        cpu = base * factor
        if scenario.method == "idle":
            found.samples.append({"idle_bytes": cpu * 50, "pss_bytes": 3e7, "pss_before": 1e7})
            continue
        found.samples.append({
            "cpu_us": cpu, "user_us": cpu * 0.2, "system_us": cpu * 0.8, "rate": 3e5 / cpu,
            "p50_ms": cpu / 7, "p90_ms": cpu / 5, "p99_ms": cpu / 3, "p999_ms": cpu,
            "cpu_us_per_mib": cpu * 11, "mib_rate": 4e4 / cpu, "worker_us": cpu * 0.9,
            "handshakes": 1e5 / cpu,
        })  # fmt: skip
        found.once = {"pss_bytes": base * 2**20, "syscalls": base / 3}
    if scenario.method == "paced":
        found.curve = [(int(base * (20 + n)), 1 + 300_000 // (n + 1) ** 3) for n in range(3000)]
    return found


def sample() -> Run:
    """All scenarios; Envoy is missing, so a target is not measured; some are missed."""
    results = []
    for scenario in ALL:
        names = [(one, one) for one in PEERS if not scenario.peers or one in scenario.peers]
        names += [(f"{peer} {one.name}", peer) for one in scenario.variants for peer in one.peers]
        found = Result(scenario, [row(scenario, *one) for one in names], notes=["odd & <loud>"])
        found.verdicts = judge(found)
        results.append(found)
    return Run(MACHINE, Plan(), results, ["envoy is not installed: python -m bench install"])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """By way of its file."""
    file = tmp_path_factory.mktemp("run") / "result.json"
    file.write_bytes(dump(sample()))
    return load(file)


@pytest.fixture(scope="module")
def page(run: Run) -> str:
    return document.html(run)


class Reader(HTMLParser):
    """AssertionError where an element is closed that is not the last one open."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        self.ids += [value or "" for name, value in attrs if name == "id"]
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in VOID

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    reader.close()
    return reader


def drawings(page: str) -> list[ElementTree.Element]:
    return [ElementTree.fromstring(one) for one in re.findall(r"<svg.*?</svg>", page, re.DOTALL)]


# ---- the page -------------------------------------------------------------------------------


def test_the_page_is_well_formed_and_its_links_lead_somewhere(page: str) -> None:
    reader = read(page)
    assert reader.open == []
    assert len(set(reader.ids)) == len(reader.ids)
    assert {one.name for one in ALL} <= set(reader.ids)
    assert {one.removeprefix("#") for one in reader.links} <= set(reader.ids)


def test_nothing_is_fetched(page: str) -> None:
    assert not re.search(r"https?:|//\w|url\(|@import|<script|<link|<img|<iframe|\bsrc=", page)
    assert document.POLICY.startswith("default-src 'none'")
    assert document.POLICY in page


def test_it_is_no_larger_than_a_photo(page: str) -> None:
    """Curves of 3,000 points do not make it larger."""
    assert 50_000 < len(page.encode()) < 1_000_000
    assert max(len(one) for one in re.findall(r' d="([^"]*)"', page)) < 8_000


def test_every_figure_of_the_tables_is_there(run: Run, page: str) -> None:
    words = read(page).words
    for result in run.results:
        for one in result.rows:
            assert set(filter(None, report.cells(result, one))) <= set(words)
        for verdict in result.verdicts:
            assert verdict.text in words
            assert verdict.found is None or document.found_at(verdict) in words


def test_machine_versions_and_notes_are_told(run: Run, page: str) -> None:
    words = read(page).words
    assert {MACHINE.cpu, MACHINE.date, "2 CPUs", "Linux 6.1", "Python 3.11"} <= set(words)
    assert {"load 0.53 before", "5 turns of 5 s each", "odd & <loud>", *run.notes} <= set(words)
    assert {f"{name} {version}" for name, version in report.versions(run).items()} <= set(words)


def test_targets_are_counted_and_missed_ones_come_first(run: Run, page: str) -> None:
    every = [one.reached for result in run.results for one in result.verdicts]
    assert set(every) == {True, False, None}
    for state, name in document.STATES.items():
        kind = document.KINDS[state]
        assert f'<b class="{kind}">{every.count(state)}</b>targets {name}</div>' in page
    table = page[page.index('id="targets"') : page.index('id="peers"')]
    shown = re.findall(r"[✓✗?] (reached|missed|not measured)", table)
    assert shown == [document.STATES[one] for one in sorted(every, key=(False, None, True).index)]


def test_a_verdict_says_why_it_was_missed() -> None:
    """0.801 for at most 0.8 is not shown as 0.80."""
    missed = next(v for r in sample().results for v in r.verdicts if v.reached is False)
    missed.found = 0.801
    assert document.found_at(missed) == "0.801"


def test_both_modes_have_all_colours() -> None:
    assert style.LIGHT.keys() == style.DARK.keys()
    used = set(re.findall(r"var\(--([\w-]+)\)", style.CHARTS + style.PAGE))
    assert used == style.LIGHT.keys()
    assert "prefers-color-scheme:dark" in style.of_page()
    assert "var(" not in style.of_file()


# ---- its drawings ---------------------------------------------------------------------------


def test_drawings_are_xml_and_stay_within_their_frames(page: str) -> None:
    found = drawings(page)
    assert len(found) > 3 * len(ALL)
    for one in found:
        _, _, width, height = map(float, one.attrib["viewBox"].split())
        assert width == charts.WIDTH
        for mark in one.iter():
            xs = [
                float(mark.attrib[name]) for name in ("x", "x1", "x2", "cx") if name in mark.attrib
            ]
            ys = [
                float(mark.attrib[name]) for name in ("y", "y1", "y2", "cy") if name in mark.attrib
            ]
            xs += [x + float(mark.get("width", 0)) for x in xs if mark.tag == "rect"]
            assert all(0 <= x <= width for x in xs)
            assert all(0 <= y <= height for y in ys)
            assert "nan" not in "".join(mark.attrib.values())


def test_marks_tell_their_figures(run: Run, page: str) -> None:
    hints = unescape(" | ".join(re.findall(r"<title>(.*?)</title>", page)))
    for result in run.results:
        for one in result.rows[1:]:
            ratio = result.ratio(one.name)
            assert ratio is not None
            assert re.search(rf"{one.name} [^|]*; ratio {ratio:.2f}, ", hints)
        assert all(f"{one.name}: " in hints for one in result.rows)
    assert "small, CPU time per request, us: fastproxy 10.0 (9.4 to 11.3), nginx 14.0" in hints
    assert "; target 0.8" in hints
    assert "nginx: 99% within" in hints


def test_all_kinds_of_drawings_are_there(run: Run) -> None:
    """Names are those of files."""
    small, paced, idle, two = (
        next(one for one in run.results if one.scenario.name == name)
        for name in ("small", "latency", "idle", "two-workers")
    )
    names = {
        one.name for result in (small, paced, idle, two) for one in plots.scenario(run, result)
    }
    assert {"small-ratio", "small-cpu", "small-memory", "latency-curve"} <= names
    assert {"idle-ratio", "idle-idle_bytes", "idle-memory", "two-workers-rate"} <= names
    assert "small-curve" not in names
    assert "idle-cpu" not in names
    assert [one.name for one in plots.against(run)] == [f"against-{one}" for one in list(PEERS)[1:]]


@pytest.mark.parametrize(
    ("values", "more", "kind"),
    [
        ([0.7, 0.8, 0.9], False, "good"),
        ([0.7, 0.8, 1.1], False, "good-open"),
        ([1.2, 1.3], False, "bad"),
        ([0.9, 1.1, 1.2], False, "bad-open"),
        ([1.2, 1.3], True, "good"),
        ([0.7, 0.8], True, "bad"),
    ],
)
def test_colour_of_a_ratio(values: list[float], more: bool, kind: str) -> None:
    assert charts.Ratio("x", "", values, more).kind == kind


def test_a_bar_is_broken_only_where_it_would_flatten_the_others() -> None:
    assert charts.longest([10, 12, 15, 1000]) == 15
    assert charts.longest([0, 7, 8, 20]) == 20
    assert charts.longest([10, 12, 100, 5000]) == 12
    assert charts.longest([5]) == 5
    assert charts.longest([0, 0]) == 0
    rows = [charts.Bar("x", "", "", one, one, one, ours=one > 99) for one in (10.0, 12.0, 1000.0)]
    assert "break" not in charts.bars("", "", rows).render()
    assert "break" in charts.bars("", "", [replace(one, ours=False) for one in rows]).render()


def test_percentiles() -> None:
    counts = [(100, 90), (200, 9), (900, 1)]
    assert [charts.percentile(counts, one) for one in (50, 90, 99, 99.9)] == [100, 100, 200, 900]
    assert charts.nines(0.9) == pytest.approx(1)
    assert charts.nines(0.999) == pytest.approx(3)
    assert charts.nines(1) == charts.NINES_MAX


def test_axes() -> None:
    assert axes.Axis(0, 21, 0, 1).ticks() == [0, 5, 10, 15, 20]
    assert axes.Axis(0, 0.003, 0, 1).ticks() == [0, 0.0005, 0.001, 0.0015, 0.002, 0.0025, 0.003]
    assert axes.Axis(0.45, 1.6, 0, 1, log=True).ticks() == [0.5, 0.7, 1, 1.5]
    assert axes.Axis(0.01, 90, 0, 1, log=True).ticks() == [0.01, 0.1, 1, 10]
    log = axes.Axis(0.1, 10, 100, 200, log=True)
    assert [log.place(one) for one in (0.01, 0.1, 1, 10, 50)] == [100, 100, 150, 200, 200]
    assert [axes.short(one) for one in (0.5, 1000, 25_000, 2e6)] == ["0.5", "1000", "25k", "2M"]


def test_text_is_escaped_and_cut() -> None:
    drawing = svg.Drawing(10, 10, 'a "<&')
    with drawing.group("<b>"):
        drawing.text(0, 0, "<&", "x")
    (element,) = drawings(drawing.render())
    assert [one.text for one in element.iter() if one.text] == ["<b>", "<&"]
    assert svg.cut("fastproxy", 1000, 12) == "fastproxy"
    assert svg.cut("fastproxy", 30, 12) == "fas…"


def test_a_run_in_which_nothing_was_timed_is_a_page_too() -> None:
    scenario = ALL[0]
    rows = [Row(one, one, "", "1") for one in PEERS]
    found = document.html(Run(MACHINE, Plan(pairs=0), [Result(scenario, rows)]))
    assert read(found).open == []
    assert "right answers from fastproxy, nginx" in found
    assert drawings(found) == []
    assert read(document.html(Run(MACHINE, Plan(), []))).open == []


# ---- files ----------------------------------------------------------------------------------


def test_files_by_the_command(tmp_path: Path) -> None:
    """The PNGs are whole, as large as said, and not blank."""
    (tmp_path / "x.json").write_bytes(dump(sample()))
    arguments = ["--html", f"{tmp_path}/x.html", "--png", f"{tmp_path}/made/png"]
    done = CliRunner().invoke(main, ["report", f"{tmp_path}/x.json", *arguments])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "x.html").read_text() == document.html(sample())
    files = sorted((tmp_path / "made/png").iterdir())
    names = {"against-nginx", "small-cpu", "small-memory", "latency-curve", "idle-idle_bytes"}
    assert names <= {one.stem for one in files}
    for file in files:
        width, height, colours = picture(file.read_bytes())
        assert width == charts.WIDTH * png.SCALE
        assert 100 < height < 2000
        assert colours > 50


def picture(data: bytes) -> tuple[int, int, int]:
    """Width, height, and how many different values its bytes have; AssertionError if it is none."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    at, body, size = 8, b"", (0, 0)
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        kind, chunk = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        assert struct.unpack_from(">I", data, at + 8 + length)[0] == zlib.crc32(kind + chunk)
        if kind == b"IHDR":
            size = struct.unpack_from(">II", chunk)
        body += chunk if kind == b"IDAT" else b""
        at += 12 + length
    assert kind == b"IEND"
    return size[0], size[1], len(set(zlib.decompress(body)))


def test_without_cairosvg_the_way_out_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is measured, too."""
    monkeypatch.setitem(sys.modules, "cairosvg", None)
    (tmp_path / "x.json").write_bytes(dump(sample()))
    for command in (["report", f"{tmp_path}/x.json"], ["small", "--seconds", "600"]):
        done = CliRunner().invoke(main, [*command, "--png", f"{tmp_path}/png"])
        assert done.exit_code == 1
        assert "pip install cairosvg" in done.output
    assert not (tmp_path / "png").exists()
