"""Which ID tokens prove a sign-in, and every trick that does not."""

import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives import serialization
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from mgmt.account.id_token import ALGORITHMS, verify_id_token
from mgmt.errors import LoginRequiredError
from support.odd_issuer import encode, make_key

ISSUER = "https://login.example.com"
KEY = make_key("key-1")
OTHER = make_key("key-2")
NOW = datetime.now(UTC)


def claims(**changes):
    usual = {
        "iss": ISSUER, "aud": "mgmt-cli", "nonce": "nonce", "sub": "sub-anna", "exp": int(NOW.timestamp()) + 300,
        "iat": int(NOW.timestamp()),
    }  # fmt: skip
    return {name: value for name, value in {**usual, **changes}.items() if value is not None}


def public(*keys):
    return [dict(key.as_dict(private=False)) for key in keys]


def sign(content, key=KEY, **header):
    return jwt.encode({"alg": "RS256", "kid": key.kid, **header}, content, key, algorithms=list(ALGORITHMS))


def verify(token, *key_sets, now=NOW, access_token="access", nonce="nonce"):  # noqa: S107  made up
    sets = list(key_sets or [public(KEY)])
    return verify_id_token(
        token,
        issuer=ISSUER,
        client_id="mgmt-cli",
        nonce=nonce,
        access_token=access_token,
        now=now,
        fetch_keys=lambda: sets.pop(0) if len(sets) > 1 else sets[0],
    )


def test_a_token_of_this_sign_in_is_believed():
    assert verify(sign(claims()))["sub"] == "sub-anna"


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        (RSAKey.import_key({**KEY.as_dict(private=True), "alg": "RS512"}), "RS512"),
        (RSAKey.import_key({**KEY.as_dict(private=True), "alg": "PS256"}), "PS256"),
        (ECKey.generate_key("P-256", {"kid": "e"}), "ES256"),
        (ECKey.generate_key("P-384", {"kid": "e"}), "ES384"),
        (OKPKey.generate_key("Ed25519", {"kid": "o"}), "Ed25519"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_signature_by_a_private_key_is_verified(key, algorithm):
    published = public(key)
    published[0].pop("alg", None)
    assert verify(sign(claims(), key, alg=algorithm), published)["sub"] == "sub-anna"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"iss": "https://other.example.com"}, "iss"),
        ({"aud": "another-client"}, "aud"),
        ({"aud": ["mgmt-cli", "other"], "azp": "other"}, "azp"),
        ({"nonce": "of another sign-in"}, "nonce"),
        ({"nonce": None}, "nonce"),
        ({"sub": None}, "sub"),
        ({"exp": int(NOW.timestamp()) - 301}, "expired"),
        ({"exp": None}, "expired"),
        ({"exp": "tomorrow"}, "expired"),
        ({"at_hash": encode(b"x" * 16)}, "another one's"),
        ({"at_hash": "é"}, "another one's"),
    ],
)
def test_a_signed_token_for_anything_else_is_refused(change, said):
    with pytest.raises(LoginRequiredError, match=said):
        verify(sign(claims(**change)))


def test_the_access_token_beside_it_is_the_one_that_it_names():
    digest = hashlib.sha256(b"access").digest()
    assert verify(sign(claims(at_hash=encode(digest[:16]))))
    with pytest.raises(LoginRequiredError):
        verify(sign(claims(at_hash=encode(digest[:16]))), access_token="another")


def test_the_end_is_compared_with_the_issuers_clock():
    """Which the caller knows from its answers: this machine's may be hours off."""
    token = sign(claims())
    assert verify(token, now=NOW + timedelta(minutes=9))
    with pytest.raises(LoginRequiredError, match="expired"):
        verify(token, now=NOW + timedelta(minutes=11))


def test_a_grant_without_a_nonce_needs_none():
    assert verify(sign(claims(nonce=None)), nonce=None)


# --- keys ----------------------------------------------------------------------------------------------


def test_keys_that_were_rotated_meanwhile_are_fetched_again():
    assert verify(sign(claims(), OTHER), public(KEY), public(KEY, OTHER))["sub"] == "sub-anna"


def test_a_key_that_the_issuer_does_not_publish_proves_nothing():
    with pytest.raises(LoginRequiredError, match="does not publish"):
        verify(sign(claims(), OTHER))


