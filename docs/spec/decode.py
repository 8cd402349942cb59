#!/usr/bin/env python3
"""A second reader of the protocol: opens the vectors in protocol/tests/vectors by the words of
docs/spec, sharing no code with the implementation.

    decode.py [FOLDER]

Needs Python 3.11 and what docs/spec/requirements.txt names: `cryptography` for X25519, Ed25519,
ChaCha20-Poly1305 and ML-KEM-768, `cbor2` for CBOR. BLAKE2b is Python's. `.ci/run second` runs it.
Prints what was checked; ends with 1 at the first thing that doesn't hold.
"""
import hashlib
import hmac
import json
import pathlib
import struct
import sys
import unicodedata
from functools import cache

import cbor2
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric import ed25519, mlkem, x25519
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

CHECKED = {}


def check(what, holds):
    assert holds, what
    CHECKED[what] = CHECKED.get(what, 0) + 1


# --- conventions.md

def kdf(size, key, label, *parts):
    data = b"".join(parts)
    return hashlib.blake2b(data, digest_size=size, key=key, person=label.encode()).digest()


def digest(label, *parts):
    return kdf(32, b"", label, *parts)


def sealer(both):
    """The cipher and the nonce that 64 derived bytes are."""
    return ChaCha20Poly1305(both[:32]), both[32:44]


def decrypt(both, ad, sealed):
    cipher, nonce = sealer(both)
    return cipher.decrypt(nonce, sealed, ad)


def encrypt(both, ad, plain):
    cipher, nonce = sealer(both)
    return cipher.encrypt(nonce, plain, ad)


def verifies(public, prefix, message, signature):
    try:
        ed25519.Ed25519PublicKey.from_public_bytes(public).verify(signature, prefix + b"\0" + message)
        return True
    except InvalidSignature:
        return False


def public_of(seed):
    return ed25519.Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()


def exchange(secret, public):
    key = x25519.X25519PrivateKey.from_private_bytes(secret)
    return key.exchange(x25519.X25519PublicKey.from_public_bytes(public))


def x_public(secret):
    return x25519.X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()


def cbor(data):
    """Strict: definite arrays, shortest integers, nothing else, nothing trailing."""
    value = cbor2.loads(data)
    check("canonical CBOR", cbor2.dumps(value) == data)
    return value


def vector(folder, name):
    def walk(value):
        if isinstance(value, dict):
            return {key: walk(inner) if key not in TEXTS else inner for key, inner in value.items()}
        if isinstance(value, list):
            return [walk(inner) for inner in value]
        return bytes.fromhex(value) if isinstance(value, str) else value

    return walk(json.loads((folder / name).read_text()))


TEXTS = {"label", "name", "code", "token_text", "recovery_code", "fingerprint", "pair", "pair_code", "verdict", "policy_name",
         "class", "first_text", "shown_text", "before_texts", "sign_text"}


# --- The derivations and signatures on their own

def derivations(all_labels):
    for it in all_labels:
        for size, field in [(16, "kdf16"), (20, "kdf20"), (32, "kdf32"), (64, "kdf64")]:
            check("derivation", kdf(size, it["key"], it["label"], it["data"]) == it[field])
        check("hash", digest(it["label"], it["data"]) == it["hash32"])
    check("labels differ", len({it["label"] for it in all_labels}) == len(all_labels))


def signatures(contexts):
    for it in contexts:
        key = ed25519.Ed25519PrivateKey.from_private_bytes(it["seed"])
        check("signature", key.sign(it["prefix"] + b"".join(it["parts"])) == it["signature"])
        check("prefix ends with NUL", it["prefix"].endswith(b"\0") and public_of(it["seed"]) == it["public"])


# --- relay-log.md

def log(it):
    seeds = [it["write_seed"], it["read_seed"], it["trim_seed"]]
    publics = [public_of(seed) if seed else bytes(32) for seed in seeds]
    check("log keys", publics == [it["write"], it["read"], it["trim"]])
    check("log id", kdf(20, b"", "wt1 log id", *publics) == it["id"])
    relay = digest("wt1 relay peer", it["relay_peer"])
    for proof in it["proofs"]:
        message = relay + it["nonce"] + it["id"] + bytes([proof["role"]])
        public = publics[proof["role"]]
        check("log proof", verifies(public, b"wt1/logproof", message, proof["signature"]))


def topics(it):
    group, secret = it["group"], it["secret"]
    check("topic commitment", digest("wt1 ts commit", secret) == it["commit"])
    check("topic keys", kdf(32, secret, "wt1 ts hdr", group) == it["header_key"])
    check("topic keys", kdf(32, secret, "wt1 ts ctl", group) == it["control_key"])
    check("topic log seeds", kdf(32, secret, "wt1 log write", group) == it["log"]["write_seed"])
    check("topic log seeds", kdf(32, secret, "wt1 log read", group) == it["log"]["read_seed"])
    chain, index, carried = open_envelope(it["control_envelope"], it["header_key"], lambda *_: it["control_key"])
    check("control envelope", (chain, index, carried) == (bytes(16), 0, it["carried"]))
    log(it["log"])
    log(it["inbox"])


def relay(it):
    """Each frame both ways: the number, the fields, the proofs, and what a refusal says."""
    check("cursor", it["cursor"] == struct.pack(">QQ", it["generation"], it["seq"]))
    peer, seen = digest("wt1 relay peer", it["relay_peer"]), set()
    for asked in it["from_client"]:
        which, *fields = unframed(asked["framed"], 33_280)
        check("request", which == asked["number"] and REQUESTS[which](fields))
        seen.add(which)
        if which == 6:
            check("token", fields == [it["token"]])
            continue
        check("request's handle", fields[which in (2, 5)] == asked["handle"])
        if which == 1:
            _, publics, proofs = fields
            name = kdf(20, b"", "wt1 log id", *publics)
            check("log id", name == asked["log"] and [role for role, _ in proofs] == asked["roles"])
            for role, signature in proofs:
                message = peer + it["nonce"] + name + bytes([role])
                check("log proof", verifies(publics[role], b"wt1/logproof", message, signature))
        if which == 2:
            check("append", (fields[0], fields[2]) == (asked["req"], asked["entry"]) and len(fields[2]) in BUCKETS)
        if which == 3:
            check("follow", (fields[1:] or [None])[0] == asked["after"])
        if which == 5:
            check("trim", (fields[0], fields[2]) == (asked["req"], asked["up_to"]) and asked["up_to"] == it["cursor"])
    refused = set()
    for data in it["from_relay"]:
        which, *fields = unframed(data, 69_632)
        check("answer", ANSWERS[which](fields))
        seen.add(which)
        if which in REFUSED:
            refused.add(fields[-1][0])
            check("refusal", fields[-1][0] in REFUSED[which])
        if which == 16:
            check("relay's nonce", fields[0] == it["nonce"])
        if which == 21:
            check("entries", all(len(entry) in BUCKETS for _, entry in fields[1]) and fields[2] == it["cursor"])
            check("entries' order", fields[1][-1][0] == it["seq"] and fields[1] == sorted(fields[1]))
    check("every frame of a relay", seen == REQUESTS.keys() | ANSWERS.keys() and refused == set(range(12)))
    check("token's text", bech32m("wtt", it["token_text"]) == b"\1" + it["token"])
    check("token's hash", digest("wt1 relay token", it["token"]) == it["token_hash"])


def unframed(data, most):
    check("frame's length", int.from_bytes(data[:4]) == len(data) - 4 <= most)
    return cbor(data[4:])


# --- envelope.md

BUCKETS = [512, 1024, 2048, 4096, 8192, 16384, 32768]


def open_envelope(envelope, header_key, body_key):
    """(chain, index, carried); `body_key` is given chain and index."""
    check("bucket", len(envelope) in BUCKETS and envelope[0] == 1)
    salt = envelope[1:17]
    header = decrypt(kdf(64, header_key, "wt1 hdr key", salt), envelope[:17], envelope[17:53])
    chain, index = header[:16], int.from_bytes(header[16:])
    key = body_key(chain, index)
    padded = decrypt(kdf(64, key, "wt1 msg key", salt), envelope[:53], envelope[53:])
    length = int.from_bytes(padded[:4])
    check("padding", not any(padded[4 + length:]))
    return chain, index, padded[4:4 + length]


