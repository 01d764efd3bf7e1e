/**
 * What old TypeScript code calls while practices move to polytill.
 *
 * Nothing here may stop a payment. Each call has a time limit, and whatever polytill does (no answer, a slow one, an
 * error, nonsense), the old code continues without it. Nothing here creates a payment at polytill either, so going on is
 * always safe.
 */

export type Environment = "sandbox" | "production";

/** A payment that the old code is about to take. `amount` is in minor units: 1250 is 12.50 EUR. */
export interface Payment {
  currency: string;
  amount?: number;
  paymentMethod?: string;
  environment?: Environment;
}

/** What the old code decided. `providerCode` is null if it found no provider; `reference` is its own, and unique. */
export interface Decision extends Payment {
  providerCode: string | null;
  reference: string;
}

/** Whose choice to use. `providerCode` is null if polytill has no provider for the payment. */
export type Choice =
  | { use: "legacy" }
  | { use: "polytill"; providerCode: string | null; environment: Environment | null };

/**
 * The outcome of sending a written field. `followed`: polytill has the same now. `refused`: polytill decides about this practice,
 * so the field must not be changed. `not_equal`: polytill cannot follow it, `detail` says why. `unknown`: no answer; it
 * follows later if it can read your database, otherwise send the field again.
 */
export interface Written {
  outcome: "followed" | "refused" | "not_equal" | "unknown";
  detail: string;
}

export interface Options {
  /** Where polytill is, such as https://pay.example.com */
  url: string;
  /** The key of a practice, with the scopes payments and configure. */
  practiceKey: (practiceId: number) => string | Promise<string>;
  /** The practice with whose key the reads of all practices are reported. Without it, reads are not reported. */
  reportReadsAs?: number;
  /** How long a payment may wait for polytill, in milliseconds. */
  choiceMs?: number;
  /** How long anything else may take. */
  callMs?: number;
  /** How often reads of the field are reported; 0 only by `flush`. */
  reportEveryMs?: number;
  /** For your log. It gets no key and no field. */
  onProblem?: (call: string, problem: string) => void;
  fetch?: typeof globalThis.fetch;
}

type Json = Record<string, unknown>;
type Answer = { status: number; body: unknown };

const MOST_REPORTS = 100; // decisions on their way at once; further ones are left out
const MOST_CALLERS = 199; // and one more for all others
const MOST_READS = 1_000_000_000;
const OTHERS = "(others)";
const LONGEST_ANSWER = 100_000; // characters

const isObject = (value: unknown): value is Json =>
  typeof value === "object" && value !== null && !Array.isArray(value);
const textOf = (value: unknown): string => (typeof value === "string" ? value.slice(0, 500) : "");

export class Rollout {
  readonly #options: Required<Omit<Options, "reportReadsAs">> & { reportReadsAs: number | undefined };
  readonly #reads = new Map<string, number>();
  readonly #reports = new Set<Promise<void>>();
  readonly #timer: ReturnType<typeof setInterval> | undefined;

  constructor(options: Options) {
    this.#options = {
      ...options,
      url: options.url.replace(/\/+$/, ""),
      reportReadsAs: options.reportReadsAs,
      choiceMs: options.choiceMs ?? 300,
      callMs: options.callMs ?? 5_000,
      reportEveryMs: options.reportEveryMs ?? 60_000,
      onProblem: options.onProblem ?? (() => undefined),
      fetch: options.fetch ?? globalThis.fetch,
    };
    if (this.#options.reportEveryMs > 0) {
      this.#timer = setInterval(() => void this.flush(), this.#options.reportEveryMs);
      // In Node, a timer must not keep a finished process alive.
      (this.#timer as unknown as { unref?: () => void }).unref?.();
    }
  }

  /** Ask whose choice counts for a payment. Any problem within the time limit means: the old code's. */
  async choose(practiceId: number, payment: Payment): Promise<Choice> {
    const { currency, amount, paymentMethod, environment } = payment;
    const asked = { currency, amount, paymentMethod, environment };
    const answer = await this.#practice("choice", "POST", practiceId, asked, this.#options.choiceMs);
    if (answer === null || answer.status >= 400) return { use: "legacy" };
    const { use, providerCode, environment: where } = answer.status === 200 && isObject(answer.body) ? answer.body : {};
    const isCode = providerCode === null || (typeof providerCode === "string" && providerCode !== "");
    const isEnvironment = where === null || where === "sandbox" || where === "production";
    if (use === "polytill" && isCode && isEnvironment) return { use, providerCode, environment: where };
    if (use !== "legacy") this.#say("choice", "the answer makes no sense");
    return { use: "legacy" };
  }

