"use strict";
const DATA = JSON.parse(document.getElementById("data").textContent);
const { names, runs, notes, comparison } = DATA;
const first = runs[0];
const RIGHT = "right answers";
const SHOWN = 200;
const byId = (id) => document.getElementById(id);
const colour = (i) => `var(--run${i % 6})`;

// Elements are made of text nodes: nothing of a run is ever read as HTML.
function el(tag, attributes = {}, ...children) {
  const svg = ["svg", "g", "rect", "line", "circle", "path", "text", "title"].includes(tag);
  const node = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "onclick") node.addEventListener("click", value);
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== ""));
  return node;
}
const number = (value, digits = 3) => (value === null || value === undefined ? "–" : value.toFixed(digits));
const signed = (value) => (value >= 0 ? "+" : "−") + Math.abs(value).toFixed(3);
const percent = (value) => (value === null || value === undefined ? "–" : `${(100 * value).toFixed(0)}\u202f%`);
const ms = (value) => (value >= 1000 ? `${(value / 1000).toFixed(1)} s` : `${value.toFixed(value < 10 ? 1 : 0)} ms`);

function header() {
  const { dataset, settings, measured } = first;
  const failed = runs.map((run) => run.errors + run.timeouts);
  byId("head").append(
    el("h1", {}, `Footnote evals: ${dataset.name}`),
    el("p", { class: "facts" },
      `${first.questions.length} questions over ${Object.keys(dataset.files).length} files, ` +
      `digest ${dataset.digest.slice(0, 12)}. ` +
      runs.map((run, i) => `${names[i]}: ${run.settings.models.join(", ") || "search only"}` +
        (run.settings.prompts.length ? `, prompt ${run.settings.prompts.join(", ")}` : "") +
        (failed[i] ? `, ${run.errors} errors and ${run.timeouts} time-outs not counted` : "")).join(". ") + "."),
  );
  byId("foot").append(
    el("p", {}, [measured.at && `Made ${measured.at}`, measured.commit && `commit ${measured.commit.slice(0, 12)}`,
      `seed ${settings.seed}`, measured.machine && `${measured.machine.processor}, ${measured.machine.cores} cores, ` +
      `Python ${measured.machine.python}`].filter(Boolean).join(" · ")),
  );
}

function legend() {
  if (runs.length < 2) return;
  for (const box of document.querySelectorAll(".legend")) {
    names.forEach((name, i) => box.append(el("span", {}, el("i", { style: `background:${colour(i)}` }), name)));
  }
}

function tiles() {
  const wanted = [RIGHT, "recall@5", "false refusals", "right abstentions", "citation validity", "citation precision"];
  for (const name of wanted.filter((name) => first.metrics[name])) {
    const low = first.metrics[name].low;
    byId("tiles").append(el("div", { class: runs.length > 1 ? "tile several" : "tile" }, el("span", {}, name),
      runs.map((run, i) => el("b", runs.length > 1 ? { style: `color:${colour(i)}` } : {}, percent(run.metrics[name]?.value))),
      runs.length === 1 && low !== null ? el("small", {}, `${percent(low)} to ${percent(first.metrics[name].high)}`) : null));
  }
  const stage = first.measured.latency.ask ? "ask" : "search";
  if (first.measured.latency[stage]) {
    byId("tiles").append(el("div", { class: runs.length > 1 ? "tile several" : "tile" }, el("span", {}, `${stage}, median`),
      runs.map((run, i) => el("b", runs.length > 1 ? { style: `color:${colour(i)}` } : {},
        run.measured.latency[stage] ? ms(run.measured.latency[stage].p50_ms) : "–"))));
  }
}

function verdicts() {
  byId("verdicts").hidden = !comparison.length;
  for (const row of comparison) {
    const word = row.verdict.word;
    byId("verdicts").append(el("div", { class: `verdict ${word.split(" ")[0]}` },
      el("b", {}, `${row.name} against ${names[0]}: ${word}`), el("small", {}, row.verdict.reason +
        (row.verdict.left_out ? `. ${row.verdict.left_out} questions left out because of errors` : ""))));
  }
}

const width = (box) => Math.max(280, box.clientWidth);
function canvas(box, height) {
  const w = width(box);
  const svg = el("svg", { viewBox: `0 0 ${w} ${height}`, width: w, height, role: "img" });
  box.replaceChildren(svg);
  return [svg, w];
}

