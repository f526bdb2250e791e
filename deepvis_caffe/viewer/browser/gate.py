"""Access control for the viewer's page.

Anyone who can connect controls the viewer and sees its input. Two attacks are blocked: cross-site
WebSocket hijacking and DNS rebinding. In the first, another page in the same browser opens our
WebSocket; browsers allow that, but send the page's `Origin`. In the second, a foreign host name is
made to resolve to this machine; then `Origin` and `Host` agree, but are not ours. If other machines
can reach the port, visitors need a token.
"""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from deepvis_caffe.errors import ViewerError


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a host name or address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


@dataclass(frozen=True)
class Gate:
    """The access rule of one server.

    Attributes
    ----------
    host
        The host name or address that the server is bound to.
    token
        What a URL must carry as ``?token=``; None if only this machine can connect.

    Raises
    ------
    ViewerError
        The token is empty.
    """

    host: str
    token: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.token is not None and not self.token.strip():
            raise ViewerError("an empty token lets everybody in")

    def refusal(self, headers: Mapping[str, str], token: str | None) -> str:
        """Why a request is refused; empty if it is not.

        Parameters
        ----------
        headers
            By lower-case name.
        token
            The token in the URL, if any.
        """
        host = headers.get("host", "")
        if self.token is not None:
            # As bytes, because compare_digest rejects non-ASCII strings.
            given, own = (one.encode(errors="replace") for one in (token or "", self.token))
            if not secrets.compare_digest(given, own):
                return "this address needs ?token= as the viewer's terminal shows it"
        elif not self._is_ours(host):
            return f"unexpected Host {host!r}; open http://127.0.0.1:PORT"
        # Non-browser clients send no Origin, and could send any.
        origin = headers.get("origin")
        if origin is not None and _after_scheme(origin) != host.lower():
            return f"a page from {origin} may not use the viewer"
        return ""

    def _is_ours(self, host: str) -> bool:
        """Whether a Host header names this machine; any port is fine, it may be a tunnel's."""
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:  # unbalanced brackets
            return False
        return is_loopback(name) or name == self.host.lower()


def _after_scheme(origin: str) -> str:
    """Host and port of an Origin header; empty for ``null``."""
    return origin.lower().partition("://")[2]
