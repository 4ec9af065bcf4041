# SPDX-License-Identifier: MIT
"""The benchmark: fastproxy against the proxies people know, on this machine, as ratios in one run.

    python -m bench                      # every scenario, many minutes
    python -m bench --quick              # the ones that matter most, 3 minutes
    python -m bench install              # bring the peers that are missing

One scenario is origin (origin.c, origin_grpc.c) + proxy + load (wrk, h2load, TLS handshakes, or
paced at a constant rate), all on loopback and pinned: the proxy on the last CPU, origin and load on
the first. Every proxy has the same number of workers and runs in turn, A B C A B C; what counts is
the CPU time that *all* its processes take for one request, from /proc, as the median of the ratios
of neighbouring runs. So noise from the machine hits all sides alike.

    scenario   what is asked for, in which setting, and what must come out: data
    scenarios  all of them; secured those with TLS, HTTP/2 and gRPC
    peers/     how each proxy is found, configured and started
    stand      a scenario set up: origins, and proxies, each up and verified
    verify     nothing is timed before its answers were right, byte for byte
    lines      connections on which it asks: HTTP/1.1, TLS, HTTP/2 (http2)
    load       wrk, h2load, handshakes and the paced load
    methods    what a turn is: closed loop, handshakes, constant rate, idle connections
    certificates  made anew for each scenario with TLS
    measure    the turns
    syscalls   system calls, counted by perf
    usage      CPU time, memory, context switches, from /proc
    measures   the figures: names, headings, columns
    results    what a run found: the schema of --json; targets judged
    report     tables for the terminal and for pages
    page/      the HTML page, and pictures
    install    brings peers
    processes  start, pin, stop; nothing survives
    build      compiles the C programs
    progress   the bar
"""
