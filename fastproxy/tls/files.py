# SPDX-License-Identifier: MIT
"""Reading the files of a keyring: what they say, which ones they were, and what is wrong so far."""

from __future__ import annotations

import difflib
import os
import stat
import time
from dataclasses import dataclass, field

from fastproxy.addresses import printable
from fastproxy.errors import Problem

FILE_BYTES_MAX = 4 * 1024 * 1024
DIRECTORY_ENTRIES_MAX = 100_000
CERTIFICATE_ENDINGS = (".crt", ".pem", ".cer")
LETSENCRYPT = ("fullchain.pem", "privkey.pem")


@dataclass
class Reading:
    """One build of a keyring. `where` is always a path of the configuration."""

    directory: str = ""
    """What paths are relative to: that of the configuration file."""
    now: float = field(default_factory=time.time)
    problems: list[Problem] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    """Every file and directory that was looked at, also in vain, and its mark before: whose change
    counts."""

    def error(self, where: str, text: str, hint: str = "") -> None:
        self.problems.append(Problem(where, printable(text), hint))

    def warn(self, where: str, text: str, hint: str = "") -> None:
        self.problems.append(Problem(where, printable(text), hint, warning=True))

    def place(self, path: str) -> str:
        """Where a configured path is; remembered as one that counts."""
        whole = os.path.abspath(os.path.join(self.directory, path))
        self.note(whole)
        return whole

    def note(self, whole: str) -> None:
        if whole not in self.files:
            self.files[whole] = mark(whole)

    def read(self, where: str, path: str) -> bytes | None:
        """What is in the file; None, and said, if it cannot be had."""
        if "\0" in path:
            self.error(where, "has a NUL character")
            return None
        whole = self.place(path)
        try:
            with open(whole, "rb") as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    self.error(where, f"{path} is no file")
                    return None
                data = file.read(FILE_BYTES_MAX + 1)
        except FileNotFoundError:
            self.error(where, f"there is no file {path}", meant(whole))
            return None
        except OSError as error:
            self.error(where, f"{path} cannot be read: {error.strerror}", rights(whole, error))
            return None
        if len(data) > FILE_BYTES_MAX:
            self.error(where, f"{path} is larger than {FILE_BYTES_MAX >> 20} MiB")
            return None
        return data

    def watch_key(self, where: str, path: str) -> None:
        """Is the key in this file everybody's to read?"""
        try:
            mode = os.stat(self.place(path)).st_mode
        except OSError:
            return
        if mode & 0o007 or mode & 0o020:
            who = "be read by everybody" if mode & 0o004 else "be changed by others"
            text = f"{path} holds a private key and can {who} ({stat.S_IMODE(mode):04o})"
            self.warn(where, text, f"chmod 600 {path}")

    def pairs_in(self, where: str, path: str) -> list[tuple[str, str]]:
        """(certificate, key) of every pair in a directory and the ones right in it."""
        top = self.place(path)
        found: list[tuple[str, str]] = []
        try:
            below = [one.path for one in os.scandir(top) if one.is_dir() and one.name[0] != "."]
        except FileNotFoundError:
            self.error(where, f"there is no directory {path}", meant(top))
            return []
        except OSError as error:
            self.error(where, f"{path} cannot be listed: {error.strerror}")
            return []
        for folder in [top, *sorted(below)]:
            self.note(folder)
            try:
                names = set(os.listdir(folder)[:DIRECTORY_ENTRIES_MAX])
            except OSError as error:
                self.error(where, f"{folder} cannot be listed: {error.strerror}")
                continue
            found += [
                (os.path.join(folder, cert), os.path.join(folder, key))
                for cert, key in _pairs_of(names)
            ]
        if not found:
            hint = "a pair is NAME.crt or NAME.pem with NAME.key, or fullchain.pem with privkey.pem"
            self.error(where, f"there is no certificate with a key in {path}", hint)
        return found


def mark(path: str) -> str:
    """What tells one state of a file from another: it is another one behind all symlinks, or was
    written anew, or cannot be looked at."""
    try:
        found = os.stat(path)
    except (OSError, ValueError) as error:
        return str(error)
    return f"{found.st_dev}:{found.st_ino}:{found.st_size}:{found.st_mtime_ns}:{found.st_ctime_ns}"


def _pairs_of(names: set[str]) -> list[tuple[str, str]]:
    if names.issuperset(LETSENCRYPT):
        return [LETSENCRYPT]
    pairs = []
    for key in sorted(names):
        stem, ending = os.path.splitext(key)
        cert = next((stem + one for one in CERTIFICATE_ENDINGS if stem + one in names), "")
        if ending == ".key" and cert and key[0] != ".":
            pairs.append((cert, key))
    return pairs


def meant(whole: str) -> str:
    """ "did you mean ...?" of the files beside a missing one; else what is missing of its path."""
    parent, name = os.path.split(whole)
    try:
        names = os.listdir(parent)
    except OSError:
        return f"there is no directory {printable(parent)}"
    found = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    return f'did you mean "{printable(found[0])}"?' if found else f"looked for {printable(whole)}"


def rights(whole: str, error: OSError) -> str:
    if not isinstance(error, PermissionError):
        return ""
    try:
        mode = os.stat(whole).st_mode
    except OSError:
        return "a directory on the way may not be entered by this user"
    return f"its permissions are {stat.S_IMODE(mode):04o}, we are user {os.geteuid()}"
