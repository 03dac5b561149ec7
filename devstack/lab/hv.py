#!/usr/bin/env python3
"""Lab hosts by hand:

hv.py up BED [N]             N hosts (2)            hv.py start BED HOST GUEST hot-add|nova [CPU [MEM]]
hv.py uri BED HOST           for virsh -c           hv.py in BED HOST COMMAND...
hv.py crash BED HOST         power failure          hv.py partition BED HOST on|off
hv.py down BED | --all       everything goes        hv.py list
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from foreshape_lab import Bed, Host, LabError, bed_names, hot_add, nova_like

USAGE = 2


def host_of(bed: str, name: str) -> Host:
    if bed not in bed_names() or not name.removeprefix("hv").isdigit():
        raise LabError(f"no host {name} in a bed {bed}: beds are {', '.join(bed_names()) or 'none'}")
    return Bed(bed).host(int(name.removeprefix("hv")))


def up(bed: str, hosts: str = "2") -> None:
    for host in Bed(bed, int(hosts)).up().hosts:
        print(f"{host.name} {host.uri}")


def start(bed: str, host: str, guest: str, kind: str = "hot-add", *load: str) -> None:
    make = {"hot-add": hot_add, "nova": nova_like}[kind]
    print(host_of(bed, host).start(make(guest, **dict(zip(("cpu", "mem"), load, strict=False)))).console.latest)


def enter(bed: str, host: str, *command: str) -> None:
    words = host_of(bed, host).command(command)
    os.execvp(words[0], words)


def down(bed: str) -> None:
    for name in bed_names() if bed == "--all" else [bed]:
        Bed(name, 1).down()


VERBS: dict[str, Callable[..., object]] = {
    "up": up,
    "start": start,
    "in": enter,
    "down": down,
    "uri": lambda bed, host: print(host_of(bed, host).uri),
    "crash": lambda bed, host: host_of(bed, host).crash(),
    "partition": lambda bed, host, on: host_of(bed, host).partition(off=on == "on"),
    "list": lambda: print("\n".join(bed_names())),
}


def main(words: list[str]) -> int:
    if not words or words[0] not in VERBS:
        print(__doc__)
        return USAGE
    try:
        VERBS[words[0]](*words[1:])
    except (TypeError, KeyError, ValueError) as e:
        print(f"{e}\n{__doc__}", file=sys.stderr)
        return USAGE
    except LabError as e:
        print(e, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
