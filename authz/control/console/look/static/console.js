// What pages do beyond reading: times in the viewer's zone, the keyboard, picked rows. Without it all pages still work.
(() => {
  "use strict";
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone || "local";
  const day = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
  const year = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit" });
  const relative = new Intl.RelativeTimeFormat(undefined, { numeric: "auto", style: "short" });
  const units = [["year", 31557600], ["month", 2629800], ["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];

  function ago(moment) {
    const seconds = (moment - Date.now()) / 1000;
    const [unit, size] = units.find(([, size]) => Math.abs(seconds) >= size) || units[units.length - 1];
    return relative.format(Math.round(seconds / size), unit);
  }

  function showTimes(root) {
    for (const element of root.querySelectorAll("time[datetime]")) {
      const moment = new Date(element.dateTime);
      const near = Math.abs(moment - Date.now()) < 180 * 86400e3;
      if (element.closest(".ago")) {
        if (!element.dataset.shown) element.title = `${year.format(moment)} (${element.title})`;
        element.dataset.shown = "yes";
        element.textContent = ago(moment);
        continue;
      }
      const small = document.createElement("small");
      small.textContent = ago(moment);
      element.replaceChildren((near ? day : year).format(moment), " ", small);
    }
  }

  // Countries by their names
  const names = new Intl.DisplayNames(undefined, { type: "region", fallback: "code" });
  function showCountries(root) {
    for (const element of root.querySelectorAll("[data-country]:not([title])")) {
      const code = element.dataset.country;
      const name = /^[A-Z]{2}$/.test(code) ? names.of(code) : code;
      element.title = element.matches(".code") ? name : code;
      if (!element.matches(".code")) element.textContent = name;
    }
  }

  // Fields of a time: the viewer's zone on the page, UTC on the way.
  function two(number) { return String(number).padStart(2, "0"); }
  function local(moment) {
    const seconds = moment.getSeconds() ? `:${two(moment.getSeconds())}` : "";
    return `${moment.getFullYear()}-${two(moment.getMonth() + 1)}-${two(moment.getDate())}T${two(moment.getHours())}:${two(moment.getMinutes())}${seconds}`;
  }
  function showFields(root) {
    for (const field of root.querySelectorAll("input[type=datetime-local]:not([data-zoned])")) {
      field.dataset.zoned = "yes";
      if (field.value) field.value = local(new Date(field.value + "Z"));
      const label = root.querySelector(`label[for="${field.id}"] .zone`);
      if (label) label.textContent = `(${zone})`;
    }
  }
  document.addEventListener("formdata", (event) => {
    for (const field of event.target.querySelectorAll("input[type=datetime-local][data-zoned]")) {
      if (field.value && event.formData.has(field.name)) event.formData.set(field.name, new Date(field.value).toISOString().slice(0, 19) + "Z");
    }
  });

  // Selected rows
  function count(form) {
    const picked = form.querySelectorAll("[name=pick]:checked").length;
    const shown = form.querySelector("[data-picked]");
    if (shown) shown.textContent = String(picked);
  }
  document.addEventListener("change", (event) => {
    const form = event.target.closest("form.bulk");
    if (!form) return;
    if (event.target.matches("[data-pick-all]")) {
      for (const one of form.querySelectorAll("[name=pick]")) one.checked = event.target.checked;
    }
    count(form);
  });

  // An allow entry is meant to stay, unless somebody chose a period; the form says that it changed the period
  document.addEventListener("change", (event) => {
    const form = event.target.closest("#adding");
    const told = form?.querySelector("#how-long");
    if (!told) return;
    if (event.target.name === "period") { form.dataset.chosen = "yes"; told.textContent = ""; }
    if (event.target.name === "list" && !form.dataset.chosen) {
      const allows = event.target.value === "allow";
      const wanted = form.querySelector(allows ? "#period-forever" : "#period-1h");
      const before = form.querySelector("[name=period]:checked");
      if (!wanted || wanted === before) return;
      wanted.checked = true;
      told.textContent = allows ? "Set to Forever: entries of the allow list usually have no end. Choose a period if this one should end." : "Set back to 1 hour.";
    }
  });

  // A click on 'Other' or 'Until' moves to its field; arrow keys go on choosing
  document.addEventListener("click", (event) => {
    const label = event.detail && event.target.closest("label[for=period-other], label[for=period-until]");
    if (label) setTimeout(() => document.getElementById(label.htmlFor.replace("period-", "")).focus());
  });

  // A field that is edited no longer shows what was wrong with it
  document.addEventListener("input", (event) => {
    if (!event.target.matches("[aria-invalid]")) return;
    event.target.removeAttribute("aria-invalid");
    document.getElementById(`${event.target.id}-wrong`)?.remove();
  });

  // Copying what is to be pasted elsewhere, where the browser lets a page do so
  function showCopies(root) {
    if (navigator.clipboard) for (const button of root.querySelectorAll("[data-copy][hidden]")) button.hidden = false;
  }
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
    button.textContent = "Copied";
  });

  // The keyboard
  const ways = { o: "/", l: "/lists", h: "/history", e: "/events", x: "/explain", t: "/triggers", p: "/publications", a: "/attention" };
  let before = "";
  function rows() { return [...document.querySelectorAll("[data-rows] tbody tr")]; }
  function step(by) {
    const all = rows();
    if (!all.length) return;
    const here = all.findIndex((row) => row.classList.contains("current"));
    const next = all[Math.min(Math.max(here + by, 0), all.length - 1)];
    all.forEach((row) => row.classList.toggle("current", row === next));
    (next.querySelector("td a") || next).focus({ preventScroll: true });
    next.scrollIntoView({ block: "nearest" });
  }
  function press(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea, dialog")) return;
    const first = before;
    before = "";
    if (first === "g" && ways[event.key]) { location.assign(ways[event.key]); return; }
    if (event.key === "g") { before = "g"; setTimeout(() => { before = ""; }, 1200); return; }
    if (event.key === "?") { document.getElementById("help")?.showModal(); event.preventDefault(); return; }
    if (event.key === "j" || event.key === "k") { step(event.key === "j" ? 1 : -1); event.preventDefault(); return; }
    if (event.key === "x") {
      const box = document.querySelector("tr.current [name=pick]");
      if (box) box.click();
      return;
    }
    const target = document.querySelector(`[data-key="${CSS.escape(event.key)}"]`);
    if (target) {
      event.preventDefault();
      if (target.matches("input")) { target.focus(); target.select(); } else target.click();
    }
  }
  document.addEventListener("keydown", press);
  document.addEventListener("keydown", (event) => {
    const menu = event.key === "Escape" && document.querySelector("details.menu[open], details.unfold[open]");
    if (!menu) return;
    menu.open = false;
    menu.querySelector("summary").focus();
  });
  document.addEventListener("click", (event) => {
    if (event.target.closest("[data-help]")) document.getElementById("help")?.showModal();
    for (const menu of document.querySelectorAll("details.menu[open]")) {
      if (!menu.contains(event.target)) menu.open = false;
    }
  });

  // Charts: requests by time. The numbers are in the page's table, too.
  function colour(name) { return getComputedStyle(document.documentElement).getPropertyValue(name).trim(); }
  function drawChart(holder) {
    const [times, allowed, denied] = JSON.parse(holder.dataset.chart);
    const hour = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
    const total = (numbers) => numbers.reduce((sum, one) => sum + one, 0).toLocaleString();
    const axis = { stroke: colour("--muted"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: "12px Inter, sans-serif" };
    const line = (label, name, numbers) => ({ label, stroke: colour(name), fill: colour(name) + "22", width: 1.75, points: { show: false }, value: (_, v) => (v == null ? total(numbers) : v.toLocaleString()) });
    const options = {
      width: holder.clientWidth, height: 220, padding: [12, 20, 0, 0], cursor: { y: false, points: { size: 6 } },
      scales: { y: { range: (_, low, high) => [0, Math.max(high * 1.08, 5)] } },
      axes: [{ ...axis, size: 30, values: (_, all) => all.map((v) => hour.format(new Date(v * 1000))) }, { ...axis, size: 48, values: (_, all) => all.map((v) => (v >= 1e6 ? `${v / 1e6} M` : v >= 1000 ? `${v / 1000} k` : String(v))) }],
      series: [{ label: "", value: (_, v) => (v == null ? "all 24 hours" : `from ${day.format(new Date(v * 1000))}`) }, line("allowed", "--accent", allowed), line("denied", "--deny", denied)],
    };
    holder.replaceChildren();
    const chart = new uPlot(options, [times, allowed, denied], holder);
    new ResizeObserver(() => chart.setSize({ width: holder.clientWidth, height: 220 })).observe(holder);
  }
  function showCharts(root) {
    for (const holder of root.querySelectorAll("[data-chart]:not([data-drawn])")) {
      holder.dataset.drawn = "yes";
      drawChart(holder);
    }
  }

  // The map: what is at the square that is pointed at
  let pointing = 0;
  function point(event) {
    const cell = event.target.closest("[data-network]");
    const there = document.getElementById("there");
    if (!cell || !there || there.dataset.shown === cell.dataset.network) return;
    there.dataset.shown = cell.dataset.network;
    clearTimeout(pointing);
    pointing = setTimeout(() => htmx.ajax("GET", `/map/at?network=${encodeURIComponent(cell.dataset.network)}&list=${there.dataset.list}`, { target: "#there", swap: "innerHTML" }), 120);
  }
  document.addEventListener("pointerover", point);
  document.addEventListener("focusin", point);

  function show(root) { showTimes(root); showCountries(root); showFields(root); showCharts(root); showCopies(root); }
  show(document);
  document.addEventListener("htmx:after:swap", () => show(document));
})();