def envelopes(all_sizes):
    for it in all_sizes:
        carried = bytes(n % 251 for n in range(it["carried_length"]))
        size = next(size for size in BUCKETS if size >= len(carried) + 73)
        padded = struct.pack(">I", len(carried)) + carried
        padded = padded.ljust(size - 69, b"\0")
        salt = kdf(16, it["body_key"], "wt1 msg salt", it["random"][0], padded)
        made = b"\1" + salt
        header = it["chain"] + struct.pack(">I", it["index"])
        made += encrypt(kdf(64, it["header_key"], "wt1 hdr key", salt), made, header)
        made += encrypt(kdf(64, it["body_key"], "wt1 msg key", salt), made, padded)
        check("envelope made anew", len(made) == it["length"] and made.startswith(it["beginning"]))
        check("envelope id", digest("wt1 env id", made) == it["id"])
        opened = open_envelope(made, it["header_key"], lambda *_: it["body_key"])
        check("envelope", opened == (it["chain"], it["index"], carried))


# --- identity.md

def read_card(data):
    body, signature = cbor(data)
    card = cbor(body)
    check("card", verifies(card[1], b"wt1/card", body, signature))
    return card + [None] * (9 - len(card))


def fingerprint(member):
    value = digest("wt1 fp", member)
    for _ in range(1023):
        value = digest("wt1 fp", value, member)
    return " ".join(f"{int.from_bytes(value[at:at + 5]) % 100_000:05}" for at in range(0, 30, 5))


def people(it):
    for secret in it["secrets"]:
        read_secrets(secret)
    for shown in it["cards"]:
        card = read_card(shown["bytes"])
        fields = ["version", "member", "recovery", "seq", "name", "nodes", None, "kk", "machines"]
        for value, field in zip(card, fields, strict=True):
            check("card's field", field is None or value == shown[field])
        check("card's field", card[6] == [shown["prekey_id"], shown["prekey"]])
    digits = [fingerprint(secret["identity"]) for secret in it["secrets"]]
    check("fingerprint", digits[0] == it["fingerprint"] and " ".join(sorted(digits)) == it["pair"])
    both = sorted(secret["identity"] for secret in it["secrets"])
    check("pair's code", "WATTLE-PAIR-1:" + b"".join(both).hex().upper() == it["pair_code"])
    check("recovery key", public_of(it["recovery_seed"][0]) == it["recovery_public"])
    check("recovery code", bech32m("wattlerecovery", it["recovery_code"]) == b"\1" + it["recovery_seed"][0])


def read_secrets(it):
    check("identity", public_of(it["identity_seed"]) == it["identity"])
    check("prekey", x_public(it["prekey_secret"]) == it["prekey"])
    card = read_card(it["card"])
    check("card's keys", card[1] == it["identity"] and card[6] == [it["prekey_id"], it["prekey"]])
    if card[7]:
        kem = mlkem.MLKEM768PrivateKey.from_seed_bytes(it["kem_seeds"][0])
        check("ML-KEM key", kem.public_key().public_bytes_raw() == card[7])
    return card


# --- invite.md

def bech32m(prefix, code):
    """The payload of a code, by hand (BIP 350, without its bound of 90 characters)."""
    letters = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
    human, data = code.rsplit("1", 1)
    assert human == prefix
    values = [letters.index(letter) for letter in data]
    sum_ = 1
    for value in [ord(c) >> 5 for c in human] + [0] + [ord(c) & 31 for c in human] + values:
        top, sum_ = sum_ >> 25, (sum_ & 0x1FFFFFF) << 5 ^ value
        for bit, poly in enumerate([0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3]):
            sum_ ^= poly if top >> bit & 1 else 0
    check("bech32m checksum", sum_ == 0x2BC830A3)
    bits, number = 0, 0
    out = bytearray()
    for value in values[:-6]:
        number, bits = number << 5 | value, bits + 5
        if bits >= 8:
            bits -= 8
            out.append(number >> bits & 255)
            number &= (1 << bits) - 1
    check("bech32m padding", bits < 5 and number == 0)
    return bytes(out)


def invites(it):
    secret, group = it["secret"], it["group"]
    check("invite id", kdf(16, secret, "wt1 inv id") == it["id"])
    signing = kdf(32, secret, "wt1 inv sig")
    check("invite keys", public_of(signing) == it["ipk"])
    for field, label in [("psk0", "psk"), ("box_write", "boxw"), ("box_read", "boxr"), ("seal_key", "enc")]:
        check("invite keys", kdf(32, secret, f"wt1 inv {label}") == it[field])
    payload = bech32m("wattle", it["code"])
    check("code's head", payload[:2] == b"\1\0" and int.from_bytes(payload[2:4]) == len(payload))
    check("code's head", payload[4:24] == group[:20] and payload[24:40] == secret)
    found, rest = {1: [], 2: [], 3: [], 4: []}, payload[40:]
    while rest:
        kind, value, rest = rest[0], rest[2:2 + rest[1]], rest[2 + rest[1]:]
        if kind in (5, 6):
            kind -= 4
            value += found[kind][-1][-41:]
        found[kind].append(value)
    check("code's addresses", (found[1], found[2]) == (it["relays"], it["direct"]))
    check("code's token", found[4] == [it["token"]])
    check("code's end", [int.from_bytes(value) for value in found[3]] == [it["expires"]])
    proof = it["proof"]
    message = group + it["id"] + proof["joiner"] + digest("wt1 card id", proof["card"]) + proof["handshake"]
    check("join proof", verifies(it["ipk"], b"wt1/join", message, proof["signature"]))
    mail = it["mail"]
    salt = mail["entry"][:16]
    plain = decrypt(kdf(64, it["seal_key"], "wt1 inv mail", salt), b"", mail["entry"][16:])
    check("mail's salt", salt == kdf(16, it["seal_key"], "wt1 inv mail", mail["random"][0], plain))
    head = mail["session"] + struct.pack(">BHH", mail["direction"], mail["seq"], len(mail["body"]))
    check("mail", plain == (head + mail["body"]).ljust(len(plain), b"\0"))


# --- membership.md

def read_op(data):
    body, signature = cbor(data)
    said = cbor(body)
    signer = said[8][0] if said[7] == 12 else said[2]
    check("op", said[0] == 1 and verifies(signer, b"wt1/op", body, signature))
    return digest("wt1 op id", body), said


def ops(all_kinds):
    for it in all_kinds:
        name, said = read_op(it["bytes"])
        check("op's id", name == it["id"])
        check("op's field", (said[2], said[3], said[4], said[5]) == (it["author"], it["seq"], it["deps"], it["cap"]))
        check("op's field", said[7] == it["kind"] and (said[1] == b"") == (it["kind"] == 0))


def read_conduct(args):
    """The five fields that are read; None where they can't be."""
    if not isinstance(args, list) or len(args) < 5:
        return None
    flags, seconds = [args[at] for at in (0, 1, 3, 4)], args[2]
    lasts = seconds is None or type(seconds) is int and 60 <= seconds <= 31_536_000
    return args[:5] if lasts and all(type(flag) is bool for flag in flags) else None


