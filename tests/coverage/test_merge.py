#!/usr/bin/python3
"""Counters of killed processes are added, each once, and a torn file spoils nothing but itself."""
import array
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import merge  # noqa: E402

HEAD = (merge.MAGIC, 0x42323242, 7, 8)


def made(*counters, head=HEAD):
    """A file of one function with these counters."""
    return merge.print_file(head, struct.pack("<II", 1, 2),
                            [(struct.pack("<III", 11, 12, 13), array.array("q", counters))])


def counters_of(data):
    return list(merge.parse(data)[2][0][1])


class Merge(unittest.TestCase):
    def setUp(self):
        self.root = tempfile.mkdtemp(prefix="tally-merge-")
        self.build = os.path.join(self.root, "build")
        self.processes = os.path.join(self.root, "processes")
        os.makedirs(os.path.join(self.build, "core"))
        os.makedirs(self.processes)
        self.target = os.path.join(self.build, "core", "a.gcda")

    def tearDown(self):
        shutil.rmtree(self.root)

    def process(self, name, data):
        path = os.path.join(self.processes, name) + self.target
        os.makedirs(os.path.dirname(path))
        with open(path, "wb") as file:
            file.write(data)

    def run_merge(self):
        done = subprocess.run([sys.executable, os.path.join(HERE, "merge.py"), self.build,
                               self.processes], stdout=subprocess.PIPE, check=True)
        return done.stdout.decode()

    def result(self):
        with open(self.target, "rb") as file:
            return counters_of(file.read())

    def test_every_cut_is_torn(self):
        whole = made(1, 2, 3)
        for size in range(len(whole)):
            with self.assertRaises(merge.Torn, msg=size):
                merge.parse(whole[:size])

    def test_a_negative_length_stands_for_zeros(self):
        body = struct.pack("<III", 11, 12, 13)
        data = struct.pack("<4I", *HEAD) + struct.pack("<Ii", merge.FUNCTION, len(body)) + body + \
            struct.pack("<Ii", merge.ARCS, -24) + struct.pack("<I", 0)
        self.assertEqual(counters_of(data), [0, 0, 0])

    def test_processes_and_build_are_added_once(self):
        with open(self.target, "wb") as file:
            file.write(made(100, 0, 0))
        self.process("one", made(1, 2, 0))
        self.process("two", made(1, 0, 3))
        self.assertIn("2 processes: 2 files, 0 torn, 0 of another build", self.run_merge())
        self.assertEqual(self.result(), [102, 2, 3])
        self.run_merge()
        self.assertEqual(self.result(), [102, 2, 3])

    def test_a_torn_file_spoils_nothing_else(self):
        self.process("one", made(1, 2, 3))
        self.process("two", made(10, 20, 30)[:-5])
        self.assertIn("1 torn", self.run_merge())
        self.assertEqual(self.result(), [1, 2, 3])

    def test_counters_of_another_build_are_not_added(self):
        self.process("one", made(1, 2, 3))
        self.process("two", made(10, 20, 30, head=(merge.MAGIC, 0x42323242, 9, 8)))
        self.process("three", made(1, 2, 3, 4))
        self.assertIn("2 of another build", self.run_merge())
        self.assertEqual(self.result(), [1, 2, 3])


if __name__ == "__main__":
    unittest.main()
