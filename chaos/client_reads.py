"""What a client of the loops reads, and how it writes that down: one line at the end of each read,
with the moment before the call ("began"), so that whoever judges knows what it had to show.

  read      transfers that were acknowledged to somebody before: linearizable, or of bounded age, or
            from a given index on ("max_age_ms", "min_index")
  balances  some accounts, by one call
  totals    a ledger's trial balance: with its index and the digest of the whole state
  unread    the call ended without an answer
"""
import time

from export import amount

AGES_MS = (100, 1000, 10000)


class Reads:
    """For workload.Client: needs random, config, shared, api_at(), write(), call_seconds."""

    def look(self):
        """One read of some kind, at any node."""
        kind = self.random.random()
        if kind < 0.7 or not self.config.get("reads_all"):
            self.read_back()
        elif kind < 0.9:
            self.read_balances()
        else:
            self.read_totals()

    def read_call(self, kind, method, metadata=None, **fields):
        """(position, fields of the line, answer's message) of a read; None when it had no answer."""
        position = self.random.randrange(len(self.config["ports"]))
        api = self.api_at(position)
        body = api.message(method, **fields).SerializeToString()
        began = time.monotonic_ns()
        answer = api.raw(method, body, timeout=self.call_seconds, metadata=metadata, wait=False)
        line = {"began": began, "limit_ms": int(self.call_seconds * 1000)}
        if answer.code.name != "OK":
            self.write("unread", position, kind=kind, why=answer.code.name, **line)
            return None
        if "tally-index" in answer.trailers:
            line["index"] = int(answer.trailers["tally-index"])
        return position, line, api.methods[method][2].FromString(answer.body)

    def read_back(self):
        """Reads transfers known to be posted, at any node; writes down what was found."""
        ids = self.shared.sample(self.random, 10)
        if not ids:
            return
        asked, metadata, fields = {}, None, {}
        way = self.random.random() if self.config.get("reads_all") else 0
        if way > 0.85:
            asked = {"max_age_ms": self.random.choice(AGES_MS)}
            metadata = (("tally-max-age-ms", str(asked["max_age_ms"])),)
        elif way > 0.7:
            asked = fields = {"min_index": self.shared.index}
        made = self.read_call("read", "LookupTransfers", metadata, ids=ids, **fields)
        if made:
            position, line, message = made
            self.write("read", position, ids=[i.hex() for i in ids],
                       found=[t.id.hex() for t in message.transfers if not t.refused],
                       **dict(line, **asked))

    def read_balances(self):
        ids = [number.to_bytes(16, "big") for number in
               self.random.sample(range(1, self.config["accounts"] + 1), 8)]
        made = self.read_call("balances", "LookupAccounts", ids=ids)
        if made:
            position, line, message = made
            self.write("balances", position, ids=[i.hex() for i in ids], rows=[
                [a.id.hex(), amount(a.debits_posted), amount(a.credits_posted), a.transfer_count]
                for a in message.accounts], **line)

    def read_totals(self):
        made = self.read_call("totals", "TrialBalance", ledger=1)
        if made:
            position, line, message = made
            line["index"] = message.index
            self.write("totals", position, ledger=1, debits=amount(message.debits_posted),
                       credits=amount(message.credits_posted), balanced=message.balanced,
                       digest=message.digest.hex(), **line)
