"""Where measures come from: each source stands behind one small protocol and is optional to install."""

from metering_gateway.sources.base import Sink, Source, SourceError

__all__ = ["Sink", "Source", "SourceError"]
