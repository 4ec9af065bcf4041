"""TLS for the engine: the typed face of `fastproxy/_tls.pyx`. There only where libssl 3 is."""

from fastproxy._core import WorkerEngine

def version() -> str:
    """Of the libssl that is in use."""

def attach(engine: WorkerEngine) -> None:
    """Once for each engine, before `load` and before it listens."""

def load(engine: WorkerEngine, data: bytes) -> None:
    """Make contexts of a keyring (tls/keyring.py) and put them in force: for who comes from now on,
    and for upstream connections made from now on. ValueError says what is wrong, and then nothing
    has changed."""
