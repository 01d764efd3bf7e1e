// The scripts of the checkout: refreshing the status without loading the page, and Stripe's own form.
"use strict";

function lookAgain(place) {
  setTimeout(async () => {
    try {
      const answer = await fetch(place.dataset.next, { headers: { Accept: "text/html" } });
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const found = page.querySelector("[data-state]");
      if (!found || found.dataset.state !== place.dataset.state || !found.dataset.wait) {
        location.replace(answer.url);
        return;
      }
      Object.assign(place.dataset, { wait: found.dataset.wait, next: found.dataset.next });
      lookAgain(place);
    } catch {
      lookAgain(place); // no connection just now: the same question once more
    }
  }, Number(place.dataset.wait) * 1000);
}

function stripeForm(form) {
  const box = form.querySelector("#payment-element");
  const problem = form.querySelector("[role=alert]");
  const button = form.querySelector("button");
  const label = button.textContent;
  const say = (sentence) => {
    problem.textContent = sentence;
    problem.hidden = !sentence;
  };
  if (!window.Stripe) {
    box.hidden = true;
    say(form.dataset.notLoaded);
    return;
  }
  const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const stripe = window.Stripe(form.dataset.key);
  const elements = stripe.elements({
    clientSecret: form.dataset.secret,
    locale: document.documentElement.lang === "fr" ? "fr" : "en", // Stripe has no Swahili
    appearance: {
      theme: matchMedia("(prefers-color-scheme: dark)").matches ? "night" : "stripe",
      variables: {
        colorPrimary: color("--accent"), colorText: color("--ink"), colorBackground: color("--paper"),
        colorDanger: color("--bad"), borderRadius: "10px",
      },
    },
  });
  const element = elements.create("payment");
  element.on("ready", () => {
    box.setAttribute("aria-busy", "false");
    button.disabled = false;
  });
  element.on("loaderror", () => say(form.dataset.notLoaded));
  box.replaceChildren();
  element.mount("#payment-element");
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (button.disabled) return;
    button.disabled = true;
    button.textContent = form.dataset.sending;
    say("");
    const back = new URL(form.dataset.return, location.href).href;
    // On success Stripe redirects the browser to the return page; only a rejection returns here.
    const { error } = await stripe.confirmPayment({ elements, confirmParams: { return_url: back } });
    say(error?.message ?? form.dataset.notLoaded);
    button.disabled = false;
    button.textContent = label;
  });
}

const waiting = document.querySelector("[data-wait]");
if (waiting) lookAgain(waiting);
const form = document.querySelector("#element-form");
// The provider's script loads beside ours: after the load event it is either available or has failed.
if (form) {
  const box = form.querySelector("#payment-element");
  box.textContent = box.dataset.loading;
  addEventListener("load", () => stripeForm(form));
}
