// The entry of the served page.

import { explore } from "sagan/explore.js";
import { ServerEngine } from "sagan/server.js";

const facts = JSON.parse(document.querySelector("#facts").textContent);
explore(new ServerEngine(facts.gammas), facts);
// Before the page becomes visible: a click on a tab that does not work yet would be lost.
if (document.querySelector("#training")) (await import("sagan/training.js")).initialize();
document.documentElement.classList.add("ready");
