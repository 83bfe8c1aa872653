"""Where requests to a registry may go: schemes, redirects, realms, private addresses. Never connects."""

import ipaddress
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

from modelrunner.errors import RegistryError
from modelrunner.oci.reference import DOCKER_HUB

HUB_API = "registry-1.docker.io"  # docker.io itself serves a website
MAX_REDIRECTS = 10

_PLAIN_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
_INTERNAL_NAMES = frozenset(
    {"localhost", "host.docker.internal", "model-runner.docker.internal", "gateway.docker.internal"}
)
_PORTS = {"http": 80, "https": 443}
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The address of a registry's API, and whether the user placed it inside their own network."""

    registry: str  # as references name it
    base: str  # scheme, host and port; a mirror may have a path too
    internal: bool
    private_realms: bool = False  # whether it may name token servers inside the user's network
    query: str = ""  # what every request has: a mirror is told whose mirror it is

    @property
    def host(self) -> str:
        """The host alone, in lower case, without a port."""
        return urlsplit(self.base).hostname or ""

    @property
    def is_plain(self) -> bool:
        """Whether the registry is spoken to without TLS."""
        return self.base.startswith("http://")

    def url(self, path: str) -> str:
        """The URL of something in the API, such as `ai/smollm2/tags/list`."""
        return f"{self.base}/v2/{path}{f'?{self.query}' if self.query else ''}"


def endpoint(
    registry: str,
    *,
    insecure: frozenset[str] = frozenset(),
    insecure_all: bool = False,
    private_realms: frozenset[str] = frozenset(),
) -> Endpoint:
    """Tell where the API of a registry is.

    Plain HTTP is for this machine, for names under `.local`, and for the hosts in `insecure`, with or without
    their port; `insecure_all` makes it so for every registry. Those in `private_realms` may name token
    servers inside the user's network, which does not change how they themselves are spoken to.
    Source: the rules of Docker Model Runner; loopback addresses are added, as in every other client.
    """
    host = urlsplit(f"//{registry}").hostname or ""
    named = registry in insecure or host in insecure
    trusted = registry in private_realms or host in private_realms
    local = host in _PLAIN_HOSTS or host.endswith(".local")
    scheme = "http" if local or named or insecure_all else "https"
    address = HUB_API if registry == DOCKER_HUB else registry
    internal = local or named or is_internal_host(host)
    return Endpoint(registry, f"{scheme}://{address}", internal, private_realms=trusted)


def origin(url: str) -> str:
    """Scheme, host and port: all of a URL that may appear in a message, and what credentials are bound to."""
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}://{host}:{parts.port or _PORTS[parts.scheme]}"


def same_origin(one: str, other: str) -> bool:
    """Whether credentials for one URL may travel to the other: the same scheme, host and port."""
    return origin(one) == origin(other)


def resolve(url: str, location: str | None) -> str:
    """The absolute URL that a `Location` header names, seen from `url`.

    Raises:
        RegistryError: there is none, or it is not an HTTP URL, or it carries credentials of its own.
    """
    try:
        target = urljoin(url, location) if location else ""
    except ValueError:
        target = ""
    if not _is_web_address(target):
        raise RegistryError(f"`{origin(url)}` points to a place that is no web address")
    return target


def check_realm(realm: str, asker: Endpoint, *, internal: bool) -> None:
    """Refuse a token server that the registry has no business to name.

    `internal` says that the registry itself is inside the user's network. A registry out there that names a
    server in here would use us to reach it, unless the user said that it may; one that is spoken to with TLS
    may never make us send in clear.

    Raises:
        RegistryError: the realm is refused.
    Source: GHSA-x2f5-332j-9xwq.
    """
    if not _is_web_address(realm):
        raise RegistryError(f"realm URL rejected: `{asker.registry}` names no web address")
    if not realm.lower().startswith("https:") and not asker.is_plain:
        raise RegistryError(
            f"realm URL rejected: `{origin(realm)}` would get credentials without encryption",
            hint=f"if you trust the network, name `{asker.registry}` as an insecure registry",
        )
    try:
        check_foreign(realm, asker, internal=internal or asker.private_realms)
    except RegistryError as exc:
        raise RegistryError(
            f"realm URL rejected: {exc.message}",
            hint=f"if that is intended, name `{asker.registry}` in `DMR_PRIVATE_REALMS`",
        ) from exc


def check_foreign(url: str, asker: Endpoint, *, internal: bool) -> None:
    """Refuse a URL by which a registry out there would reach into the user's own network.

    Only names and literal addresses are seen here; what a name resolves to is checked on connecting.

    Raises:
        RegistryError: the URL is refused.
    """
    host = urlsplit(url).hostname or ""
    if not internal and host != asker.host and is_internal_host(host):
        raise internal_refused(url, asker)


def internal_refused(url: str, asker: Endpoint) -> RegistryError:
    """The error for a URL that leads inside."""
    return RegistryError(
        f"`{asker.registry}` points to a private address: `{origin(url)}`",
        hint=f"if that is intended, name `{asker.registry}` as an insecure registry",
    )


def is_internal_host(host: str) -> bool:
    """Whether a host is, by its name alone, this machine or inside a private network."""
    name = host.lower().rstrip(".")
    return name in _INTERNAL_NAMES or name.endswith(".localhost") or is_internal_address(name)


def is_internal_address(text: str) -> bool:
    """Whether a literal address is one that the public Internet does not route; False for a name."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        embedded = address.ipv4_mapped or address.sixtofour
        if address in _NAT64:
            embedded = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if embedded is not None:
            address = embedded
    return not address.is_global or address.is_multicast


def _is_web_address(url: str) -> bool:
    """Whether a URL from outside is one that we would go to; credentials of its own are a trick."""
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - raises for a port that cannot be
    except ValueError:
        return False
    return parts.scheme in _PORTS and bool(parts.hostname) and parts.username is None
