// Serves emulate's Slack, and nothing else of it, on a free port of 127.0.0.1, with a seeded workspace. What a test has to
// know stands on the first line of standard output, as JSON: {url, token, narrow_token, users, channels}; users and
// channels are ids by name. Each line of standard input is one question; its answer is one line of JSON:
//
//     up | down | silent    from now on calls are answered, are answered with 503, or are taken and never answered: {}
//     turned-away           how many calls found Slack down or silent since it was last up: {count}
//     channel ID            a channel's messages, the oldest first: [{text, blocks, thread_ts, ...}, ...]
//     direct USER-ID        the same of the bot's conversation with a person
//
// Ends when standard input does, so that a test run that was killed leaves nothing behind.
//
// Argument: the folder whose node_modules holds emulate.

import { Server } from "node:net";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

// emulate listens on every interface, on a port that must be known beforehand, and takes no host: put that right here.
let listening;
// What others' calls find; our own, which read messages back, are always answered.
let mode = "up";
let turnedAway = 0;
const ours = "x-asked-by-the-test";
const listen = Server.prototype.listen;
Server.prototype.listen = function () {
  const server = this;
  listening = new Promise((resolve, reject) => {
    server.once("listening", () => resolve(server.address().port));
    server.once("error", reject);
  });
  const emit = server.emit;
  server.emit = function (name, request, response) {
    if (name !== "request" || mode === "up" || request.headers[ours]) return emit.apply(server, arguments);
    turnedAway += 1;
    if (mode === "down") response.writeHead(503).end();
    return true;
  };
  return listen.call(server, { host: "127.0.0.1", port: 0 });
};

const token = "xoxb-tidewater-keytide";
const narrowToken = "xoxb-tidewater-narrow";
const adminToken = "xoxp-tidewater-admin";
const adminScopes = ["chat:write", "channels:read", "channels:manage", "channels:write", "groups:read", "groups:write", "users:read"];
const seed = {
  slack: {
    team: { name: "Tidewater", domain: "tidewater" },
    // Relaxed, it takes every token for a person of the workspace and asks for no scope.
    strict_scopes: true,
    users: ["alice", "bruno", "chiara", "dario", "keytide"].map((name) => ({ name, email: `${name}@tidewater.example` })),
    channels: [{ name: "access-keys", topic: "Every new access key" }, { name: "retired" }],
    tokens: [
      {
        token, type: "bot", user: "keytide",
        scopes: ["chat:write", "im:write", "channels:history", "groups:history", "im:history"],
      },
      { token: narrowToken, type: "bot", user: "keytide", scopes: ["users:read"] },
      { token: adminToken, type: "user", user: "admin", scopes: adminScopes },
    ],
  },
};

const { createEmulator } = await import(pathToFileURL(join(process.argv[2], "node_modules", "emulate", "dist", "api.js")));
await createEmulator({ service: "slack", seed });
const url = `http://127.0.0.1:${await listening}`;

async function call(method, body = {}, as = adminToken) {
  const response = await fetch(`${url}/api/${method}`, {
    method: "POST",
    headers: { authorization: `Bearer ${as}`, "content-type": "application/json", [ours]: "yes" },
    body: JSON.stringify(body),
  });
  const answer = await response.json();
  if (!answer.ok) throw new Error(`${method} ${JSON.stringify(body)}: ${JSON.stringify(answer)}`);
  return answer;
}

const named = (items) => Object.fromEntries(items.map(({ name, id }) => [name, id]));
// Only its makers are members of a channel made here; of a seeded one, everybody is.
await call("conversations.create", { name: "board-only", is_private: true });
const listed = await call("conversations.list", { types: "public_channel,private_channel", limit: 100 });
const channels = named(listed.channels);
await call("conversations.archive", { channel: channels.retired });
const users = named((await call("users.list", { limit: 100 })).members);

process.stdout.write(`${JSON.stringify({ url, token, narrow_token: narrowToken, users, channels })}\n`);

async function messages(channel) {
  const said = [];
  for (let cursor = ""; ; ) {
    const page = await call("conversations.history", { channel, limit: 200, ...(cursor && { cursor }) }, token);
    said.push(...page.messages);
    cursor = page.response_metadata?.next_cursor;
    if (!cursor) return said.reverse();
  }
}

function turn(to) {
  mode = to;
  if (to === "up") turnedAway = 0;
  return {};
}

const questions = {
  up: () => turn("up"),
  down: () => turn("down"),
  silent: () => turn("silent"),
  "turned-away": () => ({ count: turnedAway }),
  channel: messages,
  direct: async (user) => messages((await call("conversations.open", { users: user }, token)).channel.id),
};
for await (const line of createInterface({ input: process.stdin })) {
  const [question, subject] = line.split(" ");
  process.stdout.write(`${JSON.stringify(await questions[question](subject))}\n`);
}
process.exit(0);
