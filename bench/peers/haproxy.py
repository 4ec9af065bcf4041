# SPDX-License-Identifier: MIT
"""HAProxy: one process, one event-driven thread on each CPU."""

from __future__ import annotations

from bench.peers.base import Debian, Job, Peer

CONFIG = """
global
    nbthread {workers}
    maxconn 8192
    # Every process that could be asked is on loopback: no need to wait for slow ones at the end.
    hard-stop-after 2s
    {buffers}
    {log}
defaults
    mode http
    {format}
    timeout connect 5s
    timeout client 75s
    timeout server 60s
    timeout http-keep-alive 75s
    # Any idle connection of the pool takes any request, its first one too.
    http-reuse always
    option forwardfor
    {tries}
frontend clients
    bind 127.0.0.1:{port} backlog 4096{protocols}
    {fields}
    {routes}
    default_backend origin
backend origin
    balance {balance}
    {servers}
"""
FIELDS = """http-request set-header X-Real-IP %[src]
    http-request set-header X-Forwarded-Proto http
    http-request set-header X-Forwarded-Host %[req.hdr(host)]
    http-request set-header X-Forwarded-Port %[dst_port]
    unique-id-format %[uuid()]
    unique-id-header X-Request-ID"""
LOG = (
    """log global
    log-format '{"time":"%t","client_ip":"%ci","method":"%HM","target":"%HU","protocol":"%HV",'"""
    """'"status":%ST,"bytes_out":%B,"time_total":%Ta,"time_connect":%Tc,"time_first_byte":%Tr,'"""
    """'"upstream":"%b","backend":"%s","retries":%rc,"end_state":"%ts"}'"""
)


TRIES = "retries 0"
# One failed request and it is down until its next check, which comes every 30 s.
PASSIVE = " check inter 30s rise 1 fall 1 observe layer7 error-limit 1 on-error mark-down"
CHECKS = " check inter 5s fastinter 1s rise 2 fall 3"


def command(job: Job, program: str) -> list[str]:
    setting = job.setting
    proto = " proto h2" if setting.http2_upstream else ""
    routes = ""
    if paths := job.route_paths():
        # Thousands of rules are a map, which is a tree: rules would be tried one by one.
        file = job.write("routes.map", "".join(f"{path} origin\n" for path in paths))
        routes = f"use_backend %[path,map({file})] if {{ path,map({file}) -m found }}"
    text = CONFIG.format(
        workers=setting.workers,
        buffers="tune.bufsize 262144" if setting.tuned else "",
        log="log stdout format raw local0" if setting.log else "",
        format=LOG if setting.log else "",
        fields=FIELDS if setting.same_fields else "",
        port=job.port,
        protocols=protocols(job),
        routes=routes,
        tries=TRIES if setting.passive else "",
        balance="leastconn" if setting.least_loaded else "roundrobin",
        servers="\n    ".join(
            f"server s{n} {one}{proto} pool-max-conn {job.kept} pool-purge-delay 60s"
            f"{PASSIVE if setting.passive else CHECKS if setting.checks else ''}"
            for n, one in enumerate(job.addresses())
        ),
    )
    return [program, "-db", "-f", job.write("haproxy.cfg", text)]  # -q would lose the log


def protocols(job: Job) -> str:
    """Of clients. TLS 1.2 is the least that it takes as shipped."""
    http2 = job.setting.http2
    if job.certificate:
        return f" ssl crt {job.certificate.both} alpn {'h2' if http2 else 'http/1.1'}"
    return " proto h2" if http2 else ""


PEER = Peer("haproxy", Debian("haproxy"), "haproxy", ("-v",), command, log_to_stdout=True)
