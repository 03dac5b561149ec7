"""``foreshape model list|show|promote|rollback|train-now``: the learned models of this cloud."""

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from typing import Any

from foreshape_controller.cli.paths import segment
from foreshape_controller.cli.view import MACHINE, Columns, ListView, Row, ShowView, moment


def _when(key: str) -> Any:
    return lambda row: moment(row[key]) if row.get(key) else "-"


def _data(row: Row) -> str:
    return f"{moment(row['data_from'])} to {moment(row['data_until'])}" if row.get("data_from") else "-"


def _ratios(row: Row) -> str:
    """Error by the baseline's on held-back days: below 1 is better."""
    ratios: Mapping[str, float] = row.get("ratios") or {}
    return "\n".join(f"{name} {ratio:.2f}" for name, ratio in ratios.items()) or "-"


COLUMNS: Columns = (
    ("Model", lambda r: r["id"]),
    ("State", lambda r: r["state"]),
    ("Made", _when("made_at")),
    ("Data", _data),
    ("Error by the baseline's", _ratios),
    ("Reason", lambda r: r["reason"]),
)


def standing(answer: Row) -> str:
    """What learning does now, in a line or two."""
    lines = [f"{answer['model']} forecasts."]
    if answer["off"]:
        lines.append(answer["off"])
    if answer["trouble"]:
        lines.append(answer["trouble"])
    if answer["training"]:
        phase = f" ({answer['training_phase']})" if answer["training_phase"] else ""
        lines.append(f"training: {answer['training_share']:.0%}{phase}, model {answer['training_model']}")
    elif answer["last_training"] == "failed":
        lines.append(f"the last training failed: {answer['last_training_reason']}")
    if answer["next_training_at"] and not answer["training"]:
        lines.append(f"next training: {moment(answer['next_training_at'])}")
    lines += [f"{v['resource']} {v['stratum']} {v['head']}: {v['action']}, {v['reasons'][0]}" for v in _alarming(answer)]
    return "\n".join(lines)


def _alarming(answer: Row) -> list[Row]:
    return [v for v in answer["verdicts"] if v["action"] != "fine" and v["reasons"]]


class ModelList(ListView):
    """List the models here, how each did against the baseline on held-back days, and what is being taught."""

    columns = COLUMNS

    def ask(self, parsed: Namespace) -> Any:
        if parsed.formatter not in MACHINE:
            self.app.stdout.write(standing(self.app.client.get("/v1/learning")) + "\n")
        return self.app.client.get("/v1/models")


class _OneModel(ShowView):
    """A command about one model."""

    columns = (
        *COLUMNS,
        ("Taught until", _when("taught_until")),
        ("Series", lambda r: r["series"]),
        ("Net", lambda r: r["encoder"] or "-"),
        ("Seed", lambda r: r["seed"]),
        ("CPU seconds", lambda r: r["cpu_seconds"]),
        ("Code", lambda r: r["code_version"] or "-"),
    )

    def get_parser(self, prog_name: str) -> ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("model", metavar="ID", help="id of the model, as in 'foreshape model list'")
        return parser

    def path(self, parsed: Namespace, rest: str = "") -> str:
        return f"/v1/models/{segment(parsed.model)}{rest}"


class ModelShow(_OneModel):
    """Show one model: its data, its making, its scores."""

    def ask(self, parsed: Namespace) -> Any:
        return self.app.client.get(self.path(parsed))


class ModelPromote(_OneModel):
    """Put a model in office. A damaged one is refused, and the one in office goes on."""

    def get_parser(self, prog_name: str) -> ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("--reason", metavar="TEXT", default="", help="why; kept with the change")
        return parser

    def ask(self, parsed: Namespace) -> Any:
        return self.app.client.post(self.path(parsed, "/promote"), {"reason": parsed.reason})


class ModelRollback(ShowView):
    """Put the champion before this one in office again, or the baseline with --to baseline; it forecasts from the next forecast on."""

    columns = COLUMNS

    def get_parser(self, prog_name: str) -> ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("--to", metavar="ID", default="", help="this model, or baseline (default: the one before)")
        parser.add_argument("--reason", metavar="TEXT", default="", help="why; kept with the change")
        return parser

    def ask(self, parsed: Namespace) -> Any:
        return self.app.client.post("/v1/learning/rollback", {"to": parsed.to, "reason": parsed.reason})


class ModelTrainNow(ShowView):
    """Begin a training now, without waiting for the night. It runs beside the controller, at the lowest priority."""

    columns = (
        ("Forecasts", lambda r: r["model"]),
        ("Training", lambda r: "under way" if r["training"] else "begins within the minute"),
    )

    def get_parser(self, prog_name: str) -> ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("--reason", metavar="TEXT", default="", help="why; kept with the training")
        return parser

    def ask(self, parsed: Namespace) -> Any:
        return self.app.client.post("/v1/learning/train", {"reason": parsed.reason})
