import base64
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from modelrunner.errors import Unauthorized
from modelrunner.oci.credentials import HUB_SERVER, Credential, Credentials

HELPER = """#!{python}
import json, sys
from pathlib import Path
here = Path(__file__).parent
server = sys.stdin.read()
(here / "asked").write_text(" ".join(sys.argv[1:]) + " " + server)
known = json.loads((here / "known.json").read_text())
if server not in known:
    print("credentials not found in native keychain")
    sys.exit(1)
print(json.dumps({{"ServerURL": server, "Username": known[server][0], "Secret": known[server][1]}}))
"""


class Docker:
    """A Docker configuration in a temporary home, with a real credential helper program."""

    def __init__(self, home: Path) -> None:
        self.directory = home / ".docker"
        self.programs = home / "bin"
        self.directory.mkdir()
        self.programs.mkdir()
        self.environ = {"HOME": str(home), "PATH": str(self.programs)}

    def configure(self, **config: Any) -> None:
        (self.directory / "config.json").write_text(json.dumps(config))

    def helper(self, name: str, known: dict[str, tuple[str, str]]) -> None:
        program = self.programs / f"docker-credential-{name}"
        program.write_text(HELPER.format(python=sys.executable))
        program.chmod(0o755)
        (self.programs / "known.json").write_text(json.dumps(known))

    @property
    def asked(self) -> str:
        return (self.programs / "asked").read_text()

    def lookup(self, registry: str) -> Credential | None:
        return Credentials(self.environ).lookup(registry)


@pytest.fixture
def docker(tmp_path: Path) -> Docker:
    return Docker(tmp_path)


def _auth(user: str, password: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def test_without_a_configuration_we_are_anonymous(docker: Docker) -> None:
    """A missing file is no error."""
    assert docker.lookup("docker.io") is None


def test_without_a_home_we_are_anonymous() -> None:
    """A service may have none."""
    assert Credentials({}).lookup("docker.io") is None


@pytest.mark.parametrize(
    ("key", "registry", "found"),
    [
        ("https://index.docker.io/v1/", "docker.io", True),
        ("index.docker.io/v2", "docker.io", True),
        ("http://docker.io", "docker.io", True),
        ("registry-1.docker.io", "docker.io", True),
        ("https://gcr.io", "gcr.io", True),
        ("gcr.io/", "gcr.io", True),
        ("localhost:5000", "localhost:5000", True),
        ("http://localhost:5000/v2/", "localhost:5000", True),
        ("localhost", "localhost:5000", False),
        ("gcr.io", "docker.io", False),
        ("docker.io", "gcr.io", False),
        ("eu.gcr.io", "gcr.io", False),
    ],
)
def test_an_entry_is_for_one_registry_in_any_spelling(
    docker: Docker, key: str, registry: str, *, found: bool
) -> None:
    """Scheme, slash and version do not count; Docker Hub has four names."""
    docker.configure(auths={key: _auth("ann", "s3cret")})

    assert (docker.lookup(registry) == Credential("ann", "s3cret")) is found


def test_the_exact_spelling_wins_over_others(docker: Docker) -> None:
    """Of several entries for a registry it is not chance that chooses."""
    docker.configure(auths={"https://r.example.com": _auth("b", "b"), "r.example.com": _auth("a", "a")})

    assert docker.lookup("r.example.com") == Credential("a", "a")


@pytest.mark.parametrize(
    ("entry", "credential"),
    [
        (_auth("ann", "a:b"), Credential("ann", "a:b")),
        (_auth("ann", "pw\0"), Credential("ann", "pw")),
        ({"username": "ann", "password": "pw"}, Credential("ann", "pw")),
        ({"identitytoken": "id"}, Credential("", "id")),
        ({**_auth("ann", ""), "identitytoken": "id"}, Credential("", "id")),
        ({**_auth("ann", "pw"), "username": "bob", "password": "x"}, Credential("ann", "pw")),
        (_auth("ann", ""), None),
        ({}, None),
        (None, None),
        ({"registrytoken": "x"}, Credential("", "x", is_final=True)),
    ],
)
def test_an_entry_has_one_of_four_forms(
    docker: Docker, entry: dict[str, str] | None, credential: Credential | None
) -> None:
    """An identity token is not lost when `auth` stands beside it."""
    docker.configure(auths={"r.example.com": entry})

    assert docker.lookup("r.example.com") == credential


def test_unknown_settings_of_docker_are_no_trouble(docker: Docker) -> None:
    """The file is Docker's, and has much else in it."""
    docker.configure(auths={}, currentContext="x", plugins={"a": {}}, HttpHeaders={"User-Agent": "x"})

    assert docker.lookup("docker.io") is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"auths": 7}'])
def test_a_broken_file_is_an_error_that_names_it(docker: Docker, text: str) -> None:
    """Going on anonymously would hide the reason of what fails later."""
    (docker.directory / "config.json").write_text(text)

    with pytest.raises(Unauthorized, match=r"config\.json"):
        docker.lookup("docker.io")


def test_a_broken_entry_hurts_its_own_registry_only(docker: Docker) -> None:
    """Others are still found."""
    docker.configure(auths={"a.example.com": {"auth": "%%%"}, "b.example.com": _auth("ann", "pw")})

    with pytest.raises(Unauthorized, match=r"a\.example\.com"):
        docker.lookup("a.example.com")
    assert docker.lookup("b.example.com") == Credential("ann", "pw")


