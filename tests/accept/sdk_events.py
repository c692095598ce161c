"""The official Python SDK, unchanged: every event that a client sends, and every one that the server tells.

What is told is collected from all streams. In the end it must be all that the server's source has: a new type of event,
of stop reason or of error needs its check here.
"""

import base64
import pathlib
import re

from support import sdk
from support import session as sessions
from support.model import says, script, uses, when
from support.server import main
from support.session import (agent, allow, answer, asking, block, budget, custom, deny, environment, expecting, message,
                             of, one, say, send, session, text, types)

CRATES = pathlib.Path(__file__).resolve().parents[2] / "crates"
# What a host of several sessions never tells: its sessions go on, whatever happens, until they are archived.
OF_RUN_ALONE = {"session.status_terminated"}
FEW_RETRIES = {"hostler": {"env": {"CLAUDE_CODE_MAX_RETRIES": "1"}}}
STREAMS = []


def Stream(client, session_id, **more):
    STREAMS.append(sessions.Stream(client, session_id, **more))
    return STREAMS[-1]


def a_turn_is_told_in_its_order(server):
    client = server.client()
    made = session(client)
    stream = Stream(client, made.id)
    [sent] = say(client, made.id, "think and act")
    assert sent.type == "user.message" and sent.id.startswith("sevt_") and sent.processed_at is not None
    events = stream.idle()
    assert types(events) == [
        "user.message", "session.status_running",
        "span.model_request_start", "agent.thinking", "agent.message", "agent.tool_use", "span.model_request_end",
        "agent.tool_result",
        "span.model_request_start", "agent.message", "span.model_request_end",
        "session.usage", "session.status_idle"], types(events)
    assert events[0].id == sent.id and all(event.processed_at for event in events)
    assert [event.processed_at for event in events] == sorted(event.processed_at for event in events)
    use, result = one(events, "agent.tool_use"), one(events, "agent.tool_result")
    assert use.name == "bash" and use.input == {"command": "echo acted"} and use.evaluated_permission == "allow"
    assert use.evaluation.type == "always_allow", use
    assert result.tool_use_id == use.id and result.content[0].text == "acted" and not result.is_error
    starts, ends = of(events, "span.model_request_start"), of(events, "span.model_request_end")
    assert [end.model_request_start_id for end in ends] == [start.id for start in starts]
    used = one(events, "session.usage").usage
    assert sum(end.model_usage.output_tokens for end in ends) == used.output_tokens > 0
    assert sum(end.model_usage.input_tokens for end in ends) == used.input_tokens
    created = used.cache_creation.ephemeral_5m_input_tokens + used.cache_creation.ephemeral_1h_input_tokens
    assert sum(end.model_usage.cache_creation_input_tokens for end in ends) == created
    assert client.beta.sessions.retrieve(made.id).usage.output_tokens == used.output_tokens
    assert events[-1].stop_reason.type == "end_turn"


def previews_are_the_beginning_of_what_follows(server):
    import anthropic

    client = server.client()
    made = session(client)
    stream = Stream(client, made.id, event_deltas=["agent.message", "agent.thinking"])
    plain = Stream(client, made.id)
    say(client, made.id, "think and act")
    events = stream.idle()
    for kind in ("agent.thinking", "agent.message"):
        start = next(event for event in of(events, "event_start") if event.event.type == kind)
        place, end = events.index(start), [event.id for event in events if hasattr(event, "id")]
        assert start.event.id in end and not hasattr(start, "id"), "a preview announces an event and is none"
        whole = next(event for event in events if getattr(event, "id", None) == start.event.id)
        parts = [event.delta.content.text for event in of(events, "event_delta") if event.event_id == start.event.id]
        if kind == "agent.message":
            assert len(parts) > 1 and "".join(parts) == whole.content[0].text, parts
        assert place < events.index(whole)
    assert not set(types(plain.idle())) & {"event_start", "event_delta"}, "who does not ask gets none"
    listed = types(client.beta.sessions.events.list(made.id))
    assert not set(listed) & {"event_start", "event_delta"}, "previews are not listed"
    with expecting(anthropic.BadRequestError):
        client.beta.sessions.events.stream(made.id, event_deltas=["agent.tool_use"])


