"""Binding: one group per listener, proof that the port was free, unix sockets with their files."""

from __future__ import annotations

import grp
import os
import pwd
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastproxy.process import sockets
from fastproxy.process.handover import ListenerSpec
from fastproxy.process.place import Lock, PlaceError, holder, lock_path, private_directory
from fastproxy.process.sockets import SHARED, BindError, Listener, address_of, listen_all, owner_of


@pytest.fixture
def opened() -> Iterator[list[Listener]]:
    listeners: list[Listener] = []
    yield listeners
    for listener in listeners:
        listener.close()


def bind(opened: list[Listener], spec: ListenerSpec | str, slots: int = 3) -> Listener:
    one = spec if isinstance(spec, ListenerSpec) else ListenerSpec(bind=spec)
    opened += listen_all([one], slots)
    return opened[-1]


def accepted(one: socket.socket) -> list[socket.socket]:
    found = []
    while True:
        try:
            found.append(one.accept()[0])
        except BlockingIOError:
            return found


def test_port_0_gives_all_slots_the_same_port(opened: list[Listener]) -> None:
    listener = bind(opened, "127.0.0.1:0", 4)
    assert listener.port > 0
    assert listener.name == f"127.0.0.1:{listener.port}"
    assert sorted(listener.sockets) == [0, 1, 2, 3]
    assert {one.getsockname()[1] for one in listener.sockets.values()} == {listener.port}


def test_the_kernel_spreads_connections_over_the_slots(opened: list[Listener]) -> None:
    listener = bind(opened, "127.0.0.1:0", 3)
    clients = [socket.create_connection(("127.0.0.1", listener.port)) for _ in range(60)]
    counts = [len(accepted(one)) for one in listener.sockets.values()]
    for client in clients:
        client.close()
    assert sum(counts) == 60
    assert all(counts)  # 3 * (2/3)^60: never


def test_a_taken_port_is_refused_with_a_hint(opened: list[Listener]) -> None:
    first = bind(opened, "127.0.0.1:0")
    with pytest.raises(BindError, match=rf"{first.port}: the port is taken .* ss -ltnp"):
        bind(opened, f"127.0.0.1:{first.port}")
    with pytest.raises(BindError, match="taken"):
        bind(opened, f":{first.port}")


def test_a_refused_listener_closes_those_before_it(opened: list[Listener]) -> None:
    taken = bind(opened, "127.0.0.1:0")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    specs = [ListenerSpec(bind=f"127.0.0.1:{p}") for p in (port, taken.port)]
    with pytest.raises(BindError):
        listen_all(specs, 2)
    bind(opened, f"127.0.0.1:{port}")


def test_a_port_in_time_wait_is_free(opened: list[Listener]) -> None:
    listener = bind(opened, "127.0.0.1:0", 1)
    client = socket.create_connection(("127.0.0.1", listener.port))
    (served,) = accepted(listener.sockets[0])
    served.close()  # we close first: TIME_WAIT is ours
    assert client.recv(1) == b""
    client.close()
    port = listener.port
    opened.pop().close()
    assert bind(opened, f"127.0.0.1:{port}").port == port


def test_a_colon_and_port_is_dual_stack(opened: list[Listener]) -> None:
    listener = bind(opened, ":0", 2)
    for host in ("127.0.0.1", "::1"):
        socket.create_connection((host, listener.port), 2).close()


def test_brackets_are_ipv6_alone(opened: list[Listener]) -> None:
    listener = bind(opened, "[::]:0", 1)
    socket.create_connection(("::1", listener.port), 2).close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", listener.port), 2)
    bind(opened, f"0.0.0.0:{listener.port}")


def test_without_ipv6_a_colon_and_port_is_ipv4(
    opened: list[Listener], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = sockets._tcp_socket

    def no_ipv6(spec: ListenerSpec, family: int) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(97, "Address family not supported by protocol")
        return real(spec, family)

    monkeypatch.setattr(sockets, "_tcp_socket", no_ipv6)
    listener = bind(opened, ":0", 2)
    assert listener.sockets[0].family == socket.AF_INET
    socket.create_connection(("127.0.0.1", listener.port), 2).close()


def test_accepted_connections_inherit_the_options(opened: list[Listener]) -> None:
    spec = ListenerSpec(bind="127.0.0.1:0", keepalive=True, defer_accept=5, backlog=7)
    one = bind(opened, spec, 1).sockets[0]
    assert one.getsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT) >= 5
    client = socket.create_connection(one.getsockname())
    client.sendall(b"x")
    (served,) = accepted(one)
    assert served.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert served.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    plain = bind(opened, ListenerSpec(bind="127.0.0.1:0", keepalive=False), 1).sockets[0]
    assert not plain.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


def test_sockets_do_not_block_and_are_not_inherited_by_exec(opened: list[Listener]) -> None:
    for one in bind(opened, "127.0.0.1:0").sockets.values():
        assert not os.get_blocking(one.fileno())
        assert not one.get_inheritable()


def test_shut_ends_listening_for_all_holders(opened: list[Listener]) -> None:
    listener = bind(opened, "127.0.0.1:0", 2)
    copies = [socket.socket(fileno=os.dup(one.fileno())) for one in listener.sockets.values()]
    listener.shut()
    listener.shut()  # twice is harmless
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", listener.port), 2)
    for copy in copies:
        copy.close()


