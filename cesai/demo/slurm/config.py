"""What stands in the configuration files of one real Slurm site on one machine?

One text for Slurm 22.05 to 26.05, no deprecation complaint in any of them. What differs between them is decided from
the version that the daemon itself tells.
"""

from __future__ import annotations

import hashlib
import re
import socket
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

GPU_DEVICES = tuple(Path(f"/dev/tty{number}") for number in range(1, 60))
DISABLED_CGROUPS_FROM = (23, 2)  # since then slurmd refuses to start where there is no cgroup file system
USER_CHECK_FROM = (22, 10)  # since then slurmrestd refuses to run as SlurmUser unless told
# No cgroups, no mail, no MPI; a scheduler that looks often; CPUs and memory that a small machine only pretends to have.
SMALL_MACHINE = """\
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
MailProg=/bin/true
JobAcctGatherType=jobacct_gather/linux
PropagateResourceLimits=NONE
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/backfill
SchedulerParameters=sched_min_interval=0,batch_sched_delay=0,bf_interval=2
PriorityType=priority/multifactor
GresTypes=gpu
KillWait=2
SlurmdTimeout=30
SlurmdParameters=config_overrides
DefMemPerCPU=100"""


@dataclass(frozen=True, slots=True)
class SiteSpec:
    """What a site has."""

    name: str
    gpu: str  # gres type, lower case
    nodes: int = 2
    gpus_per_node: int = 4
    has_rest: bool = False
    projects: tuple[str, ...] = ()  # Slurm accounts
    min_job_age_s: int = 300
    message_timeout_s: int = 10
    extra: str = ""  # lines for slurm.conf

    def node(self, index: int) -> str:
        """The name of the node of this index, counted from 0."""
        return f"{self.name}-n{index + 1}"

    @property
    def node_names(self) -> tuple[str, ...]:
        """All nodes."""
        return tuple(self.node(index) for index in range(self.nodes))


@dataclass(frozen=True, slots=True)
class Layout:
    """Where everything of a site lies, and who it runs as."""

    folder: Path
    sockets: Path  # short: a Unix socket's path has 107 bytes
    port: Callable[[str], int]
    slurm_user: str
    slurmd_user: str

    @property
    def slurm_conf(self) -> Path:
        """What SLURM_CONF names."""
        return self.folder / "etc" / "slurm.conf"

    @property
    def munge(self) -> Path:
        """The socket of the site's own munged."""
        return self.sockets / "munge"

    @property
    def jwt_key(self) -> Path:
        """The key that signs the site's tokens."""
        return self.folder / "secrets" / "jwt.key"

    @property
    def database(self) -> Path:
        """MariaDB's folder."""
        return self.folder / "mariadb"


def socket_folder(folder: Path) -> Path:
    """Where the Unix sockets of the site in this folder lie: always the same, and short."""
    digest = hashlib.sha256(str(folder).encode()).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"cesai-site-{digest}"


def read_version(said: str) -> tuple[int, ...]:
    """The version in `slurmctld -V`.

    Raises:
        ValueError: none is in it.
    """
    match = re.search(r"(\d+)\.(\d+)\.(\d+)", said)
    if not match:
        msg = f"{said!r} names no Slurm version"
        raise ValueError(msg)
    return tuple(int(part) for part in match.groups())


