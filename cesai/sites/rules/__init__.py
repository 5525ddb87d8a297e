"""What is true of a site, its GPUs and its pledges, whoever asks and whenever?"""

from cesai.sites.rules.contact import ContactState, Watch, clock_trouble, contact_state, watch
from cesai.sites.rules.inventory import PoolCount, contradiction, proposal
from cesai.sites.rules.pledges import Ceiling, ceiling, check_pledge
from cesai.sites.rules.site import Contact, GpuClass, Pool, Queued, Running, Site, closed_because

__all__ = [
    "Ceiling",
    "Contact",
    "ContactState",
    "GpuClass",
    "Pool",
    "PoolCount",
    "Queued",
    "Running",
    "Site",
    "Watch",
    "ceiling",
    "check_pledge",
    "clock_trouble",
    "closed_because",
    "contact_state",
    "contradiction",
    "proposal",
    "watch",
]
