"""The guest's kernel and initial RAM disk: Debian's cloud kernel, busybox, the guest agent and our load daemon.

Built once and kept under the state folder, named by a digest of what went in.
"""

import gzip
import hashlib
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from foreshape_lab.errors import LabError, Missing
from foreshape_lab.packages import unpack
from foreshape_lab.shell import run
from foreshape_lab.state import locked, state_root

SOURCES = Path(__file__).parent / "guest"
KERNEL_PACKAGE = "linux-image-cloud-amd64"
DRIVERS = ("virtio_pci", "virtio_blk", "virtio_net", "virtio_balloon", "virtio_mem", "virtio_console")


@dataclass(frozen=True)
class Image:
    """What a guest boots from."""

    kernel: Path
    initrd: Path


@dataclass(frozen=True)
class Kernel:
    """An unpacked kernel: its file and its modules' folder."""

    file: Path
    modules: Path


def image() -> Image:
    """The image, built if it is not there. Needs apt (or the packages already installed) the first time."""
    folder = state_root() / f"image-{digest()}"
    made = Image(kernel=folder / "vmlinuz", initrd=folder / "initrd.gz")
    with locked("image"):
        if not made.initrd.exists():
            build(folder, made)
    return made


def digest() -> str:
    """Changes with our sources and this recipe."""
    parts = [Path(__file__), *sorted(SOURCES.iterdir())]
    return hashlib.sha256(b"".join(p.read_bytes() for p in parts)).hexdigest()[:12]


def build(folder: Path, made: Image) -> None:
    print("building the guest image (once)", flush=True)
    work = folder.with_suffix(".making")
    shutil.rmtree(work, ignore_errors=True)
    root = work / "root"
    for part in ("bin", "dev", "proc", "sys", "modules", "usr/sbin", "lib/x86_64-linux-gnu", "lib64", "etc", "run", "tmp", "var"):
        (root / part).mkdir(parents=True)
    kernel = find_kernel(work / "kernel")
    add_programs(root, work)
    add_guest_agent(root, work / "agent")
    add_drivers(root / "modules", kernel)
    pack(root, work / "initrd.gz")
    shutil.copyfile(kernel.file, work / "vmlinuz")
    folder.mkdir(parents=True, exist_ok=True)
    (work / "vmlinuz").replace(made.kernel)
    (work / "initrd.gz").replace(made.initrd)
    shutil.rmtree(work)


def find_kernel(unpacked: Path) -> Kernel:
    """The cloud kernel of this machine if it has one, else Debian's, unpacked but not installed."""
    for root in (Path("/"), unpacked):
        if root == unpacked:
            unpack(kernel_package(), unpacked)
        for file in sorted(root.glob("boot/vmlinuz-*cloud-amd64"), reverse=True):
            modules = root / "lib/modules" / file.name.removeprefix("vmlinuz-")
            if modules.exists():
                return Kernel(file, modules)
    raise Missing(f"no kernel in the package {KERNEL_PACKAGE}")


def kernel_package() -> str:
    """The package that the meta package stands for now."""
    depends = run(["apt-cache", "depends", KERNEL_PACKAGE])
    found = re.search(r"Depends: (linux-image-\S+-cloud-amd64)", depends)
    if not found:
        raise Missing(f"apt knows no {KERNEL_PACKAGE}: run apt-get update")
    return found.group(1)


def add_programs(root: Path, work: Path) -> None:
    unpack("busybox-static", work / "busybox")  # the machine's own busybox may be a dynamic one
    shutil.copy(next((work / "busybox").glob("**/bin/busybox")), root / "bin/busybox")
    run(["gcc", "-O1", "-Wall", "-static", "-pthread", "-o", root / "bin/loadd", SOURCES / "loadd.c", "-lm"])
    shutil.copy(SOURCES / "init", root / "init")
    (root / "init").chmod(0o755)


def add_guest_agent(root: Path, unpacked: Path) -> None:
    unpack("qemu-guest-agent", unpacked)
    program = next(unpacked.glob("usr/sbin/qemu-ga"))
    shutil.copy(program, root / "usr/sbin/qemu-ga")
    listing = run(["ldd", program])
    if "not found" in listing:
        lacking = re.findall(r"(\S+) => not found", listing)
        raise Missing(f"the guest agent's libraries are not here: {' '.join(lacking)} (apt-get install qemu-guest-agent brings them)")
    for library in re.findall(r"/\S+\.so\S*", listing):
        into = root / ("lib64" if library.startswith("/lib64/") else "lib/x86_64-linux-gnu")
        shutil.copy(Path(library).resolve(), into / Path(library).name)


def add_drivers(into: Path, kernel: Kernel) -> None:
    """The drivers and what they depend on, with the order to load them in."""
    if not (kernel.modules / "modules.dep").exists():
        run(["depmod", "-b", kernel.modules.parents[2], kernel.modules.name])
    needs = read_dependencies(kernel.modules / "modules.dep")
    order: list[str] = []
    for driver in DRIVERS:
        file = next((f for f in needs if Path(f).name == f"{driver}.ko"), None)
        if file is None:
            raise LabError(f"the kernel {kernel.modules.name} has no module {driver}")
        order += [f for f in (*reversed(needs[file]), file) if f not in order]
    for file in order:
        shutil.copy(kernel.modules / file, into)
    (into / "order").write_text("".join(f"{Path(f).name}\n" for f in order))


def read_dependencies(listing: Path) -> dict[str, list[str]]:
    """modules.dep: a module's file → the files it needs, deepest last."""
    lines = (line.partition(":") for line in listing.read_text().splitlines())
    return {file: rest.split() for file, _, rest in lines}


def pack(root: Path, into: Path) -> None:
    names = "".join(f"{p.relative_to(root)}\n" for p in sorted(root.rglob("*")))
    archive = into.with_suffix(".cpio")
    run(["cpio", "-o", "-H", "newc", "--quiet", "-O", archive], cwd=root, text_in=names)
    with archive.open("rb") as plain, gzip.open(into, "wb", compresslevel=6) as small:
        shutil.copyfileobj(plain, small)
