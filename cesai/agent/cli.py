"""What can a site's admin say to the agent?

argparse and not Typer: a site installs as little as possible.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict
from enum import IntEnum
from importlib.metadata import version
from pathlib import Path

from cesai.agent import identity
from cesai.agent.config import AgentConfig, ConfigWrong, load_config, template
from cesai.agent.doctor import examine
from cesai.agent.hub import Hub, HubRefused, HubSilent
from cesai.agent.identity import Identity, NotEnrolled
from cesai.agent.journal import Journal
from cesai.agent.journal_file import AlreadyRunning, JournalBroken
from cesai.agent.loop import Agent, Connectors
from cesai.contract.connector import Finding, RunsJobs
from cesai.contract.loading import load
from cesai.contract.messages import EnrolRequest
from cesai.kernel.clock import SystemClock

log = logging.getLogger("cesai.agent")


class Exit(IntEnum):
    """How the program ends."""

    OK = 0
    UNWELL = 1  # doctor found something to mend
    WRONG = 2  # arguments or configuration
    REFUSED = 3  # the hub does not take this agent; starting it again does not help
    UNREACHABLE = 4  # enrolment got no answer
    BUSY = 5  # another agent has the state folder
    BROKEN = 6  # the journal cannot be used


def main(arguments: Sequence[str] | None = None) -> int:
    """The program `cesai-agent`."""
    wish = _parser().parse_args(arguments)
    logging.basicConfig(
        level=logging.DEBUG if wish.verbose else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        return int(wish.act(wish))
    except (ConfigWrong, NotEnrolled) as error:
        return _say(str(error), Exit.WRONG)
    except HubRefused as error:
        return _say(f"The hub refuses ({error.status}): {error.sentence}", Exit.REFUSED)
    except HubSilent as error:
        return _say(f"The hub was not reached: {error}", Exit.UNREACHABLE)
    except AlreadyRunning as error:
        return _say(str(error), Exit.BUSY)
    except (JournalBroken, OSError) as error:
        return _say(str(error), Exit.BROKEN)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cesai-agent",
        description="Runs beside a site's scheduler and asks the hub for work. It opens no port, it only calls out.",
        epilog="Begin with `cesai-agent enroll`, look with `cesai-agent doctor`, then keep `cesai-agent run` running.",
    )
    parser.add_argument("--version", action="version", version=version("cesai"))
    parser.add_argument("--verbose", action="store_true", help="log more")
    commands = parser.add_subparsers(required=True, metavar="enroll | run | doctor")
    _enroll_parser(commands)
    run = commands.add_parser("run", help="keep asking the hub for work, until stopped", description=_RUN)
    run.set_defaults(act=_run)
    doctor = commands.add_parser("doctor", help="say what is missing and how to mend it", description=_DOCTOR)
    doctor.add_argument("--json", action="store_true", help="findings as JSON")
    doctor.set_defaults(act=_doctor)
    for command in (run, doctor):
        command.add_argument("--config", type=Path, required=True, metavar="FILE", help="the site's agent.toml")
    return parser


_RUN = """Keep asking the hub for work. SIGTERM and Ctrl-C stop the agent; jobs at the site run on, and the next start
goes on from the journal. Exit code 3: the hub refuses this agent, so do not start it again before that is mended."""
_DOCTOR = "Look at identity, journal, hub, clock and scheduler; exit code 1 when something is to be mended."


def _enroll_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    enroll = commands.add_parser(
        "enroll",
        aliases=["enrol"],
        help="make this site's key and show it to the hub, once",
        description="Make a key pair that stays here, and register it with the one-time token of the site's admin.",
    )
    enroll.add_argument(
        "--hub", required=True, metavar="URL", help="the hub's address, such as https://hub.example.org"
    )
    enroll.add_argument(
        "--token", metavar="TOKEN", help="the one-time token; left out: from CESAI_ENROLMENT_TOKEN, `-`: from stdin"
    )
    enroll.add_argument("--state", type=Path, required=True, metavar="DIR", help="folder for key, identity and journal")
    enroll.add_argument("--config", type=Path, metavar="FILE", help="agent.toml to write, if there is none yet")
    enroll.add_argument("--ca-file", type=Path, metavar="FILE", help="certificates to trust for the hub")
    enroll.set_defaults(act=_enroll)


# enroll


def _enroll(wish: argparse.Namespace) -> Exit:
    token = _token(wish.token)
    key = identity.new_key()
    journal = Journal(wish.state)
    try:
        request = EnrolRequest(
            token=token,
            instance_id=journal.instance_id,
            agent_version=version("cesai"),
            public_key=identity.public_part(key),
        )
        known = asyncio.run(_register(wish.hub.rstrip("/"), request, ca_file=wish.ca_file))
    finally:
        journal.close()
    identity.save(wish.state, key=key, identity=known)
    print(f"Enrolled as the agent of site {known.site_id}.")  # noqa: T201  the command's answer
    if wish.config is not None and not wish.config.exists():
        wish.config.write_text(template(hub=known.hub, state=wish.state.resolve()), encoding="utf-8")
        print(f"{wish.config} was written; say there how to reach the scheduler.")  # noqa: T201  the command's answer
    return Exit.OK


def _token(word: str | None) -> str:
    token = sys.stdin.readline() if word == "-" else word or os.environ.get("CESAI_ENROLMENT_TOKEN", "")
    if len(token.strip()) < _SHORTEST_TOKEN:
        msg = "a one-time token is needed: --token TOKEN, `--token -` or CESAI_ENROLMENT_TOKEN"
        raise ConfigWrong(msg)
    return token.strip()


_SHORTEST_TOKEN = 16


async def _register(url: str, request: EnrolRequest, *, ca_file: Path | None) -> Identity:
    async with Hub(url, clock=SystemClock(), ca_file=ca_file) as hub:
        reply = await hub.enrol(request)
    return Identity(hub=url, site_id=reply.site_id, agent_id=reply.agent_id, audience=reply.audience)


# run


def _run(wish: argparse.Namespace) -> Exit:
    config = load_config(wish.config)
    signer = identity.load(config.state)
    connectors = Connectors(jobs=_runs_jobs(config), usage=_connector(config), logs=_connector(config))
    journal = Journal(config.state)
    try:
        asyncio.run(_keep_running(config, signer=signer, journal=journal, connectors=connectors))
    finally:
        journal.close()
    return Exit.OK


def _runs_jobs(config: AgentConfig) -> RunsJobs:
    connector = _connector(config)
    if not isinstance(connector, RunsJobs):
        msg = f"the connector {config.connector_name} cannot run jobs; name another in [connector]"
        raise ConfigWrong(msg)
    return connector


def _connector(config: AgentConfig) -> object:
    try:
        return load(config.connector_name, config.connector_settings)
    except ValueError as error:
        raise ConfigWrong(str(error)) from error


async def _keep_running(
    config: AgentConfig, *, signer: identity.Signer, journal: Journal, connectors: Connectors
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    clock = SystemClock()
    async with Hub(config.hub_url, clock=clock, ca_file=config.ca_file) as hub:
        agent = Agent(
            config,
            version=version("cesai"),
            signer=signer,
            journal=journal,
            hub=hub,
            connectors=connectors,
            clock=clock,
        )
        await agent.run(stop)


# doctor


def _doctor(wish: argparse.Namespace) -> Exit:
    config = load_config(wish.config)
    findings = asyncio.run(_examine(config))
    if wish.json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))  # noqa: T201  the command's answer
    else:
        for finding in findings:
            print(_line(finding))  # noqa: T201  the command's answer
    return Exit.UNWELL if any(finding.is_ok is False for finding in findings) else Exit.OK


async def _examine(config: AgentConfig) -> tuple[Finding, ...]:
    async with Hub(config.hub_url, clock=SystemClock(), ca_file=config.ca_file) as hub:
        return await examine(config, hub)


_WORDS = {True: "ok     ", False: "MEND   ", None: "skipped"}


def _line(finding: Finding) -> str:
    mend = f"\n        -> {finding.mend}" if finding.mend and finding.is_ok is not True else ""
    return f"{_WORDS[finding.is_ok]} {finding.name}: {finding.text}{mend}"


def _say(sentence: str, code: Exit) -> int:
    print(f"cesai-agent: {sentence}", file=sys.stderr)  # noqa: T201  the command's answer
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
