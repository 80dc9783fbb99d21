// What pages gain where scripts run: a job followed live, drawing, previews, copying. Everything else works without.
const one = (selector) => document.querySelector(selector);

function replaced(name, html) {
  const place = document.getElementById(`part-${name}`);
  if (!place || place.dataset.html === html) return;
  const focused = place.contains(document.activeElement) ? document.activeElement.id : "";
  place.dataset.html = html;
  place.innerHTML = html;
  reveal(place);
  if (focused) document.getElementById(focused)?.focus();
}

function reveal(place) {
  for (const element of place.querySelectorAll("[data-scripted]")) element.hidden = false;
}

let spoken = 0;
function speak(text, ended) {
  // Those who listen hear the state at most every three seconds.
  if (!ended && Date.now() - spoken < 3000) return;
  spoken = Date.now();
  const place = document.getElementById("part-said");
  if (place && place.textContent !== text) place.textContent = text;
}

// What pages say where the server says nothing.
const SILENT = "The server does not answer. What stands here is what it said last; this page goes on when it is back.";
const GONE = "This job is not there any more: it was deleted. What stands here is what was known of it last.";

function warn(text) {
  const place = document.getElementById("silence");
  if (place.textContent !== text) place.textContent = text;
  place.hidden = !text;
}

function show(found) {
  if (found.gone) { location.reload(); return; }
  warn("");
  for (const [name, html] of Object.entries(found.parts)) if (name !== "said") replaced(name, html);
  const said = new DOMParser().parseFromString(found.parts.said, "text/html").body.textContent.trim();
  speak(said, found.ended);
  document.title = `${said.slice(0, 60)} · certflow`;
}

async function poll(address) {
  let found = null;
  try {
    const answer = await fetch(`${address}?once`);
    if (answer.status === 404) { warn(GONE); return; }
    if (answer.ok) found = await answer.json();
  } catch { /* nobody answers */ }
  if (found) show(found); else warn(SILENT);
  if (!found?.ended) setTimeout(() => poll(address), found ? 1000 : 3000);
}

function follow(address) {
  const events = new EventSource(address);
  events.addEventListener("change", (event) => {
    const found = JSON.parse(event.data);
    show(found);
    if (found.ended) events.close();
  });
  events.addEventListener("full", () => { events.close(); poll(address); });
  events.addEventListener("error", () => {
    warn(SILENT);
    if (events.readyState === EventSource.CLOSED) poll(address);  // refused, and not only out of reach
  });
  addEventListener("pagehide", () => events.close());
  addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });  // as it was when one left it
}

function copying() {
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
    button.textContent = "Copied";
  });
}

let previews = 0;
async function preview(form, file) {
  const mine = ++previews, place = one("#preview");
  const data = new FormData();
  data.append("file", file);
  data.append("fit", form.elements.fit.value);
  if (form.elements.invert.checked) data.append("invert", "1");
  let said = "The server does not answer.", made = null;
  try {
    const answer = await fetch(form.dataset.render, { method: "POST", body: data, headers: { Accept: "application/json" } });
    if (answer.ok) made = await answer.blob();
    const done = answer.headers.get("X-Rendered");
    said = answer.ok ? `What the model sees${done ? `: ${done}` : ""}.` : (await answer.json()).error;
  } catch { /* nobody answers */ }
  if (mine !== previews) return;  // something else was chosen meanwhile
  place.hidden = false;
  one("#preview-said").textContent = said;
  one("#preview img").hidden = !made;
  if (made) one("#preview img").src = URL.createObjectURL(made);
}

function choosing(form) {
  const input = form.elements.file, drop = one(".drop");
  const renew = () => input.files[0] && preview(form, input.files[0]);
  for (const element of [input, ...form.querySelectorAll("[name=fit], [name=invert]")]) element.addEventListener("change", renew);
  for (const kind of ["dragover", "dragleave", "drop"]) drop.addEventListener(kind, (event) => {
    event.preventDefault();
    drop.classList.toggle("over", kind === "dragover");
    if (kind === "drop" && event.dataTransfer.files.length) { input.files = event.dataTransfer.files; renew(); }
  });
  for (const radio of form.querySelectorAll("[name=from]")) radio.addEventListener("change", () => {
    if (radio.value !== "upload") { input.value = ""; one("#preview").hidden = true; }
  });
  form.querySelector("[name=number]")?.addEventListener("input", () => form.querySelectorAll("[name=index]").forEach((r) => { r.checked = false; }));
  form.querySelectorAll("[name=index]").forEach((r) => r.addEventListener("change", () => { form.elements.number.value = ""; }));
  if (one("#pad")) drawing(form, input);
}

function drawing(form, input) {
  const pad = one("#pad"), pen = pad.getContext("2d");
  const clear = () => { pen.fillStyle = "#000"; pen.fillRect(0, 0, pad.width, pad.height); pad.dataset.drawn = ""; };
  const at = (event) => [event.offsetX * pad.width / pad.clientWidth, event.offsetY * pad.height / pad.clientHeight];
  one("#tab-draw").hidden = false;
  clear();
  pad.addEventListener("pointerdown", (event) => {
    pad.setPointerCapture(event.pointerId);
    pen.strokeStyle = "#fff"; pen.lineWidth = pad.width / 9; pen.lineCap = pen.lineJoin = "round";
    pen.beginPath(); pen.moveTo(...at(event)); pen.lineTo(...at(event)); pen.stroke();
    pad.dataset.drawn = "yes";
  });
  pad.addEventListener("pointermove", (event) => { if (event.buttons) { pen.lineTo(...at(event)); pen.stroke(); } });
  one("#pad-clear").addEventListener("click", clear);
  form.addEventListener("submit", (event) => {
    const ready = form.dataset.ready;
    form.dataset.ready = "";  // for this once: whoever comes back may draw something else
    if (!one("#from-draw").checked || ready) return;
    event.preventDefault();
    if (!pad.dataset.drawn) { one("#pad-said").textContent = "Draw something first."; return; }
    pad.toBlob((blob) => {
      const files = new DataTransfer();
      files.items.add(new File([blob], "drawing.png", { type: "image/png" }));
      input.files = files.files;
      form.dataset.ready = "yes";
      form.requestSubmit();
    });
  });
}

const job = one("[data-live]"), form = one("[data-render]");
if (job) follow(job.dataset.live);
if (form) choosing(form);
copying();
reveal(document);
