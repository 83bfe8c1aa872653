"""A filter as SQL. Pure; every value is a parameter, never a part of the text."""

from modelrunner.recorder.values import Filter


def condition(wanted: Filter) -> tuple[str, list[object]]:
    """Write what comes after WHERE, and its parameters. The words are joined in by whoever searches."""
    terms: list[str] = ["1"]
    values: list[object] = []

    def also(term: str, *given: object) -> None:
        terms.append(term)
        values.extend(given)

    if wanted.models is not None:
        marks = ", ".join("?" * len(wanted.models))
        also(
            f"(requests.model_id IN ({marks}) OR requests.model IN ({marks}))", *wanted.models, *wanted.models
        )
    if wanted.ids is not None:
        also(f"requests.id IN ({', '.join('?' * len(wanted.ids))})", *wanted.ids)
    for name in ("caller", "dialect", "mode", "path", "outcome"):
        value = getattr(wanted, name)
        if value is not None:
            also(f"requests.{name} = ?", value)
    if wanted.status is not None:
        also("requests.status BETWEEN ? AND ?", *wanted.status)
    for term, value in (
        ("requests.at >= ?", wanted.since),
        ("requests.at < ?", wanted.until),
        ("requests.seconds >= ?", wanted.slower),
        ("requests.id < ?", wanted.before),
        ("requests.id > ?", wanted.after),
    ):
        if value is not None:
            also(term, value)
    if wanted.reached:
        also("requests.reached")
    return " AND ".join(terms), values
