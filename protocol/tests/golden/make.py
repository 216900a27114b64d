#!/usr/bin/env python3
"""Remakes cases.json from cases.toml, and from that the seeds in fuzz/corpus.

The Protobuf bytes come from Google's implementation by way of client.proto, so they owe nothing to our code; the JSON
is written by hand in cases.toml. Needed only after a change of cases.toml or client.proto:

    pip install protobuf   # and protoc, by the system's package manager
    python3 protocol/tests/golden/make.py
"""

import json
import pathlib
import re
import subprocess
import tempfile
import tomllib

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from google.protobuf.internal import encoder

HERE = pathlib.Path(__file__).parent
HEX_SEEDS = {"commands_protobuf", "region_message"}
CORPUS = HERE.parents[2] / "fuzz" / "corpus"
PACKAGE = "centrifugal.centrifuge.protocol"
DECLINED = {f"SubscribeResult.{name}" for name in ("type", "phase", "cursor", "state", "publish_debounce")}


def main():
    source = tomllib.loads((HERE / "cases.toml").read_text())
    pool = schema()
    messages = {case["name"]: parsed(case, pool) for case in source["case"]}
    assert len(messages) == len(source["case"]), "two cases share a name"
    covered = set()
    for case in source["case"]:
        message = messages[case["name"]]
        if case.get("law", "canonical") == "canonical":
            cover(message, covered)
        elif case["law"] == "read" and message is not None:
            assert without_unknown(message) == messages[case["reads_as"]], case["name"]
    missing = sorted(every_field(pool) - covered)
    assert not missing, f"no canonical case sets {missing}"
    cases = [finished(case, messages[case["name"]]) for case in source["case"]]
    lines = ",\n".join(json.dumps(case, ensure_ascii=False) for case in cases)
    (HERE / "cases.json").write_text(f"[\n{lines}\n]\n")
    write_seeds(cases, source["seeds"])


def schema():
    with tempfile.NamedTemporaryFile() as out:
        subprocess.run(["protoc", f"-I{HERE}", f"--descriptor_set_out={out.name}", "client.proto"], check=True)
        files = descriptor_pb2.FileDescriptorSet.FromString(out.read())
    pool = descriptor_pool.DescriptorPool()
    for file in files.file:
        pool.Add(file)
    return pool


def parsed(case, pool):
    kind = message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{case['message']}"))
    if "hex" in case:
        return kind.FromString(bytes.fromhex(case["hex"]))
    return text_format.Parse(case["proto"], kind()) if "proto" in case else None


def without_unknown(message):
    """The message as Headcount reads it."""
    known = type(message)()
    known.CopyFrom(message)
    known.DiscardUnknownFields()
    if known.DESCRIPTOR.name == "Reply" and known.HasField("subscribe"):
        for field in DECLINED:
            known.subscribe.ClearField(field.split(".")[1])
    return known


def finished(case, message):
    """The case with its Protobuf bytes: behind their length, as they stand in a frame."""
    frame = None
    if message is not None:
        body = bytes.fromhex(case["hex"]) if "hex" in case else message.SerializeToString(deterministic=True)
        frame = (encoder._VarintBytes(len(body)) + body).hex()
    return {
        "name": case["name"],
        "message": case["message"],
        "law": case.get("law", "canonical"),
        "json": case.get("json"),
        "protobuf_hex": frame,
        "reads_as": case.get("reads_as"),
    }


def cover(message, covered):
    """Notes each field that is set in `message` or in a message inside it."""
    for field, value in message.ListFields():
        name = field.full_name.removeprefix(f"{PACKAGE}.")
        covered.add(name)
        if field.message_type is None:
            continue
        if field.message_type.GetOptions().map_entry:
            parts = value.values() if field.message_type.fields_by_name["value"].message_type else []
        else:
            parts = value if field.is_repeated else [value]
        for part in parts:
            if not part.ListFields():
                covered.add(f"{name} = {{}}")
            cover(part, covered)


def every_field(pool):
    """What the canonical cases must set: each field, and each message in an envelope also empty."""
    messages = pool.FindFileByName("client.proto").message_types_by_name.values()
    fields = {f"{m.name}.{f.name}" for m in messages for f in m.fields} - DECLINED
    envelopes = [m for m in messages if m.name in ("Command", "Reply", "Push")]
    return fields | {f"{m.name}.{f.name} = {{}}" for m in envelopes for f in m.fields if f.message_type}


def write_seeds(cases, extra):
    seeds = {target: {} for target in extra}
    for case in (case for case in cases if case["message"] == "Command"):
        if case["json"] is not None:
            seeds["commands_json"][case["name"]] = case["json"].encode()
        if case["protobuf_hex"] is not None:
            seeds["commands_protobuf"][case["name"]] = bytes.fromhex(case["protobuf_hex"])
    batch = [case for case in cases if case["message"] == "Command" and case["law"] == "canonical"]
    seeds["commands_json"]["a batch of all"] = "\n".join(case["json"] for case in batch).encode()
    seeds["commands_protobuf"]["a batch of all"] = bytes.fromhex("".join(case["protobuf_hex"] for case in batch))
    for target, texts in extra.items():
        for name, text in texts.items():
            seeds[target][name] = bytes.fromhex(text) if target in HEX_SEEDS else text.encode()
    for target, named in seeds.items():
        folder = CORPUS / target
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.iterdir():
            old.unlink()
        for name, seed in named.items():
            (folder / re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")).write_bytes(seed)


if __name__ == "__main__":
    main()
