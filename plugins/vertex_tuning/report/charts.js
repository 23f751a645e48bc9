// Replaces the pictures of the curves by charts that can be read off and zoomed. Without it the pictures stay.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("charts").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const root = document.documentElement;
  const plots = [];

  const colour = (name) => getComputedStyle(root).getPropertyValue(`--${name}`).trim();
  const format = (chart, value) =>
    chart.unit === "share" ? `${+(value * 100).toPrecision(4)} %` : `${+value.toPrecision(4)}`;

  /** The index next to one asked for at which a curve has a value. */
  function nearest(values, index) {
    for (let away = 0; away < values.length; away++) {
      if (values[index - away] != null) return index - away;
      if (values[index + away] != null) return index + away;
    }
    return index;
  }

  function series(chart, line) {
    const validation = line.kind === "validation";
    const few = line.values.filter((value) => value != null).length <= 40;
    return {
      label: line.kind[0].toUpperCase() + line.kind.slice(1),
      stroke: colour(line.kind),
      width: 2,
      dash: validation ? [7, 4] : undefined,
      spanGaps: true,
      points: { show: validation && few, size: 7, fill: colour(line.kind) },
      value: (plot, value, number, index) => {
        if (value == null) return "–";
        const at = plot.data[0][index];
        return format(chart, value) + (at === plot.data[0][plot.cursor.idx ?? index] ? "" : ` (step ${at})`);
      },
    };
  }

  /** Where over-fitting starts, under the curves. */
  function shade(plot, chart) {
    const from = chart.overfitting_step;
    if (from == null || from > plot.scales.x.max) return;
    const { ctx, bbox } = plot;
    const x = Math.max(plot.valToPos(from, "x", true), bbox.left);
    ctx.save();
    ctx.fillStyle = colour("overfitting-area");
    ctx.fillRect(x, bbox.top, bbox.left + bbox.width - x, bbox.height);
    vertical(plot, x, colour("overfitting"), [6, 3]);
    ctx.restore();
  }

  function checkpoints(plot, chart) {
    for (const mark of chart.marks) {
      if (mark.step < plot.scales.x.min || mark.step > plot.scales.x.max) continue;
      const x = plot.valToPos(mark.step, "x", true);
      const ink = colour(mark.best ? "ink" : "muted");
      plot.ctx.save();
      vertical(plot, x, ink, [2, 4]);
      write(plot, (mark.best ? "★ " : "") + mark.label, x, plot.bbox.top - 6 * devicePixelRatio, ink);
      plot.ctx.restore();
    }
  }

  function vertical({ ctx, bbox }, x, ink, dash) {
    ctx.strokeStyle = ink;
    ctx.lineWidth = devicePixelRatio;
    ctx.setLineDash(dash.map((length) => length * devicePixelRatio));
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
  }

  function write({ ctx }, text, x, y, ink) {
    ctx.fillStyle = ink;
    ctx.textAlign = "center";
    ctx.font = `${12 * devicePixelRatio}px system-ui, sans-serif`;
    ctx.fillText(text, x, y);
  }

  function options(chart, width) {
    const axis = { stroke: colour("muted"), font: "12px system-ui, sans-serif", ticks: { show: false } };
    const grid = { stroke: colour("line"), width: 1 };
    return {
      width,
      height: 300,
      padding: [24, 30, 0, 0],
      scales: { x: { time: false } },
      axes: [
        { ...axis, size: 28, grid: { show: false }, values: (plot, ticks) => ticks.map((tick) => (tick % 1 ? "" : tick.toLocaleString("en"))) },
        { ...axis, grid, size: 56, values: (plot, ticks) => ticks.map((tick) => format(chart, tick)) },
      ],
      series: [{ label: "Step", value: (plot, step) => (step == null ? "–" : step.toLocaleString("en")) },
        ...chart.lines.map((line) => series(chart, line))],
      cursor: {
        y: false,
        sync: { key: "steps" },
        points: { size: 9 },
        dataIdx: (plot, number, index) => (number ? nearest(plot.data[number], index) : index),
      },
      hooks: {
        drawClear: [(plot) => shade(plot, chart)],
        draw: [(plot) => checkpoints(plot, chart)],
        setCursor: [(plot) => plot.cursor.idx == null && showLast(plot)],
      },
    };
  }

  const showLast = (plot) => plot.setLegend({ idx: plot.data[0].length - 1 });

  function draw(figure) {
    const chart = data[figure.dataset.chart];
    const host = figure.querySelector(".plot");
    host.replaceChildren();
    figure.classList.add("drawn");
    const plot = new uPlot(options(chart, host.clientWidth), [chart.steps, ...chart.lines.map((line) => line.values)], host);
    showLast(plot);
    host.append(buttons(chart));
    readable(plot, chart);
    plots.push(plot);
    return plot;
  }

  /** Everything the mouse does, the keyboard does as well. */
  function readable(plot, chart) {
    plot.over.tabIndex = 0;
    plot.over.setAttribute("role", "application");
    plot.over.setAttribute("aria-label", `${chart.title} over the steps. Arrow keys move from step to step.`);
    plot.over.addEventListener("keydown", (event) => {
      const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!move) return;
      event.preventDefault();
      const last = chart.steps.length - 1;
      const index = Math.min(Math.max((plot.cursor.idx ?? last) + move, 0), last);
      plot.setCursor({ left: plot.valToPos(chart.steps[index], "x"), top: 0 });
    });
    plot.root.querySelector(".u-legend").setAttribute("aria-live", "polite");
  }

  function buttons(chart) {
    const bar = document.createElement("div");
    bar.className = "zoom";
    const [first, last] = [chart.steps[0], chart.steps.at(-1)];
    for (const [words, factor] of [["Zoom in", 0.5], ["Zoom out", 2], ["Whole run", Infinity]]) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = words;
      button.addEventListener("click", () => zoom(factor, first, last));
      bar.append(button);
    }
    const hint = document.createElement("small");
    hint.textContent = "or drag over a part; double-click for the whole run";
    bar.append(hint);
    return bar;
  }

  function zoom(factor, first, last) {
    for (const plot of plots) {
      const { min, max } = plot.scales.x;
      const middle = plot.cursor.idx == null ? (min + max) / 2 : plot.data[0][plot.cursor.idx];
      const half = (factor === Infinity ? last - first : ((max - min) * factor) / 2);
      plot.setScale("x", { min: Math.max(first, middle - half), max: Math.min(last, middle + half) });
    }
  }

  const figures = [...document.querySelectorAll("figure.chart")];
  const drawAll = () => {
    plots.splice(0).forEach((plot) => plot.destroy());
    figures.forEach(draw);
  };
  drawAll();
  dark.addEventListener("change", drawAll);
  new ResizeObserver(() => {
    for (const [at, plot] of plots.entries()) plot.setSize({ width: figures[at].querySelector(".plot").clientWidth, height: 300 });
  }).observe(document.querySelector("main"));

  // On paper nothing can be opened.
  addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((one) => (one.open = true)));
})();
