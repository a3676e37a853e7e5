"""What every manifest of the chart must be, as sentences about what it is not; tests hold the rendered ones to them."""

from collections.abc import Callable, Iterator

from tests.deploy.manifests import Manifest, of_kind, pods, selects, title

Policy = Callable[[list[Manifest]], Iterator[str]]


def restricted(manifests: list[Manifest]) -> Iterator[str]:
    """Pod Security "restricted", and a root file system that nobody writes to."""
    for workload, template in pods(manifests):
        pod = template["spec"]
        context = pod.get("securityContext", {})
        if context.get("runAsNonRoot") is not True or context.get("runAsUser") == 0:
            yield f"{title(workload)} may run as root"
        if context.get("seccompProfile", {}).get("type") != "RuntimeDefault":
            yield f"{title(workload)} has no seccomp profile"
        if any(pod.get(shared) for shared in ("hostNetwork", "hostPID", "hostIPC")):
            yield f"{title(workload)} shares a namespace of the node"
        if any(
            set(volume) - {"name"} not in ({"emptyDir"}, {"secret"}, {"persistentVolumeClaim"})
            for volume in pod.get("volumes", [])
        ):
            yield f"{title(workload)} mounts something else than scratch space, secrets and claims"
        for container in pod["containers"]:
            yield from _container_restricted(title(workload), container.get("securityContext", {}))


def _container_restricted(name: str, context: Manifest) -> Iterator[str]:
    if context.get("readOnlyRootFilesystem") is not True:
        yield f"{name} may write to its root file system"
    if context.get("allowPrivilegeEscalation") is not False:
        yield f"{name} may gain privileges"
    if context.get("capabilities") != {"drop": ["ALL"]}:
        yield f"{name} keeps capabilities"


def no_token(manifests: list[Manifest]) -> Iterator[str]:
    """Nothing here speaks to the API server."""
    for workload, template in pods(manifests):
        if template["spec"].get("automountServiceAccountToken") is not False:
            yield f"{title(workload)} mounts a token"
        if template["spec"].get("enableServiceLinks") is not False:
            yield f"{title(workload)} gets the variables of Services among its settings"
    for account in of_kind(manifests, "ServiceAccount"):
        if account.get("automountServiceAccountToken") is not False:
            yield f"{title(account)} gives its pods a token"
    for rule in of_kind(manifests, "Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"):
        yield f"{title(rule)} allows something at the API server"


def bounded(manifests: list[Manifest]) -> Iterator[str]:
    """Requests for the scheduler, a limit of memory for the neighbours; a limit of processor time only slows."""
    for workload, template in pods(manifests):
        for container in template["spec"]["containers"]:
            resources = container.get("resources", {})
            if not {"cpu", "memory"} <= resources.get("requests", {}).keys():
                yield f"{title(workload)} requests nothing"
            if "memory" not in resources.get("limits", {}):
                yield f"{title(workload)} has no limit of memory"


def probed(manifests: list[Manifest]) -> Iterator[str]:
    """Liveness is asked of the event loop only: a pod that waits for Kafka is healthy and not ready."""
    for workload, template in pods(manifests):
        if workload["kind"] == "Job":
            continue
        for container in template["spec"]["containers"]:
            for probe, path in (
                ("startupProbe", "/healthz"),
                ("livenessProbe", "/healthz"),
                ("readinessProbe", "/readyz"),
            ):
                if container.get(probe, {}).get("httpGet", {}).get("path") != path:
                    yield f"{title(workload)}'s {probe} does not ask {path}"
            startup = container.get("startupProbe", {})
            if startup.get("periodSeconds", 10) * startup.get("failureThreshold", 3) < 120:
                yield f"{title(workload)} may be killed while it starts"
            liveness = container.get("livenessProbe", {})
            if liveness.get("periodSeconds", 10) * liveness.get("failureThreshold", 3) < 30:
                yield f"{title(workload)} may be killed within half a minute"


def drained(manifests: list[Manifest]) -> Iterator[str]:
    """The kubelet waits longer than the service's own drain takes."""
    for workload, template in pods(manifests):
        for container in template["spec"]["containers"]:
            for variable in container.get("env", []):
                grace = template["spec"].get("terminationGracePeriodSeconds", 30)
                if variable["name"].endswith("_DRAIN_SECONDS") and grace < float(variable["value"]) + 10:
                    yield f"{title(workload)} is killed {grace} s after SIGTERM and drains for {variable['value']} s"