class Dag:
    """The rule of membership.md, word by word: slow, and without invites (`steps` has them)."""

    GENESIS, CREATE, REVOKE, ADMIT, REMOVE, LEAVE, PROMOTE, DEMOTE, REFRESH, POLICY = 0, 1, 2, 3, 4, 5, 6, 7, 8, 10
    MIGRATE, RETIRE, CONDUCT = 11, 12, 13

    def __init__(self, ops, read=None):
        self.ops = read or dict(read_op(data) for data in ops)
        self.valid = cache(self.valid)
        self.past = cache(self.past)
        self.height = cache(self.height)

    def kind(self, op):
        return self.ops[op][7]

    def author(self, op):
        return self.ops[op][2]

    def cap(self, op):
        return self.ops[op][5]

    def past(self, op):
        deps = self.ops[op][4]
        return frozenset(deps).union(*(self.past(dep) for dep in deps))

    def height(self, op):
        return max((self.height(dep) + 1 for dep in self.ops[op][4]), default=0)

    def at(self, heads):
        """What somebody with these heads had: they, their pasts and the Genesis."""
        seen = set(heads).union(*(self.past(head) for head in heads))
        return Dag([], {op: said for op, said in self.ops.items() if op in seen or said[7] == self.GENESIS})

    def granted(self, op):
        kind, args = self.kind(op), self.ops[op][8]
        if kind == self.GENESIS:
            return self.author(op)
        if kind == self.ADMIT:
            return read_card(args[0])[1]
        return args[0] if kind == self.PROMOTE else None

    def path(self, op):
        if self.kind(op) == self.GENESIS:
            return []
        return self.path(self.cap(op)) + [(self.height(op), op)]

    def rank(self, op):
        return (int(self.kind(op) == self.ADMIT), self.path(op))

    def revokes(self, op, grant):
        kind, member = self.kind(op), self.granted(grant)
        if kind == self.REMOVE or kind == self.DEMOTE and self.kind(grant) == self.PROMOTE:
            return self.ops[op][8][0] == member and self.rank(self.cap(op)) < self.rank(grant)
        return kind == self.RETIRE and self.author(op) == member and self.rank(self.cap(op)) <= self.rank(grant)

    def known(self, op):
        return self.kind(op) in range(13) and self.kind(op) != 9

    def conducts(self, op):
        """Whether it is judged as an admin's word on the group's conduct."""
        is_admins = self.cap(op) is not None and self.kind(self.cap(op)) in (self.GENESIS, self.PROMOTE)
        return self.kind(op) == self.CONDUCT and is_admins and read_conduct(self.ops[op][8]) is not None

    def formed(self, op):
        kind, cap = self.kind(op), self.cap(op)
        if kind in (self.GENESIS, self.LEAVE):
            return True
        if not self.known(op):
            mine = {grant for grant in self.past(op) if self.granted(grant) == self.author(op)}
            return cap in mine or cap is None and mine != set()
        classes = {self.GENESIS, self.PROMOTE} | ({self.ADMIT} if kind in (self.REFRESH, self.RETIRE) else set())
        return cap in self.past(op) and self.granted(cap) == self.author(op) and self.kind(cap) in classes

    def left(self, op):
        return self.kind(op) != self.RETIRE and any(
            self.kind(leave) == self.LEAVE and self.author(leave) == self.author(op)
            for leave in self.past(op) - self.past(self.cap(op))
        )

    def valid(self, op):
        if not self.formed(op) or self.kind(op) in (self.GENESIS, self.LEAVE):
            return self.formed(op)
        if not self.known(op) and not self.conducts(op):
            return False
        cap = self.cap(op)
        return self.valid(cap) and not self.left(op) and not any(
            self.voids(r, op) and r not in self.past(cap) and op not in self.past(r) for r in self.ops
        )

    def voids(self, r, op):
        if self.kind(op) == self.REFRESH and self.kind(r) == self.RETIRE:
            return self.author(r) == self.author(op)
        spared = {self.RETIRE: self.RETIRE, self.REFRESH: self.DEMOTE}.get(self.kind(op))
        return self.kind(r) != spared and self.revokes(r, self.cap(op)) and self.valid(r)

    def stands(self, grant, demotions):
        return self.valid(grant) and not any(
            self.kind(r) in (self.LEAVE, self.RETIRE) and self.author(r) == self.granted(grant)
            or (demotions or self.kind(r) != self.DEMOTE) and self.revokes(r, grant) and self.valid(r)
            for r in self.ops
            if r not in self.past(grant)
        )

    def members(self, admins_only):
        """The members, the most senior first."""
        best = {}
        for op in self.ops:
            who = self.granted(op)
            is_admin = self.kind(op) in (self.GENESIS, self.PROMOTE)
            if who and (is_admin or not admins_only) and self.stands(op, demotions=admins_only):
                best[who] = min(best.get(who, self.rank(op)), self.rank(op))
        return sorted(best, key=best.get)


def steps(dag):
    """The numbered algorithm of membership.md: the valid ops, and the grants that stand, the most senior first."""
    ops, past, cap, kind = list(dag.ops), dag.past, dag.cap, dag.kind
    grants = sorted((op for op in ops if dag.granted(op) is not None), key=dag.rank)
    valid = {op for op in ops if kind(op) in (dag.GENESIS, dag.LEAVE)}

    def under(g, kinds):
        if g not in valid:
            return
        mine = [op for op in ops if cap(op) == g and (dag.known(op) or dag.conducts(op)) and kinds(kind(op))]
        ends = {dag.REMOVE, dag.DEMOTE} if kind(g) == dag.PROMOTE else {dag.REMOVE}
        revokers = [r for r in valid if kind(r) in ends and dag.ops[r][8][0] == dag.granted(g)
                    and dag.rank(cap(r)) < dag.rank(g) and r not in past(g)]
        retires = [op for op in mine if kind(op) == dag.RETIRE]
        valid.update(op for op in retires if all(op in past(r) for r in revokers))
        own = {end: {op for op in ops if kind(op) == end and dag.author(op) == dag.granted(g)} - past(g)
               for end in (dag.RETIRE, dag.LEAVE)}
        by_member = [r for r in revokers if kind(r) == dag.REMOVE] + list(own[dag.RETIRE])
        by_admin = revokers + [r for r in own[dag.RETIRE] & valid if dag.rank(cap(r)) <= dag.rank(g)]
        valid.update(op for op in mine if op not in retires and not own[dag.LEAVE] & past(op)
                     and all(op in past(r) for r in (by_member if kind(op) == dag.REFRESH else by_admin)))

    for g in grants:
        if kind(g) in (dag.GENESIS, dag.PROMOTE):
            under(g, lambda _: True)
    for invite in [op for op in ops if kind(op) == dag.CREATE]:
        name, uses = dag.ops[invite][8][0], dag.ops[invite][8][6]
        admits = [op for op in valid if kind(op) == dag.ADMIT and dag.ops[op][8][1] == name and invite in past(op)]
        revokes = [r for r in valid if kind(r) == dag.REVOKE and dag.ops[r][8][0] == name
                   and dag.rank(cap(r)) <= dag.rank(cap(invite))]
        left = [op for op in admits if invite in valid and all(op in past(r) for r in revokes)]
        left.sort(key=lambda op: (dag.rank(cap(op)), dag.height(op), op))
        valid.difference_update(set(admits) - set(left[:uses]))
    for g in grants:
        if kind(g) == dag.ADMIT:
            under(g, lambda it: it in (dag.RETIRE, dag.REFRESH))

    def stands(g):
        who = dag.granted(g)
        return g in valid and not any(
            kind(r) in (dag.LEAVE, dag.RETIRE) and dag.author(r) == who
            or kind(r) == dag.REMOVE and r in valid and dag.ops[r][8][0] == who and dag.rank(cap(r)) < dag.rank(g)
            for r in ops if r not in past(g))

    return valid, [g for g in grants if stands(g)]


def members_of(dag, standing):
    return list(dict.fromkeys(dag.granted(g) for g in standing))


def in_force(dag, said):
    """Of ops that set something the one that counts."""
    last = [op for op in said if not any(op in dag.past(other) for other in said)]
    path = lambda op: dag.rank(dag.cap(op)) if dag.cap(op) else (-1, [])
    return said[min(last, key=lambda op: (path(op), -dag.height(op), op))] if last else None


def policy_of(dag, valid):
    """The policy in force, as its op says it."""
    return in_force(dag, {op: dag.ops[op][8][2 if dag.kind(op) == dag.GENESIS else 0]
                          for op in valid if dag.kind(op) in (dag.GENESIS, dag.POLICY)})


