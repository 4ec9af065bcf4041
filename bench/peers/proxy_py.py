# SPDX-License-Identifier: MIT
"""proxy.py: what a Python user would find. One process on each CPU, asyncio."""

from __future__ import annotations

from bench.peers.base import Job, Peer, Wheel, any_of
from bench.scenario import MIB, Scenario, Setting

# As shipped it opens a connection to the origin for each request, forgets the one before and fails
# on its descriptor: a plugin can do better. One plugin serves one client connection.
PLUGIN = """
from proxy.core.connection import TcpServerConnection
from proxy.http.server import ReverseProxyBasePlugin

BACKENDS = {backends!r}


class Bench(ReverseProxyBasePlugin):
    turn = 0
    origin = None

    def routes(self):
        return ["/"]

    def handle_route(self, request, pattern):
        if self.origin is None:
            Bench.turn += 1
            self.origin = TcpServerConnection(*BACKENDS[Bench.turn % len(BACKENDS)])
            self.origin.connect()
        request.add_header(b"X-Forwarded-For", self.client.addr[0].encode())
        self.origin.queue(memoryview(request.build()))
        return self.origin

    def on_access_log(self, context):
        if self.origin is not None and not self.origin.closed:
            self.origin.close()
        return None
"""


def command(job: Job, program: str) -> list[str]:
    job.write("fastproxy_bench_plugin.py", PLUGIN.format(backends=job.backends))
    return [
        "env", f"PYTHONPATH={job.directory}",
        program,
        "--hostname", "127.0.0.1",
        "--port", str(job.port),
        "--num-workers", str(job.setting.workers),
        "--num-acceptors", str(job.setting.workers),
        "--backlog", "4096",
        "--open-file-limit", "8192",
        # Both idle connections and slow answers end by it; 10 s as shipped.
        "--timeout", "75",
        "--log-level", "ERROR",
        "--data-dir", str(job.directory),
        "--disable-http-proxy",
        "--enable-web-server",
        "--enable-reverse-proxy",
        "--plugins", "fastproxy_bench_plugin.Bench",
    ]  # fmt: skip


def cannot(scenario: Scenario, setting: Setting) -> str:
    if not setting.plain:
        return "not set up for TLS and HTTP/2"
    return any_of(
        no_such_fields=setting.same_fields,
        no_other_buffers=setting.tuned,
        no_log_to_a_file=setting.log,
        cannot_hold_so_many_connections=scenario.method == "idle",
        takes_minutes_with_such_bodies=scenario.request.body > MIB,
    )


PEER = Peer("proxy.py", Wheel("proxy.py"), "proxy", ("--version",), command, cannot)
