"""flip.py IMAGE SEED COUNT FIRST LAST - turns COUNT random bits in bytes FIRST to LAST of a file over, the same for a seed."""
import random
import sys

image, seed, count, first, last = sys.argv[1], *map(int, sys.argv[2:6])
random.seed(seed)
with open(image, "r+b") as f:
    for _ in range(count):
        place = random.randrange(first, last)
        f.seek(place)
        byte = f.read(1)[0]
        f.seek(place)
        f.write(bytes([byte ^ 1 << random.randrange(8)]))
