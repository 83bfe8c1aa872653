"""Which configuration applies to which model, also after names have moved, and after a restart."""

import asyncio
import errno
import os
from pathlib import Path

import pytest

from modelrunner.engines.base import Options
from modelrunner.errors import InsufficientStorage
from modelrunner.models.description.kinds import Mode
from modelrunner.oci.digest import Digest
from modelrunner.oci.reference import Reference, parse_reference
from modelrunner.runtime.scheduling.plan import Key
from modelrunner.server.configuration.configuration import Configuration, KeepAlive
from modelrunner.server.configuration.configuration_file import ConfigurationFile
from modelrunner.server.configuration.configurations import Configurations
from modelrunner.store.store import Store
from modelrunner.testing.artifacts import Artifact, make_artifact, put

OLD, NEW = make_artifact(b"old"), make_artifact(b"new")
NAME, OTHER = parse_reference("ai/x"), parse_reference("ai/y")
SMALL = Configuration(options=Options(context_size=512))
LARGE = Configuration(options=Options(context_size=4096))


def key(model: Artifact = OLD, mode: Mode = Mode.COMPLETION) -> Key:
    return Key("llama.cpp", model.id, mode)


@pytest.fixture
async def store(tmp_path: Path) -> Store:
    """A store with the model `ai/x`."""
    store = Store(tmp_path)
    await put(store, OLD, "ai/x")
    return store


@pytest.fixture
def configurations(store: Store) -> Configurations:
    return opened(store)


def opened(store: Store) -> Configurations:
    file = ConfigurationFile(
        store.root / "configurations.json", store.root / ".locks" / "it.lock", store.root / "aside"
    )
    return Configurations(file, snapshot=lambda: store.snapshot, keep_alive=300.0)


async def keep(
    configurations: Configurations, at: Key, configuration: Configuration, name: Reference | None = NAME
) -> None:
    await configurations.save(configurations.put(at, name, configuration))


async def test_other_modes_borrow_from_completion(configurations: Configurations) -> None:
    """Until they are configured themselves; the other way round nothing is borrowed."""
    talking = Configuration(options=Options(context_size=10), keep_alive=KeepAlive(None))
    await keep(configurations, key(), talking)

    for mode in (Mode.RERANKING, Mode.EMBEDDING, Mode.IMAGE):
        assert talking == configurations.effective(key(mode=mode))
        assert configurations.keep_alive(key(mode=mode)) is None

    own = Configuration(keep_alive=KeepAlive(0.0))
    await keep(configurations, key(mode=Mode.RERANKING), own)
    assert own == configurations.effective(key(mode=Mode.RERANKING))
    assert 0.0 == configurations.keep_alive(key(mode=Mode.RERANKING))
    assert talking == configurations.effective(key())


async def test_an_unknown_model_has_the_daemons_keep_alive(configurations: Configurations) -> None:
    """And nothing else."""
    await keep(configurations, key(), SMALL)

    assert 300.0 == configurations.keep_alive(key(NEW))
    assert Configuration() == configurations.effective(key(NEW))


async def test_a_pin_is_for_one_mode_and_for_ever(configurations: Configurations) -> None:
    """Whatever its keep-alive says; a model that is pinned to talk is not kept to embed."""
    await keep(configurations, key(), Configuration(pinned=True, keep_alive=KeepAlive(1.0)))

    assert (True, None) == (configurations.pinned(key()), configurations.keep_alive(key()))
    embedding = key(mode=Mode.EMBEDDING)
    assert (False, 1.0) == (configurations.pinned(embedding), configurations.keep_alive(embedding))


async def test_the_memory_check_can_be_turned_off(configurations: Configurations) -> None:
    """For a model in all its modes."""
    await keep(configurations, key(), Configuration(memory_check=False))

    assert [False, False, True] == [
        configurations.memory_check(each) for each in (key(), key(mode=Mode.EMBEDDING), key(NEW))
    ]


async def test_a_configuration_lasts(store: Store, configurations: Configurations) -> None:
    """The next daemon finds it."""
    await keep(configurations, key(), SMALL)

    assert SMALL == opened(store).effective(key())


async def test_a_configuration_follows_its_name(store: Store, configurations: Configurations) -> None:
    """A newer model of that name is run the same way; the old one, which has no name now, is not."""
    await keep(configurations, key(), SMALL)
    await put(store, NEW, "ai/x")

    for each in (configurations, opened(store)):
        assert (SMALL, Configuration()) == (each.effective(key(NEW)), each.effective(key(OLD)))


async def test_a_configuration_by_id_stays_with_the_model(
    store: Store, configurations: Configurations
) -> None:
    """Whoever names bytes means these bytes."""
    await keep(configurations, key(), SMALL, name=None)
    await put(store, NEW, "ai/x")

    assert (Configuration(), SMALL) == (configurations.effective(key(NEW)), configurations.effective(key()))


async def test_a_configuration_stays_with_the_model_when_its_name_is_gone(
    store: Store, configurations: Configurations
) -> None:
    """Another name of the model is enough, even if another program took the first away."""
    await store.tag(OLD.id, OTHER)
    await keep(configurations, key(), SMALL)
    await store.untag(NAME)

    assert SMALL == configurations.effective(key())


