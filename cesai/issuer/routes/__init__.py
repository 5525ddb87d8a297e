"""What does the issuer answer over HTTP? The protocol for programs, pages for people."""

from __future__ import annotations

from cesai.issuer.routes import pages, protocol
from cesai.issuer.routes.common import answer_denied

routers = (protocol.router, pages.router)

__all__ = ["answer_denied", "routers"]
