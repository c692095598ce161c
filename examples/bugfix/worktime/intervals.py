"""Intervals of minutes: merging what overlaps, and adding up what is left."""

from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Interval:
    """From a minute up to, and not including, another."""

    start: int
    end: int

    def __post_init__(self):
        if self.end < self.start:
            raise ValueError(f"an interval cannot end at {self.end} before it starts at {self.start}")

    @property
    def length(self):
        return self.end - self.start


def merge(intervals):
    """The same minutes as few intervals as possible, in order. Intervals that touch become one."""
    merged = []
    for interval in sorted(intervals):
        if interval.length == 0:
            continue
        if merged and interval.start <= merged[-1].end:
            merged[-1] = Interval(merged[-1].start, interval.end)
        else:
            merged.append(interval)
    return merged


def gaps(intervals):
    """What lies between the merged intervals."""
    merged = merge(intervals)
    return [Interval(one.end, other.start) for one, other in zip(merged, merged[1:])]


def total(intervals):
    """Minutes in at least one of the intervals: what overlaps counts once."""
    return sum(interval.length for interval in merge(intervals))