@pytest.mark.parametrize(
    "bad",
    ["", "8080", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1:80x", "h:٣"],
)
def test_what_is_no_address(bad: str) -> None:
    with pytest.raises(BindError, match="not an address"):
        address_of(bad)


def test_names_are_resolved_ipv4_first() -> None:
    assert address_of("localhost:80") == (socket.AF_INET, "127.0.0.1", 80)
    with pytest.raises(BindError, match="no-such-name"):
        address_of("no-such-name.invalid:80")


def test_an_address_of_another_machine(opened: list[Listener]) -> None:
    with pytest.raises(BindError, match="no such address"):
        bind(opened, "192.0.2.1:0")


# -- unix ---------------------------------------------------------------------------------------


def test_a_unix_socket_is_shared_and_has_its_mode(opened: list[Listener], tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    listener = bind(opened, ListenerSpec(bind=f"unix:{path}", mode=0o620), 4)
    assert list(listener.sockets) == [SHARED]
    assert stat.S_IMODE(path.stat().st_mode) == 0o620
    assert holder(lock_path(str(path))) == os.getpid()
    opened.pop().close()
    assert os.listdir(tmp_path) == []


def test_a_unix_socket_has_its_owner(opened: list[Listener], tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    spec = ListenerSpec(bind=f"unix:{path}", owner="nobody:daemon")
    if os.geteuid() != 0:  # only root can give a file away
        with pytest.raises(BindError, match="not permitted"):
            bind(opened, spec)
        return
    bind(opened, spec)
    found = path.stat()
    assert found.st_uid == pwd.getpwnam("nobody").pw_uid
    assert found.st_gid == grp.getgrnam("daemon").gr_gid


def test_owners(opened: list[Listener], tmp_path: Path) -> None:
    assert owner_of("") == (-1, -1)
    assert owner_of("12:34") == (12, 34)
    assert owner_of("root") == (0, -1)
    assert owner_of(":34") == (-1, 34)
    with pytest.raises(BindError, match="no-such-user"):
        bind(opened, ListenerSpec(bind=f"unix:{tmp_path}/x", owner="no-such-user"))
    assert os.listdir(tmp_path) == []


def test_a_stale_socket_is_replaced(opened: list[Listener], tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    bind(opened, f"unix:{path}")
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


def test_a_live_socket_is_left_alone(opened: list[Listener], tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        with pytest.raises(BindError, match="another program listens there"):
            bind(opened, f"unix:{path}")
        assert path.is_socket()
    assert os.listdir(tmp_path) == ["x.sock"]


def test_a_second_fastproxy_sees_the_lock(opened: list[Listener], tmp_path: Path) -> None:
    bind(opened, f"unix:{tmp_path}/x.sock")
    with pytest.raises(BindError, match=f"held by pid {os.getpid()}"):
        bind(opened, f"unix:{tmp_path}/x.sock")


def test_a_file_is_never_removed(opened: list[Listener], tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("data")
    with pytest.raises(BindError, match="not a socket"):
        bind(opened, f"unix:{path}")
    assert path.read_text() == "data"


def test_a_file_put_in_our_place_survives_our_end(opened: list[Listener], tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    bind(opened, f"unix:{path}")
    path.unlink()
    path.write_text("new")
    opened.pop().close()
    assert path.read_text() == "new"


@pytest.mark.parametrize("bad", ["unix:relative", "unix:", "unix:/" + "x" * 107])
def test_unix_paths_have_bounds(opened: list[Listener], bad: str) -> None:
    with pytest.raises(BindError, match="absolute path of at most 107"):
        bind(opened, bad)


# -- places -------------------------------------------------------------------------------------


def test_a_lock_is_free_again_after_its_holder(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    assert holder(path) is None
    lock = Lock(path)
    assert holder(path) == os.getpid()
    with pytest.raises(PlaceError):
        Lock(path)
    lock.release()
    assert holder(path) is None
    assert not os.path.exists(path)


def test_a_lock_left_by_the_dead_is_taken_over(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    pid = os.fork()
    if pid == 0:
        Lock(path)
        os._exit(0)
    os.waitpid(pid, 0)
    assert os.path.exists(path)
    assert holder(path) is None
    Lock(path).release()


def test_a_symlink_is_no_lock(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("data")
    (tmp_path / "lock").symlink_to(tmp_path / "target")
    with pytest.raises(PlaceError):
        Lock(str(tmp_path / "lock"))
    assert (tmp_path / "target").read_text() == "data"


def test_the_control_directory_is_private_or_refused(tmp_path: Path) -> None:
    private_directory(str(tmp_path / "new" / "control.sock"))
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(PlaceError, match="others could replace"):
        private_directory(str(tmp_path / "open" / "control.sock"))
    private_directory("/tmp/control.sock")  # sticky: others cannot replace


def test_a_directory_of_somebody_else_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    if tmp_path.stat().st_uid == 0:  # root's own directories are trusted
        os.chown(tmp_path, pwd.getpwnam("nobody").pw_uid, -1)
    with pytest.raises(PlaceError, match="belongs to uid"):
        private_directory(str(tmp_path / "control.sock"))