function metricBars() {
  const box = byId("metrics");
  const rows = Object.keys(first.metrics).filter((name) => runs.some((run) => run.metrics[name]?.value != null));
  const bar = runs.length > 1 ? 11 : 12, gap = 9, rowHeight = bar * runs.length + gap;
  const height = rows.length * rowHeight + 26;
  const [svg, w] = canvas(box, height);
  const narrow = w < 520, left = narrow ? 170 : 190, right = w - (narrow ? 44 : 150);
  const x = (value) => left + (right - left) * Math.min(1, Math.max(0, value));
  for (const tick of [0, 0.25, 0.5, 0.75, 1]) {
    svg.append(el("line", { x1: x(tick), x2: x(tick), y1: 0, y2: height - 20, class: "axis" }),
      el("text", { x: x(tick), y: height - 6, "text-anchor": "middle", class: "soft" }, String(tick)));
  }
  rows.forEach((name, r) => {
    const top = r * rowHeight + 4, less = runs.find((run) => run.metrics[name])?.metrics[name].more_is_better === false;
    svg.append(el("text", { x: left - 8, y: top + (bar * runs.length) / 2 + 4, "text-anchor": "end" }, name + (less ? " ↓" : "")));
    runs.forEach((run, i) => {
      const metric = run.metrics[name];
      if (!metric || metric.value === null) return;
      const y = top + i * bar, mid = y + bar / 2;
      const bounds = metric.low === null ? "" : ` (${number(metric.low)} to ${number(metric.high)})`;
      svg.append(el("rect", { x: left, y: y + 1, width: Math.max(1, x(metric.value) - left), height: bar - 2, rx: 2, fill: colour(i), opacity: 0.75 },
        el("title", {}, `${names[i]}: ${name} ${number(metric.value)}${bounds}, n ${metric.n}`)));
      if (metric.low !== null) {
        svg.append(el("line", { x1: x(metric.low), x2: x(metric.high), y1: mid, y2: mid, stroke: "var(--ink)", "stroke-width": 1.5 }));
        for (const end of [metric.low, metric.high]) {
          svg.append(el("line", { x1: x(end), x2: x(end), y1: mid - 3.5, y2: mid + 3.5, stroke: "var(--ink)", "stroke-width": 1.5 }));
        }
      }
      if (runs.length === 1 || !narrow) {
        svg.append(el("text", { x: right + 8, y: mid + 4, class: runs.length > 1 ? "soft small" : "soft" }, narrow || runs.length > 1 ? number(metric.value) : `${number(metric.value)}  n ${metric.n}`));
      }
    });
  });
}

function differenceBars() {
  byId("differences").hidden = !comparison.length;
  if (!comparison.length) return;
  const box = byId("differences").querySelector(".chart");
  const rows = comparison[0].differences.map((one) => one.name);
  const each = comparison.length, rowHeight = 14 * each + 10, height = rows.length * rowHeight + 26;
  const [svg, w] = canvas(box, height);
  const narrow = w < 520, left = narrow ? 170 : 190, right = w - (narrow ? 10 : 220);
  const all = comparison.flatMap((row) => row.differences.flatMap((one) => [one.low, one.high, one.difference]));
  const bound = Math.max(0.05, ...all.map(Math.abs)) * 1.05;
  const x = (value) => left + ((right - left) * (value + bound)) / (2 * bound);
  svg.append(el("line", { x1: x(0), x2: x(0), y1: 0, y2: height - 20, stroke: "var(--soft)" }));
  for (const tick of [-bound / 1.05, 0, bound / 1.05]) {
    svg.append(el("text", { x: x(tick), y: height - 6, "text-anchor": "middle", class: "soft" }, tick ? signed(tick).slice(0, -1) : "0"));
  }
  rows.forEach((name, r) => {
    const top = r * rowHeight + 6;
    svg.append(el("text", { x: left - 8, y: top + 7 * each + 4, "text-anchor": "end" },
      name + (comparison[0].differences[r].more_is_better ? "" : " ↓")));
    comparison.forEach((row, i) => {
      const one = row.differences.find((other) => other.name === name);
      if (!one) return;
      const y = top + 14 * i + 7, shown = one.verdict === "better" || one.verdict === "worse";
      const ink = one.verdict === "better" ? "var(--good)" : one.verdict === "worse" ? "var(--bad)" : "var(--quiet)";
      svg.append(el("line", { x1: x(one.low), x2: x(one.high), y1: y, y2: y, stroke: ink, "stroke-width": 2 }),
        el("circle", { cx: x(one.difference), cy: y, r: 4.5, stroke: ink, "stroke-width": 2, fill: shown ? ink : "var(--card)" },
          el("title", {}, `${row.name}: ${one.name} ${signed(one.difference)} (${signed(one.low)} to ${signed(one.high)}), p ${number(one.p)}`)));
      if (!narrow) {
        svg.append(el("text", { x: right + 12, y: y + 4, class: "soft" },
          `${signed(one.difference)}  p ${number(one.p)}  ` + (shown ? one.verdict : "no evidence")));
      }
    });
  });
}

