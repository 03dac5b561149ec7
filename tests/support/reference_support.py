"""The page docs/api.md, made from a controller as it is here: ``make reference`` writes it, a contract test compares."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from foreshape_controller.api.openapi import described
from foreshape_controller.api.reference import reference
from foreshape_controller.config import ApiSettings, PlanSettings, Settings, StoreSettings
from foreshape_controller.main import Program, build

PAGE = Path(__file__).parents[2] / "docs/api.md"


@contextmanager
def controller() -> Iterator[Program]:
    """One without a file, a cloud or a model."""
    plan = PlanSettings(tiers_file="", segments_file="")
    learn = replace(Settings().learn, enabled=False)
    program = build(Settings(store=StoreSettings(url="sqlite://"), api=ApiSettings(admin_token_file=""), plan=plan, learn=learn))
    try:
        yield program
    finally:
        program.store.close()


def page() -> str:
    """What docs/api.md should hold."""
    with controller() as program:
        return reference(described(program.app))


if __name__ == "__main__":
    logging.disable()
    PAGE.write_text(page(), encoding="utf-8")
    print(f"{PAGE.name} written")
