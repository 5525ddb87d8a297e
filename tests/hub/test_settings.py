"""Are settings read strictly, and does each say what it does?"""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from cesai.hub import settings as rules
from cesai.hub.settings import Settings


def test_every_setting_says_what_it_does_and_stands_in_the_page():
    page = "\n".join(rules.page())
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert f"`CESAI_{name.upper()}`" in page


def test_settings_come_from_the_environment_and_stay(monkeypatch):
    monkeypatch.setenv("CESAI_PUBLIC_URL", "https://hub.example.org/")
    monkeypatch.setenv("CESAI_POOL_SIZE", "7")
    settings = Settings(_env_file=None)
    assert (settings.public_url, settings.pool_size) == ("https://hub.example.org", 7)
    assert settings.issuer == "https://hub.example.org/realms/cesai"
    with pytest.raises(ValidationError):
        settings.pool_size = 8


@pytest.mark.parametrize(
    "wrong",
    [
        {"public_url": "hub.example.org"},
        {"public_url": "ftp://x"},
        {"public_url": "http://x?y=1"},
        {"environment": "prod"},
        {"pool_size": 0},
        {"issuer_url": "javascript:alert(1)"},
    ],
)
def test_a_wrong_setting_is_refused(wrong):
    with pytest.raises(ValidationError):
        Settings(**wrong, _env_file=None)
