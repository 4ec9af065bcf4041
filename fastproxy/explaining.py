# SPDX-License-Identifier: MIT
"""`fastproxy explain`: which route takes a request, why not the others, and what becomes of it.

The answer is the hot path's own: the plan is compiled as for a start, and the same code matches and
rewrites. The reasons of the other routes are told from the settings (route/explain.py).
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterator, Sequence
from typing import Any

from fastproxy import _core
from fastproxy.config.load import Document
from fastproxy.config.model import Config, Listener
from fastproxy.config.plan import Stages, compile_plan, https_port
from fastproxy.regex.build import RegexList
from fastproxy.route.explain import Asked, explain_others
from fastproxy.route.path import path_params
from fastproxy.route.settings import Route

CHALLENGE = "/.well-known/acme-challenge/"
WHY = {
    "no_host": (421, "no route is for this host, and none is for any host"),
    "no_path": (404, "no route of this host takes it"),
    "no_method": (405, "routes take it, but not with this method"),
}


class AskError(Exception):
    """A request that could not be made, or that would never reach routing."""


def ask(method: str, url: str, fields: Sequence[str], listener: str) -> Asked:
    """The request as the engine would hand it to routing, but for the path's normal form."""
    if not _core.is_token(method.encode(errors="replace")):
        raise AskError(f"{method!r} is not a method")
    parts = urllib.parse.urlsplit(url if "://" in url or url.startswith("/") else f"http://{url}")
    if parts.scheme not in ("", "http", "https"):
        raise AskError(f"{url!r} is not an http URL")
    headers = [_field(text) for text in fields]
    given = [value for name, value in headers if name.lower() == b"host"]
    authority = given[-1] if given else parts.netloc.encode(errors="replace")
    if b"@" in authority:
        raise AskError("a user name in the URL is not sent to a proxy")
    split = _core.split_host(authority) if authority else (b"", 0)
    if split is None:
        raise AskError(f"{authority.decode(errors='replace')!r} is not a host")
    return Asked(
        method=method,
        host=split[0].decode("latin-1"),
        path=urllib.parse.quote(parts.path or "/", safe="/%!$&'()*+,;=:@~-._"),
        query=urllib.parse.quote(parts.query, safe="/%!$&'()*+,;=:@~-._?[]"),
        headers=[pair for pair in headers if pair[0].lower() != b"host"],
        listener=listener,
    )


def _field(text: str) -> tuple[bytes, bytes]:
    name, colon, value = text.partition(":")
    raw = (name.strip().encode(errors="replace"), value.strip().encode(errors="replace"))
    if not colon or not _core.is_token(raw[0]) or not _core.is_field_value(raw[1]):
        raise AskError(f"{text!r} is not a header; write 'Name: value'")
    return raw


def explain(
    config: Config, document: Document, stages: Stages | None, asked: Asked
) -> dict[str, Any]:
    """Everything there is to say, as plain data. AskError if the path is refused before routing."""
    binds = [str(listener.bind) for listener in config.all_listeners()]
    name = asked.listener or binds[0]
    if name not in binds:
        raise AskError(f"no listener {name!r}; there are: {', '.join(binds)}")
    forwarding = config.forwarding
    try:
        path = _core.normal_path(
            asked.path.encode(), forwarding.merge_slashes, forwarding.reject_encoded_slash
        )
    except ValueError as error:
        raise AskError(f"the path {asked.path!r} is answered 400: {error}") from None
    normal = Asked(asked.method, asked.host, path.decode(), asked.query, list(asked.headers), name)
    answer = _core.explain(
        compile_plan(config, 1, stages),
        binds.index(name),
        normal.method.encode(),
        normal.host.encode("latin-1"),
        path,
        normal.query.encode(),
        list(normal.headers),
    )
    shown: dict[str, Any] = {
        "request": {
            "method": normal.method, "listener": name, "host": normal.host, "path": normal.path,
            "query": normal.query,
        },
        "others": [
            {"route": one.route, "name": one.name, "place": _place(document, one.route),
             "why": one.text}
            for one in explain_others(config.routes, normal, answer)
        ],
    }  # fmt: skip
    if sent_on := _sent_on(config.all_listeners()[binds.index(name)], normal):
        shown["sent_on"] = sent_on
    elif answer["why"] == "hit":
        shown["hit"] = _hit(config, document, answer)
    else:
        status, text = WHY[answer["why"]]
        shown["miss"] = {"status": status, "text": text, "allow": answer["allow"]}
    return shown


