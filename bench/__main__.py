"""Runs the benchmarks: `python -m bench` runs all, `python -m bench placement` the named ones."""

from __future__ import annotations

import argparse
from importlib import import_module
from pkgutil import iter_modules

import bench


def names() -> list[str]:
    """Return the benchmarks' names: every module of this package but this one."""
    return sorted(found.name for found in iter_modules(bench.__path__) if found.name != "__main__")


def main() -> None:
    """Run them one after the other; each module has a `main` that takes its own arguments."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("benchmarks", nargs="*", metavar="NAME", help=", ".join(names()))
    chosen = parser.parse_args().benchmarks or names()
    if unknown := sorted(set(chosen) - set(names())):
        parser.error(f"no such benchmark: {', '.join(unknown)}; there are {', '.join(names())}")
    for name in chosen:
        module = import_module(f"bench.{name}")
        if hasattr(module, "main"):  # else it only makes what others measure
            print(f"== {name}", flush=True)
            module.main([])


if __name__ == "__main__":
    main()
