"""What must be true of a session after every cut: what is known of it is held against its log, and against the words
that its calls have left.
"""

import datetime
import re

from model import JOB, WORD

INTERRUPTED = re.compile("interrupted|was not made")
# Events between a call that was cut and the word that it was.
NEAR = 12


def judge(log, acknowledged, unanswered, began, shown, words):
    """The promises that were not kept, in words."""
    return [*once(log), *were_acknowledged(log, acknowledged), *were_shown(log[began:], shown),
            *messages(log, acknowledged, unanswered), *calls(log), *requests(log), *in_file(log, words)]


def once(log):
    return [f"an event stands twice in the log: {id}" for id in twice(event["id"] for event in log)]


def were_acknowledged(log, acknowledged):
    logged = {event["id"]: event for event in log}
    for event in acknowledged:
        if event["id"] not in logged:
            yield f"was acknowledged and is not in the log: {event}"
        elif not same(event, logged[event["id"]]):
            yield f"was acknowledged as {event} and is in the log as {logged[event['id']]}"


def were_shown(log, shown):
    """A reader that came back has seen the log: as it is, in its order, without gaps and doubles."""
    for seen, logged in zip(shown, log):
        if seen["id"] != logged["id"]:
            yield f"was shown: {seen}, where the log has {logged}"
            return
        if not same(seen, logged):
            yield f"was shown as {seen} and is in the log as {logged}"
    if len(shown) != len(log):
        yield f"the reader has seen {len(shown)} of {len(log)} events"


def messages(log, acknowledged, unanswered):
    """None is doubled, none still waits, each is one that was sent, and each has its answer: here no turn has a reason
    to be given up."""
    said = [event for event in log if event["type"] == "user.message"]
    texts = [text(event) for event in said]
    yield from (f"a message is there twice: {text}" for text in twice(texts))
    yield from (f"a message was never acted on: {event}" for event in said if event["processed_at"] is None)
    sent = {text(event) for event in acknowledged if event["type"] == "user.message"} | set(unanswered)
    yield from (f"a message that nobody has sent: {text}" for text in texts if text not in sent)
    answers = {text(event) for event in log if event["type"] == "agent.message"}
    for error in (event["error"] for event in errors(log)):
        if error["retry_status"]["type"] != "retrying":
            yield f"a turn was given up: {error}"
    for words in texts:
        name = next(name for name in JOB.search(words).group(1, 4) if name)
        if f"done {name}" not in answers:
            yield f"{words!r} has no answer"


def calls(log):
    """Each has one result, which is good or says that it was cut; and none that asked ran without the user's word."""
    open_calls, allowed = {}, set()
    for number, event in enumerate(log):
        if event["type"] == "agent.tool_use":
            open_calls[event["id"]] = event
        elif event["type"] == "user.tool_confirmation":
            if event["tool_use_id"] in allowed:
                yield f"a call was allowed twice: {event['tool_use_id']}"
            allowed.add(event["tool_use_id"])
        elif event["type"] == "agent.tool_result":
            call = open_calls.pop(event["tool_use_id"], None)
            if call is None:
                yield f"a result of no open call: {event}"
            elif event.get("is_error") and not INTERRUPTED.search(text(event)):
                yield f"a call failed, and was not cut: {event}"
            elif event.get("is_error") and not errors(log[max(number - NEAR, 0):number + NEAR]):
                yield f"a call was cut, and no event says why: {event}"
            elif not event.get("is_error") and call["evaluated_permission"] == "ask" and call["id"] not in allowed:
                yield f"a call ran without the user's word: {call['id']}"
    yield from (f"a call has no result: {call}" for call in open_calls)


def requests(log):
    """Each span of a model request has one end, after it."""
    begun = None
    for event in log:
        if event["type"] == "span.model_request_start":
            if begun:
                yield f"a model request has no end: {begun}"
            begun = event["id"]
        elif event["type"] == "span.model_request_end":
            if event["model_request_start_id"] != begun:
                yield f"an end of a model request that is not open: {event}"
            begun = None
    if begun:
        yield f"a model request has no end: {begun}"


def in_file(log, words):
    """Each word stands there once at most and is of a call that may have run."""
    yield from (f"a call ran twice: {word}" for word in twice(words))
    results = results_of(log)
    began = {}
    for word, call in words_of(log):
        if word in began:
            yield f"the model's call is there twice: {word}"
        result = results.get(call["id"])
        began[word] = result is None or "was not made" not in text(result)
    for word in words:
        # What was being written may be there in part.
        if not any(whole.startswith(word) for whole in began):
            yield f"a word of no call in the log: {word!r}"
        elif not began.get(word, True):
            yield f"a call that is said not to have been made has left its word: {word}"


def lost(log, words):
    """The words that are gone although their calls came back well, with when they did."""
    results = results_of(log)
    for word, call in words_of(log):
        result = results.get(call["id"])
        if result and not result.get("is_error") and word not in words:
            yield word, datetime.datetime.fromisoformat(result["processed_at"]).timestamp()


def forgotten(log, asked):
    """What the model is shown of a conversation is never less than before: that is what an agent knows."""
    logged = {word for word, _ in words_of(log)}
    for before, after in zip(asked, asked[1:]):
        if missing := (before.words & logged) - after.words:
            yield (f"the agent has forgotten {len(missing)} of {len(before.words)} calls between {before.request_id} "
                   f"and {after.request_id}: {sorted(missing)[:4]}")


def words_of(log):
    for call in log:
        if call["type"] == "agent.tool_use" and (found := WORD.search(call["input"]["command"])):
            yield found[1], call


def results_of(log):
    return {event["tool_use_id"]: event for event in log if event["type"] == "agent.tool_result"}


def compare(seen, ours, sessions):
    """The model's ledger against ours: each request that it had is in ours, and ours has no answer that it did not
    give. `sessions` are the ids by the numbers that the model knows.
    """
    by_id = {asked.request_id: asked for asked in seen}
    named = [row["request_id"] for row in ours if row["request_id"]]
    yield from (f"a request is there twice: {id}" for id in twice(named))
    for row in ours:
        if row["outcome"] not in ("completed", "cut", "cut_by_upstream", "cut_by_client", "unreachable", "stopped"):
            yield f"neither completed nor cut: {row}"
        if row["request_id"] and row["request_id"] not in by_id:
            yield f"the model was never asked: {row}"
        elif row["outcome"] == "completed" and not (row["request_id"] and by_id[row["request_id"]].whole):
            yield f"completed, and not answered in full: {row}"
    # Of an answer that was cut before it began we have no name.
    nameless = [(row["session_id"], row["request_bytes"]) for row in ours if not row["request_id"]]
    for asked in seen:
        if asked.request_id not in named:
            try:
                nameless.remove((sessions[asked.session], asked.bytes))
            except ValueError:
                yield f"was asked of the model and is not in our ledger: {asked}"


def errors(log):
    return [event for event in log if event["type"] == "session.error"]


def same(seen, logged):
    """A message that waited when it was seen may have been acted on since."""
    if seen.get("processed_at") is None:
        seen = {**seen, "processed_at": logged["processed_at"]}
    return seen == logged


def text(event):
    return "".join(part.get("text", "") for part in event["content"])


def twice(items):
    seen = set()
    for item in items:
        if item in seen:
            yield item
        seen.add(item)