async def test_a_name_that_is_taken_away_passes_on_what_it_had(
    store: Store, configurations: Configurations
) -> None:
    """Whoever gets that name later does not inherit."""
    await store.tag(OLD.id, OTHER)
    await keep(configurations, key(), SMALL)
    await store.untag(NAME)
    await configurations.save(configurations.pass_on(NAME, OLD.id, OTHER))
    await put(store, NEW, "ai/x")

    assert (Configuration(), SMALL) == (configurations.effective(key(NEW)), configurations.effective(key()))


async def test_names_of_one_model_share_a_configuration(store: Store, configurations: Configurations) -> None:
    """One engine serves them all, so the last word counts."""
    await store.tag(OLD.id, OTHER)
    await keep(configurations, key(), SMALL)
    await keep(configurations, key(), LARGE, name=OTHER)

    assert [(key(), LARGE)] == list(configurations.items())


async def test_of_two_configurations_that_meet_the_later_one_counts(
    store: Store, configurations: Configurations
) -> None:
    """Two names that were configured apart may come to mean the same model."""
    await put(store, NEW, "ai/y")
    await keep(configurations, key(NEW), LARGE, name=OTHER)
    await keep(configurations, key(), SMALL)
    await store.tag(OLD.id, OTHER)

    assert [(key(), SMALL)] == list(configurations.items())


async def test_a_model_that_is_gone_takes_its_configuration_along(
    store: Store, configurations: Configurations
) -> None:
    """A model that comes back under its name begins anew, and others keep theirs."""
    await put(store, NEW, "ai/y")
    await keep(configurations, key(), SMALL)
    await keep(configurations, key(NEW), LARGE, name=OTHER)
    await store.remove("ai/x")
    await configurations.save(configurations.forget_model(OLD.id, [NAME]))
    await put(store, OLD, "ai/x")

    assert [(key(NEW), LARGE)] == list(opened(store).items())


async def test_what_is_not_here_is_not_listed(store: Store, configurations: Configurations) -> None:
    """It is kept, for another program may bring the model back."""
    await keep(configurations, key(), SMALL)
    await store.remove("ai/x")
    assert () == configurations.items()

    await put(store, OLD, "ai/x")
    assert [(key(), SMALL)] == list(configurations.items())


async def test_forgetting_is_by_key_or_all(store: Store, configurations: Configurations) -> None:
    """In the file too."""
    for mode in (Mode.COMPLETION, Mode.EMBEDDING):
        await keep(configurations, key(mode=mode), SMALL)
    await configurations.save(configurations.forget([key()]))
    assert [key(mode=Mode.EMBEDDING)] == [kept for kept, _ in opened(store).items()]

    await configurations.save(configurations.forget_all())
    assert () == opened(store).items()


async def test_a_change_counts_at_once_and_can_be_taken_back(configurations: Configurations) -> None:
    """Before it is saved."""
    change = configurations.put(key(), NAME, SMALL)
    assert SMALL == configurations.effective(key())

    configurations.take_back(change)
    assert Configuration() == configurations.effective(key())


async def test_changes_at_the_same_time_all_last(store: Store, configurations: Configurations) -> None:
    """Compose configures its models side by side."""
    modes = tuple(Mode)
    await asyncio.gather(*(keep(configurations, key(mode=mode), SMALL) for mode in modes))

    for each in (configurations, opened(store)):
        assert {key(mode=mode) for mode in modes} == {kept for kept, _ in each.items()}


async def test_daemons_on_the_same_models_keep_what_the_other_wrote(
    store: Store, configurations: Configurations
) -> None:
    """Neither overwrites the other, and each sees it when it looks."""
    neighbour = opened(store)
    await keep(configurations, key(), SMALL)
    await keep(neighbour, key(mode=Mode.EMBEDDING), LARGE)
    await configurations.refresh()

    assert {key(): SMALL, key(mode=Mode.EMBEDDING): LARGE} == dict(configurations.items())


async def test_what_cannot_be_saved_is_not_believed(
    configurations: Configurations, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk is told, and the configuration before stays in force."""
    await keep(configurations, key(), SMALL)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InsufficientStorage):
        await keep(configurations, key(), LARGE)

    assert SMALL == configurations.effective(key())


async def test_a_change_that_nobody_waits_for_any_more_is_told_truly(
    store: Store, configurations: Configurations
) -> None:
    """A client that leaves in the middle leaves memory and file alike."""
    saving = asyncio.create_task(keep(configurations, key(), SMALL))
    await asyncio.sleep(0)
    saving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await saving

    assert opened(store).items() == configurations.items()


def test_whose_configuration_changes_with_one(configurations: Configurations) -> None:
    """Those that borrow it, and itself."""
    configurations.put(key(mode=Mode.RERANKING), NAME, SMALL)

    assert {*Mode} - {Mode.RERANKING} == {other.mode for other in configurations.affected(key())}
    assert (key(mode=Mode.EMBEDDING),) == configurations.affected(key(mode=Mode.EMBEDDING))


def test_the_id_of_a_model_that_nobody_has_is_nothing(configurations: Configurations) -> None:
    """Looking costs nothing and finds nothing."""
    assert () == configurations.of_model(Digest.of(b"absent"))
