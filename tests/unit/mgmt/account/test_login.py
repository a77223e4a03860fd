"""A sign-in from the service's address to tokens that it accepts, with an issuer that may misbehave at every step."""

import json
import re
import threading
import urllib.error
import urllib.request
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from mgmt.account.login import Means, meet, sign_in
from mgmt.credentials.issuer import IssuerApi
from mgmt.credentials.store import Known
from mgmt.errors import CancelledError, LoginRequiredError, NotConfiguredError, UnavailableError
from mgmt.network import Connections
from mgmt.network.retry import Patience
from mgmt_contract.messages.service import Me, Service
from mgmt_contract.sign_in import redirect_uri
from support.odd_issuer import AUDIENCE, CLIENT_ID, SCOPE, encode, make_key, odd_issuer, where_it_ends

SERVICE_URL = "https://uploads.example.com"
PAGE = "https://login.example.com/page"
POOLS_AND_TENANTS = {
    "Cognito": tuple(
        f"https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_{pool}" for pool in ("Abc123xyz", "Xyz789abc")
    ),
    "Entra": tuple(f"https://login.microsoftonline.com/{tenant}/v2.0" for tenant in ("a-tenant", "other-tenant")),
}


class Browser:
    """A person with a browser: opens what it is given, follows every redirect, and keeps the last page."""

    def __init__(self):
        self.pages = []
        self.meetings = []
        self.codes = []
        self.shown = []
        self.complaints = []
        self.visit = self.follow
        self.refuses = False
        self.others = []
        self.refuses_others = False

    def agree(self, meeting):
        self.meetings.append(meeting)
        if self.refuses:
            raise LoginRequiredError("no", code="not-agreed")

    def agree_to_person(self, service_host, former, name):
        self.others.append((service_host, former, name))
        if self.refuses_others:
            raise LoginRequiredError("no", code="not-agreed")

    def show_address(self, address, *, opens):
        self.shown.append((address, opens))

    def open_browser(self, address):
        threading.Thread(target=self.visit, args=(address,), daemon=True).start()

    def follow(self, address):
        self.pages.append(read_page(address))

    def ask_for_answer(self, why):
        self.complaints.append(why)
        return self.answers.pop(0)

    def show_code(self, code):
        self.codes.append(code)


def read_page(address):
    try:
        with urllib.request.urlopen(address, timeout=30) as page:  # noqa: S310  a loopback address
            return page.read().decode()
    except urllib.error.HTTPError as error:
        return error.read().decode()


class Scene:
    """One sign-in with everything in it."""

    def __init__(self, issuer, port):
        self.issuer, self.ports = issuer, [port]
        self.browser = Browser()
        self.stop = threading.Event()
        self.known = []
        self.asked = []
        self.answer = Me("sub-anna", "anna", "member", ("editors",))
        self.service = Service(
            1, 1, "9", "b", "eu-west-1", "", 1, 1, 1, 1, 1,
            issuer=issuer.url, client_id=CLIENT_ID, audience=AUDIENCE, scopes=(SCOPE,),
        )  # fmt: skip
        self.ahead = timedelta()
        self.elapsed = []

    def identify(self, token):
        self.asked.append(token)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def clock(self):
        return datetime.now(UTC) + self.ahead

    def monotonic(self):
        return self.elapsed.pop(0) if self.elapsed else 0.0

    def sign_in(self, way="browser", **more):
        patience = Patience(self.stop, start_budget_seconds=0, budget_seconds=0)
        connections = Connections()
        try:
            api = IssuerApi(connections, patience, lambda _: None, clock=self.clock)
            means = Means(api, self.identify, self.browser, self.stop, self.monotonic, self.clock)
            return sign_in(self.service, SERVICE_URL, means, known=self.known, way=way, ports=self.ports, **more)
        finally:
            connections.close()

    def last_page(self):
        for thread in threading.enumerate():
            if thread is not threading.current_thread() and thread.daemon and "follow" in repr(thread):
                thread.join(10)
        return self.browser.pages[-1]


@pytest.fixture
def scene(issuer, port):
    return Scene(issuer, port)


