"""Which tables are there in all?"""

from __future__ import annotations

import cesai.access.tables
import cesai.allocations.tables
import cesai.db.due
import cesai.db.idempotency
import cesai.federation.tables
import cesai.issuer.tables
import cesai.projects.tables
import cesai.sites.tables  # noqa: F401  imported for their tables
from cesai.db.base import Table

metadata = Table.metadata
