"""References: the canonical name of an artifact in a registry.

Grammar (distribution reference grammar):

    reference  = [ domain "/" ] path [ ":" tag ] [ "@" digest ]
    domain     = host [ ":" port ]      a first segment with "." or ":", or "localhost", or with upper case
    path       = component { "/" component }
    component  = [a-z0-9]+ joined by ".", "_", "__" or any number of "-"
    tag        = [A-Za-z0-9_] [A-Za-z0-9_.-]{0,127}

What people type is turned into such a text by `models/description/names.py`; nothing here guesses.
"""

import ipaddress
import re
from dataclasses import dataclass, field, replace

from modelrunner.errors import InvalidReference, InvalidRequest
from modelrunner.oci.digest import Digest

DOCKER_HUB = "docker.io"
HUB_ALIASES = frozenset({DOCKER_HUB, "index.docker.io", "registry-1.docker.io"})
DEFAULT_ORGANISATION = "ai"
DEFAULT_TAG = "latest"

_HOST = re.compile(
    r"(?:(?:[A-Za-z0-9]|[A-Za-z0-9][A-Za-z0-9-]*[A-Za-z0-9])"
    r"(?:\.(?:[A-Za-z0-9]|[A-Za-z0-9][A-Za-z0-9-]*[A-Za-z0-9]))*|\[(?P<v6>[0-9a-fA-F:]+)\])"
    r"(?::(?P<port>[0-9]{1,5}))?",
    re.ASCII,
)
_COMPONENT = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*", re.ASCII)
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", re.ASCII)
_BARE_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)
_MAX_NAME = 255  # characters of domain and path together


@dataclass(frozen=True, slots=True)
class Reference:
    """Where an artifact lives. At least one of `tag` and `digest` is set; with both, they must agree.

    `home` is the registry of names that give none, as it was where this was read; it is no part of the value.
    """

    registry: str
    repository: str
    tag: str | None = None
    digest: Digest | None = None
    home: str = field(default=DOCKER_HUB, compare=False, repr=False)

    @property
    def name(self) -> str:
        """Registry and repository, without tag or digest."""
        return f"{self.registry}/{self.repository}"

    @property
    def familiar(self) -> str:
        """The form without Docker Hub's host, `ai/smollm2:latest`, wherever that reads as the same reference.

        Other registries keep theirs, and so does Docker Hub when names without a host belong to another one,
        or when the organisation would read as a host, such as `v1.0`.
        """
        silent = self.registry == self.home == DOCKER_HUB
        if not silent or _split(self.repository, DOCKER_HUB)[0] != DOCKER_HUB:
            return str(self)
        return str(self).removeprefix(f"{DOCKER_HUB}/")

    @property
    def without_digest(self) -> "Reference":
        """The same artifact by its tag alone."""
        return replace(self, digest=None, tag=self.tag or DEFAULT_TAG)

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.name}{tag}{digest}"


def parse_reference(text: str, *, default_registry: str = DOCKER_HUB) -> Reference:
    """Read a reference; a name without a registry belongs to `default_registry`.

    A name on Docker Hub without an organisation belongs to `ai`. Without tag and digest the tag is `latest`.

    Raises:
        InvalidReference: the text does not follow the grammar.
    Source: distribution/reference `reference.go` and `normalize.go`, v0.6.0.
    """
    if _BARE_DIGEST.fullmatch(text):
        raise _invalid(text, "64 hexadecimal digits are an id, not a name")
    rest, at, digest_text = text.partition("@")
    digest = _digest(text, digest_text) if at else None
    head, slash, tail = rest.rpartition("/")
    last, colon, tag = tail.partition(":")
    name = f"{head}{slash}{last}"
    if colon and not _TAG.fullmatch(tag):
        raise _invalid(text, f"`{tag}` is no tag")
    registry, path = _split(name, default_registry)
    if registry == DOCKER_HUB and "/" not in path:
        path = f"{DEFAULT_ORGANISATION}/{path}"
    if not _is_host(registry):
        raise _invalid(text, f"`{registry}` is no registry host")
    if not all(_COMPONENT.fullmatch(component) for component in path.split("/")):
        raise _invalid(text, "a name has lower-case letters, digits and single separators")
    if len(registry) + 1 + len(path) > _MAX_NAME:
        raise _invalid(text, f"a name has at most {_MAX_NAME} characters")
    chosen = tag if colon else None if digest else DEFAULT_TAG
    return Reference(registry, path, chosen, digest, home=_canonical_host(default_registry))


def _split(name: str, default_registry: str) -> tuple[str, str]:
    first, slash, rest = name.partition("/")
    explicit = bool(slash) and (
        "." in first or ":" in first or first == "localhost" or first != first.lower()
    )
    registry, path = (first, rest) if explicit else (default_registry, name)
    return _canonical_host(registry), path


def _canonical_host(registry: str) -> str:
    return DOCKER_HUB if registry in HUB_ALIASES else registry


def _is_host(registry: str) -> bool:
    """Whether a registry can be connected to: the grammar allows ports and addresses that do not exist."""
    found = _HOST.fullmatch(registry)
    if found is None or not 0 < int(found["port"] or 1) < 65536:
        return False
    try:
        return not found["v6"] or bool(ipaddress.IPv6Address(found["v6"]))
    except ValueError:
        return False


def _digest(text: str, digest_text: str) -> Digest:
    try:
        return Digest.parse(digest_text)
    except InvalidRequest as exc:
        raise _invalid(text, exc.message) from exc


def _invalid(text: str, reason: str) -> InvalidReference:
    return InvalidReference(
        f"invalid model reference: `{text[:300]}` ({reason})",
        hint="write it like `ai/smollm2:latest` or `registry.example.com/team/model:tag`",
    )
