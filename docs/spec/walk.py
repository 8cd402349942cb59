#!/usr/bin/env python3
"""A second reader walks: somebody who has a Welcome, its own secrets and what a relay keeps for the
group reads along, by the words of docs/spec (invite.md, relay-log.md, envelope.md, sync.md,
rotation.md, membership.md, consistency.md), and comes to the same messages, classes and members.

    walk.py [FOLDER]

What it reads is protocol/tests/vectors/walk.json; what it stands on is decode.py. `.ci/run second`
runs it.
"""
import struct

from cryptography.hazmat.primitives.asymmetric import mlkem
import cbor2

from decode import (
    CHECKED, SLOT, VECTORS, Dag, cbor, check, classes_of, decrypt, digest, exchange, kdf, members_of, open_envelope,
    open_slot, pages_of, peek, public_of, read_card, read_op, statement, steps, stored_head, vector, verifies,
)


class Walk:
    """Somebody who has a Welcome, its own secrets and what a relay keeps, and reads along."""

    def __init__(self, it):
        self.me = {"identity": it["newcomer_identity"], "prekey_id": it["newcomer_prekey_id"],
                   "prekey": it["newcomer_prekey"], "prekey_secret": it["newcomer_prekey_secret"],
                   "kem_seeds": [it["newcomer_kem_seed"]]}
        self.group, self.ops, self.topics, self.chains, self.heard = it["group"], {}, {}, {}, {}
        self.bundles, self.ciphertexts, self.ratchets, self.messages = {}, {}, {}, {}
        version, group, ops, cards, secrets, _, inboxes = cbor(it["welcome"])
        check("welcome", (version, group) == (1, self.group) and read_op(ops[0])[0] == group)
        self.take_ops(ops)
        members = members_of(self.dag, self.standing)
        check("welcome's members", self.me["identity"] in members and it["host"] in self.dag.members(True))
        granted = set(map(self.dag.granted, self.dag.ops))
        check("welcome's cards", {read_card(card)[1] for card in cards} <= granted)
        for secret in secrets:
            self.learn(secret)
        for announced in inboxes:
            check("welcome's inboxes", statement(announced, group, cbor(announced)[1])[0] == 14)
        seed = cbor(it["record_20"])[0][0]
        self.inbox = kdf(32, seed, "wt1 log write", group)
        publics = [public_of(kdf(32, seed, f"wt1 log {role}", group)) for role in ("write", "read", "trim")]
        self.inbox_log = kdf(20, b"", "wt1 log id", *publics)

    def take_ops(self, ops):
        self.ops |= dict(read_op(op) for op in ops)
        # What lacks its past waits.
        known = {}
        while ready := {op for op, said in self.ops.items() if op not in known and set(said[4]) <= known.keys()}:
            known |= {op: self.ops[op] for op in ready}
        self.dag = Dag([], known)
        self.valid, self.standing = steps(self.dag)

    def learn(self, secret):
        self.topics[digest("wt1 ts commit", secret)] = secret

    def logs(self):
        """The log of each topic that an op begins, with its header key and control key."""
        begun = {said[8][{0: 3, 4: 3, 8: 0}[said[7]]] for said in self.dag.ops.values() if said[7] in (0, 4, 8)}
        for commit, secret in self.topics.items():
            if commit in begun:
                keys = [public_of(kdf(32, secret, f"wt1 log {role}", self.group)) for role in ("write", "read")]
                name = kdf(20, b"", "wt1 log id", *keys, bytes(32))
                yield name, kdf(32, secret, "wt1 ts hdr", self.group), kdf(32, secret, "wt1 ts ctl", self.group)

    def read(self, envelope, header_key, control_key):
        """An envelope under a topic."""
        place = peek(envelope, header_key)
        check("header under the topic", place is not None)
        if place[0] != bytes(16):
            self.messages.setdefault(place, envelope)
            return
        carried = open_envelope(envelope, header_key, lambda *_: control_key)[2]
        who = cbor(carried)[1]
        kind, value = statement(carried, self.group, who)
        if kind == 1:
            self.take_ops(value)
        elif kind == 2:
            head, pages = value
            context, said = stored_head(head, self.group)
            held = self.bundles.setdefault(context[:16], (context, said, head, {}))[3]
            held.update({digest("wt1 bundle page", page): page for page in pages})
        elif kind == 8:
            self.ciphertexts.setdefault(value[0], {}).update(dict(value[1]))
        else:
            check("statement by whom an op let in", who in map(self.dag.granted, self.dag.ops))

    def post(self, envelope):
        """An entry of the own inbox: what it carries is sealed to its owner, or signed and not sealed."""
        keys = [kdf(32, self.inbox, f"wt1 ts {part}", self.group) for part in ("hdr", "ctl")]
        sealed = open_envelope(envelope, keys[0], lambda *_: keys[1])[2]
        version, prekey_id, ephemeral, ciphertext, box = cbor(sealed)
        check("posted to the prekey", (version, prekey_id) == (1, self.me["prekey_id"]))
        secret = exchange(self.me["prekey_secret"], ephemeral)
        secret += mlkem.MLKEM768PrivateKey.from_seed_bytes(self.me["kem_seeds"][0]).decapsulate(ciphertext)
        bound = digest("wt1 inbox seal", ciphertext)
        both = kdf(64, secret, "wt1 inbox seal", ephemeral, self.me["prekey"], self.group, self.me["identity"], bound)
        said = decrypt(both, ephemeral, box)
        kind, value = statement(said, self.group, cbor(said)[1], self.me["identity"])
        if kind == 16:
            self.take_ops([value[0]])
            self.learn(value[1])

    def open_bundles(self):
        for chain, (context, head, signed, pages) in self.bundles.items():
            if chain in self.chains or not set(head[3]) <= self.dag.ops.keys():
                continue
            view = self.dag.at(head[3])
            roster = sorted(members_of(view, steps(view)[1]))
            check("bundle's view", digest("wt1 roster", self.group, cbor2.dumps(roster)) == head[4])
            check("bundle's sender", head[2] in roster and len(pages_of(signed)) == (len(roster) + 510) // 512)
            others = [member for member in roster if member != head[2]]
            if self.me["identity"] not in others:
                self.chains[chain] = None
                continue
            at = others.index(self.me["identity"])
            page = pages.get(pages_of(signed)[at // 512])
            if page is None or page[SLOT * at] in (2, 3) and self.me["identity"] not in self.ciphertexts.get(chain, {}):
                continue
            check("page's length", len(page) == SLOT * len(others))
            ratchet = self.ratchets.setdefault(head[2], {})
            slot = page[SLOT * at:SLOT * (at + 1)]
            seed = open_slot(slot, context, head, self.me, ratchet, self.ciphertexts.get(chain))
            check("seed's commitment", kdf(32, seed, "wt1 seed commit", self.group, head[2], head[5]) == head[6])
            self.chains[chain] = kdf(32, seed, "wt1 chain init", context)
            if len(head) > 10 and head[10]:
                commit, box = head[10]
                self.learn(decrypt(kdf(64, seed, "wt1 ts box", commit), commit, box))
                check("topic box", commit in self.topics)

    def open_messages(self):
        for (chain, index), envelope in self.messages.items():
            key = self.chains.get(chain)
            if key is None or (chain, index) in self.heard:
                continue
            for step in range(index + 1):
                both = kdf(64, key, "wt1 chain step", struct.pack(">I", step))
                key = both[:32]
            context, head, _, _ = self.bundles[chain]
            headers = [header for _, header, _ in self.logs() if peek(envelope, header)]
            carried = open_envelope(envelope, headers[0], lambda *_: both[32:])[2]
            content, signature = carried[:-64], carried[-64:]
            signed = self.group + context + struct.pack(">I", index) + digest("wt1 content", content)
            check("message's signature", verifies(head[7], b"wt1/msg", signed, signature) and index < 256)
            self.heard[chain, index] = head[2], cbor(content)[5]


def walk(it):
    walker, kept = Walk(it), {}
    for name, entry in it.items():
        if name.startswith(("log_", "inbox_")):
            kept.setdefault(bytes.fromhex(name.split("_")[1]), []).append(entry)
    for entry in kept[walker.inbox_log]:
        walker.post(entry)
    done, before = set(), None
    while before != (before := (len(done), len(walker.topics), len(walker.heard), len(walker.chains))):
        for name, header_key, control_key in list(walker.logs()):
            if name not in done:
                done.add(name)
                for entry in kept.get(name, []):
                    if peek(entry, header_key):
                        walker.read(entry, header_key, control_key)
        walker.open_bundles()
        walker.open_messages()
    members = members_of(walker.dag, walker.standing)
    check("walker's roster", b"".join(sorted(members)) == it["roster"])
    told = []
    for (chain, index), (sender, words) in sorted(walker.heard.items()):
        if sender != it["newcomer_identity"]:
            gone, end = classes_of(walker.dag, walker.valid, walker.standing, walker.bundles[chain][1], chain)
            kind = 2 if end is not None and index >= end else 1 if gone else 0
            told.append(sender + chain + struct.pack(">I", index) + bytes([kind]) + words)
    check("what the walker hears", told == [it[name] for name in it if name.startswith("heard_")])


walk(vector(VECTORS, "walk.json"))
print(f"walk: {sum(CHECKED.values())} checks")
