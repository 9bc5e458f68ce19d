#!/usr/bin/env python3
"""A random life of a store: real godwit-store processes, faults, kills and power cuts, and an oracle that knows every byte.

    random_life.py BUILD FOLDER SEED SECONDS

Everything that is done follows from SEED (but for what threads do among themselves). The oracle knows what each acknowledged
snapshot holds. A command that was killed may have happened or not: the store's list decides, and what it lists must be whole.
Ends with 0; or with 1 and what was done, step by step, when something acknowledged was lost, hidden, wrong or came back.
"""
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time

BUILD, FOLDER, SEED, SECONDS = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
HERE = os.path.dirname(os.path.abspath(__file__))
PROGRAM = os.path.join(BUILD, "bin/godwit-store")
FAULTFS = os.path.join(BUILD, "lib/faultfs.so")
CLOCK = os.path.join(BUILD, "lib/clock_jump.so")
POWER_CUT = os.path.join(HERE, "../lib/power_cut.py")
BLOCK = 65536
DAY = 86400
rng = random.Random(SEED)
log = []


class Wrong(Exception):
    pass


def say(text):
    log.append(text)


def demand(truth, text):
    if not truth:
        raise Wrong(text)


# ---- Processes ---------------------------------------------------------------------------------------------------


class Result:
    def __init__(self, command, code, out, err, disturbed):
        self.command, self.code, self.out, self.err, self.disturbed = command, code, out, err, disturbed

    def json(self):
        return json.loads(self.out)

    def __str__(self):
        return f"{' '.join(self.command)}\n    -> {self.code} {self.out[-2000:]!r} {self.err[-2000:]!r}"


def environment(fault=None, clock=0):
    env = dict(os.environ)
    preload = []
    if fault:
        env.update(GODWIT_FAULT=fault, GODWIT_FAULT_LOG="fault.log")
        preload.append(FAULTFS)
    if clock:
        env["GODWIT_CLOCK_JUMP_S"] = str(clock)
        preload.append(CLOCK)
    if preload:
        env["LD_PRELOAD"] = " ".join(preload)
    return env


def start(*args, fault=None, clock=0, power=False):
    command = [PROGRAM, *args, "--key", "key"]
    env = environment(fault, clock)
    if power:
        env["GODWIT_POWER"] = "power"
    say(f"{'' if not fault else fault + ' '}{'' if not clock else f'clock {clock:+} '}{' '.join(command[1:-2])}")
    process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.asked = command
    return process


def finish(process, disturbed=False):
    try:
        out, err = process.communicate(timeout=300)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise Wrong(f"it hangs: {' '.join(process.asked)}") from None
    # Only we end it with a signal, and sanitizers or asserts must not pass for a kill.
    demand(process.returncode >= 0 or (disturbed and process.returncode == -signal.SIGKILL),
           f"died by signal {-process.returncode}: {' '.join(process.asked)}\n{err}")
    say(f"    -> {process.returncode} {err.strip()[-300:]}")
    return Result(process.asked, process.returncode, out, err, disturbed)


def run(*args, **how):
    return finish(start(*args, **how))


def good(*args, **how):
    result = run(*args, **how)
    demand(result.code == 0, f"this should have worked: {result}")
    return result


def disturbed_run(*args):
    """With a fault, a kill or a power cut somewhere, or with none at all."""
    clock = rng.choice([0, 0, 0, 0, DAY, -DAY, 3650 * DAY, -400 * DAY])
    kind = rng.choice(["none", "none", "none", "fault", "kill", "power", "time"])
    n = rng.randint(1, 30)
    if kind == "none":
        return finish(start(*args, clock=clock), False)
    if kind == "fault":
        how = rng.choice(["EIO", "ENOSPC", "EIO", "short"])
        if os.path.exists("fault.log"):
            os.unlink("fault.log")
        process = start(*args, fault=f"any:{n}{rng.choice(['', '', '+'])}:{how}", clock=clock)
        return finish(process, True)
    if kind == "kill":
        return finish(start(*args, fault=f"any:{n}:{rng.choice(['kill', 'torn', 'after'])}", clock=clock), True)
    if kind == "power":
        shutil.rmtree("power", ignore_errors=True)
        os.mkdir("power")
        result = finish(start(*args, fault=f"any:{n}:kill", clock=clock, power=True), True)
        what = rng.choice(["all", "data", "names", "some"])
        cut = subprocess.run([POWER_CUT, "power", what, str(rng.randint(0, 1 << 30)), "s", "m", "key"],
                             check=True, capture_output=True, text=True)
        say(f"    {what}: {cut.stdout.strip()}")
        return result
    process = start(*args, clock=clock)
    time.sleep(rng.random() * 0.15)
    process.kill()
    return finish(process, True)


