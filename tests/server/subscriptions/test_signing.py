"""Ed25519 signatures and the key set that verifies them (PROTOCOL §6.5, §7.1)."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import sys

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from durafold_server.subscriptions.signing import Signer

SEED = bytes(range(32))
NOW_S = 1_800_000_000


@pytest.fixture(scope="module")
def signer() -> Signer:
    return Signer(SEED)


def test_the_key_set_holds_the_public_key_and_no_other(signer: Signer) -> None:
    [key] = json.loads(signer.jwks())["keys"]

    assert key == {
        "kty": "OKP",
        "crv": "Ed25519",
        "kid": signer.kid,
        "use": "sig",
        "alg": "EdDSA",
        "x": key["x"],
    }
    assert len(decoded(key["x"])) == 32


def test_the_key_id_is_the_key_s_thumbprint(signer: Signer) -> None:
    [key] = json.loads(signer.jwks())["keys"]
    canonical = json.dumps(
        {name: key[name] for name in ("crv", "kty", "x")}, separators=(",", ":"), sort_keys=True
    )

    digest = hashlib.sha256(canonical.encode()).digest()

    assert signer.kid == "ds_" + base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def test_the_same_seed_makes_the_same_key(signer: Signer) -> None:
    assert Signer(SEED).jwks() == signer.jwks()
    assert Signer(bytes(32)).kid != signer.kid


def test_the_signature_is_over_time_and_body(signer: Signer) -> None:
    header = signer.header(b'{"a":1}', NOW_S)

    match = re.fullmatch(r"t=(\d+),kid=(ds_[\w-]+),ed25519=([\w-]+)", header)
    assert match is not None
    assert (match[1], match[2]) == (str(NOW_S), signer.kid)
    public_key(signer).verify(decoded(match[3]), b'1800000000.{"a":1}')


@pytest.mark.parametrize("signed", [b'1800000001.{"a":1}', b'1800000000.{"a":2}', b'{"a":1}'])
def test_the_signature_fits_nothing_else(signer: Signer, signed: bytes) -> None:
    signature = signer.header(b'{"a":1}', NOW_S).rpartition("=")[2]

    with pytest.raises(InvalidSignature):
        public_key(signer).verify(decoded(signature), signed)


WITHOUT_CRYPTOGRAPHY = """
import sys

class NotInstalled:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "cryptography":
            raise ModuleNotFoundError(name=name)

sys.meta_path.insert(0, NotInstalled())
from durafold_server.cli import main
sys.exit(main(["--memory", "--port", "0", "--webhooks", "local"]))
"""


def test_without_the_extra_the_server_says_what_to_install() -> None:
    outcome = subprocess.run([sys.executable, "-c", WITHOUT_CRYPTOGRAPHY], capture_output=True, text=True)

    assert outcome.returncode == 1
    assert outcome.stderr == (
        'durafold: webhooks are signed with Ed25519, which needs: pip install "durafold[webhooks]"\n'
    )


def public_key(signer: Signer) -> Ed25519PublicKey:
    [key] = json.loads(signer.jwks())["keys"]
    return Ed25519PublicKey.from_public_bytes(decoded(key["x"]))


def decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
