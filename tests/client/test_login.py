"""Does a person get in, stay in, and never lose his login to a race or a lie?"""

import json
import multiprocessing
import stat
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

import httpx
import pytest

from cesai.client.addresses import hub_address, open_client
from cesai.client.exits import BadInput, NotReached, SignInNeeded
from cesai.client.login import Keyring, LoginServer, issuer_of
from cesai.client.profiles import Profile, Profiles, Tokens, config_folder
from cesai.client.texts import Texts

ISSUER = "https://login.example/realms/cesai"
DISCOVERY = {
    "issuer": ISSUER,
    "token_endpoint": f"{ISSUER}/token",
    "device_authorization_endpoint": f"{ISSUER}/device",
    "end_session_endpoint": f"{ISSUER}/logout",
}
CODE = {
    "device_code": "d",
    "user_code": "ABCD-EFGH",
    "verification_uri": f"{ISSUER}/page",
    "expires_in": 600,
    "interval": 5,
}
TOKENS = {"access_token": "a1", "refresh_token": "r1", "expires_in": 300}


def server(*answers, discovery=DISCOVERY):
    left = list(answers)

    def answer(request):
        if request.url.path.endswith("openid-configuration"):
            return httpx.Response(200, json=discovery)
        return left.pop(0)

    client = httpx.Client(transport=httpx.MockTransport(answer))
    return LoginServer(ISSUER, client=client, texts=Texts())


def no(error, **more):
    return httpx.Response(400, json={"error": error, **more})


def yes(body):
    return httpx.Response(200, json=body)


def test_a_login_waits_for_the_person_and_slows_down_when_told():
    slept = []
    login = server(yes(CODE), no("authorization_pending"), no("slow_down"), yes(TOKENS))
    tokens = login.wait(login.start(), sleep=slept.append)
    assert tokens.access_token == "a1"
    assert slept == [5, 5, 10]


@pytest.mark.parametrize(
    ("error", "said"),
    [("access_denied", "denied"), ("expired_token", "not confirmed in time"), ("invalid_client", "refused: no client")],
)
def test_a_login_that_fails_says_why(error, said):
    login = server(yes(CODE), no(error, error_description="no client"))
    with pytest.raises(SignInNeeded, match=said):
        login.wait(login.start(), sleep=lambda _: None)


def test_a_login_server_without_device_flow_is_told_so():
    with pytest.raises(SignInNeeded, match="no login by code"):
        server(discovery={"issuer": ISSUER}).start()


def test_a_login_server_under_anothers_name_is_not_believed():
    with pytest.raises(BadInput, match=r"names itself https://evil\.example"):
        server(discovery=DISCOVERY | {"issuer": "https://evil.example"}).start()


def test_tokens_never_go_to_an_address_that_others_can_read():
    with pytest.raises(BadInput, match="not encrypted"):
        server(yes(CODE), discovery=DISCOVERY | {"device_authorization_endpoint": "http://login.example/d"}).start()


@pytest.mark.parametrize(
    "good", ["https://hub.example/", "http://127.0.0.1:8000", "http://[::1]:80", "http://localhost"]
)
def test_a_hub_is_encrypted_or_on_this_machine(good):
    assert hub_address(good, Texts()) == good.rstrip("/")


@pytest.mark.parametrize(
    "bad", ["hub.example", "ftp://x", "https://", "http://hub.example", "https://u@h", "https://h?x"]
)
def test_other_addresses_are_refused_with_a_sentence(bad):
    with pytest.raises(BadInput, match=r"https"):
        hub_address(bad, Texts())


@pytest.mark.parametrize(
    ("answer", "issuer"),
    [
        (yes({"authorization_servers": [ISSUER + "/"]}), ISSUER),
        (httpx.Response(404, json={}), "https://hub.example/realms/cesai"),
        (httpx.Response(404, text="<html>"), "https://hub.example/realms/cesai"),
    ],
)
def test_the_hub_names_its_login_server_or_carries_its_own(answer, issuer):
    client = httpx.Client(transport=httpx.MockTransport(lambda _: answer))
    assert issuer_of("https://hub.example", client=client, texts=Texts()) == issuer


def test_a_profile_is_for_its_owners_eyes_only(tmp_path):
    profiles = Profiles(tmp_path / "cesai", Texts())
    profiles.save(profile(expires_at=0.0))
    file = tmp_path / "cesai/profiles/default.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert profiles.find("default") == profile(expires_at=0.0)
    assert [each.name for each in file.parent.iterdir()] == ["default.json"]


