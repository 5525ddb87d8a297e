"""How does a person sign in, sign out and see who he is?"""

from __future__ import annotations

import json
import os
import sys
import webbrowser
from typing import Annotated

import typer

from cesai.client.addresses import hub_address, open_client
from cesai.client.api import Hub
from cesai.client.exits import BadInput, NotReached, SignInNeeded
from cesai.client.login import DeviceCode, Keyring, LoginServer, issuer_of
from cesai.client.profiles import DEFAULT, Profile
from cesai.client.tables import Column, print_fields, print_json
from cesai.client.visit import Visit, command

app = typer.Typer()
profile_app = typer.Typer(no_args_is_help=True, help="People and hubs that this machine knows.")


@command(app)
def login(
    visit: Visit,
    *,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Only print the page to open.")] = False,
    issuer: Annotated[str | None, typer.Option(help="Login server, if the hub does not name it.")] = None,
) -> None:
    """Sign in: confirm a code in a browser, on this machine or any other."""
    name = visit.wishes.profile or os.environ.get("CESAI_PROFILE") or visit.profiles.current()
    known = visit.profiles.find(name)
    wished = visit.wishes.hub or os.environ.get("CESAI_HUB") or (known.hub if known else None)
    if wished is None:
        raise BadInput(visit.texts("no_hub", profile=name))
    address = hub_address(wished, visit.texts)
    with open_client(address) as client:
        issuer = issuer or issuer_of(address, client=client, texts=visit.texts)
    with open_client(issuer) as client:
        server = LoginServer(issuer.rstrip("/"), client=client, texts=visit.texts)
        code = server.start()
        _show_code(visit, code, is_browser_wished=not no_browser)
        tokens = server.wait(code)
        profile = Profile(name=name, hub=address, issuer=server.issuer, tokens=tokens)
        _keep(visit, profile, server)


def _show_code(visit: Visit, code: DeviceCode, *, is_browser_wished: bool) -> None:
    if visit.as_json:
        # One line, at once: a program that drives the login reads it while this command waits.
        told = ("verification_uri", "verification_uri_complete", "user_code", "expires_in")
        sys.stdout.write(json.dumps({name: getattr(code, name) for name in told}) + "\n")
    else:
        visit.say("open_page", code=code.user_code)
        sys.stdout.write(code.verification_uri_complete + "\n")
    sys.stdout.flush()
    if is_browser_wished:
        webbrowser.open(code.verification_uri_complete)
    visit.say("waiting_for_login")


def _keep(visit: Visit, profile: Profile, server: LoginServer) -> None:
    with visit.profiles.locked(profile.name):
        visit.profiles.save(profile)
    keys = Keyring(visit.profiles, profile, server=server, texts=visit.texts)
    with open_client(profile.hub) as client:
        me = Hub(profile.hub, client=client, keys=keys, texts=visit.texts, profile=profile.name).people.me()
    with visit.profiles.locked(profile.name):
        kept = visit.profiles.find(profile.name) or profile
        visit.profiles.save(kept.model_copy(update={"username": me.username}))
    if visit.profiles.find(visit.profiles.current()) is None or profile.name == DEFAULT:
        visit.profiles.use(profile.name)
    if visit.as_json:
        print_json({"profile": profile.name, "hub": profile.hub, **me.model_dump(mode="json", exclude_unset=True)})
    else:
        visit.say("signed_in", hub=profile.hub, username=me.username, profile=profile.name)


@command(app)
def logout(visit: Visit) -> None:
    """Sign out, here and at the login server."""
    with visit.profiles.locked(visit.profile):
        profile = visit.profiles.find(visit.profile)
        if profile is None or profile.tokens is None:
            raise SignInNeeded(visit.texts("not_signed_in", profile=visit.profile))
        visit.profiles.save(profile.model_copy(update={"tokens": None}))
    try:
        if profile.tokens.refresh_token:
            with open_client(profile.issuer) as client:
                LoginServer(profile.issuer, client=client, texts=visit.texts).end(profile.tokens.refresh_token)
    except NotReached as error:
        visit.say("signed_out_here", profile=profile.name, reason=error.sentence)
        return
    visit.say("signed_out", profile=profile.name)


@command(app)
def whoami(visit: Visit) -> None:
    """Who you are for the hub, and what you are in it."""
    me = visit.hub.people.me()
    if visit.as_json:
        print_json(me)
        return
    roles = [f"{each.role} ({each.scope})" if each.scope else each.role for each in me.memberships]
    print_fields(
        [
            ("username", me.username),
            ("name", me.name),
            ("hub", visit.hub.address),
            ("profile", visit.profile),
            ("roles", ", ".join(roles) or "–"),
        ]
    )


@command(profile_app, "list")
def list_profiles(visit: Visit) -> None:
    """Profiles on this machine."""
    found = [each for each in map(visit.profiles.find, visit.profiles.names()) if each]
    if visit.as_json:
        print_json(
            [
                {
                    "name": each.name,
                    "hub": each.hub,
                    "username": each.username,
                    "is_signed_in": each.tokens is not None,
                    "is_current": each.name == visit.profile,
                }
                for each in found
            ]
        )
        return
    if not found:
        visit.say("no_profiles")
        return
    visit.list(
        found,
        [
            Column("", lambda each: "*" if each.name == visit.profile else ""),
            Column("profile", lambda each: each.name),
            Column("username", lambda each: each.username),
            Column("hub", lambda each: each.hub),
            Column("signed in", lambda each: visit.texts.yes_no(each.tokens)),
        ],
    )


@command(profile_app, "use")
def use_profile(visit: Visit, name: Annotated[str, typer.Argument(help="The profile's name.")]) -> None:
    """Use a profile from now on."""
    visit.profiles.use(name)
    visit.say("profile_used", profile=name)
