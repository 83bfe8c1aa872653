"""When an environment counts as whole, and what it is filled with."""

import itertools
import re
from pathlib import Path

import pytest

from modelrunner.engines.environment import LISTS, MARKER, Environment, Recipe
from modelrunner.errors import InstallFailed

RECIPE = Recipe("thing", "1.2", module="thing", packages=("thing==1.2",))


def _filled(environment: Environment) -> None:
    """What the steps leave, as far as `find` looks."""
    environment.begin()
    (environment.target / "bin").mkdir(parents=True)
    (environment.target / "bin" / "python").write_text("")


def test_what_was_never_completed_is_not_found(tmp_path: Path) -> None:
    """Everything but the marker is there, as after a kill in the last moment: nothing is installed."""
    environment = Environment(tmp_path / "thing", RECIPE)
    _filled(environment)

    assert environment.find() is None

    environment.complete()
    found = environment.find()

    assert found is not None
    assert (found.version, found.current, found.folder) == ("1.2", True, environment.target)


@pytest.mark.parametrize("marker", ["", "{", "[]", "{}", "null"])
def test_a_marker_that_cannot_be_read_marks_nothing(tmp_path: Path, marker: str) -> None:
    """Such an environment is as good as none."""
    environment = Environment(tmp_path / "thing", RECIPE)
    _filled(environment)
    (environment.target / MARKER).write_text(marker)

    assert environment.find() is None


def test_an_environment_without_its_interpreter_is_none(tmp_path: Path) -> None:
    """A Python that was removed from the system takes the environments made with it along."""
    environment = Environment(tmp_path / "thing", RECIPE)
    _filled(environment)
    environment.complete()
    python = environment.target / "bin" / "python"
    python.unlink()
    python.symlink_to(tmp_path / "no such python")

    assert environment.find() is None


def test_the_one_of_an_older_release_serves_until_the_new_one_is_whole(tmp_path: Path) -> None:
    """It is found, and said not to be current; afterwards it can be removed alone."""
    older = Environment(tmp_path / "thing", Recipe("thing", "1.1", "thing", packages=("thing==1.1",)))
    _filled(older)
    older.complete()
    newer = Environment(tmp_path / "thing", RECIPE)
    before = newer.find()
    _filled(newer)
    between = newer.find()
    newer.complete()
    after = newer.find()
    newer.remove(older=True)

    assert before is not None
    assert (before.version, before.current) == ("1.1", False)
    assert between == before
    assert after is not None
    assert (after.version, after.current) == ("1.2", True)
    assert not older.target.exists()
    assert newer.find() == after


def test_beginning_removes_what_was_interrupted_and_nothing_else(tmp_path: Path) -> None:
    """Half an environment is only in the way."""
    whole = Environment(tmp_path / "thing", RECIPE)
    _filled(whole)
    whole.complete()
    half = Environment(tmp_path / "thing", Recipe("thing", "2.0", "thing"))
    _filled(half)

    whole.begin()

    assert not half.target.exists()
    assert whole.find() is not None


def test_another_recipe_lives_elsewhere(tmp_path: Path) -> None:
    """Lists that differ in one version or one hash do not share a folder."""
    first, second = tmp_path / "first.txt", tmp_path / "second.txt"
    first.write_text("thing==1 --hash=sha256:aa\n")
    second.write_text("thing==1 --hash=sha256:ab\n")

    targets = {
        Environment(tmp_path, Recipe("thing", "1", "thing", lists=(path,))).target for path in (first, second)
    }

    assert len(targets) == 2


def test_the_steps_take_wheels_only_and_check_hashes(tmp_path: Path) -> None:
    """No package runs code of its own while it is installed, and a list is taken as it is written."""
    listed = tmp_path / "thing.txt"
    listed.write_text("a==1 \\\n    --hash=sha256:aa\nb==2 \\\n    --hash=sha256:bb\n")
    environment = Environment(tmp_path / "thing", Recipe("thing", "1", "thing", (listed,), ("torch==2",)))

    venv, lists, packages, check = environment.steps()

    assert venv.argv[1:] == ("-I", "-m", "venv", str(environment.target))
    assert {"--only-binary", ":all:", "--require-hashes", "--no-deps", str(listed)} <= set(lists.argv)
    assert lists.packages == 2
    assert {"--only-binary", ":all:", "torch==2"} <= set(packages.argv)
    assert check.argv[1:] == ("-I", "-c", "import thing")
    assert all(str(environment.target) in step.argv[0] for step in (lists, packages, check))


def test_what_it_takes_is_counted_and_removed(tmp_path: Path) -> None:
    """Every version counts, whole or not; afterwards there is none."""
    environment = Environment(tmp_path / "thing", RECIPE)
    _filled(environment)
    (environment.target / "library").write_bytes(bytes(1000))
    taken = environment.disk_usage()
    environment.remove()

    assert taken >= 1000
    assert environment.disk_usage() == 0
    assert environment.find() is None


def test_a_file_in_place_of_the_folder_is_told_of(tmp_path: Path) -> None:
    """With its path."""
    (tmp_path / "thing").write_text("")
    with pytest.raises(InstallFailed, match=re.escape(str(tmp_path / "thing"))):
        Environment(tmp_path / "thing", RECIPE).begin()


@pytest.mark.parametrize("path", sorted(LISTS.glob("*.txt")), ids=lambda path: path.stem)
def test_every_package_of_a_list_has_a_version_and_hashes(path: Path) -> None:
    """And no line names a package index, or anything but packages."""
    lines = path.read_text().splitlines()
    packages = [line for line in lines if not line.startswith("    ")]

    assert packages
    for line in packages:
        assert re.fullmatch(r"[a-z0-9-]+==[0-9a-z.]+( ; [a-z_0-9=!<>'\"().* ]+)? \\", line), line
    for line in lines:
        assert line in packages or re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}( \\)?", line), line
    assert all(
        after.startswith("    --hash") for line, after in itertools.pairwise(lines) if line in packages
    )
