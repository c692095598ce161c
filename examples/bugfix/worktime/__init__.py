"""Working time from intervals of a day."""

from worktime.intervals import Interval, gaps, merge, total

__all__ = ["Interval", "gaps", "merge", "total"]
