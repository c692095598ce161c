// Sessions as resources, and the list of their events.
import Anthropic from "@anthropic-ai/sdk";
import assert from "node:assert/strict";
import { Stream, agent, all, asking, budget, environments, ids, message, refused, run, say, send, session, sessions, text, toolset, types, weather } from "./support.mjs";

async function aSessionIsMadeWithEveryField() {
  const who = await agent([weather], { system: "The agent's." });
  const where = await environments.create({ name: "plain" });
  const made = await sessions.create({
    agent: { type: "agent_with_overrides", id: who.id, version: 1, system: "The session's.", tools: [toolset] },
    environment_id: where.id, title: "A title", metadata: { a: "1" }, budget: budget(2500),
    initial_events: [message("say: first"), message("say: second")],
  });
  assert.deepEqual([made.title, made.metadata, made.budget.max_list_cost.amount], ["A title", { a: "1" }, "2500"]);
  assert.deepEqual([made.agent.system, made.agent.tools[0].type, made.status], ["The session's.", toolset.type, "running"]);
  let found;
  for (const end = Date.now() + 60_000; Date.now() < end; await new Promise((resolve) => setTimeout(resolve, 20))) {
    found = await sessions.retrieve(made.id);
    if (found.status === "idle") break;
  }
  assert.equal(found.status, "idle");
  assert.ok(found.usage.output_tokens > 0 && found.hostler.sandbox.state === "idle");
}

async function sessionsAreListedByEveryFilterBothWaysAndBack() {
  const who = await agent();
  const where = (await environments.create({ name: "plain" })).id;
  const made = [];
  for (let number = 0; number < 5; number += 1) made.push(await sessions.create({ agent: who.id, environment_id: where }));
  const oldest = ids(made);
  const newest = [...oldest].reverse();
  const listed = async (filters) => ids(await all(sessions.list({ agent_id: who.id, limit: 2, ...filters })));
  assert.deepEqual(await listed(), newest);
  assert.deepEqual(await listed({ order: "asc" }), oldest);
  assert.deepEqual(await listed({ agent_version: 1, statuses: ["idle", "running"] }), newest);
  assert.deepEqual(await listed({ agent_version: 2 }), []);
  assert.deepEqual(await listed({ statuses: ["rescheduling", "terminated"] }), []);
  const edge = made[2].created_at;
  assert.deepEqual(await listed({ "created_at[gt]": edge, order: "asc" }), oldest.slice(3));
  assert.deepEqual(await listed({ "created_at[gte]": edge, order: "asc" }), oldest.slice(2));
  assert.deepEqual(await listed({ "created_at[lt]": edge, order: "asc" }), oldest.slice(0, 2));
  assert.deepEqual(await listed({ "created_at[lte]": edge, order: "asc" }), oldest.slice(0, 3));
  assert.deepEqual(await listed({ deployment_id: "depl_1" }), []);
  assert.deepEqual(await listed({ memory_store_id: "memstore_1" }), []);
  const first = await sessions.list({ agent_id: who.id, limit: 2 });
  const second = await first.getNextPage();
  const back = await sessions.list({ agent_id: who.id, limit: 2, page: second.prev_page });
  assert.deepEqual([ids(back.data), back.prev_page, back.next_page], [ids(first.data), null, first.next_page]);
  await sessions.archive(oldest[0]);
  assert.deepEqual(await listed(), newest.slice(0, 4));
  assert.deepEqual(await listed({ include_archived: true }), newest);
  await refused(() => sessions.list({ page: first.next_page, order: "asc" }), Anthropic.BadRequestError);
}

async function aSessionIsUpdatedArchivedAndDeleted() {
  const made = await session({ budget: budget(100) });
  const stream = await Stream.of(made.id);
  const changed = await sessions.update(made.id, {
    title: "new", metadata: { a: "b" }, budget: budget(200), agent: { tools: [asking("bash"), weather] },
  });
  assert.deepEqual([changed.title, changed.metadata, changed.agent.tools.length], ["new", { a: "b" }, 2]);
  const told = (await stream.until("session.updated")).at(-1);
  assert.deepEqual([told.title, told.budget.max_list_cost.amount], ["new", "200"]);
  await say(made.id, "sleep 600 # run");
  assert.equal((await stream.idle()).at(-1).stop_reason.type, "requires_action");
  await send(made.id, { type: "user.interrupt" });
  await stream.idle();
  assert.ok((await sessions.archive(made.id)).archived_at);
  await refused(() => say(made.id, "say: late"), Anthropic.ConflictError, "session_archived");
  assert.equal((await sessions.delete(made.id)).type, "session_deleted");
  await refused(() => sessions.retrieve(made.id), Anthropic.NotFoundError, "session_not_found");
  await refused(() => session({ vault_ids: ["vlt_1"] }), Anthropic.BadRequestError);
}

async function eventsAreListed() {
  const made = await session();
  const stream = await Stream.of(made.id);
  await say(made.id, "echo one # run");
  const every = ids(await stream.idle());
  const listed = async (filters) => ids(await all(sessions.events.list(made.id, { limit: 3, ...filters })));
  assert.deepEqual(await listed(), every);
  assert.deepEqual(await listed({ order: "desc" }), [...every].reverse());
  const kinds = ["agent.message", "user.message"];
  assert.deepEqual(types(await all(sessions.events.list(made.id, { types: kinds, limit: 1 }))), ["user.message", "agent.message"]);
  const far = "2100-01-01T00:00:00Z";
  assert.deepEqual(await listed({ "created_at[lt]": far, "created_at[lte]": far }), every);
  assert.deepEqual(await listed({ "created_at[gt]": far }), []);
  assert.deepEqual(await listed({ "created_at[gte]": far }), []);
}

await run(aSessionIsMadeWithEveryField, sessionsAreListedByEveryFilterBothWaysAndBack, aSessionIsUpdatedArchivedAndDeleted, eventsAreListed);
