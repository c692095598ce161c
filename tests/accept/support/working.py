"""Threads that work beside a test, and whose errors are the test's."""

import threading


class Working:
    """What is begun ends with the block, which fails if any of it has."""

    def __init__(self):
        self.over, self.threads, self.failed = threading.Event(), [], []

    def __enter__(self):
        return self

    def begin(self, work, *given):
        """Calls it until it is over."""
        self.threads.append(threading.Thread(target=self.work, args=[work, *given]))
        self.threads[-1].start()

    def work(self, work, *given):
        try:
            while not self.over.is_set():
                work(*given)
        except Exception as error:
            self.failed.append(error)

    def __exit__(self, kind, *_):
        self.over.set()
        for thread in self.threads:
            thread.join()
        if self.failed and not kind:
            raise AssertionError(f"{len(self.failed)} threads failed, the first one so: {self.failed[0]!r}") from self.failed[0]
