"""What a result comes to: the same hashes as peer-clicks (tools/peers/clicks/src/answer.rs), over columns."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

FACTOR = np.uint64(0x9E3779B97F4A7C15)


def cents(amounts):
    """Amounts, not negative, to the nearest cent."""
    return (amounts * 100.0 + 0.5).astype(np.int64)


def thousandths(averages):
    """Averages, cut at what no quotient of whole cents and small counts comes to."""
    return (averages * 1000.0 + 0.1234).astype(np.int64)


def hashes(fields):
    """One hash a row."""
    state = np.zeros(len(fields[0]), dtype=np.uint64)
    for field in fields:
        state = (state ^ field.astype(np.int64).view(np.uint64)) * FACTOR
        state ^= state >> np.uint64(32)
    return state


def bytes_of(texts, width):
    """Texts of one length as a matrix of bytes."""
    texts = texts.cast(pa.binary(), safe=False).cast(pa.binary(width))
    data = np.frombuffer(texts.buffers()[1], dtype=np.uint8)
    return data[texts.offset * width : (texts.offset + len(texts)) * width].reshape(-1, width)


def keys_of(column):
    """Keys as numbers: `page-0166` is 166, 16 hexadecimal digits are what they say."""
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type) or pa.types.is_string_view(column.type)):
        return column.cast(pa.uint64(), safe=False).to_numpy(zero_copy_only=False)
    column = column.cast(pa.string())
    if len(column) == 0:
        return np.zeros(0, dtype=np.uint64)
    if column[0].as_py().startswith("page-"):
        digits = bytes_of(column, 9)[:, 5:].astype(np.uint64) - np.uint64(48)
        return digits @ np.array([1000, 100, 10, 1], dtype=np.uint64)
    digits = bytes_of(column, 16).astype(np.uint64)
    digits = (digits & np.uint64(15)) + np.uint64(9) * (digits >> np.uint64(6))
    number = np.zeros(len(digits), dtype=np.uint64)
    for place in range(16):
        number = (number << np.uint64(4)) | digits[:, place]
    return number


def answer(workload, table):
    """Adds up a result: columns k, then start_ms, c, s, m, a as the workload has them."""
    total = {"results": 0, "counts": 0, "cents": 0, "hash": 0}
    for batch in table.combine_chunks().to_batches(max_chunksize=1 << 20):
        column = lambda name: batch.column(batch.schema.get_field_index(name))
        number = lambda name, kind: column(name).cast(kind, safe=False).to_numpy(zero_copy_only=False)
        keys = keys_of(column("k"))
        money = cents(number("s", pa.float64())) if workload != "w2" else np.zeros(len(keys), dtype=np.int64)
        counts = number("c", pa.int64()) if workload != "w0" else np.ones(len(keys), dtype=np.int64)
        if workload == "w0":
            fields = [keys, money]
        else:
            fields = [number("start_ms", pa.int64()), keys, counts]
            fields += [money] if workload != "w2" else []
            fields += [cents(number("m", pa.float64())), thousandths(number("a", pa.float64()))] if workload == "w1" else []
        total["results"] += len(keys)
        total["counts"] += int(counts.sum())
        total["cents"] += int(money.sum())
        total["hash"] = (total["hash"] + int(hashes(fields).sum(dtype=np.uint64))) % 2**64
    return total


def report(workload, rows, seconds, table):
    """Prints the line that the harness reads."""
    total = answer(workload, table)
    total["hash"] = f"{total['hash']:016x}"
    print(json.dumps({"workload": workload, "rows": rows, "seconds": round(seconds, 6), **total}), flush=True)
