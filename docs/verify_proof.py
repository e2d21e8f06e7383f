#!/usr/bin/env python3
"""Checks a proof document against a genesis, written from docs/formats.md alone.

Run:   python3 docs/verify_proof.py FILE.proof --genesis GENESIS
Exit:  0 valid and whole, 1 not.

Python 3.8 or later, standard library only. It shares no line with the program that wrote the document, so it is a
second opinion on both. Section numbers (§) are those of docs/formats.md. Ed25519 is written out here (verification
needs no secret, so it need not be constant in time), by the rule of §12.3.
"""

import argparse
import hashlib
import hmac
import sys


class Invalid(Exception):
    """The first thing that does not hold."""


def need(holds, reason):
    if not holds:
        raise Invalid(reason)


# ---- §2 hashes

def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def fields(tag, parts):
    return b"".join(len(part).to_bytes(4, "big") + part for part in (tag.encode(), *parts))


def H(tag, *parts):
    return hashlib.sha256(fields(tag, parts)).digest()


def PRF(key, tag, *parts):
    return hmac.new(key, fields(tag, parts), hashlib.sha256).digest()


def u32(value):
    return value.to_bytes(4, "big")


def u64(value):
    return value.to_bytes(8, "big")


def merkle_root(level):
    if not level:
        return H("node")
    while len(level) > 1:
        level = [H("node", *level[i:i + 2]) if i + 1 < len(level) else level[i] for i in range(0, len(level), 2)]
    return level[0]


# ---- §1 reading, and §12 the engine's way

