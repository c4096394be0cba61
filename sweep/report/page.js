"use strict";
(() => {
  const read = (id) => document.getElementById(id)?.textContent;
  const copy = document.getElementById("copy");
  if (copy && navigator.clipboard) {
    copy.hidden = false;
    copy.addEventListener("click", async () => {
      await navigator.clipboard.writeText(read("training"));
      document.getElementById("copied").textContent = "copied";
    });
  }
  if (!read("plotly")) return;
  const figures = JSON.parse(read("figures"));
  const themes = JSON.parse(read("themes"));
  const places = [...document.querySelectorAll(".plot")];
  const night = matchMedia("(prefers-color-scheme: dark)");
  const config = { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"] };

  const draw = (place, dark) => {
    const { data, layout } = figures[places.indexOf(place)];
    const narrow = place.clientWidth < 500;
    const small = narrow ? { font: { size: 11 } } : {};
    return Plotly.react(place, data, { ...layout, ...small, template: themes[dark ? "dark" : "light"] }, config);
  };
  const unpack = async () => {
    const packed = Uint8Array.from(atob(read("plotly")), (letter) => letter.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    const script = document.createElement("script");
    script.textContent = await new Response(stream).text();
    document.head.append(script);
  };
  const start = async () => {
    await unpack();
    for (const place of places) {
      await draw(place, night.matches);
      await new Promise((go) => setTimeout(go)); // lets the page answer between two plots
    }
    night.addEventListener("change", () => places.forEach((place) => draw(place, night.matches)));
    addEventListener("beforeprint", () => places.forEach((place) => draw(place, false)));
    addEventListener("afterprint", () => places.forEach((place) => draw(place, night.matches)));
    document.documentElement.dataset.plots = "drawn";
  };
  start().catch((error) => {
    const note = document.getElementById("no-plots");
    note.textContent = `This browser could not draw the plots (${error.message}); what they show is said under each.`;
    note.hidden = false;
    console.error(error);
  });
})();
