"""Every command, configuration and link of README.md and docs/ is true: blocks.py, sandbox.py."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from fastproxy import __version__
from fastproxy.cli import cli
from tests.docs.blocks import Block, blocks
from tests.docs.sandbox import DocError, Sandbox

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
OTHERS = [path for path in sorted(ROOT.glob("*.md")) if path not in PAGES]
LINK = re.compile(r"(?<!!)\[[^\]]+\]\(([^)\s]+)\)")
CODE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
names = pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)


@names
@pytest.mark.timeout(400)  # the benchmark's commands run for a turn each
def test_commands_and_configurations(page: Path, tmp_path: Path) -> None:
    with Sandbox(tmp_path / "box") as box:
        box.page(blocks(page))


@pytest.mark.parametrize("page", [*PAGES, *OTHERS], ids=lambda path: path.name)
def test_links(page: Path) -> None:
    """Files that are pointed to exist, and so do their sections."""
    for target in LINK.findall(page.read_text()):
        if re.match(r"https?:|mailto:", target):
            continue
        file, _, section = target.partition("#")
        path = (page.parent / file).resolve() if file else page
        assert path.exists(), f"{page.name}: {target}"
        if section:
            assert section in sections(path), f"{page.name}: {target}"


def sections(path: Path) -> set[str]:
    """Anchors of a page, as GitHub makes them."""
    heads = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@names
def test_commands_in_the_text(page: Path) -> None:
    """`fastproxy run --flag` in a sentence names a command and flags that exist."""
    context = click.Context(cli)
    for code in CODE.findall(page.read_text()):
        if not code.startswith("fastproxy ") or code.startswith("fastproxy:"):
            continue
        words = shlex.split(code.replace("...", ""))[1:]
        flags = [one.split("=")[0] for one in words if re.match(r"--?[a-zA-Z]", one)]
        name = next((one for one in words if not one.startswith("-")), "")
        command: click.Command | None = cli
        if name and words[0] == name:
            command = cli.get_command(context, name)
        assert command, f"{page.name}: `{code}`: no such command"
        # Of `params`, not `get_params`: that one makes a help option and the command keeps it.
        known = {one for option in command.params for one in option.opts}
        assert set(flags) <= known | {"-h", "--help"}, f"{page.name}: `{code}`: {flags}"


def test_make_targets_in_the_text() -> None:
    targets = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        for name in re.findall(r"`make ([a-z-]+)`", page.read_text()):
            assert name in targets, f"{page.name}: make {name}"


def test_the_set_up_makes_the_program(tmp_path: Path) -> None:
    """`.venv/bin/fastproxy`, which the README starts, is this tree's, from any directory."""
    (tmp_path / "python").symlink_to(sys.executable)
    subprocess.run(["ci/install-deps", "program", str(tmp_path / "python")], cwd=ROOT, check=True)
    text = (tmp_path / "fastproxy").read_text()
    assert str(ROOT) in text
    done = subprocess.run(
        [sys.executable, str(tmp_path / "fastproxy"), "--version"],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == f"fastproxy {__version__}\n"


# ---- the runner notices ---------------------------------------------------------------------


def wrong(text: str, language: str = "sh") -> list[Block]:
    return [Block("page.md", 1, language, text)]


@pytest.mark.parametrize(
    ("page", "what"),
    [
        (wrong("false"), "exit code 1, expected 0"),
        (wrong("true  # exit code 3"), "exit code 0, expected 3"),
        (wrong("fastproxy run --listn :8080"), "ended with 2"),
        (wrong("[timeouts]\nkeepalife = 1", "toml"), 'did you mean "keepalive"'),
        (wrong('[[routes]]\npath = "/a"\nupstream = "a"\n' * 2, "toml"), "warning"),
        ([*wrong("echo one"), *wrong("two", "output")], "the page shows"),
        (wrong("curl http://127.0.0.1:8080/", "console"), "not run, but could be"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_wrong_is_noticed(page: list[Block], what: str, tmp_path: Path) -> None:
    with Sandbox(tmp_path / "box") as box, pytest.raises(DocError, match=what):
        box.page(page)


def test_an_unknown_language_is_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```bash\ntrue\n```\n")
    with pytest.raises(ValueError, match=r"page.md:1: a block in bash"):
        blocks(page)
    page.write_text("```sh\ntrue\n")
    with pytest.raises(ValueError, match="no end"):
        blocks(page)
