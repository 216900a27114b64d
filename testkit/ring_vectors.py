#!/usr/bin/env python3
"""ring/v1 in another language: reproduces ring-coordinator/vectors/ring-v1.json.

    python3 testkit/ring_vectors.py
        checks every vector; each difference is a line, and the exit code is 1 if there are any
    python3 testkit/ring_vectors.py --owner CHANNEL < document.json
        prints the slot of a channel and its owner by the present layout of a ring document

Needs nothing but Python 3.8; the module xxhash is used if it is there. A new vector goes into the file with any outcome:
the lines say the right one.
"""

import argparse
import bisect
import json
import os
import sys

SLOTS = 16384
MASK = (1 << 64) - 1

# XXH3's secret.
SECRET = bytes.fromhex(
    "b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671fcb79e64eccc0e578825ad07dccff7221b8084674f743248e"
    "e03590e6813a264c3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8a8fa763fe39c343ff9dcbbc7c70b4f1d"
    "8a51e04bcdb45931c89f7ec9d9787364eac5ac8334d3ebc3c581a0fffa1363eb170ddd51b7f0da49d316552629d4689e2b16be587d47a1fc"
    "8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e"
)
PRIME32_1, PRIME32_2, PRIME32_3 = 0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D
PRIME64_1, PRIME64_2, PRIME64_3 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9
PRIME64_4, PRIME64_5 = 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5
PRIME_MX1, PRIME_MX2 = 0x165667919E3779F9, 0x9FB21C651E98DF25


def u32(data, at):
    return int.from_bytes(data[at : at + 4], "little")


def u64(data, at):
    return int.from_bytes(data[at : at + 8], "little")


def fold(one, other):
    """The two halves of a product of 128 bits, one over the other."""
    product = one * other
    return (product & MASK) ^ (product >> 64)


def avalanche(value):
    value = (value ^ (value >> 37)) * PRIME_MX1 & MASK
    return value ^ (value >> 32)


def avalanche_of_64(value):
    value = (value ^ (value >> 33)) * PRIME64_2 & MASK
    value = (value ^ (value >> 29)) * PRIME64_3 & MASK
    return value ^ (value >> 32)


def rotated(value, bits):
    return (value << bits | value >> (64 - bits)) & MASK


def mixed(data, at, secret_at):
    """Sixteen bytes with sixteen of the secret."""
    return fold(u64(data, at) ^ u64(SECRET, secret_at), u64(data, at + 8) ^ u64(SECRET, secret_at + 8))


def short_hash(data):
    """Up to 16 bytes."""
    length = len(data)
    if length > 8:
        low = u64(data, 0) ^ u64(SECRET, 24) ^ u64(SECRET, 32)
        high = u64(data, length - 8) ^ u64(SECRET, 40) ^ u64(SECRET, 48)
        swapped = int.from_bytes(low.to_bytes(8, "little"), "big")
        return avalanche((length + swapped + high + fold(low, high)) & MASK)
    if length >= 4:
        value = u32(data, length - 4) + (u32(data, 0) << 32) ^ u64(SECRET, 8) ^ u64(SECRET, 16)
        value ^= rotated(value, 49) ^ rotated(value, 24)
        value = value * PRIME_MX2 & MASK
        value ^= (value >> 35) + length
        value = value * PRIME_MX2 & MASK
        return value ^ (value >> 28)
    if length > 0:
        combined = data[0] << 16 | data[length >> 1] << 24 | data[length - 1] | length << 8
        return avalanche_of_64(combined ^ u32(SECRET, 0) ^ u32(SECRET, 4))
    return avalanche_of_64(u64(SECRET, 56) ^ u64(SECRET, 64))


