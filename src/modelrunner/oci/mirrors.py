"""Where the artifacts of a registry may be fetched instead: its mirrors in order, and the registry last.

Only reading goes to mirrors. What they send is verified like anything else; nobody's credentials but their
own go there.
"""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from urllib.parse import urlsplit

from modelrunner.errors import ModelNotFound, RunnerError
from modelrunner.oci.auth import Access
from modelrunner.oci.digest import Digest
from modelrunner.oci.endpoint import Endpoint, is_internal_host
from modelrunner.oci.reference import DOCKER_HUB

_NAMESPACE = f"ns={DOCKER_HUB}"  # as containerd tells a mirror whose content is wanted

_log = logging.getLogger(__name__)


def parse_mirrors(
    texts: Iterable[str], *, private_realms: frozenset[str] = frozenset()
) -> tuple[Endpoint, ...]:
    """Read the mirrors of Docker Hub; what is no address is left out, and said so in the log.

    Without a scheme it is HTTPS. A path before `/v2` is kept.
    Source: the rules of Docker Model Runner for `MODEL_RUNNER_REGISTRY_MIRRORS`.
    """
    found = []
    for text in texts:
        mirror = _parse(text.strip().strip("\"'").strip(), private_realms)
        if mirror is None:
            _log.warning("mirror left out, it is no address of a registry")  # it may have a password in it
        else:
            found.append(mirror)
    return tuple(found)


def _parse(text: str, private_realms: frozenset[str]) -> Endpoint | None:
    try:
        parts = urlsplit(text if "://" in text else f"https://{text}")
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username is not None:
        return None
    name = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    place = f"{name}:{port}" if port is not None else name
    path = parts.path.rstrip("/").removesuffix("/v2").rstrip("/")
    trusted = place in private_realms or name in private_realms
    return Endpoint(
        place,
        f"{parts.scheme}://{place}{path}",
        is_internal_host(parts.hostname),
        private_realms=trusted,
        query=_NAMESPACE,
    )


class Hosts:
    """The places to fetch one repository from. A mirror that fails is not asked again by the same pull."""

    def __init__(self, upstream: Access, mirrors: Sequence[Endpoint] = ()) -> None:
        """`mirrors` are used for Docker Hub only; a credential that came with the request stays with it."""
        used = mirrors if upstream.endpoint.registry == DOCKER_HUB else ()
        self.upstream = upstream
        self._mirrors = [replace(upstream, endpoint=mirror, credential=None) for mirror in used]
        self._mirrored = bool(self._mirrors)
        self._doubted: set[Digest] = set()

    def places(self, blob: Digest | None = None) -> tuple[Access, ...]:
        """Where to ask for a blob, or for a manifest, in order; the last one is the registry itself."""
        return (self.upstream,) if blob in self._doubted else (*self._mirrors, self.upstream)

    def passes_over(self, place: Access, error: RunnerError) -> bool:
        """Take note of a failure; whether the next place is to be asked."""
        if place == self.upstream:
            return False
        _log.warning("mirror passed over mirror=%s reason=%s", place.endpoint.registry, error)
        if not isinstance(error, ModelNotFound) and error.detail.get("status") != 404:
            self._mirrors = [each for each in self._mirrors if each != place]
        return True

    def doubt(self, blob: Digest) -> bool:
        """Leave the mirrors out for a blob whose bytes were wrong; whether any could have sent them."""
        if blob in self._doubted or not self._mirrored:
            return False
        self._doubted.add(blob)
        return True
