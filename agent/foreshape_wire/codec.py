"""Bytes to messages and back. A message of another version, or with a wrong field, is refused by that field's name."""

from typing import TypeVar

import msgspec

from foreshape_wire.order import Desired
from foreshape_wire.sample import HostReport
from foreshape_wire.strange import strange_number

WIRE_VERSION = 1
MAX_MESSAGE_BYTES = 8 * 1024 * 1024
"""2000 VMs make about 1.5 MiB; more than this is not a report."""

MAX_ERROR_CHARS = 300
"""An error may quote the message; it must not carry it into a log."""

Message = TypeVar("Message", HostReport, Desired)


class WireError(ValueError):
    """A message that cannot be accepted; the text names the field and what is wrong with it."""


class _Envelope(msgspec.Struct):
    version: int


_encoder = msgspec.json.Encoder()
_envelope = msgspec.json.Decoder(_Envelope)
_report = msgspec.json.Decoder(HostReport)
_desired = msgspec.json.Decoder(Desired)


def encode(message: HostReport | Desired) -> bytes:
    """The message as JSON in UTF-8."""
    return _encoder.encode(message)


def decode_report(data: bytes) -> HostReport:
    """Read an agent's report. Raises WireError, whatever the bytes are."""
    return _decode(_report, data)


def decode_desired(data: bytes) -> Desired:
    """Read the controller's reply. Raises WireError, whatever the bytes are."""
    return _decode(_desired, data)


def _decode(decoder: "msgspec.json.Decoder[Message]", data: bytes) -> Message:
    if len(data) > MAX_MESSAGE_BYTES:
        raise WireError(f"message of {len(data)} bytes: at most {MAX_MESSAGE_BYTES} are taken")
    try:
        _check_version(data)
        return decoder.decode(data)
    except msgspec.ValidationError as e:  # names the field itself
        raise WireError(_cut(str(e))) from e
    except msgspec.DecodeError as e:
        raise WireError(_cut(strange_number(data) or f"{e} (message of {len(data)} bytes)")) from e
    except UnicodeDecodeError as e:
        raise WireError(_cut(f"message is not UTF-8: {e}")) from e
    except RecursionError as e:
        raise WireError("message is nested too deeply") from e


def _check_version(data: bytes) -> None:
    version = _envelope.decode(data).version
    if version != WIRE_VERSION:
        raise WireError(_cut(f"$.version is {version}: this side speaks {WIRE_VERSION}; upgrade the older side"))


def _cut(text: str) -> str:
    return text if len(text) <= MAX_ERROR_CHARS else text[:MAX_ERROR_CHARS] + "…"
