# SPDX-License-Identifier: MIT
"""h2o: one event-driven thread on each CPU."""

from __future__ import annotations

import os

from bench.peers.base import Debian, Job, Peer, any_of
from bench.scenario import Scenario, Setting

CONFIG = """
num-threads: {workers}
{user}pid-file: {directory}/h2o.pid
error-log: /dev/stderr
max-connections: 8192
http1-request-timeout: 75
# Bodies of any size (1 GiB is what it allows as shipped).
limit-request-body: 2147483648
# Idle connections to the origin, ms; with 0 every request would open one.
proxy.timeout.keepalive: 60000
proxy.preserve-host: ON
proxy.emit-x-forwarded-headers: ON
{log}
listen:
  host: 127.0.0.1
  port: {port}
{tls}
hosts:
  default:
    paths:
      "/":
        proxy.reverse.url: "http://{origin}/"
{routes}
"""
LOG = """access-log:
  path: {path}
  format: '{{"time":"%t","client_ip":"%h","method":"%m","target":"%U%q","protocol":"%H",\
"status":%s,"bytes_out":%b,"time_total":%{{duration}}x}}'"""


# HTTP/2 by ALPN, and by prior knowledge without TLS, is there as shipped.
TLS = """  ssl:
    certificate-file: {0.cert}
    key-file: {0.key}
    minimum-version: TLSv1.2"""


def command(job: Job, program: str) -> list[str]:
    origin = job.addresses()[0]
    text = CONFIG.format(
        workers=job.setting.workers,
        # As root it becomes `nobody`, who may not write in our directory.
        user="user: root\n" if os.geteuid() == 0 else "",
        directory=job.directory,
        port=job.port,
        tls=TLS.format(job.certificate) if job.certificate else "",
        origin=origin,
        log=LOG.format(path=job.access_log) if job.setting.log else "",
        routes="\n".join(
            f'      "{path}":\n        proxy.reverse.url: "http://{origin}{path}"'
            for path in job.route_paths()
        ),
    )
    return [program, "-m", "worker", "-c", job.write("h2o.conf", text)]


def cannot(_: Scenario, setting: Setting) -> str:
    if setting.http2_upstream:
        return "2.2 speaks no HTTP/2 to the origin"
    return any_of(
        one_backend_only=setting.backends > 1,
        no_such_fields=setting.same_fields,
        no_other_buffers=setting.tuned,
    )


PEER = Peer("h2o", Debian("h2o"), "h2o", ("--version",), command, cannot)
