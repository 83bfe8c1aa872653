import pytest

from modelrunner.errors import RegistryError
from modelrunner.oci.endpoint import (
    check_foreign,
    check_realm,
    endpoint,
    is_internal_host,
    origin,
    resolve,
    same_origin,
)


@pytest.mark.parametrize(
    ("registry", "base"),
    [
        ("docker.io", "https://registry-1.docker.io"),
        ("registry.example.com", "https://registry.example.com"),
        ("registry.example.com:5000", "https://registry.example.com:5000"),
        ("localhost", "http://localhost"),
        ("localhost:5000", "http://localhost:5000"),
        ("LOCALHOST:5000", "http://LOCALHOST:5000"),
        ("127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("[::1]:5000", "http://[::1]:5000"),
        ("nas.local:5000", "http://nas.local:5000"),
        ("notlocal", "https://notlocal"),
        ("localhost.example.com", "https://localhost.example.com"),
        ("192.168.1.5:5000", "https://192.168.1.5:5000"),
        ("plain.example.com", "http://plain.example.com"),
        ("plain.example.com:8080", "http://plain.example.com:8080"),
        ("ported.example.com:81", "http://ported.example.com:81"),
        ("ported.example.com", "https://ported.example.com"),
    ],
)
def test_plain_http_is_for_this_machine_and_for_named_hosts(registry: str, base: str) -> None:
    """Everything else is TLS; Docker Hub's API has a host of its own."""
    insecure = frozenset({"plain.example.com", "ported.example.com:81"})

    assert endpoint(registry, insecure=insecure).base == base


def test_all_registries_can_be_made_plain() -> None:
    """That is what `INSECURE_REGISTRY=true` means; it does not place them inside the network."""
    where = endpoint("registry.example.com", insecure_all=True)

    assert (where.base, where.internal) == ("http://registry.example.com", False)


@pytest.mark.parametrize(
    ("host", "internal"),
    [
        ("localhost", True),
        ("LocalHost.", True),
        ("a.localhost", True),
        ("host.docker.internal", True),
        ("model-runner.docker.internal", True),
        ("gateway.docker.internal", True),
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("0.0.0.0", True),
        ("10.0.0.1", True),
        ("172.16.0.1", True),
        ("192.168.0.1", True),
        ("169.254.169.254", True),
        ("100.64.0.1", True),
        ("224.0.0.1", True),
        ("::1", True),
        ("::", True),
        ("fe80::1", True),
        ("fe80::1%eth0", True),
        ("fc00::1", True),
        ("::ffff:127.0.0.1", True),
        ("::ffff:10.0.0.1", True),
        ("64:ff9b::7f00:1", True),
        ("2002:7f00:1::", True),
        ("8.8.8.8", False),
        ("::ffff:8.8.8.8", False),
        ("2606:4700::1111", False),
        ("64:ff9b::808:808", False),
        ("example.com", False),
        ("127.0.0.1.example.com", False),
    ],
)
def test_private_addresses_are_known_in_every_dress(host: str, *, internal: bool) -> None:
    """Names of this machine, private ranges, and IPv4 inside IPv6."""
    assert is_internal_host(host) is internal


@pytest.mark.parametrize(
    ("realm", "registry", "internal"),
    [
        ("https://auth.docker.io/token", "docker.io", False),
        ("https://auth.example.com/token", "registry.example.com", False),
        ("https://registry.example.com/token", "registry.example.com", False),
        ("http://127.0.0.1:5001/token", "127.0.0.1:5000", True),
        ("http://auth.example.com/token", "localhost:5000", True),
        ("https://10.0.0.5/token", "registry.corp", True),
        ("https://192.168.1.5/token", "192.168.1.5", False),
    ],
)
def test_a_sound_realm_is_accepted(realm: str, registry: str, *, internal: bool) -> None:
    """TLS to the outside; anything for a registry inside; its own host for every registry."""
    check_realm(realm, endpoint(registry), internal=internal)


@pytest.mark.parametrize(
    ("realm", "registry"),
    [
        ("http://auth.example.com/token", "registry.example.com"),
        ("https://127.0.0.1/token", "registry.example.com"),
        ("https://[::1]/token", "registry.example.com"),
        ("https://169.254.169.254/latest", "registry.example.com"),
        ("https://localhost:8443/token", "docker.io"),
        ("https://model-runner.docker.internal/token", "docker.io"),
        ("ftp://auth.example.com/token", "registry.example.com"),
        ("file:///etc/passwd", "registry.example.com"),
        ("/token", "registry.example.com"),
        ("", "registry.example.com"),
        ("https://user:pw@auth.example.com/", "registry.example.com"),
        ("https://auth.example.com:99999/", "registry.example.com"),
        ("https://[::1", "registry.example.com"),
    ],
)
def test_a_registry_outside_cannot_send_us_to_a_bad_realm(realm: str, registry: str) -> None:
    """Neither inside (GHSA-x2f5-332j-9xwq), nor without encryption, nor to what is no web address."""
    with pytest.raises(RegistryError, match="realm URL rejected"):
        check_realm(realm, endpoint(registry), internal=False)


def test_a_registry_inside_gets_no_credentials_sent_in_clear_either() -> None:
    """Unless it is itself spoken to without encryption."""
    with pytest.raises(RegistryError, match="without encryption"):
        check_realm("http://192.168.1.5/token", endpoint("192.168.1.5"), internal=True)


def test_a_redirect_into_the_network_is_refused() -> None:
    """The rule for realms holds for redirects and upload locations."""
    with pytest.raises(RegistryError, match="private address"):
        check_foreign("https://10.1.2.3/x?signature=s3cret", endpoint("docker.io"), internal=False)


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("/v2/x?a=b%2Fc", "https://r.example.com/v2/x?a=b%2Fc"),
        ("https://cdn.example.com/x?sig=a%2Bb", "https://cdn.example.com/x?sig=a%2Bb"),
        ("//cdn.example.com/x", "https://cdn.example.com/x"),
        ("http://r.example.com/x", "http://r.example.com/x"),
        ("?page=2", "https://r.example.com/v2/?page=2"),
    ],
)
def test_locations_are_seen_from_where_they_were_given(location: str, target: str) -> None:
    """Relative ones are completed, and none is spelled anew: signatures depend on the spelling."""
    assert resolve("https://r.example.com/v2/", location) == target


@pytest.mark.parametrize(
    "location",
    [
        None,
        "",
        "ftp://x.example.com/",
        "http://[::1",
        "http://[x]/",
        "https://u:p@x.example.com/",
        "https://x:70000/",
        "data:,x",
    ],
)
def test_a_location_that_is_no_web_address_is_an_error(location: str | None) -> None:
    """The error names the origin that gave it, and not the location."""
    with pytest.raises(RegistryError, match=r"`https://r\.example\.com:443`"):
        resolve("https://r.example.com/v2/?token=s3cret", location)


@pytest.mark.parametrize(
    ("other", "same"),
    [
        ("https://r.example.com:443/other", True),
        ("https://R.example.com/", True),
        ("http://r.example.com/", False),
        ("https://r.example.com:444/", False),
        ("https://sub.r.example.com/", False),
        ("https://r.example.com.evil.com/", False),
    ],
)
def test_credentials_are_bound_to_scheme_host_and_port(other: str, *, same: bool) -> None:
    """One of them different is another origin."""
    assert same_origin("https://r.example.com/", other) is same


def test_an_origin_tells_nothing_of_path_and_query() -> None:
    """It may appear in messages."""
    assert origin("https://[2001:db8::1]/a?token=s3cret") == "https://[2001:db8::1]:443"
