// console.mjs - somebody signs in, starts a desktop, snapshots it, moves it, and watches it survive a dead endpoint, all in
// one page that is never loaded again.
//
//   node console.mjs URL PASSWORD-FILE PICTURES APPLIANCE BUILD DIR
//
// URL of the server; it has endpoints a and b and a desktop "anna" that is imported and stopped. APPLIANCE is
// tests/lib/appliance.sh, by which endpoints are killed in DIR.

import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { forgetWords, hearWords, launch, openPage, picture, watchWords } from "./browser.mjs";
import { poorContrast, tooWide, unnamed } from "./page_checks.mjs";
import { diag, done, is, ok, step } from "./tap.mjs";

const [url, passwordFile, pictures, appliance, build, dir] = process.argv.slice(2);
const password = readFileSync(passwordFile, "utf8").trim();

// A guest under software emulation on a small machine: nothing here is about speed.
const WORK_MS = 180000;
const QUICK_MS = 60000;

/** A line of shell with the appliance's functions; more arguments are $4 and on. */
const shell = (line, ...more) => execFileSync("bash", ["-c", `. "$1"; appliance_init "$2" "$3" && ${line}`, "-", appliance, build, dir, ...more],
	{ stdio: ["ignore", 2, 2] });

const browser = await launch();
const { page, misdeeds } = await openPage(browser, url);
page.setDefaultTimeout(QUICK_MS);

/** To another view; returns when it is drawn. */
const go = (hash) => page.evaluate((to) => new Promise((drawn) => {
	if (location.hash === `#${to}`) {
		drawn();
		return;
	}
	addEventListener("hashchange", () => requestAnimationFrame(() => drawn()), { once: true });
	location.hash = to;
}), hash);
const place = (name) => page.locator(".place", { has: page.getByRole("heading", { name }) });
const chipAt = (endpoint, desktop) => place(endpoint).locator(".chip", { hasText: desktop });
// A toast leaves after some seconds.
const hear = (text) => hearWords(page, text, WORK_MS);

async function pageIsSound(where) {
	const wrong = [];
	for (const check of [poorContrast, unnamed, tooWide])
		wrong.push(...await page.evaluate(check));
	ok(wrong.length === 0, `${where}: contrast, names and width are right`, wrong.join("\n"));
}

// ---- The door ----

const answer = await page.goto(url);
const policy = answer.headers()["content-security-policy"] ?? "";
ok(/default-src 'none'/.test(policy) && /script-src 'self'/.test(policy) && !/unsafe/.test(policy),
	"the content security policy is strict", policy || "there is none");

await step("a wrong password is refused with a sentence", async () => {
	await page.getByLabel("User").fill("admin");
	await page.getByLabel("Password").fill("wrong");
	await page.getByRole("button", { name: "Sign in" }).click();
	const said = page.getByRole("alert");
	await said.waitFor();
	return (await said.textContent()).trim();
});
await pageIsSound("the door");
await picture(page, pictures, "sign-in");

await step("the right one opens the door", async () => {
	await page.getByLabel("Password").fill(password);
	await page.keyboard.press("Enter");
	await page.getByRole("navigation", { name: "Main" }).waitFor();
	await page.getByText("Live", { exact: true }).waitFor();
});
is(await page.evaluate(() => document.cookie), "", "scripts can't read the session");
await page.evaluate(() => { window.sameDocument = true; });
await watchWords(page, ".active-job, .toast");

// ---- Looking around ----

await step("both endpoints and the desktop are there", async () => {
	await place("a").getByText("online").waitFor();
	await place("b").getByText("online").waitFor();
	await page.locator(".place.resting .chip", { hasText: "anna" }).waitFor();
});
for (const [hash, heading] of [["/desktops", "Desktops"], ["/endpoints", "Endpoints"], ["/snapshots", "Snapshots"], ["/jobs", "Jobs"],
	["/desktops/anna", "anna"], ["/endpoints/a", "a"], ["/server", "Server"], ["/nothing", "Not found"]]) {
	await go(hash);
	await page.getByRole("heading", { level: 1, name: heading, exact: true }).waitFor();
	await pageIsSound(`#${hash}`);
}

