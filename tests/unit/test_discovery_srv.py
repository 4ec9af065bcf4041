"""SRV records as weights and priorities, and endpoints as members."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastproxy.balance import build
from fastproxy.balance.build import Endpoint
from fastproxy.balance.settings import Backend, Upstream
from fastproxy.discovery.srv import Service, scaled, shares
from fastproxy.schema import UpstreamUrl

URL = UpstreamUrl.parse("http+srv://_http._tcp.api.test")


@pytest.mark.parametrize(
    ("weights", "wanted"),
    [
        ([], []),
        ([0], [1]),
        ([0, 0, 0], [1, 1, 1]),
        ([10, 20, 30], [1, 2, 3]),
        ([60000, 60000], [1, 1]),
        ([65535, 1], [256, 1]),
        ([65535, 32768], [256, 128]),
        ([0, 10], [1, 256]),  # a very small chance, not none
        ([0, 5, 10], [1, 128, 256]),
        ([1, 256], [1, 256]),
    ],
)
def test_weights(weights: list[int], wanted: list[int]) -> None:
    assert scaled(weights) == wanted


@given(st.lists(st.integers(0, 65535), min_size=1, max_size=50))
def test_scaled_weights_keep_their_order_and_are_ours(weights: list[int]) -> None:
    found = scaled(weights)
    assert all(1 <= weight <= 256 for weight in found)
    for one, shown in zip(weights, found, strict=True):
        for other, other_shown in zip(weights, found, strict=True):
            if one > other:
                assert shown >= other_shown
    if most := max(weights):
        for one, shown in zip(weights, found, strict=True):
            assert abs(shown / max(found) - one / most) <= 1 / 256


def test_priorities_are_numbered_and_each_group_is_scaled_for_itself() -> None:
    records = [Service(70, 500, "d", 1), Service(20, 2, "b", 1), Service(10, 5, "a", 1)]
    records += [Service(20, 1, "c", 1)]
    assert [(one.target, weight, priority) for one, weight, priority in shares(records)] == [
        ("a", 1, 0), ("b", 2, 1), ("c", 1, 1), ("d", 1, 2),
    ]  # fmt: skip
    many = [Service(number * 5, 1, f"t{number}", 1) for number in range(12)]
    assert [priority for _, _, priority in shares(many)] == [0, 1, 2, 3, 4, 5, 6, 7, 7, 7, 7, 7]


def places() -> list[Endpoint]:
    return [
        Endpoint(build.sockaddr_inet("10.0.0.1", 8001), 5, 0, "a.test:8001"),
        Endpoint(build.sockaddr_inet("10.0.0.1", 8002), 1, 1, "b.test:8002"),
        Endpoint(build.sockaddr_inet("fd00::1", 8001), 5, 0, "a.test:8001"),
    ]


def test_endpoints_as_members() -> None:
    upstreams = {"api": Upstream(backends=[Backend(url=URL, weight=7, zone="z")])}
    found = build.members(upstreams, {str(URL): places()})
    assert [(one.name, one.weight, one.priority, one.authority) for one in found] == [
        (f"{URL}#10.0.0.1:8001", 5, 0, "a.test:8001"),
        (f"{URL}#10.0.0.1:8002", 1, 1, "b.test:8002"),
        (f"{URL}#[fd00::1]:8001", 5, 0, "a.test:8001"),
    ]
    assert {one.backend.zone for one in found} == {"z"}
    assert build.tiers_of(found, "")[0] == [0, 1, 0]
    roster = build.build_roster(upstreams, {str(URL): places()}, build.assign_rows(found), 1)
    assert [(one["name"], one["weight"]) for one in build.read_roster(roster)] == [
        (one.name, one.weight) for one in found
    ]


def test_what_is_configured_has_the_last_word() -> None:
    """Weight 0 stays 0; priorities count from the configured one, up to the last."""
    url = {str(URL): places()}
    drained = {"api": Upstream(backends=[Backend(url=URL, weight=0)])}
    assert [one.weight for one in build.members(drained, url)] == [0, 0, 0]
    behind = {"api": Upstream(backends=[Backend(url=URL, priority=7)])}
    assert [one.priority for one in build.members(behind, url)] == [7, 7, 7]
    plain = {"api": Upstream(backends=[Backend(url=URL, weight=3, priority=2)])}
    bare = build.members(plain, {str(URL): [Endpoint(build.sockaddr_inet("10.0.0.1", 80))]})[0]
    assert (bare.weight, bare.priority, bare.authority) == (3, 2, "_http._tcp.api.test")