function latencyChart() {
  const stage = runs.some((run) => run.measured.latency.ask) ? "ask" : "search";
  const values = runs.map((run) => Object.values(run.measured.milliseconds || {}).map((row) => row[stage]).filter((v) => v > 0));
  const all = values.flat();
  const table = el("table", {}, el("tr", {}, el("th", {}, "stage"), runs.length > 1 ? el("th", {}, "run") : "",
    ["p50", "p95", "p99", "max"].map((name) => el("th", { class: "number" }, name))));
  for (const name of Object.keys(first.measured.latency)) {
    runs.forEach((run, i) => {
      const spread = run.measured.latency[name];
      if (spread) table.append(el("tr", {}, el("td", {}, name), runs.length > 1 ? el("td", {}, names[i]) : "",
        ["p50_ms", "p95_ms", "p99_ms", "max_ms"].map((key) => el("td", { class: "number" }, ms(spread[key])))));
    });
  }
  byId("stages").replaceChildren(table);
  if (!all.length) { byId("latency").replaceChildren(el("p", { class: "empty" }, "The single durations are not in this file.")); return; }
  const low = Math.floor(Math.log10(Math.min(...all)) * 4) / 4, high = Math.max(low + 0.5, Math.ceil(Math.log10(Math.max(...all)) * 4) / 4);
  const bins = Math.min(28, Math.max(8, Math.round((high - low) * 12)));
  const counts = values.map((list) => {
    const found = new Array(bins).fill(0);
    for (const v of list) found[Math.min(bins - 1, Math.floor(((Math.log10(v) - low) / (high - low)) * bins))] += 1;
    return found;
  });
  const top = Math.max(...counts.flat());
  const height = 190, [svg, w] = canvas(byId("latency"), height);
  const x = (log) => 8 + ((w - 16) * (log - low)) / (high - low), y = (count) => height - 26 - ((height - 52) * count) / top;
  counts.forEach((found, i) => found.forEach((count, b) => {
    if (!count) return;
    const start = x(low + ((high - low) * b) / bins), end = x(low + ((high - low) * (b + 1)) / bins), each = (end - start) / runs.length;
    svg.append(el("rect", { x: start + each * i + 0.5, y: y(count), width: Math.max(1, each - 1), height: height - 26 - y(count), fill: colour(i), opacity: 0.75 },
      el("title", {}, `${names[i]}: ${count} questions`)));
  }));
  svg.append(el("line", { x1: 8, x2: w - 8, y1: height - 26, y2: height - 26, class: "axis" }));
  let last = -100;
  for (let power = Math.floor(low); power <= high; power += 1) {
    for (const step of [1, 2, 5]) {
      const value = step * 10 ** power, at = x(Math.log10(value));
      if (at < 8 || at > w - 20 || at - last < 54) continue;
      last = at;
      svg.append(el("text", { x: at, y: height - 10, "text-anchor": "middle", class: "soft" }, ms(value)));
    }
  }
  runs.forEach((run, i) => {
    for (const key of runs.length > 1 ? ["p50_ms"] : ["p50_ms", "p95_ms"]) {
      const value = run.measured.latency[stage]?.[key];
      if (!value) continue;
      const at = x(Math.log10(value)), line = 12 + 12 * i;
      svg.append(el("line", { x1: at, x2: at, y1: line + 3, y2: height - 26, stroke: colour(i), "stroke-dasharray": "3 3" }));
      if (runs.length === 1) svg.append(el("text", { x: Math.min(at + 3, w - 70), y: line, class: "soft" }, `${key.slice(0, 3)} ${ms(value)}`));
    }
  });
}

