"""tiers.yaml over HTTP: read, tried out and written by operators; no mistake and no race ever costs what was in force."""

import os
import stat
from dataclasses import replace

import pytest
from litestar.testing import TestClient

from foreshape_controller.loops import policy_text
from foreshape_controller.main import build
from store_support import T0, settings

pytestmark = pytest.mark.functional

GOOD = "# ours\ntiers:\n  gold: {weight: 8.0}\n"
BAD = "default: nothing\ntiers:\n  gold: {weight: -1, wieght: 2}\n"


@pytest.fixture
def file(tmp_path):
    made = tmp_path / "etc" / "tiers.yaml"
    made.parent.mkdir()
    made.write_text(GOOD)
    return made


@pytest.fixture
def ask(tmp_path, file):
    base = settings(tmp_path)
    program = build(replace(base, plan=replace(base.plan, tiers_file=str(file))), clock=lambda: T0)
    with TestClient(program.app, raise_server_exceptions=False) as client:
        by = {"Authorization": f"Bearer {program.admin_token}"}
        yield lambda method, path, body=None, **more: client.request(method, path, json=body, headers={**by, **more.get("headers", {})})
    program.store.close()


def text(ask):
    return ask("GET", "/v1/policy").json()["text"]


def test_what_is_written_is_in_force_at_once_and_keeps_its_comments(ask, file):
    file.chmod(0o640)
    told = ask("GET", "/v1/policy").json()
    assert (told["file"], told["text"], told["current"], told["read_only"]) == (str(file), GOOD, True, "")
    reply = ask("PUT", "/v1/policy", {"text": GOOD + "default: gold\n", "reason": "gold for all"})
    assert (reply.status_code, reply.json()["current"]) == (200, True)
    assert file.read_text() == GOOD + "default: gold\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert ask("GET", "/v1/tiers").json()["default"] == "gold"
    assert [p.name for p in file.parent.iterdir()] == ["tiers.yaml"], "no rest of the writing lies about"


def test_a_text_with_mistakes_names_them_all_and_changes_nothing(ask, file):
    reply = ask("PUT", "/v1/policy", {"text": BAD})
    assert reply.status_code == 400
    assert {"nothing", "weight", "wieght"} <= {w.strip("':;,") for w in reply.json()["detail"].split()}, reply.text
    assert (file.read_text(), ask("GET", "/v1/tiers").json()["problems"]) == (GOOD, [])


def test_a_text_is_tried_out_and_nothing_is_kept(ask, file):
    told = ask("POST", "/v1/policy/check", {"text": BAD}).json()
    assert (len(told["problems"]) >= 3, told["tiers"]) == (True, [])
    good = ask("POST", "/v1/policy/check", {"text": "assign:\n  - {tier: economy, segment: nowhere}\n"}).json()
    assert (good["problems"], good["rules"], good["tiers"]) == ([], 1, ["guaranteed", "standard", "economy"])
    assert "there is no segment 'nowhere'" in good["warnings"][0]
    assert text(ask) == GOOD


def test_who_read_an_older_text_does_not_write_over_the_newer_one(ask, file):
    tag = ask("GET", "/v1/policy").headers["etag"]
    assert ask("PUT", "/v1/policy", {"text": "default: gold\n" + GOOD}, headers={"If-Match": tag}).status_code == 200
    late = ask("PUT", "/v1/policy", {"text": "default: economy\n"}, headers={"If-Match": tag})
    assert (late.status_code, late.json()["code"]) == (412, "changed_meanwhile")
    tag = ask("GET", "/v1/policy").headers["etag"]
    file.write_text("default: standard\n")
    by_hand = ask("PUT", "/v1/policy", {"text": "default: economy\n"}, headers={"If-Match": tag})
    assert (by_hand.status_code, file.read_text()) == (412, "default: standard\n"), "what an editor wrote on the machine counts, too"


def test_a_broken_file_is_shown_with_what_is_wrong_and_can_be_mended_from_here(ask, file):
    file.write_text(BAD)
    told = ask("GET", "/v1/policy").json()
    assert (told["text"], told["current"], bool(told["problems"])) == (BAD, False, True)
    assert ask("PUT", "/v1/policy", {"text": GOOD}).json()["current"] is True


def test_a_link_stays_a_link(ask, file):
    real = file.parent / "of-git.yaml"
    file.rename(real)
    file.symlink_to(real)
    assert ask("PUT", "/v1/policy", {"text": "default: economy\n"}).status_code == 200
    assert (file.is_symlink(), real.read_text()) == (True, "default: economy\n")


def test_the_built_in_tiers_are_nobodys_to_write(tmp_path):
    program = build(settings(tmp_path), clock=lambda: T0)
    with TestClient(program.app) as client:
        by = {"Authorization": f"Bearer {program.admin_token}"}
        assert "tiers_file" in client.get("/v1/policy", headers=by).json()["read_only"]
        reply = client.put("/v1/policy", json={"text": GOOD}, headers=by)
        assert (reply.status_code, "tiers_file" in reply.json()["detail"]) == (400, True)
    program.store.close()


def test_a_folder_that_may_not_be_written_is_named(monkeypatch, file):
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert str(file.parent) in policy_text.why_not(str(file))


def test_a_text_without_end_is_refused(ask):
    reply = ask("POST", "/v1/policy/check", {"text": "#" * 60_001})
    assert (reply.status_code, "at most 60000" in reply.json()["detail"]) == (400, True)


def test_a_disk_that_is_full_leaves_the_old_text(ask, file, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    reply = ask("PUT", "/v1/policy", {"text": "default: economy\n"})
    assert (reply.status_code, file.read_text()) == (503, GOOD)
    assert [p.name for p in file.parent.iterdir()] == ["tiers.yaml"]
