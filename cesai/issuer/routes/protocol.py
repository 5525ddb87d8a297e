"""How does the issuer speak OAuth and OpenID? Keycloak's paths below /realms/cesai, its answers and its errors."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import unquote

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse

from cesai.db.session import Db, Now
from cesai.issuer import rules
from cesai.issuer.routes.common import FORM_LIMIT, NO_STORE, PREFIX, PROTOCOL, Form, IssuerConfig
from cesai.issuer.rules import Client, Denial, Denied
from cesai.issuer.service import clients, keys, tokens
from cesai.issuer.service.clients import ClientWords
from cesai.issuer.service.tokens import Granted

DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
router = APIRouter(prefix=PREFIX, include_in_schema=False, tags=["issuer"], max_body_size=FORM_LIMIT)


def _words(request: Request, form: Mapping[str, str]) -> ClientWords:
    """Source: RFC 6749, section 2.3.1: the header, or the form."""
    kind, _, value = request.headers.get("authorization", "").partition(" ")
    if kind.lower() == "basic":
        try:
            client_id, _, secret = base64.b64decode(value, validate=True).decode().partition(":")
        except (binascii.Error, ValueError) as error:
            raise Denied(Denial.UNKNOWN_CLIENT) from error
        return ClientWords(client_id=unquote(client_id), secret=unquote(secret))
    return ClientWords(
        client_id=form.get("client_id"),
        secret=form.get("client_secret"),
        assertion_type=form.get("client_assertion_type"),
        assertion=form.get("client_assertion"),
    )


def _client(request: Request, form: Form, config: IssuerConfig, db: Db, now: Now) -> Client:
    return clients.authenticate(db, config, _words(request, form), now=now)


AuthenticatedClient = Annotated[Client, Depends(_client)]


@router.get("/.well-known/openid-configuration")
def discovery(config: IssuerConfig) -> dict[str, Any]:
    """Where everything is."""
    base = f"{config.issuer}{PROTOCOL}"
    return {
        "issuer": config.issuer,
        "authorization_endpoint": f"{base}/auth",
        "token_endpoint": config.token_endpoint,
        "introspection_endpoint": f"{base}/token/introspect",
        "userinfo_endpoint": f"{base}/userinfo",
        "end_session_endpoint": f"{base}/logout",
        "jwks_uri": f"{base}/certs",
        "revocation_endpoint": f"{base}/revoke",
        "device_authorization_endpoint": f"{base}/auth/device",
        "grant_types_supported": ["authorization_code", "client_credentials", "refresh_token", DEVICE_GRANT],
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "token_endpoint_auth_methods_supported": ["private_key_jwt", "client_secret_basic", "client_secret_post"],
        "token_endpoint_auth_signing_alg_values_supported": clients.ALGORITHMS,
        "scopes_supported": list(rules.SCOPES),
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": True,
    }


@router.get(f"{PROTOCOL}/certs")
def certs(_config: IssuerConfig, db: Db) -> dict[str, Any]:
    """The keys that signatures are checked with."""
    return keys.public_keys(db)


@router.post(f"{PROTOCOL}/token")
def token(form: Form, client: AuthenticatedClient, config: IssuerConfig, db: Db, now: Now) -> JSONResponse:
    """Tokens for a code, a refresh token, a device or the client itself."""
    match form.get("grant_type"):
        case "authorization_code":
            granted = tokens.by_code(
                db,
                config,
                client,
                code=_needed(form, "code"),
                redirect_uri=form.get("redirect_uri", ""),
                verifier=form.get("code_verifier"),
                now=now,
            )
        case "refresh_token":
            old = _needed(form, "refresh_token")
            granted = tokens.by_refresh(db, config, client, refresh_token=old, scope=form.get("scope"), now=now)
        case "client_credentials":
            granted = tokens.by_itself(db, config, client, scope=form.get("scope", ""), now=now)
        case "urn:ietf:params:oauth:grant-type:device_code":
            granted = tokens.by_device(db, config, client, device_code=_needed(form, "device_code"), now=now)
        case None:
            raise Denied(Denial.NO_GRANT_TYPE)
        case _:
            raise Denied(Denial.STRANGE_GRANT_TYPE)
    return JSONResponse(_granted(granted), headers=NO_STORE)


def _needed(form: Mapping[str, str], name: str) -> str:
    value = form.get(name)
    if not value:
        raise Denied(Denial.MISSING)
    return value


def _granted(granted: Granted) -> dict[str, Any]:
    body: dict[str, Any] = {
        "access_token": granted.access_token,
        "expires_in": int(rules.ACCESS_LASTS.total_seconds()),
        "refresh_expires_in": granted.refresh_expires_in,
        "token_type": "Bearer",
        "not-before-policy": 0,
        "scope": granted.scope,
    }
    optional = {
        "refresh_token": granted.refresh_token,
        "id_token": granted.id_token,
        "session_state": granted.sid,
    }
    return body | {name: value for name, value in optional.items() if value is not None}


@router.post(f"{PROTOCOL}/auth/device")
def device(form: Form, client: AuthenticatedClient, config: IssuerConfig, db: Db, now: Now) -> JSONResponse:
    """Codes for a device that cannot show a login page."""
    codes = tokens.start_device(db, client, scope=form.get("scope", ""), now=now)
    shown = rules.shown_user_code(codes.user_code)
    body = {
        "device_code": codes.device_code,
        "user_code": shown,
        "verification_uri": f"{config.issuer}/device",
        "verification_uri_complete": f"{config.issuer}/device?user_code={shown}",
        "expires_in": int(rules.DEVICE_LASTS.total_seconds()),
        "interval": rules.DEVICE_INTERVAL_S,
    }
    return JSONResponse(body, headers=NO_STORE)


@router.api_route(f"{PROTOCOL}/userinfo", methods=["GET", "POST"])
def userinfo(request: Request, config: IssuerConfig, db: Db, now: Now) -> Response:
    """Who the bearer of an access token is."""
    kind, _, value = request.headers.get("authorization", "").partition(" ")
    claims = tokens.active_claims(db, config, value, now=now) if kind.lower() == "bearer" else None
    if claims is None:
        return Response(
            status_code=401, headers={"WWW-Authenticate": 'Bearer realm="cesai", error="invalid_token"'} | NO_STORE
        )
    if "openid" not in str(claims["scope"]).split():
        body = {"error": "insufficient_scope", "error_description": "Missing openid scope"}
        return JSONResponse(body, status_code=403, headers=NO_STORE)
    shown = ("sub", "email_verified", "name", "groups", "preferred_username", "given_name", "family_name", "email")
    return JSONResponse({name: claims[name] for name in shown if name in claims}, headers=NO_STORE)


@router.post(f"{PROTOCOL}/token/introspect")
def introspect(form: Form, client: AuthenticatedClient, config: IssuerConfig, db: Db, now: Now) -> JSONResponse:
    """Whether an access token is good now; told only to the client that it is meant for."""
    claims = tokens.active_claims(db, config, form.get("token", ""), now=now)
    if client.is_public:
        raise Denied(Denial.UNKNOWN_CLIENT)
    if claims is None or claims["aud"] != client.client_id:
        return JSONResponse({"active": False}, headers=NO_STORE)
    words = {"client_id": claims["azp"], "username": claims["preferred_username"], "token_type": "Bearer"}
    return JSONResponse(claims | words | {"active": True}, headers=NO_STORE)


@router.post(f"{PROTOCOL}/revoke")
def revoke(form: Form, client: AuthenticatedClient, db: Db, now: Now) -> Response:
    """Take a token back."""
    tokens.revoke(db, client, token=form.get("token", ""), now=now)
    return Response(status_code=200, headers=NO_STORE)


@router.post(f"{PROTOCOL}/logout")
def log_out_client(form: Form, client: AuthenticatedClient, db: Db, now: Now) -> Response:
    """End the login of a refresh token."""
    tokens.log_out_refresh(db, client, refresh_token=form.get("refresh_token", ""), now=now)
    return Response(status_code=204, headers=NO_STORE)