function riskChart() {
  const box = byId("risk");
  if (!runs.some((run) => run.risk_coverage.length)) { byId("risk-card").hidden = true; return; }
  const height = 260, [svg, w] = canvas(box, height);
  const highest = Math.ceil(5 * Math.max(0.1, ...runs.flatMap((run) => run.risk_coverage.map((point) => point[1])))) / 5;
  const x = (value) => 44 + (w - 70) * value, y = (value) => height - 36 - (height - 52) * (value / highest);
  for (const part of [0, 0.25, 0.5, 0.75, 1]) {
    svg.append(el("text", { x: x(part), y: height - 18, "text-anchor": "middle", class: "soft" }, percent(part)),
      el("line", { x1: x(0), x2: x(1), y1: y(part * highest), y2: y(part * highest), class: "axis" }),
      el("text", { x: 38, y: y(part * highest) + 4, "text-anchor": "end", class: "soft" }, percent(part * highest)));
  }
  svg.append(el("text", { x: x(0.5), y: height - 3, "text-anchor": "middle", class: "soft" }, "questions answered"));
  runs.forEach((run, i) => {
    const points = run.risk_coverage;
    if (!points.length) return;
    const path = points.map(([coverage, risk], p) => `${p ? "L" : "M"}${x(coverage).toFixed(1)} ${y(risk).toFixed(1)}`).join("");
    const [coverage, risk] = points[points.length - 1];
    svg.append(el("path", { d: path, fill: "none", stroke: colour(i), "stroke-width": 2.2 }),
      el("circle", { cx: x(coverage), cy: y(risk), r: 4.5, fill: colour(i) }, el("title", {}, `${names[i]} as it is: ${percent(coverage)} answered, ${percent(risk)} of them not right`)));
  });
}

function robustness() {
  const rows = runs.flatMap((run, i) => Object.entries(run.robustness || {}).map(([name, condition]) => [i, name, condition]));
  if (!rows.length) return;
  byId("robustness").hidden = false;
  const several = runs.length > 1;
  const figures = [...new Set(rows.flatMap(([, , condition]) => (condition.differences || []).map((one) => one.name)))];
  const table = el("table", {}, el("tr", {}, ["condition", several && "run", "n"].filter(Boolean).map((name) => el("th", {}, name)),
    figures.map((name) => el("th", {}, name))));
  const notes = [];
  for (const [i, name, condition] of rows) {
    if (condition.skipped) { notes.push(`${name}: ${condition.skipped}.`); continue; }
    const cells = figures.map((figure) => {
      const one = condition.differences.find((other) => other.name === figure);
      if (!one) return el("td", {}, "");
      const moved = one.verdict === "better" || one.verdict === "worse";
      return el("td", { class: moved ? `moved ${one.verdict}` : "", title: `${signed(one.difference)} (${signed(one.low)} to ${signed(one.high)}), p ${number(one.p)}: ${one.verdict}` },
        `${number(one.first, 2)} → ${number(one.other, 2)}${moved ? ` ${one.verdict}` : ""}`);
    });
    table.append(el("tr", {}, el("td", {}, name), several ? el("td", {}, names[i]) : "", el("td", {}, String(condition.questions.length)), cells));
    for (const [figure, metric] of Object.entries(condition.metrics)) {
      notes.push(`${name}${several ? `, ${names[i]}` : ""}: ${figure} ${number(metric.value, 2)} (${number(metric.low, 2)} to ${number(metric.high, 2)}), n ${metric.n}.`);
    }
  }
  byId("robustness").querySelector(".scroll").append(table);
  byId("robustness").append(el("div", { class: "notes" }, notes.map((text) => el("p", { class: "hint" }, text))));
}

function judged() {
  const rows = runs.flatMap((run, i) => (run.judged ? Object.entries(run.judged.metrics).map(([name, metric]) => [i, name, metric]) : []));
  if (!rows.length) return;
  byId("judged").hidden = false;
  const table = el("table", {}, el("tr", {}, ["run", "judge", "figure", "value", "95 % interval", "n"].map((name) => el("th", {}, name))));
  for (const [i, name, metric] of rows) {
    const bounds = metric.low === null ? "" : `${number(metric.low)} to ${number(metric.high)}`;
    table.append(el("tr", {}, [names[i], runs[i].judged.judge, name, number(metric.value), bounds, metric.n].map((value) => el("td", {}, String(value)))));
  }
  byId("judged").querySelector(".scroll").append(table);
}

