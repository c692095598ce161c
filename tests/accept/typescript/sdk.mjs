// The official TypeScript SDK, unchanged, against `hostler serve`. Called by ../serve_typescript.py.
import Anthropic from "@anthropic-ai/sdk";
import assert from "node:assert/strict";

const client = new Anthropic({ baseURL: process.env.SERVER_URL, apiKey: process.env.SERVER_KEY, maxRetries: 0 });
const { agents, environments, sessions } = client.beta;

async function agent(tools) {
  return agents.create({ name: "tester", model: "claude-sonnet-5-5", tools });
}

async function session(tools) {
  const environment = await environments.create({ name: "plain" });
  const made = await agent(tools);
  return sessions.create({ agent: made.id, environment_id: environment.id, title: "from TypeScript" });
}

const say = (id, text) =>
  sessions.events.send(id, { events: [{ type: "user.message", content: [{ type: "text", text }] }] });

/** Follows a session until it is idle, and answers what it asks for. */
async function follow(id, answer, start) {
  const stream = await sessions.events.stream(id, { event_deltas: ["agent.message"] });
  await start();
  const seen = [];
  for await (const event of stream) {
    seen.push(event);
    if (event.type !== "session.status_idle") continue;
    if (event.stop_reason.type !== "requires_action") break;
    const asked = seen.filter((one) => event.stop_reason.event_ids.includes(one.id));
    await sessions.events.send(id, { events: asked.map(answer) });
  }
  return seen;
}

const text = (events) =>
  events.filter((event) => event.type === "agent.message").flatMap((event) => event.content).map((block) => block.text).join("");

const toolset = { type: "agent_toolset_20260401" };

async function worksInItsSandbox() {
  const made = await session([toolset]);
  assert.equal(made.status, "idle");
  const events = await follow(made.id, null, () => say(made.id, "run: echo from-the-sandbox"));
  assert.match(text(events), /from-the-sandbox/);
  assert.ok(events.some((event) => event.type === "event_delta"));
  const listed = [];
  for await (const event of sessions.events.list(made.id, { limit: 3 })) listed.push(event.id);
  const stored = events.filter((event) => event.id).map((event) => event.id);
  assert.deepEqual(listed, stored);
}

async function approvesAndAnswers() {
  const ask = { ...toolset, configs: [{ name: "bash", permission_policy: { type: "always_ask" } }] };
  const weather = {
    type: "custom", name: "get_weather", description: "The weather of a city.",
    input_schema: { type: "object", properties: { city: { type: "string" } } },
  };
  const made = await session([ask, weather]);
  const allow = (event) => ({ type: "user.tool_confirmation", tool_use_id: event.id, result: "allow" });
  const approved = await follow(made.id, allow, () => say(made.id, "run: echo approved"));
  assert.match(text(approved), /approved/);
  const sunny = (event) => ({
    type: "user.custom_tool_result", custom_tool_use_id: event.id, content: [{ type: "text", text: "sunny" }],
  });
  const answered = await follow(made.id, sunny, () => say(made.id, "weather: Ulm"));
  assert.match(text(answered), /sunny/);
}

async function errorsHaveTheirClasses() {
  await assert.rejects(sessions.retrieve("sesn_00000000000000000000000000"), Anthropic.NotFoundError);
  const made = await agent([toolset]);
  await assert.rejects(agents.update(made.id, { version: 7, name: "x" }), Anthropic.ConflictError);
  await assert.rejects(agents.create({ name: "", model: "m" }), Anthropic.BadRequestError);
  const stranger = new Anthropic({ baseURL: process.env.SERVER_URL, apiKey: "no-such-key-at-all-0000", maxRetries: 0 });
  await assert.rejects(stranger.beta.agents.retrieve(made.id), Anthropic.AuthenticationError);
}

async function resourcesGoRound() {
  const made = await agent([toolset]);
  const updated = await agents.update(made.id, { version: 1, system: "Be brief." });
  assert.equal(updated.version, 2);
  const versions = [];
  for await (const version of agents.versions.list(made.id)) versions.push(version.version);
  assert.deepEqual(versions, [2, 1]);
  const environment = await environments.create({ name: "e" });
  const first = await sessions.create({ agent: made.id, environment_id: environment.id });
  const second = await sessions.create({
    agent: { type: "agent", id: made.id, version: 1 }, environment_id: environment.id, metadata: { a: "1" },
  });
  assert.equal(second.agent.version, 1);
  const listed = [];
  for await (const one of sessions.list({ agent_id: made.id, limit: 1 })) listed.push(one.id);
  assert.deepEqual(listed, [second.id, first.id]);
  await assert.rejects(environments.delete(environment.id), Anthropic.ConflictError);
  await sessions.update(first.id, { title: "renamed" });
  assert.equal((await sessions.archive(first.id)).title, "renamed");
  for (const id of [first.id, second.id]) assert.equal((await sessions.delete(id)).type, "session_deleted");
  await environments.delete(environment.id);
}

for (const check of [worksInItsSandbox, approvesAndAnswers, errorsHaveTheirClasses, resourcesGoRound]) {
  await check();
  console.log("ok", check.name);
}
