"""The scheduler through a great many random steps: `make fuzz-scheduler STEPS=1000000`.

The world checks its rules after every step (see `modelrunner.testing.world`). A violation prints the seed and
the step, and the same seed walks the same way again.
"""

import argparse
import random
import sys
import time

from modelrunner.models.description.kinds import Mode
from modelrunner.oci.digest import Digest
from modelrunner.runtime.scheduling.lease import Stay
from modelrunner.runtime.scheduling.plan import Key, State
from modelrunner.testing.world import World

_WALK = 2_000  # steps in one world
_STAYS = (None, None, None, Stay(None), Stay(0.0), Stay(10.0))
_PAUSES = (0.01, 0.1, 1.0, 7.0, 31.0, 400.0)


def new_world(chance: random.Random) -> World:
    """A machine of some size with some models."""
    keys = [
        Key("llama.cpp", Digest.of(b"%d" % number), Mode.COMPLETION) for number in range(chance.randint(1, 8))
    ]
    return World(
        places=chance.randint(1, 5),
        memory=100,
        needs={key: chance.randint(1, 110) for key in keys},
        slots={key: chance.choice((None, 1, 2, 4)) for key in keys},
        kept={key: chance.choice((0.0, 5.0, 60.0, 300.0, None)) for key in keys},
        asleep={key: chance.randint(1, 60) for key in keys if chance.random() < 0.4},
    )


def ask(world: World, chance: random.Random) -> None:
    """A request comes."""
    world.ask(
        chance.choice(tuple(world.needs)),
        caller=chance.choice("xyz"),
        weight=chance.choice((0.125, 1.0, 8.0)),
        stay=chance.choice(_STAYS),
    )


def client(world: World, chance: random.Random) -> None:
    """A client gets its answer, or goes without."""
    if world.waiting and chance.random() < 0.25:
        world.leave(chance.choice(world.waiting))
    elif world.leases:
        world.release(chance.choice(world.leases))


def work(world: World, chance: random.Random) -> None:
    """Something that is under way ends, well or not."""
    if world.estimating:
        world.estimate(chance.choice(world.estimating), fails=chance.random() < 0.1)
    elif starting := world.some(State.STARTING):
        (world.fail if chance.random() < 0.2 else world.become_ready)(chance.choice(starting))
    elif turning := [*world.some(State.DOZING), *world.some(State.WAKING)]:
        world.turn(chance.choice(turning), fails=chance.random() < 0.1)
    elif stopping := world.some(State.STOPPING):
        world.exit(chance.choice(stopping))


def surprise(world: World, chance: random.Random) -> None:
    """A process ends, a user changes something, or another program does."""
    key = chance.choice(tuple(world.needs))
    ready = [*world.some(State.READY), *world.some(State.ASLEEP)]
    if ready and chance.random() < 0.3:
        world.crash(chance.choice(ready))
    else:
        chance.choice(
            (
                lambda: world.pin(key),
                lambda: world.forgive(key),
                lambda: world.take_memory(chance.choice((0, 0, 30, 80))),
            )
        )()


def wait(world: World, chance: random.Random) -> None:
    """Nothing happens."""
    world.pass_time(chance.choice(_PAUSES))


_ACTIONS = (ask, client, work, wait, surprise)
_WEIGHTS = (5, 5, 8, 3, 1)


def step(world: World, chance: random.Random) -> None:
    """Have something happen."""
    chance.choices(_ACTIONS, _WEIGHTS)[0](world, chance)


def walk(seed: int, steps: int) -> None:
    """Go through one world; everybody in it is answered in the end."""
    chance = random.Random(seed)  # noqa: S311 - a walk that can be repeated
    world = new_world(chance)
    for number in range(steps):
        try:
            step(world, chance)
        except Exception:
            sys.stderr.write(f"seed {seed}, step {number}\n")
            raise
    world.come_to_rest()


def main() -> None:
    """Walk for as many steps as were asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    begun, done, seed = time.monotonic(), 0, options.seed
    while done < options.steps:
        steps = min(_WALK, options.steps - done)
        walk(seed, steps)
        done += steps
        seed += 1
    seconds = time.monotonic() - begun
    sys.stdout.write(f"{done} steps in {seed - options.seed} worlds, 0 violations, {seconds:.0f} s\n")


if __name__ == "__main__":
    main()