def known_sign_in(service_url, issuer):
    return Known(service_url, issuer)


def test_a_person_is_signed_in_and_everything_that_later_calls_need_is_fixed(scene, issuer):
    signed_in = scene.sign_in()
    kept = signed_in.credentials
    assert signed_in.me == scene.answer
    assert scene.asked == [kept.tokens.access_token]
    assert (kept.service_url, kept.issuer, kept.client_id) == (SERVICE_URL, issuer.url, CLIENT_ID)
    assert (kept.token_endpoint, kept.revocation_endpoint) == (f"{issuer.url}/token", f"{issuer.url}/revoke")
    assert issuer.asked[0]["scope"] == f"openid {SCOPE}"
    assert kept.tokens.id_token is None, "nobody reads it any more"
    assert (kept.subject, kept.name, kept.groups, kept.role) == ("sub-anna", "anna", ("editors",), "member")
    assert kept.tokens.refresh_token


def test_the_code_is_exchanged_with_the_verifier_that_only_this_process_knows(scene, issuer):
    scene.sign_in()
    [(path, form)] = issuer.forms
    [asked] = issuer.asked
    assert path == "/token"
    assert form["grant_type"] == "authorization_code"
    assert form["redirect_uri"] == asked["redirect_uri"] == redirect_uri(scene.ports[0], issuer.url)
    assert form["resource"] == form["audience"] == AUDIENCE
    assert form["code_verifier"] not in asked.values()
    assert "client_secret" not in form


def test_a_hint_of_who_signs_in_reaches_the_issuer(scene, issuer):
    scene.sign_in(login_hint="anna")
    assert issuer.asked[0]["login_hint"] == "anna"


def test_the_address_is_shown_whole_also_where_a_browser_opens(scene, issuer):
    scene.sign_in()
    [(address, opens)] = scene.browser.shown
    assert opens
    assert address.startswith(f"{issuer.url}/authorize?")


def test_the_service_is_asked_with_the_token_before_anything_is_kept(scene):
    scene.answer = LoginRequiredError("401")
    with pytest.raises(LoginRequiredError, match=r"uploads\.example\.com does not accept the token"):
        scene.sign_in()


def test_a_person_who_is_no_member_is_told_so(scene):
    scene.answer = Me("sub-anna", "anna", "nobody")
    with pytest.raises(LoginRequiredError, match=r"as anna, .*no member"):
        scene.sign_in()


def test_a_service_without_an_issuer_is_named(scene):
    scene.service = replace(scene.service, issuer=None)
    with pytest.raises(NotConfiguredError, match="MGMT_TOKEN"):
        scene.sign_in()


# --- the wrong party -----------------------------------------------------------------------------------


def test_nothing_is_asked_of_the_issuers_pages_before_the_person_has_agreed(scene, issuer):
    scene.browser.refuses = True
    with pytest.raises(LoginRequiredError):
        scene.sign_in()
    assert issuer.asked == []
    assert issuer.fetched == ["/.well-known/openid-configuration"]


def test_a_pair_of_hosts_that_was_agreed_to_is_known():
    known = [known_sign_in(SERVICE_URL, "https://login.example.com/team")]
    meeting = meet(SERVICE_URL, "https://login.example.com/team", "https://page.example.com/login?a=b", known)
    assert (meeting.service_host, meeting.issuer) == ("uploads.example.com", "login.example.com/team")
    assert meeting.page_host == "page.example.com"
    assert meeting.is_known
    assert not meeting.other_services


def test_another_issuer_for_the_same_service_is_told():
    known = [known_sign_in(SERVICE_URL, "https://login.example.com")]
    meeting = meet(SERVICE_URL, "https://login.evil.example", PAGE, known)
    assert (meeting.former_issuer, meeting.issuer) == ("login.example.com", "login.evil.example")
    assert not meeting.is_known


@pytest.mark.parametrize("place", POOLS_AND_TENANTS)
def test_two_pools_of_one_region_and_two_tenants_are_told_apart(place):
    """Their host is the same, and a stranger can make one."""
    own, strangers = POOLS_AND_TENANTS[place]
    meeting = meet(SERVICE_URL, strangers, PAGE, [known_sign_in(SERVICE_URL, own)])
    assert (meeting.former_issuer, meeting.issuer) == (own.removeprefix("https://"), strangers.removeprefix("https://"))
    assert meeting.former_issuer != meeting.issuer


