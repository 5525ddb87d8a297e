"""What keeps this agent from working, and how is it mended?"""

from __future__ import annotations

from pathlib import Path

from cesai.agent import identity
from cesai.agent.config import AgentConfig
from cesai.agent.hub import Hub, HubRefused, HubSilent
from cesai.agent.journal import Journal
from cesai.agent.journal_file import AlreadyRunning, JournalBroken
from cesai.contract.connector import ExaminesItself, Finding, KeepsFolders, RunsJobs, TellsCapacity, TellsUsage
from cesai.contract.loading import load

SKEW_S = 5.0
_ABILITIES = (RunsJobs, KeepsFolders, TellsCapacity, TellsUsage)


async def examine(config: AgentConfig, hub: Hub) -> tuple[Finding, ...]:
    """Every finding, the agent's own first, then the connector's."""
    return (
        _identity(config),
        *_state(config.state),
        *(await _hub(config, hub)),
        *_connector(config),
    )


def _identity(config: AgentConfig) -> Finding:
    try:
        signer = identity.load(config.state)
    except identity.NotEnrolled as error:
        mend = "Ask the site's admin for a one-time token: cesai-agent enroll --hub URL --token TOKEN --state DIR"
        return Finding("identity", is_ok=False, text=str(error), mend=mend)
    known = signer.identity
    if known.hub.rstrip("/") != config.hub_url:
        mend = "Set hub in agent.toml to the address that the agent enrolled at, or enrol again."
        text = f"enrolled at {known.hub}, but agent.toml names {config.hub_url}"
        return Finding("identity", is_ok=False, text=text, mend=mend)
    return Finding("identity", is_ok=True, text=f"site {known.site_id}, agent {known.agent_id}")


def _state(folder: Path) -> tuple[Finding, ...]:
    loose = identity.loose_files(folder)
    files = Finding("files", is_ok=True, text=f"{folder}: readable by its owner only")
    if loose:
        names = " ".join(str(folder / name) for name in loose)
        files = Finding("files", is_ok=False, text=f"others may read {names}", mend=f"chmod 600 {names}")
    return files, _journal(folder)


def _journal(folder: Path) -> Finding:
    try:
        journal = Journal(folder)
    except AlreadyRunning:
        return Finding("journal", is_ok=True, text="an agent runs on this state folder")
    except (JournalBroken, OSError) as error:
        return Finding("journal", is_ok=False, text=str(error), mend="Free some space, or set state to another folder.")
    try:
        journal.probe()
        count = len(journal.entries())
    except JournalBroken as error:
        return Finding("journal", is_ok=False, text=str(error), mend="Free some space, or set state to another folder.")
    finally:
        journal.close()
    return Finding("journal", is_ok=True, text=f"writable; {count} attempts are held")


async def _hub(config: AgentConfig, hub: Hub) -> tuple[Finding, ...]:
    try:
        health = await hub.health()
    except (HubSilent, HubRefused) as error:
        mend = (
            "Check hub and ca_file in agent.toml, the site's proxy (HTTPS_PROXY), and that outgoing HTTPS is allowed."
        )
        return (Finding("hub", is_ok=False, text=f"{config.hub_url}: {error}", mend=mend),)
    skew = -hub.offset.total_seconds()
    reached = Finding("hub", is_ok=True, text=f"{config.hub_url}, version {health.get('version', 'unknown')}")
    # The header tells whole seconds, and the way takes its time.
    if abs(skew) > SKEW_S:
        text = f"this clock is {skew:+.0f} s off the hub's"
        clock = Finding("clock", is_ok=False, text=text, mend="Let NTP set this machine's clock (chronyc tracking).")
    else:
        clock = Finding("clock", is_ok=True, text=f"within {SKEW_S:.0f} s of the hub's")
    return reached, clock


def _connector(config: AgentConfig) -> tuple[Finding, ...]:
    try:
        connector = load(config.connector_name, config.connector_settings)
    except ValueError as error:
        return (Finding("connector", is_ok=False, text=str(error), mend="Mend [connector] in agent.toml."),)
    abilities = [ability.__name__ for ability in _ABILITIES if isinstance(connector, ability)]
    if not isinstance(connector, RunsJobs):
        text = f"{config.connector_name} cannot run jobs"
        return (Finding("connector", is_ok=False, text=text, mend="Name another connector in agent.toml."),)
    loaded = Finding("connector", is_ok=True, text=f"{config.connector_name}: {', '.join(abilities)}")
    more = connector.examine() if isinstance(connector, ExaminesItself) else ()
    return (loaded, *more)