  /** Report a decision of the old code for comparison. Returns at once, and never throws. */
  reportDecision(practiceId: number, decision: Decision): void {
    if (this.#reports.size >= MOST_REPORTS) {
      this.#say("decisions", "too many reports are on their way; this one is left out");
      return;
    }
    const { currency, amount, paymentMethod, environment, providerCode, reference } = decision;
    const reported = { currency, amount, paymentMethod, environment, providerCode, reference };
    const report = this.#practice("decisions", "POST", practiceId, reported, this.#options.callMs).then(() => undefined);
    this.#reports.add(report);
    void report.finally(() => this.#reports.delete(report));
  }

  /** Send a practice's field after it was written to your database. Never throws. */
  async writeField(practiceId: number, paymentProviders: unknown): Promise<Written> {
    const answer = await this.#practice("field", "PUT", practiceId, { paymentProviders }, this.#options.callMs);
    const body = isObject(answer?.body) ? answer.body : {};
    if (answer?.status === 200 && body["state"] === "in_sync") return { outcome: "followed", detail: "" };
    if (answer?.status === 200 && typeof body["state"] === "string") {
      const problems = Array.isArray(body["problems"]) ? body["problems"].map(textOf) : [];
      return { outcome: "not_equal", detail: problems.join("; ") || body["state"] };
    }
    if (answer?.status === 409) return { outcome: "refused", detail: textOf(body["detail"]) };
    return { outcome: "unknown", detail: textOf(body["detail"]) };
  }

  /** Count that a part of your code has read the field. `caller` is a name in your code, such as "invoices". */
  countRead(caller: string): void {
    this.#count(nameOf(caller), 1);
  }

  /** What is kept is always a report that polytill accepts. */
  #count(name: string, reads: number): void {
    const key = this.#reads.has(name) || this.#reads.size < MOST_CALLERS ? name : OTHERS;
    this.#reads.set(key, Math.min((this.#reads.get(key) ?? 0) + reads, MOST_READS));
  }

  /** Report the counted reads, and wait for decisions that are on their way. What was not taken is reported next time. */
  async flush(): Promise<void> {
    const { reportReadsAs, callMs } = this.#options;
    if (reportReadsAs !== undefined) {
      const counted = [...this.#reads];
      this.#reads.clear();
      const reads = counted.map(([caller, count]) => ({ caller, count }));
      // An empty report says that nobody has read it.
      const answer = await this.#practice("field-reads", "POST", reportReadsAs, { reads }, callMs);
      if (answer?.status !== 204) {
        // 422: the names are not accepted. Without them, the number is not lost, and the reports go on.
        for (const [caller, count] of counted) this.#count(answer?.status === 422 ? OTHERS : caller, count);
      }
    }
    await Promise.all(this.#reports);
  }

  /** Report what is counted, and stop reporting. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.flush();
  }

  #say(call: string, problem: string): void {
    try {
      this.#options.onProblem(call, problem);
    } catch {
      // A log that fails stops no payment either.
    }
  }

  async #practice(call: string, method: string, practiceId: number, body: Json, ms: number): Promise<Answer | null> {
    const path = `/api/practices/${practiceId}/rollout/${call}`;
    return this.#call(call, method, path, () => this.#options.practiceKey(practiceId), body, ms);
  }

  /** One call. Null if there was no answer within the time limit, or not a readable one. Never throws. */
  async #call(
    call: string,
    method: string,
    path: string,
    key: () => string | Promise<string>,
    body: Json,
    ms: number,
  ): Promise<Answer | null> {
    const stop = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    // Beside the signal, because a key store or another fetch may not heed it.
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        stop.abort();
        reject(new Error("no answer in time"));
      }, ms);
    });
    try {
      const answer = await Promise.race([this.#answer(method, path, key, body, stop.signal), late]);
      if (answer.status >= 400) this.#say(call, `status ${answer.status}`);
      return answer;
    } catch (error) {
      stop.abort();
      this.#say(call, error instanceof Error ? error.message : "it failed");
      return null;
    } finally {
      clearTimeout(timer);
    }
  }

  async #answer(
    method: string,
    path: string,
    key: () => string | Promise<string>,
    body: Json,
    signal: AbortSignal,
  ): Promise<Answer> {
    const response = await this.#options.fetch(this.#options.url + path, {
      method,
      headers: { authorization: `Bearer ${await key()}`, "content-type": "application/json" },
      body: JSON.stringify(body),
      redirect: "error", // the key goes to polytill only
      signal,
    });
    const text = await limited(response, LONGEST_ANSWER, signal);
    return { status: response.status, body: parsed(text) };
  }
}

/** A caller's name as polytill accepts it: at most 100 characters, whole ones, and none that controls anything. */
function nameOf(caller: unknown): string {
  const text = typeof caller === "string" ? caller.slice(0, 200) : "";
  const clean = text.replace(/[\p{Cc}\p{Cs}]+/gu, " ").trim();
  return Array.from(clean).slice(0, 100).join("") || OTHERS;
}

/** JSON, or null for anything else: the parser's own message would quote the answer. */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return null;
  }
}

/** The text of an answer; an answer that does not end is cut off. */
async function limited(response: Response, most: number, signal: AbortSignal): Promise<string> {
  const reader = response.body?.getReader();
  if (reader === undefined) return "";
  const cancel = (): void => void reader.cancel().catch(() => undefined);
  signal.addEventListener("abort", cancel, { once: true });
  if (signal.aborted) cancel();
  const decoder = new TextDecoder();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return text + decoder.decode();
    text += decoder.decode(value, { stream: true });
    if (text.length > most) {
      cancel();
      throw new Error("the answer is too long");
    }
  }
}
