"""Which sentences does the command line say, in German and in English?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

LANGUAGES = ("en", "de")
_MS_PER_HOUR = 3_600_000
_SHORT_MS = 3_600_000  # a GPU-hour

# For each key the sentence in English and in German.
SENTENCES: dict[str, tuple[str, str]] = {
    # signing in
    "no_hub": (
        "No hub is known for the profile {profile}. Sign in once: cesai login --hub https://…",
        "Für das Profil {profile} ist kein Hub bekannt. Einmal anmelden: cesai login --hub https://…",
    ),
    "not_signed_in": (
        "You are not signed in as {profile}. Sign in: cesai login --profile {profile}",
        "Unter dem Profil {profile} ist niemand angemeldet. Anmelden: cesai login --profile {profile}",
    ),
    "other_hub": (
        (
            "The profile {profile} is signed in at {known}, not at {hub}. Sign in there: "
            "cesai login --profile NAME --hub {hub}"
        ),
        (
            "Das Profil {profile} ist bei {known} angemeldet, nicht bei {hub}. Dort anmelden: "
            "cesai login --profile NAME --hub {hub}"
        ),
    ),
    "session_over": (
        "Your login as {profile} has ended ({reason}). Sign in again: cesai login --profile {profile}",
        "Die Anmeldung unter {profile} ist abgelaufen ({reason}). Neu anmelden: cesai login --profile {profile}",
    ),
    "token_refused": (
        "The hub does not accept your login. Sign in again: cesai login --profile {profile}",
        "Der Hub nimmt die Anmeldung nicht an. Neu anmelden: cesai login --profile {profile}",
    ),
    "open_page": (
        "Open this page in a browser and confirm the code {code}:",
        "Diese Seite im Browser öffnen und den Code {code} bestätigen:",
    ),
    "waiting_for_login": ("Waiting for your confirmation …", "Warte auf die Bestätigung …"),
    "login_denied": ("The login was denied on the page.", "Die Anmeldung wurde auf der Seite abgelehnt."),
    "login_expired": (
        "The code was not confirmed in time. Start again: cesai login",
        "Der Code wurde nicht rechtzeitig bestätigt. Von vorn: cesai login",
    ),
    "login_refused": ("The login server refused: {reason}", "Der Anmeldedienst lehnt ab: {reason}"),
    "no_device_login": (
        "The login server {issuer} offers no login by code (device flow). Ask the operator of the hub.",
        "Der Anmeldedienst {issuer} bietet keine Anmeldung per Code (Device Flow). Den Betreiber des Hubs fragen.",
    ),
    "wrong_issuer": (
        "{asked} names itself {named}. Ask the operator of the hub; nothing was sent.",
        "{asked} nennt sich selbst {named}. Den Betreiber des Hubs fragen; es wurde nichts gesendet.",
    ),
    "signed_in": (
        "Signed in at {hub} as {username} (profile {profile}).",
        "Bei {hub} angemeldet als {username} (Profil {profile}).",
    ),
    "signed_out": ("Signed out (profile {profile}).", "Abgemeldet (Profil {profile})."),
    "signed_out_here": (
        "Signed out here (profile {profile}); the login server was not told: {reason}",
        "Hier abgemeldet (Profil {profile}); der Anmeldedienst hat es nicht erfahren: {reason}",
    ),
    "no_profiles": (
        "There are no profiles yet. Sign in: cesai login --hub https://…",
        "Es gibt noch keine Profile. Anmelden: cesai login --hub https://…",
    ),
    "no_profile": (
        "There is no profile {profile}. Known: {known}",
        "Es gibt kein Profil {profile}. Bekannt: {known}",
    ),
    "profile_name": (
        "A profile's name has letters, digits, hyphens and underscores only (40 at most).",
        "Ein Profilname besteht aus Buchstaben, Ziffern, Binde- und Unterstrichen (höchstens 40).",
    ),
    "profile_broken": (
        "{path} cannot be read. Remove it and sign in again.",
        "{path} ist nicht lesbar. Datei entfernen und neu anmelden.",
    ),
    "profile_used": ("From now on: profile {profile}.", "Ab jetzt: Profil {profile}."),
    "bad_hub": (
        "{hub!r} is no address of a hub; write it like https://hub.example.org",
        "{hub!r} ist keine Adresse eines Hubs; so schreiben: https://hub.example.org",
    ),
    "plain_http": (
        (
            "{hub} is not encrypted and your login would be readable on the way. Use https; "
            "where the network is protected otherwise, set CESAI_PLAIN_HTTP=1."
        ),
        (
            "{hub} ist unverschlüsselt, die Anmeldung wäre unterwegs lesbar. https benutzen; "
            "wo das Netz anders geschützt ist, CESAI_PLAIN_HTTP=1 setzen."
        ),
    ),
    # talking to the hub
    "not_reached": (
        "{hub} is not reached: {reason}. Try again; nothing is done twice.",
        "{hub} ist nicht erreichbar: {reason}. Noch einmal versuchen; nichts geschieht doppelt.",
    ),
    "hub_failed": (
        "{hub} failed ({status}). Try again later; if it stays so, tell its operator.",
        "{hub} hat einen Fehler ({status}). Später noch einmal; bleibt es so, den Betreiber benachrichtigen.",
    ),
    "strange_answer": (
        "{hub} gave an answer that is none of a CESAI hub. Is the address right?",
        "{hub} gibt eine Antwort, die keine eines CESAI-Hubs ist. Stimmt die Adresse?",
    ),
    "no_access": ("You may not do this.", "Dazu fehlt das Recht."),
    # input
    "no_file": ("{file} cannot be read: {reason}", "{file} ist nicht lesbar: {reason}"),
    "not_written": ("{file} is not written: {reason}", "{file} wird nicht geschrieben: {reason}"),
    "no_yaml": (
        "{file} is neither YAML nor JSON: {reason}",
        "{file} ist weder YAML noch JSON: {reason}",
    ),
    "faults": ("{file} cannot be taken:", "{file} kann nicht angenommen werden:"),
    "script_twice": (
        "script_file: give either script or script_file",
        "script_file: entweder script oder script_file angeben",
    ),
    "script_file_text": (
        "script_file: write the path of a file",
        "script_file: hier gehört der Pfad einer Datei hin",
    ),
    "script_unread": ("script_file: {path} cannot be read: {reason}", "script_file: {path} ist nicht lesbar: {reason}"),
    "short_prefix": (
        "{part!r} is too short to name a job: give at least {least} characters of its id, from its beginning or end.",
        "{part!r} ist zu kurz für einen Auftrag: mindestens {least} Zeichen vom Anfang oder Ende der Nummer angeben.",
    ),
    "no_such_job": (
        "None of your newest {looked} jobs has {part!r} at the beginning or end of its id. See: cesai job list",
        "Keiner der {looked} neuesten Aufträge hat {part!r} am Anfang oder Ende seiner Nummer. Siehe: cesai job list",
    ),
    "many_such_jobs": (
        "{part!r} names several jobs: {found}. Give more characters.",
        "{part!r} passt auf mehrere Aufträge: {found}. Mehr Zeichen angeben.",
    ),
    "bad_hours": (
        "{text!r} is no amount of GPU-hours; write it like 5000 or 12.5",
        "{text!r} ist keine Menge von GPU-Stunden; so schreiben: 5000 oder 12.5",
    ),
    "bad_line": (
        "{text!r} is no award line; write SITE:CLASS:PERIOD:GPU-HOURS like juelich:H100:2026-Q4:5000",
        "{text!r} ist keine Zeile; so schreiben: STANDORT:KLASSE:PERIODE:GPU-STUNDEN wie juelich:H100:2026-Q4:5000",
    ),
    "bad_entry": (
        "{text!r} is no mapping; write CLUSTER/PARTITION/TYPE=CLASS like jw/gpu/h100=H100 (no type: jw/gpu=H100)",
        (
            "{text!r} ist keine Zuordnung; so schreiben: CLUSTER/PARTITION/TYP=KLASSE wie jw/gpu/h100=H100 "
            "(ohne Typ: jw/gpu=H100)"
        ),
    ),
    "nothing_proposed": (
        "The hub proposes no classes for {site}. Name them: cesai site map {site} CLUSTER/PARTITION/TYPE=CLASS",
        "Der Hub schlägt für {site} keine Klassen vor. So nennen: cesai site map {site} CLUSTER/PARTITION/TYP=KLASSE",
    ),
    "no_membership": (
        "{username} has no membership of that kind. See: cesai member list --username {username}",
        "{username} hat keine solche Mitgliedschaft. Siehe: cesai member list --username {username}",
    ),
    # what was done
    "done": ("Done.", "Erledigt."),
    "more": (
        "There are more; --all shows them all.",
        "Es gibt mehr; --all zeigt alle.",
    ),
    "nothing": ("Nothing to show.", "Nichts vorhanden."),
    "enrol_hint": (
        (
            "Give this token to the agent before {expires} (it works once): "
            "cesai-agent enroll --hub {hub} --token {token} --state DIR"
        ),
        (
            "Dieses Token dem Agenten vor {expires} geben (es gilt einmal): "
            "cesai-agent enroll --hub {hub} --token {token} --state ORDNER"
        ),
    ),
    "file_is_good": ("{file} is a good job file.", "{file} ist eine gültige Auftragsdatei."),
    "plugin_broken": (
        "cesai: the commands of {name} are not there: {reason}",
        "cesai: die Befehle von {name} fehlen: {reason}",
    ),
    "plugin_clash": (
        "cesai: {name} brings a command {command!r} that is there already; it is left out",
        "cesai: {name} bringt einen Befehl {command!r}, den es schon gibt; er entfällt",
    ),
    "bug": (
        "cesai itself failed: {reason}. Please report it; CESAI_DEBUG=1 shows where.",
        "Fehler in cesai selbst: {reason}. Bitte melden; CESAI_DEBUG=1 zeigt, wo.",
    ),
    "interrupted": ("Stopped. A submitted job goes on.", "Abgebrochen. Ein eingereichter Auftrag läuft weiter."),
    # a job's progress
    "job_queued": ("waits: {reason}", "wartet: {reason}"),
    "job_queued_plain": ("waits for a place", "wartet auf einen Platz"),
    "job_placed": ("placed at {site} (attempt {number})", "platziert in {site} (Versuch {number})"),
    "job_waits_at_site": (
        "waits at {site} (attempt {number}): {reason}",
        "wartet in {site} (Versuch {number}): {reason}",
    ),
    "job_running": ("runs at {site} (attempt {number})", "läuft in {site} (Versuch {number})"),
    "job_cancelling": ("is being cancelled", "wird abgebrochen"),
    "job_succeeded": ("succeeded", "erfolgreich beendet"),
    "job_failed": ("failed: {reason}", "fehlgeschlagen: {reason}"),
    "job_failed_plain": ("failed", "fehlgeschlagen"),
    "job_cancelled": ("cancelled", "abgebrochen"),
    "follow_attempt": ("--- attempt {number} at {site} ---", "--- Versuch {number} in {site} ---"),
    "follow_nothing": (
        "The job has no attempt yet, so there is no log. Follow it: cesai job logs {job} --follow",
        "Der Auftrag hat noch keinen Versuch, also kein Protokoll. Mitlesen: cesai job logs {job} --follow",
    ),
    "log_silent": (
        "The job has ended, but {site} has not sent the rest of the log. Ask again later: cesai job logs {job}",
        "Der Auftrag ist beendet, aber {site} hat den Rest des Protokolls nicht gesendet. Später: cesai job logs {job}",
    ),
    "cancel_wished": (
        "The wish is recorded; the job ends as soon as its site confirms.",
        "Der Wunsch ist vermerkt; der Auftrag endet, sobald der Standort bestätigt.",
    ),
    # words in tables
    "yes": ("yes", "ja"),
    "no": ("no", "nein"),
    "never": ("never", "nie"),
    "ledger_holds": ("The books are right: every check holds.", "Die Bücher stimmen: jede Prüfung hält."),
    "ledger_broken": (
        "The books are NOT right. Tell the operators.",
        "Die Bücher stimmen NICHT. Betreiber verständigen.",
    ),
}


@dataclass(frozen=True, slots=True)
class Texts:
    """What is said, in one language."""

    language: str = "en"

    def __call__(self, key: str, **values: object) -> str:
        """The sentence of this key."""
        return SENTENCES[key][LANGUAGES.index(self.language)].format(**values)

    def yes_no(self, value: object) -> str:
        """A yes or a no."""
        return self("yes") if value else self("no")

    def number(self, value: Decimal | float, *, places: int) -> str:
        """A number as people of this language write it."""
        written = f"{value:,.{places}f}"
        return written.translate(str.maketrans(",.", ".,")) if self.language == "de" else written

    def hours(self, gpu_ms: int | None) -> str:
        """GPU time with its unit."""
        if gpu_ms is None:
            return "–"
        # Two places would show what a short job used as nothing.
        places = 2 if gpu_ms == 0 or abs(gpu_ms) >= _SHORT_MS else 4
        return f"{self.number(Decimal(gpu_ms) / _MS_PER_HOUR, places=places)} GPU-h"

    def instant(self, value: datetime | None) -> str:
        """An instant on the reader's own clock."""
        if value is None:
            return "–"
        form = "%d.%m.%Y %H:%M:%S" if self.language == "de" else "%Y-%m-%d %H:%M:%S"
        return value.astimezone().strftime(form)

    def span(self, seconds: float | None) -> str:
        """A span of time in the two units that matter."""
        if seconds is None:
            return "–"
        whole = int(seconds)
        for unit, size, below in (("d", 86_400, "h"), ("h", 3_600, "min"), ("min", 60, "s")):
            if abs(whole) >= size:
                rest = abs(whole) % size // {"h": 3_600, "min": 60, "s": 1}[below]
                return f"{whole // size} {unit} {rest} {below}" if rest else f"{whole // size} {unit}"
        return f"{whole} s"


def language_of(environment: Mapping[str, str]) -> str:
    """German or English, as the usual variables wish (CESAI_LANG before the locale's)."""
    for name in ("CESAI_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        if wish := environment.get(name):
            return "de" if wish.lower().startswith("de") else "en"
    return "en"