def test_the_directory_may_be_named_by_the_environment(docker: Docker, tmp_path: Path) -> None:
    """`DOCKER_CONFIG` is honoured."""
    docker.configure(auths={"r.example.com": _auth("ann", "pw")})
    elsewhere = tmp_path / "elsewhere"
    docker.directory.rename(elsewhere)

    found = Credentials(docker.environ | {"DOCKER_CONFIG": str(elsewhere)}).lookup("r.example.com")

    assert found == Credential("ann", "pw")


def test_the_general_helper_is_asked_by_the_name_of_the_server(docker: Docker) -> None:
    """`credsStore` names a program; it reads the server from standard input."""
    docker.helper("keys", {"r.example.com:5000": ("ann", "pw")})
    docker.configure(credsStore="keys")

    assert docker.lookup("r.example.com:5000") == Credential("ann", "pw")
    assert docker.asked == "get r.example.com:5000"


def test_helpers_know_docker_hub_by_its_old_address(docker: Docker) -> None:
    """That is the key under which `docker login` keeps it."""
    docker.helper("keys", {HUB_SERVER: ("ann", "pw")})
    docker.configure(credsStore="keys")

    assert docker.lookup("docker.io") == Credential("ann", "pw")


def test_a_registrys_own_helper_is_asked_first(docker: Docker) -> None:
    """`credHelpers` before `credsStore` before `auths`."""
    docker.helper("own", {"r.example.com": ("ann", "pw")})
    docker.configure(
        credHelpers={"r.example.com": "own"}, credsStore="absent", auths={"r.example.com": _auth("x", "y")}
    )

    assert docker.lookup("r.example.com") == Credential("ann", "pw")


def test_what_a_helper_does_not_know_is_looked_up_in_the_file(docker: Docker) -> None:
    """So is everything when the program is missing."""
    docker.helper("own", {})
    docker.configure(
        credHelpers={"r.example.com": "own"}, credsStore="absent", auths={"r.example.com": _auth("x", "y")}
    )

    assert docker.lookup("r.example.com") == Credential("x", "y")


def test_a_helper_gives_identity_tokens_under_a_special_name(docker: Docker) -> None:
    """The user `<token>` means that the secret is no password."""
    docker.helper("keys", {"r.example.com": ("<token>", "id")})
    docker.configure(credsStore="keys")

    assert docker.lookup("r.example.com") == Credential("", "id")


@pytest.mark.parametrize("name", ["../evil", "a/b", "", ".", "-x"])
def test_the_name_of_a_helper_is_no_path(docker: Docker, tmp_path: Path, name: str) -> None:
    """A program outside of the search path is never run."""
    evil = tmp_path / "evil"
    evil.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    evil.chmod(0o755)
    docker.configure(credsStore=name)

    assert docker.lookup("r.example.com") is None
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("output", ["", "no json", "[]", '{"Username": "ann"}', '{"Secret": "pw"}'])
def test_a_helper_that_talks_nonsense_counts_as_not_knowing(docker: Docker, output: str) -> None:
    """The next source is asked."""
    program = docker.programs / "docker-credential-odd"
    program.write_text(f"#!{sys.executable}\nprint({output!r})\n")
    program.chmod(0o755)
    docker.configure(credsStore="odd")

    assert docker.lookup("r.example.com") is None


@pytest.mark.parametrize(
    ("user", "password"),
    [("DOCKER_USERNAME", "DOCKER_PASSWORD"), ("DOCKER_HUB_USER", "DOCKER_HUB_PASSWORD")],
)
def test_variables_are_for_docker_hub_only(docker: Docker, user: str, password: str) -> None:
    """The reference offers them to every registry; nobody else gets them from us."""
    credentials = Credentials(docker.environ | {user: "ann", password: "pw"})

    assert credentials.lookup("docker.io") == Credential("ann", "pw")
    assert credentials.lookup("r.example.com") is None


def test_half_a_pair_of_variables_counts_as_none(docker: Docker) -> None:
    """A name without a password is no credential."""
    credentials = Credentials(docker.environ | {"DOCKER_USERNAME": "ann", "DOCKER_PASSWORD": ""})

    assert credentials.lookup("docker.io") is None


def test_a_secret_does_not_print() -> None:
    """Neither by `repr` nor by `str`."""
    assert "s3cret" not in f"{Credential('ann', 's3cret')!r} {Credential('ann', 's3cret')}"


def test_an_unreadable_file_is_an_error(docker: Docker) -> None:
    """A directory in its place, as some tools leave it, is said so."""
    (docker.directory / "config.json").mkdir()

    with pytest.raises(Unauthorized, match="cannot be read"):
        docker.lookup("docker.io")


@pytest.mark.parametrize("content", [b'{"credsStore":"\xff"}', b'{"x":' + b"[" * 100_000])
def test_a_configuration_that_cannot_be_decoded_is_named(tmp_path: Path, content: bytes) -> None:
    """Neither bytes that are no UTF-8 nor brackets without end are more than a broken file."""
    (tmp_path / "config.json").write_bytes(content)

    with pytest.raises(Unauthorized, match="are not valid"):
        Credentials({}, tmp_path).lookup("registry.example.com")
