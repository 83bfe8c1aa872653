"""Challenges and tokens of registries: what to ask whom, and what the answer means. No I/O of its own."""

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

import msgspec

from modelrunner.errors import RegistryError, Unauthorized
from modelrunner.oci.credentials import Credential
from modelrunner.oci.endpoint import Endpoint
from modelrunner.oci.manifest import UNREADABLE

CLIENT_ID = "model-runner"
LIFETIME = 60  # seconds, when a token server does not say
EARLY = 5.0  # seconds before its end at which a token is no longer used
MAX_TOKEN_BYTES = 1024 * 1024  # of a token server's answer
# After these answers to the newer form of asking, the older one is worth a try.
FALL_BACK = frozenset({400, 401, 404, 405})

_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_SCHEME = re.compile(rf"[\s,]*({_WORD})(?=\s|,|$)")
_PARAMETER = re.compile(rf'[\s,]*({_WORD})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|({_WORD}))\s*(?=,|$)')
_TOKEN68 = re.compile(r"\s+[A-Za-z0-9._~+/-]+=*\s*(?=,|$)")
_ESCAPE = re.compile(r"\\(.)")
_PRINTABLE = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True, slots=True)
class Access:
    """What one token is for: a registry, a repository in it, and what is to be done there."""

    endpoint: Endpoint
    repository: str
    actions: str = "pull"  # or "pull,push"
    credential: Credential | None = None  # one that came with the request; None for what is on file
    also_pull: str = ""  # another repository, from which a blob is to be mounted

    @property
    def scope(self) -> str:
        """The name of this access in the token protocol; several are separated by spaces."""
        scope = f"repository:{self.repository}:{self.actions}"
        return f"{scope} repository:{self.also_pull}:pull" if self.also_pull else scope


@dataclass(frozen=True, slots=True)
class Challenge:
    """One way in that a registry offers; the scheme and the names of parameters are in lower case."""

    scheme: str
    parameters: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """A request for a token: a POST of `form`, or without one a GET with `basic` authentication."""

    url: str
    form: Mapping[str, str] | None = None
    basic: Credential | None = None


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token and the time, on the caller's clock, until which it is used."""

    value: str
    good_until: float


class _TokenReply(msgspec.Struct):
    token: str | None = None
    access_token: str | None = None
    expires_in: float | None = None


def parse_challenges(headers: Iterable[str]) -> tuple[Challenge, ...]:
    """Read the `WWW-Authenticate` headers of an answer; what follows the first mistake in one is dropped.

    Source: RFC 9110, section 11.6.1; several challenges may share a header, separated by commas.
    """
    return tuple(challenge for header in headers for challenge in _challenges(header))


def _challenges(header: str) -> Iterable[Challenge]:
    position = 0
    while scheme := _SCHEME.match(header, position):
        position = scheme.end()
        parameters: dict[str, str] = {}
        if opaque := _TOKEN68.match(header, position):
            position = opaque.end()
        while found := _PARAMETER.match(header, position):
            position = found.end()
            name, quoted, plain = found.groups()
            value = plain if quoted is None else _ESCAPE.sub(r"\1", quoted)
            parameters.setdefault(name.lower(), value)
        yield Challenge(scheme[1].lower(), parameters)


def choose(challenges: Sequence[Challenge]) -> Challenge | None:
    """The best way in that we can go: by a token server, a password, a token that we have; else none."""
    ways = sorted((each for each in challenges if each.scheme in {"bearer", "basic"}), key=_preference)
    return ways[0] if ways else None


def _preference(challenge: Challenge) -> int:
    if challenge.scheme == "basic":
        return 1
    return 0 if challenge.parameters.get("realm") else 2


def basic(credential: Credential) -> str:
    """The `Authorization` header for basic authentication."""
    pair = f"{credential.username}:{credential.secret}".encode()
    return f"Basic {base64.b64encode(pair).decode()}"


def token_requests(
    challenge: Challenge, scope: str, credential: Credential | None
) -> tuple[TokenRequest, ...]:
    """What to ask the token server, in order; the next only after an answer in `FALL_BACK`.

    Source: distribution/distribution `docs/spec/auth/oauth.md` (POST) and `token.md` (GET).
    """
    realm = challenge.parameters["realm"]
    service = challenge.parameters.get("service", "")
    scopes = sorted({*scope.split(), *challenge.parameters.get("scope", "").split()})
    query = urlencode([*([("service", service)] if service else []), *(("scope", each) for each in scopes)])
    get = TokenRequest(f"{realm}{'&' if '?' in realm else '?'}{query}", basic=credential)
    if credential is None:
        return (get,)
    form = {"service": service, "scope": " ".join(scopes), "client_id": CLIENT_ID}
    if credential.is_identity_token:
        form |= {"grant_type": "refresh_token", "refresh_token": credential.secret}
    else:
        form |= {"grant_type": "password", "username": credential.username, "password": credential.secret}
    return (TokenRequest(realm, form=form), get)


def as_token(credential: Credential, now: float) -> Token:
    """A secret that is a bearer token already.

    Raises:
        Unauthorized: it cannot be sent, as it has other characters than a token.
    """
    if not _PRINTABLE.fullmatch(credential.secret):
        raise Unauthorized(
            "the token has characters that no token has", hint="check that it was copied whole"
        )
    return Token(credential.secret, now + LIFETIME)


def parse_token(body: bytes, now: float) -> Token:
    """Read a token server's answer that came at `now`, in seconds of the caller's clock.

    Raises:
        RegistryError: there is no usable token in it; what is in it is not repeated.
    """
    try:
        reply = msgspec.json.decode(body, type=_TokenReply)
    except UNREADABLE as exc:
        raise RegistryError("the token server's answer is not a token") from exc
    value = reply.access_token or reply.token or ""
    if not _PRINTABLE.fullmatch(value):
        raise RegistryError("the token server's answer has no token")
    lifetime = reply.expires_in if reply.expires_in and reply.expires_in > 0 else LIFETIME
    return Token(value, now + max(lifetime - EARLY, lifetime / 2))
