"""Which local accounts can a project have?"""

from __future__ import annotations

import pytest

from cesai.kernel.errors import Refused
from cesai.projects.rules import Verdict, check_verdict


def verdict(account: str | None = None, refused: str | None = None) -> Verdict:
    return Verdict("juelich", "legal-llm", account=account, refused=refused)


@pytest.mark.parametrize("account", ["legal", "p_1-x", "a" * 31])
def test_a_plain_lower_case_name_will_do(account):
    check_verdict(verdict(account), holder=None)


@pytest.mark.parametrize("account", ["", "Legal", "1legal", "a" * 32, "a;rm", "a\n", "-a", "über", "root", "slurm"])
def test_what_is_no_account_of_a_group_is_refused(account):
    with pytest.raises(Refused):
        check_verdict(verdict(account), holder=None)


def test_an_account_stays_with_the_project_that_has_it():
    check_verdict(verdict("legal"), holder="legal-llm")
    with pytest.raises(Refused, match="Another project has the account legal at juelich"):
        check_verdict(verdict("legal"), holder="other-llm")


@pytest.mark.parametrize("said", [verdict(), verdict("legal", "no"), verdict(None, "  ")])
def test_a_verdict_is_either_an_account_or_a_reason(said):
    with pytest.raises(Refused):
        check_verdict(said, holder=None)