def test_a_forgers_key_under_the_name_of_a_published_one_proves_nothing():
    with pytest.raises(LoginRequiredError, match="not the issuer's"):
        verify(sign(claims(), OTHER, kid=KEY.kid))


@pytest.mark.parametrize("change", [{"use": "enc"}, {"alg": "RS384"}, {"kty": "EC"}, {"n": "!"}, {"n": 5}, {"n": None}])
def test_a_key_for_something_else_is_not_used(change):
    [key] = public(KEY)
    with pytest.raises(LoginRequiredError, match="does not publish"):
        verify(sign(claims()), [{**key, **change}])


def test_entries_of_a_key_set_that_are_no_keys_harm_nothing():
    odd = [{}, {"kty": "AKP", "kid": KEY.kid}, {"kty": "RSA", "kid": KEY.kid}, {"kid": []}, *public(KEY)]
    assert verify(sign(claims()), odd)


def test_a_token_that_names_no_key_is_verified_with_each():
    token = jwt.encode({"alg": "RS256"}, claims(), KEY)
    assert verify(token, public(OTHER, KEY))
    with pytest.raises(LoginRequiredError):
        verify(token, public(OTHER))


# --- tricks --------------------------------------------------------------------------------------------


def joined(header, content, signature=b""):
    return ".".join(encode(json.dumps(part).encode()) for part in (header, content)) + f".{encode(signature)}"


@pytest.mark.parametrize("name", ["none", "None", "NONE", "nOnE", "", None, 5, ["RS256"]])
def test_an_unsigned_token_proves_nothing(name):
    with pytest.raises(LoginRequiredError, match="proves nothing"):
        verify(joined({"alg": name, "kid": KEY.kid}, claims()))


@pytest.mark.parametrize("form", ["pem", "jwk", "der"])
def test_the_public_key_is_no_secret_to_sign_with(form):
    """HS256 with the public key as the shared secret: whoever reads the key set could sign."""
    material = {
        "pem": KEY.public_key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo),
        "der": KEY.public_key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo),
        "jwk": json.dumps(public(KEY)[0]).encode(),
    }[form]
    head = joined({"alg": "HS256", "kid": KEY.kid}, claims()).rpartition(".")[0]
    token = f"{head}.{encode(hmac.digest(material, head.encode(), 'sha256'))}"
    with pytest.raises(LoginRequiredError, match="HS256"):
        verify(token)


def test_a_shared_secret_in_the_key_set_is_not_used_either():
    shared = OctKey.generate_key(256, {"kid": "shared"})
    token = jwt.encode({"alg": "HS256", "kid": "shared"}, claims(), shared)
    with pytest.raises(LoginRequiredError, match="HS256"):
        verify(token, [dict(shared.as_dict(private=True))])


@pytest.mark.parametrize("header", [{"jwk": public(OTHER)[0]}, {"jku": "https://evil.example/keys"}, {"x5c": ["AAAA"]}])
def test_a_key_that_the_token_brings_along_is_not_used(header):
    with pytest.raises(LoginRequiredError):
        verify(sign(claims(), OTHER, **header))


def test_an_extension_that_has_to_be_understood_and_is_not_is_refused():
    token = joined({"alg": "RS256", "kid": KEY.kid, "crit": ["exp"], "exp": 1}, claims(), b"x")
    with pytest.raises(LoginRequiredError):
        verify(token)


@pytest.mark.parametrize("text", ["", "a", "a.b", "a.b.c", "..", "a.b.c.d.e", "é.é.é", "e30.e30.e30"])
def test_what_is_no_token_proves_nothing(text):
    with pytest.raises(LoginRequiredError, match="proves nothing"):
        verify(text)


def test_a_signature_over_other_claims_proves_nothing():
    head, _, signature = sign(claims()).split(".")
    other = encode(json.dumps(claims(sub="sub-eve")).encode())
    with pytest.raises(LoginRequiredError, match="not the issuer's"):
        verify(f"{head}.{other}.{signature}")


def test_no_sentence_shows_a_token():
    token = sign(claims(nonce="x"))
    with pytest.raises(LoginRequiredError) as refused:
        verify(token)
    assert token.split(".")[1][:20] not in refused.value.message
