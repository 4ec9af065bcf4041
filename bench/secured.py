# SPDX-License-Identifier: MIT
"""Scenarios with TLS, HTTP/2 and gRPC.

The load asks all proxies for the same: TLS 1.3, TLS_AES_128_GCM_SHA256, X25519 (load.py checks that
they agreed), tickets as each has them, one self-signed certificate. Backends speak HTTP/1.1 on kept
connections without TLS, but for gRPC: there HTTP/2 by prior knowledge.
"""

from __future__ import annotations

from bench.scenario import MIB, OURS, SECURE, Request, Scenario, Setting, Target, ratio, tuned

PEERS = (OURS, *SECURE)
SMALL = Request()
CLOSE = Request(headers=(("Connection", "close"),))
CALL = Request(
    "/bench.Origin/100",
    headers=(("content-type", "application/grpc"), ("te", "trailers")),
    body=100,
    grpc=True,
)
KEYS = {"ecdsa": "ECDSA P-256", "rsa": "RSA 2048"}
TUNED = ("nginx", "haproxy")


def handshakes(key: str, resumed: bool) -> Scenario:
    """A new connection for each request. With resumption the certificate's key is not used."""
    return Scenario(
        f"tls-{'resumed' if resumed else 'handshake'}-{key}",
        f"{'resumed' if resumed else 'full'} TLS 1.3 handshakes, {KEYS[key]}, one for each request",
        CLOSE,
        method="handshakes",
        figure="handshakes",
        connections=16,
        resumed=resumed,
        setting=Setting(tls=key),
        peers=PEERS,
        targets=(Target("handshakes", ("nginx",), least=1.0),),
        quick=False,
    )


def bodies(name: str, text: str, connections: int, streams: int, setting: Setting) -> Scenario:
    """Answers of 1 MiB: CPU per MiB, peers as shipped and tuned."""
    return Scenario(
        name,
        f"1 MiB answers {text}, buffers of the peers as shipped and tuned to 256 KiB",
        Request(f"/{MIB}"),
        figure="cpu_us_per_mib",
        connections=connections,
        streams=streams,
        setting=setting,
        variants=tuned(*TUNED, setting=setting),
        peers=PEERS,
        targets=(
            ratio(1.0, *SECURE, *(f"{one} tuned" for one in TUNED), measure="cpu_us_per_mib"),
        ),
        quick=False,
    )


ALL = [
    Scenario(
        "tls-small",
        "as small, over TLS 1.3",
        SMALL,
        setting=Setting(tls="ecdsa"),
        peers=PEERS,
        targets=(ratio(0.9, "nginx"),),
    ),
    *(handshakes(key, resumed) for resumed in (False, True) for key in KEYS),
    bodies("tls-large", "over TLS 1.3", 16, 1, Setting(tls="ecdsa")),
    Scenario(
        "h2-small",
        "100-byte answers over HTTP/2 and TLS, 16 connections with 32 streams each",
        SMALL,
        connections=16,
        streams=32,
        setting=Setting(tls="ecdsa", http2=True),
        peers=PEERS,
        targets=(ratio(0.8, *SECURE),),
        quick=False,
    ),
    Scenario(
        "h2c-small",
        "as h2-small, without TLS",
        SMALL,
        connections=16,
        streams=32,
        setting=Setting(http2=True),
        peers=PEERS,
        quick=False,
    ),
    bodies("h2-large", "over HTTP/2 and TLS", 4, 4, Setting(tls="ecdsa", http2=True)),
    Scenario(
        "grpc-unary",
        "gRPC calls, messages of 100 bytes, HTTP/2 without TLS on both sides, 16 x 32 streams",
        CALL,
        connections=16,
        streams=32,
        setting=Setting(http2=True, http2_upstream=True),
        peers=PEERS,
        quick=False,
    ),
]
