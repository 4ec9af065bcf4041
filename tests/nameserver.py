"""Name servers on loopback ports, for tests.

`Dnsmasq` is Debian's dnsmasq, as people run it. `Responder` answers what dnsmasq will not: SERVFAIL
and silence on demand, truncated datagrams, TTLs that change; and it notes every question.

    with Responder() as server:
        server.say("api.test", "A", "10.0.0.1", ttl=5)
        ...dns = {"servers": [server.address]}
        assert server.asked("api.test", "A") == 1
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype
import dns.rrset

from tests.running import FOREIGN, wait_until

DATAGRAM = 512


def free_dns_port() -> int:
    """A port that is free for both UDP and TCP."""
    while True:
        with socket.socket(type=socket.SOCK_DGRAM) as udp, socket.socket() as tcp:
            udp.bind(("127.0.0.1", 0))
            port: int = udp.getsockname()[1]
            try:
                tcp.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


@dataclass
class Reply:
    """What is said to one question."""

    data: list[str] = field(default_factory=list)
    """Records as in a zone file: "10.0.0.1", "10 5 80 a.test."; none: NOERROR without an answer."""
    ttl: int = 60
    rcode: int = dns.rcode.NOERROR
    delay: float = 0.0
    silent: bool = False


@dataclass(frozen=True)
class Question:
    """One that came."""

    name: str
    kind: str
    tcp: bool
    time: float


class Responder:
    """What it knows nothing of does not exist (NXDOMAIN)."""

    def __init__(self) -> None:
        self.port = free_dns_port()
        self.address = f"127.0.0.1:{self.port}"
        self.replies: dict[tuple[str, str], Reply] = {}
        self.questions: list[Question] = []
        self.over = False

    def __enter__(self) -> Self:
        self.udp = socket.socket(type=socket.SOCK_DGRAM)
        self.udp.bind(("127.0.0.1", self.port))
        self.tcp = socket.create_server(("127.0.0.1", self.port))
        for sock, work in ((self.udp, self._datagrams), (self.tcp, self._streams)):
            sock.settimeout(0.1)
            threading.Thread(target=work, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over = True
        time.sleep(0.15)
        self.udp.close()
        self.tcp.close()

    # -- what tests say and ask -----------------------------------------------------------------

    def say(self, name: str, kind: str, *data: str, ttl: int = 60) -> None:
        self.replies[(name, kind)] = Reply(list(data), ttl)

    def fail(self, name: str, kind: str, rcode: int = dns.rcode.SERVFAIL) -> None:
        self.replies[(name, kind)] = Reply(rcode=rcode)

    def hush(self, name: str, kind: str) -> None:
        """No answer at all."""
        self.replies[(name, kind)] = Reply(silent=True)

    def slow(self, name: str, kind: str, seconds: float) -> None:
        self.replies[(name, kind)].delay = seconds

    def forget(self, name: str, kind: str) -> None:
        self.replies.pop((name, kind), None)

    def asked(self, name: str, kind: str, tcp: bool | None = None) -> int:
        """How often."""
        return sum(
            (one.name, one.kind) == (name, kind) and tcp in (None, one.tcp)
            for one in list(self.questions)
        )

    def times(self, name: str, kind: str) -> list[float]:
        return [one.time for one in list(self.questions) if (one.name, one.kind) == (name, kind)]

    # -- the wire -------------------------------------------------------------------------------

    def _datagrams(self) -> None:
        while not self.over:
            try:
                data, who = self.udp.recvfrom(4096)
            except TimeoutError:
                continue
            threading.Thread(target=self._datagram, args=(data, who), daemon=True).start()

    def _datagram(self, data: bytes, who: tuple[str, int]) -> None:
        answer = self._answer(data, tcp=False)
        if answer is None:
            return
        wire = answer.to_wire(max_size=65535)
        if len(wire) > DATAGRAM:
            short = dns.message.make_response(dns.message.from_wire(data))
            short.flags |= dns.flags.TC
            wire = short.to_wire()
        self.udp.sendto(wire, who)

    def _streams(self) -> None:
        while not self.over:
            try:
                line, _ = self.tcp.accept()
            except TimeoutError:
                continue
            threading.Thread(target=self._stream, args=(line,), daemon=True).start()

    def _stream(self, line: socket.socket) -> None:
        with line:
            line.settimeout(5)
            while len(head := line.recv(2, socket.MSG_WAITALL)) == 2:
                data = line.recv(int.from_bytes(head), socket.MSG_WAITALL)
                answer = self._answer(data, tcp=True)
                if answer is None:
                    return
                wire = answer.to_wire(max_size=65535)
                line.sendall(len(wire).to_bytes(2) + wire)

    def _answer(self, data: bytes, tcp: bool) -> dns.message.Message | None:
        query = dns.message.from_wire(data)
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True).lower()
        kind = dns.rdatatype.to_text(question.rdtype)
        self.questions.append(Question(name, kind, tcp, time.monotonic()))
        answer = dns.message.make_response(query)
        answer.flags |= dns.flags.RA
        reply = self.replies.get((name, kind))
        if reply is None:
            known = any(one == name for one, _ in self.replies)
            answer.set_rcode(dns.rcode.NOERROR if known else dns.rcode.NXDOMAIN)
            return answer
        time.sleep(reply.delay)
        if reply.silent:
            return None
        answer.set_rcode(dns.rcode.Rcode(reply.rcode))
        if not reply.data:
            return answer
        owner = f"{name}."
        if reply.data[0].startswith("CNAME "):
            target = reply.data[0].split()[1]
            answer.answer.append(dns.rrset.from_text(owner, reply.ttl, "IN", "CNAME", target))
            owner, reply = target, self.replies[(target.rstrip("."), kind)]
        answer.answer.append(dns.rrset.from_text_list(owner, reply.ttl, "IN", kind, reply.data))
        return answer


class Dnsmasq:
    """`hosts`: {name: addresses}, changed while it runs by `tell`. `more`: flags of dnsmasq."""

    def __init__(self, hosts: dict[str, list[str]], *more: str, ttl: int = 1) -> None:
        self.port = free_dns_port()
        self.address = f"127.0.0.1:{self.port}"
        self.directory = Path(tempfile.mkdtemp(prefix="fastproxy-dnsmasq-"))
        self.file = self.directory / "hosts"
        self.more = more
        self.ttl = ttl
        self._write(hosts)

    def _write(self, hosts: dict[str, Iterable[str]] | dict[str, list[str]]) -> None:
        lines = [f"{address} {name}\n" for name, known in hosts.items() for address in known]
        self.file.write_text("".join(lines))

    def tell(self, hosts: dict[str, list[str]]) -> None:
        """These from now on."""
        self._write(hosts)
        self.process.send_signal(signal.SIGHUP)

    def __enter__(self) -> Self:
        program = shutil.which("dnsmasq", path=f"{os.environ['PATH']}:/usr/sbin")
        assert program, "ci/install-deps test-servers installs dnsmasq"
        self.process = subprocess.Popen(
            [
                program, "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv",
                "--no-hosts", f"--port={self.port}", "--listen-address=127.0.0.1",
                "--bind-interfaces", f"--addn-hosts={self.file}", f"--local-ttl={self.ttl}",
                "--local=/test/", f"--pid-file={self.directory}/pid", "--user=", "--log-facility=-",
                *self.more,
            ],
            env=FOREIGN,
            stderr=open(self.directory / "log", "wb"),
        )  # fmt: skip
        wait_until(self._serves)
        return self

    def _serves(self) -> bool:
        assert self.process.poll() is None, (self.directory / "log").read_text()
        query = dns.message.make_query("nothing.test", "A")
        try:
            dns.query.udp(query, "127.0.0.1", port=self.port, timeout=0.2)
        except (OSError, dns.exception.Timeout):
            return False
        return True

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait(5)
        shutil.rmtree(self.directory, ignore_errors=True)
