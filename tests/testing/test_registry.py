import asyncio
import shutil
from pathlib import Path

import pytest

from modelrunner.testing.artifacts import make_artifact
from modelrunner.testing.registry import Access, FakeRegistry
from modelrunner.testing.serving import serving

ARTIFACT = make_artifact(b"first layer" * 1000, b"second layer")


async def _skopeo(*arguments: str) -> bytes:
    program = shutil.which("skopeo")
    assert program is not None, "skopeo is not installed"
    process = await asyncio.create_subprocess_exec(
        program, "--insecure-policy", *arguments, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    assert process.returncode == 0
    return output


@pytest.mark.registry
@pytest.mark.parametrize(
    "access",
    [None, Access({"ann": "pw"}), Access({"ann": "pw"}, bearer=True)],
    ids=["open", "basic", "bearer"],
)
async def test_a_client_that_everybody_trusts_takes_it_for_a_registry(
    access: Access | None, tmp_path: Path
) -> None:
    """`skopeo copy` from one repository to another, so that the fake is not true to our client only."""
    fake = FakeRegistry(access)
    fake.add("team/model", "v1", ARTIFACT.content, ARTIFACT.contents)
    # Skopeo would not push to where the blobs are already.
    other = FakeRegistry(access)
    login = ("--src-creds=ann:pw", "--dest-creds=ann:pw") if access else ()
    async with serving(fake) as source, serving(other) as target:
        await _skopeo(
            "copy",
            "--src-tls-verify=false",
            "--dest-tls-verify=false",
            *login,
            f"docker://{source.removeprefix('http://')}/team/model:v1",
            f"docker://{target.removeprefix('http://')}/other/place:v2",
        )

    assert other.blobs == ARTIFACT.contents
    assert other.manifests["other/place", "v2"][1] == ARTIFACT.content.raw
