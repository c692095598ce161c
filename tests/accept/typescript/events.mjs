// Every event that a client sends, and every one that the server tells.
import Anthropic from "@anthropic-ai/sdk";
import assert from "node:assert/strict";
import { Stream, agents, allow, answer, asking, budget, deny, environments, message, of, refused, run, said, say, send, session, sessions, text, toolset, types, weather } from "./support.mjs";

const PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

async function aTurnIsTold() {
  const made = await session();
  const stream = await Stream.of(made.id, { event_deltas: ["agent.message", "agent.thinking"] });
  await say(made.id, "think and act");
  const events = await stream.idle();
  const start = of(events, "event_start").find((one) => one.event.type === "agent.message");
  const parts = of(events, "event_delta").filter((one) => one.event_id === start.event.id);
  const whole = events.find((one) => one.id === start.event.id);
  assert.equal(parts.map((part) => part.delta.content.text).join(""), whole.content[0].text);
  assert.equal(of(events, "agent.tool_use")[0].name, "bash");
  assert.equal(events.at(-1).stop_reason.type, "end_turn");
  await refused(() => sessions.events.stream(made.id, { event_deltas: ["agent.tool_use"] }), Anthropic.BadRequestError);
}

async function whatWaitsIsAnswered() {
  const made = await session({ tools: [asking("bash"), weather] });
  const stream = await Stream.of(made.id);
  const asked = async (words) => {
    await say(made.id, words);
    return (await stream.idle()).at(-1).stop_reason.event_ids;
  };
  await send(made.id, allow((await asked("echo approved # run"))[0]));
  assert.match(said(await stream.idle()), /approved/);
  const [call] = await asked("echo denied # run");
  await send(made.id, deny(call, "not on a Sunday"));
  assert.match(said(await stream.idle()), /not on a Sunday/);
  await refused(() => send(made.id, allow(call)), Anthropic.BadRequestError);
  const [ulm, bonn] = await asked("weather in two cities");
  await send(made.id, answer(bonn, "no such city", { is_error: true }));
  assert.deepEqual((await stream.idle()).at(-1).stop_reason.event_ids, [ulm]);
  await send(made.id, answer(ulm, "sunny"), { type: "system.message", content: [text("Temperatures are in Celsius.")] });
  assert.match(said(await stream.idle()), /In Celsius: .*sunny/s);
  await asked("echo never # run");
  await send(made.id, { type: "user.interrupt" });
  assert.equal((await stream.idle()).at(-1).stop_reason.type, "end_turn");
}

async function imagesAndDocumentsReachTheModel() {
  const made = await session();
  const stream = await Stream.of(made.id);
  const image = { type: "image", source: { type: "base64", media_type: "image/png", data: PIXEL } };
  const note = { type: "document", title: "A note", source: { type: "text", media_type: "text/plain", data: "A note." } };
  for (const [given, seen] of [[image, "an image"], [note, "a document"]]) {
    await send(made.id, message("what do you see?", given));
    assert.equal(said(await stream.idle()), `I see ${seen}.`);
  }
}

async function troubleIsTold() {
  const few = (await environments.create({ name: "few", hostler: { env: { CLAUDE_CODE_MAX_RETRIES: "1" } } })).id;
  const errors = async (words, stop, then) => {
    const made = await session({ environment: few });
    const stream = await Stream.of(made.id);
    await say(made.id, words);
    const events = await stream.idle();
    assert.equal(events.at(-1).stop_reason.type, stop, words);
    if (then) await say(made.id, then);
    if (then) await stream.idle();
    return of(events, "session.error").map(({ error }) => [error.type, error.retry_status.type]);
  };
  const exhausted = "retries_exhausted";
  const both = (type) => [[type, "retrying"], [type, "exhausted"]];
  assert.deepEqual(await errors("always overloaded", exhausted), both("model_overloaded_error"));
  assert.deepEqual(await errors("always too fast", exhausted), both("model_rate_limited_error"));
  assert.deepEqual(await errors("always broken", exhausted), both("model_request_failed_error"));
  assert.deepEqual(await errors("always unpaid", exhausted), [["billing_error", "exhausted"]]);
  assert.deepEqual(await errors("something forbidden", "refusal"), []);
  assert.deepEqual(await errors("kill -9 $PPID # run", "end_turn"), [["unknown_error", "retrying"]]);
  assert.deepEqual(await errors("fill the window", "end_turn", "say: after it"), []);
  const limited = await session({ budget: budget(1) });
  const reached = await Stream.of(limited.id);
  await say(limited.id, "expensive");
  await reached.idle();
  await say(limited.id, "say: more");
  assert.deepEqual(types(await reached.idle()).slice(-2), ["session.usage", "session.status_idle"]);
  await sessions.update(limited.id, { title: "new" });
  await reached.until("session.updated");
  await sessions.delete(limited.id);
  assert.deepEqual(types(await reached.until("session.deleted")), ["session.deleted"]);
}

async function everythingThatCanBeToldWasTold() {
  const expected = [...JSON.parse(process.env.TOLD), "event_start", "event_delta"].sort();
  assert.deepEqual([...new Set(types(Stream.seen))].sort(), expected);
}

await run(aTurnIsTold, whatWaitsIsAnswered, imagesAndDocumentsReachTheModel, troubleIsTold, everythingThatCanBeToldWasTold);
