"""HTTP edge: reports from agents, questions from operators."""

from foreshape_controller.api.app import create_app, limit_workers
from foreshape_controller.api.services import Services

__all__ = ["Services", "create_app", "limit_workers"]