def test_a_second_service_with_the_issuer_of_the_first_is_told():
    """A hostile service can name a good issuer: then its token is good at the real service as well."""
    known = [known_sign_in(SERVICE_URL, "https://login.example.com")]
    meeting = meet("https://uploads.evil.example", "https://login.example.com", PAGE, known)
    assert meeting.other_services == ("uploads.example.com",)
    assert not meeting.is_known


def test_nothing_is_known_at_first():
    meeting = meet(SERVICE_URL, "https://login.example.com", PAGE, [])
    assert not meeting.is_known
    assert meeting.former_issuer is None
    assert not meeting.other_services


@pytest.fixture
def mixed_up(scene):
    """A hostile service names a hostile issuer, which would have people sign in at their own and get the code.

    Neither names itself in the redirect, as Cognito and Entra do not.
    """
    with odd_issuer() as hostile, odd_issuer() as honest:
        for each in (hostile, honest):
            each.metadata["authorization_response_iss_parameter_supported"] = each.redirect["iss"] = None
        scene.service = replace(scene.service, issuer=hostile.url)

        def visit_and_give_up(address):
            scene.browser.follow(address)
            scene.stop.set()

        scene.browser.visit = visit_and_give_up
        yield hostile, honest


def test_an_issuer_that_names_the_page_of_another_gets_no_code(scene, mixed_up):
    """The page's own issuer does not send browsers to an address that has the other one's name in it."""
    hostile, honest = mixed_up
    hostile.metadata["authorization_endpoint"] = f"{honest.url}/authorize"
    with pytest.raises(CancelledError):
        scene.sign_in()
    assert honest.asked, "the person was sent there"
    assert hostile.forms == [], "neither code nor verifier went to the hostile one"


@pytest.mark.parametrize("is_corrected", [False, True], ids=["as it was asked", "with the other one's address"])
def test_an_issuer_that_sends_people_on_to_the_page_of_another_gets_no_code(scene, mixed_up, is_corrected):
    """Where the address is exchanged for the right one of the other issuer, this sign-in does not listen there."""
    hostile, honest = mixed_up

    def send_on(query):
        own = {"redirect_uri": redirect_uri(scene.ports[0], honest.url)} if is_corrected else {}
        return f"{honest.url}/authorize?{urlencode({**query, **own})}"

    hostile.authorize = send_on
    with pytest.raises(CancelledError):
        scene.sign_in()
    assert honest.asked, "the person was sent there"
    assert hostile.forms == [], "neither code nor verifier went to the hostile one"
    assert not is_corrected or "This is not part of your sign-in" in scene.browser.pages[0]


def test_an_answer_of_another_issuers_address_cannot_be_pasted(scene, mixed_up):
    hostile, honest = mixed_up
    hostile.authorize = lambda query: (
        f"{honest.url}/authorize?{urlencode({**query, 'redirect_uri': redirect_uri(scene.ports[0], honest.url)})}"
    )
    ended = []

    class Copying(Browser):
        def show_address(self, address, *, opens):
            ended.append(where_it_ends(where_it_ends(address)))

        def ask_for_answer(self, why):
            self.complaints.append(why)
            if why is not None:
                raise CancelledError(why)
            return ended[0]

    scene.browser = Copying()
    with pytest.raises(CancelledError, match=urlsplit(hostile.url).netloc):
        scene.sign_in("paste")
    assert "code=" in ended[0]
    assert hostile.forms == []


def test_issuers_that_name_nobody_in_the_redirect_sign_in(scene, mixed_up):
    _, honest = mixed_up
    scene.service = replace(scene.service, issuer=honest.url)
    scene.browser.visit = scene.browser.follow
    assert scene.sign_in().me.name == "anna"