def conduct_of(dag, valid):
    """The conduct in force."""
    said = {op: read_conduct(dag.ops[op][8]) for op in valid if dag.kind(op) == dag.CONDUCT}
    return in_force(dag, said) or [True, False, None, False, False]


def topics_of(dag, valid, standing):
    """relay-log.md: the commitments of the frontier, those to write to, and whether one is clean."""
    place = {dag.GENESIS: 3, dag.REMOVE: 3, dag.REFRESH: 0}
    begun = {op: dag.ops[op][8][place[dag.kind(op)]] for op in valid if dag.kind(op) in place}
    begun = {op: commit for op, commit in begun.items() if commit is not None}
    frontier = [op for op in begun if not any(op in dag.past(other) for other in begun)]
    frontier = sorted(frontier, key=lambda op: (-dag.height(op), begun[op], op))[:16]
    members = set(members_of(dag, standing))

    def clean(op):
        view = dag.at([op])
        know = {dag.author(op), *members_of(view, steps(view)[1])}
        know |= {dag.granted(g) for g in dag.ops if dag.granted(g) and g not in dag.past(op)}
        return know <= members

    good = [begun[op] for op in frontier if clean(op)]
    return [begun[op] for op in frontier], good[:1] or sorted(begun[op] for op in frontier), bool(good)


def membership(stories):
    for it in stories:
        dag = Dag(it["ops"])
        deps = {dep for said in dag.ops.values() for dep in said[4]}
        check("heads", sorted(set(dag.ops) - deps) == sorted(it["heads"]))
        valid, standing = steps(dag)
        members = members_of(dag, standing)
        policy = policy_of(dag, valid)
        check("policy", cbor2.dumps(policy) == it["policy"] and policy[0] == it["policy_name"])
        check("conduct", cbor2.dumps(conduct_of(dag, valid)) == it["conduct"])
        check("topics", topics_of(dag, valid, standing) == (it["frontier"], it["write"], it["clean"]))
        check("members by steps", members == it["by_seniority"])
        check("formed", all(map(dag.formed, dag.ops)))
        check("void ops by steps", sorted(set(filter(dag.known, dag.ops)) - valid) == it["void"])
        # Word by word, the rule has no invites.
        if not any(said[7] == Dag.CREATE for said in dag.ops.values()):
            check("members", dag.members(False) == it["by_seniority"])
            check("admins", sorted(dag.members(True)) == sorted(it["admins"]))
            word = {op for op in dag.ops if dag.valid(op)}
            check("conduct by the rule", conduct_of(dag, word) == conduct_of(dag, valid))
            check("void ops", sorted(op for op in filter(dag.known, dag.ops) if not dag.valid(op)) == it["void"])
        roster = sorted(members)
        check("roster", roster == it["roster"])
        check("roster's hash", digest("wt1 roster", it["group"], cbor2.dumps(roster)) == it["roster_hash"])


# --- rotation.md and envelope.md

SLOT = 57


def open_slot(slot, ctx, head, me, ratchets, ciphertexts):
    """The seed, by one's own slot; `ratchets` holds epoch → (step, key)."""
    kind, prekey_id, named = slot[0], slot[1:5], b""
    epoch, counter = struct.unpack(">HH", slot[5:9])
    check("slot's prekey", prekey_id == me["prekey_id"])
    if kind == 0:
        at, key = ratchets[epoch]
        while at < counter:
            at, key = at + 1, kdf(32, key, "wt1 pair step")
        psk = kdf(32, key, "wt1 pair mk")
        ratchets[epoch] = (at + 1, kdf(32, key, "wt1 pair step"))
    elif kind == 1:
        psk = bytes(32)
    else:
        ciphertext = ciphertexts[me["identity"]]
        named = digest("wt1 slot kem", me["identity"], ciphertext)
        in_head = len(head) > 13 and named in [head[13][at:at + 32] for at in range(0, len(head[13]), 32)]
        check("slot's type", head[0] == 2 and kind == (2 if in_head else 3) and in_head == (len(head) > 13))
        kem = mlkem.MLKEM768PrivateKey.from_seed_bytes(me["kem_seeds"][0])
        psk = kem.decapsulate(ciphertext)
    shared = exchange(me["prekey_secret"], head[5])
    both = kdf(64, psk, "wt1 slot key", shared, head[5], me["prekey"], me["identity"], ctx, named)
    if kind != 0:
        ratchets[epoch] = (0, kdf(32, both[:32], "wt1 pair init", ctx))
    CHECKED[f"slot of type {kind}"] = CHECKED.get(f"slot of type {kind}", 0) + 1
    return decrypt(both, ctx, slot[9:])


def rotations(it):
    group, people = it["group"], {}
    for secret in it["people"]:
        read_secrets(secret)
        people[secret["identity"]] = secret
    members = cbor2.dumps(sorted(people))
    check("roster's hash", digest("wt1 roster", group, members) == it["roster_hash"])
    ratchets = {member: {} for member in people}
    for rotation in it["rotations"]:
        core, pages, signature = cbor(rotation["head"])
        head, ctx = cbor(core), digest("wt1 bundle ctx", core)
        sender = head[2]
        check("chain id", ctx[:16] == rotation["chain"])
        check("page's hash", pages == digest("wt1 bundle page", rotation["page"]))
        signed = ctx + digest("wt1 bundle pages", pages)
        check("bundle's signature", verifies(sender, b"wt1/bundle", signed, signature))
        check("bundle's view", head[1] == group and head[4] == it["roster_hash"])
        page = rotation["page"]
        check("slots", rotation["recipients"] == sorted(set(people) - {sender}) and len(page) == SLOT * (len(people) - 1))
        ciphertexts = dict(rotation["ciphertexts"])
        seeds = set()
        for at, member in enumerate(rotation["recipients"]):
            if rotation["opened"]:
                slot = page[SLOT * at:SLOT * (at + 1)]
                seeds.add(open_slot(slot, ctx, head, people[member], ratchets[member], ciphertexts))
        seed, ephemeral, chain_seed = rotation["random"][:3]
        check("one seed for all", seeds <= {seed})
        check("seed's commitment", kdf(32, seed, "wt1 seed commit", group, sender, head[5]) == head[6])
        check("ephemeral key", x_public(ephemeral) == head[5] and public_of(chain_seed) == head[7])
        if rotation["topic"]:
            commit, sealed = head[10]
            opened = decrypt(kdf(64, seed, "wt1 ts box", commit), commit, sealed)
            check("topic box", opened == rotation["topic"] and digest("wt1 ts commit", opened) == commit)
        chain_messages(group, ctx, head, seed, rotation["messages"])
    crowd(it["crowd"])


def crowd(it):
    core, pages, _ = cbor(it["head"])
    head, ctx, at = cbor(core), digest("wt1 bundle ctx", core), SLOT * it["place"]
    check("page's hash", pages == digest("wt1 bundle page", it["page"]))
    me = it["recipient"]
    ciphertexts = {me["identity"]: it["ciphertext"]}
    seed = open_slot(it["page"][at:at + SLOT], ctx, head, me, {}, ciphertexts)
    check("one seed for all", seed == it["seed"])


def chain_messages(group, ctx, head, seed, messages):
    key, last = kdf(32, seed, "wt1 chain init", ctx), head[9] and head[9][2]
    for it in messages:
        both = kdf(64, key, "wt1 chain step", struct.pack(">I", it["index"]))
        key, message_key = both[:32], both[32:]
        chain, index, carried = open_envelope(it["envelope"], it["header_key"], lambda *_: message_key)
        check("message's place", (chain, index) == (ctx[:16], it["index"]))
        content, signature = carried[:-64], carried[-64:]
        place = struct.pack(">I", index)
        signed = group + ctx + place + digest("wt1 content", content)
        check("message's signature", verifies(head[7], b"wt1/msg", signed, signature))
        name = kdf(16, b"", "wt1 msg id", group, chain, place, content)
        said = cbor(content)
        check("message", name == it["id"] and said[1] == last and said[5] == b"a word")
        last = name


