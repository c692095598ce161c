import unittest

from worktime import Interval, gaps, merge, total


class MergeTest(unittest.TestCase):
    def test_nothing_stays_nothing(self):
        self.assertEqual(merge([]), [])

    def test_intervals_apart_stay_apart_in_order(self):
        self.assertEqual(merge([Interval(5, 6), Interval(1, 2)]), [Interval(1, 2), Interval(5, 6)])

    def test_overlapping_intervals_become_one(self):
        self.assertEqual(merge([Interval(1, 4), Interval(3, 8)]), [Interval(1, 8)])

    def test_touching_intervals_become_one(self):
        self.assertEqual(merge([Interval(1, 4), Interval(4, 8)]), [Interval(1, 8)])

    def test_an_interval_within_another_adds_nothing(self):
        self.assertEqual(merge([Interval(1, 10), Interval(2, 3)]), [Interval(1, 10)])

    def test_empty_intervals_vanish(self):
        self.assertEqual(merge([Interval(3, 3)]), [])

    def test_an_interval_cannot_end_before_it_starts(self):
        with self.assertRaises(ValueError):
            Interval(4, 3)


class SumTest(unittest.TestCase):
    def test_what_overlaps_counts_once(self):
        self.assertEqual(total([Interval(0, 10), Interval(5, 15)]), 15)

    def test_a_short_meeting_within_a_long_day_does_not_shorten_it(self):
        self.assertEqual(total([Interval(540, 1020), Interval(600, 630)]), 480)

    def test_gaps_lie_between_the_merged_intervals(self):
        self.assertEqual(gaps([Interval(0, 3), Interval(2, 5), Interval(8, 9)]), [Interval(5, 8)])


if __name__ == "__main__":
    unittest.main()