class Reader:
    def __init__(self, octets, what):
        self.octets, self.at, self.what = octets, 0, what

    def take(self, count):
        need(self.at + count <= len(self.octets), f"{self.what}: octets are missing")
        self.at += count
        return self.octets[self.at - count:self.at]

    def number(self, size):
        return int.from_bytes(self.take(size), "big")

    def hash(self):
        return self.take(32)

    def bytes(self):
        return self.take(self.number(4))

    def text(self):
        try:
            return self.take(self.number(2)).decode("utf-8")
        except UnicodeDecodeError:
            raise Invalid(f"{self.what}: text is not UTF-8") from None

    def one_of(self, *variants):
        value = self.number(1)
        need(value in variants, f"{self.what}: there is no variant {value}")
        return value

    def flag(self):
        return self.one_of(0, 1) == 1

    def optional(self, read):
        return read(self) if self.flag() else None

    def items(self, read):
        first = self.number(1)
        more = (1 << (first >> 6)) - 1
        length = (first & 0x3F) << (8 * more) | self.number(more)
        need(more == 0 or length >> (8 * ((more + 1) // 2) - 2), f"{self.what}: a length is not in its shortest form")
        end, found = self.at + length, []
        need(end <= len(self.octets), f"{self.what}: octets are missing")
        while self.at < end:
            found.append(read(self))
        need(self.at == end, f"{self.what}: items do not fill their length")
        return found

    def var(self, bits=64):
        value, shift = 0, 0
        while True:
            octet = self.number(1)
            need(octet or not shift, f"{self.what}: a number is not in its shortest form")
            value |= (octet & 0x7F) << shift
            need(value < 1 << bits, f"{self.what}: a number is too large")
            if octet < 0x80:
                return value
            shift += 7

    def loc(self):
        value = self.var()
        need(value <= 1 << 62, f"{self.what}: a location is too large")
        return value

    def vec(self, read, most):
        count = self.var(32)
        need(count <= most, f"{self.what}: too many items")
        return [read(self) for _ in range(count)]

    def end(self):
        need(self.at == len(self.octets), f"{self.what}: octets follow after the end")


def whole(octets, what, read, most):
    need(len(octets) <= most, f"{what}: too long")
    reader = Reader(octets, what)
    value = read(reader)
    reader.end()
    return value


# ---- Ed25519, by the rule of §12.3 (ZIP 215)

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
ROOT = pow(2, (P - 1) // 4, P)


def add(p, q):
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % P, (p[1] + p[0]) * (q[1] + q[0]) % P
    c, d = 2 * p[3] * q[3] * D % P, 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def times(scalar, point):
    result = (0, 1, 1, 0)
    while scalar:
        if scalar & 1:
            result = add(result, point)
        point, scalar = add(point, point), scalar >> 1
    return result


def decompress(octets):
    number = int.from_bytes(octets, "little")
    sign, y = number >> 255, (number & (1 << 255) - 1) % P
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * ROOT % P
    if (x * x - square) % P:
        return None
    if x & 1 != sign:
        x = -x % P
    return x, y, 1, x * y % P


BASE = decompress((4 * pow(5, P - 2, P) % P).to_bytes(32, "little"))


def ed25519(key, message, signature):
    a, r, s = decompress(key), decompress(signature[:32]), int.from_bytes(signature[32:], "little")
    if a is None or r is None or s >= L:
        return False
    k = int.from_bytes(hashlib.sha512(signature[:32] + key + message).digest(), "little") % L
    left, right = times(8 * s, BASE), times(8, add(r, times(k, a)))
    return not (left[0] * right[2] - right[0] * left[2]) % P and not (left[1] * right[2] - right[1] * left[2]) % P


# ---- §5 genesis

class Genesis:
    def __init__(self, octets):
        self.id = H("genesis", octets)
        whole(octets, "the genesis", self.read, 128 * 1024)

    def read(self, r):
        need(r.number(1) == 1, "the genesis: format is not 1")
        self.network = r.text()
        r.take(8 + 32)
        interval, bucket, blocks = r.number(4), r.number(4), r.number(8)
        need(interval and blocks and bucket in [1 << i for i in range(9)], "the genesis: parameters")
        members = r.items(self.member)
        numbers = [number for number, *_ in members]
        need(1 <= len(members) <= 32 and numbers == sorted(set(numbers)), "the genesis: members")
        keys = [key for _, _, _, identity, consensus, _ in members for key in (identity, consensus)]
        need(len(set(keys)) == len(keys), "the genesis: a key serves twice")
        need(len({name for _, name, *_ in members}) == len(members), "the genesis: a name serves twice")
        self.titles = {number: title for number, _, title, *_ in members}
        self.validators = sorted(consensus for *_, consensus, validates in members if validates)
        need(self.validators and all(map(decompress, self.validators)), "the genesis: validators")

    @staticmethod
    def member(r):
        number, name, title, _kind = r.number(4), r.text(), r.text(), r.one_of(1, 2, 3, 4)
        identity, consensus, hpke, validates = r.hash(), r.hash(), r.bytes(), r.flag()
        need(1 <= len(name) <= 32 and all(c in "abcdefghijklmnopqrstuvwxyz0123456789-" for c in name), "a member's name")
        need(1 <= len(title) <= 100 and len(hpke) == 1216, "a member's title or key")
        return number, name, title, identity, consensus, validates


# ---- §6 strands

RECORDS, ACCESSES, HOLDERS = 1, 2, 3


def leaf(r):
    """An opened leaf: (is it a record, its hash, its payload)."""
    if r.one_of(1, 2) == 1:
        salt, payload = r.hash(), r.bytes()
        return False, H("item", salt, payload), payload
    salt, plain, sealed, category, date = (r.hash() for _ in range(5))
    return True, H("leaf", H("content", salt, plain, sealed), category, date), b""


class Page:
    def __init__(self, r):
        self.kind, leaves = r.one_of(1, 2, 3), r.items(leaf)
        need(1 <= len(leaves) <= (1 if self.kind == 1 else 256), "a page: number of leaves")
        need(all(record == (self.kind == 2) and len(payload) <= 16384 for record, _, payload in leaves), "a page: leaves")
        self.leaves = [hashed for _, hashed, _ in leaves]
        self.payloads = [payload for record, _, payload in leaves if not record]

    def commitment(self, place):
        return H("page", place, bytes([self.kind]), u32(len(self.leaves)), merkle_root(self.leaves))


class Strand:
    def __init__(self, r):
        self.member, self.key, self.pages = r.number(4), r.hash(), r.items(Page)
        self.places = [self.place(i) for i in range(len(self.pages) + 1)]
        self.commitments = [page.commitment(place) for page, place in zip(self.pages, self.places)]

    def place(self, index):
        return H("strand", u32(self.member), PRF(self.key, "tag", u64(index)))


def opening(r):
    _subject, member, kind, _class = r.hash(), r.number(4), r.one_of(1, 2, 3, 4, 5), r.one_of(1)
    r.optional(Reader.hash)
    return member, kind


def holder_item(r):
    kind = r.one_of(1, 2, 3, 4, 5)
    member, entry, commitment = r.number(4), r.hash(), r.hash()
    return (member, kind), (entry, commitment)


class Access:
    def __init__(self, r):
        self.request, self.reader, self.reader_key, self.grant_key = r.hash(), r.number(4), r.hash(), r.hash()
        self.outcome, _reason, self.purpose, self.role = r.one_of(1, 2, 3), r.text(), r.text(), r.text()
        self.released, self.pages, self.records = r.hash(), r.number(4), r.number(4)


# ---- §12 the engine's part

def header(octets):
    return whole(octets, "a header", Header, 4096)


class Header:
    def __init__(self, r):
        self.digest = sha256(r.octets)
        self.format, self.network, _since = r.number(1), r.hash(), r.number(8)
        _epoch, _view, leader, _parent_view, _parent = r.var(), r.var(), r.hash(), r.var(), r.hash()
        self.parent, self.height, self.time_ms = r.hash(), r.var(), r.number(8)
        _transactions, self.state_root = r.hash(), r.hash()
        for _ in ("registry", "strands"):
            _root, start, end = r.hash(), r.loc(), r.loc()
            need(start < end, "a header: an empty range")
        coming = r.optional(lambda r: r.vec(Reader.hash, 64))
        need(decompress(leader), "a header: the leader's key")
        if coming is not None:
            need(coming and coming == sorted(set(coming)) and all(map(decompress, coming)), "a header: next validators")


def finalizes(octets, last, genesis):
    r = Reader(octets, "the certificate")
    r.var(), r.var(), r.var()
    payload = r.hash()
    signed = octets[:r.at]
    count = r.number(8)
    need(count == len(genesis.validators), "the certificate: not the network's number of validators")
    bits = int.from_bytes(r.take((count + 7) // 8), "little")
    need(bits < 1 << count, "the certificate: a signer that is none")
    signers = [i for i in range(count) if bits >> i & 1]
    signatures = r.vec(lambda r: r.take(64), count)
    r.end()
    need(payload == last.digest, "the certificate is not of the last header")
    need(len(signatures) == len(signers) >= count - (count - 1) // 3, "the certificate: too few signatures")
    namespace = b"suture/1/consensus/" + genesis.id + b"_FINALIZE"
    message = bytes([len(namespace)]) + namespace + signed
    for i, signature in zip(signers, signatures):
        need(ed25519(genesis.validators[i], message, signature), "the certificate: a signature does not verify")


GRAFT = 8  # height whose nodes cover one chunk of 256 bits


def position(start, height):
    return 2 * start - bin(start).count("1") + (1 << height + 1) - 2


class Active:
    """§12.5: that an operation is active."""

    def __init__(self, r):
        self.index, self.chunk, self.size, self.inactive = r.loc(), r.take(32), r.loc(), r.var()
        self.digests = r.vec(Reader.hash, 256)
        self.partial, self.ops_root = r.optional(Reader.hash), r.hash()

    def root(self, operation):
        index, size, inactive = self.index, self.size, self.inactive
        need(index < size, "an operation beyond the log")
        need(self.chunk[index % 256 // 8] >> index % 8 & 1, "an operation that is not active")
        need((self.partial is not None) == (size % 256 != 0), "the partial chunk")
        if index // 256 == size // 256:
            need(self.partial == sha256(self.chunk), "the partial chunk")
        heights = [h for h in reversed(range(size.bit_length())) if size >> h & 1]
        start, mine = 0, 0
        while start + (1 << heights[mine]) <= index:
            start += 1 << heights[mine]
            mine += 1
        count = len(heights)
        need(inactive <= count, "more inactive peaks than peaks")
        given = iter(self.digests)

        def take(number):
            found = [digest for _, digest in zip(range(number), given)]
            need(len(found) == number, "digests are missing")
            return found

        folded = min(inactive, mine)
        peaks = take(1) if folded else []
        peaks += take(mine - folded)
        alone = min(max(inactive - mine - 1, 0), count - 1 - mine)
        after = take(alone) + take(1 if count - 1 - mine - alone else 0)
        peaks.append(self.node(start, heights[mine], operation, take))
        peaks += after
        need(next(given, None) is None, "too many digests")
        forward = inactive - folded + 1 if folded else inactive
        bag = peaks[0]
        for peak in peaks[1:forward]:
            bag = sha256(bag, peak)
        rest = peaks[max(forward, 1):]
        if rest:
            back = rest.pop()
            while rest:
                back = sha256(rest.pop(), back)
            bag = sha256(bag, back)
        grafted = sha256(b"\0\1", u64(size), u64(inactive) if inactive else b"", bag)
        return sha256(self.ops_root, grafted, u64(size % 256) + self.partial if self.partial is not None else b"")

    def node(self, start, height, operation, take):
        """The digest of the node over leaves start .. start + 2^height, on the way to the operation."""
        at = u64(position(start, height))
        if height == 0:
            return sha256(at, operation)
        middle = start + (1 << height - 1)
        if self.index < middle:
            left = self.node(start, height - 1, operation, take)
            digest = sha256(at, left, *take(1))
        else:
            left = take(1)[0]
            digest = sha256(at, left, self.node(middle, height - 1, operation, take))
        return sha256(self.chunk, digest) if height == GRAFT else digest


def update(key, value, coming):
    return b"\xd2" + key + value + coming


def key_root(key, value, octets):
    """§12.6: the root under which key has value, or is absent."""
    r = Reader(octets, "the proof of a key")
    if value is not None:
        active, coming = Active(r), r.hash()
        operation = update(key, value, coming)
    elif r.one_of(0, 1) == 0:
        active, before, held, coming = Active(r), r.hash(), r.take(64), r.hash()
        inside = before < key < coming if before < coming else key > before or key < coming
        need(inside and key != before, "a key is not in the span that is shown empty")
        operation = update(before, held, coming)
    else:
        active, metadata = Active(r), r.optional(lambda r: r.take(64))
        meta = bytes(65) if metadata is None else b"\1" + metadata
        operation = b"\xd3" + meta + u64(active.index) + bytes(55)
    r.end()
    return active.root(operation)


# ---- §13 state proof

def key_proof(r):
    need(r.number(1) == 1, "the proof of a key: format is not 1")
    return r.hash(), r.optional(lambda r: r.take(64)), r.bytes()


class State:
    def __init__(self, r):
        self.header, self.links = r.bytes(), r.items(Reader.bytes)
        self.sets = r.items(lambda r: (r.bytes(), r.bytes()))
        self.certificate, self.registry_root, self.strands_root = r.bytes(), r.hash(), r.hash()
        self.registry, self.strands = r.items(key_proof), r.items(key_proof)

    def verify(self, genesis):
        first = header(self.header)
        need(len(self.links) <= 256, "too many headers")
        chain = [first, *map(header, self.links)]
        for before, after in zip(chain, chain[1:]):
            need(after.parent == before.digest and after.height == before.height + 1, "the headers are not a chain")
        need(all(h.format == 1 and h.network == genesis.id for h in chain), "a header of another network")
        need(not self.sets, "a change of validators")
        finalizes(self.certificate, chain[-1], genesis)
        root = H("state", b"\1", self.registry_root, self.strands_root)
        need(root == first.state_root, "the roots are not those of the header")
        self.height, self.time_ms = first.height, first.time_ms
        self.registry = self.map(self.registry_root, self.registry)
        self.strands = self.map(self.strands_root, self.strands)

    @staticmethod
    def map(root, proofs):
        keys = [key for key, _, _ in proofs]
        need(keys == sorted(set(keys)), "keys do not rise")
        for key, value, octets in proofs:
            need(key_root(key, value, octets) == root, "the proof of a key does not lead to the state's root")
        return {key: value for key, value, _ in proofs}

    def entry(self, place):
        value = self.strands.get(place)
        if value is None or any(value[40:]):
            return None
        return value[:32], int.from_bytes(value[32:40], "big")


# ---- §14 proof document

def shown_request(r):
    return {"id": r.hash(), "group": r.number(4), "slots": r.hash(), "reader_key": r.hash(), "grant_key": r.hash()}


def shown_entry(r):
    member, tag, page = r.number(4), r.hash(), Page(r)
    return member, H("strand", u32(member), tag), page


class Document:
    def __init__(self, r):
        need(r.number(1) == 1, "the document: format is not 1")
        self.subject, self.viewer = r.one_of(1, 2), r.number(4)
        self.holders, self.parts = Strand(r), r.items(Strand)
        self.request, self.releases = r.optional(shown_request), r.items(shown_entry)
        self.state = State(r)
        fits = H("proof", r.octets[:r.at]) == r.hash()
        need(fits, "the octets do not fit the checksum at their end")
        for members in ([p.member for p in self.parts], [m for m, _, _ in self.releases]):
            need(members == sorted(set(members)), "members do not rise")
        need((self.request is not None) == (self.subject == 1), "a request belongs to a record, and to nothing else")

        home = self.subject == 1 or (not self.releases and self.viewer == self.holders.member)
        need(home, "a list of accesses is made by the patient's home, and has no releases")

    def verify(self, genesis):
        """Checks everything; returns lines that say what is proved, and the holders that are missing."""
        self.genesis = genesis
        self.state.verify(genesis)
        places = {place for strand in (self.holders, *self.parts) for place in strand.places}
        places |= {place for _, place, _ in self.releases}
        grants = set()
        if self.request:
            places.add(H("request-at", self.request["id"]))
            grants.add(H("grant-at", self.request["grant_key"]))
        shown = set(self.state.strands) == places and set(self.state.registry) == grants
        need(shown, "the state shows other places than the document speaks of")
        requested = self.state.entry(H("request-at", self.request["id"])) if self.request else None
        self.since = requested[1] if requested else self.state.height
        kind = RECORDS if self.subject == 1 else ACCESSES
        lines = []
        ending = self.complete(self.holders, HOLDERS)
        items = [whole(p, "a holder's item", holder_item, 69) for page in self.holders.pages[1:] for p in page.payloads]
        pinned = dict(items)
        need(len(pinned) == len(items), "a holder is listed twice")
        for part in self.parts:
            lines.append(f"{self.title(part)}: complete: {self.complete(part, kind)}")
            need(pinned.get((part.member, kind)) == (part.places[0], part.commitments[0]), "a strand that is not pinned")
        listed = {member for member, of in pinned if of == kind}
        missing = sorted(listed - {part.member for part in self.parts})
        lines.append(f"list of holders, kept by {self.title(self.holders)}: complete: {ending}")
        lines += self.released(requested) if self.request else self.accesses()
        lines.append(f"finalized by the validators of this genesis at height {self.state.height}")
        return lines, [genesis.titles.get(member, "?") for member in missing]

    def title(self, strand):
        need(strand.member in self.genesis.titles, "there is no such member")
        return self.genesis.titles[strand.member]

    def complete(self, strand, kind):
        who, pages = self.title(strand), strand.pages
        need(pages and pages[0].kind == 1, f"{who}: page 0 is not an opening")
        need(whole(pages[0].payloads[0], "an opening", opening, 71) == (strand.member, kind), f"{who}: another opening")
        newest = 0
        for i, page in enumerate(pages):
            entry = self.state.entry(strand.places[i])
            need(entry is not None, f"{who}: page {i} is not on the ledger")
            need(entry[0] == strand.commitments[i], f"{who}: page {i} is not what was entered")
            need(entry[1] >= newest, f"{who}: page {i} was entered before the page in front of it")
            need(i == 0 or page.kind == (2 if kind == RECORDS else 3), f"{who}: page {i} is of another kind")
            newest = entry[1]
        beyond = self.state.entry(strand.places[-1])
        need(beyond is None or beyond[1] > self.since, f"{who}: the end is missing")
        height = self.state.height if beyond is None else beyond[1] - 1
        leaves = sum(len(page.leaves) for page in pages[1:])
        what = f" ({leaves} {'record versions' if kind == RECORDS else 'accesses'})" if kind != HOLDERS else ""
        return f"pages 0..{len(pages) - 1} present, {len(pages)} absent at height {height}{what}"

    def released(self, requested):
        request, viewer = self.request, self.viewer
        commitment = H("request", u32(viewer), u32(request["group"]), request["slots"], request["reader_key"])
        need(requested is not None and requested[0] == commitment, "the request is not on the ledger")
        at = requested[1]
        grant = self.state.registry[H("grant-at", request["grant_key"])]
        need(grant is not None and not any(grant[52:]), "the grant is not on the ledger")
        granted, revoked = int.from_bytes(grant[32:40], "big"), int.from_bytes(grant[40:48], "big")
        need(1 <= granted <= at and (revoked == 0 or revoked > at), "the grant was not in force at the request")
        name = self.genesis.titles.get(viewer, "?")
        lines = [f"request of {name} finalized at height {at}, under a grant on the ledger"]
        others = [part for part in self.parts if part.member != viewer]
        same = [part.member for part in others] == [member for member, _, _ in self.releases]
        need(same, "releases and parts are not of the same members")
        for part, (_, place, page) in zip(others, self.releases):
            entry = self.state.entry(place)
            entered = entry is not None and entry[0] == page.commitment(place) and entry[1] >= at
            need(entered, "a release was not entered after the request")
            need(any(self.tells(payload, part) for payload in page.payloads), "an entry does not name this request")
            # That it lies in the patient's own list, only a document of accesses shows.
            lines.append(f"{self.title(part)} entered its release at height {entry[1]}")
        return lines

    def tells(self, payload, part):
        try:
            item = whole(payload, "an access", Access, 1024)
        except Invalid:
            return False
        named = (item.request, item.reader, item.reader_key, item.grant_key, item.outcome)
        asked = (self.request["id"], self.viewer, self.request["reader_key"], self.request["grant_key"], 1)
        whole_part = item.pages == len(part.pages) and item.released == H("released", *part.commitments)
        return named == asked and whole_part

    def accesses(self):
        lines = []
        for part in self.parts:
            for page, place in zip(part.pages[1:], part.places[1:]):
                height = self.state.entry(place)[1]
                for payload in page.payloads:
                    item = whole(payload, "an access", Access, 1024)
                    outcome = ("released to", "refused", "withheld from")[item.outcome - 1]
                    to = self.genesis.titles.get(item.reader, "?")
                    lines.append(
                        f"{self.title(part)} {outcome} {to} ({item.role}) for {item.purpose} at height {height}: "
                        f"{item.pages} pages, {item.records} record versions"
                    )
        return lines


def check(document, genesis):
    return whole(document, "the document", Document, 256 << 20).verify(Genesis(genesis))


def main():
    parser = argparse.ArgumentParser(description="Checks a proof document, offline, with the genesis alone.")
    parser.add_argument("file")
    parser.add_argument("--genesis", required=True)
    arguments = parser.parse_args()
    with open(arguments.file, "rb") as document, open(arguments.genesis, "rb") as genesis:
        octets = document.read(), genesis.read()
    try:
        lines, missing = check(*octets)
    except Invalid as reason:
        print(f"NOT VALID: {reason}")
        return 1
    lines += [f"{title}: NOT SHOWN: it is listed as a holder, but its part is not here" for title in missing]
    for line in lines:
        # Texts are their writers': none may pass for a line of ours.
        print("".join(c if c.isprintable() else "?" for c in line))
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
