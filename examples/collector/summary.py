"""What all collectors together have seen, as one shared value. Declared here, used by both scripts."""

from dataclasses import dataclass

from durafold import atom


@dataclass(frozen=True)
class Summary:
    readings: int = 0
    highest_load: float = 0.0

    def with_reading(self, load: float) -> "Summary":
        return Summary(self.readings + 1, max(self.highest_load, load))


summary = atom("collectors/summary", Summary())
