"""Times of day, as text and as minutes since midnight."""

from worktime.intervals import Interval

MINUTES_PER_DAY = 24 * 60


def parse_time(text):
    hours, separator, minutes = text.strip().partition(":")
    if not separator or not hours.isdigit() or not minutes.isdigit():
        raise ValueError(f"{text!r} is not a time like 09:30")
    time = int(hours) * 60 + int(minutes)
    if int(minutes) > 59 or time > MINUTES_PER_DAY:
        raise ValueError(f"{text!r} is not a time of a day")
    return time


def parse_interval(text):
    start, separator, end = text.partition("-")
    if not separator:
        raise ValueError(f"{text!r} is not an interval like 09:00-12:30")
    return Interval(parse_time(start), parse_time(end))


def format_time(time):
    return f"{time // 60:02}:{time % 60:02}"


def format_minutes(minutes):
    return f"{minutes // 60} h {minutes % 60:02} min"