# --- noise.md

class Noise:
    """Noise XX (revision 34) with psks, as its specification says it, one side's view of both."""

    def __init__(self, name, prologue):
        self.psk_mode = "psk" in name
        self.h = self.hash(name.encode()) if len(name) > 64 else name.encode().ljust(64, b"\0")
        self.ck, self.key, self.counter = self.h, None, 0
        self.mix_hash(prologue)

    @staticmethod
    def hash(data):
        return hashlib.blake2b(data).digest()

    def hkdf(self, data, outputs):
        mac = lambda key, data: hmac.new(key, data, hashlib.blake2b).digest()
        temp, out = mac(self.ck, data), []
        for number in range(1, outputs + 1):
            out.append(mac(temp, (out[-1] if out else b"") + bytes([number])))
        return out

    def mix_hash(self, data):
        self.h = self.hash(self.h + data)

    def mix_key(self, data):
        self.ck, key = self.hkdf(data, 2)
        self.key, self.counter = key[:32], 0

    def mix_psk(self, psk):
        self.ck, middle, key = self.hkdf(psk, 3)
        self.mix_hash(middle)
        self.key, self.counter = key[:32], 0

    def ephemeral(self, public):
        self.mix_hash(public)
        if self.psk_mode:
            self.mix_key(public)

    def nonce(self):
        self.counter += 1
        return bytes(4) + struct.pack("<Q", self.counter - 1)

    def open(self, sealed):
        plain = sealed
        if self.key:
            plain = ChaCha20Poly1305(self.key).decrypt(self.nonce(), sealed, self.h)
        self.mix_hash(sealed)
        return plain

    def seal(self, plain):
        sealed = ChaCha20Poly1305(self.key).encrypt(self.nonce(), plain, self.h)
        self.mix_hash(sealed)
        return sealed

    def split(self):
        return [key[:32] for key in self.hkdf(b"", 2)]


def read_ident(payload, static, extra, now):
    said = cbor(payload)
    card_bytes, not_after, certificate = said[0]
    card = read_card(card_bytes)
    message = static + struct.pack(">Q", not_after)
    check("certificate", verifies(card[1], b"wt1/dkcert", message, certificate) and not_after > now)
    check("handshake's extra", said[1] == extra)
    return said[2] if len(said) > 2 else None


def handshakes(all_patterns):
    for it in all_patterns:
        hybrid, join = it["suite"] == 2, it["purpose"] == 1
        psks = "+".join(["psk0"] * join + ["psk3"] * hybrid)
        name = f"Noise_XX{psks}_25519_ChaChaPoly_BLAKE2b"
        session = digest("wt1 session", it["session"]) if it["session"] else bytes(32)
        noise = Noise(name, b"wt1/noise" + bytes([it["suite"], it["purpose"]]) + session)
        one, two, three = it["messages"]
        check("handshake's first bytes", one[:2] == bytes([it["suite"], it["purpose"]]))
        s_i, s_r = it["static_secrets"]
        # Each side's ephemeral key comes from the 32 bytes that it drew first.
        block = struct.pack(">Q", 0)
        e_i = kdf(64, it["initiator_random"][0], "wt1 noise rnd", block)[:32]
        e_r = kdf(64, it["responder_random"][0], "wt1 noise rnd", block)[:32]
        if join:
            noise.mix_psk(it["psk0"])
        check("ephemeral key", one[2:34] == x_public(e_i))
        noise.ephemeral(one[2:34])
        encapsulation = noise.open(one[34:])
        check("ephemeral key", two[:32] == x_public(e_r))
        noise.ephemeral(two[:32])
        noise.mix_key(exchange(e_i, two[:32]))
        their = noise.open(two[32:80])
        check("static key", their == x_public(s_r))
        noise.mix_key(exchange(e_i, their))
        ciphertext = read_ident(noise.open(two[80:]), their, it["extras"][0], it["now"])
        check("handshake's hash", noise.h[:32] == it["hash_after_two"])
        own = noise.open(three[:48])
        check("static key", own == x_public(s_i))
        noise.mix_key(exchange(e_r, own))
        if hybrid:
            kem = mlkem.MLKEM768PrivateKey.from_seed_bytes(it["initiator_random"][1])
            check("ML-KEM key", kem.public_key().public_bytes_raw() == encapsulation)
            noise.mix_psk(kem.decapsulate(ciphertext))
        check("no KEM where there is none", hybrid or (encapsulation, ciphertext) == (b"", None))
        read_ident(noise.open(three[48:]), own, it["extras"][1], it["now"])
        check("handshake's hash", noise.h[:32] == it["hash"])
        keys = noise.split()
        for number, frame in enumerate(it["frames"]):
            nonce = bytes(4) + struct.pack("<Q", number)
            for key, sealed in zip(keys, [frame["from_initiator"], frame["from_responder"]]):
                opened = ChaCha20Poly1305(key).decrypt(nonce, sealed[1:], sealed[:1])
                check("frame", opened == frame["said"] and sealed[0] == 0)
        # A datagram's key follows from the direction's; it says its epoch and number itself.
        lossy = kdf(32, keys[0], "wt1 noise dgram")
        for number, (said, sealed) in enumerate(zip([b"one", b"two"], it["datagrams"])):
            check("datagram's head", sealed[:12] == struct.pack(">IQ", 0, number))
            nonce = bytes(4) + struct.pack("<Q", number)
            opened = ChaCha20Poly1305(lossy).decrypt(nonce, sealed[12:], sealed[:12])
            check("datagram", opened == said)
        CHECKED[name] = 1


def letters(it):
    joiner, host, group = read_secrets(it["joiner"]), read_secrets(it["host"]), it["group"]
    invite = kdf(16, it["invite_secret"], "wt1 inv id")
    ipk = public_of(kdf(32, it["invite_secret"], "wt1 inv sig"))
    core, proof, sig = cbor(it["request"])
    asked = digest("wt1 join req", core)
    check("letter's session", asked[:16] == it["session"])
    check("request", cbor(core) == [2, invite, it["joiner"]["card"], it["nonce"][0]])
    message = group[:20] + invite + joiner[1] + digest("wt1 card id", it["joiner"]["card"]) + asked
    check("request's proof", verifies(ipk, b"wt1/joinreq", message, proof))
    check("request's signature", verifies(joiner[1], b"wt1/joinik", message, sig))
    first, part = it["frames"]
    ephemeral, head = first[:32], cbor(first[32:])
    check("letter's head", head[:2] == [1, it["host"]["card"]] and read_op(head[2][0])[0] == group)
    ciphertext, bound = head[3], digest("wt1 letter part", head[3])
    prekey = it["joiner"]["prekey"]
    message = group + invite + joiner[1] + asked + ephemeral + prekey + bound
    check("letter's signature", verifies(host[1], b"wt1/letter", message, head[4]))
    kem = mlkem.MLKEM768PrivateKey.from_seed_bytes(it["joiner"]["kem_seeds"][0])
    shared = exchange(it["joiner"]["prekey_secret"], ephemeral)
    key = kdf(32, kem.decapsulate(ciphertext), "wt1 letter key",
              shared, ephemeral, prekey, joiner[1], host[1], asked, bound)
    opened = cbor(ChaCha20Poly1305(key).decrypt(bytes(12), part[34:], part[:34]))
    check("letter", part[:34] == ephemeral + bytes(2) and opened == [1, [0, it["welcome"]]])


# --- storage.md, consistency.md