// The browser of questions.
const rows = first.questions.map((question) => ({
  question,
  same: runs.map((run, i) => (i ? null : question)),
}));
runs.slice(1).forEach((run, i) => {
  const found = new Map(run.questions.map((question) => [question.id, question]));
  for (const row of rows) row.same[i + 1] = found.get(row.question.id) || null;
});
function right(question) {
  if (!question) return null;
  if (question.error) return "error";
  if (RIGHT in question.scores) return question.scores[RIGHT] ? "yes" : "no";
  return question.answerable && !question.outcome ? (question.rank ? "yes" : "no") : null;
}
const differs = (row) => row.same.some((other) => other && (other.answer !== row.question.answer || other.outcome !== row.question.outcome));
const FILTERS = {
  all: ["all", () => true],
  no: ["not right", (row) => row.same.some((question) => right(question) === "no")],
  yes: ["right", (row) => row.same.every((question) => right(question) === "yes")],
  differs: ["answered differently", differs],
  refused: ["false refusals", (row) => row.same.some((q) => q && q.answerable && q.outcome === "abstained")],
  invented: ["answered, but unanswerable", (row) => row.same.some((q) => q && !q.answerable && q.outcome && q.outcome !== "abstained")],
  missed: ["passage not found", (row) => row.same.some((q) => q && q.answerable && !q.error && q.rank === null)],
  errors: ["errors and time-outs", (row) => row.same.some((q) => q && q.error)],
};
let current = null;

function fillFilters() {
  for (const [key, [name, test]] of Object.entries(FILTERS)) {
    const count = rows.filter(test).length;
    if (key === "all" || count) byId("which").append(el("option", { value: key }, `${name} (${count})`));
  }
  const tags = new Map();
  for (const row of rows) for (const tag of row.question.tags) tags.set(tag, (tags.get(tag) || 0) + 1);
  byId("tag").append(el("option", { value: "" }, "any"));
  for (const [tag, count] of [...tags].sort()) byId("tag").append(el("option", { value: tag }, `${tag} (${count})`));
  if (!tags.size) byId("tag").closest("label").hidden = true;
  for (const id of ["query", "which", "tag"]) byId(id).addEventListener("input", () => showList(SHOWN));
}

function showList(most) {
  const words = byId("query").value.toLowerCase().split(/\s+/).filter(Boolean), tag = byId("tag").value;
  const test = FILTERS[byId("which").value || "all"][1];
  const found = rows.filter((row) => {
    const text = [row.question.id, row.question.question, ...row.same.map((q) => q?.answer || "")].join(" ").toLowerCase();
    return test(row) && (!tag || row.question.tags.includes(tag)) && words.every((word) => text.includes(word));
  });
  byId("count").textContent = `${found.length} of ${rows.length} questions. Filled: right. Ring: not right. Square: error.`;
  const list = byId("list");
  list.replaceChildren(...found.slice(0, most).map((row) => el("li", {}, el("button", {
    type: "button", "data-id": row.question.id, "aria-current": String(row === current), onclick: () => { show(row, true); },
  }, el("span", { class: "dots" }, row.same.map((q) => el("i", { class: right(q) || "" }))), el("span", { class: "words" }, row.question.question)))));
  if (found.length > most) list.append(el("li", {}, el("button", { type: "button", onclick: () => showList(most + SHOWN) }, `${found.length - most} more`)));
  if (!found.length) { byId("detail").replaceChildren(el("p", { class: "empty" }, "No question is like that.")); current = null; }
  else if (!found.includes(current)) show(found[0], false);
}

function show(row, chosen) {
  current = row;
  for (const button of byId("list").querySelectorAll("button")) {
    button.setAttribute("aria-current", String(button.dataset.id === row.question.id));
  }
  const { question } = row;
  byId("detail").replaceChildren(
    ...question.history.map(([role, text]) => el("div", { class: "turn" }, `${role}: ${text}`)),
    el("p", { class: "question" }, question.question),
    el("p", { class: "hint" }, question.answerable
      ? `Wanted: ${question.references.join(" / ") || "what stands"} in ${question.gold.map((g) => g.file + (g.page ? `, page ${g.page}` : "")).join("; ")}`
      : "The documents do not answer this: declining is right.", ` · ${question.id}`),
    el("div", { class: "answers" }, row.same.map((q, i) => answer(q, i))),
    ...passages(row),
  );
  if (chosen && matchMedia("(max-width: 760px)").matches) byId("detail").scrollIntoView({ behavior: "smooth" });
}

