"""A log by its turns. A message stands in the log where it came, and its turn begins when it was taken."""


class Turn:
    def __init__(self, message):
        self.message, self.events = message, []

    def errors(self):
        return [event["error"] for event in self.events if event["type"] == "session.error"]

    def given_up(self):
        """Nothing is tried any more."""
        return [error for error in self.errors() if error["retry_status"]["type"] in ("exhausted", "terminal")]

    def cut(self):
        """The agent was cut in its work: more than a model request that is made again."""
        return [error for error in self.errors() if error["type"] != "model_request_failed_error"]

    def stops(self):
        return [event["stop_reason"]["type"] for event in self.events if event["type"] == "session.status_idle"]

    def begun(self):
        return any(event["type"].startswith(("session.status_running", "span.", "agent.")) for event in self.events)


def turns(log):
    """By the id of their message. What waited when a turn was given up is dropped with it: it is given that turn."""
    found, last, dropping = {}, None, None
    for event in sorted((event for event in log if event["processed_at"]), key=moment):
        if event["type"] == "user.message":
            last = found[event["id"]] = Turn(event)
        elif last:
            last.events.append(event)
    for message, turn in found.items():
        if dropping and not turn.begun():
            found[message] = dropping
        else:
            dropping = turn if any("What waited was dropped" in error["message"] for error in turn.given_up()) else None
    return found


def moment(event):
    """Fractions of a second have as many digits as they need."""
    at = event["processed_at"].removesuffix("Z")
    return at[:19], at[20:].ljust(9, "0")
