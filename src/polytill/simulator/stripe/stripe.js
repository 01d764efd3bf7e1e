// A stand-in for Stripe.js: the few calls that a Payment Element takes, and test cards instead of a card form.
"use strict";

(() => {
  const base = document.currentScript.src.replace(/dahlia\/stripe\.js.*$/, "");
  const CARDS = [
    ["success", "Test card that is approved"],
    ["decline", "Test card that is declined"],
    ["bank", "Test card whose bank asks on a page of its own"],
  ];

  function fieldset(clientSecret) {
    const box = document.createElement("fieldset");
    Object.assign(box.style, { border: "1px solid currentColor", borderRadius: "10px", padding: "0.5rem 1rem", margin: "0" });
    const legend = document.createElement("legend");
    legend.textContent = "Simulated Payment Element";
    box.append(legend);
    for (const [outcome, text] of CARDS) {
      const label = document.createElement("label");
      Object.assign(label.style, { display: "flex", gap: "0.75rem", alignItems: "center", minHeight: "2.75rem" });
      const input = document.createElement("input");
      Object.assign(input, { type: "radio", name: "simulated-card", value: outcome, checked: outcome === "success" });
      label.append(input, text);
      box.append(label);
    }
    box.dataset.secret = clientSecret;
    return box;
  }

  window.Stripe = () => ({
    elements({ clientSecret }) {
      const box = fieldset(clientSecret);
      const heard = {};
      return {
        chosen: () => box.querySelector("input:checked").value,
        clientSecret,
        create: () => ({
          on: (name, act) => (heard[name] = act),
          mount(place) {
            document.querySelector(place).append(box);
            setTimeout(() => heard.ready?.());
          },
        }),
      };
    },
    async confirmPayment({ elements, confirmParams }) {
      const { clientSecret } = elements;
      const intent = clientSecret.split("_secret_")[0];
      if (elements.chosen() === "bank") {
        const query = new URLSearchParams({ client_secret: clientSecret, return_url: confirmParams.return_url });
        location.assign(`${base}pay/${intent}?${query}`);
        return new Promise(() => {});
      }
      const body = new URLSearchParams({ client_secret: clientSecret, outcome: elements.chosen() });
      const answer = await (await fetch(`${base}elements/confirm`, { method: "POST", body })).json();
      if (answer.error) return answer;
      const back = new URL(confirmParams.return_url);
      back.searchParams.set("payment_intent", intent);
      back.searchParams.set("redirect_status", "succeeded");
      location.assign(back);
      return new Promise(() => {});
    },
  });
})();
