# SPDX-License-Identifier: MIT
"""nginx: one event-driven worker process on each CPU."""

from __future__ import annotations

import os

from bench.peers.base import Debian, Job, Peer

CONFIG = """
{user}worker_processes {workers};
daemon off;
pid {directory}/nginx.pid;
error_log stderr error;
events {{
    # More than a scenario opens. Their structures are made at start.
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
    keepalive_requests {requests};
    client_max_body_size 0;
    upstream origin {{
        {balance}
        {servers}
        # Idle connections kept by each worker: without it every request opens one.
        keepalive {keepalive};
        keepalive_timeout 60s;
        keepalive_requests 10000;
    }}
    # 1.22 speaks HTTP/1.0 and "Connection: close" to upstreams unless told otherwise.
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_set_header Host $http_host;
    proxy_set_header X-Forwarded-For $remote_addr;
    {fields}
    # Answers are never spooled to disk: for clients as fast as these that only costs.
    proxy_max_temp_file_size 0;
    {tuned}
    server {{
        # A listening socket for each worker: no thundering herd, an even spread.
        listen 127.0.0.1:{port} reuseport backlog=4096{protocols};
        {tls}
        location / {{
            {passing}
            {tries}
        }}
        {routes}
    }}
}}
"""
TLS = """ssl_certificate {0.cert};
        ssl_certificate_key {0.key};
        ssl_protocols TLSv1.2 TLSv1.3;"""
# 1.22 opens a connection to the origin for each call at a time: it does not multiplex.
GRPC = """grpc_pass grpc://origin;
            grpc_set_header Host $http_host;
            grpc_set_header X-Forwarded-For $remote_addr;"""
# What ours writes, as far as nginx has it.
LOG = """log_format json escape=json '{"time":"$time_iso8601","client_ip":"$remote_addr",'
        '"method":"$request_method","host":"$host","target":"$request_uri",'
        '"protocol":"$server_protocol","status":$status,"bytes_in":$request_length,'
        '"bytes_out":$body_bytes_sent,"time_total":$request_time,'
        '"time_connect":"$upstream_connect_time","time_first_byte":"$upstream_header_time",'
        '"backend":"$upstream_addr","upstream":"$proxy_host","request_id":"$request_id",'
        '"referer":"$http_referer","user_agent":"$http_user_agent"}';
    access_log %s json buffer=64k flush=1s;"""
# The best of eight settings that were tried; with buffering of answers it takes three times as
# much. Requests are streamed as they come instead of being collected (in a file, from 16 KiB on).
TUNED = """proxy_buffering off;
    proxy_buffer_size 256k;
    proxy_buffers 4 256k;
    proxy_busy_buffers_size 512k;
    proxy_request_buffering off;
    client_body_buffer_size 256k;"""
# Frames as large as clients take them, instead of 8 KiB.
TUNED_HTTP2 = """
    http2_chunk_size 16k;"""
# One failure and it is out for 30 s (as shipped: 10 s). What counts is what got no answer: a 500
# would only count if it were tried again, which no proxy does here.
PASSIVE = " max_fails=1 fail_timeout=30s"
TRIES = "proxy_next_upstream off;"
FIELDS = """proxy_set_header X-Real-IP $remote_addr;
    proxy_set_header X-Forwarded-Proto $scheme;
    proxy_set_header X-Forwarded-Host $http_host;
    proxy_set_header X-Forwarded-Port $server_port;
    proxy_set_header X-Request-ID $request_id;"""


def command(job: Job, program: str) -> list[str]:
    setting = job.setting
    tuned = TUNED + (TUNED_HTTP2 if setting.http2 else "") if setting.tuned else ""
    routes = [f"location = {path} {{ proxy_pass http://origin; }}" for path in job.route_paths()]
    text = CONFIG.format(
        user="user root;\n" if os.geteuid() == 0 else "",
        workers=setting.workers,
        directory=job.directory,
        log=LOG % job.access_log if setting.log else "access_log off;",
        balance="least_conn;" if setting.least_loaded else "",
        tries=TRIES if setting.passive else "",
        servers="\n        ".join(
            f"server {one}{PASSIVE if setting.passive else ''};" for one in job.addresses()
        ),
        keepalive=max(job.kept, 2 * len(job.backends)),
        requests=10_000 if setting.plain else 1_000_000_000,
        protocols=" ssl" * bool(job.certificate) + " http2" * setting.http2,
        tls=TLS.format(job.certificate) if job.certificate else "",
        passing=GRPC if setting.http2_upstream else "proxy_pass http://origin;",
        port=job.port,
        fields=FIELDS if setting.same_fields else "",
        tuned=tuned,
        routes="\n        ".join(routes),
    )
    file = job.write("nginx.conf", text)
    return [program, "-p", str(job.directory), "-e", "stderr", "-c", file]


PEER = Peer("nginx", Debian("nginx-light"), "nginx", ("-v",), command)
