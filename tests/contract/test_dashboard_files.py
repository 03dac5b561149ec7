"""The dashboard's files: what is somebody else's is as published, what is ours makes no markup of a text and asks no other host."""

import gzip
import re
from hashlib import sha256
from pathlib import Path

import pytest

import foreshape_controller

pytestmark = pytest.mark.contract

FOLDER = Path(foreshape_controller.__file__).parent / "dashboard"
OURS = sorted(p for p in FOLDER.rglob("*") if p.is_file() and "vendor" not in p.parts)
SCRIPTS = [p for p in OURS if p.suffix == ".js"]

PUBLISHED = {
    "uPlot.iife.min.js": "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f",
    "uPlot.min.css": "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
    "LICENSE": "8f989229699b4fe2f1a0432d0e9edc338a8a911e250e2d1b01ecd770a5f5b1bd",
}
"""SHA-256 of dist/uPlot.iife.min.js, dist/uPlot.min.css and LICENSE of the npm package uplot 1.6.32, whose archive has the integrity
sha512-KIMVnG68zvu5XXUbC4LQEPnhwOxBuLyW1AHtpm6IKTXImkbLgkMy+jabjLgSLMasNuGGzQm/ep3tOkyTxpiQIw==."""

MARKUP = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|DOMParser|createContextualFragment|srcdoc"
)
MOST = 200_000
"""Bytes of all files together, as they are sent."""


def test_what_is_somebody_else_s_is_as_published_and_has_its_licence() -> None:
    assert {p.name: sha256(p.read_bytes()).hexdigest() for p in (FOLDER / "vendor").iterdir()} == PUBLISHED
    assert "Permission is hereby granted, free of charge" in (FOLDER / "vendor/LICENSE").read_text()


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda p: p.name)
def test_a_script_makes_no_markup_of_a_text_and_is_short(script: Path) -> None:
    text = script.read_text()
    assert not MARKUP.search(text)
    assert len(text.splitlines()) <= 300


def test_nothing_comes_from_another_host() -> None:
    named = {(p.name, url) for p in OURS for url in re.findall(r"(?:https?:)?//[a-z][\w.-]+\.[a-z]+[^\s\"')]*", p.read_text())}
    assert {url for _, url in named} <= {"http://www.w3.org/2000/svg"}, "the name of a language, not an address"


def test_the_page_has_no_script_or_style_in_its_text() -> None:
    page = (FOLDER / "index.html").read_text()
    assert re.findall(r"<script[^>]*>([^<]*)</script>", page) == ["", "", ""]
    assert not re.search(r"<style|\sstyle=|\son\w+=", page)


def test_every_script_is_imported_and_every_import_is_there() -> None:
    page = (FOLDER / "index.html").read_text()
    imported = {(p.parent / name).resolve() for p in SCRIPTS for name in re.findall(r'from "(\.[^"]+)"', p.read_text())}
    loaded = {(FOLDER / name).resolve() for name in re.findall(r'src="([^"]+\.js)"', page)}
    ours = {p.resolve() for p in SCRIPTS}
    assert imported <= ours
    assert ours <= imported | loaded


def test_all_of_it_is_light() -> None:
    assert sum(len(gzip.compress(p.read_bytes(), 9)) for p in FOLDER.rglob("*") if p.is_file()) < MOST
