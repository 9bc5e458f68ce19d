// page_checks.mjs - what a page must be like for everybody: contrast, names, no sideways scrolling.
// The functions run inside the page and return what is wrong, as sentences.

/** Text whose colour is too near its ground. Source: WCAG 2.2, 1.4.3; large text 3 : 1, other text 4.5 : 1. */
export function poorContrast() {
	const canvas = Object.assign(document.createElement("canvas"), { width: 1, height: 1 }).getContext("2d", { willReadFrequently: true });
	const parse = (css) => {
		canvas.clearRect(0, 0, 1, 1);
		canvas.fillStyle = css;
		canvas.fillRect(0, 0, 1, 1);
		return [...canvas.getImageData(0, 0, 1, 1).data];
	};
	const over = (top, below) => top.slice(0, 3).map((channel, i) => channel * top[3] / 255 + below[i] * (1 - top[3] / 255));
	const ground = (element) => {
		const layers = [];
		for (let at = element; at; at = at.parentElement)
			layers.unshift(parse(getComputedStyle(at).backgroundColor));
		return layers.reduce((below, layer) => over(layer, below), [255, 255, 255]);
	};
	const light = (rgb) => {
		const [r, g, b] = rgb.map((channel) => {
			const c = channel / 255;
			return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
		});
		return 0.2126 * r + 0.7152 * g + 0.0722 * b;
	};
	const wrong = new Set();
	for (const element of document.querySelectorAll("body *")) {
		const text = [...element.childNodes].filter((node) => node.nodeType === 3).map((node) => node.data.trim()).join("");
		const style = getComputedStyle(element);
		const box = element.getBoundingClientRect();
		if (!text || style.visibility === "hidden" || box.width <= 1 || box.height <= 1 || Number.parseFloat(style.fontSize) === 0)
			continue;
		const below = ground(element);
		const [a, b] = [light(over(parse(style.color), below)), light(below)].sort((x, y) => y - x);
		const size = Number.parseFloat(style.fontSize);
		const need = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700) ? 3 : 4.5;
		const got = (a + 0.05) / (b + 0.05);
		if (got < need)
			wrong.add(`“${text.slice(0, 30)}” (${element.className || element.tagName}): ${got.toFixed(2)} : 1, needs ${need} : 1`);
	}
	return [...wrong];
}

/** Controls that have no name, fields without a label, headings or landmarks that are missing. */
export function unnamed() {
	const wrong = [];
	const nameOf = (element) => element.getAttribute("aria-label") || element.textContent.trim() || element.title
		|| (element.getAttribute("aria-labelledby") ?? "").split(" ").map((id) => document.getElementById(id)?.textContent).join("");
	for (const element of document.querySelectorAll("button, a[href], progress, [role=meter], dialog, table, nav, [role=menu] > *"))
		if (!nameOf(element))
			wrong.push(`no name: ${element.outerHTML.slice(0, 90)}`);
	for (const field of document.querySelectorAll("input, select, textarea"))
		if (!field.labels?.length && !field.getAttribute("aria-label"))
			wrong.push(`no label: ${field.outerHTML.slice(0, 90)}`);
	if (document.querySelectorAll("h1").length !== 1)
		wrong.push(`${document.querySelectorAll("h1").length} h1 headings`);
	if (!document.querySelector("main"))
		wrong.push("no main landmark");
	const ids = [...document.querySelectorAll("[id]")].map((element) => element.id);
	for (const id of ids.filter((one, i) => ids.indexOf(one) !== i))
		wrong.push(`the id ${id} twice`);
	if (!document.title || !document.documentElement.lang)
		wrong.push("no title or no language");
	return wrong;
}

/** Does the page scroll sideways? Then something is wider than the screen. */
export function tooWide() {
	const width = document.documentElement.clientWidth;
	if (document.documentElement.scrollWidth <= width)
		return [];
	return [...document.querySelectorAll("body *")].filter((element) => element.getBoundingClientRect().right > width + 1)
		.map((element) => `${element.tagName}.${element.className} ends at ${Math.round(element.getBoundingClientRect().right)} of ${width}`).slice(0, 5);
}
