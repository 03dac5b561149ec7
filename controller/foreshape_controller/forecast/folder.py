"""A model on disk: a folder that is whole or not there.

``manifest.json`` names every other file with its sha256 and is written last; the folder is made beside its place and renamed into
it. Only the gate and the calibration may change later; each seals itself. Whatever was cut, changed or made by another version is
refused with a sentence that says what to do.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import msgspec

from foreshape_controller.errors import ModelError
from foreshape_controller.forecast.calibrate import Calibration
from foreshape_controller.model.learned import Corrections, Gate, Manifest

FORMAT = 1
"""Of the folder; raised when older code could not read it."""

MANIFEST, GATE, CALIBRATION = "manifest.json", "gate.json", "calibration.json"

EXAMINED = "examined"
"""Folder of the weights that had not seen the held-back days."""

REMADE = "make it anew with: foreshape train"

Content = TypeVar("Content", Gate, Corrections)


class Sealed(msgspec.Struct, frozen=True):
    """What may be replaced while the model is in use carries its own checksum."""

    sha256: str
    content: msgspec.Raw


def save(work: Path, out: Path, manifest: Manifest, gate: Gate, calibration: Calibration) -> Manifest:
    """Finish the model whose weights lie in ``work`` and move it to ``out``, which must not exist or be empty.

    Returns the manifest as written, with every file's checksum. ModelError: ``out`` is taken, or the disk is full.
    """
    refuse_taken(out)
    try:
        _replace(work / GATE, gate)
        _replace(work / CALIBRATION, calibration.corrections)
        complete = msgspec.structs.replace(manifest, format=FORMAT, files=checksums(work))
        _write(work / MANIFEST, msgspec.json.format(msgspec.json.encode(complete), indent=1))
        _move(work, out)
    except OSError as error:
        raise ModelError(f"cannot write the model to {out} ({error}); make room and train again: the champion goes on") from error
    return complete


def rewrite(folder: Path, gate: Gate, calibration: Calibration) -> None:
    """Another gate and calibration for a model in use (a daily refit, a fall-back): each file is the old one or the new, never half."""
    verify(folder)
    try:
        _replace(folder / GATE, gate)
        _replace(folder / CALIBRATION, calibration.corrections)
    except OSError as error:
        raise ModelError(f"cannot write to {folder} ({error}); the model stays as it was") from error


def refuse_taken(out: Path) -> None:
    """ModelError where a model cannot be put."""
    if out.is_symlink() or out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise ModelError(f"{out} exists already: name another folder, or remove it first")


def read_manifest(folder: Path) -> Manifest:
    """The papers of a model; ModelError when there are none, or they are cut or of another version."""
    path = folder / MANIFEST
    data = _read(path)
    try:
        stated = json.loads(data).get("format")
    except (ValueError, AttributeError, RecursionError) as error:
        raise ModelError(f"{path} is damaged ({error}); {REMADE}") from error
    if stated != FORMAT:
        raise ModelError(f"{path} is of format {stated!r}, this version reads {FORMAT}: {REMADE}, or use the Foreshape that made it")
    try:
        return msgspec.json.decode(data, type=Manifest)
    except msgspec.MsgspecError as error:
        raise ModelError(f"{path} is damaged ({error}); {REMADE}") from error


def verify(folder: Path) -> Manifest:
    """The manifest, after every file was found as it was written; nothing is executed or unpacked before."""
    manifest = read_manifest(folder)
    read_gate(folder)
    read_calibration(folder)
    found = checksums(folder)
    missing, changed = set(manifest.files) - set(found), [n for n, h in found.items() if manifest.files.get(n, h) != h]
    foreign = set(found) - set(manifest.files)
    problems = [*(f"{n} is missing" for n in sorted(missing)), *(f"{n} is not what was written" for n in sorted(changed))]
    problems += [f"{n} does not belong to it" for n in sorted(foreign)]
    if problems:
        raise ModelError(f"the model in {folder} is damaged: {', '.join(problems)}; restore it from a copy, or {REMADE}")
    return manifest


def read_gate(folder: Path) -> Gate:
    return _decoded(folder / GATE, Gate)


def read_calibration(folder: Path) -> Calibration:
    try:
        return Calibration(_decoded(folder / CALIBRATION, Corrections))
    except ValueError as error:
        raise ModelError(f"{folder / CALIBRATION} is damaged ({error}); {REMADE}") from error


def _decoded(path: Path, kind: type[Content]) -> Content:
    try:
        sealed = msgspec.json.decode(_read(path), type=Sealed)
        content = bytes(sealed.content)
        if hashlib.sha256(content).hexdigest() != sealed.sha256:
            raise ModelError(f"{path} is not what was written; {REMADE}")
        return msgspec.json.decode(content, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ModelError(f"{path} is damaged ({error}); {REMADE}") from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise ModelError(f"{path.parent} holds no model: {path.name} is missing; {REMADE}") from error
    except OSError as error:
        raise ModelError(f"cannot read {path} ({error})") from error


def checksums(folder: Path) -> Mapping[str, str]:
    """sha256 of every file of a folder, but for the manifest, what seals itself, and what a killed writer left (``.NAME``)."""
    try:
        own = {folder / name for name in (MANIFEST, GATE, CALIBRATION)}
        files = sorted(p for p in folder.rglob("*") if p.is_file() and p not in own and not p.name.startswith("."))
        return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}
    except OSError as error:
        raise ModelError(f"cannot read {folder} ({error})") from error


def _replace(path: Path, content: Gate | Corrections) -> None:
    data = msgspec.json.encode(content)
    _write(path, msgspec.json.encode(Sealed(hashlib.sha256(data).hexdigest(), msgspec.Raw(data))))


def _write(path: Path, data: bytes) -> None:
    """All of it or nothing: beside its place, to the disk, then renamed."""
    beside = path.with_name(f".{path.name}")
    with beside.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def _move(work: Path, out: Path) -> None:
    """Every file to the disk, then the name: a reader sees all of it or nothing."""
    for path in work.rglob("*"):
        _sync(path)
    _sync(work)
    if out.is_dir():
        out.rmdir()
    out.parent.mkdir(parents=True, exist_ok=True)
    work.rename(out)
    _sync(out.parent)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
