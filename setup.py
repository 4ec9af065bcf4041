"""Builds fastproxy's compiled parts.

`fastproxy._core` is the hot path: one translation unit, made of header-only rooms (`.pxd`) and the
engine (`.pxi`). `_tls` and `_http2` are its sisters, built where their libraries are; without them
the program runs and cannot do that. `fastproxy._probe` is the window through which tests and
fuzzers call rooms; it is built in place only and is not part of a wheel.

Environment:
    FASTPROXY_DEBUG=1   MUST_HOT asserts, line numbers, -O1 -g   (make debug)
    FASTPROXY_ASAN=1    AddressSanitizer and UndefinedBehaviorSanitizer   (make asan)
    FASTPROXY_COVERAGE=1  line numbers and gcov counters   (make coverage)
    FASTPROXY_NO_TLS=1, FASTPROXY_NO_HTTP2=1    leave that part out, whatever is there
    FASTPROXY_STRICT=1  any warning of Cython or the C compiler is an error   (make lint)
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from Cython.Build import cythonize
from Cython.Compiler import Options
from setuptools import Extension, setup

HERE = Path(__file__).resolve().parent
PACKAGE = HERE / "fastproxy"
DEBUG = bool(os.environ.get("FASTPROXY_DEBUG"))
ASAN = bool(os.environ.get("FASTPROXY_ASAN"))
COVERAGE = bool(os.environ.get("FASTPROXY_COVERAGE"))
STRICT = bool(os.environ.get("FASTPROXY_STRICT"))
IN_PLACE = "--inplace" in sys.argv

STRUCT = re.compile(r"^cdef struct (\w+):")
FIELD = re.compile(r"^    ([A-Za-z_]\w*)\s+(\w+)((?:\[\w+\])?)\s*(?:#.*)?$")


def table_structs(path: Path) -> dict[str, list[tuple[str, str]]]:
    """Every `cdef struct` of a table file as {struct: [(field, type)]}."""
    structs: dict[str, list[tuple[str, str]]] = {}
    name = None
    for line in path.read_text().splitlines():
        if match := STRUCT.match(line):
            name = match[1]
            structs[name] = []
        elif name and line and not line.startswith(" "):
            name = None
        elif name and (match := FIELD.match(line)):
            structs[name].append((match[2], match[1]))
    return structs


def write_layout() -> None:
    """Write `_layout.pxi`: offsets and sizes of every table struct, as the C compiler sees them.

    Python that fills tables (`build.py` files) takes offsets from here, never by hand.
    """
    lines = ["# Written by setup.py from the table files; not kept in git."]
    tables = sorted([*PACKAGE.glob("*/table.pxd"), PACKAGE / "memory/span.pxd"])
    body = ["", "", "cdef dict _layout():", "    cdef dict tables = {}"]
    filling: list[str] = []
    for path in tables:
        structs = table_structs(path)
        if not structs:
            continue
        module = ".".join(path.relative_to(HERE).with_suffix("").parts)
        lines += [f"from {module} cimport (", *(f"    {struct}," for struct in structs), ")"]
        for struct, fields in structs.items():
            body.append(f"    cdef {struct} _{struct}")
            filling.append(f'    tables["{struct}"] = (sizeof({struct}), {{')
            for field, kind in fields:
                filling += [
                    f'        "{field}": (',
                    f"            <char *> &_{struct}.{field} - <char *> &_{struct},",
                    f'            sizeof(_{struct}.{field}), "{kind}"),',
                ]
            filling.append("    })")
    text = "\n".join([*lines, *body, *filling, "    return tables"]) + "\n"
    target = PACKAGE / "_layout.pxi"
    if not target.exists() or target.read_text() != text:
        target.write_text(text)


def mode_changed() -> bool:
    """Were the parts last built with other switches? Time stamps would not tell."""
    note = HERE / "build" / "mode"
    mode = f"debug={DEBUG} asan={ASAN}" + " coverage" * COVERAGE
    last = note.read_text() if note.exists() else mode
    if IN_PLACE:
        note.parent.mkdir(exist_ok=True)
        note.write_text(mode + " strict" * STRICT)
    # What was built strictly is as good as any other.
    return last.removesuffix(" strict") != mode or (STRICT and not last.endswith(" strict"))


def rooms_of(name: str) -> list[Path]:
    """What this extension may be made of: no sister's own folder but its own."""
    others = {sister[1:] for sister in SISTERS if sister != name}
    kinds = ("*/*.pxd", "*/*.pxi", "*/*.h", "*.pxd", "*.pxi")
    found = [path for kind in kinds for path in PACKAGE.glob(kind)]
    return [path for path in found if path.parent.name not in others]


