"""One broker that tests may hurt, for the whole of this suite; and properties are never timed."""

from collections.abc import AsyncIterator, Iterator

import pytest
from hypothesis import settings as hypothesis_settings

from metering_common.contract import topics
from metering_local import kafka as local_kafka
from metering_local.kafka import KafkaServer
from metering_local.process import is_listening
from metering_local.testing import delete_topics, kafka_settings

hypothesis_settings.register_profile("unhurried", deadline=None)
hypothesis_settings.load_profile("unhurried")


@pytest.fixture(scope="session")
def hurt_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    with local_kafka.start(tmp_path_factory.mktemp("hurt-kafka")) as server:
        yield server


@pytest.fixture
async def hurt_kafka(hurt_broker: KafkaServer) -> AsyncIterator[KafkaServer]:
    """With all topics, empty; whatever a test did to it, the next one finds it running."""
    settings = kafka_settings(hurt_broker)
    await delete_topics(settings)
    await topics.apply(settings)
    yield hurt_broker
    hurt_broker.resume()
    if not is_listening(int(hurt_broker.bootstrap.rpartition(":")[2])):
        hurt_broker.restart()
