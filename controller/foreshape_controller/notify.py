"""systemd's notification protocol: one datagram per message. Does nothing when systemd did not ask."""

import os
import socket


def notify(message: str) -> None:
    """Send ``READY=1``, ``WATCHDOG=1``, ``STOPPING=1`` … to whoever started us."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    name = "\0" + address[1:] if address.startswith("@") else address
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as s:
        try:
            s.sendto(message.encode(), name)
        except OSError:
            return  # the service manager is gone: nobody is left to tell


def watchdog_s() -> float | None:
    """How often to say WATCHDOG=1: half of what the service manager waits; None when it does not."""
    asked = os.environ.get("WATCHDOG_USEC", "")
    mine = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    return int(asked) / 2e6 if asked.isdigit() and int(asked) > 0 and mine else None
