# SPDX-License-Identifier: MIT
"""The benchmark: fastproxy against the proxies people know, on this machine, as ratios in one run.

    python -m bench                      # every scenario, minutes
    python -m bench --quick small        # one scenario, seconds

One scenario is origin (origin.c) + proxy + load (wrk), all on loopback and pinned: the proxy on the
last CPU, origin and load on the first. Every proxy has one worker and runs in turn, A B A B; what
counts is the CPU time that *all* its processes take for one request, from /proc, as the median of
the ratios of neighbouring runs. So noise from the machine hits both sides alike.

    scenarios  what is asked for, and what each proxy is told to do about it
    peers      how each proxy is configured and started
    verify     nothing is timed before its answers were right, byte for byte
    load       wrk
    measure    the turns
    report     table, JSON, Markdown
    processes  start, pin, stop; nothing survives
"""
