#!/usr/bin/env python3
"""A second reader walks: somebody who has a Welcome, its own secrets and what a relay keeps for the
group reads along, by the words of docs/spec (invite.md, relay-log.md, envelope.md, sync.md,
rotation.md, membership.md, consistency.md), and comes to the same messages, classes and members.

    walk.py [FOLDER]
    walk.py FOLDER --speak      and writes what it says, anew

What it reads is protocol/tests/vectors/walk.json; what it stands on is decode.py. In speak.json it is
let in where nobody acts for it, and answers: spoken.json, which a member of ours must hear (the test
`what_a_second_implementation_says_is_heard_here`). And it redeems a code: joined.json is what it says
to a host of ours, whose answers stand in join.json (the test `a_join_goes_as_written`). `.ci/run
second` runs it.
"""
import json
import os
import struct
import sys

from cryptography.hazmat.primitives.asymmetric import ed25519, mlkem
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
import cbor2

from decode import (
    BUCKETS, CHECKED, SLOT, VECTORS, Dag, Noise, bech32m, cbor, check, classes_of, decrypt, digest, encrypt, exchange, kdf, members_of, open_envelope,
    open_slot, pages_of, peek, public_of, read_card, read_op, statement, steps, stored_head, topics_of, vector,
    verifies, x_public,
)


class Walk:
    """Somebody who has a Welcome, its own secrets and what a relay keeps, and reads along."""

    def __init__(self, it):
        self.me = {"identity": it["newcomer_identity"], "prekey_id": it["newcomer_prekey_id"],
                   "prekey": it["newcomer_prekey"], "prekey_secret": it["newcomer_prekey_secret"],
                   "kem_seeds": [it["newcomer_kem_seed"]]}
        self.group, self.ops, self.topics, self.chains, self.heard = it["group"], {}, {}, {}, {}
        self.bundles, self.ciphertexts, self.ratchets, self.messages, self.ids = {}, {}, {}, {}, {}
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
        seed = cbor(it["record_20"])[0][0] if "record_20" in it else bytes(range(32))
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
            self.ids[chain, index] = kdf(16, b"", "wt1 msg id", self.group, chain, struct.pack(">I", index), content)


    def read_all(self, kept):
        done, before = set(), None
        while before != (before := (len(done), len(self.topics), len(self.heard), len(self.chains))):
            for name, _, _ in list(self.logs()):
                for entry in (kept.get(name, []) if name not in done else []):
                    # What was said under one topic may lie on the log of another.
                    under = [(header, control) for _, header, control in self.logs() if peek(entry, header)]
                    if under:
                        self.read(entry, *under[0])
                done.add(name)
            self.open_bundles()
            self.open_messages()