def a_call_is_approved_and_another_denied(server):
    import anthropic

    client = server.client()
    made = session(client, asking("bash"))
    stream = Stream(client, made.id)
    say(client, made.id, "echo approved # run")
    events = stream.idle()
    use, stop = one(events, "agent.tool_use"), events[-1].stop_reason
    assert stop.type == "requires_action" and stop.event_ids == [use.id], stop
    assert use.evaluated_permission == "ask" and use.evaluation.type == "always_ask"
    assert client.beta.sessions.retrieve(made.id).status == "idle"
    say(client, made.id, "say: this waits")
    [sent] = send(client, made.id, allow(use.id))
    assert sent.processed_at is not None and sent.result == "allow"
    events = stream.idle()
    assert "approved" in text(events) and "this waits" in text(events), text(events)
    assert types(events)[:3] == ["user.message", "user.tool_confirmation", "session.status_running"], types(events)
    with expecting(anthropic.BadRequestError):
        send(client, made.id, allow(use.id))
    say(client, made.id, "echo denied # run")
    stop = stream.idle()[-1].stop_reason
    send(client, made.id, deny(stop.event_ids[0], "not on a Sunday"))
    events = stream.idle()
    assert "not on a Sunday" in text(events) and one(events, "agent.tool_result").is_error, text(events)
    with expecting(anthropic.BadRequestError):
        send(client, made.id, deny(stop.event_ids[0], "again"))


def custom_tools_are_answered_by_the_client(server):
    client = server.client()
    made = session(client, custom())
    stream = Stream(client, made.id)
    say(client, made.id, "weather in two cities")
    events = stream.idle()
    ulm, bonn = of(events, "agent.custom_tool_use")
    assert (ulm.name, ulm.input, bonn.input) == ("get_weather", {"city": "Ulm"}, {"city": "Bonn"})
    assert events[-1].stop_reason.event_ids == [ulm.id, bonn.id]
    send(client, made.id, answer(bonn.id, "no such city", is_error=True))
    assert stream.idle()[-1].stop_reason.event_ids == [ulm.id], "one lacks"
    send(client, made.id, answer(ulm.id, "sunny, 21 degrees"),
         {"type": "system.message", "content": [block("Temperatures are in Celsius.")]})
    events = stream.idle()
    assert types(events)[:3] == ["user.custom_tool_result", "system.message", "session.status_running"], types(events)
    said = text(events)
    # What the operator adds goes before the result, whose end may be cut off.
    assert said.startswith("In Celsius: <system-reminder>\nTemperatures are in Celsius.") and "no such city" in said, said
    assert "sunny, 21 degrees" in said, said
    say(client, made.id, "weather in two cities")
    ulm, bonn = of(stream.idle(), "agent.custom_tool_use")
    send(client, made.id, {"type": "user.custom_tool_result", "custom_tool_use_id": ulm.id},
         answer(bonn.id, "fog"))
    assert "fog" in text(stream.idle())