def slurm_conf(spec: SiteSpec, layout: Layout) -> str:
    """slurm.conf. Source: slurm.conf(5)."""
    state, logs = layout.folder / "state", layout.folder / "logs"
    types = f"gres/gpu,gres/gpu:{spec.gpu}"
    host = socket.gethostname().partition(".")[0]  # any other name is "not a valid controller"
    return f"""ClusterName={spec.name}
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={layout.port("slurmctld")}
SlurmUser={layout.slurm_user}
SlurmdUser={layout.slurmd_user}
AuthType=auth/munge
AuthInfo=socket={layout.munge}
CredType=cred/munge
AuthAltTypes=auth/jwt
AuthAltParameters=jwt_key={layout.jwt_key}
StateSaveLocation={state}/ctld
SlurmdSpoolDir={state}/%n
SlurmctldPidFile={state}/slurmctld.pid
SlurmdPidFile={state}/%n.pid
SlurmctldLogFile={logs}/slurmctld.log
SlurmdLogFile={logs}/%n.log
{SMALL_MACHINE}
MinJobAge={spec.min_job_age_s}
MessageTimeout={spec.message_timeout_s}
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={layout.port("slurmdbd")}
AccountingStoragePass={layout.munge}
AccountingStorageTRES={types}
AccountingStorageEnforce=associations,limits,qos,safe
AccountingStoreFlags=job_comment
{_nodes(spec, layout, host)}
PartitionName=gpu Nodes=ALL Default=YES MaxTime=24:00:00 State=UP
{spec.extra}
"""


def _nodes(spec: SiteSpec, layout: Layout, host: str) -> str:
    has = f"CPUs=64 RealMemory=512000 Gres=gpu:{spec.gpu}:{spec.gpus_per_node} Feature={spec.gpu} State=UNKNOWN"
    where = f"NodeHostname={host} NodeAddr=127.0.0.1"
    return "\n".join(f"NodeName={name} {where} Port={layout.port(name)} {has}" for name in spec.node_names)


def gres_conf(spec: SiteSpec, layout: Layout) -> str:
    """gres.conf: a GPU without a device file is not believed, and any file will do, since nothing opens it."""
    devices = GPU_DEVICES[: spec.gpus_per_node]
    if len(devices) < spec.gpus_per_node or not all(device.exists() for device in devices):
        devices = tuple(layout.folder / "gpus" / f"gpu{number}" for number in range(spec.gpus_per_node))
    kind = f"Name=gpu Type={spec.gpu} File={','.join(str(device) for device in devices)}"
    return "".join(f"NodeName={name} {kind}\n" for name in spec.node_names)


def slurmdbd_conf(layout: Layout, password: str) -> str:
    """slurmdbd.conf; it must be readable by SlurmUser alone. Source: slurmdbd.conf(5)."""
    return f"""AuthType=auth/munge
AuthInfo=socket={layout.munge}
AuthAltTypes=auth/jwt
AuthAltParameters=jwt_key={layout.jwt_key}
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={layout.port("slurmdbd")}
SlurmUser={layout.slurm_user}
LogFile={layout.folder}/logs/slurmdbd.log
PidFile={layout.folder}/state/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={layout.port("mariadb")}
StorageUser=slurm
StoragePass={password}
StorageLoc=slurm_acct_db
"""


def mariadb_cnf(layout: Layout, user: str) -> str:
    """my.cnf of a small server whose data may be lost with the machine.

    Its own folder for temporary tables: a server that starts removes those of another that shares the folder.
    """
    return f"""[mariadbd]
user={user}
datadir={layout.database}/data
tmpdir={layout.database}/scratch
socket={layout.sockets}/mariadb
pid-file={layout.database}/mariadbd.pid
init-file={layout.database}/init.sql
port={layout.port("mariadb")}
bind-address=127.0.0.1
log-error={layout.folder}/logs/mariadb.log
innodb_buffer_pool_size=64M
innodb_log_file_size=32M
innodb_lock_wait_timeout=900
innodb_flush_log_at_trx_commit=0
innodb_flush_method=nosync
innodb_doublewrite=0
skip-name-resolve
skip-log-bin
performance_schema=OFF
max_allowed_packet=16M
loose-innodb_snapshot_isolation=OFF
"""


def init_sql(password: str) -> str:
    """What MariaDB does before it listens. With libmariadb 11.8 slurmdbd dies when it must make the database itself."""
    return f"""CREATE DATABASE IF NOT EXISTS slurm_acct_db;
CREATE USER IF NOT EXISTS slurm@127.0.0.1 IDENTIFIED BY '{password}';
GRANT ALL ON slurm_acct_db.* TO slurm@127.0.0.1;
"""
