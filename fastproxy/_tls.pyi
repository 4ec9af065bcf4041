"""TLS for the engine: the typed face of `fastproxy/_tls.pyx`. There only where libssl 3 is."""

from fastproxy._core import WorkerEngine

def version() -> str:
    """Of the libssl that is in use."""

def attach(engine: WorkerEngine, debug: bool = False) -> None:
    """Once for each engine, before `load` and before it listens. `debug`: say on standard error why
    handshakes of clients fail."""

def ktls_trouble() -> str:
    """Why the kernel cannot encrypt records (kTLS); "": it can."""

def load(engine: WorkerEngine, data: bytes, kernel: bool | None = None) -> list[str]:
    """Make contexts of a keyring (tls/keyring.py) and put them in force: for who comes from now on,
    and for upstream connections made from now on. ValueError says what is wrong, and then nothing
    has changed. `kernel`: whether it can do records for listeners that ask for kTLS; None: ask it.
    What is worth a line in the log."""