def older_than_a_room(name: str) -> bool:
    """Is the C of this extension older than any room? Cython follows `cimport` by itself, but not
    `from package cimport room as other`."""
    made = PACKAGE / f"{name}.c"
    rooms = rooms_of(name)
    return not made.exists() or made.stat().st_mtime < max(one.stat().st_mtime for one in rooms)


SISTERS = {"_tls": ("FASTPROXY_NO_TLS", "openssl/ssl.h", ["ssl", "crypto"],
                    "#if OPENSSL_VERSION_NUMBER < 0x30000000L\n#error old\n#endif"),
           "_http2": ("FASTPROXY_NO_HTTP2", "nghttp2/nghttp2.h", ["nghttp2"], "")}  # fmt: skip
"""Parts that the program can do without: the switch that leaves one out, the header and libraries
it needs, and what else must hold of them."""


def wanted(name: str) -> bool:
    """Is this part to be built: are its libraries there, by a compiler's judgement?"""
    if name not in SISTERS:
        return IN_PLACE or name != "_probe"
    switch, header, libraries, check = SISTERS[name]
    if os.environ.get(switch):
        print(f"{name} is left out: {switch} is set")
        return False
    command = [*shlex.split(os.environ.get("CC", "cc")), "-x", "c", "-", "-o", os.devnull]
    probe = f"#include <{header}>\n{check}\nint main(void) {{ return 0; }}\n"
    found = subprocess.run(
        [*command, *(f"-l{one}" for one in libraries)],
        input=probe, text=True, stderr=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    if found.returncode != 0:
        print(f"{name} is left out: no {header}, or too old a one")
    return found.returncode == 0


def extension(name: str) -> Extension:
    # -O3 inlines more: 5% fewer instructions a request than -O2 (docs/performance.md).
    compile_args = ["-O3", "-fno-strict-aliasing", "-fvisibility=hidden", "-Wall"]
    # Cython's own code has many of these; in ours cython-lint finds them.
    compile_args += [f"-Wno-unused-{kind}" for kind in ("function", "variable", "but-set-variable")]
    link_args = []
    macros: list[tuple[str, str | None]] = []
    if STRICT:
        compile_args.append("-Werror")
    if DEBUG:
        compile_args += ["-O1", "-g"]
        macros.append(("FASTPROXY_DEBUG", "1"))
    if ASAN:
        flags = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
        compile_args += ["-O1", "-g", "-fno-omit-frame-pointer", *flags]
        link_args += flags
        macros.append(("FASTPROXY_DEBUG", "1"))
    if COVERAGE:
        compile_args += ["-O0", "--coverage"]
        link_args.append("--coverage")
    return Extension(
        f"fastproxy.{name}",
        [f"fastproxy/{name}.pyx"],
        include_dirs=[str(HERE)],
        libraries=[*(SISTERS[name][2] if name in SISTERS else []), "pcre2-8", "pthread"],
        extra_compile_args=compile_args,
        extra_link_args=link_args,
        define_macros=macros,
        depends=[str(path) for path in (HERE / "setup.py", *rooms_of(name))],
    )


def cythonized(name: str, changed: bool) -> list[Extension]:
    made: list[Extension] = cythonize(
        [extension(name)],
        force=changed or older_than_a_room(name) or None,
        compiler_directives={
            "language_level": 3,
            "cdivision": True,
            "boundscheck": False,
            "wraparound": False,
            "initializedcheck": False,
            "nonecheck": False,
            "embedsignature": True,
            "freethreading_compatible": False,
        },
        emit_linenums=DEBUG or ASAN or COVERAGE,
        show_all_warnings=True,
    )
    return made


write_layout()
Options.warning_errors = STRICT
names = [path.stem for path in sorted(PACKAGE.glob("_*.pyx")) if wanted(path.stem)]
changed = mode_changed()
setup(
    ext_modules=[one for name in names for one in cythonized(name, changed)],
    options={"build_ext": {"force": changed, "parallel": os.cpu_count()}},
)
