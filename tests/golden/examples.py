"""One example of every event type, every field set to something that is not its default.

An example is never changed: its bytes are in logs. A field that is added later gets an example of
its own beside the old one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from fogbank.domain import events as ev
from fogbank.domain.deployment import Constraint, DeploymentSpec, DisconnectRules, RolloutSpec
from fogbank.domain.disruption import DisruptionRules
from fogbank.domain.node import Fingerprint, Gpu, HostDetails
from fogbank.domain.observations import ReplicaObservation
from fogbank.domain.policy import (
    AskClass,
    MixedAsk,
    ObjectiveWeights,
    Policy,
    PowerModel,
    ResourceWeights,
    Ties,
)
from fogbank.domain.resources import Resources
from fogbank.domain.states import (
    ConstraintOperator,
    Health,
    ReplicaState,
    RestartPolicy,
    RuntimeKind,
    ServiceType,
)
from fogbank.domain.tenancy import MembershipRole, Quota

_DEPLOYMENT = "7a1c2f0e-5b7d-5e0a-9c3f-1d2e3f405162"
_OTHER_DEPLOYMENT = "8b2d3f1e-6c8e-5f1b-8d40-2e3f40516273"
_NODE = "0c9d8e7f-1a2b-5c3d-8e4f-506172839405"
_OTHER_NODE = "1d0e9f80-2b3c-5d4e-9f50-617283940516"
_REPLICA = "2e1f0a91-3c4d-5e5f-8a61-728394051627"
_OTHER_REPLICA = "3f201ba2-4d5e-5f60-9b72-839405162738"
_EVICTED_REPLICA = "51423dc4-6f70-5b82-9d94-a51627384950"
_OWNER = "40312cb3-5e6f-5a71-8c83-940516273849"
_INSTANT_US = 1_700_000_000_123_456

SPEC = DeploymentSpec(
    name="edge-model",
    type=ServiceType.MIXNODE,
    container_image="registry.example/edge:1.4",
    replicas=3,
    resources=Resources(1500, 2048, 20, 2000),
    region="us-west",
    priority=0,
    cluster_id=7,
    strategy="balanced",
    wait_for_capacity=True,
    constraints=(
        Constraint("arch", ConstraintOperator.EQUAL, ("arm64",)),
        Constraint("label.zone", ConstraintOperator.IN, ("a", "b")),
        Constraint("node", ConstraintOperator.NOT_EQUAL, ("fog-9",)),
        Constraint("label.ssd", ConstraintOperator.EXISTS),
    ),
    gpu_model="T4",
    restart=RestartPolicy.ON_FAILURE,
    labels={"team": "vision", "app": "edge"},
    allow_colocation=True,
)

FINGERPRINT = Fingerprint(
    capacity=Resources(8000, 16384, 500, 2000),
    allocatable=Resources(7500, 15360, 480, 1000),
    arch="arm64",
    os="linux",
    region="us-west",
    gpu_model="T4",
    labels={"zone": "a", "ssd": ""},
    runtime=RuntimeKind.CONTAINER,
    agent_version="1.2.3",
)

DETAILS = HostDetails(
    kernel_release="6.12.9-cloud",
    engine_name="podman",
    engine_version="5.4.2",
    image_disk_gib=400,
    volume_disk_gib=100,
    gpus=(Gpu("Tesla T4", 15360), Gpu("Tesla T4", 15361)),
)

POLICY = Policy(
    name="night",
    version=3,
    strategy="balanced",
    resource_weight=0.5,
    cpu_load_weight=0.125,
    memory_load_weight=0.1,
    locality_weight=0.275,
    adjacency={"us-west": ("us-central", "us-north"), "us-central": ("us-west",)},
    retry_backoff_ms=(500, 1500),
    heartbeat_period_ms=2_000,
    silent_periods=4,
    lost_after_ms=20_000,
    busy_load_percent=85,
    reschedule_delay_ms=10_000,
    reschedule_delay_max_ms=600_000,
    preemption_min_priority=70,
    preemption_min_gap=20,
    preemption_across_clusters=True,
    classes=(AskClass("large gpu", "binpack", 500, 60), AskClass("gpu", "best-fit", 1)),
    ties=Ties.HASH,
    weights=ResourceWeights(1, 2, 3, 4),
    reference=Resources(64_000, 262_144, 2_000, 4_000),
    latency_ms={"us-west": {"us-west": 1, "us-east": 61}},
    latency_half_ms=40,
    objectives=ObjectiveWeights(0.2, 0.3, 0.1, 0.15, 0.25),
    power=PowerModel(5, 90, 400),
    gpu_mix=(MixedAsk(1000, 250, 3), MixedAsk(0, 2000, 1)),
    disruption=DisruptionRules(2, 5, 60, 90_000, 3, 80, 1_800_000, 600_000, 20_000),
)

CONSIDERED = ev.Considered(
    nodes=5,
    feasible=2,
    refusals=(("status", 1), ("cpu", 2)),
    best=((_NODE, 873), (_OTHER_NODE, 401)),
)

_OUTCOMES: tuple[ev.Outcome, ...] = (
    ev.NodeOffline(_OTHER_NODE, 11 << 16 | 2, _INSTANT_US - 20_000_000),
    ev.ReplicasSuspended(_OTHER_DEPLOYMENT, (_OTHER_REPLICA,), _OTHER_NODE),
    ev.ReplicasRestored(_OTHER_DEPLOYMENT, (_OTHER_REPLICA, _REPLICA)),
    ev.ReplicasReleased(_DEPLOYMENT, (_REPLICA, _OTHER_REPLICA), "Scaled down"),
    ev.DeploymentPlaced(
        _DEPLOYMENT,
        12 << 16 | 1,
        Resources(1500, 2048, 20, 2000),
        (
            ev.Placement(_REPLICA, 1, 2, _NODE, 873, (_OTHER_REPLICA,), gpu_devices=(1, 0)),
            ev.Placement(_OTHER_REPLICA, 2, 1, _OTHER_NODE, 401, replaces=_REPLICA),
        ),
        CONSIDERED,
        evictions=(ev.Eviction(_OTHER_DEPLOYMENT, (_EVICTED_REPLICA,)),),
    ),
    ev.DeploymentDeferred(
        _OTHER_DEPLOYMENT,
        13 << 16,
        2,
        _INSTANT_US + 2_000_000,
        "Insufficient nodes: need 3, found 2 with capacity",
        CONSIDERED,
    ),
    ev.DeploymentFailed(
        _OTHER_DEPLOYMENT,
        13 << 16,
        "Insufficient nodes: need 3, found 2 with capacity",
        2,
        CONSIDERED,
    ),
    ev.DeploymentPlaced(
        _OTHER_DEPLOYMENT,
        13 << 16,
        Resources(500, 256, 1, 0),
        (ev.Placement(_REPLICA, 1, 2, _NODE, 873, (), _OTHER_REPLICA),),
        CONSIDERED,
        revision=2,
    ),
    ev.DeploymentRolledBack(_OTHER_DEPLOYMENT, 13 << 16, 3, 2, "2 replicas of revision 3 failed"),
    ev.DeploymentPlaced(
        _OTHER_DEPLOYMENT,
        13 << 16,
        Resources(500, 256, 1, 0),
        (ev.Placement(_REPLICA, 1, 2, _NODE, 873, (), _OTHER_REPLICA),),
        CONSIDERED,
        rebalance=14 << 16,
        gain=120,
    ),
    ev.RebalanceEnded(14 << 16, "no move gains 10 or more points"),
)

EXAMPLES: tuple[ev.Event, ...] = (
    ev.OrganizationCreated("Acme", _OWNER),
    ev.ClusterCreated("edge", 4, Quota(64_000, 131_072, 4_000, 8_000, 50)),
    ev.ClusterQuotaSet(7, Quota(96_000, 196_608, 6_000, 12_000, 75)),
    ev.OrganizationQuotaSet(4, Quota(128_000, 262_144, 8_000, 16_000, 100)),
    ev.MembershipSet(4, _OWNER, MembershipRole.OPERATOR),
    ev.PolicyActivated(POLICY),
    ev.DeploymentCreated(SPEC, _OWNER, "a1b2c3"),
    ev.DeploymentScaled(_DEPLOYMENT, 5),
    ev.DeploymentUpdated(
        _DEPLOYMENT,
        replace(
            SPEC,
            rollout=RolloutSpec(2, 1, 1_000, 60_000, auto_rollback=False),
            disconnect=DisconnectRules(90_000, False, 60_000),
        ),
        "d4e5f6",
        (1, 7),
    ),
    ev.DeploymentDeleted(_DEPLOYMENT),
    ev.NodeConnected(_NODE, "fog-1", FINGERPRINT),
    ev.NodeCapacityChanged(_NODE, 9 << 16 | 1, FINGERPRINT),
    ev.NodeLoadChanged(_NODE, 9 << 16 | 1, 40, 65, 17),
    ev.NodeReported(
        _NODE,
        9 << 16 | 1,
        6,
        (
            ReplicaObservation(
                _REPLICA,
                1,
                ReplicaState.FAILED,
                "0f1e2d3c",
                _INSTANT_US - 60_000_000,
                Health.UNHEALTHY,
                final=True,
                exit_code=137,
                reason="out of memory",
                observed_at_us=_INSTANT_US,
            ),
            ReplicaObservation(
                _OTHER_REPLICA,
                0,
                ReplicaState.RUNNING,
                "4b5a6978",
                _INSTANT_US - 50_000_000,
                Health.HEALTHY,
                observed_at_us=_INSTANT_US,
            ),
        ),
    ),
    ev.NodeCordoned(_NODE, "a new disk"),
    ev.NodeUncordoned(_NODE),
    ev.NodeDraining(_NODE, _INSTANT_US + 600_000_000, "disk is failing"),
    ev.NodeRemoved(_OTHER_NODE),
    ev.JoinTokenCreated(bytes(range(64, 96)), 5, _INSTANT_US + 3_600_000_000),
    ev.JoinTokenRevoked(_OTHER_NODE),
    ev.NodeJoined(_OTHER_NODE, _NODE, bytes(range(96, 128))),
    ev.NodeIdentityRevoked(_OTHER_NODE),
    ev.CopiedIdentityRefused(_NODE, 11 << 16, 14 << 16),
    ev.RebalanceRequested(100, 10, 4),
    ev.RoundDecided(
        prev_digest=bytes(range(32)),
        facts_to=42,
        instant_us=_INSTANT_US,
        policy="night@3",
        policy_digest=bytes(range(32, 64)),
        engine=1,
        limit=384,
        observations=(ev.NodeSilence(_OTHER_NODE, 11 << 16 | 2, _INSTANT_US - 20_000_000),),
        outcomes=_OUTCOMES,
        raised=(_OTHER_DEPLOYMENT,),
        state_digest=bytes(range(32)),
    ),
)

# Examples of fields that came later, by the folder that has their files.
LATER_EXAMPLES: Mapping[str, tuple[ev.Event, ...]] = {
    "details": (
        ev.NodeConnected(_NODE, "fog-1", FINGERPRINT, DETAILS),
        ev.NodeCapacityChanged(_NODE, 9 << 16 | 1, FINGERPRINT, DETAILS),
    ),
    "unobtainable": (
        ev.NodeReported(
            _NODE,
            9 << 16 | 1,
            7,
            (
                ReplicaObservation(
                    _REPLICA,
                    0,
                    ReplicaState.REJECTED,
                    final=True,
                    reason="image not found: nginx",
                    observed_at_us=_INSTANT_US,
                    unobtainable=True,
                ),
            ),
        ),
    ),
}
