"""Kafka's jars, fetched once per checkout, every byte of them checked before any measure goes through."""

from pathlib import Path

from metering_local.checkout import TOOLS
from metering_local.jars import fetched

KAFKA_VERSION = "4.2.0"
COORDINATES = f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}+org.slf4j:slf4j-simple:1.7.36"
CHECKSUMS = Path(__file__).with_name("kafka_jars.sha256")


def jar_folder(tools: Path = TOOLS) -> Path:
    """The folder with exactly the pinned jars; EnvironmentProblemError if they cannot be had."""
    return fetched(f"kafka-{KAFKA_VERSION}", COORDINATES, pinned(), tools)


def pinned() -> dict[str, str]:
    """SHA-256 by file name."""
    return {name: digest for digest, name in map(str.split, CHECKSUMS.read_text().splitlines())}
