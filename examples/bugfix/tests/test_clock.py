import unittest

from worktime import Interval
from worktime.clock import format_minutes, format_time, parse_interval, parse_time


class ClockTest(unittest.TestCase):
    def test_times_are_minutes_since_midnight(self):
        self.assertEqual(parse_time("09:30"), 570)
        self.assertEqual(parse_time(" 24:00 "), 1440)

    def test_what_is_no_time_is_refused(self):
        for text in ["", "9", "9:60", "25:00", "nine:00", "-1:00", "9:3x"]:
            with self.subTest(text), self.assertRaises(ValueError):
                parse_time(text)

    def test_an_interval_is_two_times(self):
        self.assertEqual(parse_interval("09:00-12:30"), Interval(540, 750))
        with self.assertRaises(ValueError):
            parse_interval("09:00")

    def test_times_are_printed_as_they_are_read(self):
        self.assertEqual(format_time(570), "09:30")
        self.assertEqual(format_minutes(495), "8 h 15 min")


if __name__ == "__main__":
    unittest.main()
