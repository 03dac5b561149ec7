"""A refusal of an emulated service, in the words of the real one."""

from typing import Any


class Problem(Exception):
    """A status above 299."""

    def __init__(self, status: int, text: str, code: str = "placement.undefined_code") -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.code = code

    def body(self, service: str) -> Any:
        if service == "placement":
            return {"errors": [{"status": self.status, "title": "Error", "detail": self.text, "code": self.code}]}
        if service == "compute":
            return {
                {409: "conflictingRequest", 404: "itemNotFound"}.get(self.status, "badRequest"): {"code": self.status, "message": self.text}
            }
        return {"error": {"code": self.status, "message": self.text}}
