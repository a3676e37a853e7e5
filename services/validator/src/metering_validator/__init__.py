"""RecordResult: a Faust stream that checks sensor names, time windows and values."""
