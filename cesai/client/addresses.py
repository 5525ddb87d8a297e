"""Which addresses may a login travel to?"""

from __future__ import annotations

import ipaddress
import os
from urllib.parse import urlsplit

import httpx

from cesai.client.exits import BadInput
from cesai.client.texts import Texts


def hub_address(text: str, texts: Texts) -> str:
    """The hub's base address, without a slash at the end.

    Raises:
        BadInput: it is none, or whoever listens on the way could read the login.
    """
    parts = urlsplit(text.strip())
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment or parts.username:
        raise BadInput(texts("bad_hub", hub=text))
    address = f"{parts.scheme}://{parts.netloc}{parts.path}".rstrip("/")
    refuse_plain(address, texts)
    return address


def refuse_plain(address: str, texts: Texts) -> None:
    """Let tokens travel encrypted or inside this machine only.

    Raises:
        BadInput: neither.
    """
    parts = urlsplit(address)
    allowed = parts.scheme == "https" or is_loopback(parts.hostname or "") or os.environ.get("CESAI_PLAIN_HTTP") == "1"
    if not allowed:
        raise BadInput(texts("plain_http", hub=address))


def is_loopback(host: str) -> bool:
    """Whether a host name stands for this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def open_client(address: str, *, timeout: float = 30.0) -> httpx.Client:
    """A connection to one server; a proxy from the environment never stands between this machine and itself."""
    return httpx.Client(timeout=timeout, trust_env=not is_loopback(urlsplit(address).hostname or ""))
