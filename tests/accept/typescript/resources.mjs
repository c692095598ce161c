// Agents, environments, models: every endpoint.
import Anthropic from "@anthropic-ai/sdk";
import assert from "node:assert/strict";
import { agent, agents, all, client, environments, ids, options, refused, run, session, sessions, toolset, weather } from "./support.mjs";

async function agentsGoRound() {
  const made = await agents.create({
    name: "every field", model: { id: "claude-opus-5-5", effort: "high" }, description: "What it is for.",
    system: "Be brief.", tools: [toolset, weather], metadata: { team: "a" }, hostler: { max_turns: 40 },
  });
  assert.equal(made.version, 1);
  assert.deepEqual([made.description, made.system, made.metadata], ["What it is for.", "Be brief.", { team: "a" }]);
  assert.deepEqual([made.model.effort.type, made.hostler.max_turns], ["high", 40]);
  assert.deepEqual(await agents.retrieve(made.id), made);
  const second = await agents.update(made.id, { version: 1, name: "renamed", system: null, metadata: { team: null, b: "c" } });
  assert.deepEqual([second.version, second.name, second.system, second.metadata], [2, "renamed", null, { b: "c" }]);
  await refused(() => agents.update(made.id, { version: 1, name: "late" }), Anthropic.ConflictError, "version_conflict");
  assert.deepEqual((await all(agents.versions.list(made.id, { limit: 1 }))).map((one) => one.version), [2, 1]);
  assert.deepEqual(await agents.retrieve(made.id, { version: 1 }), made);
  const others = [await agent(), await agent()];
  const newest = [others[1].id, others[0].id, made.id];
  assert.deepEqual(ids(await all(agents.list({ limit: 2 }))), newest);
  assert.deepEqual(ids(await all(agents.list({ "created_at[gte]": others[0].created_at }))), newest.slice(0, 2));
  const archived = await agents.archive(made.id);
  assert.ok(archived.archived_at);
  assert.deepEqual(ids(await all(agents.list())), newest.slice(0, 2));
  assert.deepEqual(ids(await all(agents.list({ include_archived: true }))), newest);
  await refused(() => agents.update(made.id, { name: "x" }), Anthropic.BadRequestError, "agent_archived");
  await refused(() => agents.create({ name: "", model: "m" }), Anthropic.BadRequestError);
  await refused(() => agents.retrieve("agent_00000000000000000000000000"), Anthropic.NotFoundError, "agent_not_found");
}

async function environmentsGoRound() {
  const networking = { type: "limited", allowed_hosts: ["api.example.com"] };
  const made = await environments.create({
    name: "every field", description: "For tests.", metadata: { team: "a" }, config: { type: "cloud", networking },
    hostler: { cpus: 0.5, memory: "512M" },
  });
  assert.deepEqual([made.config.networking.allowed_hosts, made.hostler.cpus, made.hostler.memory], [["api.example.com"], 0.5, 512 << 20]);
  assert.deepEqual(await environments.retrieve(made.id), made);
  const changed = await environments.update(made.id, { name: "renamed", config: { type: "cloud", networking: { type: "unrestricted" } } });
  assert.deepEqual([changed.name, changed.config.networking.type, changed.description], ["renamed", "unrestricted", "For tests."]);
  const other = await environments.create({ name: "other" });
  assert.deepEqual(ids(await all(environments.list({ limit: 1 }))), [other.id, made.id]);
  const using = await session({ environment: made.id });
  await refused(() => environments.delete(made.id), Anthropic.ConflictError, "environment_in_use");
  assert.ok((await environments.archive(made.id)).archived_at);
  assert.deepEqual(ids(await all(environments.list())), [other.id]);
  await refused(() => session({ environment: made.id }), Anthropic.BadRequestError, "environment_archived");
  await sessions.delete(using.id);
  assert.equal((await environments.delete(made.id)).type, "environment_deleted");
  await refused(() => environments.retrieve(made.id), Anthropic.NotFoundError, "environment_not_found");
}

async function modelsAreListedAndGot() {
  const listed = ids(await all(client.models.list({ limit: 5 })));
  assert.ok(listed.includes("claude-sonnet-5-5"));
  assert.equal((await client.models.retrieve("claude-sonnet-5-5")).id, "claude-sonnet-5-5");
  await refused(() => client.models.retrieve("claude-of-tomorrow"), Anthropic.NotFoundError);
}

async function aStrangerIsTurnedAway() {
  const stranger = new Anthropic({ ...options, apiKey: "no-such-key-at-all-0000" });
  await refused(() => stranger.beta.agents.list(), Anthropic.AuthenticationError);
  await refused(() => agents.list({ workspace_id: "others" }), Anthropic.PermissionDeniedError);
}

await run(agentsGoRound, environmentsGoRound, modelsAreListedAndGot, aStrangerIsTurnedAway);
