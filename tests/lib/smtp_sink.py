#!/usr/bin/python3
# A real SMTP server (Debian's python3-aiosmtpd) that keeps what it gets: PORT FOLDER. It refuses while FOLDER/refuse is there.
import asyncio
import os
import sys

from aiosmtpd.smtp import SMTP

folder = sys.argv[2]
count = 0


class Keep:
    async def handle_DATA(self, server, session, envelope):
        global count
        if os.path.exists(os.path.join(folder, "refuse")):
            return "451 not now"
        count += 1
        name = os.path.join(folder, f"{count}.eml")
        with open(name + ".part", "wb") as out:
            out.write(("Rcpt: " + " ".join(envelope.rcpt_tos) + "\n").encode() + envelope.content)
        os.rename(name + ".part", name)
        return "250 taken"


async def main():
    loop = asyncio.get_running_loop()
    await loop.create_server(lambda: SMTP(Keep(), enable_SMTPUTF8=True), "127.0.0.1", int(sys.argv[1]))
    print("ready", flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
