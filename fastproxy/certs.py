# SPDX-License-Identifier: MIT
"""`fastproxy cert`: make a certificate to try things with, look at those that are there.

Exit codes: 0 done, 1 a file cannot be used, 2 wrong usage.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import TYPE_CHECKING, Any, NoReturn

import click

if TYPE_CHECKING:
    from types import ModuleType

OK, FAILED = 0, 1
CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
DAYS_MAX = 3650


@click.group(context_settings=CONTEXT, short_help="Make and show certificates.")
def cert() -> None:
    """Certificates: make one to try things with, look at those that are there."""


def _fail(text: str) -> NoReturn:
    click.echo(f"fastproxy: {text}", err=True)
    sys.exit(FAILED)


def _room(name: str) -> ModuleType:
    """A module that needs `cryptography`."""
    import importlib

    try:
        return importlib.import_module(f"fastproxy.tls.{name}")
    except ImportError as error:
        _fail(f"this needs the package cryptography ({error}): pip install 'fastproxy[tls]'")


@cert.command(
    "self-signed",
    context_settings=CONTEXT,
    help="""Make a key and a certificate that vouches for itself, for NAME and all others given.

\b
  fastproxy cert self-signed localhost
  fastproxy cert self-signed example.test '*.example.test' 192.0.2.7 --days 30 --out certs

It is for trying things: clients trust it only if they are told to. `localhost` is good for
127.0.0.1 and ::1 as well.""",
    short_help="Make one that vouches for itself.",
)
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@click.option(
    "--days", type=click.IntRange(1, DAYS_MAX), default=90, show_default=True, help="How long."
)
@click.option("--out", default=".", metavar="DIR", help="Where to. [default: here]")
@click.option("--rsa", is_flag=True, help="An RSA key (2048 bits) instead of an EC one (P-256).")
@click.option("--force", is_flag=True, help="Over files that are there.")
def self_signed(names: tuple[str, ...], days: int, out: str, rsa: bool, force: bool) -> None:
    making = _room("making")
    wished = making.wished(list(names))
    try:
        pem, key = making.self_signed(wished, days, rsa_key=rsa)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    stem = os.path.join(out, names[0].replace("*", "wildcard").replace(":", "_").rstrip("."))
    try:
        os.makedirs(out, exist_ok=True)
        path, key_path = making.write_pair(stem, pem, key, over=force)
    except FileExistsError as error:
        _fail(f"{error} is there already; --force replaces it")
    except OSError as error:
        _fail(f"{error.filename or out} cannot be written: {error.strerror}")
    until = time.strftime("%Y-%m-%d", time.gmtime(time.time() + days * 86400))
    click.echo(f"{path} and {key_path}: for {', '.join(wished)}, until {until}")
    asked = wished[0].replace("*", "www")
    click.echo(_next_steps(path, key_path, asked))


def _next_steps(path: str, key_path: str, name: str) -> str:
    host = f"[{name}]" if ":" in name else name
    local = name in ("localhost", "127.0.0.1", "::1")
    there = "" if local else f" --resolve {name}:8443:127.0.0.1"
    return f"""
Try it:
  fastproxy run --listen 127.0.0.1:8443 --tls-cert {path} --tls-key {key_path} \\
                --upstream http://127.0.0.1:9001
  curl --cacert {path}{there} https://{host}:8443/

In a file:
  [[listeners]]
  bind = ":8443"
  [listeners.tls]
  certificates = [{{ cert = "{path}", key = "{key_path}" }}]"""


@cert.command(
    context_settings=CONTEXT,
    help="""Show certificates: names, issuer, until when they are good.

\b
  fastproxy cert show site.pem
  fastproxy cert show -c fastproxy.toml --json

FILE is PEM; its first certificate is shown. With -c: all that the configuration serves.""",
    short_help="Show certificates.",
)
@click.argument("files", metavar="FILE...", nargs=-1)
@click.option("-c", "--config", metavar="FILE", help="Those of this configuration.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def show(files: tuple[str, ...], config: str | None, as_json: bool) -> None:
    if bool(files) == bool(config):
        raise click.UsageError("name files, or a configuration with -c FILE")
    rows, faults = _of_config(config) if config else _of_files(files)
    if as_json:
        click.echo(json.dumps({"certificates": rows}, indent=2))
    elif rows:
        from fastproxy import view  # rich is slow to import

        view.print_certificates(rows)
    elif not faults:
        click.echo("no TLS in it", err=True)
    for fault in faults:
        click.echo(f"fastproxy: {fault}", err=True)
    sys.exit(FAILED if faults else OK)


def _of_files(files: tuple[str, ...]) -> tuple[list[dict[str, Any]], list[str]]:
    """What is shown of each, and what is wrong with the others."""
    certificates = _room("certificates")
    from fastproxy.tls.build import shown
    from fastproxy.tls.files import Reading

    rows, reading = [], Reading(os.getcwd())
    for file in files:
        found = certificates.chain(reading, file, file)
        if found:
            rows.append(shown(certificates.about_of(found[0], file), time.time()))
    return rows, [str(problem) for problem in reading.problems]


def _of_config(path: str) -> tuple[list[dict[str, Any]], list[str]]:
    """All certificates of a configuration, and why it cannot be used."""
    from fastproxy.config import check
    from fastproxy.config.load import load
    from fastproxy.errors import ConfigError
    from fastproxy.tls.build import certificates_report

    try:
        checked = check.check(load(path))
    except ConfigError as error:
        return [], [str(problem) for problem in error.problems]
    if checked.keyring is None:
        return [], [str(problem) for problem in checked.errors]
    keyring, config = checked.keyring.keyring, checked.config
    binds = [f"listeners[{at}]" for at in range(len(keyring.listeners))]
    names = [f"upstreams[{at}]" for at in range(len(keyring.upstreams))]
    if config is not None:
        binds = [str(one.bind) for one in config.all_listeners()]
        names = list(config.upstreams)
    rows = certificates_report(keyring, binds, names)
    return rows, [str(problem) for problem in checked.errors]