class Voice:
    """The same, speaking: what rotation.md and envelope.md say of sealing, the other way round."""

    def __init__(self, walker, identity_seed):
        self.walker, self.group, self.me = walker, walker.group, walker.me
        self.identity = ed25519.Ed25519PrivateKey.from_private_bytes(identity_seed)
        self.inc, self.said, self.last = os.urandom(8), [], None

    def sign(self, prefix, *parts):
        return self.identity.sign(prefix + b"\0" + b"".join(parts))

    def under_topics(self, body_key, chain, index, carried):
        """One envelope for each topic that is written to; a control body where no key is given."""
        walker = self.walker
        write = topics_of(walker.dag, walker.valid, walker.standing)[1]
        for topic in (walker.topics[commit] for commit in write):
            header_key, control = (kdf(32, topic, f"wt1 ts {part}", self.group) for part in ("hdr", "ctl"))
            key = body_key or control
            size = next(size for size in BUCKETS if size >= len(carried) + 73)
            padded = (struct.pack(">I", len(carried)) + carried).ljust(size - 69, b"\0")
            made = b"\1" + kdf(16, key, "wt1 msg salt", os.urandom(32), padded)
            salt = made[1:]
            made += encrypt(kdf(64, header_key, "wt1 hdr key", salt), made, chain + struct.pack(">I", index))
            made += encrypt(kdf(64, key, "wt1 msg key", salt), made, padded)
            self.said.append(made)

    def state(self, kind, payload):
        said, payload = bytes([kind]), cbor2.dumps(payload)
        signature = self.sign(b"wt1/notice", self.group, said, payload)
        control = cbor2.dumps([kind, self.me["identity"], payload, signature])
        self.under_topics(None, bytes(16), 0, control)

    def announce(self, seed, number):
        keys = [kdf(32, seed, f"wt1 log {role}", self.group) for role in ("write", "read", "trim")]
        self.state(14, [number, keys[0], public_of(keys[1]), public_of(keys[2])])

    def receipt(self):
        heard = {}
        for chain, index in self.walker.heard:
            heard.setdefault(chain, []).append(index)
        self.state(5, [[chain, sorted(indexes)] for chain, indexes in sorted(heard.items())])

    def begin_chain(self):
        """First contacts with all: nobody has confirmed anything yet."""
        dag = self.walker.dag
        roster = sorted(members_of(dag, self.walker.standing))
        cards = {card[1]: card for op in dag.ops.values() if op[7] in (0, 3)
                 for card in [read_card(op[8][1] if op[7] == 0 else op[8][0])]}
        seed, secret, signing = os.urandom(32), os.urandom(32), os.urandom(32)
        ephemeral, spk = x_public(secret), public_of(signing)
        others = [member for member in roster if member != self.me["identity"]]
        contacts = []
        for member in others:
            key = mlkem.MLKEM768PublicKey.from_public_bytes(cards[member][7])
            shared, ciphertext = key.encapsulate()
            contacts.append((member, cards[member][6], shared, ciphertext, digest("wt1 slot kem", member, ciphertext)))
        deps = {dep for said in dag.ops.values() for dep in said[4]}
        roster_hash = digest("wt1 roster", self.group, cbor2.dumps(roster))
        commit = kdf(32, seed, "wt1 seed commit", self.group, self.me["identity"], ephemeral)
        prekey = [self.me["prekey_id"], self.me["prekey"]]
        core = cbor2.dumps([2, self.group, self.me["identity"], sorted(set(dag.ops) - deps), roster_hash, ephemeral, commit,
                            spk, prekey, None, None, self.inc, bytes(16), b"".join(it[4] for it in contacts)])
        context, page = digest("wt1 bundle ctx", core), b""
        for member, (prekey_id, public), shared, _, named in contacts:
            key = kdf(64, shared, "wt1 slot key", exchange(secret, public), ephemeral, public, member, context, named)
            page += b"\2" + prekey_id + ephemeral[:2] + bytes(2) + encrypt(key, context, seed)
        pages = digest("wt1 bundle page", page)
        signature = self.sign(b"wt1/bundle", context, digest("wt1 bundle pages", pages))
        self.state(2, [cbor2.dumps([core, pages, signature]), [page]])
        self.state(8, [context[:16], [[member, ciphertext] for member, _, _, ciphertext, _ in contacts]])
        self.context, self.key, self.index = context, kdf(32, seed, "wt1 chain init", context), 0
        self.signing = ed25519.Ed25519PrivateKey.from_private_bytes(signing)

    def say(self, words, now):
        place = struct.pack(">I", self.index)
        heads = {}
        for (chain, index), envelope in self.walker.messages.items():
            if (chain, index) in self.walker.heard:
                heads[chain] = max(heads.get(chain, (0, b"")), (index, self.walker.ids[chain, index]))
        heads = [[chain, index, name] for chain, (index, name) in sorted(heads.items())][:8]
        content = cbor2.dumps([0, self.last, heads, 100 + self.index, now, words])
        signed = self.group + self.context + place + digest("wt1 content", content)
        carried = content + self.signing.sign(b"wt1/msg\0" + signed)
        both = kdf(64, self.key, "wt1 chain step", place)
        self.under_topics(both[32:], self.context[:16], self.index, carried)
        self.last = kdf(16, b"", "wt1 msg id", self.group, self.context[:16], place, content)
        self.key, self.index = both[:32], self.index + 1