def images_and_documents_reach_the_model(server):
    client = server.client()
    made = session(client)
    stream = Stream(client, made.id)
    pixel = base64.b64encode(PIXEL).decode()
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": pixel}}
    page = {"type": "document", "title": "A page", "context": "Of a book.",
            "source": {"type": "base64", "media_type": "application/pdf", "data": base64.b64encode(PDF).decode()}}
    note = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "A note."}}
    for given, seen in ((image, "an image"), (page, "a document"), (note, "a document")):
        [sent] = send(client, made.id, {"type": "user.message", "content": [block("what do you see?"), given]})
        assert sent.content[1].type == given["type"] and sent.content[1].source.data == given["source"]["data"]
        assert text(stream.idle()) == f"I see {seen}.", given
    say(client, made.id, "what do you see?")
    assert text(stream.idle()) == "I see nothing."
    weather = session(client, custom())
    stream = Stream(client, weather.id)
    say(client, weather.id, "weather in two cities")
    found = {"type": "search_result", "source": "https://a.example", "title": "A", "content": [block("b")]}
    send(client, weather.id, *(
        {"type": "user.custom_tool_result", "custom_tool_use_id": use.id, "content": [image, note, found]}
        for use in of(stream.idle(), "agent.custom_tool_use")))
    assert stream.idle()[-1].stop_reason.type == "end_turn"


def a_system_message_goes_with_its_message(server):
    client = server.client()
    made = session(client)
    stream = Stream(client, made.id)
    send(client, made.id, message("what is the secret?"),
         {"type": "system.message", "content": [block("The secret is 42.")]})
    events = stream.idle()
    assert text(events) == "It is 42." and len(of(events, "system.message")) == 1, text(events)


def an_interrupt_ends_the_turn_and_what_it_left_open(server):
    client = server.client()
    made = session(client)
    stream = Stream(client, made.id)
    say(client, made.id, "sleep 600 # run")
    stream.until("agent.tool_use")
    [waits] = say(client, made.id, "say: still here")
    assert waits.processed_at is None
    send(client, made.id, {"type": "user.interrupt"})
    events = stream.idle()
    assert one(events, "agent.tool_result").is_error and "still here" in text(events), types(events)
    told = next(event for event in client.beta.sessions.events.list(made.id) if event.id == waits.id)
    assert told.processed_at is not None
    send(client, made.id, {"type": "user.interrupt"})
    paused = session(client, asking("bash"))
    stream = Stream(client, paused.id)
    say(client, paused.id, "echo never # run")
    assert stream.idle()[-1].stop_reason.type == "requires_action"
    send(client, paused.id, {"type": "user.interrupt"})
    assert stream.idle()[-1].stop_reason.type == "end_turn"


def a_budget_ends_the_work(server):
    client = server.client()
    made = session(client, budget=budget(1))
    stream = Stream(client, made.id)
    say(client, made.id, "expensive")
    stream.idle()
    say(client, made.id, "say: more")
    events = stream.idle()
    assert events[-1].stop_reason.type == "budget_reached" and types(events)[-2] == "session.usage", types(events)
    told = one(events, "session.usage")
    assert told.budget.max_list_cost.amount == "1" and int(told.usage.list_cost.amount) > 1
    client.beta.sessions.update(made.id, budget=budget(100_000))
    say(client, made.id, "say: goes on")
    assert "goes on" in text(stream.idle())


def a_refusal_is_told(server):
    client = server.client()
    made = session(client)
    stream = Stream(client, made.id)
    say(client, made.id, "something forbidden")
    stop = stream.idle()[-1]
    assert stop.stop_reason.type == "refusal" and stop.stop_details.type == "refusal", stop
    say(client, made.id, "say: something else")
    assert "something else" in text(stream.idle())


def failures_of_the_model_are_told_by_their_kind(server):
    client = server.client()
    where = environment(client, extra_body=FEW_RETRIES).id
    for words, kind, retried in (("overloaded", "model_overloaded_error", True),
                                 ("too fast", "model_rate_limited_error", True),
                                 ("broken", "model_request_failed_error", True),
                                 ("refused", "model_request_failed_error", False),
                                 ("unpaid", "billing_error", False)):
        events = one_turn(client, where, f"always {words}")
        told = [(event.error.type, event.error.retry_status.type) for event in of(events, "session.error")]
        assert told == [(kind, "retrying")] * retried + [(kind, "exhausted")], (words, told)
        assert events[-1].stop_reason.type == "retries_exhausted", events[-1]
        events = one_turn(client, where, f"for a while {words}")
        told = [(event.error.type, event.error.retry_status.type) for event in of(events, "session.error")]
        assert told == [(kind, "retrying")] * retried, (words, told)
        assert events[-1].stop_reason.type == "end_turn" and text(events) == "There you are.", (words, types(events))


