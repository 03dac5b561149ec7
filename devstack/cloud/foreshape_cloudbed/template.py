"""Databases that are ready for a first request, kept beside the environment: making them takes half a minute, copying them no time."""

import hashlib
import shutil
import tempfile
from pathlib import Path

from foreshape_lab.shell import run
from foreshape_lab.state import locked, state_root

from foreshape_cloudbed import content
from foreshape_cloudbed.configs import write
from foreshape_cloudbed.control import keystone
from foreshape_cloudbed.environment import CACHE, digest
from foreshape_cloudbed.infrastructure import make_databases, mariadb, name_databases
from foreshape_cloudbed.places import Places


def ready() -> None:
    """The template is there."""
    with locked("cloud-template"):
        if not template().exists():
            make()


def fill(places: Places) -> None:
    """The bed's databases, from the template."""
    ready()
    run(["cp", "-a", "--sparse=always", template(), places.data])


def template() -> Path:
    """Another OpenStack, MariaDB or content gives another."""
    database = run(["mariadbd", "--version"]).encode()
    recipe = b"".join(Path(f).read_bytes() for f in (content.__file__, __file__))
    return CACHE / f"template-{hashlib.sha256(digest().encode() + database + recipe).hexdigest()[:12]}"


def make() -> None:
    """By the services' own programs, in a folder of its own."""
    print("making the cloud's databases (once)", flush=True)
    for old in CACHE.glob("template-*"):
        shutil.rmtree(old, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix="template", dir=state_root()))
    places = Places(folder, "127.0.255.1", 0)
    database, identity = mariadb(places), keystone(places)
    try:
        write(places, {})
        make_databases(places)
        database.start()
        database.wait()
        name_databases(places)
        content.make_tables(places)
        identity.start()
        identity.wait()
        content.make_users(places)
    finally:
        identity.kill()
        database.stop()
    making = template().with_suffix(".making")
    run(["cp", "-a", "--sparse=always", places.data, making])
    making.rename(template())
    shutil.rmtree(folder)
