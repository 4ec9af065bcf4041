"""A directory in which the commands of one page are run as a reader would run them.

What is changed, and nothing else: ports of the page (80xx and 8443: ours, 90xx and 9443: backends)
become free ones, the same all over the page; `/run/`, `/var/log/` and `/etc/fastproxy/` are
directories of the sandbox; `fastproxy` and `python3` are those of this tree; `make TARGET` runs the
Makefile of this tree with the set-up taken as done, and its demo listens on the page's 8080;
`python -m bench` runs one short turn.

A command that stays in the foreground (`fastproxy run`, `fastproxy demo`, `make demo`) is waited
for until it serves and then left running, as in a terminal of its own; the next such command, or
the end of the page, stops it with Ctrl-C, and it must exit with 0. What ends in `&` runs beside.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import tomllib
from functools import partial
from pathlib import Path
from typing import Self

from fastproxy.process import client
from tests.docs.blocks import ALLOWED, Block
from tests.running import wait_until

ROOT = Path(__file__).resolve().parent.parent.parent
SECONDS = 60.0
PORT = re.compile(
    r"(?<![\w.])(?:80\d\d|90\d\d|8443|9443)(?![\w.])|(?<=:)(?:80\d\d|90\d\d|8443|9443)(?!\d)"
)
SERVED = re.compile(r"http\.server (\d+)")
FOREGROUND = re.compile(r"^(?:make demo|fastproxy demo|fastproxy run)\b(?!.*--help)")
EXIT_CODE = re.compile(r"#.*\bexit code (\d+)\s*$")
SHIM = '#!/bin/sh\nPYTHONPATH="{root}${{PYTHONPATH:+:$PYTHONPATH}}" exec "{python}" {module} "$@"\n'


class DocError(AssertionError):
    """The page is wrong; the text begins with its place."""


class Sandbox:
    """See above."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.work = directory / "work"
        self.ports: dict[str, str] = {}
        self.exports: list[str] = []
        self.beside: list[subprocess.Popen[bytes]] = []
        self.server: subprocess.Popen[bytes] | None = None
        self.printed = ""
        for name in ("work", "bin", "run", "log", "etc"):
            (directory / name).mkdir(parents=True)
        self._program("fastproxy", "-m fastproxy")
        self._program("python3", "")
        self._program("python", "")
        self.control = str(directory / "run" / "control.sock")
        self.env = {
            "PATH": f"{directory / 'bin'}:{os.environ['PATH']}",
            "HOME": str(directory),
            "USER": os.environ.get("USER", ""),
            "LANG": "C.UTF-8",
            "FASTPROXY_CONTROL_SOCKET": self.control,
        }

    def _program(self, name: str, module: str) -> None:
        path = self.directory / "bin" / name
        path.write_text(SHIM.format(root=ROOT, python=sys.executable, module=module))
        path.chmod(0o755)

    # -- text -----------------------------------------------------------------------------------

    def text(self, text: str) -> str:
        """With the sandbox's ports and directories."""
        text = PORT.sub(lambda match: self.port(match[0]), text)
        for name, ours in (("/run/", "run"), ("/var/log/", "log"), ("/etc/fastproxy/", "etc")):
            text = re.sub(rf"(?<![\w.]){name}", f"{self.directory / ours}/", text)
        return text

    def port(self, number: str) -> str:
        """The free port that stands for this one."""
        if number not in self.ports:
            with socket.socket() as one:
                one.bind(("127.0.0.1", 0))
                self.ports[number] = str(one.getsockname()[1])
        return self.ports[number]

    # -- blocks ---------------------------------------------------------------------------------

    def page(self, blocks: list[Block]) -> None:
        """Run a whole page. DocError."""
        self.backends(blocks)
        for block in blocks:
            self.block(block)
        self.stop_server()

    def backends(self, blocks: list[Block]) -> None:
        """Somebody answers on each 90xx that the page does not serve itself."""
        text = "\n".join(one.text for one in blocks if one.language in ("sh", "toml", "yaml"))
        wanted = {one for one in PORT.findall(text) if one.startswith("90")}
        wanted -= set(SERVED.findall(text))
        if not wanted:
            return
        command = [sys.executable, "-m", "tests.docs.backends"]
        process = subprocess.Popen(
            [*command, *(self.port(one) for one in sorted(wanted))],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        self.beside.append(process)
        assert process.stdout
        if process.stdout.readline() != b"ready\n":
            raise DocError("the backends did not start")

    def block(self, block: Block) -> None:
        if block.name:
            path = self.work / block.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(self.text(block.text) + "\n")
        if block.language == "sh":
            self.printed = ""
            for command in block.commands():
                self.command(block, command)
        elif block.language == "output":
            self.output(block)
        elif block.language == "toml":
            self.toml(block)
        elif block.language == "console":
            for command in block.commands():
                if not command.startswith(ALLOWED):
                    raise DocError(f"{block.place}: not run, but could be: {command}")
        elif block.language in ("python", "yaml", "json") and not block.name:
            raise DocError(f"{block.place}: the first line must be `# name.{block.language}`")

    # -- commands -------------------------------------------------------------------------------

    def command(self, block: Block, written: str) -> None:
        command = self.adapted(self.text(written))
        if command.startswith("export "):
            self.exports.append(command)
        elif FOREGROUND.match(written):
            self.serve(block, command)
        elif command.rstrip().endswith("&"):
            self.aside(block, command.rstrip().removesuffix("&"))
        else:
            self.run(block, command)

    def adapted(self, command: str) -> str:
        """`make` and the benchmark, as the docstring says."""
        if command.startswith("make "):
            venv = Path(sys.prefix)
            done = " ".join(
                f"-o {one}" for one in (venv / ".tools", venv / ".tests", "build/.built")
            )
            make = f"make --no-print-directory -C {ROOT} VENV={venv} {done}"
            if command == "make demo":
                command += f' ARGS="--listen 127.0.0.1:{self.port("8080")}"'
            return f"{make} {command.removeprefix('make ')}"
        if command.startswith("python -m bench report "):
            pages = re.findall(r"--(?:html|markdown|png) ", command)
            into = "".join(f" {one}{self.work}/page{n}" for n, one in enumerate(pages))
            return f"cd {ROOT} && python3 -m bench report {self.work}/bench.json{into}"
        if command.startswith("python -m bench."):
            return f"cd {ROOT} && {command}"
        if re.match(r"python3? -m bench\b(?! install)", command) and "--list" not in command:
            short = "small --pairs 1 --seconds 1 --peer nginx"
            return f"cd {ROOT} && python3 -m bench {short}" + (
                f" --json {self.work}/bench.json" if "--json" in command else ""
            )
        return command

    def shell(self, command: str) -> list[str]:
        return ["bash", "-e", "-o", "pipefail", "-c", "\n".join([*self.exports, command])]

    def run(self, block: Block, command: str) -> None:
        expected = EXIT_CODE.search(command)
        try:
            done = subprocess.run(
                self.shell(command),
                cwd=self.work,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT if expected else subprocess.PIPE,
                timeout=SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise DocError(f"{block.place}: still runs after {SECONDS:g} s: {command}") from None
        code = int(expected[1]) if expected else 0
        if done.returncode != code:
            said = (done.stdout + (done.stderr or b"")).decode(errors="replace")
            log = (self.directory / "server.log").read_text() if self.server else ""
            found = f"exit code {done.returncode}, expected {code}"
            raise DocError(f"{block.place}: {found}: {command}\n{said}{log}")
        self.printed += done.stdout.decode(errors="replace")

    def aside(self, block: Block, command: str) -> None:
        """Beside us; if it names one of our ports, wait until somebody listens there."""
        with (self.directory / "beside.log").open("ab") as log:
            process = subprocess.Popen(
                self.shell(f"exec {command}"), cwd=self.work, env=self.env, start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        self.beside.append(process)
        for port in (one for one in self.ports.values() if one in command):
            wait_until(partial(self._open, block, process, int(port)), SECONDS, 0.05)

    def _open(self, block: Block, process: subprocess.Popen[bytes], port: int) -> bool:
        if process.poll() is not None:
            raise DocError(f"{block.place}: it ended at once: {process.args!r}")
        with socket.socket() as one:
            return one.connect_ex(("127.0.0.1", port)) == 0

    # -- the proxy ------------------------------------------------------------------------------

    def serve(self, block: Block, command: str) -> None:
        """Start it in a terminal of its own; until every worker serves."""
        self.stop_server()
        with (self.directory / "server.log").open("wb") as log:
            self.server = subprocess.Popen(
                self.shell(f"exec {command}"),
                cwd=self.work, env=self.env, start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        wait_until(lambda: self._serving(block, command), SECONDS, 0.05)

    def _serving(self, block: Block, command: str) -> bool:
        assert self.server
        if self.server.poll() is not None:
            said = (self.directory / "server.log").read_text()
            raise DocError(f"{block.place}: ended with {self.server.returncode}: {command}\n{said}")
        try:
            workers = client.status(self.control)["workers"]
        except (client.NotRunningError, client.ControlError):
            return False
        return all(one["state"] == "serving" for one in workers)

    def stop_server(self) -> None:
        """Ctrl-C in its terminal, unless the page has stopped it itself."""
        process, self.server = self.server, None
        if process is None:
            return
        try:
            pid = client.find_instance(self.control).pid
            os.kill(pid, signal.SIGINT)
        except (client.NotRunningError, ProcessLookupError):
            pass
        code = process.wait(SECONDS)
        if code != 0:
            said = (self.directory / "server.log").read_text()
            raise DocError(f"stopped with exit code {code}\n{said}")

    # -- promises -------------------------------------------------------------------------------

    def output(self, block: Block) -> None:
        """What was printed is what the page shows."""
        wanted = self.text(block.text).strip()
        pattern = ".*".join(re.escape(part) for part in wanted.split("..."))
        if not re.fullmatch(pattern, self.printed.replace("\r", "").strip(), re.DOTALL):
            raise DocError(f"{block.place}: the page shows\n{wanted}\nit printed\n{self.printed}")

    def toml(self, block: Block) -> None:
        """Sound, without a warning."""
        path = self.directory / "check.toml"
        if block.name:
            path = (self.work / block.name).with_suffix(".check.toml")
        path.write_text(completed(self.text(block.text)))
        done = subprocess.run(
            self.shell(f"fastproxy check -c {path}"),
            cwd=self.work, env=self.env, capture_output=True, text=True, timeout=SECONDS,
            check=False,
        )  # fmt: skip
        if done.returncode != 0 or done.stderr:
            raise DocError(f"{block.place}: {done.stdout}{done.stderr}")

    # -- life -----------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        processes = [*self.beside, *([self.server] if self.server else [])]
        for number in (signal.SIGTERM, signal.SIGKILL):
            for process in processes:
                try:
                    os.killpg(process.pid, number)
                except ProcessLookupError:
                    pass
            end = time.monotonic() + 5
            while time.monotonic() < end and any(one.poll() is None for one in processes):
                time.sleep(0.02)
        for process in processes:
            process.wait()
            if process.stdout:
                process.stdout.close()
        shutil.rmtree(self.directory, ignore_errors=True)


def completed(text: str) -> str:
    """A part of a configuration with what it lacks to be a whole one: a listener, a route, the
    upstreams that it names."""
    data = tomllib.loads(text)
    parts = [text]
    if not data.get("listeners"):
        parts.append('[[listeners]]\nbind = "127.0.0.1:0"')
    routes = data.get("routes", [])
    wanted = {one["upstream"] for one in routes if "upstream" in one}
    wanted |= {part["upstream"] for one in routes for part in one.get("split", [])}
    if not routes and "include" not in data:
        wanted |= set(data.get("upstreams", {})) or {"app"}
        parts += [f'[[routes]]\npath = "/{name}/"\nupstream = "{name}"' for name in sorted(wanted)]
    for name in sorted(wanted - set(data.get("upstreams", {}))):
        parts.append(f'[upstreams.{name}]\nbackends = ["http://127.0.0.1:9001"]')
    return "\n".join(parts) + "\n"
