// The page of a report: sorting, filtering, and the page of a video. Texts are set as text only.
"use strict";
(() => {
  const find = (id) => document.getElementById(id);
  const settings = JSON.parse(find("settings").textContent);

  /** An element with properties and children; children may be texts. */
  function make(name, properties = {}, ...children) {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(properties)) {
      if (key in element && key !== "list") element[key] = value;
      else element.setAttribute(key, value);
    }
    element.append(...children.filter((child) => child !== null && child !== undefined));
    return element;
  }

  // Words

  const WORDS = {
    damage: "Damaged frames", likelihood: "Low likelihood", unlikely: "Low likelihood",
    temporal_norm: "Temporal norm", pca: "PCA error", pca_singleview: "PCA error, one view",
    pca_multiview: "PCA error, views", disagreement: "Disagreement",
    pca_singleview_error: "PCA error, one view", pca_multiview_error: "PCA error, views",
  };
  const WHY = {
    low_likelihood: "low likelihood", disagreement: "members disagree",
    temporal_norm: "jumped since the previous frame", pca_singleview_error: "unusual pose",
    pca_multiview_error: "views disagree",
  };
  const STATUSES = ["ok", "suspect", "corrupt", "missing"];

  const percent = (share) => `${share === 0 ? 0 : share < 0.01 ? (100 * share).toFixed(2) : Math.round(100 * share)} %`;
  const pixels = (value) => `${value < 10 ? value.toFixed(1) : Math.round(value)} px`;
  const isShare = (name) => ["damage", "likelihood", "unlikely"].includes(name);
  const spread = (value) => Array.isArray(value) ? `${pixels(value[0])}, ${pixels(value[1])}` : percent(value);
  const inWords = (name, value) => value === null ? "–" : isShare(name) ? percent(value) : pixels(value);
  function clock(seconds, digits = 1) {
    const hours = Math.floor(seconds / 3600), minutes = Math.floor(seconds / 60) % 60;
    const rest = (seconds % 60).toFixed(digits).padStart(digits ? 3 + digits : 2, "0");
    return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
  }

  // The table of all videos

  const body = find("table").tBodies[0];
  const rows = [...body.rows];
  const STEP = settings.rows_at_once;
  let most = STEP;

  function sort(button) {
    const header = button.closest("th"), column = Number(button.dataset.column);
    const isText = button.dataset.kind === "text";
    const before = header.getAttribute("aria-sort");
    const down = before ? before === "ascending" : !isText;
    for (const other of header.parentElement.cells) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", down ? "descending" : "ascending");
    const value = (row) => row.cells[column].dataset.value;
    const order = isText
      ? (a, b) => value(a).localeCompare(value(b), undefined, { numeric: true })
      : (a, b) => Number(value(a)) - Number(value(b));
    rows.sort((a, b) => (down ? -order(a, b) : order(a, b)));
    body.append(...rows);
    filter();
  }
  for (const button of find("table").tHead.querySelectorAll("button")) {
    button.addEventListener("click", () => sort(button));
  }

  const KINDS = {
    all: () => true,
    failed: (row) => row.dataset.failed === "1",
    damaged: (row) => row.dataset.damaged === "1",
    high: (row) => row.dataset.high === "1",
  };
  function filter() {
    const text = find("filter").value.trim().toLowerCase(), kind = KINDS[find("kind").value];
    let n = 0;
    for (const row of rows) {
      const fits = row.dataset.name.includes(text) && kind(row);
      n += fits;
      row.hidden = !fits || n > most;
    }
    find("shown").textContent = n === rows.length ? `${n} videos` : `${n} of ${rows.length} videos`;
    find("more").hidden = n <= most;
    find("more").textContent = `Show ${Math.min(STEP, n - most)} more of ${n - most}`;
  }
  function refilter() {
    most = STEP;
    filter();
  }
  find("filter").addEventListener("input", refilter);
  find("kind").addEventListener("change", refilter);
  find("more").addEventListener("click", () => {
    most += STEP;
    filter();
  });
  filter();
  find("tools").addEventListener("submit", (event) => event.preventDefault());

  // Charts

  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const faded = (color, share) => color + Math.round(255 * share).toString(16).padStart(2, "0");
  let charts = [];

  function axis(label, values, size = 56) {
    return {
      label, values, size, labelSize: 20, labelGap: 0, gap: 4,
      stroke: style("--text"), font: "12px system-ui, sans-serif", labelFont: "12px system-ui, sans-serif",
      grid: { stroke: style("--line"), width: 1 }, ticks: { stroke: style("--line"), width: 1 },
    };
  }

  /** A chart below others that share its time axis, or alone where `sync` is false. */
  function chart(parent, title, options, data, sync) {
    const place = make("div", { className: "chart", role: "img", "aria-label": title });
    parent.append(place);
    const width = Math.max(200, parent.clientWidth);
    const plot = new uPlot({
      width, height: options.height, legend: { show: false }, padding: [8, 20, 0, 0],
      cursor: { y: false, drag: { x: true, y: false }, ...(sync ? { sync: { key: "time" } } : {}) },
      ...options,
      hooks: sync ? {
        setScale: [(self, key) => {
          if (key !== "x") return;
          const { min, max } = self.scales.x;
          for (const { plot: other, sync: follows } of charts) {
            const differs = other.scales.x.min !== min || other.scales.x.max !== max;
            if (follows && other !== self && differs) other.setScale("x", { min, max });
          }
        }],
        setCursor: options.onCursor ? [options.onCursor] : [],
      } : {},
    }, data, place);
    charts.push({ plot, parent, height: options.height, sync });
    return plot;
  }
  function clearCharts() {
    for (const { plot } of charts) plot.destroy();
    charts = [];
  }
  const observer = new ResizeObserver(() => {
    for (const { plot, parent, height } of charts) {
      const width = Math.max(200, parent.clientWidth);
      if (width !== plot.width) plot.setSize({ width, height });
    }
  });

  /** Decimals that tell apart times which are `step` seconds apart. */
  const decimals = (step) => step >= 1 ? 0 : Math.min(3, Math.ceil(-Math.log10(step)));

  const timeAxis = (show) => ({
    ...axis(show ? "time" : null, (self, ticks) => ticks.map((t) => clock(t, decimals(ticks[1] - ticks[0]))), show ? 28 : 4),
    ...(show ? {} : { values: (self, ticks) => ticks.map(() => ""), ticks: { show: false } }),
  });

  // The page of a video

  function bytes(text) {
    return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  }
  async function unpack(text) {
    const stream = new Blob([bytes(text)]).stream().pipeThrough(new DecompressionStream("gzip"));
    return JSON.parse(await new Response(stream).text());
  }
  function numbers({ codes, ends: [low, high] }) {
    const packed = bytes(codes), view = new DataView(packed.buffer);
    return Array.from({ length: packed.length / 2 }, (_, i) => {
      const code = view.getUint16(2 * i, true);
      return code ? low + ((code - 1) / 4094) * (high - low) : null;
    });
  }

  /** The arrays of a table as lists of numbers; those of keypoints are read when they are shown. */
  function readTable(table) {
    const view = new DataView(bytes(table.times_s).buffer);
    const times = Array.from({ length: view.byteLength / 8 }, (_, i) => view.getFloat64(8 * i, true));
    return { ...table, times_s: times, scores: numbers(table.scores) };
  }

  const page = find("video");
  let opened = null;

  function color(owner, owners) {
    return owner === "eks" ? style("--smoothed") : style(`--c${owners.indexOf(owner) % 6}`);
  }

  async function open(number) {
    const { data, pictures } = JSON.parse(find(`data-${number}`).textContent);
    const video = { ...await unpack(data), pictures, number };
    if (location.hash !== `#video-${number}`) return; // the reader has gone elsewhere meanwhile
    for (const [owner, table] of Object.entries(video.traces.tables ?? {})) video.traces.tables[owner] = readTable(table);
    clearCharts();
    observer.disconnect();
    page.replaceChildren(...head(video));
    find("overview").hidden = true;
    page.hidden = false;
    video.owners = video.models.map((model) => model.owner);
    page.append(modelsTable(video));
    const traces = video.traces.tables && Object.keys(video.traces.tables).length > 0;
    if (traces) tracesPart(video);
    else page.append(make("p", { className: "quiet" }, "There are no traces of this video here. " + (video.models.map((m) => m.note).find(Boolean) ?? "The report shows those of the videos that need a look most.")));
    momentsPart(video);
    if (traces) distributionsPart(video);
    filesPart(video);
    observer.observe(page);
    opened = video;
    document.title = `${video.name} – raypose report`;
    page.querySelector("h2").focus();
    scrollTo(0, 0);
  }

  function head(video) {
    const to = (number, text) => number >= 0 && number < rows.length ? make("a", { href: `#video-${number}` }, text) : null;
    const parts = Object.entries(video.parts).map(([name, part]) => make("div", { className: part.points >= part.most / 2 ? "warn" : "" },
      make("dt", {}, WORDS[name]),
      make("dd", {}, inWords(name, part.value), make("small", {},
        `+${part.points.toFixed(0)} of ${part.most} points` + (part.usual === null ? "" : `; ${part.of === "p99" ? "99th percentile" : "median"}, usual ${pixels(part.usual)}`) + (part.owner ? `; ${part.owner}` : "")))));
    const length = video.fps > 0 ? `, ${clock(video.n_frames / video.fps)} at ${Number(video.fps.toFixed(2))} frames/s` : "";
    return [
      make("nav", { "aria-label": "Videos" }, make("a", { href: "#" }, "← All videos"), to(video.number - 1, "← Previous in rank"), to(video.number + 1, "Next in rank →")),
      make("h2", { id: "video-name", tabIndex: -1 }, video.name),
      make("p", { className: "quiet" }, `${video.n_frames.toLocaleString("en")} frames${length} · ${video.path}`),
      make("dl", { className: "cards" }, make("div", {}, make("dt", {}, "Score"), make("dd", {}, video.score.toFixed(0), make("small", {}, `rank ${video.number + 1} of ${rows.length}`))), ...parts),
      ...video.failures.map((f) => make("p", { className: "failure" }, make("b", {}, `${f.step} failed: `), `${f.message}. ${f.hint}`)),
    ];
  }

  function scrolling(label, table) {
    return make("div", { className: "scroll", tabIndex: 0, role: "group", "aria-label": label }, table);
  }

  function modelsTable(video) {
    const names = ["unlikely", "temporal_norm", "pca_singleview", "pca_multiview", "disagreement"];
    const column = (text) => make("th", { scope: "col" }, text);
    return make("section", {}, make("h3", {}, "Models"), scrolling("Models", make("table", { className: "plain numbers" },
      make("thead", {}, make("tr", {}, column("Model"), column("Frames"), ...names.map((name) => column(WORDS[name])))),
      make("tbody", {}, ...video.models.map((model) => make("tr", {},
        make("th", { scope: "row" }, model.owner === "eks" ? "eks, the smoothed ensemble" : model.owner),
        make("td", { className: "words" }, model.frames || "–"),
        ...names.map((name) => make("td", {}, model.numbers[name] === null ? "–" : spread(model.numbers[name])))))))),
      make("p", { className: "quiet" }, "Low likelihood is the share of keypoints below the model's confidence threshold; the others are median and 99th percentile over all keypoints and frames."));
  }

  function tracesPart(video) {
    const { traces, owners } = video;
    const select = make("select", {}, ...traces.keypoints.map((name) => make("option", { value: name, selected: name === traces.worst_keypoint }, name)));
    const boxes = Object.keys(traces.tables).map((owner) => make("input", { type: "checkbox", checked: true, value: owner }));
    const labels = boxes.map((box) => {
      const swatch = make("span", { className: "swatch" });
      swatch.style.background = color(box.value, owners);
      return make("label", {}, box, swatch, box.value === "eks" ? "eks, with its posterior (± 2 sd)" : box.value);
    });
    const readout = make("p", { className: "readout" });
    const place = make("div");
    const reset = make("button", { type: "button" }, "Whole video");
    const some = traces.keypoints.length < traces.n_keypoints ? ` Only the ${traces.keypoints.length} least confident of ${traces.n_keypoints} keypoints are shown.` : "";
    page.append(make("section", {}, make("h3", {}, "Traces"),
      make("p", { className: "quiet" }, `Lowest and highest of each moment, so that no jump is lost. Drag to zoom.${some}`),
      make("form", { className: "tools" }, make("label", {}, "Keypoint ", select), make("fieldset", { className: "owners" }, make("legend", { className: "hidden" }, "Models"), ...labels), reset),
      readout, place));
    const draw = () => {
      charts = charts.filter((c) => !(c.sync && (c.plot.destroy(), true)));
      place.replaceChildren();
      drawTraces(video, place, select.value, boxes.filter((b) => b.checked).map((b) => b.value), readout);
    };
    select.addEventListener("change", draw);
    for (const box of boxes) box.addEventListener("change", draw);
    select.form.addEventListener("submit", (event) => event.preventDefault());
    reset.addEventListener("click", () => {
      const first = charts.find((c) => c.sync);
      if (first) first.plot.setScale("x", { min: first.plot.data[0][0], max: first.plot.data[0].at(-1) });
    });
    draw();
  }

  function drawTraces(video, place, keypoint, shown, readout) {
    const { traces, owners } = video;
    const read = {};
    for (const owner of shown) {
      const table = traces.tables[owner], rowsOf = table.traces[keypoint];
      if (rowsOf) read[owner] = Object.fromEntries(table.rows.map((row, r) => [row, numbers(rowsOf[r])]));
    }
    const told = Object.keys(read);
    const tell = (self) => {
      const i = self.cursor.idx;
      if (i === null || i === undefined) return;
      const t = self.data[0][i];
      readout.textContent = `${clock(t, 3)}: ` + told.map((owner) => {
        const own = traces.tables[owner].times_s.findLastIndex((start) => start <= t);
        const at = (row, digits) => read[owner][row][own]?.toFixed(digits) ?? "–";
        const span = (name, digits = 1) => {
          const low = at(`${name}_min`, digits), high = at(`${name}_max`, digits);
          return low === high ? low : `${low} to ${high}`;
        };
        return `${owner} x ${span("x")}, y ${span("y")}, likelihood ${span("likelihood", 2)}`;
      }).join("; ");
    };
    const xy = { scales: { x: { time: false } }, axes: [timeAxis(false), axis("px")], height: 190, onCursor: tell };
    for (const c of ["x", "y"]) envelope(place, `${c} of ${keypoint} over time, in pixels`, c, xy, read, traces, owners);
    const likelihood = { scales: { x: { time: false }, y: { range: [0, 1.02] } }, axes: [timeAxis(false), axis("0 to 1")], height: 120 };
    envelope(place, `Likelihood of ${keypoint} over time`, "likelihood", likelihood, read, traces, owners);
    const scored = shown.filter((owner) => traces.tables[owner]);
    if (scored.length) {
      caption(place, "How bad each moment looks, all keypoints together");
      chart(place, "Score of each moment, 0 to 1", {
        scales: { x: { time: false }, y: { range: (self, min, max) => [0, Math.max(0.2, max * 1.1)] } },
        axes: [timeAxis(false), axis("score")], height: 110,
        series: [{}, ...scored.map((owner) => ({ stroke: color(owner, owners), width: 1.2, points: { show: false } }))],
      }, uPlot.join(scored.map((owner) => [traces.tables[owner].times_s, traces.tables[owner].scores])), true);
    }
    statusChart(place, video);
  }

  function caption(place, text) {
    place.append(make("p", { className: "quiet" }, text));
  }

  function envelope(place, title, name, options, read, traces, owners) {
    const tables = [], series = [{}], bands = [];
    for (const [owner, rowsOf] of Object.entries(read)) {
      const shade = color(owner, owners), columns = [rowsOf[`${name}_max`], rowsOf[`${name}_min`]];
      const line = { stroke: shade, width: owner === "eks" ? 1.4 : 1, points: { show: false } };
      bands.push({ series: [series.length, series.length + 1], fill: faded(shade, 0.3) });
      series.push(line, line);
      const deviation = rowsOf[`${name}_sd`];
      if (deviation) {
        columns.push(columns[0].map((v, i) => v === null ? null : v + 2 * deviation[i]), columns[1].map((v, i) => v === null ? null : v - 2 * deviation[i]));
        bands.push({ series: [series.length, series.length + 1], fill: faded(shade, 0.15) });
        series.push({ stroke: faded(shade, 0.3), width: 0.5, points: { show: false } }, { stroke: faded(shade, 0.3), width: 0.5, points: { show: false } });
      }
      tables.push([traces.tables[owner].times_s, ...columns]);
    }
    if (!tables.length) return;
    caption(place, title);
    chart(place, title, { ...options, series, bands }, uPlot.join(tables), true);
  }

  function statusChart(place, video) {
    const tables = Object.values(video.traces.tables);
    const worst = tables[0].statuses.map((_, i) => Math.max(...tables.map((t) => t.statuses[i] ?? 0)));
    const present = STATUSES.map((_, s) => s).filter((s) => s > 0 && worst.includes(s));
    if (!present.length) {
      chart(place, "Time", { scales: { x: { time: false }, y: { range: [0, 1] } }, axes: [timeAxis(true), { ...axis(" "), values: () => [], grid: { show: false } }], height: 44, series: [{}, {}] },
        [tables[0].times_s, worst.map(() => null)], true);
      caption(place, "Frames: all are ok.");
      return;
    }
    const told = video.models.map((model) => model.frames).find((text) => text && !text.startsWith("all")) ?? "";
    place.append(make("p", { className: "quiet" }, `Frames: ${told}. `, ...present.flatMap((s) => {
      const swatch = make("span", { className: "swatch" });
      swatch.style.display = "inline-block";
      swatch.style.background = style(`--${STATUSES[s]}`);
      return [swatch, ` ${STATUSES[s]} `];
    })));
    chart(place, `Frame statuses over time: ${told}`, {
      scales: { x: { time: false }, y: { range: [0, 1] } }, height: 80,
      axes: [timeAxis(true), { ...axis(" "), values: (self, ticks) => ticks.map(() => ""), grid: { show: false }, ticks: { show: false } }],
      series: [{}, ...present.map((s) => ({ stroke: style(`--${STATUSES[s]}`), fill: style(`--${STATUSES[s]}`), width: 0, points: { show: false }, paths: uPlot.paths.bars({ size: [1, 1000, 2], align: 1, gap: 0 }) }))],
    }, [tables[0].times_s, ...present.map((s) => worst.map((w) => w === s ? 1 : null))], true);
  }

  function momentsPart(video) {
    const models = video.models.filter((model) => model.moments.length);
    const section = make("section", {}, make("h3", {}, "Worst moments"));
    page.append(section);
    if (!models.length) {
      section.append(make("p", { className: "quiet" }, "None are known."));
      return;
    }
    const has = (model) => Object.keys(video.pictures[model.owner] ?? {}).length;
    const best = models.find(has) ?? models.at(-1);
    const select = make("select", {}, ...models.map((model) => make("option", { value: model.owner, selected: model === best }, model.owner)));
    const list = make("ol", { className: "moments" });
    const about = make("p", { className: "quiet" });
    section.append(make("form", { className: "tools" }, make("label", {}, "Of ", select)), about, list);
    select.form.addEventListener("submit", (event) => event.preventDefault());
    const draw = () => {
      const model = models.find((m) => m.owner === select.value);
      about.textContent = has(model) ? "Filled markers are above the confidence threshold, rings below." : has(best) ? `Only those of ${best.owner} have pictures.` : "";
      list.replaceChildren(...model.moments.map((moment) => momentItem(video, model, moment)));
    };
    select.addEventListener("change", draw);
    draw();
  }

  function momentItem(video, model, moment) {
    const picture = video.pictures[model.owner]?.[moment.frame];
    const why = WHY[moment.why] ?? moment.why;
    const show = make("button", { type: "button" }, "Show in traces");
    show.setAttribute("aria-label", `Show frame ${moment.frame} in the traces`);
    show.addEventListener("click", () => showMoment(video, moment.time_s));
    return make("li", {},
      picture ? make("img", { src: picture, alt: `Frame ${moment.frame} with the predictions of ${model.owner}`, loading: "lazy" }) : null,
      make("div", {}, make("b", {}, `Frame ${moment.frame.toLocaleString("en")}`), ` · ${clock(moment.time_s, 3)}`,
        make("small", {}, `score ${moment.score.toFixed(2)}${why ? `: ${why}` : ""}`), charts.some((c) => c.sync) ? show : null));
  }

  function showMoment(video, time) {
    const first = charts.find((c) => c.sync);
    if (!first) return;
    const times = first.plot.data[0], end = times.at(-1), half = Math.max(end / 40, 10 * (times[1] - times[0]) || 0);
    first.plot.setScale("x", { min: Math.max(times[0], time - half), max: Math.min(end, time + half) });
    first.parent.scrollIntoView({ block: "center" });
    // The scale is the new one once the charts are drawn again.
    requestAnimationFrame(() => first.plot.setCursor({ left: first.plot.valToPos(time, "x"), top: 20 }));
  }

  function distributionsPart(video) {
    const { traces, owners } = video;
    const names = [...new Set(Object.values(traces.tables).flatMap((table) => Object.keys(table.distributions)))];
    const grid = make("div", { className: "columns" });
    page.append(make("section", {}, make("h3", {}, "Distributions"), make("p", { className: "quiet" }, "Share of the values of all keypoints; distances in pixels, on a logarithmic axis."), grid));
    for (const name of names) {
      const isLikelihood = name === "likelihood";
      const edges = isLikelihood ? settings.likelihood : settings.pixels.map(Math.log10);
      const told = Object.keys(traces.tables).filter((owner) => traces.tables[owner].distributions[name]);
      const shares = told.map((owner) => {
        const counts = traces.tables[owner].distributions[name], total = counts.reduce((a, b) => a + b, 0) || 1;
        return [...counts.map((n) => (100 * n) / total), 0];
      });
      const place = make("div");
      grid.append(place);
      caption(place, isLikelihood ? "Likelihood" : WORDS[name] ?? name);
      chart(place, `Distribution of ${name} of ${told.join(", ")}`, {
        height: 180, scales: { x: { time: false, range: [edges[0], edges.at(-1)] }, y: { range: (self, min, max) => [0, max * 1.05 || 1] } },
        axes: [axis(isLikelihood ? "likelihood" : "px", (self, ticks) => ticks.map((v) => isLikelihood ? v.toFixed(1) : Number.isInteger(v) ? String(10 ** v) : ""), 24), axis("%")],
        cursor: { show: false },
        series: [{}, ...told.map((owner) => ({ stroke: color(owner, owners), width: 1.5, fill: faded(color(owner, owners), 0.1), points: { show: false }, paths: uPlot.paths.stepped({ align: 1 }) }))],
      }, [edges, ...shares], false);
    }
  }

  function filesPart(video) {
    const section = make("section", {}, make("h3", {}, "Files"));
    page.append(section);
    const played = ["labelled snippet", "labelled video", "worst moment", "snippet"];
    const rank = (file) => played.indexOf(file.what.replace(/ \d+$/, ""));
    const clips = video.models.flatMap((model) => model.files.filter((file) => file.href && rank(file) >= 0).map((file) => ({ ...file, owner: model.owner })));
    clips.sort((a, b) => rank(a) - rank(b) || (b.owner === "eks") - (a.owner === "eks"));
    if (clips.length) {
      const player = make("video", { controls: true, loop: true, muted: true, preload: "metadata", playsInline: true, src: clips[0].href });
      player.setAttribute("aria-label", "Clip with the predictions drawn");
      const select = make("select", {}, ...clips.map((clip, i) => make("option", { value: String(i) }, `${clip.what} of ${clip.owner}`)));
      select.addEventListener("change", () => { player.src = clips[Number(select.value)].href; });
      section.append(make("p", {}, make("label", {}, "Play ", select)), player);
    }
    for (const model of video.models) {
      section.append(make("h4", {}, model.owner), make("ul", {}, ...model.files.map((file) => make("li", {},
        `${file.what}: `, file.href ? make("a", { href: file.href }, file.name) : file.name))));
    }
  }

  // Which page is shown

  async function route() {
    const match = /^#video-(\d+)$/.exec(location.hash);
    if (match && find(`data-${match[1]}`)) {
      await open(Number(match[1]));
      return;
    }
    if (location.hash === "#main") return;
    const from = opened;
    clearCharts();
    opened = null;
    page.hidden = true;
    page.replaceChildren();
    find("overview").hidden = false;
    document.title = document.querySelector("h1").textContent;
    if (from) document.querySelector(`th a[href="#video-${from.number}"]`)?.focus();
  }
  addEventListener("hashchange", route);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => opened && open(opened.number));
  route();
})();
