// What the parts share: a client, sessions that are talked to, and streams that are followed.
import Anthropic from "@anthropic-ai/sdk";
import assert from "node:assert/strict";

export const options = { baseURL: process.env.SERVER_URL, apiKey: process.env.SERVER_KEY, maxRetries: 0 };
export const client = new Anthropic(options);
export const { agents, environments, sessions } = client.beta;
export const toolset = { type: "agent_toolset_20260401" };
export const weather = {
  type: "custom", name: "get_weather", description: "The weather of a city.",
  input_schema: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
};
export const asking = (...names) => ({
  ...toolset, configs: names.map((name) => ({ name, permission_policy: { type: "always_ask" } })),
});
export const text = (words) => ({ type: "text", text: words });
export const message = (...content) => ({ type: "user.message", content: content.map((one) => (one.type ? one : text(one))) });
export const send = async (id, ...events) => (await sessions.events.send(id, { events })).data;
export const say = (id, words) => send(id, message(words));
export const allow = (id) => ({ type: "user.tool_confirmation", tool_use_id: id, result: "allow" });
export const deny = (id, why) => ({ type: "user.tool_confirmation", tool_use_id: id, result: "deny", deny_message: why });
export const answer = (id, words, more) => ({
  type: "user.custom_tool_result", custom_tool_use_id: id, content: [text(words)], ...more,
});
export const budget = (cents) => ({ type: "limit", max_list_cost: { amount: String(cents), currency: "USD" } });

export const agent = (tools = [toolset], more = {}) =>
  agents.create({ name: "tester", model: "claude-sonnet-5-5", tools, ...more });

export async function session({ tools, environment, ...more } = {}) {
  const where = environment ?? (await environments.create({ name: "plain" })).id;
  return sessions.create({ agent: (await agent(tools)).id, environment_id: where, ...more });
}

export async function all(list) {
  const found = [];
  for await (const one of list) found.push(one);
  return found;
}

export const ids = (list) => list.map((one) => one.id);
export const types = (events) => events.map((event) => event.type);
export const of = (events, type) => events.filter((event) => event.type === type);
export const said = (events) =>
  of(events, "agent.message").flatMap((event) => event.content).map((block) => block.text).join("");

/** An error of the SDK's class, with this code. */
export async function refused(call, kind, code) {
  await assert.rejects(call, (error) => {
    assert.ok(error instanceof kind, `${error}`);
    assert.match(error.requestID, /^req_/);
    if (code) assert.equal(error.error.error.details.error_code, code);
    return true;
  });
}

/** A session's stream, followed from before the first event on. */
export class Stream {
  static seen = [];

  static async of(id, query = {}) {
    const stream = new Stream();
    stream.events = (await sessions.events.stream(id, query))[Symbol.asyncIterator]();
    return stream;
  }

  /** Events up to the first of this type, or to the end. */
  async until(type) {
    const events = [];
    for (;;) {
      const { value, done } = await this.events.next();
      if (done) return events;
      events.push(value);
      Stream.seen.push(value);
      if (value.type === type) return events;
    }
  }

  idle() {
    return this.until("session.status_idle");
  }
}

export async function run(...checks) {
  for (const check of checks) {
    await check();
    console.log("ok", check.name);
  }
  process.exit(0);
}
