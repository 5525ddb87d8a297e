"""What is decided about jobs, their attempts and where they go, without a database, a request or a clock?"""

from cesai.federation.rules.placement import plan

__all__ = ["plan"]
