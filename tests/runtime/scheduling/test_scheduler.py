"""The scheduler against a world in which anything happens in any order; see `testing.world` for its rules."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from modelrunner.models.description.kinds import Mode
from modelrunner.oci.digest import Digest
from modelrunner.runtime.scheduling.lease import Stay
from modelrunner.runtime.scheduling.plan import Key, State
from modelrunner.testing.world import World

A, B, C, D, E = (
    Key("llama.cpp", Digest.of(name), Mode.COMPLETION) for name in (b"a", b"b", b"c", b"d", b"e")
)
ALL = (A, B, C, D, E)


def new_world() -> World:
    """Room for some, but not for all: `E` fits only alone, and nothing fits twice."""
    return World(
        places=3,
        memory=100,
        needs={A: 20, B: 30, C: 45, D: 60, E: 100},
        slots={A: None, B: 1, C: 2, D: 4, E: 1},
        kept={A: 0.0, B: 5.0, C: 60.0, D: None, E: 30.0},
        asleep={B: 40, C: 10, D: 20},
    )


class Machine(RuleBasedStateMachine):
    """Each rule is something that happens."""

    def __init__(self) -> None:
        super().__init__()
        self.world = new_world()

    @rule(
        key=st.sampled_from(ALL),
        caller=st.sampled_from("xyz"),
        weight=st.sampled_from((0.125, 1.0, 8.0)),
        stay=st.sampled_from((None, Stay(None), Stay(0.0), Stay(10.0))),
    )
    def ask(self, key: Key, caller: str, weight: float, stay: Stay | None) -> None:
        self.world.ask(key, caller=caller, weight=weight, stay=stay)

    @precondition(lambda self: self.world.waiting)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        self.world.leave(data.draw(st.sampled_from(self.world.waiting)))

    @precondition(lambda self: self.world.leases)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        self.world.release(data.draw(st.sampled_from(self.world.leases)))

    @precondition(lambda self: self.world.estimating)
    @rule(data=st.data(), fails=st.booleans())
    def estimate(self, data: st.DataObject, *, fails: bool) -> None:
        self.world.estimate(data.draw(st.sampled_from(self.world.estimating)), fails=fails)

    @precondition(lambda self: self.world.some(State.STARTING))
    @rule(data=st.data(), succeeds=st.booleans())
    def start_ends(self, data: st.DataObject, *, succeeds: bool) -> None:
        loaded = data.draw(st.sampled_from(self.world.some(State.STARTING)))
        (self.world.become_ready if succeeds else self.world.fail)(loaded)

    @precondition(lambda self: self.world.some(State.DOZING) or self.world.some(State.WAKING))
    @rule(data=st.data(), fails=st.booleans())
    def falls_asleep_or_wakes(self, data: st.DataObject, *, fails: bool) -> None:
        turning = [*self.world.some(State.DOZING), *self.world.some(State.WAKING)]
        self.world.turn(data.draw(st.sampled_from(turning)), fails=fails)

    @precondition(lambda self: self.world.some(State.STOPPING))
    @rule(data=st.data())
    def process_is_gone(self, data: st.DataObject) -> None:
        self.world.exit(data.draw(st.sampled_from(self.world.some(State.STOPPING))))

    @precondition(lambda self: self.world.some(State.READY) or self.world.some(State.ASLEEP))
    @rule(data=st.data())
    def crash(self, data: st.DataObject) -> None:
        alive = [*self.world.some(State.READY), *self.world.some(State.ASLEEP)]
        self.world.crash(data.draw(st.sampled_from(alive)))

    @rule(key=st.sampled_from(ALL))
    def pin_or_unpin(self, key: Key) -> None:
        self.world.pin(key)

    @rule(key=st.sampled_from(ALL))
    def forgive(self, key: Key) -> None:
        self.world.forgive(key)

    @rule(amount=st.integers(0, 100))
    def other_programs(self, amount: int) -> None:
        self.world.take_memory(amount)

    @rule(seconds=st.sampled_from((0.1, 1.0, 7.0, 31.0, 400.0)))
    def time_passes(self, seconds: float) -> None:
        self.world.pass_time(seconds)

    def teardown(self) -> None:
        self.world.come_to_rest()


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)