def kept_by_relay(it):
    kept = {}
    for name, entry in it.items():
        if name.startswith(("log_", "inbox_")):
            kept.setdefault(bytes.fromhex(name.split("_")[1]), []).append(entry)
    return kept


def walk(it):
    walker, kept = Walk(it), kept_by_relay(it)
    for entry in kept[walker.inbox_log]:
        walker.post(entry)
    walker.read_all(kept)
    members = members_of(walker.dag, walker.standing)
    check("walker's roster", b"".join(sorted(members)) == it["roster"])
    told = []
    for (chain, index), (sender, words) in sorted(walker.heard.items()):
        if sender != it["newcomer_identity"]:
            gone, end = classes_of(walker.dag, walker.valid, walker.standing, walker.bundles[chain][1], chain)
            kind = 2 if end is not None and index >= end else 1 if gone else 0
            told.append(sender + chain + struct.pack(">I", index) + bytes([kind]) + words)
    check("what the walker hears", told == [it[name] for name in it if name.startswith("heard_")])


def speak(it):
    """What somebody says who was let in and has heard the others; the envelopes, in order."""
    walker = Walk(it)
    walker.read_all(kept_by_relay(it))
    words = sorted(words for _, words in walker.heard.values())
    check("what the newcomer hears", words == [b"and what do you speak?", b"who are you?"])
    now = int.from_bytes(it["now"])
    voice = Voice(walker, it["newcomer_identity_seed"])
    voice.announce(bytes(range(32)), now)
    voice.receipt()
    voice.begin_chain()
    voice.say(b"I have read the pages", now)
    voice.say(b"and I speak as they say", now)
    return voice.said


