// icon.js - line icons on a 24-pixel grid. They decorate: the text beside them says the same.

import { h } from "../dom.js";

const PATHS = {
	overview: "M4 13h6V4H4zM14 9h6V4h-6zM14 20h6v-7h-6zM4 20h6v-3H4z",
	endpoints: "M5 5h14a1 1 0 0 1 1 1v9H4V6a1 1 0 0 1 1-1zM2 19h20M9 15v4M15 15v4",
	desktops: "M4 4h16a1 1 0 0 1 1 1v10a1 1 0 0 1-1 1H4a1 1 0 0 1-1-1V5a1 1 0 0 1 1-1zM8 20h8M12 16v4",
	snapshots: "M12 3l9 5-9 5-9-5zM3 12l9 5 9-5M3 16l9 5 9-5",
	jobs: "M3 12h4l3 8 4-16 3 8h4",
	play: "M7 4l13 8-13 8z",
	pause: "M8 5v14M16 5v14",
	stop: "M6 6h12v12H6z",
	suspend: "M20 14A8 8 0 1 1 10 4a6.5 6.5 0 0 0 10 10z",
	resume: "M4 5v14M9 5l11 7-11 7z",
	camera: "M4 8h3l2-3h6l2 3h3a1 1 0 0 1 1 1v10a1 1 0 0 1-1 1H4a1 1 0 0 1-1-1V9a1 1 0 0 1 1-1zM12 17a3.5 3.5 0 1 0 0-7 3.5 3.5 0 0 0 0 7z",
	move: "M4 8h14l-4-4M20 16H6l4 4",
	failover: "M13 2L4 14h7l-1 8 9-12h-7z",
	search: "M11 18a7 7 0 1 0 0-14 7 7 0 0 0 0 14zM16 16l5 5",
	copy: "M9 9h11v11H9zM5 15H4V4h11v1",
	check: "M4 12l6 6L20 6",
	warning: "M12 3l10 18H2zM12 10v5M12 18v.5",
	close: "M5 5l14 14M19 5L5 19",
	more: "M12 5v.5M12 12v.5M12 19v.5",
	light: "M12 17a5 5 0 1 0 0-10 5 5 0 0 0 0 10zM12 1v3M12 20v3M4 4l2 2M18 18l2 2M1 12h3M20 12h3M4 20l2-2M18 6l2-2",
	dark: "M20 14A8 8 0 1 1 10 4a6.5 6.5 0 0 0 10 10z",
	out: "M10 4H4v16h6M15 8l4 4-4 4M19 12H9",
	key: "M8 18a4 4 0 1 0 0-8 4 4 0 0 0 0 8zM11 11l9-9M16 6l4 4",
	memory: "M5 7h14v10H5zM8 7V4M12 7V4M16 7V4M8 20v-3M12 20v-3M16 20v-3",
	disk: "M4 6c0-1.7 3.6-3 8-3s8 1.3 8 3-3.6 3-8 3-8-1.300-8-3zM4 6v12c0 1.700 3.600 3 8 3s8-1.300 8-3V6M4 12c0 1.700 3.600 3 8 3s8-1.300 8-3",
	branch: "M6 4v12M6 20a2 2 0 1 0 0-4 2 2 0 0 0 0 4zM18 8a2 2 0 1 0 0-4 2 2 0 0 0 0 4zM18 8c0 5-12 3-12 8",
	bell: "M6 17V11a6 6 0 0 1 12 0v6l2 2H4zM10 21h4",
	pin: "M9 3h6l-1 6 4 4H6l4-4zM12 13v8",
	hold: "M6 11h12v9H6zM8 11V8a4 4 0 0 1 8 0v3",
	unplug: "M6 3v5M12 3v5M4 8h10v3a5 5 0 0 1-5 5v5M16 14l5 5M21 14l-5 5",
	plug: "M9 3v5M15 3v5M6 8h12v3a6 6 0 0 1-12 0zM12 17v5",
	chevron: "M9 5l7 7-7 7",
};

export function icon(name, more = "") {
	return h("svg", { class: `icon ${more}`.trim(), viewBox: "0 0 24 24", "aria-hidden": "true", focusable: "false" },
		h("path", { d: PATHS[name] }));
}