def test_the_first_sign_in_of_all_is_told_from_later_ones():
    assert meet(SERVICE_URL, "https://login.example.com", PAGE, []).is_first
    known = [known_sign_in("https://other.example.com", "https://elsewhere.example.com")]
    meeting = meet(SERVICE_URL, "https://login.example.com", PAGE, known)
    assert (meeting.is_first, meeting.is_known, meeting.other_services) == (False, False, ())


@pytest.mark.parametrize(
    ("way", "path"), [("browser", "authorization_endpoint"), ("device", "device_authorization_endpoint")]
)
def test_the_host_of_the_page_that_opens_is_shown_beside_the_issuer(scene, issuer, way, path):
    issuer.metadata[path] = "http://127.0.0.1:1/page"
    scene.browser.refuses = True
    with pytest.raises(LoginRequiredError):
        scene.sign_in(way)
    [meeting] = scene.browser.meetings
    assert (meeting.issuer, meeting.page_host) == (urlsplit(issuer.url).netloc, "127.0.0.1:1")


# --- another person ------------------------------------------------------------------------------------


def test_another_person_than_before_is_asked_about_and_the_browser_does_not_say_that_all_is_done(scene, issuer):
    scene.known = [replace(known_sign_in(SERVICE_URL, issuer.url), subject="sub-bert", name="bert")]
    scene.browser.refuses_others = True
    with pytest.raises(LoginRequiredError):
        scene.sign_in()
    assert scene.browser.others == [("uploads.example.com", "bert", "anna")]
    assert "One question is left" in scene.last_page()


@pytest.mark.parametrize("way", ["paste", "device"])
def test_another_person_is_asked_about_however_they_have_signed_in(elsewhere, issuer, way):
    elsewhere.known = [replace(known_sign_in(SERVICE_URL, issuer.url), subject="sub-bert", name="bert")]
    elsewhere.browser = Person()
    assert elsewhere.sign_in(way).me.name == "anna"
    assert elsewhere.browser.others == [("uploads.example.com", "bert", "anna")]


@pytest.mark.parametrize("service_url", [SERVICE_URL, "https://other.example.com"])
def test_the_same_person_and_other_services_are_not_asked_about(scene, issuer, service_url):
    subject = "sub-anna" if service_url == SERVICE_URL else "sub-bert"
    scene.known = [replace(known_sign_in(service_url, issuer.url), subject=subject, name="x")]
    assert scene.sign_in().me.name == "anna"
    assert scene.browser.others == []


# --- an issuer that misbehaves -------------------------------------------------------------------------


def sign_as_nobody(claims):
    return ".".join(encode(json.dumps(part).encode()) for part in ({"alg": "none"}, claims)) + "."


