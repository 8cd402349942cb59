// Puts each figure at the element of its name, every two seconds. Without it the page says what was so
// when it was loaded.
"use strict";
const EVERY = 2000, HIDDEN = 30000;
const state = document.getElementById("state");
const pause = document.getElementById("pause");
let paused = false, timer;

const say = (words) => {
  // Said again, the same words would be read out again.
  if (state.textContent !== words) state.textContent = words;
};

const put = (id, text) => {
  const at = document.getElementById(id);
  if (!at) return;
  if (at.localName === "polyline") at.setAttribute("points", text);
  else if (at.localName === "meter") at.value = Number(text);
  else if (at.textContent !== text) at.textContent = text;
};

const follow = async () => {
  clearTimeout(timer);
  try {
    const answer = await fetch("live.json", { cache: "no-store", signal: AbortSignal.timeout(10000) });
    if (!answer.ok) throw new Error(answer.status);
    const now = await answer.json();
    if (paused) return;
    for (const [id, text] of Object.entries(now)) put(id, text);
    document.body.dataset.well = now.well;
    say("Live: these numbers follow the relay.");
  } catch {
    if (paused) return;
    say("The relay does not answer: these numbers are the last that it gave.");
  }
  clearTimeout(timer);
  timer = setTimeout(follow, document.hidden ? HIDDEN : EVERY);
};

pause.addEventListener("click", () => {
  paused = !paused;
  pause.textContent = paused ? "Go on" : "Pause";
  if (!paused) return follow();
  clearTimeout(timer);
  say("Paused.");
});
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && !paused) follow();
});
pause.hidden = false;
follow();
