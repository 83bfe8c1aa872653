"""`/ui/`: the web app as it was built, and `/` for browsers."""

import gzip
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.server.conftest import Daemon

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


async def test_a_browser_is_shown_to_the_app_and_clients_see_what_they_saw(daemon: "Daemon") -> None:
    """`/` leads a browser to `/ui/`; whoever does not ask for a page is greeted as ever."""
    shown = await daemon.ask("GET", "/", headers=BROWSER, allow_redirects=False)
    greeted = await daemon.ask("GET", "/", headers={"Accept": "*/*"})

    assert (shown.status, shown.headers["location"], shown.headers["vary"]) == (303, "/ui/", "Accept")
    assert (greeted.status, greeted.text.splitlines()[0]) == (200, "Docker Model Runner is running")


@pytest.mark.parametrize("path", ["/ui", "/ui/", "/ui/chat/0123", "/ui/models/ai/qwen2.5:0.5B-F16"])
async def test_every_path_of_the_app_is_its_page(daemon: "Daemon", path: str) -> None:
    """The app itself knows what its paths mean, so each is the page, also when it is loaded again."""
    page = await daemon.ask("GET", path, headers=BROWSER)

    assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert '<div id="app"></div>' in page.text


async def test_the_policy_lets_nothing_run_that_is_not_of_the_app(daemon: "Daemon") -> None:
    """Neither scripts in the page nor anything of other hosts, and nobody frames it."""
    page = await daemon.ask("GET", "/ui/", headers=BROWSER)

    policy = page.headers["content-security-policy"]
    assert "default-src 'none'; script-src 'self'; style-src 'self'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert page.headers["x-content-type-options"] == "nosniff"
    assert "<style" not in page.text
    assert " style=" not in page.text
    assert page.text.count("<script") == page.text.count('src="/ui/')


async def test_what_is_named_by_its_content_is_never_asked_for_again(daemon: "Daemon") -> None:
    """The page is asked for each time, with 304 while it is the same; its assets keep for a year."""
    page = await daemon.ask("GET", "/ui/", headers=BROWSER)
    again = await daemon.ask("GET", "/ui/", headers={**BROWSER, "If-None-Match": page.headers["etag"]})
    script = page.text.partition('type="module"')[2].partition('src="')[2].partition('"')[0]
    asset = await daemon.ask("GET", script)

    assert page.headers["cache-control"] == "no-cache"
    assert (again.status, again.text) == (304, "")
    assert asset.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert asset.headers["content-type"] == "text/javascript; charset=utf-8"


async def test_a_form_is_sent_that_the_client_reads(daemon: "Daemon") -> None:
    """Brotli before gzip before plain; each says what it is, and they differ only in that."""
    seen: dict[str, bytes] = {}
    for accepted in ("br, gzip", "gzip", "br;q=0, gzip", "br;q=0.000", "identity"):
        request = daemon.session.get(
            f"{daemon.url}/ui/", headers={**BROWSER, "Accept-Encoding": accepted}, auto_decompress=False
        )
        async with request as reply:
            seen[f"{accepted} -> {reply.headers.get('Content-Encoding', 'identity')}"] = await reply.read()

    assert list(seen) == [
        "br, gzip -> br",
        "gzip -> gzip",
        "br;q=0, gzip -> gzip",
        "br;q=0.000 -> identity",
        "identity -> identity",
    ]
    assert gzip.decompress(seen["gzip -> gzip"]) == seen["identity -> identity"]


@pytest.mark.parametrize(
    "path",
    ["/ui/assets/gone.js", "/ui/assets/../../server.py", "/ui/.stamp", "/ui/%2e%2e/app.py", "/ui/gone.js"],
)
async def test_there_are_no_other_files(daemon: "Daemon", path: str) -> None:
    """A script that is gone is 404 and no page, and nothing else of the disk is to be had."""
    assert (await daemon.ask("GET", path, headers={"Accept": "*/*"})).status == 404
