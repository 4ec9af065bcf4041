# SPDX-License-Identifier: MIT
"""The proxies, each configured as its own experts would for this job, with one worker.

The same for all: HTTP/1.1 and kept connections to the origin (256 idle ones, 60 s), keep-alive of
75 s to clients, 10,000 requests on a connection, no access log unless the scenario has one, Host
passed on and X-Forwarded-For set. What is *not* the same is to our disadvantage: fastproxy also
writes X-Forwarded-Proto, -Host and -Port, X-Real-IP and X-Request-ID (the others do so in the
scenario `fields` only), counts per route, backend and status with latency histograms, and keeps its
limits and timeouts.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.scenarios import Scenario


@dataclass(frozen=True)
class Job:
    """What a peer is started for."""

    directory: Path
    port: int
    """Where it shall listen."""
    origin: int
    """The origin's port."""
    scenario: Scenario

    @property
    def access_log(self) -> Path:
        return self.directory / "access.log"


@dataclass(frozen=True)
class Peer:
    """A proxy that can be started."""

    name: str
    version: str
    command: Callable[[Job], list[str]]
    """Writes the configuration and returns what to run."""
    log_to_stdout: bool = False
    """Its access log is its standard output (it cannot write files)."""


def _version(command: list[str]) -> str:
    """The first version number that this prints; "" if it cannot be run."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except OSError:
        return ""
    found = re.search(r"\d+\.\d+[\w.+-]*", done.stdout + done.stderr)
    return found[0] if found else ""


# ---- fastproxy ------------------------------------------------------------------------------


def fastproxy() -> Peer:
    """Ours, from this tree: as it comes, and a limit on connections of one address switched on."""
    command = [sys.executable, "-m", "fastproxy"]
    return Peer("fastproxy", _version([*command, "--version"]), _fastproxy)


def other_tree(directory: str) -> Peer | None:
    """Another built tree of fastproxy: what did a change to the engine bring? None: not there."""
    if not (Path(directory) / "fastproxy" / "__main__.py").is_file():
        return None
    there = ["env", "-C", os.path.abspath(directory)]
    version = _version([*there, sys.executable, "-m", "fastproxy", "--version"])
    name = Path(os.path.abspath(directory)).name
    return Peer(f"@{name}", version, lambda job: [*there, *_fastproxy(job)])


def _fastproxy(job: Job) -> list[str]:
    log = ["--access-log", str(job.access_log), "--log-format", "json"]
    return [
        sys.executable, "-m", "fastproxy", "run",
        "--listen", f"127.0.0.1:{job.port}",
        "--upstream", f"http://127.0.0.1:{job.origin}",
        "--workers", "1",
        "--max-connections-per-ip", "10000",
        "--control-socket", str(job.directory / "control.sock"),
        *(log if job.scenario.log else ["--access-log", "off"]),
    ]  # fmt: skip


# ---- nginx ----------------------------------------------------------------------------------

NGINX = """
{user}worker_processes 1;
daemon off;
pid {directory}/nginx.pid;
error_log stderr error;
worker_rlimit_nofile 16384;
events {{
    worker_connections 8192;
}}
http {{
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    {log}
    tcp_nodelay on;
    keepalive_timeout 75s;
    keepalive_requests 10000;
    upstream origin {{
        server 127.0.0.1:{origin};
        keepalive 256;
        keepalive_timeout 60s;
        keepalive_requests 10000;
    }}
    server {{
        listen 127.0.0.1:{port} reuseport backlog=4096;
        location / {{
            proxy_pass http://origin;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $remote_addr;
            {fields}
            proxy_max_temp_file_size 0;
            {buffers}
        }}
    }}
}}
"""
# What ours writes, as far as nginx has it.
NGINX_LOG = """log_format json escape=json '{"time":"$time_iso8601","client_ip":"$remote_addr",'
        '"method":"$request_method","host":"$host","target":"$request_uri",'
        '"protocol":"$server_protocol","status":$status,"bytes_in":$request_length,'
        '"bytes_out":$body_bytes_sent,"time_total":$request_time,'
        '"time_connect":"$upstream_connect_time","time_first_byte":"$upstream_header_time",'
        '"backend":"$upstream_addr","upstream":"$proxy_host","request_id":"$request_id",'
        '"referer":"$http_referer","user_agent":"$http_user_agent"}';
    access_log %s json buffer=64k flush=1s;"""
# The best of eight settings that were tried; with buffering on it takes three times as much.
NGINX_BUFFERS = (
    "proxy_buffering off; proxy_buffer_size 256k; proxy_buffers 4 256k;"
    " proxy_busy_buffers_size 512k;"
)
NGINX_FIELDS = """proxy_set_header X-Real-IP $remote_addr;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header X-Forwarded-Host $http_host;
            proxy_set_header X-Forwarded-Port $server_port;
            proxy_set_header X-Request-ID $request_id;"""


def nginx(path: str = "nginx") -> Peer | None:
    """None: not there."""
    found = _where(path)
    if not found:
        return None

    def command(job: Job) -> list[str]:
        file = job.directory / "nginx.conf"
        text = NGINX.format(
            user="user root;\n" if os.geteuid() == 0 else "",
            directory=job.directory,
            log=NGINX_LOG % job.access_log if job.scenario.log else "access_log off;",
            origin=job.origin,
            port=job.port,
            fields=NGINX_FIELDS if job.scenario.same_fields else "",
            buffers=NGINX_BUFFERS if job.scenario.big_buffers else "",
        )
        file.write_text(text)
        return [found, "-p", str(job.directory), "-e", "stderr", "-c", str(file)]

    return Peer("nginx", _version([found, "-v"]), command)


# ---- HAProxy --------------------------------------------------------------------------------

HAPROXY = """
global
    nbthread 1
    maxconn 8192
    {buffers}
    {log}
