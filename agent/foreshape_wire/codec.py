"""Bytes to messages and back. A message of another version, or with a wrong field, is refused by that field's name."""

from typing import TypeVar

import msgspec

from foreshape_wire.order import Desired
from foreshape_wire.sample import HostReport

WIRE_VERSION = 1
MAX_MESSAGE_BYTES = 8 * 1024 * 1024
"""2000 VMs make about 1.5 MiB; more than this is not a report."""

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
    """Read an agent's report. Raises WireError."""
    return _decode(_report, data)


def decode_desired(data: bytes) -> Desired:
    """Read the controller's reply. Raises WireError."""
    return _decode(_desired, data)


def _decode(decoder: "msgspec.json.Decoder[Message]", data: bytes) -> Message:
    if len(data) > MAX_MESSAGE_BYTES:
        raise WireError(f"message of {len(data)} bytes: at most {MAX_MESSAGE_BYTES} are taken")
    try:
        version = _envelope.decode(data).version
        if version != WIRE_VERSION:
            raise WireError(f"$.version is {version}: this side speaks {WIRE_VERSION}; upgrade the older side")
        return decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError) as e:
        if isinstance(e, WireError):
            raise
        raise WireError(str(e)) from e