await step("an enrolment token is made and copied", async () => {
	await go("/endpoints");
	await page.getByRole("button", { name: "Enrol an endpoint" }).click();
	await page.getByRole("button", { name: "Make a token" }).click();
	const token = (await page.locator("#enrol-token").textContent()).trim();
	if (!/^gw1-.+-[0-9a-f]{64}$/.test(token))
		throw new Error(`that is no token: ${token}`);
	await page.getByRole("button", { name: "Copy", exact: true }).click();
	const copied = await page.evaluate(() => navigator.clipboard.readText());
	if (copied !== token)
		throw new Error(`copied ${copied}`);
	await pageIsSound("the token dialog");
	await page.keyboard.press("Escape");
	await page.getByRole("dialog").waitFor({ state: "detached" });
});

// ---- A desktop's life ----

await step("it starts where it is told to", async () => {
	await go("/desktops/anna");
	await page.getByRole("button", { name: "Start", exact: true }).click();
	await page.locator(".heading .badge", { hasText: "running" }).waitFor({ timeout: WORK_MS });
	await hear("Start of anna is done");
	await picture(page, pictures, "desktop");
});
const first = (await page.locator(".heading-note a").textContent()).trim();
const second = first === "a" ? "b" : "a";
diag(`anna runs on ${first}`);

await step("a snapshot with memory appears in its timeline while it runs", async () => {
	const before = await page.locator(".instant").count();
	await page.getByRole("button", { name: "Snapshot", exact: true }).click();
	await hear("Snapshot of anna");
	await hear("Snapshot of anna is done");
	await page.locator(".instant.newest", { hasText: "with memory" }).waitFor();
	const now = await page.locator(".instant").count();
	if (now !== before + 1)
		throw new Error(`${before} snapshots before, ${now} now`);
	return (await page.locator(".instant.newest").innerText()).replaceAll("\n", " ");
});

await step("its newest snapshot has a page of its own", async () => {
	await page.locator(".instant.newest a.id").click();
	await page.getByRole("table", { name: "Volumes" }).getByText("disk0").waitFor();
	await page.getByRole("table", { name: "Volumes" }).getByText("ram/pc.ram").waitFor();
	await pageIsSound("the snapshot's page");
	await go("/desktops/anna");
});

await step("the server is restarted: the page says so and goes on by itself", async () => {
	shell("appliance_end TERM $(appliance_pids server)");
	await page.getByText("No connection").waitFor();
	shell("appliance_server_start");
	await page.getByText("Live", { exact: true }).waitFor();
	await page.locator(".heading .badge", { hasText: "running" }).waitFor();
	if (await page.locator(".banner.bad").count())
		throw new Error(`it complains: ${await page.locator(".banner.bad").first().innerText()}`);
});

await step("moving asks first, and the desktop is seen moving", async () => {
	await page.getByRole("button", { name: "Move…" }).click();
	const question = page.getByRole("dialog");
	await question.getByLabel("Where to").selectOption(second);
	await pageIsSound("the question before moving");
	await picture(page, pictures, "move");
	await question.getByRole("button", { name: "Move it" }).click();
	await go("/");
	await chipAt(second, "anna").getByText("running").waitFor({ timeout: WORK_MS });
	await chipAt(first, "anna").waitFor({ state: "detached" });
	await hear("Move of anna is done");
});

await step("its new endpoint dies: the page says so and the desktop goes on elsewhere", async () => {
	await go("/desktops/anna");
	await forgetWords(page);
	await page.getByRole("button", { name: "Snapshot", exact: true }).click();
	await hear("Snapshot of anna is done");
	await go("/");
	await chipAt(second, "anna").waitFor();
	shell('appliance_endpoint_crash "$4"', second);
	await place(second).getByText("offline").waitFor({ timeout: WORK_MS });
	await picture(page, pictures, "endpoint-died");
	await chipAt(first, "anna").getByText("running").waitFor({ timeout: WORK_MS });
	await picture(page, pictures, "failed-over");
});
await pageIsSound("the overview after the failover");

await step("the failover's job tells its figures", async () => {
	await go("/jobs");
	await page.getByRole("link", { name: /^Failover/ }).first().click();
	await page.getByRole("heading", { level: 1, name: "Failover of anna" }).waitFor();
	await page.locator(".tile", { hasText: "Running after" }).waitFor({ timeout: WORK_MS });
	await picture(page, pictures, "failover-job");
	return (await page.locator(".tile").allInnerTexts()).map((text) => text.replaceAll("\n", " ")).join("; ");
});
await pageIsSound("the failover's job");

