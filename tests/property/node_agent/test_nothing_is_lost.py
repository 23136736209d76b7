"""Whatever happens and whenever the process dies: the log hears all of it, in order, once."""

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as some

from fogbank.domain.states import Health, ReplicaState, RestartPolicy
from services.node_agent.core.replica import Desired
from tests.property.node_agent.crashing_world import World

Step = Callable[[World], None]

REPLICAS = some.sampled_from("abc")


def _want(replica_id: str, desired: Desired, restart: RestartPolicy) -> Step:
    return lambda world: world.want(replica_id, desired, restart)


def _end(replica_id: str, exit_code: int) -> Step:
    return lambda world: world.end(replica_id, exit_code)


def _swing(replica_id: str, health: Health) -> Step:
    return lambda world: world.swing(replica_id, health)


def _answer(count: int) -> Step:
    return lambda world: world.answer(count)


def _crash_in(points: int) -> Step:
    def arm(world: World) -> None:
        world.crash_after = points

    return arm


def _boot(world: World) -> None:
    if world.core is None:
        world.boot()


STEPS = some.one_of(
    some.builds(_want, REPLICAS, some.just(Desired.RUN), some.sampled_from(RestartPolicy)),
    some.builds(_want, REPLICAS, some.just(Desired.STOP), some.just(RestartPolicy.ALWAYS)),
    some.builds(_end, REPLICAS, some.sampled_from([0, 1])),
    some.builds(_swing, REPLICAS, some.sampled_from([Health.HEALTHY, Health.UNHEALTHY])),
    some.builds(_swing, REPLICAS, some.sampled_from([Health.HEALTHY, Health.UNHEALTHY])),
    some.builds(_answer, some.integers(1, 4)),
    some.builds(_answer, some.integers(1, 4)),
    some.builds(_crash_in, some.integers(1, 12)),
    some.just(_boot),
    some.just(World.flow),
    some.just(World.flow),
    some.just(World.echo),
    some.just(World.power_cut),
    some.just(World.shut_down),
    some.just(World.connect),
    some.just(World.disconnect),
    some.just(World.pass_time),
)
PLANS = some.lists(STEPS, min_size=5, max_size=40)


def played(plan: list[Step]) -> World:
    """The world after a plan with crashes, and after everything has calmed down."""
    world = World()
    # Begin where it gets interesting: two replicas run, one of them for as long as it can.
    world.want("a", Desired.RUN, RestartPolicy.ALWAYS)
    world.want("b", Desired.RUN, RestartPolicy.ON_FAILURE)
    world.flow()
    for step in plan:
        step(world)
    for _ in world.settle():
        pass
    return world


@given(PLANS)
def test_numbers_in_the_log_have_no_gaps(plan: list[Step]) -> None:
    world = played(plan)
    assert world.log.numbers == list(range(1, len(world.log.numbers) + 1))


@given(PLANS)
def test_observed_state_only_grows(plan: list[Step]) -> None:
    world = played(plan)
    for replica_id in "abc":
        seen = [each for _, each in world.log.accepted if each.replica_id == replica_id]
        steps = [(each.restart_count, each.state, each.final) for each in seen]
        assert steps == sorted(steps)


@given(PLANS)
def test_the_log_ends_up_knowing_what_is_true(plan: list[Step]) -> None:
    world = played(plan)
    for replica_id, assignment in world.log.desired.items():
        last = world.log.last(replica_id)
        container = world.containers.get(replica_id)
        runs = container is not None and container.running
        assert last is not None
        assert runs == (last.state is ReplicaState.RUNNING)
        assert not runs or container is None or last.health is container.health
        assert runs or last.final
        if assignment.desired is Desired.STOP:
            assert not runs


@given(PLANS)
def test_nothing_starts_again_after_its_end_is_in_the_log(plan: list[Step]) -> None:
    world = played(plan)
    for replica_id in "abc":
        seen = [each for _, each in world.log.accepted if each.replica_id == replica_id]
        finals = [index for index, each in enumerate(seen) if each.final]
        assert not finals or all(each.final for each in seen[finals[0] :])


@given(PLANS)
def test_restarts_stay_within_their_limit(plan: list[Step]) -> None:
    world = played(plan)
    most = 2 + world.host_boots - 1
    assert all(each.restart_count <= most for _, each in world.log.accepted)


@given(PLANS)
def test_only_what_succeeded_is_complete(plan: list[Step]) -> None:
    world = played(plan)
    complete = [each for _, each in world.log.accepted if each.state is ReplicaState.COMPLETE]
    assert {each.replica_id for each in complete} <= world.succeeded
