"""How do the ranks of one job add up what each of them found?

A star: rank 0 listens on the node that started the step and leaves its address and a key in the shared folder; the
others connect. Sums are formed in the order of ranks, so every run rounds alike.

Source: srun(1), output environment variables.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path

import numpy as np

from cesai.demo.train.model import Floats

JOIN_SECONDS = 60.0


class RankMissing(Exception):
    """A rank did not come; the sentence says which was waited for."""


@dataclass(slots=True)
class Ranks:
    """This process's place among those that train together."""

    rank: int = 0
    size: int = 1
    _peers: list[Connection] = field(default_factory=list)

    @classmethod
    def join(cls, environment: Mapping[str, str], folder: Path) -> Ranks:
        """Meet the other ranks of this job step.

        Raises:
            RankMissing: not all came in time.
        """
        ranks = cls(int(environment.get("SLURM_PROCID", "0")), int(environment.get("SLURM_NTASKS", "1")))
        if ranks.size > 1:
            step = f"{environment.get('SLURM_JOB_ID', '0')}.{environment.get('SLURM_STEP_ID', '0')}"
            meeting = folder / f".ranks-{step}-{environment.get('SLURM_RESTART_COUNT', '0')}"
            if ranks.rank == 0:
                ranks._invite(meeting, environment.get("SLURM_LAUNCH_NODE_IPADDR", "127.0.0.1"))
            else:
                ranks._accept_invitation(meeting)
        return ranks

    def total(self, mine: Floats) -> Floats:
        """The sum over all ranks, the same for each."""
        if self.size == 1:
            return mine
        if self.rank:
            self._peers[0].send_bytes(mine.tobytes())
            return np.frombuffer(self._peers[0].recv_bytes())
        whole = mine.copy()
        for peer in self._peers:
            whole += np.frombuffer(peer.recv_bytes())
        self._say(whole.tobytes())
        return whole

    def share(self, mine: Floats) -> Floats:
        """What rank 0 has, for each."""
        if self.rank:
            return np.frombuffer(self._peers[0].recv_bytes())
        self._say(mine.tobytes())
        return mine

    def leave(self) -> None:
        """Say goodbye."""
        for peer in self._peers:
            peer.close()

    def _say(self, data: bytes) -> None:
        for peer in self._peers:
            peer.send_bytes(data)

    def _invite(self, meeting: Path, host: str) -> None:
        key = secrets.token_hex(16)
        with Listener((host, 0), authkey=key.encode(), backlog=self.size) as listener:
            fresh = meeting.with_name(f"{meeting.name}.new")
            with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:  # noqa: PTH123  a descriptor
                json.dump({"address": listener.address, "key": key}, file)
            fresh.replace(meeting)
            came: dict[int, Connection] = {}
            while len(came) < self.size - 1:
                peer = listener.accept()
                came[int.from_bytes(peer.recv_bytes())] = peer
        meeting.unlink()
        self._peers = [came[rank] for rank in sorted(came)]

    def _accept_invitation(self, meeting: Path) -> None:
        deadline = time.monotonic() + JOIN_SECONDS
        while not meeting.exists():
            if time.monotonic() > deadline:
                msg = f"rank 0 left no address at {meeting} within {JOIN_SECONDS:.0f} s"
                raise RankMissing(msg)
            time.sleep(0.05)
        said = json.loads(meeting.read_text())
        peer = Client(tuple(said["address"]), authkey=said["key"].encode())
        peer.send_bytes(self.rank.to_bytes(4))
        self._peers = [peer]