FAULTS = {
    "the nonce of another sign-in": (lambda it: it.id_claims.update(nonce="other"), "nonce"),
    "no nonce": (lambda it: it.id_claims.update(nonce=None), "nonce"),
    "an ID token of another issuer": (lambda it: it.id_claims.update(iss="https://other.example.com"), "iss"),
    "an ID token for another client": (lambda it: it.id_claims.update(aud="other"), "aud"),
    "an ID token that has ended": (lambda it: it.id_claims.update(exp=1), "expired"),
    "an ID token beside another access token": (lambda it: it.id_claims.update(at_hash="AAAA"), "another one's"),
    "an unsigned ID token": (lambda it: setattr(it, "sign_id_token", sign_as_nobody), "none"),
    "a key that is not published": (lambda it: setattr(it, "published", []), "does not publish"),
    "no ID token": (lambda it: it.answer.update(id_token=None), "gave no ID token"),
    "an access token for another audience": (
        lambda it: it.access_claims.update(aud="https://o.example"),
        "another serv",
    ),
    "an ID token as access token": (lambda it: it.access_claims.update(token_use="id"), "ID token as access token"),
    "a refusal": (lambda it: it.refusals.append("invalid_client"), r"invalid_client\)\. Run `mgmt login`"),
    "no tokens": (lambda it: it.answer.update(access_token=None), "no token"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_sign_in_ends_in_the_terminal_and_in_the_browser_with_the_same_sentence(scene, issuer, fault):
    spoil, said = FAULTS[fault]
    spoil(issuer)
    with pytest.raises((LoginRequiredError, UnavailableError), match=said) as failed:
        scene.sign_in()
    page = scene.last_page()
    assert "You are not signed in" in page
    assert re.search(said.replace("`", "."), page.replace("&#x27;", "'"))
    assert scene.asked == [], "the service got no token"
    assert "eyJ" not in failed.value.message


def test_the_browser_of_a_good_sign_in_says_that_the_window_may_be_closed(scene):
    scene.sign_in()
    page = scene.last_page()
    assert "as anna" in page
    assert "close this window" in page


def test_keys_that_are_rotated_between_code_and_token_are_found(scene, issuer):
    old, new = make_key("key-1"), make_key("key-2")
    sets = [[dict(old.as_dict(private=False))], [dict(each.as_dict(private=False)) for each in (old, new)]]
    issuer.key = new
    issuer.before_keys = lambda: setattr(issuer, "published", sets.pop(0) if sets else issuer.published)
    assert scene.sign_in().me.name == "anna"
    assert issuer.fetched.count("/keys") == 2


@pytest.mark.parametrize("issuer_named", ["https://other.example.com", None])
def test_an_answer_that_names_another_issuer_is_a_mix_up(scene, issuer, issuer_named):
    issuer.redirect["iss"] = issuer_named
    with pytest.raises(LoginRequiredError, match="does not come from"):
        scene.sign_in()
    assert issuer.forms == [], "the code was sent to nobody"


@pytest.mark.parametrize("state", ["other", None])
def test_an_answer_with_a_wrong_state_is_refused_and_does_not_end_the_wait(scene, issuer, state):
    issuer.redirect["state"] = state

    def visit(address):
        scene.browser.pages.append(read_page(address))
        issuer.redirect.clear()
        scene.browser.pages.append(read_page(address))

    scene.browser.visit = visit
    assert scene.sign_in().me.name == "anna"
    assert "This is not part of your sign-in" in scene.browser.pages[0]


def test_a_redirect_to_another_path_does_not_end_the_wait(scene, issuer):
    issuer.redirect_to = lambda address: address.replace("/callback", "/elsewhere")
    scene.elapsed = [0.0, 0.0, 601.0, 601.0, 601.0]
    with pytest.raises(LoginRequiredError, match="10 minutes"):
        scene.sign_in()
    assert issuer.forms == []


def test_a_browser_that_is_closed_ends_in_ten_minutes_with_a_sentence(scene, issuer):
    scene.browser.visit = lambda _: None
    scene.elapsed = [0.0, 601.0, 601.0, 601.0]
    with pytest.raises(LoginRequiredError, match=r"10 minutes.*Run `mgmt login` again"):
        scene.sign_in()
    assert issuer.asked == []


def test_a_command_that_is_stopped_while_it_waits_ends_at_once(scene):
    scene.browser.visit = lambda _: scene.stop.set()
    with pytest.raises(CancelledError):
        scene.sign_in()


@pytest.mark.parametrize("path", ["/.well-known/openid-configuration", "/token", "/keys"])
def test_an_issuer_out_of_reach_is_named(scene, issuer, path):
    issuer.is_out_of_reach.add(path)
    with pytest.raises(UnavailableError, match=f"{urlsplit(issuer.url).netloc} answers 503"):
        scene.sign_in()


def test_a_wrong_clock_of_this_machine_does_no_harm(scene):
    for hours in (-30, 30):
        scene.ahead = timedelta(hours=hours)
        assert scene.sign_in().me.name == "anna"


# --- without a browser here ----------------------------------------------------------------------------


class Person(Browser):
    """Somebody who copies addresses."""

    def __init__(self, *before):
        super().__init__()
        self.answers = list(before)

    def show_address(self, address, *, opens):
        super().show_address(address, opens=opens)
        self.answers.append(where_it_ends(address))


def test_the_address_that_the_browser_ended_on_can_be_pasted(scene, issuer):
    scene.browser = Person()
    assert scene.sign_in("paste").me.name == "anna"
    [(address, opens)] = scene.browser.shown
    assert not opens
    [back] = parse_qs(urlsplit(address).query)["redirect_uri"]
    assert back == redirect_uri(scene.ports[0], issuer.url)


def test_without_a_port_the_first_registered_one_is_named(scene):
    scene.browser, scene.ports = Person(), []
    scene.sign_in("paste")
    assert "127.0.0.1%3A8976%2Fcallback" in scene.browser.shown[0][0]


def test_a_wrong_paste_is_asked_for_again_with_the_reason(scene, issuer):
    scene.browser = Person("", f"{redirect_uri(1, issuer.url)}?code=x&state=of-another-sign-in")
    assert scene.sign_in("paste").me.name == "anna"
    first, second, third = scene.browser.complaints
    assert first is None
    assert "address bar" in second
    assert "another sign-in" in third


def test_a_pasted_answer_passes_the_same_checks(scene, issuer):
    scene.browser = Person()
    issuer.redirect["iss"] = "https://other.example.com"
    with pytest.raises(LoginRequiredError, match="does not come from"):
        scene.sign_in("paste")


# --- a code for another device -------------------------------------------------------------------------


@pytest.fixture
def elsewhere(scene, monkeypatch):
    """A sign-in with a device code, on a clock of its own that waits take no time on."""
    now = [0.0]

    def wait(_, seconds):
        now[0] += seconds
        return scene.stop.is_set()

    monkeypatch.setattr(scene, "monotonic", lambda: now[0])
    monkeypatch.setattr(scene.stop, "wait", lambda seconds: wait(None, seconds))
    scene.now = now
    return scene


def test_a_code_is_shown_and_its_tokens_are_asked_for_until_they_are_there(elsewhere, issuer):
    issuer.refusals = ["authorization_pending", "authorization_pending"]
    assert elsewhere.sign_in("device").me.name == "anna"
    [code] = elsewhere.browser.codes
    assert (code.address, code.user_code) == (f"{issuer.url}/enter", "WDJB-MJHT")
    assert code.whole_address == f"{issuer.url}/enter?code=WDJB-MJHT"
    assert elsewhere.now[0] == pytest.approx(3.0), "three tries, one second before each"
    assert elsewhere.browser.shown == []


def test_an_issuer_that_asks_for_more_time_gets_it(elsewhere, issuer):
    issuer.refusals = ["slow_down", "authorization_pending"]
    elsewhere.sign_in("device")
    assert elsewhere.now[0] == pytest.approx(1 + 6 + 6)


@pytest.mark.parametrize(
    ("refusals", "said"),
    [
        (["access_denied"], "was declined"),
        (["expired_token"], "before the code ran out"),
        (["authorization_pending"] * 700, "before the code ran out"),
        (["invalid_grant"], "invalid_grant"),
    ],
)
def test_a_code_that_comes_to_nothing_ends_with_a_sentence(elsewhere, issuer, refusals, said):
    issuer.refusals = refusals
    with pytest.raises(LoginRequiredError, match=said):
        elsewhere.sign_in("device")


def test_an_issuer_without_codes_says_the_other_way(elsewhere, issuer):
    issuer.metadata["device_authorization_endpoint"] = None
    with pytest.raises(LoginRequiredError, match="--no-browser"):
        elsewhere.sign_in("device")


@pytest.mark.parametrize(
    "change", [{"user_code": None}, {"device_code": None}, {"verification_uri": "javascript:alert(1)"}]
)
def test_what_is_no_device_code_is_refused(elsewhere, issuer, change, monkeypatch):
    answer = issuer.answer_form

    def spoiled(path, form):
        status, value = answer(path, form)
        return status, {name: text for name, text in {**value, **change}.items() if text is not None}

    monkeypatch.setattr(issuer, "answer_form", spoiled)
    with pytest.raises(LoginRequiredError, match="no device code"):
        elsewhere.sign_in("device")


def test_a_stopped_command_asks_no_more(elsewhere, issuer):
    issuer.refusals = ["authorization_pending"] * 10
    elsewhere.browser.show_code = lambda _: elsewhere.stop.set()
    with pytest.raises(CancelledError):
        elsewhere.sign_in("device")