def budgeted(manifests: list[Manifest]) -> Iterator[str]:
    """Each workload has exactly one disruption budget, which lets a drain go on one pod at a time."""
    budgets = of_kind(manifests, "PodDisruptionBudget")
    for workload in of_kind(manifests, "Deployment", "StatefulSet"):
        labels = workload["spec"]["template"]["metadata"]["labels"]
        own = [budget["spec"] for budget in budgets if selects(budget["spec"]["selector"], labels)]
        if len(own) != 1:
            yield f"{title(workload)} has {len(own)} disruption budgets"
        elif own[0].get("maxUnavailable") != 1:
            yield f"{title(workload)} may lose more than one pod to a drain, or none"


def secrets_by_reference(manifests: list[Manifest]) -> Iterator[str]:
    """No Secret, and no password in a variable."""
    for secret in of_kind(manifests, "Secret"):
        yield f"{title(secret)} holds a secret's text"
    for workload, template in pods(manifests):
        for container in template["spec"]["containers"]:
            for variable in container.get("env", []):
                secret_name = any(word in variable["name"] for word in ("PASSWORD", "ENCRYPTION_KEY"))
                if secret_name and "secretKeyRef" not in variable.get("valueFrom", {}):
                    yield f"{title(workload)} has {variable['name']} as text"
                if "_URL" in variable["name"] and "@" in variable.get("value", "") and ":$(" not in variable["value"]:
                    yield f"{title(workload)} has a password in {variable['name']}"


def steady(manifests: list[Manifest]) -> Iterator[str]:
    """Stream stages keep their names; what is scaled by something else has no number of replicas of its own."""
    scaled = {
        (target["kind"], target["name"])
        for scaler in of_kind(manifests, "HorizontalPodAutoscaler", "ScaledObject")
        for target in [scaler["spec"]["scaleTargetRef"]]
    }
    for workload in of_kind(manifests, "Deployment", "StatefulSet"):
        if ((workload["kind"], workload["metadata"]["name"]) in scaled) == ("replicas" in workload["spec"]):
            yield f"{title(workload)}'s replicas are set twice, or not at all"
    for stage in of_kind(manifests, "StatefulSet"):
        variables = stage["spec"]["template"]["spec"]["containers"][0]["env"]
        members = [variable for variable in variables if variable["name"].endswith("_GROUP_INSTANCE_ID")]
        if [member.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath") for member in members] != [
            "metadata.name"
        ]:
            yield f"{title(stage)} is no static member of its group"


def spread(manifests: list[Manifest]) -> Iterator[str]:
    """Replicas stand on different nodes and in different zones where there are some."""
    for workload in of_kind(manifests, "Deployment", "StatefulSet"):
        template = workload["spec"]["template"]
        constraints = template["spec"].get("topologySpreadConstraints", [])
        keys = {
            constraint["topologyKey"]
            for constraint in constraints
            if selects(constraint["labelSelector"], template["metadata"]["labels"])
        }
        if keys != {"kubernetes.io/hostname", "topology.kubernetes.io/zone"}:
            yield f"{title(workload)} is spread over {sorted(keys)}"


def sane_scaling(manifests: list[Manifest]) -> Iterator[str]:
    """Bounds, and going down more slowly than up."""
    for scaler in of_kind(manifests, "HorizontalPodAutoscaler", "ScaledObject"):
        spec = scaler["spec"]
        low = spec.get("minReplicas", spec.get("minReplicaCount", 0))
        high = spec.get("maxReplicas", spec.get("maxReplicaCount", 1_000))
        if not 2 <= low <= high <= 48:
            yield f"{title(scaler)} goes from {low} to {high}"
        behavior = spec.get("behavior") or spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
        if behavior["scaleDown"].get("stabilizationWindowSeconds", 0) < 300:
            yield f"{title(scaler)} goes down at once"


POLICIES: tuple[Policy, ...] = (
    restricted, no_token, bounded, probed, drained, budgeted, secrets_by_reference, steady, spread, sane_scaling,
)  # fmt: skip
