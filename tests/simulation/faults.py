"""What goes wrong, and the end of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random
from uuid import UUID

from fogbank.domain import events as ev
from fogbank.domain.envelope import EventEnvelope
from fogbank.domain.errors import FogError
from fogbank.domain.node import Fingerprint
from fogbank.domain.resources import Resources
from fogbank.placement.strategies import STRATEGIES
from tests.simulation.actors import (
    Actor,
    AgentActor,
    Cluster,
    GatewayActor,
    LedgerActor,
    fleet_of,
)
from tests.simulation.loop import Process, pause
from tests.simulation.machines import Machine
from tests.simulation.plan import Fault, Node, Plan
from tests.simulation.world import LIKELIHOODS


class Faults:
    """Carries out a plan's faults, and mends everything at the end."""

    def __init__(self, cluster: Cluster, plan: Plan) -> None:
        self._cluster = cluster
        self._world = cluster.world
        self._plan = plan
        self._over = False
        self._policies = 0
        self._joined = 0

    async def run(self) -> None:
        """Let everything go wrong at its time."""
        for fault in self._plan.faults:
            await pause(max(0.0, fault.at_s - self._world.loop.time()))
            getattr(self, f"_{fault.kind}")(fault, Random(fault.pick))

    def end(self) -> None:
        """Mend everything: from now on nothing goes wrong any more."""
        self._over = True
        self._world.faulty = False
        world, cluster = self._world, self._cluster
        world.tell("faults", "are over")
        world.noise.clear()
        for link in world.links.values():
            link.cut(there=False, back=False)
        if not cluster.broker.up:
            cluster.broker.come_back()
        for actor in cluster.actors:
            if actor.process is not None and actor.process.frozen:
                world.loop.thaw(actor.process)
            actor.clock.offset_us = max(-500_000, min(500_000, actor.clock.offset_us))
            if isinstance(actor, AgentActor):
                actor.machine.load_percent = 10.0
                if actor.away:
                    continue
            actor.start()

    def _then(self, seconds: float, action: Callable[[], None]) -> None:
        """Do something later, unless everything was mended meanwhile."""
        self._world.later(seconds, lambda: None if self._over else action())

    def _victim(self, random: Random) -> Actor:
        """Choose among the roles first: there are many agents and few schedulers."""
        cluster = self._cluster
        roles: list[list[Actor]] = [
            list(role)
            for role in (cluster.gateways, cluster.schedulers, cluster.ledgers, cluster.agents)
            if role
        ]
        return random.choice(random.choice(roles))

    def _agent(self, random: Random) -> AgentActor:
        return random.choice(self._cluster.agents)

    # --- kinds --------------------------------------------------------------------------------

    def _kill(self, fault: Fault, random: Random) -> None:
        actor = self._victim(random)
        self._world.fault("kill", actor.name)
        actor.kill()
        if isinstance(actor, AgentActor) and random.random() < 0.4:
            self._world.fault("reboot", actor.name)
            actor.machine.reboot()
        self._then(fault.lasts_s, actor.start)

    def _freeze(self, fault: Fault, random: Random) -> None:
        actor = self._victim(random)
        process = actor.process
        if process is None or not process.alive:
            return
        if isinstance(actor, AgentActor):
            actor.machine.unattended = True
        self._world.fault("freeze", process.name, f"{fault.lasts_s:.1f} s")
        self._world.loop.freeze(process)
        self._then(fault.lasts_s * 1.5, lambda: self._world.loop.thaw(process))

    def _clock(self, fault: Fault, random: Random) -> None:
        actor = self._victim(random)
        step_us = random.choice((-1, 1)) * random.choice((300_000, 1_800_000, 20_000_000))
        self._world.fault("clock", actor.name, f"{step_us / 1e6:+.1f} s")
        actor.clock.offset_us += step_us

        def back() -> None:
            actor.clock.offset_us = random.randint(-500_000, 500_000)

        self._then(fault.lasts_s, back)

    def _cut(self, fault: Fault, random: Random) -> None:
        if random.random() < 0.6:
            gateway = random.choice(self._cluster.gateways)
            link = self._world.link(self._agent(random).name, gateway.name)
        else:
            services = [*self._cluster.gateways, *self._cluster.schedulers, *self._cluster.ledgers]
            link = self._world.link(random.choice(services).name, "broker")
        there, back = random.choice(((True, True), (True, False), (False, True)))
        self._world.fault("cut", link.name, f"{there=} {back=}")
        link.cut(there=there, back=back)
        self._then(fault.lasts_s, lambda: link.cut(there=False, back=False))

    def _isolate(self, fault: Fault, random: Random) -> None:
        """Cut an actor off from everybody: what it has in flight comes late."""
        self._part("isolate", self._victim(random), fault.lasts_s * 2, random)

    def _cut_off(self, fault: Fault, random: Random) -> None:
        """Cut a node off, mostly for long enough for its replicas to be replaced."""
        self._part("cut off", self._agent(random), fault.lasts_s, random)

    def _part(self, kind: str, actor: Actor, lasts_s: float, random: Random) -> None:
        there, back = random.choice(((True, True), (True, False), (False, True)))
        self._world.fault(kind, actor.name, f"{there=} {back=}")
        links = [
            link
            for link in tuple(self._world.links.values())
            if actor.name in link.ends and not {"disk", "database"} & set(link.ends)
        ]
        for link in links:
            link.cut(there=there, back=back)

        def mend() -> None:
            for link in links:
                link.cut(there=False, back=False)

        self._then(lasts_s, mend)

    def _hang_up(self, fault: Fault, random: Random) -> None:
        """End a gateway's streams, with a slow broker behind it: late words of old epochs."""
        gateway = random.choice(self._cluster.gateways)
        self._world.fault("hang up", gateway.name)
        self._world.noise.append_late = 0.5
        self._world.later(random.uniform(0.0, 1.0), gateway.hang_up)

        def calm() -> None:
            self._world.noise.append_late = 0.0

        self._then(fault.lasts_s, calm)

    def _restart(self, fault: Fault, random: Random) -> None:
        """End a scheduler or a ledger for a moment: it begins anew, a scheduler with a snapshot."""
        actor = random.choice([*self._cluster.schedulers, *self._cluster.ledgers])
        self._world.fault("restart", actor.name)
        actor.kill()
        self._then(min(fault.lasts_s, 1.0), actor.start)

    def _handover(self, fault: Fault, random: Random) -> None:
        """Send agents from a gateway whose appends come late to another, with news on their way."""
        gateway = random.choice(self._cluster.gateways)
        self._world.fault("handover", gateway.name)
        late = self._world.noise.late_writers
        late.add(gateway.name)
        for agent in self._cluster.agents:
            had = agent.machine.fingerprint
            more = replace(had.capacity, storage_gib=had.capacity.storage_gib + 1)
            agent.machine.fingerprint = replace(had, capacity=more, allocatable=more)
            agent.machine.load_percent = random.choice((5.0, 40.0, 80.0))
        leaves = random.choice((gateway.hang_up, gateway.hang_up, gateway.kill))
        self._then(random.uniform(0.5, 6.0), leaves)

        def calm() -> None:
            late.discard(gateway.name)
            gateway.start()

        self._then(max(fault.lasts_s, 7.0), calm)

    def _broker(self, fault: Fault, random: Random) -> None:
        broker = self._cluster.broker
        if not broker.up:
            return
        self._world.fault("broker", "broker", f"down {fault.lasts_s:.1f} s")
        broker.go_down()
        self._then(fault.lasts_s, broker.come_back)

    def _canary(self, fault: Fault, random: Random) -> None:
        """Let a broker that did not sync lose what it confirmed."""
        broker = self._cluster.broker
        lost = min(random.choice((1, 2, 3, 8)), len(broker.commits))
        self._world.fault("tail lost", "broker", f"{lost} commits")
        broker.go_down(lost)
        self._then(fault.lasts_s, broker.come_back)

    def _flip(self, fault: Fault, random: Random) -> None:
        """Change a number that nobody decides by in what one process has folded."""
        knowing = [
            (actor, fleet)
            for actor in self._cluster.actors
            if (fleet := fleet_of(actor)) is not None and not isinstance(actor, LedgerActor)
        ]
        if not knowing:
            return
        actor, fleet = random.choice(knowing)
        self._world.fault("flip", actor.name)
        fleet.decisions.placed_total += 1 << random.randrange(8)
        self._cluster.flipped = (actor.process, len(self._cluster.broker.commits))

    def _noise(self, fault: Fault, random: Random) -> None:
        names = random.sample(LIKELIHOODS, random.choice((1, 2, 4)))
        noise = self._world.noise
        self._world.fault("noise", "network", " ".join(names))
        for name in names:
            setattr(noise, name, random.choice((0.05, 0.2, 0.5)))
            self._then(fault.lasts_s, lambda name=name: setattr(noise, name, 0.0))  # type: ignore[misc]

    def _shrink(self, fault: Fault, random: Random) -> None:
        machine = self._agent(random).machine
        now = machine.fingerprint.allocatable
        share = random.choice((0.4, 0.7, 1.5))
        changed = replace(
            now,
            cpu_millicores=int(now.cpu_millicores * share),
            memory_mib=int(now.memory_mib * share),
        )
        machine.shrunk = machine.shrunk or share < 1
        self._world.fault("capacity", machine.name, f"{changed}")
        machine.fingerprint = replace(machine.fingerprint, capacity=changed, allocatable=changed)

    def _vanish(self, fault: Fault, random: Random) -> None:
        agent = self._agent(random)
        for_ever = random.random() < 0.5
        self._world.fault("vanish", agent.name, "for ever" if for_ever else "")
        agent.kill()
        if random.random() < 0.6 or for_ever:
            agent.machine.reboot()
        agent.away = for_ever or agent.removed
        if not for_ever:
            self._then(fault.lasts_s * 2, agent.start)

    def _disk(self, fault: Fault, random: Random) -> None:
        agent = self._agent(random)
        self._world.fault("disk", agent.name)
        agent.kill()
        agent.machine.lose_disk()
        self._then(fault.lasts_s, agent.start)

    def _join(self, fault: Fault, random: Random) -> None:
        self._joined += 1
        name = f"late-{self._joined}"
        node = Node(name, random.choice((1000, 3000)), 4096, "us-east")
        self._world.fault("join", name)
        add_agent(self._cluster, node, random.randint(-900, 900)).start()

    def _load(self, fault: Fault, random: Random) -> None:
        machine = self._agent(random).machine
        machine.load_percent = random.choice((0.0, 50.0, 95.0, 100.0))
        self._world.fault("load", machine.name, f"{machine.load_percent}")

    def _policy(self, fault: Fault, random: Random) -> None:
        self._policies += 1
        apart = Random(f"{fault.pick}/preemption")
        policy = replace(
            self._plan.policy,
            preemption_min_gap=apart.choice((0, 10, 10, 30, 60)),
            preemption_min_priority=apart.choice((60, 60, 0, 90)),
            name=f"policy-{self._policies}",
            version=self._policies,
            strategy=random.choice(sorted(STRATEGIES)),
            lost_after_ms=random.choice((15_000, 25_000)),
            heartbeat_period_ms=random.choice((2_000, 4_000)),
        )
        gateway = random.choice(self._cluster.gateways)
        self._world.fault("policy", gateway.name, policy.title)
        process = gateway.process
        if process is not None and process.alive and gateway.appender is not None:
            self._write(gateway, process, ev.PolicyActivated(policy), "policy", random)

    def _cordon(self, fault: Fault, random: Random) -> None:
        node_id = self._agent(random).machine.node_id
        self._world.fault("cordon", node_id)
        self._say(ev.NodeCordoned(node_id, "maintenance"), random)
        self._then(fault.lasts_s * 2, lambda: self._say(ev.NodeUncordoned(node_id), random))

    def _drain(self, fault: Fault, random: Random) -> None:
        """Move everything off a node, by a deadline or without one; mostly it comes back."""
        agent = self._agent(random)
        node_id, within_s = agent.machine.node_id, random.choice((0.0, 0.5, 5.0, 30.0))
        deadline_us = agent.clock.now_us() + round(within_s * 1e6) if within_s else 0
        self._world.fault("drain", node_id, f"within {within_s} s")
        self._say(ev.NodeDraining(node_id, deadline_us), random)
        if random.random() < 0.7:
            self._then(fault.lasts_s * 2, lambda: self._say(ev.NodeUncordoned(node_id), random))

    def _remove(self, fault: Fault, random: Random) -> None:
        """Take a machine away for ever, before or after its node is taken out of the fleet."""
        agent = self._agent(random)
        node_id = agent.machine.node_id
        self._world.fault("remove", agent.name, node_id)
        agent.away = agent.removed = agent.machine.shrunk = True

        def switch_off() -> None:
            agent.kill()
            agent.machine.reboot()

        self._world.later(random.choice((0.0, fault.lasts_s)), switch_off)
        self._world.later(
            random.choice((0.0, fault.lasts_s)), self._say, ev.NodeRemoved(node_id), random
        )

    def _say(self, event: ev.Event, random: Random) -> None:
        """Have a gateway write a fact about a node, as an operator asks; it may not get there."""
        gateway = random.choice(self._cluster.gateways)
        process = gateway.process
        if process is not None and process.alive and gateway.appender is not None:
            self._write(gateway, process, event, "node", random)

    def _write(
        self,
        gateway: GatewayActor,
        process: Process,
        event: ev.Event,
        aggregate: str,
        random: Random,
    ) -> None:
        envelope = EventEnvelope(
            str(UUID(int=random.getrandbits(128), version=4)),
            event,
            aggregate=aggregate,
            actor="user/admin",
            occurred_at_us=gateway.clock.now_us(),
        )
        self._world.loop.create_task(_append(gateway, envelope), context=process.context.copy())

    def _database(self, fault: Fault, random: Random) -> None:
        ledger = random.choice(self._cluster.ledgers)
        link = self._world.link(ledger.name, "database")
        self._world.fault("database", ledger.name)
        link.cut(there=True, back=True)
        self._then(fault.lasts_s, lambda: link.cut(there=False, back=False))


async def _append(gateway: GatewayActor, envelope: EventEnvelope) -> None:
    if gateway.appender is None:
        return
    try:
        await gateway.appender.append([envelope])
    except FogError as error:
        kind = type(envelope.event).__name__
        gateway.world.tell(gateway.name, f"{kind} not written: {error.reason}")


def add_agent(cluster: Cluster, node: Node, offset_ms: int) -> AgentActor:
    """Put a machine with its agent into the cluster; it does not run yet."""
    world = cluster.world
    room = Resources(node.cpu_millicores, node.memory_mib, 100, node.gpu_thousandths)
    random = world.chance(f"machine/{node.name}")
    machine = Machine(
        world,
        str(UUID(int=random.getrandbits(128), version=4)),
        node.name,
        world.clock(offset_ms * 1_000, random.uniform(0, 1e5)),
        Fingerprint(room, room, arch="x86_64", os="linux", region=node.region),
    )
    agent = AgentActor(cluster, machine)
    cluster.agents.append(agent)
    return agent
