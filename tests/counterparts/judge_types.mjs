// Judges Slack messages by the types of @slack/types, with the TypeScript compiler.
//
// Argument: the folder whose node_modules holds both. Standard input: one JSON object a line,
// {"name": ..., "message": {"text": ..., "blocks": [...], ...}}. Standard output: one line a problem. Exit code 1 if any.
//
// Each message is written into a source file as a literal, because only of a literal does the compiler refuse properties
// that the type does not have.

import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";

const HEAD = `import type { KnownBlock } from "@slack/types";
interface Message { text: string; blocks: KnownBlock[] }
`;
const OPTIONS = {
  compilerOptions: {
    strict: true, exactOptionalPropertyTypes: true, noEmit: true, skipLibCheck: true,
    module: "nodenext", target: "esnext", types: [],
  },
  files: ["messages.ts"],
};

const folder = resolve(process.argv[2]);
const cases = readFileSync(0, "utf8").split("\n").filter((line) => line.trim() !== "").map((line) => JSON.parse(line));

const lines = HEAD.trimEnd().split("\n");
/** The case whose literal holds a line of the source, by the line's number less one. */
const caseOfLine = lines.map(() => null);
cases.forEach(({ name, message }, index) => {
  // A message may be text alone. What else chat.postMessage takes is no part of these types.
  const judged = { text: message.text, blocks: message.blocks ?? [] };
  // These two end a line for the compiler, and stand unescaped in JSON: the count of lines would be off.
  const json = JSON.stringify(judged, null, 2).replaceAll("\u2028", "\\u2028").replaceAll("\u2029", "\\u2029");
  const literal = `export const message_${index}: Message = ${json};`;
  for (const line of literal.split("\n")) {
    lines.push(line);
    caseOfLine.push(name);
  }
});

const run = mkdtempSync(join(folder, "judged-"));
let output;
try {
  writeFileSync(join(run, "messages.ts"), lines.join("\n") + "\n");
  writeFileSync(join(run, "tsconfig.json"), JSON.stringify(OPTIONS));
  const compiler = join(folder, "node_modules", "typescript", "bin", "tsc");
  output = spawnSync(process.execPath, [compiler, "--project", run, "--pretty", "false"], { cwd: run, encoding: "utf8" });
} finally {
  rmSync(run, { recursive: true, force: true });
}
if (output.error) throw output.error;

const problems = [];
for (const line of output.stdout.split("\n")) {
  const found = /^messages\.ts\((\d+),\d+\): error (.*)$/.exec(line);
  if (found) {
    const at = Number(found[1]) - 1;
    // Null for the lines before the first message: the types themselves could not be found, say.
    if (caseOfLine[at] === null) throw new Error(`the compiler could not judge: ${line}`);
    problems.push(`${caseOfLine[at]}: ${found[2]} At: ${lines[at].trim()}`);
  } else if (/^\s/.test(line) && problems.length > 0) {
    // The compiler explains an error on the indented lines after it.
    problems.push(`${problems.pop()} ${line.trim()}`);
  } else if (line.trim() !== "") {
    throw new Error(`the compiler said what is about no message: ${line}`);
  }
}
if (problems.length === 0 && output.status !== 0) {
  throw new Error(`the compiler ended with ${output.status ?? output.signal} and found nothing, but said: ${output.stderr}`);
}
for (const problem of problems) console.log(problem);
process.exitCode = problems.length > 0 ? 1 : 0;