# ---- What there should be ----------------------------------------------------------------------------------------


class Snapshot:
    def __init__(self, desktop, domain, data):
        self.desktop, self.domain, self.data, self.pinned = desktop, domain, data, False


class Desktop:
    def __init__(self, name, domain):
        self.name, self.domain = name, domain
        self.data = bytearray()
        for _ in range(rng.randint(8, 30)):
            self.data += some_block()
        self.data += rng.randbytes(rng.randint(0, 5000))


pool = [rng.randbytes(BLOCK) for _ in range(40)] + [bytes(BLOCK), b"text " * (BLOCK // 5) + b"."]
known = {}       # id → Snapshot: acknowledged and not forgotten
gone = set()     # ids: acknowledged as forgotten
desktops = []


def some_block():
    return rng.choice(pool) if rng.random() < 0.7 else rng.randbytes(BLOCK)


def change(desktop):
    """Change some blocks; return the extents that hold all changes."""
    extents = []
    for _ in range(rng.randint(0, 4)):
        at = rng.randrange(len(desktop.data) // BLOCK) * BLOCK
        desktop.data[at:at + BLOCK] = some_block()
        extents.append((at, BLOCK))
    return extents


def listed(store="s"):
    return {m["snapshot"]: m for m in good("list", store, "--output", "json").json()}


def settle(attempt=None, maybe_gone=()):
    """After a command that may or may not have happened: the list decides; nothing else may have changed."""
    now = listed()
    for new in set(now) - set(known):
        demand(new not in gone, f"{new} was forgotten and is back")
        demand(attempt is not None, f"{new} came from nowhere")
        known[new] = attempt
        attempt = None
        check_get(new)
    for lost in set(known) - set(now):
        demand(lost in maybe_gone, f"{lost} was acknowledged and is not listed any more")
        gone.add(lost)
        del known[lost]


def check_get(snapshot, store="s", allowed_to_fail=False):
    result = run("get", store, snapshot, "disk0", "back")
    if result.code != 0:
        demand(allowed_to_fail, f"cannot be read: {result}")
        return False
    with open("back", "rb") as f:
        demand(f.read() == bytes(known[snapshot].data), f"{snapshot} in {store} has other bytes than were put")
    return True


def check_everything():
    for snapshot in list(known):
        check_get(snapshot)
    settle()
    good("verify", "s")


# ---- What can happen ---------------------------------------------------------------------------------------------


def put():
    desktop = rng.choice(desktops)
    parents = [i for i, s in known.items() if s.desktop == desktop.name]
    extra = []
    how = rng.choice(["full", "compare", "changed", "changed"])
    if how != "full" and parents:
        parent = rng.choice(parents)
        extra = ["--parent", parent]
        if how == "changed":
            desktop.data = bytearray(known[parent].data)
            extents = change(desktop)
            with open("extents", "w", encoding="ascii") as f:
                f.writelines(f"{at} {length}\n" for at, length in extents)
            extra += ["--changed", "disk0=extents"]
        else:
            change(desktop)
    else:
        change(desktop)
    with open("disk", "wb") as f:
        f.write(desktop.data)
    attempt = Snapshot(desktop.name, desktop.domain, bytes(desktop.data))
    result = disturbed_run("put", "s", "--desktop", desktop.name, "--domain", desktop.domain, "--volume", "disk0=disk",
                           "--output", "json", *extra)
    if result.code == 0:
        known[result.json()["snapshot"]] = attempt
        settle()
    else:
        demand(result.disturbed, f"this should have worked: {result}")
        settle(attempt)


def forget():
    if not known:
        return
    ids = rng.sample(sorted(known), min(len(known), rng.randint(1, 3)))
    result = disturbed_run("forget", "s", *ids)
    if any(known[i].pinned for i in ids):
        demand(result.code != 0, "a pinned snapshot was forgotten")
        settle()
    elif result.code == 0:
        for i in ids:
            gone.add(i)
            del known[i]
        settle()
    else:
        demand(result.disturbed, f"this should have worked: {result}")
        settle(maybe_gone=ids)


def pin():
    if not known:
        return
    snapshot = rng.choice(sorted(known))
    pinned = rng.random() < 0.4
    # Pins go by their own time: with a clock that jumps, an earlier one may rightly hold. So no jumps here.
    result = run("pin" if pinned else "unpin", "s", snapshot)
    demand(result.code == 0, f"this should have worked: {result}")
    known[snapshot].pinned = pinned


def prune():
    desktop = rng.choice(desktops)
    ids = [i for i, s in known.items() if s.desktop == desktop.name and not s.pinned]
    result = disturbed_run("prune", "s", "--desktop", desktop.name, "--keep-last", str(rng.randint(2, 6)),
                           "--keep-daily", "2", "--output", "json")
    if result.code == 0:
        for row in result.json()["snapshots"]:
            if not row["keep"]:
                demand(row["snapshot"] in ids, f"prune let go of {row['snapshot']}, which it must not")
                gone.add(row["snapshot"])
                del known[row["snapshot"]]
        settle()
    else:
        demand(result.disturbed, f"this should have worked: {result}")
        settle(maybe_gone=ids)


def gc():
    extra = rng.choice([[], [], ["--repack", "99"], ["--repack", "80"], ["--rekey"]])
    result = disturbed_run("gc", "s", *extra)
    demand(result.code == 0 or result.disturbed, f"this should have worked: {result}")
    settle()


def verify():
    result = disturbed_run("verify", "s", *rng.choice([[], ["--quick"], ["--budget", "500000"]]))
    demand(result.code == 0 or result.disturbed, f"this should have been sound: {result}")


def reindex():
    result = disturbed_run("reindex", "s")
    demand(result.code == 0 or result.disturbed, f"this should have worked: {result}")
    settle()


def rotate():
    if os.path.getsize("key") > 1500:
        return
    result = disturbed_run("key", "rotate", "s")
    demand(result.code == 0 or result.disturbed, f"this should have worked: {result}")
    settle()


def mirror():
    """What it lists it can restore, at any instant; and when it is done it has everything."""
    result = disturbed_run("mirror", "s", "m")
    demand(result.code == 0 or result.disturbed, f"this should have worked: {result}")
    if not os.path.exists("m/store.json"):
        return
    good("verify", "m")
    there = listed("m")
    if result.code == 0:
        same_list("after a mirror run")
    for snapshot in rng.sample(sorted(set(there) & set(known)), min(3, len(set(there) & set(known)))):
        check_get(snapshot, "m")


def beside():
    """Readers beside a writer."""
    if not known:
        return
    readers = []
    target = rng.choice(sorted(known))
    writer = start("gc", "s", "--repack", "99")
    for _ in range(3):
        readers.append(start("get", "s", target, "disk0", "back"))
        readers.append(start(*rng.choice([("list", "s"), ("verify", "s"), ("verify", "s", "--quick"), ("stat", "s")])))
        for reader in readers[-2:]:
            result = finish(reader)
            demand(result.code == 0, f"a reader beside gc: {result}")
        with open("back", "rb") as f:
            demand(f.read() == known[target].data, f"{target} has other bytes than were put, read beside gc")
    demand(finish(writer).code == 0, "gc beside readers failed")


def same_list(when):
    there = set(listed("m"))
    demand(there == set(known), f"{when} the mirror lists {sorted(there - set(known))} too much, "
           f"and not {sorted(set(known) - there)}")


def hurt_file(path):
    """Flip a bit, cut it off, or lose it. Return what was done."""
    size = os.path.getsize(path)
    how = rng.choice(["flip", "flip", "flip", "cut", "lose"])
    at = rng.randrange(size) if size else 0
    if how == "lose" or not size:
        os.unlink(path)
    elif how == "cut":
        os.truncate(path, at)
    else:
        bit = 1 << rng.randrange(8)
        with open(path, "r+b") as f:
            f.seek(at)
            byte = f.read(1)[0]
            f.seek(at)
            f.write(bytes([byte ^ bit]))
    say(f"hurt {path}: {how} at {at} of {size}")
    return how


def hurt_index():
    """Derived files may be lost or wrong at any time: that costs time and nothing else."""
    files = [os.path.join("s/index", f) for f in sorted(os.listdir("s/index"))] if os.path.isdir("s/index") else []
    if files:
        hurt_file(rng.choice(files))
    rng.choice([settle, check_everything, put, gc, verify, forget])()


def hurt_pack():
    """Found, named, never returned as data, carried nowhere, and repaired from the other copy."""
    if not os.path.exists("m/store.json") or run("mirror", "s", "m").code != 0:
        return
    hurt, sound = rng.choice([("s", "m"), ("s", "m"), ("m", "s")])
    packs = sorted(set(os.listdir("s/packs")) & set(os.listdir("m/packs")))
    if not packs:
        return
    pack = rng.choice(packs)
    # Of a lost pack only the index knows, and a mirror that nobody opened for writing has none: to lack both would be two damages.
    good("reindex", hurt)
    if hurt_file(os.path.join(hurt, "packs", pack)) != "lose" and rng.random() < 0.3:
        shutil.rmtree(os.path.join(hurt, "index"), ignore_errors=True)
        say(f"    and {hurt}/index is lost")
    result = run("verify", hurt)
    demand(result.code == 1, f"damage was not found: {result}")
    demand(pack.removesuffix(".pack") in result.out + result.err, f"the damaged pack is not named: {result}")
    for snapshot in list(known):
        check_get(snapshot, hurt, allowed_to_fail=True)
    # What else may come in between: nothing of it may make the damage spread.
    for _ in range(rng.randint(0, 2)):
        finish(start(*rng.choice([("gc", hurt, "--repack", "99"), ("gc", hurt), ("mirror", "s", "m"), ("list", hurt)])))
    repair(hurt, sound)


def repair(hurt, sound):
    """By whole packs or by chunks too, maybe disturbed once before; then all is there and the two are alike."""
    command = rng.choice([("verify", hurt, "--repair-from", sound), ("repair", hurt, "--from", sound)])
    if rng.random() < 0.5:
        disturbed_run(*command)
        for snapshot in list(known):
            check_get(snapshot, hurt, allowed_to_fail=True)
    good(*command)
    check_everything()
    good("mirror", "s", "m")
    good("verify", "m")
    same_list("after a repair")


def damaged_chunks(store):
    result = run("verify", store)
    lines = result.out.splitlines()[:-1]
    ids = [re.search(r"offset \d+, chunk ([0-9a-f]{64})", line) for line in lines]
    return {found.group(1) for found in ids} if result.code == 1 and ids and all(ids) else set()


def flip(path, at):
    with open(path, "r+b") as f:
        f.seek(at)
        byte = f.read(1)[0]
        f.seek(at)
        f.write(bytes([byte ^ 1]))
    say(f"flip {path} at {at}")


def hurt_both():
    """Other chunks of the same pack are damaged on either side: no whole pack is left, but each chunk is."""
    if not os.path.exists("m/store.json") or run("mirror", "s", "m").code != 0:
        return
    packs = sorted(p for p in set(os.listdir("s/packs")) & set(os.listdir("m/packs")) if os.path.getsize(f"s/packs/{p}") > 4 * BLOCK)
    if not packs:
        return
    pack = rng.choice(packs)
    size = os.path.getsize(f"s/packs/{pack}")
    places = [(f"s/packs/{pack}", rng.randrange(size // 2)), (f"m/packs/{pack}", rng.randrange(size // 2, size))]
    for path, at in places:
        flip(path, at)
    here, there = damaged_chunks("s"), damaged_chunks("m")
    if not here or not there or here & there:
        for path, at in places:
            flip(path, at)
        return
    command = ("repair", "s", "--from", "m")
    if rng.random() < 0.5:
        disturbed_run(*command)
        for snapshot in list(known):
            check_get(snapshot, allowed_to_fail=True)
    good(*command)
    check_everything()
    good("mirror", "s", "m")
    good("verify", "m")
    same_list("after a repair by chunks")
    demand(sorted(os.listdir("s/packs")) == sorted(os.listdir("m/packs")), "store and mirror have not the same packs after a repair")


THINGS = [(put, 30), (forget, 8), (pin, 3), (prune, 3), (gc, 10), (verify, 4), (reindex, 2), (rotate, 1), (mirror, 8),
          (beside, 3), (hurt_index, 4), (hurt_pack, 6), (hurt_both, 4), (check_everything, 1)]


def life():
    shutil.rmtree(FOLDER, ignore_errors=True)
    os.makedirs(FOLDER)
    os.chdir(FOLDER)
    good("init", "s")
    desktops.extend([Desktop("ann", "default"), Desktop("bob", "default"), Desktop("eve", "other")])
    end, steps, counts = time.monotonic() + SECONDS, 0, {}
    while time.monotonic() < end:
        # So many that GC, which puts small packs together from 64 on, has something to do; not so many that nothing else happens.
        thing = forget if len(known) > 25 else rng.choices([t for t, _ in THINGS], [w for _, w in THINGS])[0]
        say(f"--- {steps}: {thing.__name__} ({len(known)} snapshots)")
        thing()
        steps += 1
        counts[thing.__name__] = counts.get(thing.__name__, 0) + 1
    check_everything()
    print(f"seed {SEED}: {steps} steps, {len(known)} snapshots in the end, {len(gone)} forgotten: "
          + ", ".join(f"{n} {name}" for name, n in sorted(counts.items())))


try:
    life()
except Wrong as wrong:
    print("\n".join(log[-80:]))
    print(f"seed {SEED}: {wrong}")
    print(f"again: SEED={SEED} ONLY=random_life make fault")
    sys.exit(1)
