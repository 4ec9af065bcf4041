# SPDX-License-Identifier: MIT
"""The plan's head and the rows the engine itself reads. Types only.

A plan is one sealed memfd: PlanHeader, then rows, then text. Offsets are relative to its first
byte. `config/plan.py` writes it, `engine/plan.pxi` checks every offset once and maps it.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from fastproxy.balance.table cimport SessionPlan
from fastproxy.grpcweb.table cimport GrpcWebTables
from fastproxy.memory.span cimport Slice, Text
from fastproxy.rewrite.table cimport RewriteTables
from fastproxy.route.table cimport RouteTables
from fastproxy.template.table cimport Template


cdef enum:
    PLAN_MAGIC = 0x504c5046     # "FPLP"
    PLAN_VERSION = 1


cdef struct Settings:
    # Times in milliseconds, 0: off. Defaults and reasons: engine/settings.py.
    uint64_t client_header_ms
    uint64_t client_body_ms         # idle
    uint64_t client_write_ms        # idle
    uint64_t keepalive_ms
    uint64_t tunnel_idle_ms
    uint64_t tunnel_age_ms
    uint64_t drain_ms               # told for completeness: the worker has it from the master
    uint64_t drain_spread_ms
    uint64_t drain_retry_ms         # what event streams are told; 0: nothing
    uint64_t lingering_ms           # reading on after an error answer
    uint64_t tls_handshake_ms       # absolute
    uint64_t upstream_keepalive_ms  # idle in the pool
    uint64_t upstream_age_ms
    uint32_t request_line_bytes
    uint32_t header_bytes           # one field
    uint32_t headers_bytes          # all
    uint32_t header_count
    uint32_t connections            # per worker; 0: half of the fd limit less a reserve
    uint32_t connections_per_ip     # over all workers; 0: off
    uint32_t requests_per_connection
    uint32_t upstream_idle          # kept connections per worker and backend
    uint32_t upstream_requests      # on one upstream connection
    uint32_t http2_streams          # of one connection, at once
    uint32_t read_bytes             # largest read of a body (--buffer-size)
    uint32_t replay_bytes           # of a body, kept to be sent again
    uint8_t abort_on_close
    uint8_t reject_host_mismatch
    uint8_t merge_slashes
    uint8_t reject_encoded_slash
    uint8_t keep_underscores
    uint8_t forwarded               # also send Forwarded (RFC 7239)
    uint8_t via
    uint8_t forward_trailers
    uint8_t request_id_trust        # take X-Request-ID from trusted peers
    uint8_t access_log              # 0: off
    Text via_name
    Slice trusted                   # CidrRow
    Template log_line               # without the newline


cdef struct CidrRow:
    uint8_t address[16]             # IPv6, or v4-mapped
    uint8_t bits                    # 0..128 (v4: 96 + prefix)


cdef struct ListenerRow:
    Text name                       # as configured: "127.0.0.1:8080", "unix:/run/x.sock"
    uint16_t port                   # 0 for unix
    uint8_t is_unix
    uint8_t keepalive               # SO_KEEPALIVE on accepted connections
    uint8_t tls                     # clients speak TLS: which certificates is in the keyring
    uint8_t http2                   # offered by ALPN, or its preface understood in plain text
    uint8_t client_cert             # ClientCertHeader
    uint16_t https_port             # plain: send requests on to https:// there; 0: serve them
    Text hsts                       # TLS: Strict-Transport-Security of every answer; empty: none


cdef enum ClientCertHeader:
    # How upstreams are told of a client's certificate.
    CLIENT_CERT_OFF = 0
    CLIENT_CERT_RFC9440 = 1
    CLIENT_CERT_XFCC = 2


cdef enum HostPolicy:
    HOST_PASS = 0
    HOST_UPSTREAM = 1
    HOST_FIXED = 2


cdef enum UpstreamProtocol:
    UPSTREAM_HTTP1 = 0
    UPSTREAM_AUTO = 1               # TLS: what the backend takes by ALPN
    UPSTREAM_HTTP2 = 2              # TLS: HTTP/2, or the backend is not used
    UPSTREAM_H2C = 3                # HTTP/2 in plain text, with prior knowledge


cdef enum KeyKind:
    KEY_NONE = 0                    # nothing of a request is hashed
    KEY_CLIENT_IP = 1               # the address itself, without a template
    KEY_TEMPLATE = 2


cdef struct UpstreamRow:
    Text name
    Text host                       # HOST_FIXED
    uint8_t host_policy             # HostPolicy
    uint8_t tls                     # backends speak TLS: how is in the keyring
    uint8_t protocol                # UpstreamProtocol
    uint8_t key_kind                # KeyKind: what `balance = "hash"` hashes
    uint8_t key_ipv6_prefix         # KEY_CLIENT_IP: bits of an IPv6 address that count
    uint32_t key_fixed              # KEY_TEMPLATE: bytes of its literals; no more: there is no key
    Template key                    # KEY_TEMPLATE
    Template queue_priority         # the class of a request that has to wait; empty: all alike
    uint64_t connect_ms             # these are its own or the defaults; 0: off
    uint64_t first_byte_ms
    uint64_t idle_ms                # between two reads or writes of one exchange
    SessionPlan session
    Template subset                 # the label's value that a request asks for; empty: no subsets


cdef struct PlanHeader:
    uint64_t magic
    uint64_t layout_hash            # of _core.layout(): built and read by the same structs
    uint64_t generation
    uint32_t version
    uint32_t length                 # bytes of the whole plan
    Settings settings
    RouteTables routes
    RewriteTables rewrites
    GrpcWebTables grpc_web
    Slice listeners                 # ListenerRow
    Slice upstreams                 # UpstreamRow
    Slice responders                # Text: names of Python responders, resolved by each worker