defaults
    mode http
    {format}
    timeout connect 5s
    timeout client 75s
    timeout server 60s
    timeout http-keep-alive 75s
    http-reuse always
    option forwardfor
frontend clients
    bind 127.0.0.1:{port} backlog 4096
    {fields}
    default_backend origin
backend origin
    server one 127.0.0.1:{origin} pool-max-conn 256 pool-purge-delay 60s
"""
HAPROXY_FIELDS = """http-request set-header X-Real-IP %[src]
    http-request set-header X-Forwarded-Proto http
    http-request set-header X-Forwarded-Host %[req.hdr(host)]
    http-request set-header X-Forwarded-Port %[dst_port]
    unique-id-format %[uuid()]
    unique-id-header X-Request-ID"""
HAPROXY_LOG = (
    """log global
    log-format '{"time":"%t","client_ip":"%ci","method":"%HM","target":"%HU","protocol":"%HV",'"""
    """'"status":%ST,"bytes_out":%B,"time_total":%Ta,"time_connect":%Tc,"time_first_byte":%Tr,'"""
    """'"upstream":"%b","backend":"%s","retries":%rc,"end_state":"%ts"}'"""
)


def haproxy(path: str = "haproxy") -> Peer | None:
    """None: not there."""
    found = _where(path)
    if not found:
        return None

    def command(job: Job) -> list[str]:
        file = job.directory / "haproxy.cfg"
        text = HAPROXY.format(
            buffers="tune.bufsize 262144" if job.scenario.big_buffers else "",
            log="log stdout format raw local0" if job.scenario.log else "",
            format=HAPROXY_LOG if job.scenario.log else "",
            fields=HAPROXY_FIELDS if job.scenario.same_fields else "",
            port=job.port,
            origin=job.origin,
        )
        file.write_text(text)
        return [found, "-db", "-f", str(file)]  # -q would send the log to /dev/null

    return Peer("haproxy", _version([found, "-v"]), command, log_to_stdout=True)


# ---- all ------------------------------------------------------------------------------------


def _where(path: str) -> str:
    """nginx and HAProxy live in sbin, which is not on every user's PATH."""
    return shutil.which(path) or shutil.which(path, path="/usr/sbin:/usr/local/sbin") or ""


def find(
    paths: dict[str, str], wanted: list[str], trees: Sequence[str] = ()
) -> tuple[list[Peer], list[str]]:
    """(ours and the peers that can be run, a line for each that cannot)."""
    found = [fastproxy()]
    notes = []
    for directory in trees:
        tree = other_tree(directory)
        if tree is None:
            notes.append(f"{directory} is left out: no fastproxy there")
        else:
            found.append(tree)
    if trees and not wanted:
        return found, notes
    for name, make in (("nginx", nginx), ("haproxy", haproxy)):
        if wanted and name not in wanted:
            continue
        path = paths.get(name, name)
        peer = make(path)
        if peer is None:
            hint = "" if path != name else f" (sudo apt-get install {name})"
            notes.append(f"{name} is left out: no program {path} here{hint}")
        else:
            found.append(peer)
    return found, notes
