// router.js - which view the address names. Addresses are #/desktops/anna, so that the server has one page to serve.

const routes = [];

export function route(pattern, view) {
	routes.push({ parts: pattern.split("/").filter(Boolean), view });
}

/** { view, params, path } of the address; view null: there is no such page. */
export function current() {
	const path = location.hash.replace(/^#/, "") || "/";
	const given = path.split("?")[0].split("/").filter(Boolean).map(decode);
	for (const { parts, view } of routes) {
		const params = match(parts, given);
		if (params)
			return { view, params, path };
	}
	return { view: null, params: {}, path };
}

function decode(part) {
	try {
		return decodeURIComponent(part);
	} catch {
		return part;
	}
}

function match(parts, given) {
	if (parts.length !== given.length)
		return null;
	const params = {};
	for (const [i, part] of parts.entries()) {
		if (part.startsWith(":"))
			params[part.slice(1)] = given[i];
		else if (part !== given[i])
			return null;
	}
	return params;
}

export function onNavigate(callback) {
	window.addEventListener("hashchange", callback);
}
