// theme.js - dark or light: as the system has it until somebody chooses.

const KEY = "godwit-theme";
const system = matchMedia("(prefers-color-scheme: dark)");
let onChange = () => {};

function chosen() {
	try {
		return localStorage.getItem(KEY);
	} catch {
		return null; // storage is switched off: the system decides
	}
}

export const themeIs = (name) => (chosen() ?? (system.matches ? "dark" : "light")) === name;

function apply() {
	document.documentElement.dataset.theme = themeIs("dark") ? "dark" : "light";
	onChange();
}

export function toggleTheme() {
	const next = themeIs("dark") ? "light" : "dark";
	try {
		localStorage.setItem(KEY, next);
	} catch {
		return;
	}
	apply();
}

export function startTheme(callback) {
	onChange = callback;
	system.addEventListener("change", apply);
	apply();
}