def _sent_on(listener: Listener, asked: Asked) -> dict[str, Any] | None:
    """What `redirect_https` makes of it before any route is looked for (engine/secure.pxi)."""
    port = https_port(listener)
    if not port or asked.path.startswith(CHALLENGE):
        return None
    if not asked.host:
        return {"status": 400, "location": None}
    host = f"{asked.host}:{port}" if port != 443 else asked.host
    query = f"?{asked.query}" if asked.query else ""
    return {"status": 308, "location": f"https://{host}{asked.path}{query}"}


def _place(document: Document, route: int) -> str:
    file, line = document.place(("routes", route))
    return f"{file}:{line}" if line else file


def _hit(config: Config, document: Document, answer: dict[str, Any]) -> dict[str, Any]:
    route = config.routes[answer["route"]]
    (params,) = path_params([route.path], RegexList())
    values = [value.decode("utf-8", "backslashreplace") for value in answer["params"]]
    return {
        "route": answer["route"],
        "name": answer["name"],
        "place": _place(document, answer["route"]),
        "params": dict(zip(params, values, strict=False)),
        **_action(config, route, answer),
    }


def _action(config: Config, route: Route, answer: dict[str, Any]) -> dict[str, Any]:
    """What is done, one key of the route's own name for it."""
    value = answer["value"].decode("utf-8", "backslashreplace")
    if route.redirection is not None:
        return {"redirect": {"status": route.redirection.status, "location": value}}
    if route.reply is not None:
        return {"reply": {"status": route.reply.status, "body": value}}
    if route.responder is not None:
        return {"responder": route.responder}
    names = [route.upstream] if route.upstream else [part.upstream for part in route.split]
    weights = [1] if route.upstream else [part.weight for part in route.split]
    target = answer["target"]
    return {
        "upstreams": [
            {
                "name": name,
                "share": weight / sum(weights),
                "backends": [str(b.url) for b in config.upstreams[name].members()],
            }
            for name, weight in zip(names, weights, strict=True)
        ],
        "split_by": route.split_by,
        "target": None if target is None else target.decode("utf-8", "backslashreplace"),
        "dropped": [name.decode() for name in answer["request"]["dropped"]],
        "written": [line.decode("utf-8", "backslashreplace") for line in
                    answer["request"]["written"]],
    }  # fmt: skip


def lines(shown: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(label, text) for people."""
    request = shown["request"]
    query = f"?{request['query']}" if request["query"] else ""
    yield "request", f"{request['method']} {request['path']}{query}"
    yield "host", f"{request['host'] or '(none)'}, by listener {request['listener']}"
    if "sent_on" in shown:
        status, location = shown["sent_on"].values()
        text = f"{status} to {location}" if location else f"{status}: there is no host to go to"
        yield "answer", f"{text} (redirect_https of the listener)"
        return
    if "hit" in shown:
        yield from _hit_lines(shown["hit"])
    else:
        miss = shown["miss"]
        allow = f"; Allow: {', '.join(miss['allow'])}" if miss["allow"] else ""
        yield "answer", f"{miss['status']}: {miss['text']}{allow}"
    for other in shown["others"]:
        place = f", {other['place']}" if other["place"] else ""
        yield "not", f"{other['name']} (routes[{other['route']}]{place}): {other['why']}"


def _hit_lines(hit: dict[str, Any]) -> Iterator[tuple[str, str]]:
    place = f", {hit['place']}" if hit["place"] else ""
    yield "route", f"{hit['name']} (routes[{hit['route']}]{place})"
    for name, value in hit["params"].items():
        yield "param", f"{name} = {value}"
    if "redirect" in hit:
        yield "answer", f"{hit['redirect']['status']} to {hit['redirect']['location']}"
    elif "reply" in hit:
        yield "answer", f"{hit['reply']['status']}: {hit['reply']['body']}"
    elif "responder" in hit:
        yield "answer", f"by the Python responder {hit['responder']}"
    for upstream in hit.get("upstreams", []):
        by = f", by {hit['split_by']}" if hit["split_by"] else ""
        share = f" ({upstream['share']:.0%}{by})" if upstream["share"] < 1 else ""
        yield "upstream", f"{upstream['name']}{share}: {', '.join(upstream['backends'])}"
    if "upstreams" in hit:
        target = hit["target"]
        yield "reads", target if target is not None else "nothing: the new path is refused, 400"
        for name in hit["dropped"]:
            yield "without", name
        for line in hit["written"]:
            yield "with", line