@pytest.mark.parametrize("name", ["../x", "a/b", "", "a" * 41, "a b", "x\n"])
def test_a_profiles_name_leads_nowhere_else(tmp_path, name):
    with pytest.raises(BadInput, match="letters, digits"):
        Profiles(tmp_path, Texts()).find(name)


def test_a_broken_profile_is_named(tmp_path):
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles/default.json").write_text("{")
    with pytest.raises(BadInput, match=r"default.json cannot be read"):
        Profiles(tmp_path, Texts()).find("default")


@pytest.mark.parametrize(
    ("environment", "folder"),
    [
        ({"CESAI_CONFIG_DIR": "/c", "XDG_CONFIG_HOME": "/x"}, "/c"),
        ({"XDG_CONFIG_HOME": "/x"}, "/x/cesai"),
    ],
)
def test_profiles_are_kept_where_the_person_wishes(environment, folder):
    assert str(config_folder(environment)) == folder


def profile(*, expires_at, refresh_token="r0", issuer=ISSUER):
    tokens = Tokens(access_token="a0", refresh_token=refresh_token, expires_at=expires_at)
    return Profile(name="default", hub="https://hub.example", issuer=issuer, tokens=tokens)


def keyring(tmp_path, kept, *answers):
    profiles = Profiles(tmp_path, Texts())
    profiles.save(kept)
    return profiles, Keyring(profiles, kept, server=server(*answers), texts=Texts())


def test_a_token_that_ends_soon_is_renewed_and_kept(tmp_path):
    profiles, keys = keyring(tmp_path, profile(expires_at=time.time() + 5), yes(TOKENS))
    assert keys.token() == "a1"
    assert profiles.find("default").tokens.refresh_token == "r1"
    assert keys.token() == "a1"


def test_a_login_that_is_over_says_how_to_sign_in(tmp_path):
    _, keys = keyring(tmp_path, profile(expires_at=0.0), no("invalid_grant", error_description="Token is not active"))
    with pytest.raises(SignInNeeded, match=r"Token is not active.*cesai login --profile default"):
        keys.token()


def test_a_login_server_that_fails_does_not_cost_the_login(tmp_path):
    profiles, keys = keyring(tmp_path, profile(expires_at=0.0), httpx.Response(503))
    with pytest.raises(NotReached):
        keys.token()
    assert profiles.find("default").tokens.refresh_token == "r0"


class Rotating(BaseHTTPRequestHandler):
    """A login server that ends the login when a refresh token comes twice."""

    def log_message(self, *_):
        pass

    def do_GET(self):
        self._answer(200, {"issuer": self.server.issuer, "token_endpoint": f"{self.server.issuer}/token"})

    def do_POST(self):
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        with self.server.lock:
            if form["refresh_token"] != [self.server.good]:
                self.server.good = None
                self._answer(400, {"error": "invalid_grant", "error_description": "reuse"})
                return
            self.server.count += 1
            self.server.good = f"r{self.server.count}"
            body = {"access_token": f"a{self.server.count}", "refresh_token": self.server.good, "expires_in": 300}
        self._answer(200, body)

    def _answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())


@pytest.fixture
def rotating():
    with ThreadingHTTPServer(("127.0.0.1", 0), Rotating) as running:
        running.issuer = f"http://127.0.0.1:{running.server_port}"
        running.lock, running.good, running.count = threading.Lock(), "r0", 0
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def ask_for_token(folder, answers):
    profiles = Profiles(folder, Texts())
    kept = profiles.find("default")
    with open_client(kept.issuer) as client:
        keys = Keyring(profiles, kept, server=LoginServer(kept.issuer, client=client, texts=Texts()), texts=Texts())
        try:
            answers.put(keys.token())
        except SignInNeeded as error:
            answers.put(error.sentence)


def test_processes_at_once_refresh_the_login_once(tmp_path, rotating):
    Profiles(tmp_path, Texts()).save(profile(expires_at=0.0, issuer=rotating.issuer))
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    workers = [context.Process(target=ask_for_token, args=(tmp_path, answers)) for _ in range(4)]
    for worker in workers:
        worker.start()
    told = [answers.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join()
    assert told == ["a1"] * 4
    assert rotating.count == 1
