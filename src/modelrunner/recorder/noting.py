"""Makes of what the data path saw of a request what is read: times in relation, the headers that matter."""

from modelrunner.recorder.values import Circumstances, Noted, Seen
from modelrunner.wire.headers import RECORD_HEADER, REPLAY_HEADER

_RECORD = RECORD_HEADER.lower().encode()
_REPLAY = REPLAY_HEADER.lower().encode()
_OFF = frozenset({b"off", b"false", b"0", b"no"})


def noted_of(seen: Seen, circumstances: Circumstances) -> Noted:
    """Put it in relation. Of a header that comes twice the last one counts, as for the data path."""
    header = dict(seen.headers).get
    since, timing = seen.since, seen.timing
    outcome = "ok"
    if seen.error is not None or seen.left:
        outcome = "failed" if seen.error is not None else "cancelled"
    queued, loading, asked = timing or (0.0, 0.0, None)
    began = seen.size > 0
    return Noted(  # in the order of its fields: names would cost as much again
        seen.at,
        seen.name,
        seen.method,
        seen.path,
        seen.model,
        circumstances.instance,
        seen.address,
        header(b"user-agent"),
        header(b"authorization") or header(b"x-api-key"),
        header(_REPLAY),
        header(b"traceparent"),
        header(b"content-type"),
        seen.media_type,
        seen.status,
        outcome,
        seen.error,
        None if asked is None else asked - since,
        seen.first - since if began else None,
        seen.last - since if began else None,
        seen.ended - since,
        queued,
        loading,
        seen.cut,
        may_be_kept(seen, circumstances),
        seen.body or b"",
        b"".join(seen.pieces),
        b"".join(seen.engine),
    )


def may_be_kept(seen: Seen, circumstances: Circumstances) -> bool:
    """Whether it may be stored; both its model and who asked may have said no."""
    if not circumstances.record:
        return False
    return not any(name == _RECORD and value.strip().lower() in _OFF for name, value in seen.headers)