def records(it):
    head = digest("wt1 audit", it["group"], it["member"])
    for number, data in enumerate(it["audit_entries"]):
        seq, prev, _, event, group, args = cbor(data)
        check("audit entry", (seq, prev, group) == (number, head, it["group"][:4]))
        check("audit checkpoint's place", (event == 0) == (seq % 256 == 255))
        if event == 0:
            message = it["group"] + struct.pack(">Q", seq) + prev
            check("audit checkpoint", verifies(it["member"], b"wt1/audit", message, args[0]))
        head = digest("wt1 audit", data)
    check("audit head", head[:16] == it["audit_head16"])
    kind, [[form, two]] = cbor(it["notice"])
    one, other = (read_op(data) for data in two)
    check("notice", (kind, form, it["verdict"]) == (0, 0, "Equivocation"))
    same = [(said[1], said[2], said[3], said[9]) for _, said in (one, other)]
    check("notice's ops", one[0] != other[0] and same[0] == same[1] and same[0][1] == it["accused"])
    check("notice's ops are of their author's machine", Dag.RETIRE not in (one[1][7], other[1][7]))


def classes_of(dag, valid, standing, head, chain):
    """consistency.md: who is gone, and where the chain ends; None where it does not."""
    view, sender, now = dag.at(head[3]), head[2], set(members_of(dag, standing))
    seen = steps(view)[1]
    gone = sorted(set(members_of(view, seen)) - now - {sender})
    end = 0
    for g in (g for g in seen if dag.granted(g) == sender):
        after = [r for r in dag.ops if r not in dag.past(g)]
        removes = [r for r in after if r in valid and dag.kind(r) == dag.REMOVE and dag.revokes(r, g)]
        retires = [r for r in after if dag.kind(r) == dag.RETIRE and dag.author(r) == sender]
        if g in standing or g in valid and not removes and not retires:
            return gone, None
        cuts = [cut for r in removes or retires for cut in dag.ops[r][8][1]]
        end = max([end] + [index + 1 for _, name, index in cuts if name == chain])
    return gone, end


def classes(stories):
    for it in stories:
        dag = Dag(it["ops"])
        valid, standing = steps(dag)
        for told in it["chains"]:
            context, head = stored_head(told["bundle_head"], it["group"])
            roster = sorted(members_of(dag, steps(dag.at(head[3]))[1]))
            holds = digest("wt1 roster", it["group"], cbor2.dumps(roster)) == head[4] and head[2] in roster
            check("bundle's view", holds == told["view_holds"])
            gone, end = classes_of(dag, valid, standing, head, context[:16])
            below = ("stale-view", gone) if gone else ("ok", [])
            at = lambda index: ("post-cut", []) if end is not None and index >= end else below
            for part in told["parts"]:
                same = [at(index) == (part["class"], part["gone"]) for index in range(part["from"], part["until"])]
                check("class", all(same))
            covered = [(part["from"], part["until"]) for part in told["parts"]]
            ends = [0] + [until for _, until in covered]
            check("every index has a class", [start for start, _ in covered] + [256] == ends or not holds)
            for message in told["messages"]:
                place = struct.pack(">I", message["index"])
                signed = it["group"] + context + place + digest("wt1 content", message["content"])
                good = holds and message["index"] < 256
                good = good and verifies(head[7], b"wt1/msg", signed, message["signature"])
                check("message's class", (at(message["index"])[0] if good else "invalid") == message["class"])


# --- Forms: what a decoded value must look like

def many(form):
    return lambda value: isinstance(value, list) and all(form(each) for each in value)


def row(*forms, optional=0):
    """An array of these; the last `optional` of them may be left out."""
    least = len(forms) - optional
    return lambda value: (isinstance(value, list) and least <= len(value) <= len(forms)
                          and all(form(each) for form, each in zip(forms, value)))


def blob(*sizes):
    return lambda value: isinstance(value, bytes) and (not sizes or len(value) in sizes)


def within(most):
    return lambda value: isinstance(value, bytes) and len(value) <= most


def words(value):
    return isinstance(value, str)


def number(value):
    return type(value) is int and value >= 0


def flag(value):
    return type(value) is bool


def maybe(form):
    return lambda value: value is None or form(value)


B16, B32, B64, TEXT = blob(16), blob(32), blob(64), blob()
INDEXES = many(row(B16, many(number)))
PROOF = row(B16, number, B32, B64)
WANT = row(maybe(many(B32)), many(B16), INDEXES, flag, number, optional=1)
PRESENCE = row(number, many(TEXT))
BUNDLE = row(TEXT, many(TEXT))
KEM = row(B16, many(row(B32, blob(1088))))
HEADS = many(B32)

# relay-log.md: number of frame → fields
CURSOR = blob(16)
REFUSAL = lambda value: row(number, number, optional=1)(value) and (len(value) == 2) == (value[0] in (5, 11))
REQUESTS = {
    1: row(number, row(B32, B32, B32), many(row(number, B64))), 2: row(number, number, TEXT),
    3: row(number, CURSOR, optional=1), 4: row(number), 5: row(number, number, CURSOR),
    6: row(B16),
}
ANSWERS = {
    16: row(B32, number, number, number, flag, optional=1), 17: row(number), 18: row(number, REFUSAL), 19: row(number, CURSOR),
    20: row(number, REFUSAL), 21: row(number, many(row(number, TEXT)), CURSOR), 22: row(number, CURSOR),
    23: row(number), 24: row(number, REFUSAL), 25: row(number, CURSOR), 26: row(number, REFUSAL),
    27: row(number, CURSOR),
    28: row(number),
    29: row(), 30: row(REFUSAL),
}
# … and the refusals that each may give
REFUSED = {18: {3, 4, 9, 10, 11}, 20: set(range(9)) - {4} | {11}, 24: {3, 6, 8}, 26: {3, 5, 6, 8}, 30: {10, 11}}

# sync.md, relay-log.md and consistency.md: kind of statement → payload
STATEMENTS = {
    1: many(TEXT), 2: BUNDLE, 3: TEXT, 4: PRESENCE, 5: INDEXES, 6: B16, 7: WANT, 8: KEM,
    10: row(number, row(row(number, many(lambda value: True)))),
    11: many(row(B16, number, number, maybe(B16), many(number))),
    12: row(many(row(B16, number)), many(PROOF)),
    13: row(B32, many(TEXT), many(PROOF)),
    14: row(number, B32, B32, B32), 15: row(B32, TEXT), 16: row(TEXT, B32),
    17: row(B16, number, HEADS, TEXT, TEXT),
    18: row(B16, many(TEXT), many(TEXT), maybe(HEADS), optional=1),
    19: row(B16), 20: row(B16, number), 21: row(number, within(64), B32, B32, B16),
    22: many(row(B16, number, number)),
    23: row(B32, words),
}

# sync.md: number of frame → fields
FRAMES = {
    0: row(TEXT), 1: row(HEADS), 2: row(HEADS), 3: row(),
    4: row(row(HEADS, many(row(B16, number, many(number))), many(row(B32, number)), flag)),
    5: row(row(many(TEXT), many(TEXT), many(BUNDLE), many(row(B16, number, TEXT)), HEADS, many(KEM), optional=1)),
    6: row(), 7: row(WANT), 8: row(), 9: row(PRESENCE), 10: row(many(TEXT)), 12: row(many(TEXT)), 13: row(TEXT),
    14: row(flag),
}


def statement(data, group, author, owner=None):
    """The kind and payload of a signed statement; `owner` is whose inbox it is for."""
    kind, who, payload, signature = cbor(data)
    said = group + (owner or b"") + bytes([kind]) + payload
    prefix = b"wt1/inbox" if owner else b"wt1/notice"
    check("statement's signature", who == author and verifies(who, prefix, said, signature))
    value = cbor(payload)
    check(f"statement of kind {kind}", STATEMENTS[kind](value))
    return kind, value


def open_seal(it, sealed):
    version, prekey_id, ephemeral, ciphertext, box = cbor(sealed)
    check("seal's head", (version, prekey_id) == (1, it["owner_prekey_id"]))
    secret = exchange(it["owner_prekey_secret"], ephemeral)
    if ciphertext is not None:
        secret += mlkem.MLKEM768PrivateKey.from_seed_bytes(it["owner_kem_seed"]).decapsulate(ciphertext)
    bound = digest("wt1 inbox seal", ciphertext or b"")
    both = kdf(64, secret, "wt1 inbox seal", ephemeral, it["owner_prekey"], it["group"], it["owner_identity"], bound)
    hedged = kdf(32, it["sealed_random"], "wt1 inbox eph", it["owner_identity"], it["sealed_statement"])
    check("seal's ephemeral key", x_public(hedged) == ephemeral)
    return decrypt(both, ephemeral, box)


