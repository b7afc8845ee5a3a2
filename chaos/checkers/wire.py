"""The numbers and the one encoding of the contract (proto/tally/v1/ledger.proto) that claims need."""

OK, EXISTS = 0, 1
EXISTS_WITH_DIFFERENT_FLAGS, EXISTS_WITH_DIFFERENT_LEDGER, EXISTS_WITH_DIFFERENT_CODE = 2, 3, 4
EXISTS_WITH_DIFFERENT_DEBIT, EXISTS_WITH_DIFFERENT_CREDIT = 5, 6
EXISTS_WITH_DIFFERENT_AMOUNT, EXISTS_WITH_DIFFERENT_USER_DATA_64 = 7, 10
EXISTS_WITH_DIFFERENT = range(2, 17)
ID_ALREADY_FAILED = 17
ID_ZERO, ID_MAX, RESERVED_FLAG, FLAGS_MUTUALLY_EXCLUSIVE = 20, 21, 22, 24
LEDGER_ZERO, CODE_ZERO = 25, 26
DEBIT_ID_ZERO, DEBIT_ID_MAX, CREDIT_ID_ZERO, CREDIT_ID_MAX = 27, 28, 29, 30
ACCOUNTS_SAME, AMOUNT_ZERO = 31, 32
REFUSED_BY_FIELDS = range(20, 60)
LEDGER_NOT_FOUND, DEBIT_NOT_FOUND, CREDIT_NOT_FOUND = 60, 61, 62
ACCOUNTS_ON_DIFFERENT_LEDGERS, TRANSFER_ON_OTHER_LEDGER = 63, 64
OVERFLOWS_DEBITS, OVERFLOWS_CREDITS, EXCEEDS_CREDITS, EXCEEDS_DEBITS = 65, 66, 67, 68
OVERFLOWS_LEDGER = 69
REFUSED_BY_STATE = range(60, 70)        # a transfer's id is spent and on record
TABLE_FULL = range(80, 83)              # a bound that nobody outside can see

DEBITS_MUST_NOT_EXCEED_CREDITS, CREDITS_MUST_NOT_EXCEED_DEBITS = 1, 2

# What may be said of a request as a whole, for good.
FINAL = ("EXECUTED", "REQUEST_FENCED", "NONCE_REUSED", "BEYOND_WINDOW", "NOT_PERMITTED")
NOT_FINAL = ("ISSUED_TOO_FAR_AHEAD", "WINDOW_FULL", "MALFORMED")
BOTH_SITES = "both-sites"


def read_varint(body, place):
    value = shift = 0
    while True:
        if place >= len(body) or shift > 63:
            raise ValueError("varint")
        value |= (body[place] & 0x7F) << shift
        place += 1
        if body[place - 1] < 0x80:
            return value, place
        shift += 7


def decode_answer(body):
    """(results, index, timestamp) of a Create...Response: packed enum 1, fixed64 2, fixed64 3."""
    results, index, stamp, place = b"", 0, 0, 0
    while place < len(body):
        tag, place = read_varint(body, place)
        if tag == 0x0A:
            size, place = read_varint(body, place)
            end = place + size
            if end > len(body):
                raise ValueError("results beyond the end")
            packed = body[place:end]
            if packed and max(packed) >= 0x80:      # every number of the contract is one byte
                raise ValueError("a result above 127")
            results, place = results + packed, end
        elif tag in (0x11, 0x19) and place + 8 <= len(body):
            number = int.from_bytes(body[place:place + 8], "little")
            index, stamp = (number, stamp) if tag == 0x11 else (index, number)
            place += 8
        else:
            raise ValueError("tag %#x" % tag)
    return results, index, stamp