class Joiner:
    """Who redeems a code, by invite.md and noise.md: always with the same randomness."""

    def __init__(self, it):
        self.it, self.me, payload = it, it["joiner"], bech32m("wattle", it["code"])
        self.prefix, self.secret = payload[4:24], payload[24:40]
        derive = lambda size, label: kdf(size, self.secret, f"wt1 inv {label}")
        self.invite, self.seal_key = derive(16, "id"), derive(32, "enc")
        self.signing = ed25519.Ed25519PrivateKey.from_private_bytes(derive(32, "sig"))
        self.ephemeral, self.static, self.kem = bytes([1] * 32), bytes([2] * 32), bytes([3] * 64)
        session = digest("wt1 session", it["session"])
        self.noise = Noise("Noise_XXpsk0+psk3_25519_ChaChaPoly_BLAKE2b", b"wt1/noise\2\1" + session)
        self.noise.mix_psk(derive(32, "psk"))

    def entry(self, number, body):
        head = self.it["session"] + struct.pack(">BHH", 0, number, len(body))
        size = next(size for size in BUCKETS if size >= len(head) + len(body) + 32)
        plain = (head + body).ljust(size - 32, b"\0")
        salt = kdf(16, self.seal_key, "wt1 inv mail", bytes([number] * 32), plain)
        return salt + encrypt(kdf(64, self.seal_key, "wt1 inv mail", salt), b"", plain)

    def opened(self, entry, number):
        plain = decrypt(kdf(64, self.seal_key, "wt1 inv mail", entry[:16]), b"", entry[16:])
        session, (direction, seq, length) = plain[:16], struct.unpack(">BHH", plain[16:21])
        check("host's entry", (session, direction, seq) == (self.it["session"], 1, number))
        check("host's padding", not any(plain[21 + length:]))
        return plain[21:21 + length]

    def first(self):
        public = x_public(self.ephemeral)
        key = mlkem.MLKEM768PrivateKey.from_seed_bytes(self.kem).public_key().public_bytes_raw()
        self.noise.ephemeral(public)
        return b"\2\1" + public + self.noise.seal(key)

    def finish(self, two):
        noise, me = self.noise, self.me
        noise.ephemeral(two[:32])
        noise.mix_key(exchange(self.ephemeral, two[:32]))
        static = noise.open(two[32:80])
        noise.mix_key(exchange(self.ephemeral, static))
        (card, until, certificate), extra, ciphertext = cbor(noise.open(two[80:]))
        host = read_card(card)[1]
        check("host's certificate", verifies(host, b"wt1/dkcert", static + struct.pack(">Q", until), certificate))
        check("host's path", self.path(cbor(extra), host))
        message = [self.it["group"], self.invite, me["identity"], digest("wt1 card id", me["card"]), noise.h[:32]]
        proof = self.signing.sign(b"wt1/join\0" + b"".join(message))
        own = noise.seal(x_public(self.static))
        noise.mix_key(exchange(self.static, two[:32]))
        noise.mix_psk(mlkem.MLKEM768PrivateKey.from_seed_bytes(self.kem).decapsulate(ciphertext))
        until = self.it["now"] + 30 * 24 * 3_600_000
        identity = ed25519.Ed25519PrivateKey.from_private_bytes(me["identity_seed"])
        certificate = identity.sign(b"wt1/dkcert\0" + x_public(self.static) + struct.pack(">Q", until))
        three = own + noise.seal(cbor2.dumps([[me["card"], until, certificate], proof]))
        self.answers = noise.split()[1]
        return three

    def path(self, ops, host):
        """Genesis, then Promotes, each by whom the one before granted."""
        (grant, genesis), *rest = [read_op(op) for op in ops]
        admin = genesis[2]
        holds = genesis[7] == 0 and grant[:20] == self.prefix and grant == self.it["group"] and len(ops) <= 64
        for name, said in rest:
            holds = holds and (said[1], said[2], said[5], said[7]) == (self.it["group"], admin, grant, 6)
            grant, admin = name, said[8][0]
        return holds and admin == host == self.it["host"]

    def answer(self, number, frame):
        opened = ChaCha20Poly1305(self.answers).decrypt(bytes(4) + struct.pack("<Q", number), frame[1:], frame[:1])
        check("answer's generation", frame[0] == 0)
        return cbor(opened)


def join(it):
    """The joiner's entries, as far as the host has answered."""
    joiner = Joiner(it)
    said = [joiner.entry(0, joiner.first())]
    if not it["from_host"]:
        return said
    said.append(joiner.entry(1, joiner.finish(joiner.opened(it["from_host"][0], 0))))
    answers = [joiner.opened(entry, number) for number, entry in enumerate(it["from_host"]) if number]
    answers = [joiner.answer(number, frame) for number, frame in enumerate(answers)]
    if answers:
        pages = [page for _, page in answers[1:]]
        check("pending, then pages", answers[0] == [0, []] and [left for left, _ in pages] == [1, 0])
        welcome = b"".join(page for _, page in pages)
        check("pages", welcome == bytes(n % 251 for n in range(it["welcome_length"])))
        refused = joiner.answer(0, joiner.opened(it["refused"][0], 1))
        check("refusal", refused == [2, [4]])
    return said


def write(name, entries):
    fields = {f"{name}_{at}": entry.hex() for at, entry in enumerate(entries)}
    (VECTORS / f"{name}.json").write_text(json.dumps(fields, indent=2) + "\n")


walk(vector(VECTORS, "walk.json"))
spoken, joined = speak(vector(VECTORS, "speak.json")), join(vector(VECTORS, "join.json"))
if "--speak" in sys.argv:
    write("spoken", spoken)
    write("joined", joined)
check("joined as written", joined == list(vector(VECTORS, "joined.json").values()))
print(f"walk: {sum(CHECKED.values())} checks")