def statements(it):
    group, author, owner = it["group"], it["from_identity"], it["owner_identity"]
    for sealed in (it["sealed"], it["sealed_without_kem"]):
        check("seal", open_seal(it, sealed) == it["sealed_statement"])
    check("sealed statement", statement(it["sealed_statement"], group, author, owner)[0] == 16)
    found = set()
    for name, data in it.items():
        if name.startswith("statement_"):
            found.add(statement(data, group, author)[0])
        elif name.startswith("inbox_"):
            kind, value = statement(data, group, author, owner)
            found.add(kind)
            if kind == 21:
                at, _, _, seed, _ = value
                key = kdf(32, seed, "wt1 circuit", group, author, owner, at.to_bytes(8, "big"))
                check("key of who comes", key == it["circuit_key"])
        elif name.startswith("frame_"):
            which, fields = cbor(data)
            check(f"frame {which}", FRAMES[which](fields))
            found.add(("frame", which))
    check("every statement", STATEMENTS.keys() <= found)
    check("every frame", {("frame", which) for which in FRAMES} <= found)


# storage.md: kind of record → the length of its key's id, and its value, where that is CBOR
RECORDS = {
    0: (0, row(number, B32, number, number, maybe(row(B16, number, maybe(B16), optional=1)),
               many(row(B16, number, B16)), B32, row(number, B32))),
    1: (32, None), 2: (32, None), 3: (32, PRESENCE), 4: (32, row(B32, number, maybe(number), optional=1)),
    5: (32, many(lambda value: True)), 6: (32, many(lambda value: True)), 7: (16, BUNDLE),
    8: (16, row(number, number, number, TEXT)), 9: (16, many(row(B32, number))),
    10: (32, row(B16, number, number, TEXT)), 11: (0, INDEXES), 12: (16, KEM),
    14: (17, many(row(number, B16, B32, B64))),
    15: (0, row(flag, many(row(B16, number)), many(B16), maybe(HEADS), maybe(flag), many(blob(8)), optional=3)),
    16: (16, STATEMENTS[10]),
    17: (16, row(many(row(number, number, number, maybe(B32), flag, flag)), many(row(number, many(row(B16, B32)))))),
    20: (0, many(row(B32, number, number, maybe(number), TEXT, flag))), 21: (32, None), 22: (0, many(row(TEXT, B32))),
    25: (0, row(maybe(number), number)), 26: (32, row(number, number)),
    27: (0, row(many(row(blob(4), B32)), row(blob(4), B32), optional=1)),
    30: (16, row(many(B32), number, optional=1)), 31: (32, row(B32, B32, number)),
    32: (34, row(B32, number, number, TEXT)), 33: (0, B32), 35: (0, B32), 36: (0, B32),
    37: (16, row(number, many(number), number)),
}


def group(it):
    """A stored group of two, and a page of its shared history."""
    found = stored(it)
    check("stored group's members", len(found[2]) == 2)
    version, heads, records = cbor(it["page"])
    check("page of history", version == 1 and len(heads) == 1 and len(records) == 2)
    for at, index, content, signature in records:
        context, head = stored_head(heads[at], it["group"])
        signed = it["group"] + context + struct.pack(">I", index) + digest("wt1 content", content)
        check("shared record", verifies(head[7], b"wt1/msg", signed, signature) and cbor(content)[0] == 0)


def groups(folder):
    """Stored groups in every state: record by record, then what each kind says of the others."""
    seen = set()
    for file in sorted(folder.glob("group*.json")):
        seen |= stored(vector(folder, file.name)).keys()
    check("every kind of record", seen == RECORDS.keys())


