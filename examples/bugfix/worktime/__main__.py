"""Prints the merged intervals of a day, the breaks between them, and their sum."""

import sys

from worktime.clock import format_minutes, format_time, parse_interval
from worktime.intervals import gaps, merge, total


def main(arguments):
    if not arguments:
        print("usage: python3 -m worktime HH:MM-HH:MM…", file=sys.stderr)
        return 2
    try:
        intervals = [parse_interval(text) for text in arguments]
    except ValueError as error:
        print(f"worktime: {error}", file=sys.stderr)
        return 2
    for interval in merge(intervals):
        print(f"work   {format_time(interval.start)}-{format_time(interval.end)}")
    for interval in gaps(intervals):
        print(f"break  {format_time(interval.start)}-{format_time(interval.end)}")
    print(f"total  {format_minutes(total(intervals))}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
