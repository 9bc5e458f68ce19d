// browser.mjs - Debian's Chromium without a screen, and what every page of ours must hold while it is used.

import { execFileSync } from "node:child_process";
import { chromium } from "playwright-core";

const FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
	"--disable-component-update", "--disable-sync"];

export async function launch() {
	const executablePath = execFileSync("sh", ["-c", "command -v chromium"], { encoding: "utf8" }).trim();
	return chromium.launch({ executablePath, args: FLAGS });
}

/**
 * A page whose misdeeds are collected: uncaught errors, breaches of the content security policy, requests to other hosts.
 * The server's certificate comes from its own CA, which no browser knows; the certificate itself is tested elsewhere.
 */
export async function openPage(browser, url, options = {}) {
	// Without motion: a colour half-way to another one is no colour of the page.
	const context = await browser.newContext({ ignoreHTTPSErrors: true, viewport: { width: 1280, height: 800 }, reducedMotion: "reduce", ...options });
	await context.grantPermissions(["clipboard-read", "clipboard-write"], { origin: url });
	const page = await context.newPage();
	const misdeeds = [];
	page.on("pageerror", (error) => misdeeds.push(`uncaught: ${error.message}`));
	page.on("console", (message) => {
		if (message.type() === "error" && /Content Security Policy|Uncaught|Refused/.test(message.text()))
			misdeeds.push(message.text());
	});
	page.on("request", (request) => {
		if (new URL(request.url()).origin !== new URL(url).origin)
			misdeeds.push(`a request to ${request.url()}`);
	});
	return { page, misdeeds, context };
}

/** From now on remember what elements of SELECTOR said, also those that are gone before anybody looks. */
export const watchWords = (page, selector) => page.evaluate((which) => {
	const last = new WeakMap();
	window.said = [];
	const look = () => {
		for (const element of document.querySelectorAll(which)) {
			if (last.get(element) !== element.textContent)
				window.said.push(element.textContent);
			last.set(element, element.textContent);
		}
	};
	new MutationObserver(look).observe(document.body, { childList: true, subtree: true, characterData: true });
	look();
}, selector);

export const forgetWords = (page) => page.evaluate(() => { window.said = []; });

/** Until one of them has said TEXT, since the last forgetWords(). */
export async function hearWords(page, text, timeoutMs) {
	for (const end = Date.now() + timeoutMs; ;) {
		const said = await page.evaluate(() => window.said);
		if (said.some((words) => words.includes(text)))
			return;
		if (Date.now() > end)
			throw new Error(`nothing said “${text}” within ${timeoutMs} ms, but: ${said.join(" / ")}`);
		await new Promise((wake) => { setTimeout(wake, 100); });
	}
}

/** The current view as a picture, for people. */
export const picture = (page, folder, name) => page.screenshot({ path: `${folder}/${name}.png` });
