# SPDX-License-Identifier: MIT
"""nghttpx, the proxy of nghttp2: one event-driven thread on each CPU."""

from __future__ import annotations

from bench.peers.base import Debian, Job, Peer, any_of
from bench.scenario import Scenario, Setting

LOG = (
    '{"time":"$time_iso8601","client_ip":"$remote_addr","request":"$request",'
    '"status":$status,"bytes_out":$body_bytes_sent,"time_total":$request_time,'
    '"backend":"$backend_host:$backend_port"}'
)


def command(job: Job, program: str) -> list[str]:
    patterns = ":".join(["/", *job.route_paths()])
    proto = ";proto=h2" if job.setting.http2_upstream else ""
    lines = [
        # Without TLS it understands HTTP/1.1 and HTTP/2 by prior knowledge.
        f"frontend=127.0.0.1,{job.port}{'' if job.certificate else ';no-tls'}",
        # HTTP/1.1 to the backends is the default; so is round robin among them.
        *(f"backend={host},{port};{patterns}{proto}" for host, port in job.backends),
        f"workers={job.setting.workers}",
        "no-ocsp=yes",
        "add-x-forwarded-for=yes",
        "no-add-x-forwarded-proto=yes",
        "no-via=yes",
        "no-server-rewrite=yes",
        # Host of the client instead of the backend's.
        "no-host-rewrite=yes",
        "frontend-keep-alive-timeout=75s",
        # As shipped it closes idle connections to the origin after 2 s.
        "backend-keep-alive-timeout=60s",
        "backlog=4096",
        "log-level=ERROR",
    ]
    if job.certificate:
        lines += [
            f"private-key-file={job.certificate.key}",
            f"certificate-file={job.certificate.cert}",
        ]
    if job.setting.log:
        lines += [f"accesslog-file={job.access_log}", f"accesslog-format={LOG}"]
    return [program, f"--conf={job.write('nghttpx.conf', chr(10).join(lines) + chr(10))}"]


def cannot(_: Scenario, setting: Setting) -> str:
    return any_of(
        no_such_fields=setting.same_fields,
        no_other_buffers=setting.tuned,
    )


PEER = Peer("nghttpx", Debian("nghttp2-proxy"), "nghttpx", ("--version",), command, cannot)