def one_turn(client, environment_id, words):
    made = session(client, environment_id=environment_id)
    stream = Stream(client, made.id)
    say(client, made.id, words)
    return stream.idle()


def an_answer_that_breaks_off_is_asked_for_again(server):
    client = server.client()
    events = one_turn(client, environment(client, extra_body=FEW_RETRIES).id, "break off once")
    assert text(events) == "A whole answer, word by word.", text(events)
    assert [end.is_error for end in of(events, "span.model_request_end")] == [True, None]
    assert one(events, "session.error").error.retry_status.type == "retrying"
    told = types(events)
    at = told.index("session.error")
    assert told[at - 1:at + 4] == ["span.model_request_end", "session.error", "session.status_rescheduled",
                                   "session.status_running", "span.model_request_start"], told


def an_agent_that_loops_is_stopped(server):
    client = server.client()
    made = session(client, agent=agent(client, extra_body={"hostler": {"max_turns": 3}}).id)
    stream = Stream(client, made.id)
    say(client, made.id, "loop for ever")
    events = stream.idle()
    assert len(of(events, "span.model_request_start")) == 3
    told = one(events, "session.error").error
    assert told.type == "tool_use_limit_reached_error" and told.retry_status.type == "exhausted", told
    assert events[-1].stop_reason.type == "retries_exhausted"


def a_runtime_that_dies_is_told_and_replaced(server):
    client = server.client()
    made = session(client)
    stream = Stream(client, made.id)
    say(client, made.id, "kill -9 $PPID # run")
    events = stream.idle()
    told = types(events)
    use, result = one(events, "agent.tool_use"), one(events, "agent.tool_result")
    assert result.tool_use_id == use.id and result.is_error, "the call is told as interrupted"
    error = one(events, "session.error").error
    assert (error.type, error.retry_status.type) == ("unknown_error", "retrying"), error
    assert told.index("session.error") < told.index("session.status_rescheduled"), told
    assert told[told.index("session.status_rescheduled") + 1] == "session.status_running", told
    assert "interrupted" in text(events) and events[-1].stop_reason.type == "end_turn", text(events)


def a_conversation_that_is_too_long_is_shortened(server):
    client = server.client()
    made = session(client)
    stream = Stream(client, made.id)
    say(client, made.id, "fill the window")
    stream.idle()
    say(client, made.id, "say: after it")
    events = stream.idle()
    assert "agent.thread_context_compacted" in types(events) and "after it" in text(events), types(events)


def changes_and_the_end_are_told(server):
    client = server.client()
    made = session(client)
    stream = Stream(client, made.id)
    client.beta.sessions.update(made.id, title="new", metadata={"a": "b"}, agent={"tools": []})
    told = stream.until("session.updated")[-1]
    assert told.title == "new" and told.metadata == {"a": "b"} and told.agent.tools == [] and told.budget is None
    client.beta.sessions.delete(made.id)
    assert types(stream.end()) == ["session.deleted"]


def everything_that_can_be_told_was_told(_):
    events = [event for stream in STREAMS for event in stream.seen]
    seen = set(types(events))
    expected = names(CRATES / "wire/src/event.rs", "Body") | {"event_start", "event_delta"}
    assert seen == expected - OF_RUN_ALONE, seen ^ expected
    reasons = {event.stop_reason.type for event in of(events, "session.status_idle")}
    assert reasons == names(CRATES / "wire/src/session.rs", "StopReason"), reasons
    errors = {event.error.type for event in of(events, "session.error")}
    used = re.compile(r"SessionErrorType::(\w+)")
    sources = [path for crate in ("control", "translate") for path in (CRATES / crate / "src").rglob("*.rs")]
    told = {kind for path in sources for kind in used.findall(path.read_text())}
    assert errors == {re.sub(r"(?<!^)(?=[A-Z])", "_", kind).lower() for kind in told}, errors
    retries = {event.error.retry_status.type for event in of(events, "session.error")}
    # No failure ends a session.
    assert retries == {"retrying", "exhausted"}, retries


