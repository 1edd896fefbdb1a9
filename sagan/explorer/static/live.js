// The entry of the static page.

import { explore } from "sagan/explore.js";
import { NetworkEngine } from "sagan/network_engine.js";

const facts = JSON.parse(document.querySelector("#facts").textContent);
const engine = new NetworkEngine(facts);
const loading = document.querySelector("#loading");
const bar = loading.querySelector("progress");
engine.addEventListener("progress", ({ detail }) => {
  bar.value = detail.share;
});
for (const end of ["ready", "failed"]) {
  engine.addEventListener(end, () => {
    loading.hidden = true;
  });
}
explore(engine, facts);
document.documentElement.classList.add("ready");
