// Runs calls of the compiled example in Node, as old code would, and prints what each did and how long it took.
// Arguments: the folder with the compiled files, and a JSON list of scenes: {url, keys, reporter, calls: [[name, ...arguments]]}.
import { pathToFileURL } from "node:url";

const [folder, scenes] = process.argv.slice(2);
const { Rollout } = await import(pathToFileURL(`${folder}/rollout.js`).href);
const { pay, saveProviders } = await import(pathToFileURL(`${folder}/checkout.js`).href);

const done = await Promise.all(
  JSON.parse(scenes).map(async ({ url, keys, reporter, options, calls }) => {
    const problems = [];
    const rollout = new Rollout({
      url,
      practiceKey: (id) => keys[id] ?? "pt_practice_none",
      reportReadsAs: reporter,
      choiceMs: 200,
      callMs: 600,
      reportEveryMs: 0,
      onProblem: (call, problem) => {
        problems.push([call, problem]);
        throw new Error("the log is broken");
      },
      ...options,
    });
    const old = {
      field: null,
      readField: async () => old.field,
      saveField: async (_, field) => void (old.field = field),
      chooseProvider: () => "paystack",
      payWith: async (code, _, reference) => `old code, ${code}, ${reference}`,
      payAtPolytill: async (_, __, reference) => `polytill, ${reference}`,
    };
    const results = [];
    for (const [name, ...given] of calls) {
      const began = performance.now();
      let result;
      if (name === "pay") result = await pay(old, rollout, ...given);
      else if (name === "saveProviders") result = await saveProviders(old, rollout, ...given);
      else result = await rollout[name](...given);
      results.push({ name, result: result ?? null, ms: performance.now() - began });
    }
    await rollout.close();
    return { results, problems };
  }),
);
process.stdout.write(`${JSON.stringify(done)}\n`, () => process.exit(0));
