"""Makes metrics-server, which is no pod here, known to the API server: what HPAs and `kubectl top` read."""

from base64 import b64encode
from typing import Any

from metering_cluster.daemons import METRICS_NAME, METRICS_PORT, Places

SYSTEM = "kube-system"
NAME = METRICS_NAME.partition(".")[0]


def manifests(places: Places) -> list[dict[str, Any]]:
    """A Service without a selector, its one address by hand, and the part of the API that it answers."""
    authority = b64encode((places.certificates / "ca.crt").read_bytes()).decode()
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": NAME, "namespace": SYSTEM},
            "spec": {"ports": [{"port": 443, "targetPort": METRICS_PORT}]},
        },
        {
            "apiVersion": "v1",
            "kind": "Endpoints",
            "metadata": {"name": NAME, "namespace": SYSTEM},
            "subsets": [{"addresses": [{"ip": places.network.node}], "ports": [{"port": METRICS_PORT}]}],
        },
        {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": "v1beta1.metrics.k8s.io"},
            "spec": {
                "group": "metrics.k8s.io",
                "version": "v1beta1",
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
                "caBundle": authority,
                "service": {"name": NAME, "namespace": SYSTEM},
            },
        },
    ]