await step("a desktop is quarantined, and released", async () => {
	await go("/desktops/anna");
	await page.getByRole("button", { name: "Quarantine…" }).click();
	await page.getByRole("dialog").getByRole("button", { name: "Cut its network" }).click();
	await page.locator(".heading .badge", { hasText: "quarantined" }).waitFor();
	await picture(page, pictures, "quarantined");
	await go("/desktops");
	await page.locator("tr", { hasText: "anna" }).getByText("quarantined").waitFor();
	await go("/desktops/anna");
	await page.getByRole("button", { name: "Release…" }).click();
	await page.getByRole("dialog").getByRole("button", { name: "Release it" }).click();
	await page.getByRole("button", { name: "Quarantine…" }).waitFor();
	await page.locator(".heading .badge", { hasText: "quarantined" }).waitFor({ state: "detached" });
});

// ---- Viruses ----

await step("a snapshot is scanned from its page, and what was found stands there", async () => {
	await go("/snapshots");
	await page.locator("tr", { hasText: "ill" }).getByRole("link").first().click();
	await page.getByRole("button", { name: "Scan for viruses" }).click();
	await page.locator("h1 ~ .heading-note .badge, .heading-note .badge").getByText("infected").waitFor({ timeout: WORK_MS });
	await page.getByRole("cell", { name: "eicar.com" }).waitFor({ timeout: WORK_MS });
	await page.getByText("Held", { exact: true }).waitFor();
	await page.locator(".heading-note").getByText("held").waitFor();
});
await step("it is pinned and unpinned by hand", async () => {
	await page.getByRole("button", { name: "Pin", exact: true }).click();
	await page.getByRole("dialog").getByRole("button", { name: "Pin", exact: true }).click();
	await page.getByRole("button", { name: "Take back the pin of person" }).waitFor();
	await picture(page, pictures, "infected");
	await page.getByRole("button", { name: "Take back the pin of person" }).click();
	await page.getByRole("button", { name: "Pin", exact: true }).waitFor();
});
await pageIsSound("an infected snapshot");

await step("a notice tells of it, and is read", async () => {
	await page.getByRole("link", { name: /^Notices \d+ unread$/ }).click();
	await page.getByRole("heading", { level: 1, name: "Notices" }).waitFor();
	await page.getByText("is infected").first().waitFor();
	await picture(page, pictures, "notices");
	await page.getByRole("button", { name: /^Mark notice/ }).first().click();
	await page.getByText("read by admin").first().waitFor();
});
await pageIsSound("the notices");

await step("the server's page tells how old the signatures are", async () => {
	await go("/server");
	await page.getByRole("heading", { name: "Virus signatures" }).waitFor();
	await page.getByText("up to date").waitFor();
	await picture(page, pictures, "signatures");
});
await pageIsSound("the server's page with signatures");

is(await page.evaluate(() => window.sameDocument), true, "all that was one page, never loaded again");

// ---- Dark, narrow, and out ----

await step("dark colours and a phone's width are right on every page", async () => {
	await page.getByRole("button", { name: "Dark colours" }).click();
	await page.setViewportSize({ width: 360, height: 740 });
	for (const hash of ["/", "/desktops", "/desktops/anna", "/endpoints", "/endpoints/a", "/snapshots", "/jobs", "/notices", "/server"]) {
		await go(hash);
		for (const check of [poorContrast, unnamed, tooWide]) {
			const wrong = await page.evaluate(check);
			if (wrong.length)
				throw new Error(`#${hash}\n${wrong.join("\n")}`);
		}
	}
	await go("/");
	await picture(page, pictures, "phone-dark");
});

await step("these checks can fail", async () => {
	await page.evaluate(() => {
		const bad = document.createElement("button");
		bad.style.cssText = "width: 900px; color: #777; background: #888";
		document.querySelector("main").append(bad);
		bad.before(Object.assign(document.createElement("p"), { textContent: "hard to read" }));
		bad.previousSibling.style.cssText = "color: #777; background: #888";
	});
	for (const check of [poorContrast, unnamed, tooWide])
		if ((await page.evaluate(check)).length === 0)
			throw new Error(`${check.name} saw nothing`);
});

await step("signing out ends the session", async () => {
	await page.getByRole("button", { name: "Sign out" }).click();
	await page.getByRole("button", { name: "Sign in" }).waitFor();
	const status = await page.evaluate(async () => (await fetch("/api/v1/desktops")).status);
	if (status !== 401)
		throw new Error(`a request afterwards is answered with ${status}`);
});

ok(misdeeds.length === 0, "nothing broke, nothing was blocked, nobody else was asked", misdeeds.join("\n"));
await browser.close();
done();
