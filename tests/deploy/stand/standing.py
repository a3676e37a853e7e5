"""A node with the project's images, and the release on it: what the tests find, and what one can look at by hand.

`python -m tests.deploy.stand.standing` brings both up, prints the environment of kubectl, helm and the platform's tools
as `export` lines, and takes all of it away again when its input ends (Ctrl-D) or it is ended itself.
"""

import os
import shlex
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from metering_cluster import node
from metering_cluster.binaries import program
from metering_cluster.node import Node
from metering_local.checkout import PROGRAMS
from tests.deploy.stand import beside, front, images
from tests.deploy.stand.locks import Locks
from tests.deploy.stand.release import NAMESPACE, Release, master_key


@contextmanager
def standing_node() -> Iterator[Node]:
    """A node that pods run on, with the project's images."""
    with node.running() as running:
        running.import_image(images.project_archive())
        yield running


@contextmanager
def standing_release(
    on: Node, folder: Path, namespace: str = NAMESPACE, locks: Locks | None = None
) -> Iterator[Release]:
    """The chart, installed and ready, against a Kafka and a PostgreSQL beside the cluster, with its dictionary."""
    with beside.running(folder, on.network, locks) as servers:
        keys = {"auth": master_key(), "ecl-poller": master_key()}
        installed = Release(on, servers, keys, folder, namespace)
        installed.prepare()
        installed.install()
        import_dictionary(installed)
        yield installed


def import_dictionary(release: Release) -> None:
    """As the chart's notes tell it."""
    file = "/opt/metering/share/sensor_dictionary.json"
    release.kubectl.run(
        "exec", "deployment/metering-auth", "--", "metering-admin", "sensor", "import", "--as", "test", file
    )


def environment(release: Release, url: str) -> dict[str, str]:
    """For a shell."""
    folders = [str(program(name).parent) for name in ("kubectl", "helm")]
    path = ":".join([*folders, str(PROGRAMS), os.environ["PATH"]])
    cluster = {"KUBECONFIG": release.kubectl.kubeconfig, "HELM_NAMESPACE": NAMESPACE, "PATH": path}
    return cluster | release.tools() | {"METERING_API_URL": url}


def main() -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with (
        tempfile.TemporaryDirectory(prefix="metering-stand-") as scratch,
        standing_node() as running,
        standing_release(running, Path(scratch)) as release,
        front.running(Path(scratch) / "front", release.address("auth"), release.address("ingest-api")) as url,
    ):
        for name, text in environment(release, url).items():
            print(f"export {name}={shlex.quote(text)}", flush=True)  # noqa: T201  it is what the command is for
        sys.stdin.read()


if __name__ == "__main__":
    main()