def middle_hash(data):
    """From 17 to 240 bytes."""
    length = len(data)
    sum_ = length * PRIME64_1
    if length <= 128:
        for pair in range((length - 1) // 32, -1, -1):
            sum_ += mixed(data, 16 * pair, 32 * pair) + mixed(data, length - 16 * (pair + 1), 32 * pair + 16)
        return avalanche(sum_ & MASK)
    for block in range(8):
        sum_ += mixed(data, 16 * block, 16 * block)
    sum_ = avalanche(sum_ & MASK)
    for block in range(8, length // 16):
        sum_ += mixed(data, 16 * block, 16 * (block - 8) + 3)
    return avalanche((sum_ + mixed(data, length - 16, 136 - 17)) & MASK)


def long_hash(data):
    """More than 240 bytes."""
    length = len(data)
    lanes = [PRIME32_3, PRIME64_1, PRIME64_2, PRIME64_3, PRIME64_4, PRIME32_2, PRIME64_5, PRIME32_1]

    def accumulate(at, secret_at):
        for lane in range(8):
            value = u64(data, at + 8 * lane)
            key = value ^ u64(SECRET, secret_at + 8 * lane)
            lanes[lane ^ 1] = (lanes[lane ^ 1] + value) & MASK
            lanes[lane] = (lanes[lane] + (key & 0xFFFFFFFF) * (key >> 32)) & MASK

    stripes = (len(SECRET) - 64) // 8
    blocks = (length - 1) // (64 * stripes)
    for block in range(blocks):
        for stripe in range(stripes):
            accumulate(64 * (block * stripes + stripe), 8 * stripe)
        for lane in range(8):
            value = lanes[lane] ^ (lanes[lane] >> 47) ^ u64(SECRET, len(SECRET) - 64 + 8 * lane)
            lanes[lane] = value * PRIME32_1 & MASK
    for stripe in range((length - 1 - 64 * stripes * blocks) // 64):
        accumulate(64 * (blocks * stripes + stripe), 8 * stripe)
    accumulate(length - 64, len(SECRET) - 64 - 7)
    sum_ = length * PRIME64_1
    for pair in range(4):
        sum_ += fold(lanes[2 * pair] ^ u64(SECRET, 11 + 16 * pair), lanes[2 * pair + 1] ^ u64(SECRET, 19 + 16 * pair))
    return avalanche(sum_ & MASK)


def own_xxh3_64(data):
    """XXH3-64 with seed 0."""
    return short_hash(data) if len(data) <= 16 else middle_hash(data) if len(data) <= 240 else long_hash(data)


def slot_of(channel, xxh3_64):
    return xxh3_64(channel.encode()) % SLOTS


def owners(layout, vnodes, xxh3_64):
    """The id of the owner of each slot; empty without nodes that take slots."""
    nodes = [node for node in layout["nodes"] if node.get("state", "serving") == "serving"]
    weights = {node["id"]: node.get("weight", 1) for node in nodes}
    if not weights:
        return []
    room = {id: -(-105 * SLOTS * weight // (100 * sum(weights.values()))) for id, weight in weights.items()}
    at_point = {}
    for id, weight in weights.items():
        for i in range(vnodes * weight):
            point = xxh3_64(f"{id}#{i}".encode())
            at_point[point] = min(id, at_point.get(point, id))
    points = sorted(at_point)
    table = [None] * SLOTS
    for slot, id in layout.get("pins", {}).items():
        if id in weights:
            table[int(slot)] = id
            room[id] -= 1
    for slot in range(SLOTS):
        if table[slot] is None:
            first = bisect.bisect_left(points, slot << 50)
            clockwise = (at_point[points[(first + step) % len(points)]] for step in range(len(points)))
            table[slot] = next((id for id in clockwise if room[id] > 0), None) or min(id for id in room if room[id] > 0)
            room[table[slot]] -= 1
    return table


def differences(vectors, xxh3_64):
    """What comes out otherwise here."""
    for text, expected in vectors["xxh3_64"].items():
        if xxh3_64(text.encode()) != int(expected, 16):
            yield f"xxh3_64({text!r})"
    for channel, expected in vectors["slots"].items():
        if slot_of(channel, xxh3_64) != expected:
            yield f"slot of {channel!r}"
    for case in vectors["tables"]:
        table = owners(case, case["vnodes"], xxh3_64)
        for slot, expected in case["owners"].items():
            owner = table[int(slot)] if table else None
            if owner != expected:
                yield f"{case['name']}: slot {slot} belongs to {owner!r}, not {expected!r}"
        checksum = f"{xxh3_64(chr(10).join(table).encode()):016x}"
        if checksum != case["checksum"]:
            yield f"{case['name']}: the checksum of all owners is {checksum}, not {case['checksum']}"


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    manner = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=manner)
    parser.add_argument("--owner", metavar="CHANNEL", help="print the channel's slot and owner by the document on stdin")
    parser.add_argument("--own-hash", action="store_true", help="leave the module xxhash alone")
    parser.add_argument("--vectors", metavar="FILE", default=os.path.join(here, "..", "ring-coordinator", "vectors", "ring-v1.json"))
    arguments = parser.parse_args()
    xxh3_64 = own_xxh3_64
    if not arguments.own_hash:
        try:
            import xxhash

            xxh3_64 = xxhash.xxh3_64_intdigest
        except ImportError:
            pass
    if arguments.owner is not None:
        document = json.load(sys.stdin)
        slot = slot_of(arguments.owner, xxh3_64)
        table = owners(document, document.get("vnodes", 512), xxh3_64)
        print(slot, table[slot] if table else "nobody")
        return 0
    with open(arguments.vectors, encoding="utf-8") as file:
        vectors = json.load(file)
    found = list(differences(vectors, xxh3_64))
    for difference in found:
        print(difference, file=sys.stderr)
    counts = {key: len(vectors[key]) for key in ("xxh3_64", "slots", "tables")}
    print(f"{len(found)} differences in {counts['xxh3_64']} hashes, {counts['slots']} slots, {counts['tables']} tables")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
