"""How a stored tag is shown, found and sorted. Pure text; what people type is the daemon's to read."""

_HUB = ("docker.io/", "index.docker.io/")
_ORGANISATION = "ai/"
_LATEST = ":latest"


def display_name(tag: str, default_registry: str = "") -> str:
    """Shorten a tag as tables show it: no default registry, no `ai/`, no `:latest`."""
    name = _without_registry(tag, default_registry).removeprefix(_ORGANISATION)
    return name.removesuffix(_LATEST)


def spellings(tag: str) -> list[str]:
    """All forms under which a script may look for a tag: as given, familiar, and bare for `:latest`.

    Compose compares the text of its file with these, literally, and pulls when none is equal.
    """
    familiar = _without_registry(tag, "")
    forms = [tag, familiar]
    if familiar.endswith(_LATEST):
        forms.append(familiar.removesuffix(_LATEST))
    return list(dict.fromkeys(forms))


def matches(tag: str, wanted: str, default_registry: str = "") -> bool:
    """Whether a tag is the one asked for, or one of the repository asked for when no tag was given."""
    have, want = _comparable(tag, default_registry), _comparable(wanted, default_registry)
    return have == want if _variant(want) else _repository(have) == _repository(want)


def sort_key(name: str) -> tuple[str, bool, str]:
    """Order of names in tables: by repository without case, the plain name before its variants."""
    head, slash, last = name.lower().rpartition("/")
    bare, _, variant = last.partition(":")
    return f"{head}{slash}{bare}", bool(variant), variant


def short_id(model_id: str) -> str:
    """The 12 digits by which people see a model's id."""
    return model_id.removeprefix("sha256:")[:12]


def _without_registry(tag: str, default_registry: str) -> str:
    prefixes = (f"{default_registry}/",) if default_registry not in {"", "docker.io"} else _HUB
    for prefix in prefixes:
        if tag.startswith(prefix):
            return tag[len(prefix) :]
    return tag


def _comparable(text: str, default_registry: str) -> str:
    name = _without_registry(text, default_registry)
    if name.startswith("hf.co/"):
        name = f"huggingface.co/{name.removeprefix('hf.co/')}"
    return name if "/" in name else f"{_ORGANISATION}{name}"


def _variant(name: str) -> str:
    last = name.rpartition("/")[2]
    return last.partition(":")[2]


def _repository(name: str) -> str:
    variant = _variant(name)
    return name.removesuffix(f":{variant}") if variant else name.removesuffix(":")
