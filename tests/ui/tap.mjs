// tap.mjs - results on stdout as TAP. A failed check does not end the script; done() prints the plan.

let ran = 0;
let failed = 0;

export function ok(good, name, why = "") {
	ran++;
	console.log(`${good ? "ok" : "not ok"} ${ran} - ${name.replaceAll("#", "")}`);
	if (!good) {
		failed++;
		diag(why);
	}
	return good;
}

export const is = (got, want, name) => ok(Object.is(got, want), name, `got:  ${got}\nwant: ${want}`);

export function diag(text) {
	for (const line of String(text).split("\n"))
		if (line)
			console.log(`# ${line}`);
}

/** Run one step; what it throws is its failure. */
export async function step(name, run) {
	try {
		const said = await run();
		ok(true, name);
		if (said)
			diag(said);
		return true;
	} catch (error) {
		return ok(false, name, error.message.split("\n").slice(0, 12).join("\n"));
	}
}

export function done() {
	console.log(`1..${ran}`);
	process.exitCode = failed ? 1 : 0;
}
