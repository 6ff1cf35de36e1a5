"use strict";
// Shows the values of a chart at the point that is pointed at, touched, or reached with the arrow keys.
(() => {
  const tip = document.getElementById("tip");
  const make = (name, values, parent) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(values)) element.setAttribute(key, value);
    return parent.appendChild(element);
  };
  const nearest = (places, x) => {
    let found = 0;
    places.forEach((place, index) => { if (Math.abs(place - x) < Math.abs(places[found] - x)) found = index; });
    return found;
  };
  const row = (left, right) => {
    const line = document.createElement("span");
    for (const text of [left, right]) line.appendChild(document.createElement("em")).textContent = text;
    return line;
  };

  for (const plot of document.querySelectorAll(".plot")) {
    const svg = plot.querySelector("svg");
    const lines = JSON.parse(plot.querySelector("script").textContent);
    const stops = [...new Set(lines.flatMap((line) => line.x))].sort((a, b) => a - b);
    const marks = make("g", { visibility: "hidden" }, svg);
    const cursor = make("line", { class: "cursor", y1: 10, y2: svg.viewBox.baseVal.height - 30 }, marks);
    const dots = lines.map((line) => make("circle", { class: `dot f${line.color % 8}`, r: 4 }, marks));
    let stop = stops.length - 1;

    const show = () => {
      const x = stops[stop];
      const near = lines.map((line) => nearest(line.x, x));
      const here = lines.findIndex((line, index) => line.x[near[index]] === x);
      const head = lines[here].at[near[here]];
      cursor.setAttribute("x1", x);
      cursor.setAttribute("x2", x);
      lines.forEach((line, index) => {
        dots[index].setAttribute("cx", line.x[near[index]]);
        dots[index].setAttribute("cy", line.y[near[index]]);
      });
      marks.setAttribute("visibility", "visible");
      tip.replaceChildren(Object.assign(document.createElement("b"), { textContent: head }));
      lines.forEach((line, index) => {
        const at = line.at[near[index]];
        tip.append(row(at === head ? line.label : `${line.label} (${at})`, line.values[near[index]]));
      });
      tip.hidden = false;
      const box = svg.getBoundingClientRect();
      const scale = box.width / svg.viewBox.baseVal.width;
      const left = box.left + x * scale;
      const room = document.documentElement.clientWidth - tip.offsetWidth - 8;
      const beside = left + 14 > room ? left - tip.offsetWidth - 14 : left + 14;
      tip.style.left = `${Math.max(8, Math.min(beside, room)) + window.scrollX}px`;
      const above = box.top - tip.offsetHeight - 2;
      tip.style.top = `${(above > 0 ? above : box.top + 12) + window.scrollY}px`;
    };
    const hide = () => {
      marks.setAttribute("visibility", "hidden");
      tip.hidden = true;
    };
    const point = (event) => {
      const box = svg.getBoundingClientRect();
      stop = nearest(stops, ((event.clientX - box.left) / box.width) * svg.viewBox.baseVal.width);
      show();
    };
    svg.addEventListener("pointermove", point);
    svg.addEventListener("pointerdown", point);
    svg.addEventListener("pointerleave", hide);
    svg.addEventListener("focus", () => { if (svg.matches(":focus-visible")) show(); });
    svg.addEventListener("blur", hide);
    svg.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (event.key === "Escape") hide();
      if (!step) return;
      stop = Math.max(0, Math.min(stops.length - 1, stop + step));
      show();
      event.preventDefault();
    });
  }
})();
