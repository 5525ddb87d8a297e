"""Where does the JWT for slurmrestd come from, and when is it read anew?"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass, field

from cesai.contract.connector import SiteUnavailable
from cesai.kernel.clock import Clock
from cesai_slurm.cli import Commands
from cesai_slurm.settings import RestSettings

_EARLY_S = 60


def expires_at(token: str) -> float | None:
    """Its `exp`, seconds since 1970; None when it tells none. Not verified: that is slurmrestd's work.

    Source: RFC 7519, sections 3 and 4.1.4.
    """
    parts = token.split(".")
    if len(parts) != 3:  # noqa: PLR2004  header, claims, signature
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, binascii.Error):
        return None
    found = claims.get("exp") if isinstance(claims, dict) else None
    return float(found) if isinstance(found, int | float) else None


@dataclass(slots=True)
class Tokens:
    """The newest token."""

    settings: RestSettings
    commands: Commands
    clock: Clock
    _token: str | None = field(default=None, repr=False)

    def token(self) -> str | None:
        """A token that does not expire within the next minute, if one can be had; None: none is needed.

        Raises:
            SiteUnavailable: there is none.
        """
        if self._token is None or self._is_stale(self._token):
            self._token = self._read()
        return self._token

    def forget(self) -> None:
        """The one we have was refused."""
        self._token = None

    def _is_stale(self, token: str) -> bool:
        end = expires_at(token)
        return end is not None and end - self.clock.now().timestamp() < _EARLY_S

    def _read(self) -> str | None:
        if self.settings.token_command:
            text = self.commands.ask(self.settings.token_command)
        elif self.settings.token_file:
            text = self._read_file()
        else:
            return None
        token = text.strip().removeprefix("SLURM_JWT=")
        if not token or not token.isprintable() or not token.isascii():
            msg = "what should be a token for slurmrestd is none"
            raise SiteUnavailable(msg)
        return token

    def _read_file(self) -> str:
        path = self.settings.token_file
        try:
            return path.read_text() if path else ""
        except OSError as error:
            msg = f"the token file {path} cannot be read: {error.strerror}"
            raise SiteUnavailable(msg) from None
