"""Where other programs keep models on this machine, and what is there."""

from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path

from modelrunner.errors import InvalidRequest
from modelrunner.models.local import model_folder, ollama_store
from modelrunner.models.local.candidate import Found, Origin

_READERS = {
    Origin.OLLAMA: ollama_store.read,
    Origin.HUGGING_FACE: model_folder.read_hugging_face,
    Origin.LM_STUDIO: model_folder.read_lm_studio,
    Origin.FILES: model_folder.read_files,
}


def usual_places(origin: Origin, environ: Mapping[str, str], home: Path) -> tuple[Path, ...]:
    """Where a program keeps its models unless told otherwise; only the first that is there is used.

    Source: Ollama's `OLLAMA_MODELS`; huggingface_hub's `HF_HUB_CACHE`, `HF_HOME` and `XDG_CACHE_HOME`;
    LM Studio's folder since 0.3, and the one before.
    """
    if origin is Origin.OLLAMA:
        return _given(environ, "OLLAMA_MODELS") or (
            home / ".ollama" / "models",
            Path("/usr/share/ollama/.ollama/models"),  # of the service that its Linux installer sets up
        )
    if origin is Origin.HUGGING_FACE:
        cache = (_given(environ, "XDG_CACHE_HOME") or (home / ".cache",))[0]
        at_home = (_given(environ, "HF_HOME") or (cache / "huggingface",))[0]
        return _given(environ, "HF_HUB_CACHE") or (at_home / "hub",)
    if origin is Origin.LM_STUDIO:
        return (home / ".lmstudio" / "models", home / ".cache" / "lm-studio" / "models")
    return ()


def find(origin: Origin, places: tuple[Path, ...]) -> tuple[Found, ...]:
    """Everything in the first of some places that is there; blocks while headers and folders are read.

    Raises:
        InvalidRequest: none of them is there, or it is no such store.
    """
    for place in places:
        if place.exists():
            return tuple(_READERS[origin](place))
    raise InvalidRequest(
        f"nothing to import from {origin}: `{places[0]}` is not there",
        hint="name the folder: `dmr import --from PATH`",
    )


def find_at(path: Path) -> tuple[Found, ...]:
    """Everything at a path that somebody named: a store of a program that is known by its layout, or files.

    The folder above the store, such as `~/.ollama`, is the one that people know: it stands for the store.

    Raises:
        InvalidRequest: there is nothing, or it cannot be read.
    """
    for place in (path, path / "models", path / "hub"):
        origin = _origin(place)
        if origin is not Origin.FILES:
            break
    else:
        origin, place = Origin.FILES, path
    found = tuple(_READERS[origin](place))
    if not found:
        raise InvalidRequest(
            f"nothing to import in `{path}`", hint="name a GGUF file, or the folder that has the models in it"
        )
    return found


def find_everywhere(environ: Mapping[str, str], home: Path) -> tuple[Found, ...]:
    """Everything that any of the known programs keeps in its usual place."""
    return tuple(chain.from_iterable(_where_there(origin, environ, home) for origin in Origin))


def _origin(path: Path) -> Origin:
    """Whose layout a path has."""
    if (path / "manifests").is_dir() and (path / "blobs").is_dir():
        return Origin.OLLAMA
    if model_folder.is_cached(path) or any(each.is_dir() for each in path.glob("models--*")):
        return Origin.HUGGING_FACE
    return Origin.FILES


def _where_there(origin: Origin, environ: Mapping[str, str], home: Path) -> Iterator[Found]:
    places = usual_places(origin, environ, home)
    if any(place.exists() for place in places):
        try:
            yield from find(origin, places)
        except InvalidRequest:
            return  # not in the form that we know; nobody asked for this one by name


def _given(environ: Mapping[str, str], variable: str) -> tuple[Path, ...]:
    text = environ.get(variable, "").strip()
    return (Path(text).expanduser(),) if text else ()
