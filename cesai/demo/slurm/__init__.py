"""How does one real Slurm site come up on this machine? `python -m cesai.demo.slurm --help` runs one by hand."""

from cesai.demo.slurm.config import SiteSpec
from cesai.demo.slurm.site import SiteTrouble, SlurmSite, missing, version

__all__ = ["SiteSpec", "SiteTrouble", "SlurmSite", "missing", "version"]