function answer(question, i) {
  const box = el("div", { class: "answer", style: `border-top-color:${colour(i)}` });
  if (runs.length > 1) box.append(el("h3", { style: "margin-top:0" }, names[i]));
  if (!question) { box.append(el("p", { class: "empty" }, "not asked")); return box; }
  const state = right(question);
  const verdict = runs[i].judged?.questions[question.id];
  box.append(...[
    question.error ? el("span", { class: "badge bad" }, question.timed_out ? "timed out" : "error") : null,
    question.outcome ? el("span", { class: "badge" }, question.outcome) : null,
    state && state !== "error" ? el("span", { class: `badge ${state === "yes" ? "good" : "bad"}` }, state === "yes" ? "right" : "not right") : null,
    question.confidence !== null ? el("span", { class: "badge" }, `confidence ${number(question.confidence, 2)}`) : null,
    question.answerable && !question.error ? el("span", { class: "badge" }, question.rank ? `found at rank ${question.rank}` : "not found") : null,
    verdict ? el("span", { class: "badge" }, `judged ${verdict.faithfulness ? "faithful" : "not faithful"}`) : null,
  ].filter(Boolean));
  if (question.error) box.append(el("p", { class: "text" }, question.error));
  if (question.answer !== null) box.append(el("p", { class: "text" }, ...withMarkers(question.answer)));
  for (const cited of question.citations) {
    const place = [cited.source, cited.page && `page ${cited.page}`, (cited.heading || []).join(" › ")].filter(Boolean).join(", ");
    box.append(el("blockquote", {}, cited.quote, el("cite", {}, `[${cited.n}] ${place}, ${cited.start}–${cited.end}`,
      cited.valid ? "" : " · NOT in the source", question.answerable ? (cited.right ? " · gold place" : " · not the gold place") : "")));
  }
  return box;
}

function withMarkers(text) {
  return text.split(/(\[\d+(?:,\s*\d+)*\])/).map((part, i) => (i % 2 ? el("sup", {}, part) : part));
}

function passages(row) {
  const parts = [];
  row.same.forEach((question, i) => {
    if (!question?.passages.length) return;
    if (i && JSON.stringify(question.passages) === JSON.stringify(row.question.passages)) return;
    parts.push(el("h3", {}, runs.length > 1 ? `Passages found, ${names[i]}` : "Passages found"));
    const quotes = question.citations.map((cited) => cited.quote);
    question.passages.forEach((passage, rank) => {
      const place = [passage.source, passage.page && `page ${passage.page}`, passage.heading.join(" › ")].filter(Boolean).join(", ");
      const body = highlighted(passage.text, quotes);
      parts.push(el("details", { class: "passage", open: rank < 2 || body.length > 1 },
        el("summary", {}, `${rank + 1}. ${place} · ${number(passage.score)} `, passage.right ? el("span", { class: "badge good" }, "gold") : ""),
        el("div", { class: "body" }, ...body)));
    });
  });
  return parts;
}

function highlighted(text, quotes) {
  const spans = quotes.filter(Boolean).map((quote) => [text.indexOf(quote), quote.length]).filter(([at]) => at >= 0)
    .map(([at, length]) => [at, at + length]).sort((a, b) => a[0] - b[0]);
  const parts = [];
  let done = 0;
  for (const [start, end] of spans) {
    if (start < done) continue;
    parts.push(text.slice(done, start), el("mark", {}, text.slice(start, end)));
    done = end;
  }
  return [...parts, text.slice(done)].filter((part) => part !== "");
}

function draw() { metricBars(); differenceBars(); latencyChart(); riskChart(); }
header(); legend(); verdicts(); tiles(); robustness(); judged(); fillFilters(); showList(SHOWN); draw();
if (notes[0] && runs.length === 1) { byId("note").hidden = false; byId("note").textContent = notes[0]; }
let timer = 0, drawn = innerWidth;
addEventListener("resize", () => { if (innerWidth === drawn) return; drawn = innerWidth; clearTimeout(timer); timer = setTimeout(draw, 120); });