def names(path, kind):
    """What an enum of the wire is written as."""
    [listed] = re.findall(rf"open_enum!\({kind}:(.*?)\);", path.read_text(), re.S)
    return set(re.findall(r'"([^"]+)"', listed))


def fails(words, status, error_type, **more):
    """For ever, or until the gateway and then the agent have tried again."""
    fault = {"kind": "error", "status": status, "error_type": error_type, "message": words, **more}
    gateway = 3 if status in (429, 529) else 1
    return [when(f"always {words}", [says("never")], fault=fault),
            when(f"for a while {words}", [says("There you are.")], fault={**fault, "times": gateway}
                 if error_type in ("overloaded_error", "rate_limit_error", "api_error") else None)]


PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==")
PDF = b"%PDF-1.1\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj 2 0 obj<</Type/Pages/Kids[]/Count 0>>endobj\n%%EOF\n"
WEATHER = [uses("get_weather", city="Ulm"), uses("get_weather", city="Bonn")]
SCRIPT = script(
    when("think and act", [{"thinking": "What was asked?"}, says("I act.", chunk=3), uses("Bash", command="echo acted")]),
    when("weather in two cities", WEATHER),
    when("what do you see?", [says("I see an image.")], last_user_has="image"),
    when("what do you see?", [says("I see a document.")], last_user_has="document"),
    when("what do you see?", [says("I see nothing.")]),
    when("The secret is 42", [says("It is 42.")]),
    when("expensive", [says("That was a lot.")], usage={"output_tokens": 2_000_000}),
    when("something forbidden", [says("No.")], stop_reason="refusal"),
    *fails("overloaded", 529, "overloaded_error", retry_after_seconds=0),
    *fails("too fast", 429, "rate_limit_error", retry_after_seconds=0),
    *fails("broken", 500, "api_error", retry_after_seconds=0),
    *fails("refused", 400, "invalid_request_error"),
    *fails("unpaid", 402, "billing_error"),
    when("break off once", [says("A whole answer, word by word.", chunk=3)],
         fault={"kind": "drop", "after_events": 5, "times": 1}),
    when("fill the window", [says("It is full.")], usage={"input_tokens": 990_000}),
    when("The conversation has to be shortened", [says("The window was filled.")]),
    before=[
        when("loop for ever", [uses("Bash", command="echo again")]),
        when("interrupted in the middle", [says("I was interrupted.")]),
        {"when": {"last_tool_result_contains": "Temperatures are in Celsius"},
         "reply": [says("In Celsius: {{last_tool_result}}")]},
    ])

CHECKS = [
    a_turn_is_told_in_its_order,
    previews_are_the_beginning_of_what_follows,
    a_call_is_approved_and_another_denied,
    custom_tools_are_answered_by_the_client,
    images_and_documents_reach_the_model,
    a_system_message_goes_with_its_message,
    an_interrupt_ends_the_turn_and_what_it_left_open,
    a_budget_ends_the_work,
    a_refusal_is_told,
    failures_of_the_model_are_told_by_their_kind,
    an_answer_that_breaks_off_is_asked_for_again,
    an_agent_that_loops_is_stopped,
    a_runtime_that_dies_is_told_and_replaced,
    a_conversation_that_is_too_long_is_shortened,
    changes_and_the_end_are_told,
    everything_that_can_be_told_was_told,
]

if __name__ == "__main__":
    sdk.install()
    main(CHECKS, SCRIPT)
