"""Files to one table: kinds, places, includes, and what is filled in."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastproxy.config import dump, places
from fastproxy.config.load import Document, from_data, load, path_text, path_where
from fastproxy.errors import ConfigError, Problem

TOML = """\
# a comment with [brackets] and = signs
workers = 2
listeners = [":80",
  ":81"] # two

[[routes]]
path = "/a"   # "quoted"
[routes.request_headers.set]
X-A = '''
[[routes]]
path = no
'''
[[routes]]
path = "/b"
host = ["x", "y"]
"request_timeout" = 3
[upstreams."my api"]
backends = [ # why
  { url = "http://a", weight = 1 },
  { weight = 2,
    url = "http://b" },
]
timeouts.connect = "1s"
[upstreams.b]
backends = []
"""
TOML = TOML.replace("{ weight = 2,\n    url", "{ weight = 2, url")


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def problems_of(path: Path, environ: dict[str, str] | None = None) -> list[Problem]:
    with pytest.raises(ConfigError) as caught:
        load(path, environ if environ is not None else {})
    return caught.value.problems


def test_lines_of_toml_keys() -> None:
    lines = {path_text(where): line for where, line in places.index("toml", TOML).items()}
    assert lines["workers"] == 2
    assert (lines["listeners[0]"], lines["listeners[1]"]) == (3, 4)
    assert (lines["routes[0]"], lines["routes[0].path"]) == (6, 7)
    assert lines["routes[0].request_headers.set.X-A"] == 9
    assert (lines["routes[1]"], lines["routes[1].path"], lines["routes[1].host[1]"]) == (13, 14, 15)
    assert lines["routes[1].request_timeout"] == 16
    assert lines['upstreams."my api".backends[0].weight'] == 19
    assert lines['upstreams."my api".backends[1].url'] == 20
    assert lines['upstreams."my api".timeouts.connect'] == 22
    assert lines["upstreams.b.backends"] == 24


def test_lines_of_json_and_yaml_keys() -> None:
    data = tomllib.loads(TOML)
    text = json.dumps(data, indent=2)
    lines = text.splitlines()
    for where, line in places.index("json", text).items():
        shown = lines[line - 1].strip()
        if isinstance(where[-1], str):
            assert shown.startswith(json.dumps(where[-1])), where
    yaml = places.index("yaml", "a: 1\nb:\n  - x\n  - y: 2\n    z: [1, 2]\n")
    assert yaml == {
        ("a",): 1, ("b",): 2, ("b", 0): 3, ("b", 1): 4, ("b", 1, "y"): 4, ("b", 1, "z"): 5,
        ("b", 1, "z", 0): 5, ("b", 1, "z", 1): 5,
    }  # fmt: skip


def leaves(value: object, where: tuple[str | int, ...] = ()) -> set[tuple[str | int, ...]]:
    found = {where} if where else set()
    if isinstance(value, dict):
        for key, item in value.items():
            found |= leaves(item, (*where, key))
    if isinstance(value, list):
        for at, item in enumerate(value):
            found |= leaves(item, (*where, at))
    return found


NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=6)
VALUES = st.recursive(
    st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.text(max_size=12)
    | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=15,
)


@given(st.dictionaries(NAMES, VALUES, max_size=5))
def test_toml_is_written_as_it_was_and_every_path_has_a_line(data: dict[str, object]) -> None:
    text = dump.toml(data)
    assert tomllib.loads(text) == data
    index = places.index("toml", text)
    assert leaves(data) <= set(index)
    assert set(places.index("json", json.dumps(data, indent=1))) == leaves(data)


@given(st.lists(NAMES.filter(bool) | st.integers(0, 99), min_size=1, max_size=5))
def test_paths_read_back(parts: list[str | int]) -> None:
    where = ("top", *parts)
    assert path_where(path_text(where)) == where


def test_three_kinds_hold_the_same(tmp_path: Path) -> None:
    data = tomllib.loads(TOML)
    write(tmp_path, "a.toml", TOML)
    write(tmp_path, "a.json", json.dumps(data))
    write(tmp_path, "a.yaml", json.dumps(data))  # YAML takes JSON
    assert load(tmp_path / "a.toml").data == data
    assert load(tmp_path / "a.json").data == data
    assert load(tmp_path / "a.yaml").data == data


def test_yaml_words_stay_text(tmp_path: Path) -> None:
    text = "access_log: off\nb: no\nc: 1:30\nd: 2026-01-01\ne: true\nf: 0o17\ng: 12\nh: 1.5\ni: ~\n"
    assert load(write(tmp_path, "a.yml", text)).data == {
        "access_log": "off", "b": "no", "c": "1:30", "d": "2026-01-01", "e": True, "f": "0o17",
        "g": 12, "h": 1.5, "i": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "text", "line", "said", "hint"),
    [
        ("a.toml", "a = 1\nb = \n", 2, "Invalid value", ""),
        ("a.toml", "a = 1\na = 2\n", 2, "overwrite", ""),
        ("a.toml", "workers: 2\n", 1, "TOML", 'key = "value"'),
        ("a.toml", "bind = 127.0.0.1:80\n", 1, "TOML", ""),
        ("a.toml", "bind = :80\n", 1, "TOML", "text stands in quotes"),
        ("a.toml", "x = [", 1, "TOML", ""),
        ("a.json", '{\n "a": 1,\n}', 3, "JSON", ""),
        ("a.json", '{"a": 1, "a": 2}', 0, "stands twice", ""),
        ("a.json", '"text"', 1, "must hold a table", ""),
        ("a.json", "[" * 100000, 0, "nested too deeply", ""),
        ("a.json", '{"a": "\\ud800"}', 0, "not Unicode", ""),
        ("a.json", '{"\\ud800": 1}', 0, "not Unicode", ""),
        ("a.json", '{"a": ' + "[" * 50 + "]" * 50 + "}", 0, "nested too deeply", ""),
        ("a.json", '{"a": ' + "9" * 5000 + "}", 0, "JSON", ""),
        ("a.yaml", "a: [1\nb: 2\n", 2, "YAML", ""),
        ("a.yaml", "a: 1\nb: 2\na: 3\n", 3, "stands twice", ""),
        ("a.yaml", "a: !!python/object:os.system x\n", 1, "YAML", ""),
        ("a.yaml", "a: &a [x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\n" + "".join(
            f"{c}: &{c} [{','.join('*' + p for _ in range(10))}]\n"
            for p, c in zip("bcdefgh", "cdefghi", strict=True)), 0, "too large", ""),
        ("a.yaml", "a: &a [*a]\n", 0, "nested too deeply", ""),
        ("a.toml", "a = 1\n\xff".encode("latin-1"), 2, "not UTF-8", ""),
        ("a.ini", "a=1", 0, "unknown kind of file '.ini'", "use .toml"),
    ],
)  # fmt: skip
def test_what_cannot_be_parsed(
    tmp_path: Path, name: str, text: str | bytes, line: int, said: str, hint: str
) -> None:
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    (problem,) = problems_of(path)
    assert said in problem.text
    assert hint in problem.hint
    assert problem.line == line
    assert problem.file == str(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    (problem,) = problems_of(tmp_path / "none.toml")
    assert str(problem).endswith("none.toml: cannot be read: No such file or directory")
    (problem,) = problems_of(tmp_path / "nul\0.toml")
    assert "cannot be read" in problem.text


def test_variables_are_filled_in(tmp_path: Path) -> None:
    write(tmp_path, "secret.txt", "s3cret\n")
    path = write(
        tmp_path,
        "a.toml",
        'a = "${env:A}"\nb = "x${env:NONE:-y:z}${env:EMPTY:-w}"\nc = "${file:secret.txt}"\n'
        'd = "$${env:A} ${host} $1"\ne = ["${env:A}"]\nf = "${env:EMPTY}"\n',
    )
    found = load(path, {"A": "1", "EMPTY": ""})
    assert found.data == {
        "a": "1", "b": "xy:zw", "c": "s3cret", "d": "${env:A} ${host} $1", "e": ["1"], "f": "",
    }  # fmt: skip
    assert found.raw["c"] == "${file:secret.txt}"
    assert found.is_text(("a",))
    assert not found.is_text(("d",))


def test_what_cannot_be_filled_in_is_all_told(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "a.toml",
        'a = "${env:NOPE}"\nb = "${env:NOPE:?ask ops}"\nc = "${env:1X}"\nd = "${file:nothing}"\n'
        'e = "${file:.}"\nf = "${env:BAD}"\n',
    )
    found = problems_of(path, {"BAD": "\udc80"})
    assert [(p.line, p.path) for p in found] == [(i + 1, c) for i, c in enumerate("abcdef")]
    texts = [p.text for p in found]
    assert texts[0] == "the environment variable NOPE is not set; ${env:NOPE:-default} helps"
    assert texts[1] == "the environment variable NOPE is needed: ask ops"
    assert "not understood" in texts[2]
    assert texts[3] == "${file:nothing} cannot be read: No such file or directory"
    assert texts[4] == "${file:.} cannot be read: Is a directory"
    assert "not UTF-8" in texts[5]


def test_what_was_filled_in_is_never_shown(tmp_path: Path) -> None:
    path = write(tmp_path, "a.toml", 'a = "pre ${env:KEY}"\nb = 1\n')
    document = load(path, {"KEY": "hunter2"})
    problem = document.problem(("a",), '"pre hunter2" is wrong', "not hunter2")
    assert problem.text == '"pre ${env:KEY}" is wrong'
    assert problem.hint == "not ${env:KEY}"
    assert "hunter2" not in dump.toml(document.raw)


def test_includes_are_merged_with_their_places(tmp_path: Path) -> None:
    main = write(
        tmp_path,
        "main.toml",
        'include = ["conf.d/*.toml", "more.yaml"]\nlisteners = [":80"]\n\n[[routes]]\npath = "/m"\n'
        "[upstreams.m]\nbackends = []\n",
    )
    write(tmp_path, "conf.d/b.toml", '[[routes]]\npath = "/b"\n')
    write(
        tmp_path,
        "conf.d/a.toml",
        '# first\nlisteners = [":81"]\n[[routes]]\npath = "/a1"\n[[routes]]\n\npath = "/a2"\n'
        "[upstreams.a]\nbackends = []\n",
    )
    write(tmp_path, "more.yaml", "upstreams:\n  y:\n    backends: []\n")
    document = load(main)
    assert [route["path"] for route in document.data["routes"]] == ["/m", "/a1", "/a2", "/b"]
    assert document.data["listeners"] == [":80", ":81"]
    assert list(document.data["upstreams"]) == ["m", "a", "y"]
    assert "include" not in document.data

    def place(*where: str | int) -> tuple[str, int]:
        file, line = document.place(where)
        return Path(file).name, line

    assert place("routes", 0, "path") == ("main.toml", 5)
    assert place("routes", 1, "path") == ("a.toml", 4)
    assert place("routes", 2, "path") == ("a.toml", 7)
    assert place("routes", 2, "nothing") == ("a.toml", 5)
    assert place("routes", 3, "path") == ("b.toml", 2)
    assert place("listeners", 1) == ("a.toml", 2)
    assert place("upstreams", "y", "backends") == ("more.yaml", 3)
    assert place("upstreams", "a") == ("a.toml", 8)


def test_conflicts_of_includes_name_both_places(tmp_path: Path) -> None:
    text = 'include = ["a.toml"]\n\nworkers = 1\n[limits]\nheader = 100\n'
    main = write(tmp_path, "m.toml", text)
    write(tmp_path, "a.toml", "\n\nworkers = 2\nlimits.header = 3\nlimits.headers = 4\n")
    found = problems_of(main)
    assert [(Path(p.file).name, p.line, p.path) for p in found] == [
        ("a.toml", 3, "workers"),
        ("a.toml", 4, "limits.header"),
    ]
    assert f"{main}:3" in found[0].text
    assert f"{main}:5" in found[1].text


@pytest.mark.parametrize(
    ("include", "said"),
    [
        ('"x.toml"', "expected a list of file patterns"),
        ("[1]", "expected a list of file patterns"),
        ('["none.toml"]', "there is no file 'none.toml'"),
        ('["nested.toml"]', "may not include others"),
        ('["broken.toml"]', "TOML"),
    ],
)
def test_includes_that_cannot_be(tmp_path: Path, include: str, said: str) -> None:
    write(tmp_path, "nested.toml", 'include = ["x.toml"]\n')
    write(tmp_path, "broken.toml", "a = \n")
    found = problems_of(write(tmp_path, "m.toml", f"\ninclude = {include}\n"))
    assert said in found[0].text
    assert found[0].line in (1, 2)


def test_a_pattern_may_match_nothing(tmp_path: Path) -> None:
    path = write(tmp_path, "m.toml", 'include = ["none.d/*.toml"]\nworkers = 1\n')
    assert load(path).data == {"workers": 1}


def test_a_document_of_flags_has_flags_for_places() -> None:
    document: Document = from_data({"workers": "x"})
    document.flags[("workers",)] = "--workers"
    assert str(document.problem(("workers",), "bad")) == "--workers: bad"
    assert document.place(("other",)) == ("", 0)