def stored(it):
    found, chains = {}, {}
    for name, value in it.items():
        if not name.startswith("record_"):
            continue
        key = bytes.fromhex(name.removeprefix("record_"))
        length, form = RECORDS[key[0]]
        check("record's key", len(key) == 1 + length)
        check(f"record of kind {key[0]}", form is None or form(cbor(value)))
        found.setdefault(key[0], {})[key[1:]] = value
    of = lambda kind: {key: cbor(value) for key, value in found.get(kind, {}).items()}
    dag = Dag(found[1].values())
    check("stored ops", set(dag.ops) == set(found[1]) and it["group"] in dag.ops)
    valid, standing = steps(dag)
    members = members_of(dag, standing)
    meta = of(0)[b""]
    check("stored group", (meta[0], meta[1], meta[6]) == (2, it["stored_of_identity"], it["group"]))
    check("stored group's members", (meta[1] in members) == (meta[2] == 0) and set(members) <= set(found[2]))
    for member, card in found[2].items():
        check("stored card", read_card(card)[1] == member)
    for owner, announced in found.get(21, {}).items():
        check("stored inbox", statement(announced, it["group"], owner)[0] == 14)
    for commit, topic in of(4).items():
        check("stored topic", digest("wt1 ts commit", topic[0]) == commit)
    for chain, (head, pages) in of(7).items():
        chains[chain] = stored_head(head, it["group"])
        check("stored pages", set(pages_of(head)) >= {digest("wt1 bundle page", page) for page in pages})
        gone, end = classes_of(dag, valid, standing, chains[chain][1], chain)
        told = (of(30).get(chain, [[]]) + [None])[:2]
        check("stored classes", told == [gone, end])
        state, _, _, kept = of(8)[chain]
        check("stored chain", state in (0, 1, 2, 3, 4) and (state == 0) == bool(kept))
    for name, (chain, index, _, envelope) in of(10).items():
        headers = [kdf(32, topic[0], "wt1 ts hdr", it["group"]) for topic in of(4).values()]
        check("parked envelope", digest("wt1 env id", envelope) == name and chain not in chains)
        check("parked envelope's header", any(peek(envelope, header) == (chain, index) for header in headers))
    for chain, (same, ciphertexts) in of(12).items():
        named = chains[chain][1][13]
        hashes = {named[at:at + 32] for at in range(0, len(named), 32)}
        check("stored ciphertexts", same == chain)
        check("stored ciphertexts", hashes >= {digest("wt1 slot kem", *each) for each in ciphertexts})
    for place, block in of(14).items():
        for index, name, content, signature in block:
            context, head = chains[place[:16]]
            signed = it["group"] + context + struct.pack(">I", index) + content
            check("stored evidence", index // 16 == place[16] and verifies(head[7], b"wt1/msg", signed, signature))
    for subject, (sort, [[form, two]]) in of(16).items():
        check("stored notice's form", (sort, form) == (0, 0))
        (one, a), (other, b) = (read_op(op) for op in two)
        check("stored notice", one < other and (a[2], a[3], a[9]) == (b[2], b[3], b[9]))
        check("stored notice's kinds", Dag.RETIRE not in (a[7], b[7]))
        about = bytes([sort, form]) + a[9] + struct.pack(">I", a[3])
        check("stored notice's subject", subject == kdf(16, b"", "wt1 evidence", it["group"], a[2], about))
    for chain, (gaps, named) in of(17).items():
        for index, _, cause, by, _, _ in gaps:
            check("stored gap", index < 256 and cause in range(4) and (by is not None) == (cause in (1, 3)))
        check("stored names", chain in chains or named)
    for op, secret in of(22).get(b"", []):
        said = read_op(op)[1]
        check("handed-over topic", said[8][{0: 3, 4: 3, 8: 0}[said[7]]] == digest("wt1 ts commit", secret))
    for member, (removal, by, _) in of(31).items():
        said = dag.ops[removal]
        check("stored hold", (said[2], said[8][0]) == (by, member) and removal not in valid and member in members)
    moves = {dag.ops[op][8][0] for op in valid if dag.kind(op) == Dag.MIGRATE}
    for by, (to, place, parts, _) in of(32).items():
        check("stored part", to in moves and int.from_bytes(by[32:]) == place < parts)
    check("stored move", set(of(33).values()) <= moves)
    check("stored host", all(host in members for host in of(35).values()))
    check("stored admission", all(dag.granted(op) == meta[1] for op in of(36).values()))
    for read_to, missing, _ in of(37).values():
        check("stored place", read_to <= 256 and all(index < read_to for index in missing))
    return found


def peek(envelope, header_key):
    try:
        opened = decrypt(kdf(64, header_key, "wt1 hdr key", envelope[1:17]), envelope[:17], envelope[17:53])
    except InvalidTag:
        return None
    return opened[:16], int.from_bytes(opened[16:])


def pages_of(head):
    hashes = cbor(head)[1]
    return [hashes[at:at + 32] for at in range(0, len(hashes), 32)]


def stored_head(data, group):
    core, pages, signature = cbor(data)
    head, context = cbor(core), digest("wt1 bundle ctx", core)
    signed = context + digest("wt1 bundle pages", pages)
    check("head", head[1] == group and verifies(head[2], b"wt1/bundle", signed, signature))
    return context, head


# --- files.md

CHUNK = 65_536


def top(leaves):
    """The hash of a tree as in RFC 6962, and each leaf's siblings from below."""
    if len(leaves) == 1:
        return leaves[0], [[]]
    half = 1 << (len(leaves) - 1).bit_length() - 1
    (left, lefts), (right, rights) = top(leaves[:half]), top(leaves[half:])
    proofs = [proof + [right] for proof in lefts] + [proof + [left] for proof in rights]
    return digest("wt1 file node", left, right), proofs


def offered_files(it):
    for given in it["files"]:
        content = bytes(n % 251 for n in range(given["size"]))
        version, key, size, root, name = cbor(given["offer"])
        check("offer", (version, key, size, name) == (1, given["random"][0], len(content), given["name"]))
        check("offer of an image", cbor(given["offer_of_an_image"]) == [*cbor(given["offer"]), [640, 480, bytes([7]) * 25]])
        written, count = struct.pack(">Q", size), max(1, -(-size // CHUNK))
        cipher = ChaCha20Poly1305(kdf(32, key, "wt1 file seal", written))
        sealed = []
        for index in range(count):
            named = struct.pack(">IIB", index, count, index + 1 == count)
            nonce = bytes(4) + struct.pack("<Q", index)
            sealed.append(cipher.encrypt(nonce, content[index * CHUNK:][:CHUNK], named))
        leaves = [digest("wt1 file leaf", struct.pack(">I", index), chunk) for index, chunk in enumerate(sealed)]
        whole, proofs = top(leaves)
        check("root", digest("wt1 file root", written, whole) == root)
        check("file's id", kdf(16, key, "wt1 file id", written, root) == given["id"])
        check("want", cbor(given["want"]) == [1, given["id"], [[0, count]]])
        check("chunks", len(given["chunks"]) == count)
        for index, chunk in enumerate(given["chunks"]):
            frame = cbor2.dumps([16, index, b"".join(proofs[index]), sealed[index]])
            check("chunk", len(frame) == chunk["frame_length"] and frame.startswith(chunk["beginning"]))
        held = sum(1 << n for n in range(count)).to_bytes(-(-count // 8), "little")
        check("what is there", cbor(given["stored"]) == [1, given["id"], held])
    check("refusals", [cbor(said) for said in it["refusals"]] == [[17, [0]], [17, [1]], [17, [2, 5_000]]])


# --- said.md

def hidden(c):
    return c in "\u00ad\u061c\u180e\u200b\u200e\u200f\ufeff" or any(
        first <= ord(c) <= last for first, last in [(0x2028, 0x202E), (0x2060, 0x206F), (0xFFF9, 0xFFFB), (0xE0000, 0xE007F)])


def may_be_sign(text):
    seen = all(not (unicodedata.category(c) == "Cc" or c.isspace() or hidden(c)) for c in text)
    joins = lambda c: c in "\u200c\u200d" or "\ufe00" <= c <= "\ufe0f"
    return 1 <= len(text.encode()) <= 32 and seen and not all(map(joins, text))


def says(kind, payload):
    """What a payload of this kind says; None where it says nothing."""
    try:
        if kind == 0:
            return payload.decode()
        value = cbor2.loads(payload)
        if cbor2.dumps(value) != payload or value[0] != 1:
            return None
        rest = value[1:]
        target = rest[1] if kind == 7 else rest[0]
        if kind != 7 or target is not None:
            chain, index, message = target
            if len(chain) != 16 or not 0 <= index < 256 or len(message) != 16:
                return None
        if kind == 7:
            text, reply, mentions, expires = rest
            good = text and len(mentions) <= 32 and sorted(set(mentions)) == mentions and all(len(it) == 32 for it in mentions)
            timed = expires is None or 60 <= expires <= 31_536_000
            return rest if good and timed and (reply or mentions or expires) else None
        good = {
            1: lambda _, text: isinstance(text, str) and text,
            2: lambda _: True,
            3: lambda _, text, on: may_be_sign(text) and isinstance(on, bool),
            8: lambda _, on: isinstance(on, bool),
        }[kind](*rest)
        return rest if good else None
    except (KeyError, TypeError, ValueError, UnicodeDecodeError, cbor2.CBORDecodeError):
        return None


def what_is_said(it):
    for given in it["said"]:
        check("what is said", says(given["kind"], given["bytes"]) is not None)
    for given in it["refused"]:
        check("what says nothing", says(given["kind"], given["bytes"]) is None)
    author, admins = 1, [3]
    for shown in it["shown"]:
        texts, signs, pinned, deleted = [it["first_text"]], {}, 0, 0
        for change in it["changes"][:shown["changes"]]:
            who, kind, said = change["from"], change["kind"], says(change["kind"], change["payload"])
            if kind == 1 and who == author:
                texts.append(said[1])
            elif kind == 2 and (who == author or who in admins) and not deleted:
                deleted = who
            elif kind == 3 and said[2]:
                signs.setdefault(said[1], set()).add(who)
            elif kind == 3:
                signs.get(said[1], set()).discard(who)
            elif kind == 8 and who in admins:
                pinned = who if said[1] else 0
        if deleted:
            texts, signs, pinned = [""], {}, 0
        expected = [{"sign_text": sign, "by": sorted(by)} for sign, by in sorted(signs.items()) if by]
        found = (shown["shown_text"], shown["before_texts"], shown["deleted_by"], shown["pinned_by"], shown["reactions"])
        check("what is shown", found == (texts[-1], texts[:-1], deleted, pinned, expected))


def main(folder):
    files = [
        ("derivations", derivations), ("signatures", signatures), ("topics", topics), ("relay", relay),
        ("people", people), ("invites", invites), ("ops", ops), ("membership", membership),
        ("envelopes", envelopes), ("rotations", rotations), ("handshakes", handshakes),
        ("letters", letters), ("records", records), ("classes", classes), ("statements", statements), ("group", group),
        ("files", offered_files), ("said", what_is_said),
    ]
    readings = [(name, read, lambda name=name: vector(folder, f"{name}.json")) for name, read in files]
    for name, read, given in [*readings, ("groups", groups, lambda: folder)]:
        before = sum(CHECKED.values())
        try:
            read(given())
        except (AssertionError, InvalidTag, KeyError, ValueError) as error:
            print(f"{name}: DOES NOT HOLD: {type(error).__name__}: {error}")
            raise
        print(f"{name}: {sum(CHECKED.values()) - before} checks")
    print("; ".join(f"{what} ×{count}" for what, count in sorted(CHECKED.items())))


VECTORS = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else
                       pathlib.Path(__file__).resolve().parent / "../../protocol/tests/vectors")
if __name__ == "__main__":
    main(VECTORS)
