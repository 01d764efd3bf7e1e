import { Rollout, type Payment } from "./rollout.js";

/** What the old code has already: its own table, its own choice, and its own way to take a payment. */
export interface OldCode {
  readField(practiceId: number): Promise<unknown>;
  saveField(practiceId: number, field: unknown): Promise<void>;
  chooseProvider(field: unknown, payment: Payment): string | null;
  payWith(providerCode: string | null, payment: Payment, reference: string): Promise<string>;
  payAtPolytill(practiceId: number, payment: Payment, reference: string): Promise<string>;
}

export async function pay(
  old: OldCode, rollout: Rollout, practiceId: number, payment: Payment, reference: string,
): Promise<string> {
  const choice = await rollout.choose(practiceId, payment); // "legacy" if polytill does not answer in time
  if (choice.use === "polytill") return old.payAtPolytill(practiceId, payment, reference);
  rollout.countRead("checkout");
  const providerCode = old.chooseProvider(await old.readField(practiceId), payment);
  rollout.reportDecision(practiceId, { ...payment, providerCode, reference }); // does not wait
  return old.payWith(providerCode, payment, reference);
}

export async function saveProviders(
  old: OldCode, rollout: Rollout, practiceId: number, field: unknown, currency: string,
): Promise<string> {
  const { use } = await rollout.choose(practiceId, { currency });
  if (use === "polytill") return "Change the providers of this practice in polytill.";
  await old.saveField(practiceId, field);
  const { outcome, detail } = await rollout.writeField(practiceId, field);
  return outcome === "followed" ? "Saved." : `Saved. polytill does not have it yet: ${detail || outcome}.`;
}
